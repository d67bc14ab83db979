"""Compares `hearken import` with Keras: models with random weights are built in Keras, converted by tf2onnx and
imported, and the outputs of the imported model in onnxruntime are compared with those of Keras.

    python tools/check/keras_imports.py --hearken target/release/hearken
    python tools/check/keras_imports.py --goldens tests/data/keras

The second command writes small models of each kind and the outputs of Keras, for the tests.

Needs tensorflow (the CPU package is enough), tf2onnx, onnxruntime. Exits with 1 if something differs by
more than 1e-5, or if a model without an equivalent is accepted. Checked with Keras 3.15.1, TensorFlow
2.21.0, tf2onnx 1.17.0.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import keras
import numpy
import onnxruntime
import tensorflow as tf
import tf2onnx

TOKENS = 12
LSTM, GRU, RNN = keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN


def stack(*cells, features=80, dense=None, end="log_softmax"):
    """Cells over [N, T, features], a linear layer before them if asked for, and the tokens' scores."""
    x = inputs = keras.Input((None, features), name="x")
    if dense:
        x = keras.layers.Dense(dense)(x)
    for cell in cells:
        x = cell(x)
    return keras.Model(inputs, keras.layers.Dense(TOKENS, activation=end)(x))


def cell(kind, width, **more):
    random = keras.initializers.RandomUniform(-0.3, 0.3)
    return kind(width, return_sequences=True, bias_initializer=random, **more)


MODELS = {
    "GRU, reset after": lambda: stack(cell(GRU, 24, reset_after=True)),
    "GRU, reset before": lambda: stack(cell(GRU, 24, reset_after=False)),
    "LSTM": lambda: stack(cell(LSTM, 24)),
    "SimpleRNN, tanh": lambda: stack(cell(RNN, 24)),
    "SimpleRNN, relu": lambda: stack(cell(RNN, 24, activation="relu")),
    "2 GRU": lambda: stack(cell(GRU, 24), cell(GRU, 16)),
    "3 LSTM": lambda: stack(cell(LSTM, 24), cell(LSTM, 16), cell(LSTM, 20)),
    "dense, GRU, LSTM, SimpleRNN": lambda: stack(cell(GRU, 24), cell(LSTM, 24), cell(RNN, 24), dense=32),
    "GRU, softmax": lambda: stack(cell(GRU, 24), end="softmax"),
    "GRU, scores": lambda: stack(cell(GRU, 24), end=None),
}
REFUSED = {
    "bidirectional GRU": lambda: stack(keras.layers.Bidirectional(cell(GRU, 24))),
    "reverse LSTM": lambda: stack(cell(LSTM, 24, go_backwards=True)),
    "GRU, other activation": lambda: stack(cell(GRU, 24, activation="relu")),
}


def convert(model, path):
    signature = [tf.TensorSpec((None, None, model.input_shape[-1]), tf.float32, name="x")]
    function = tf.function(lambda x: model(x, training=False), input_signature=signature)
    tf2onnx.convert.from_function(function, input_signature=signature, opset=17, output_path=str(path))


def imported(hearken, path, out):
    """The error, or None."""
    command = [hearken, "import", path, "-o", out, "--tokens", os.path.dirname(path) + "/tokens.txt"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if result.returncode == 0 else result.stderr.strip()


def difference(model, path, end):
    """The largest difference of log-probabilities, computed in chunks of 7 steps with states carried."""
    x = numpy.random.default_rng(1).standard_normal((2, 35, model.input_shape[-1])).astype(numpy.float32)
    y = numpy.asarray(model(x, training=False), numpy.float64)
    if end == "softmax":
        y = numpy.log(y)
    elif end is None:
        y = y - numpy.log(numpy.exp(y).sum(-1, keepdims=True))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    states = {i.name: numpy.zeros([i.shape[0], 2, i.shape[2]], numpy.float32) for i in session.get_inputs()[1:]}
    names = [o.name for o in session.get_outputs()]
    found = []
    for at in range(0, x.shape[1], 7):
        outputs = dict(zip(names, session.run(None, {"x": x[:, at : at + 7], **states})))
        found.append(outputs["log_probs"])
        states = {name: outputs[f"next_{name}"] for name in states}
    return float(numpy.abs(numpy.concatenate(found, 1) - y).max())


GOLDENS = {
    "gru-after": lambda: stack(cell(GRU, 5, reset_after=True), features=4),
    "gru-before": lambda: stack(cell(GRU, 5, reset_after=False), features=4),
    "gru-new": lambda: stack(GRU(5, return_sequences=True), features=4),  # its bias is all zeros
    "lstm": lambda: stack(cell(LSTM, 5), features=4),
    "rnn-tanh": lambda: stack(cell(RNN, 5), features=4),
    "rnn-relu": lambda: stack(cell(RNN, 5, activation="relu"), features=4),
    "stack": lambda: stack(cell(GRU, 5), cell(RNN, 6), cell(LSTM, 4), features=4, dense=3),
    "refused": lambda: stack(cell(GRU, 5, activation="relu"), features=4),
}


def write_goldens(folder):
    folder.mkdir(parents=True, exist_ok=True)
    numbers = lambda a: {"shape": list(a.shape), "data": [float(f"{v:.9g}") for v in numpy.ravel(a)]}
    cases = []
    for name, make in GOLDENS.items():
        keras.utils.set_random_seed(11)
        model = make()
        convert(model, folder / f"{name}.onnx")
        x = numpy.random.default_rng(2).standard_normal((2, 7, 4)).astype(numpy.float32)
        if name != "refused":
            y = numpy.asarray(model(x, training=False))
            cases.append({"name": name, "x": numbers(x), "log_probs": numbers(y), "states": []})
    versions = {m.__name__: m.__version__ for m in (keras, tf, tf2onnx)}
    (folder / "cases.json").write_text(json.dumps({"versions": versions, "cases": cases}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hearken", default="hearken", help="the program")
    parser.add_argument("--goldens", type=pathlib.Path, help="write models for the tests into this folder")
    args = parser.parse_args()
    if args.goldens:
        return write_goldens(args.goldens)
    failed = False
    with tempfile.TemporaryDirectory() as place:
        with open(place + "/tokens.txt", "w", encoding="utf-8") as f:
            f.writelines(f"{'<blk>' if i == 0 else f't{i}'} {i}\n" for i in range(TOKENS))
        for name, make in {**MODELS, **REFUSED}.items():
            keras.utils.set_random_seed(7)
            model = make()
            convert(model, place + "/keras.onnx")
            complaint = imported(args.hearken, place + "/keras.onnx", place + "/model.onnx")
            if name in REFUSED:
                wrong = complaint is None
                print(f"{name}: {'TAKEN' if wrong else 'refused: ' + complaint}", flush=True)
            elif complaint is not None:
                wrong = True
                print(f"{name}: REFUSED: {complaint}", flush=True)
            else:
                end = "softmax" if name.endswith("softmax") else None if name.endswith("scores") else "log"
                largest = difference(model, place + "/model.onnx", end)
                wrong = not largest <= 1e-5
                print(f"{name}: {'DIFFERS' if wrong else 'equal'}, {largest:.1e}", flush=True)
            failed |= wrong
    sys.exit(failed)


main()
