#!/usr/bin/env python3
"""Makes new sentences of pieces of recorded ones, so that a network does not learn the sentences of its recordings by heart.

    hearken align SET-train.jsonl --model english --format jsonl -o SET.jsonl      # for each set
    tools/english/mix_words.py OUT.jsonl --manifests SET-train.jsonl... --alignments SET.jsonl... [--seed 1] [--repeat 1]

Each recording is cut between words where it is quiet, and the pieces, of one to five words, of one speaker (of one set, where
speakers are not named) are joined in a random order (aligned data augmentation, Lam et al. 2021). Recordings of which more than
a fifth of the words do not fit are left out and counted. The new recordings are FLAC files beside OUT.jsonl, a manifest.
The manifests say who speaks. Alignments name recordings relative to the current folder. Needs numpy and soundfile.
"""
import argparse
import collections
import json
import pathlib
import re

import numpy as np
import soundfile

RATE = 16_000
QUIET_DB = 15.0  # below the level of the speech: a place to cut
SEARCH_S = 0.06  # around the boundary of the alignment
WORDS = 5  # of a piece, at most
SHORTEST_S = 0.25
LONGEST_S = 3.0
FADE = int(0.008 * RATE)
LENGTH_S = (2.0, 9.0)  # of a new sentence


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, metavar="OUT.jsonl")
    parser.add_argument("--manifests", nargs="+", type=pathlib.Path, required=True, metavar="SET-train.jsonl")
    parser.add_argument("--alignments", nargs="+", type=pathlib.Path, required=True, metavar="SET.jsonl", help="of `hearken align`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1, help="how often each piece is used")
    return parser.parse_args()


def level(samples):
    return 20 * np.log10(np.sqrt(np.mean(np.square(samples, dtype=np.float64))) + 1e-6)


def cut_at(samples, before, after, speech_level):
    """The quietest sample between two words, or None if it is not quiet there."""
    middle = (before["end"] + after["start"]) / 2
    first = max(min(before["end"], middle - SEARCH_S), (before["start"] + before["end"]) / 2)
    last = min(max(after["start"], middle + SEARCH_S), (after["start"] + after["end"]) / 2)
    window = int(0.02 * RATE)
    places = np.arange(int(first * RATE), min(int(last * RATE), len(samples) - window), window // 4)
    if not len(places):
        return None
    levels = [level(samples[at : at + window]) for at in places]
    quietest = int(np.argmin(levels))
    return int(places[quietest]) + window // 2 if levels[quietest] < speech_level - QUIET_DB else None


def speakers(manifests):
    """{path: speaker} of the recordings; who is not named is of the manifest."""
    found = {}
    for manifest in manifests:
        for text in manifest.read_text().splitlines():
            row = json.loads(text)
            found[(manifest.parent / row["audio_filepath"]).resolve()] = row.get("speaker") or manifest.stem
    return found


def pieces(path, line):
    """[(samples, text)] of an aligned recording; all words of a piece fit."""
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or samples.ndim > 1:
        raise SystemExit(f"{path}: expected one channel of {RATE} Hz")
    words = line["words"]
    speech = np.concatenate([samples[int(w["start"] * RATE) : int(w["end"] * RATE)] for w in words])
    if not len(speech):
        return []
    speech_level = level(speech)
    gain = 10 ** ((-26.0 - speech_level) / 20)
    # A silence of at most 0.15 s is kept before the first and after the last word.
    cuts = [(0, max(0, int((words[0]["start"] - 0.15) * RATE)))]
    for i in range(1, len(words)):
        at = cut_at(samples, words[i - 1], words[i], speech_level)
        if at is not None:
            cuts.append((i, at))
    cuts.append((len(words), min(len(samples), int((words[-1]["end"] + 0.15) * RATE))))
    found = []
    for (i, start), (j, end) in zip(cuts, cuts[1:]):
        fits = all(w["fits"] for w in words[i:j])
        if fits and j - i <= WORDS and SHORTEST_S * RATE <= end - start <= LONGEST_S * RATE:
            found.append((np.clip(samples[start:end] * gain, -1, 1), " ".join(w["word"] for w in words[i:j])))
    return found


def joined(parts):
    """The pieces one after another, with short fades between them."""
    fade = np.linspace(0, 1, FADE, dtype=np.float32)
    out = np.zeros(0, np.float32)
    for part in parts:
        part = part.copy()
        part[:FADE] *= fade
        part[-FADE:] *= fade[::-1]
        if len(out):
            out[-FADE:] += part[:FADE]
            part = part[FADE:]
        out = np.concatenate([out, part])
    return out


def main():
    options = arguments()
    rng = np.random.default_rng(options.seed)
    folder = options.out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    named = speakers(options.manifests)
    of_speaker = collections.defaultdict(list)
    left_out = 0
    for alignment in options.alignments:
        for text in alignment.read_text().splitlines():
            line = json.loads(text)
            if not line["words"] or sum(w["fits"] for w in line["words"]) < 0.8 * len(line["words"]):
                left_out += 1
                continue
            path = pathlib.Path(re.sub(r"#t=[\d.,]+$", "", line["path"]))
            of_speaker[named[path.resolve()]].extend(pieces(path, line))
    number, seconds = 0, 0.0
    with options.out.open("w") as manifest:
        for speaker, found in of_speaker.items():
            if len(found) < 4:
                continue
            for _ in range(options.repeat):
                order = rng.permutation(len(found))
                at = 0
                while at < len(order):
                    length = rng.uniform(*LENGTH_S) * RATE
                    chosen = []
                    while at < len(order) and (not chosen or sum(len(found[i][0]) for i in chosen) < length):
                        chosen.append(order[at])
                        at += 1
                    samples = joined([found[i][0] for i in chosen])
                    path = folder / f"{number:05}.flac"
                    soundfile.write(path, samples, RATE, subtype="PCM_16")
                    row = {"audio_filepath": f"{folder.name}/{path.name}", "duration": round(len(samples) / RATE, 3),
                           "text": " ".join(found[i][1] for i in chosen), "speaker": speaker}
                    manifest.write(json.dumps(row) + "\n")
                    number += 1
                    seconds += len(samples) / RATE
    print(f"{options.out}: {number} recordings, {seconds / 3600:.2f} h, of {len(of_speaker)} speakers; "
          f"{left_out} recordings do not fit their texts and were left out")


if __name__ == "__main__":
    main()
