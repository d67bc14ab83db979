#!/usr/bin/env python3
"""Find single words inside recordings of sentences and strings, for joining into new strings.

    tools/digits/cut_words.py DIR OUT.jsonl MANIFEST... [--words "zero one two ..."] [--least-ms 120]

Each utterance whose text holds one of the words is aligned with its text by PocketSphinx (its own
English model; pip install pocketsphinx soundfile). OUT.jsonl gets a line for each word found:
`audio_filepath` (relative to OUT.jsonl), `offset` and `duration` in seconds, `text`, `speaker`.
No audio is copied. MANIFESTs are relative to DIR. Words that cannot be aligned, or come out
implausibly short or long, are left out and counted.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import soundfile
from pocketsphinx import Decoder

DIGITS = "zero one two three four five six seven eight nine oh"
RATE = 16000
FRAME_S = 0.01
MARGIN_S = 0.03
# Silence around the recording, for the aligner.
PADDING_S = 0.3
LONGEST_S = 1.2


def samples_of(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != RATE:
        sys.exit(f"{path}: {rate} Hz; the recordings must have {RATE} Hz")
    return samples.mean(axis=1)


def align(decoder, samples, text):
    """[(word, start, end)] in seconds, or None where the text does not fit the audio."""
    peak = float(np.abs(samples).max()) or 1.0
    quiet = np.random.default_rng(1).normal(0.0, 1e-4, int(PADDING_S * RATE)).astype(np.float32)
    samples = np.concatenate([quiet, samples / peak * 0.7, quiet])
    pcm = (samples * 32767).astype("<i2").tobytes()
    decoder.set_align_text(text)
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    if decoder.hyp() is None:
        return None
    words = [(s.word.split("(")[0], s.start_frame * FRAME_S - PADDING_S, (s.end_frame + 1) * FRAME_S - PADDING_S) for s in decoder.seg()]
    words = [w for w in words if not w[0].startswith(("<", "["))]
    return words if [w for w, _, _ in words] == text.split() else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("out", type=Path, metavar="OUT.jsonl")
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST")
    parser.add_argument("--words", default=DIGITS)
    parser.add_argument("--least-ms", type=float, default=120.0)
    parser.add_argument("--exclude", action="append", default=[], metavar="SPEAKER-PREFIX")
    options = parser.parse_args()
    wanted = set(options.words.split())
    decoder = Decoder(samprate=RATE, loglevel="FATAL", lm=None, cmn="batch", beam=1e-300, pbeam=1e-300, wbeam=1e-300)
    found, unaligned, implausible = [], 0, 0
    for manifest in options.manifests:
        for line in (options.folder / manifest).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            speaker = row.get("speaker", "")
            if not wanted & set(row["text"].split()) or speaker.startswith(tuple(options.exclude) or ("\0",)):
                continue
            path = (options.folder / manifest).parent / row["audio_filepath"]
            if any(decoder.lookup_word(w) is None for w in row["text"].split()):
                unaligned += 1
                continue
            samples = samples_of(path)
            words = align(decoder, samples, row["text"])
            if words is None:
                unaligned += 1
                continue
            for word, start, end in words:
                if word not in wanted:
                    continue
                if not options.least_ms / 1000 <= end - start <= LONGEST_S:
                    implausible += 1
                    continue
                start, end = max(0.0, start - MARGIN_S), min(len(samples) / RATE, end + MARGIN_S)
                found.append({
                    "audio_filepath": os.path.relpath(path, options.out.parent),
                    "offset": round(start, 3), "duration": round(end - start, 3),
                    "text": word, "speaker": speaker,
                })
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    print(f"{options.out}: {len(found)} words; {unaligned} utterances not aligned, {implausible} words implausible")


if __name__ == "__main__":
    main()
