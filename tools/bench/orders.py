#!/usr/bin/env python3
"""Recognizes spoken orders with a file of phrases; counts those with all slots right and no wrong slot.

    tools/bench/orders.py --data DIR --model MODEL.onnx [--hearken PROGRAM] [-- OPTIONS OF TRANSCRIBE]

DIR has commands/orders-dev.jsonl: `audio_filepath`, `slots`. Arguments after `--` are passed to `hearken
transcribe`, such as `--other-phone-cost 2`. Prints a JSON line, and with --wrong the orders with errors.
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--phrases", default=str(ROOT / "docs/examples/orders.txt"))
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    parser.add_argument("--wrong", action="store_true", help="print the orders that are not right")
    parser.add_argument("options", nargs="*")
    return parser.parse_args()


def main():
    options = arguments()
    manifest = options.data / "commands/orders-dev.jsonl"
    orders = [json.loads(line) for line in manifest.read_text().splitlines()]
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
        phrases = next((p for path, p in found.items() if path.endswith(order["audio_filepath"].rsplit("/", 1)[1])), [])
        slots = {slot["name"]: slot["value"] for phrase in phrases for slot in phrase.get("slots", [])}
        right += slots == order["slots"] and len(phrases) == 1
        silent += not phrases
        if options.wrong and slots != order["slots"]:
            print(order["text"], "|", " / ".join(phrase["text"] for phrase in phrases), file=sys.stderr)
    print(json.dumps({"orders": len(orders), "right": right, "share": round(right / len(orders), 4), "nothing": silent}))


if __name__ == "__main__":
    main()
