#!/usr/bin/env python3
"""Checks the model files of the example `sequences` in onnxruntime and tract, and its figures in onnxruntime.

    cargo run --release --example sequences -- NAME --out sequences-out # text, sentiment, series, music, translation, memory
    sequences.py sequences-out                                              # needs numpy, onnxruntime, tract

Every file runs on random inputs in two pieces, with the states carried; the runtimes must agree to 1e-4. Then bits per
character of `text` and translations of some numbers are computed from the files alone.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import tract

DATA = Path(__file__).parents[2] / "examples/sequences/data"


class Ort:
    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.inputs = self.session.get_inputs()
        self.metadata = self.session.get_modelmeta().custom_metadata_map

    def run(self, values):
        return self.session.run(None, dict(zip([i.name for i in self.inputs], values, strict=True)))


class Tract:
    def __init__(self, path):
        self.runnable = tract.onnx().load(path).into_model().into_runnable()

    def run(self, values):
        return [output.to_numpy() for output in self.runnable.run(values)]


def sizes(port, **axes):
    return [axes.get(size, size) for size in port.shape]


def is_state(port):
    return port.name.startswith("state.")


def zero(port):
    return np.zeros(sizes(port, N=1), np.float32)


def agree(path):
    """The largest difference between the runtimes."""
    ort, other, random, worst = Ort(path), Tract(path), np.random.default_rng(3), 0.0
    config = json.loads(ort.metadata["sequence"])
    config = config.get("decoder" if "decoder" in path.name else "encoder", config)
    states = [[zero(port) for port in ort.inputs if is_state(port)] for _ in range(2)]
    for steps in (3, 5):
        values = []
        for port in ort.inputs:
            if port.name == "tokens":
                values.append(random.integers(0, config["input"]["tokens"], (1, steps)))
            elif not is_state(port):
                values.append(random.normal(size=sizes(port, N=1, T=steps, S=7)).astype(np.float32))
        results = []
        for runtime, own in zip((ort, other), states, strict=True):
            state, rest = iter(own), iter(values)
            inputs = [next(state) if is_state(port) else next(rest) for port in ort.inputs]
            results.append(runtime.run(inputs))
            own[:] = results[-1][1 : 1 + len(own)]
        differences = [np.abs(a - b).max() for a, b in zip(*results, strict=True)]
        worst = max(worst, *(np.inf if np.isnan(d) else d for d in differences))
    return worst


def bits_per_character(path):
    ort = Ort(path)
    alphabet = json.loads(ort.metadata["alphabet"])
    text = (DATA / "books.txt").read_text(encoding="utf-8")
    ids = np.array([alphabet.index(c) for c in text[len(text) // 20 * 19 :]])
    size = len(ids) // 20 + 1
    total = count = 0
    for piece in (ids[at : at + size] for at in range(0, len(ids), size)):
        states = [zero(port) for port in ort.inputs if is_state(port)]
        rows = ort.run([piece[None, :-1], *states])[0][0]
        total -= rows[np.arange(len(rows)), piece[1:]].sum()
        count += len(rows)
    return total / count / np.log(2)


def translate(encoder, decoder, words):
    letters = encoder.metadata["letters"]
    state = zero(encoder.inputs[1])
    memory, state = encoder.run([np.array([[letters.index(c) for c in words]]), state])
    digits, last = "", 0
    while len(digits) < 12:
        log_probs, state, _ = decoder.run([np.array([[last]]), state, memory])
        last = int(log_probs[0, 0].argmax())
        if last == 0:
            break
        digits += str(last - 1)
    return digits


def main(folder):
    wrong = 0
    files = sorted(folder.glob("*.onnx"))
    if not files:
        sys.exit(f"{folder}: no model files of the example")
    for path in files:
        worst = agree(path)
        wrong += not worst <= 1e-4
        print(f"{path.name}: onnxruntime and tract differ by {worst:.1e}")
    if (folder / "text.onnx").exists():
        print(f"text: {bits_per_character(folder / 'text.onnx'):.3f} bits per character")
    if (folder / "translation-encoder.onnx").exists():
        pair = [Ort(folder / f"translation-{part}.onnx") for part in ("encoder", "decoder")]
        for words in ("seven", "ninety thousand twelve", "four hundred eight thousand seventeen"):
            print(f"{words}: {translate(*pair, words)}")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]))))
