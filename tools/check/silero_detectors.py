"""Compares hearken's voice activity detection with the silero-vad package, on every graph for onnxruntime in the
package.

    pip install silero-vad
    ORT_DYLIB_PATH=... python tools/check/silero_detectors.py --hearken target/release/hearken audio/*.wav

Needs silero-vad, onnxruntime, numpy. If torch is not installed (`pip install --no-deps silero-vad`), this script
runs the graph of the package's wrapper in the same way as the wrapper; it always does so for the other graphs, for
which the package has no code. Recordings are WAV, 16 kHz, mono, 16 bits. Exits with 1 if a probability differs by
more than 1e-4, or none was compared. Checked with silero-vad 6.2.3, onnxruntime 1.32.0, torch 2.15.0 and without
torch.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import warnings
import wave

import numpy
import onnxruntime

try:
    import torch
    from silero_vad.utils_vad import OnnxWrapper
except ImportError:
    torch = None
    print("without the package's own wrapper, for want of torch")

TOLERANCE = 1e-4
WINDOW, CONTEXT = 512, 64


def read(path):
    try:
        w = wave.open(path)  # noqa: SIM115 (closed below)
    except wave.Error:
        # Python up to 3.11 does not know the extensible format.
        return None
    with w:
        if (w.getframerate(), w.getnchannels(), w.getsampwidth()) != (16000, 1, 2):
            return None
        return numpy.frombuffer(w.readframes(w.getnframes()), "<i2").astype(numpy.float32) / 32768


def by_package(path, samples):
    """Window by window, as the package does it; None for graphs that its wrapper does not run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # onnxruntime warns about each unused initializer of its graphs.
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    windows = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    if torch and names == {"input", "state", "sr"}:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = OnnxWrapper(path, force_onnx_cpu=True)
        return [float(model(torch.from_numpy(w.copy()), 16000)) for w in windows]
    # The package's other graphs take the same windows without the rate, one with h and c apart and
    # all windows in one call.
    before = numpy.concatenate([numpy.zeros((1, CONTEXT), numpy.float32), windows[:-1, -CONTEXT:]])
    x = numpy.concatenate([before, windows], 1)
    if names == {"input", "h", "c"}:
        zeros = numpy.zeros((1, 1, 128), numpy.float32)
        return session.run(None, {"input": x, "h": zeros, "c": zeros})[0].tolist()
    if names in ({"input", "state"}, {"input", "state", "sr"}):
        state, found = numpy.zeros((2, 1, 128), numpy.float32), []
        rate = {"sr": numpy.array(16000, numpy.int64)} if "sr" in names else {}
        for row in x:
            out, state = session.run(None, {"input": row[None], "state": state, **rate})
            found.append(float(out[0, 0]))
        return found
    return None


def by_hearken(hearken, path, audio):
    command = [hearken, "verify", path, "--audio", audio, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return {d["engine"]: d["speech"] for d in json.loads(result.stdout)["detectors"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hearken", default="hearken", help="the program")
    parser.add_argument("--golden", help="write the probabilities of silero_vad.onnx on the first recording here")
    parser.add_argument("audio", nargs="+")
    args = parser.parse_args()
    # Without importing the package, which needs torch.
    package = importlib.util.find_spec("silero_vad")
    folder = os.path.join(package.submodule_search_locations[0], "data")
    if args.golden:
        found = by_package(os.path.join(folder, "silero_vad.onnx"), read(args.audio[0]))
        with open(args.golden, "w") as f:
            json.dump([round(p, 6) for p in found], f)
    graphs = sorted(f for f in os.listdir(folder) if f.endswith(".onnx"))
    failed, compared = False, 0
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
            compared += windows
            print(f"{name}: {engine}: {difference:.1e} over {windows} windows, {speech} of speech{': TOO MUCH' if bad else ''}")
    print(f"silero-vad {importlib.metadata.version('silero-vad')}, onnxruntime {onnxruntime.__version__}")
    sys.exit(failed or compared == 0)


main()
