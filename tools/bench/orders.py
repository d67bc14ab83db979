#!/usr/bin/env python3
"""Recognizes spoken orders with a file of phrases; counts those with all slots right and no wrong slot.

    tools/bench/orders.py --data DIR --model MODEL.onnx [--hearken PROGRAM] [-- OPTIONS OF TRANSCRIBE]

DIR has commands/orders-dev.jsonl: `audio_filepath`, `slots`. Arguments after `--` are passed to `hearken
transcribe`, such as `--other-phone-cost 2`. Prints a JSON line, and with --wrong the orders with errors.

With --snr DB, noise is added to each order: a random part of the recordings of --noise (a manifest; with
--noise-speaker NAME only the lines with this `speaker`), so that the loudest 128 ms of the order are DB above the loudest
128 ms of the noise; the sum is scaled to a peak of 0.5. This needs numpy and soundfile (pip install -r
tools/bench/requirements.txt).
"""
import argparse
import contextlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
RATE = 16_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--phrases", default=str(ROOT / "docs/examples/orders.txt"))
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    parser.add_argument("--snr", type=float, help="signal-to-noise ratio, dB [default: no noise]")
    parser.add_argument("--noise", type=pathlib.Path, help="manifest [default: noise/gsc-long.jsonl in DIR]")
    parser.add_argument("--noise-speaker", default="doing_the_dishes", help="`speaker` of the lines, or `any`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wrong", action="store_true", help="print the orders that are not right")
    parser.add_argument("options", nargs="*")
    return parser.parse_args()


def rows_of(manifest):
    """The lines of a manifest, with absolute paths."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return [{**row, "audio_filepath": str((manifest.parent / row["audio_filepath"]).resolve())} for row in rows]


def read(path):
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != RATE:
        raise SystemExit(f"orders: {path}: expected {RATE} Hz, found {rate}")
    return samples.mean(axis=1)


def loudest(samples):
    """The root mean square of the loudest 128 ms."""
    import numpy

    length = min(len(samples), int(0.128 * RATE))
    sums = numpy.concatenate([[0.0], numpy.cumsum(samples.astype("float64") ** 2)])
    return float(numpy.sqrt((sums[length:] - sums[:-length]).max() / length))


def with_noise(orders, options, folder):
    """The manifest of the orders with noise, which is written to the folder."""
    import numpy
    import soundfile

    noise = rows_of(options.noise or options.data / "noise/gsc-long.jsonl")
    noise = [read(row["audio_filepath"]) for row in noise if options.noise_speaker in ("any", row.get("speaker"))]
    if not noise:
        raise SystemExit(f"orders: no noise of the speaker {options.noise_speaker}")
    generator = random.Random(options.seed)
    lines = []
    for number, order in enumerate(orders):
        speech = read(order["audio_filepath"])
        part = generator.choice(noise)
        part = numpy.resize(numpy.roll(part, -generator.randrange(len(part))), len(speech))
        mixed = speech + part * loudest(speech) / max(loudest(part), 1e-9) / 10 ** (options.snr / 20)
        path = folder / f"{number}.wav"
        soundfile.write(path, mixed * 0.5 / numpy.abs(mixed).max(), RATE, subtype="PCM_16")
        lines.append(json.dumps({"audio_filepath": str(path), "text": order["text"]}))
        order["audio_filepath"] = str(path)
    manifest = folder / "orders.jsonl"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def main():
    options = arguments()
    with contextlib.ExitStack() as stack:
        manifest = options.data / "commands/orders-dev.jsonl"
        orders = rows_of(manifest)
        if options.snr is not None:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            manifest = with_noise(orders, options, folder)
        measure(orders, manifest, options)


def measure(orders, manifest, options):
    command = [options.hearken, "transcribe", "--json", "--no-partials", "--model", options.model, "--phrases",
               options.phrases, *options.options, str(manifest)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = {}
    for line in run.stdout.splitlines():
        event = json.loads(line)
        if event["type"] == "final":
            found.setdefault(event["path"].split("#")[0], []).extend(event.get("phrases", []))
    right = silent = 0
    for order in orders:
        name = "/" + order["audio_filepath"].rsplit("/", 1)[1]
        phrases = next((phrases for path, phrases in found.items() if path.endswith(name)), [])
        slots = {slot["name"]: slot["value"] for phrase in phrases for slot in phrase.get("slots", [])}
        right += slots == order["slots"] and len(phrases) == 1
        silent += not phrases
        if options.wrong and slots != order["slots"]:
            print(order["text"], "|", " / ".join(phrase["text"] for phrase in phrases), file=sys.stderr)
    noise = {} if options.snr is None else {"snr": options.snr}
    print(json.dumps({**noise, "orders": len(orders), "right": right, "share": round(right / len(orders), 4), "nothing": silent}))


if __name__ == "__main__":
    main()
