#!/usr/bin/env python3
"""Makes larger dev sets of the digits model: each recording distorted in seven ways.

    tools/digits/distort_dev.py DATA OUT

With 220 and 113 words, differences between models of a few points are not significant. Rates on the distorted
copies vary less, because one recording that fails completely counts less. Writes WAV files, strangers.jsonl and
strings.jsonl to OUT. They are for choosing between models only: the reported rates are those of the original
recordings. Needs sox, numpy and soundfile.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
EFFECTS = {
    "slower": ["speed", "0.92"],
    "faster": ["speed", "1.08"],
    "hasty": ["tempo", "-s", "1.2"],
    "room": ["gain", "-3", "reverb", "35", "50", "60"],
    "band": ["gain", "-14", "sinc", "250-3300"],
    "clipped": ["gain", "12"],
}
SNR_DB = 14.0


def pink(length, rng):
    spectrum = np.fft.rfft(rng.standard_normal(length))
    return np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1.0), length)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for name in ("strangers", "strings"):
        manifest = options.data / f"digits/{name}-dev.jsonl"
        with (options.out / f"{name}.jsonl").open("w", encoding="utf-8") as out:
            for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines()):
                row = json.loads(line)
                samples, rate = soundfile.read(manifest.parent / row["audio_filepath"], always_2d=True)
                if rate != RATE:
                    raise SystemExit(f"distort_dev: {row['audio_filepath']}: expected {RATE} Hz, found {rate}")
                samples = samples.mean(axis=1)
                plain = options.out / "plain.wav"
                soundfile.write(plain, samples, RATE)
                made = [f"{name}-{number:02}-{effect}.wav" for effect in EFFECTS]
                for path, effect in zip(made, EFFECTS.values()):
                    subprocess.run(["sox", "-V1", plain, options.out / path, *effect], check=True)
                noise = pink(len(samples), rng)
                noise *= samples.std() / noise.std() * 10 ** (-SNR_DB / 20)
                made.append(f"{name}-{number:02}-noise.wav")
                soundfile.write(options.out / made[-1], samples + noise, RATE)
                for path in made:
                    out.write(json.dumps({"audio_filepath": path, "text": row["text"]}) + "\n")
        (options.out / "plain.wav").unlink()


if __name__ == "__main__":
    main()
