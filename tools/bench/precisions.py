"""Prints a table of the precisions of an export: bytes, time in onnxruntime, word error rate, largest difference.

    python tools/bench/precisions.py --hearken target/release/hearken model.onnx DEV.jsonl [DEV.jsonl ...]

The network alone is timed, one thread, the best of twelve runs; the error rate is that of
`hearken evaluate --engine ort` ("oh" and "zero" count as one word). Needs numpy, onnxruntime.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

import numpy
import onnxruntime

STEPS, PUSH = 250, 3  # 10 s of 40 ms; 120 ms a push


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session, frames, push):
    """Log-probabilities of [1, T, F], computed in chunks of this number of frames."""
    feeds = {i.name: numpy.zeros([d if isinstance(d, int) else 1 for d in i.shape], numpy.float32)
             for i in session.get_inputs()[1:]}
    names, found = [o.name for o in session.get_outputs()], []
    for at in range(0, frames.shape[1], push):
        outputs = dict(zip(names, session.run(None, {"x": frames[:, at : at + push], **feeds})))
        found.append(outputs["log_probs"])
        feeds = {name: outputs[f"next_{name}"] for name in feeds}
    return numpy.concatenate(found, 1)


def best(session, frames, push):
    times = []
    for _ in range(12):
        begin = time.perf_counter()
        run(session, frames, push)
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hearken", default="hearken", help="the program")
    parser.add_argument("model")
    parser.add_argument("manifests", nargs="+")
    args = parser.parse_args()
    environment = dict(os.environ)
    folder = os.path.join(os.path.dirname(onnxruntime.__file__), "capi")
    library = next(f for f in os.listdir(folder) if f.startswith("libonnxruntime.so"))
    environment.setdefault("ORT_DYLIB_PATH", os.path.join(folder, library))
    frames, plain = None, None
    print("| precision | bytes | 10 s of audio in pushes of 120 ms | the same at once | word error rate "
          "| largest difference of log-probabilities |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        for precision in ("fp32", "fp16", "int8", "int8-dynamic"):
            path = os.path.join(place, precision + ".onnx")
            subprocess.run([args.hearken, "export", args.model, "--for", "onnxruntime", "--precision", precision,
                            "-o", path], check=True, capture_output=True)
            session = session_of(path)
            metadata = session.get_modelmeta().custom_metadata_map
            stack = int(metadata["subsampling"])
            if frames is None:
                width = json.loads(metadata["features"])["num_mel_bins"]
                frames = numpy.random.default_rng(1).normal(-6, 2, (1, STEPS * stack, width)).astype(numpy.float32)
            found = run(session, frames, PUSH * stack)
            plain = found if plain is None else plain
            result = subprocess.run([args.hearken, "evaluate", "--engine", "ort", "--model", path, "--json", "--equal",
                                     "oh=zero", *args.manifests], check=True, capture_output=True, text=True, env=environment)
            total = json.loads(result.stdout.splitlines()[-1])
            print(f"| {precision} | {os.path.getsize(path):,} | {best(session, frames, PUSH * stack):.1f} ms "
                  f"| {best(session, frames, frames.shape[1]):.1f} ms | {100 * total['wer']:.2f} % "
                  f"| {numpy.abs(found - plain).max():.1e} |".replace(",", " "), flush=True)


main()
