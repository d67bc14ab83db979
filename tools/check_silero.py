"""Holds hearken's voice activity detection to that of the silero-vad package, on every graph for
onnxruntime that the package has.

    pip install silero-vad
    ORT_DYLIB_PATH=... python tools/check_silero.py --hearken target/release/hearken audio/*.wav

Needs silero-vad (and what it needs: torch), onnxruntime, numpy. Recordings are WAV, 16 kHz, mono,
16 bits. Ends with 1 when a probability differs by more than 1e-4. Checked with silero-vad 6.2.3,
onnxruntime 1.32.0, torch 2.15.0.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
import wave

import numpy
import onnxruntime
import silero_vad
import torch
from silero_vad.utils_vad import OnnxWrapper

TOLERANCE = 1e-4
WINDOW, CONTEXT = 512, 64


def read(path):
    with wave.open(path) as w:
        if (w.getframerate(), w.getnchannels(), w.getsampwidth()) != (16000, 1, 2):
            return None
        return numpy.frombuffer(w.readframes(w.getnframes()), "<i2").astype(numpy.float32) / 32768


def by_package(path, samples):
    """Window by window, as the package does it; None for graphs that its wrapper does not run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = OnnxWrapper(path, force_onnx_cpu=True)
    names = {i.name for i in model.session.get_inputs()}
    windows = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    if names == {"input", "state", "sr"}:
        return [float(model(torch.from_numpy(w.copy()), 16000)) for w in windows]
    # The package's other graphs take the same windows without the rate, one with h and c apart and
    # all windows in one call.
    before = numpy.concatenate([numpy.zeros((1, CONTEXT), numpy.float32), windows[:-1, -CONTEXT:]])
    x = numpy.concatenate([before, windows], 1)
    if names == {"input", "h", "c"}:
        zeros = numpy.zeros((1, 1, 128), numpy.float32)
        return model.session.run(None, {"input": x, "h": zeros, "c": zeros})[0].tolist()
    if names == {"input", "state"}:
        state, found = numpy.zeros((2, 1, 128), numpy.float32), []
        for row in x:
            out, state = model.session.run(None, {"input": row[None], "state": state})
            found.append(float(out[0, 0]))
        return found
    return None


def by_hearken(hearken, path, audio):
    command = [hearken, "verify", path, "--audio", audio, "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return {d["engine"]: d["speech"] for d in json.loads(result.stdout)["detectors"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hearken", default="hearken", help="the program")
    parser.add_argument("--golden", help="write the probabilities of silero_vad.onnx on the first recording here")
    parser.add_argument("audio", nargs="+")
    args = parser.parse_args()
    folder = os.path.join(os.path.dirname(silero_vad.__file__), "data")
    if args.golden:
        found = by_package(os.path.join(folder, "silero_vad.onnx"), read(args.audio[0]))
        with open(args.golden, "w") as f:
            json.dump([round(p, 6) for p in found], f)
    graphs = sorted(f for f in os.listdir(folder) if f.endswith(".onnx"))
    failed = False
    for name in graphs:
        path, worst, windows, speech = os.path.join(folder, name), {}, 0, 0
        for audio in args.audio:
            samples = read(audio)
            if samples is None or len(samples) > 60 * 16000:
                continue
            expected = by_package(path, samples)
            if expected is None:
                print(f"{name}: skipped: the package's code does not run it")
                break
            windows += len(expected)
            speech += sum(p > 0.5 for p in expected)
            for engine, found in by_hearken(args.hearken, path, audio).items():
                assert len(found) == len(expected), (len(found), len(expected))
                difference = max(abs(a - b) for a, b in zip(found, expected))
                worst[engine] = max(worst.get(engine, 0), difference)
        for engine, difference in worst.items():
            bad = difference > TOLERANCE
            failed |= bad
            print(f"{name}: {engine}: {difference:.1e} over {windows} windows, {speech} of speech{': TOO MUCH' if bad else ''}")
    print(f"silero-vad {silero_vad.__version__ if hasattr(silero_vad, '__version__') else ''}, onnxruntime {onnxruntime.__version__}")
    sys.exit(failed)


main()
