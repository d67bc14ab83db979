#!/usr/bin/env python3
"""Writes tests/data/fbank/: small signals and their features by kaldi-native-fbank.

    python3 -m venv venv && venv/bin/pip install numpy kaldi-native-fbank
    venv/bin/python tools/goldens/fbank.py

Needs espeak-ng for the speech (a synthetic voice). `cases.json` lists the cases: signal (16-bit
little-endian samples, NAME.i16, of which the first `samples` are taken), options as hearken names
them, frames before and after the end of the signal, and features (32-bit little-endian, NAME.f32).
"""
import json
import pathlib
import subprocess
import sys
import wave

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "check"))
import fbank_peer

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data" / "fbank"


def speech():
    """A little over half a second of espeak-ng, brought from 22050 to 16000 Hz by linear interpolation."""
    wav = OUT / "espeak.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-w", wav, "seven eight"], check=True)
    with wave.open(str(wav)) as w:
        rate, x = w.getframerate(), np.frombuffer(w.readframes(w.getnframes()), "<i2").astype(float)
    wav.unlink()
    t = np.arange(int(len(x) * 16000 / rate)) * rate / 16000
    return np.interp(t, np.arange(len(x)), x)[800:10807]


def signals():
    r = np.random.default_rng(9)
    t = np.arange(8000) / 16000
    return {
        "noise": r.normal(size=8007) * 3277,
        "speech": speech(),
        "silence": np.zeros(1000),
        "square": np.where(np.arange(4000) // 37 % 2 == 0, 32767, -32768),
        "chirp": 16384 * np.sin(2 * np.pi * (50 * t + 7000 * t**2)) + r.normal(size=8000) * 33,
    }


def cases():
    for name in ["noise", "speech", "silence", "square", "chirp"]:
        yield name, name, None, {}
    for n in [1, 79, 80, 81, 239, 240, 279, 280, 399, 400, 401]:
        yield f"short{n}", "noise", n, {}
    yield "snip", "speech", 4000, {"snip_edges": True}
    yield "snip399", "noise", 399, {"snip_edges": True}
    yield "snip400", "noise", 400, {"snip_edges": True}
    for window in ["hann", "hanning", "hamming", "rectangular"]:
        yield window, "speech", 3000, {"window": window}
    yield "rate8000", "speech", 3000, {"sample_rate": 8000, "num_mel_bins": 40, "high_freq": 0.0}
    yield "rate11025", "noise", 3001, {"sample_rate": 11025, "num_mel_bins": 40}
    yield "rate44100", "speech", 8000, {"sample_rate": 44100, "high_freq": 7600.0, "num_mel_bins": 64}
    yield "scale", "speech", 2000, {"sample_scale": 32768.0}
    yield "plain", "speech", 2000, {"remove_dc_offset": False, "preemphasis": 0.0, "low_freq": 0.0}
    yield "long_shift", "noise", 3000, {"frame_shift_ms": 20.0, "frame_length_ms": 32.0}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in [*OUT.glob("*.i16"), *OUT.glob("*.f32")]:
        old.unlink()
    quantized = {}
    for name, x in signals().items():
        quantized[name] = np.clip(np.round(x), -32768, 32767).astype("<i2")
        quantized[name].tofile(OUT / f"{name}.i16")
    listed = []
    for name, signal, n, options in cases():
        x = quantized[signal][:n].astype(np.float32) / 32768
        before, features = fbank_peer.features(x, options)
        features.astype("<f4").tofile(OUT / f"{name}.f32")
        listed.append(dict(name=name, signal=signal, samples=len(x), options=options,
                           frames_before_end=before, frames=len(features)))
    lines = ",\n".join(" " + json.dumps(c) for c in listed)
    (OUT / "cases.json").write_text(f"[\n{lines}\n]\n")
    print(sum(f.stat().st_size for f in OUT.iterdir()), "bytes")


if __name__ == "__main__":
    main()
