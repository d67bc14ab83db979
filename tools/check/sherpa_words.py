"""Compares the words that sherpa-onnx outputs with the decoding graph of an export with those of hearken, recording
by recording.

    hearken export model.onnx --for sherpa-onnx -o sherpa/
    python tools/check/sherpa_words.py --hearken target/release/hearken model.onnx sherpa/ audio/*.wav dev.jsonl

    hearken export english.onnx --for sherpa-onnx --phrases orders.txt -o sherpa/
    python tools/check/sherpa_words.py --phrases orders.txt english.onnx sherpa/ orders-dev.jsonl

It compares the ids in `words`, by HL.fst and words.txt, in chunks of 100 ms; and the text of words-text.fst, which
must be the words, or empty if there are labels of other speech among them. The graph does not have hearken's
rejection rules (confidence, words and labels around a word), so hearken runs twice: with them, and with a copy of
the model without them. A manifest has a recording on each line (`audio_filepath`, `text`); its word error rates
are printed too.

Needs numpy, soundfile, onnx, sherpa-onnx (checked with 2.0.1). Recordings are 16 kHz, mono. Exits with 1 if a
share of recordings is below `--least` or `--least-unrejected`, or a text differs from its words.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy
import onnx
import sherpa_onnx
import soundfile

PUSH = 1600


def recordings(paths):
    """Sets of (path, reference or None), by name."""
    sets = {}
    for path in paths:
        if not path.endswith(".jsonl"):
            sound = soundfile.info(path)
            if (sound.samplerate, sound.channels) == (16000, 1):
                sets.setdefault("recordings", []).append((path, None))
            else:
                print(f"{path}: skipped: not 16 kHz mono")
            continue
        folder = os.path.dirname(path)
        with open(path) as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        name = os.path.basename(path)
        sets[name] = [(os.path.join(folder, r["audio_filepath"]), r["text"].split()) for r in rows]
    return sets


def without_rejection(model, place):
    """A copy of the model whose words are those of the search."""
    copy = onnx.load(model)
    for entry in copy.metadata_props:
        if entry.key == "hearken.decoder":
            entry.value = json.dumps({**json.loads(entry.value), "rejection": None, "min_confidence": 0.0})
    path = os.path.join(place, "unrejected.onnx")
    onnx.save(copy, path)
    return path


def by_hearken(hearken, model, options, paths):
    """The words of each recording."""
    found = {path: [] for path in paths}
    for begin in range(0, len(paths), 200):
        command = [hearken, "transcribe", "--model", model, *options, "--json", *paths[begin : begin + 200]]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        for line in result.stdout.splitlines():
            event = json.loads(line)
            if event["type"] == "final":
                found[event["path"]] += [w["word"] for w in event["words"]]
    return [found[path] for path in paths]


class Sherpa:
    def __init__(self, folder, tail):
        self.tail = numpy.zeros(tail, numpy.float32)
        with open(folder + "/words.txt") as lines:
            self.words = {int(line.split()[1]): line.split()[0] for line in lines}
        self.recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
            tokens=folder + "/tokens.txt",
            model=folder + "/model.onnx",
            num_threads=1,
            ctc_graph=folder + "/HL.fst",
            rule_fsts=folder + "/words-text.fst",
        )

    def words_of(self, path):
        """Words by number, and the text."""
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if rate != 16000 or samples.shape[1] != 1:
            sys.exit(f"{path}: expected 16 kHz and one channel")
        samples = numpy.concatenate([samples[:, 0], self.tail])
        stream = self.recognizer.create_stream()
        for begin in range(0, len(samples), PUSH):
            stream.accept_waveform(16000, samples[begin : begin + PUSH])
            while self.recognizer.is_ready(stream):
                self.recognizer.decode_stream(stream)
        result = self.recognizer.get_result_all(stream)
        return [self.words[k] for k in result.words], result.text.split()


def edits(found, expected):
    row = list(range(len(expected) + 1))
    for i, word in enumerate(found, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(expected, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hearken", default="hearken", help="the program")
    parser.add_argument("--least", type=float, default=0, help="least share of recordings with the same words")
    parser.add_argument(
        "--least-unrejected", type=float, default=0, help="the same of hearken without its rejection rules"
    )
    parser.add_argument("--phrases", help="the phrases of the export")
    parser.add_argument("--most", type=int, help="only the first recordings of each set")
    parser.add_argument("--show", action="store_true", help="print every recording whose words differ")
    parser.add_argument("model", help="the model that was exported")
    parser.add_argument("folder", help="what it was exported to")
    parser.add_argument("audio", nargs="+", help="recordings, or manifests (.jsonl)")
    args = parser.parse_args()
    metadata = {e.key: e.value for e in onnx.load(args.folder + "/model.onnx").metadata_props}
    # As in the note of the export: the model's silence at the end, and the frames that sherpa-onnx drops.
    flush = json.loads(metadata["hearken.decoder"])["flush_ms"]
    sherpa = Sherpa(args.folder, 16 * flush + 160 * (int(metadata["T"]) + 1))
    place = tempfile.TemporaryDirectory()
    unrejected = without_rejection(args.model, place.name)
    options = ["--phrases", args.phrases] if args.phrases else []
    failed = False
    for name, rows in recordings(args.audio).items():
        rows = rows[: args.most]
        paths = [path for path, _ in rows]
        ours, searched = (by_hearken(args.hearken, m, options, paths) for m in (args.model, unrejected))
        there, texts = zip(*(sherpa.words_of(path) for path in paths))
        for path, here, search, words, text in zip(paths, ours, searched, there, texts):
            if args.show and (words != here or words != search):
                print(f"{path}: sherpa-onnx {words}, hearken {here}, without rejection {search}")
            if text and text != words:
                print(f"{path}: the text {text} is not the words {words}")
        same = sum(a == b for a, b in zip(there, ours))
        same_search = sum(a == b for a, b in zip(there, searched))
        wrong = sum(bool(text) and text != words for text, words in zip(texts, there))
        empty = sum(bool(words) and not text for text, words in zip(texts, there))
        print(
            f"{name}: the same words in {same} of {len(rows)} recordings, in {same_search} without hearken's"
            f" rejection; text not made in {empty}"
        )
        expected = sum(len(reference or []) for _, reference in rows)
        if expected:
            rates = (100 * sum(edits(f, r) for f, (_, r) in zip(all_, rows)) / expected for all_ in (there, ours, searched))
            print("    word errors: sherpa-onnx {:.1f} %, hearken {:.1f} %, without rejection {:.1f} %".format(*rates))
        print(f"    words written: sherpa-onnx {sum(map(len, there))}, hearken {sum(map(len, ours))}")
        failed |= wrong > 0 or same < args.least * len(rows) or same_search < args.least_unrejected * len(rows)
    sys.exit(failed)


main()
