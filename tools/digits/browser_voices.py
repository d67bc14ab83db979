#!/usr/bin/env python3
"""Processes recordings like browsers and telephones: by noise suppression and gain control.

    tools/digits/browser_voices.py DATA OUTDIR [--seed N]

Reads the training manifests of the digits recipe below DATA, adds noise to the recordings, and processes them by
the noise suppression and automatic gain control of WebRTC (which Chrome and Firefox apply to microphones by
default) or Speex. Both need a second to adapt to the noise, leave holes in the spectrum, and remove faint
consonants together with the noise, which filters and noise alone do not simulate. Writes FLAC files and
OUTDIR/words.jsonl (isolated words, some with `offset` and `duration` in one file), OUTDIR/strings.jsonl and
OUTDIR/sentences.jsonl.

The same seed gives the same files. Needs: pip install numpy soundfile webrtc-noise-gain speexdsp-ns.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from speexdsp_ns import NoiseSuppression
from webrtc_noise_gain import AudioProcessor

RATE = 16000
BLOCK = RATE // 100
WORDS_A_FILE = 12
# Manifest, copies of each utterance.
STRINGS = {"digits/strings-train.jsonl": 8, "digits/one-adult-train.jsonl": 3, "synthetic/synthetic-digits.jsonl": 0.3}
SENTENCES = {"english/speechocean-train.jsonl": 1, "english/machine-labelled-train.jsonl": 1}
WORDS = {"digits/commands-train.jsonl": 1}
NOISES = ["noise/backgrounds.jsonl", "noise/esc10.jsonl"]
# Speakers of the dev sets.
EXCLUDED = ("ls1737", "ls2136", "ls5789", "ls7312")


def rows_of(data, manifest):
    path = data / manifest
    if not path.is_file():
        sys.exit(f"browser_voices: {path} is not there; tools/digits/data.py says how to lay it out")
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if not row.get("speaker", "").startswith(EXCLUDED):
            yield {**row, "path": path.parent / row["audio_filepath"]}


def read(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != RATE:
        sys.exit(f"browser_voices: {path}: expected {RATE} Hz, found {rate}")
    return samples.mean(axis=1)


def level(samples):
    """Root mean square of the louder half of the blocks."""
    blocks = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK)
    powers = np.sort((blocks**2).mean(axis=1))
    return float(np.sqrt(powers[len(powers) // 2 :].mean() + 1e-12)) if len(powers) else 1e-6


def noise(rng, length, recorded):
    """Steady noise with a random slope, hum, or a cut of a recording."""
    if rng.random() < 0.35:
        clip = recorded[rng.integers(len(recorded))]
        start = int(rng.integers(len(clip)))
        return np.take(clip, np.arange(start, start + length), mode="wrap")
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequencies = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 40.0)
    slope = rng.uniform(0.0, 1.2)
    samples = np.fft.irfft(spectrum * frequencies**-slope, length)
    if rng.random() < 0.3:
        times = np.arange(length) / RATE
        mains = rng.choice([50.0, 60.0, 120.0])
        hum = sum(np.sin(2 * np.pi * mains * k * times + rng.uniform(0, 6.28)) / k for k in range(1, 6))
        samples = samples / samples.std() + rng.uniform(0.2, 2.0) * hum
    return samples


def process(rng, samples):
    """Processes samples by one of the suppressors; keeps their length."""
    pcm = np.clip(samples * 32768, -32768, 32767).astype("<i2")
    padded = np.concatenate([pcm, np.zeros(-len(pcm) % BLOCK, "<i2")])
    if rng.random() < 0.8:
        processor = AudioProcessor(int(rng.choice([0, 0, 3, 6, 9, 15])), int(rng.choice([1, 2, 2, 3, 4])))
        run = lambda block: processor.Process10ms(block).audio
    else:
        run = NoiseSuppression.create(BLOCK, RATE).process
    out = b"".join(run(padded[i : i + BLOCK].tobytes()) for i in range(0, len(padded), BLOCK))
    return np.frombuffer(out, "<i2")[: len(pcm)]


def through(rng, pieces, recorded):
    """Joins pieces with noise between them, processed by a suppressor: samples, and positions of the pieces."""
    lead = rng.uniform(0.05, 1.5)
    gaps = [rng.uniform(0.1, 0.6) for _ in pieces[1:]]
    out, places = [np.zeros(int(lead * RATE), np.float32)], []
    at = len(out[0])
    for i, piece in enumerate(pieces):
        gain = 10 ** (rng.uniform(-3, 3) / 20) / (level(piece) + 1e-5)
        out.append(piece * gain)
        places.append((at, at + len(piece)))
        gap = np.zeros(int((gaps[i] if i < len(gaps) else rng.uniform(0.2, 1.2)) * RATE), np.float32)
        out.append(gap)
        at += len(piece) + len(gap)
    clean = np.concatenate(out)
    hiss = noise(rng, len(clean), recorded)
    snr = rng.uniform(2.0, 35.0)
    mixed = clean + hiss / (np.sqrt((hiss**2).mean()) + 1e-9) * 10 ** (-snr / 20)
    loudness = 10 ** (rng.uniform(-42, -14) / 20)
    return process(rng, mixed * loudness), places


class Writer:
    def __init__(self, folder, name):
        self.folder, self.name, self.count = folder, name, 0
        self.manifest = (folder / f"{name}.jsonl").open("w", encoding="utf-8")
        (folder / name).mkdir(parents=True, exist_ok=True)

    def write(self, samples, rows, places=None):
        path = f"{self.name}/{self.count:05d}.flac"
        soundfile.write(self.folder / path, samples, RATE, subtype="PCM_16", format="FLAC")
        self.count += 1
        for row, place in zip(rows, places or [None]):
            entry = {"audio_filepath": path, "text": row["text"], "speaker": row.get("speaker", "")}
            entry["duration"] = round(len(samples) / RATE, 3)
            if place:
                entry["offset"], entry["duration"] = place[0] / RATE, (place[1] - place[0]) / RATE
            self.manifest.write(json.dumps(entry) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    recorded = [read(row["path"]) for manifest in NOISES for row in rows_of(options.data, manifest)]
    for name, manifests in (("strings", STRINGS), ("sentences", SENTENCES)):
        writer = Writer(options.out, name)
        for manifest, copies in manifests.items():
            for row in rows_of(options.data, manifest):
                for _ in range(int(copies) + (rng.random() < copies % 1)):
                    samples, _ = through(rng, [read(row["path"])], recorded)
                    writer.write(samples, [row])
        print(f"browser_voices: {writer.count} {name}", file=sys.stderr)
    writer = Writer(options.out, "words")
    rows = [row for manifest in WORDS for row in rows_of(options.data, manifest)]
    order = rng.permutation(len(rows))
    for first in range(0, len(order), WORDS_A_FILE):
        several = [rows[i] for i in order[first : first + WORDS_A_FILE]]
        samples, places = through(rng, [read(row["path"]) for row in several], recorded)
        writer.write(samples, several, places)
    print(f"browser_voices: {len(rows)} words", file=sys.stderr)


if __name__ == "__main__":
    main()
