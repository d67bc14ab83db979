"""Compares `hearken transcribe --model FOLDER` with sherpa-onnx, on folders with random weights in the form of its
streaming models: zipformer2-CTC (BPE and byte-level BPE), and the transducers zipformer2, zipformer and LSTM.

    ORT_DYLIB_PATH=... python tools/check/sherpa_folders.py --hearken target/release/hearken audio/*.wav

Every state of such an encoder affects its output, so a state that is lost, swapped, or carried to another stream
changes the tokens. For each folder: the tokens of each recording alone; four streams at the same time in
sherpa-onnx; and `hearken verify`, as a whole and in chunks, with one stream and four.

Needs numpy, soundfile, onnx, sherpa-onnx. Recordings are 16 kHz, mono. Exits with 1 if something
differs. Checked with sherpa-onnx 2.0.1 and 1.13.8, onnx 1.23.2.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy
import onnx
import sherpa_onnx
import soundfile
from onnx import TensorProto, helper, numpy_helper

FEATURES, KERNEL, STRIDE, WIDTH, JOINED = 80, 17, 4, 24, 16
# Frames of a window, and frames that it moves on by.
WINDOW, SHIFT = 45, 32
VOCABULARY = 40

# icefall's byte-level BPE (icefall, byte_utils.py): a printable character for every byte.
RANGES = ((256, 287), (32, 126), (288, 305), (308, 318), (321, 328), (330, 382), (384, 422))
BYTE_LETTERS = [chr(c) for first, last in RANGES for c in range(first, last + 1)]


class Graph:
    def __init__(self, seed):
        self.nodes, self.constants, self.random = [], [], numpy.random.default_rng(seed)
        self.inputs, self.outputs = [], []

    def constant(self, values, kind=numpy.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(numpy.asarray(values, kind), name))
        return name

    def weights(self, *shape, scale=1.0):
        return self.constant(self.random.normal(size=shape) * scale / numpy.sqrt(shape[0]))

    def node(self, op, inputs, output=None, **attributes):
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"n{len(self.nodes)}", **attributes))
        return output

    def input(self, name, shape, kind=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name, shape, kind=TensorProto.FLOAT):
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def save(self, path, metadata):
        graph = helper.make_graph(self.nodes, "random", self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        helper.set_model_props(model, {k: str(v) for k, v in metadata.items()})
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)


def encoder(path, seed, states, metadata, width_out, ctc):
    """x and states to [N, 8, width_out]; `states` are (name, shape with "N", is int64)."""
    g = Graph(seed)
    x = g.input("x", ["N", WINDOW, FEATURES])
    x = g.node("Mul", [g.node("Add", [x, g.constant(8.0)]), g.constant(0.3)])
    x = g.node("Transpose", [x], perm=[0, 2, 1])
    kernel = g.constant(g.random.normal(size=(WIDTH, FEATURES, KERNEL)) / numpy.sqrt(FEATURES * KERNEL) * 1.5)
    x = g.node("Conv", [x, kernel], strides=[STRIDE], kernel_shape=[KERNEL])
    x = g.node("Tanh", [g.node("Transpose", [x], perm=[0, 2, 1])])
    mean = g.node("ReduceMean", [x], axes=[1], keepdims=0)
    for name, shape, is_i64 in states:
        kind = TensorProto.INT64 if is_i64 else TensorProto.FLOAT
        g.input(name, shape, kind)
        axis, rest = shape.index("N"), [d for d in shape if d != "N"]
        size = int(numpy.prod(rest))
        first = [axis] + [i for i in range(len(shape)) if i != axis]
        flat = g.node("Cast", [name], to=TensorProto.FLOAT) if is_i64 else name
        flat = g.node("Reshape", [g.node("Transpose", [flat], perm=first), g.constant([-1, size], numpy.int64)])
        if is_i64:
            heard = g.node("Sin", [g.node("Mul", [flat, g.constant(0.011)])])
            g.node("Add", [name, g.constant(SHIFT, numpy.int64)], "new_" + name)
        else:
            heard = flat
            new = g.node("Add", [g.node("Mul", [flat, g.constant(0.6)]), g.node("MatMul", [mean, g.weights(WIDTH, size)])])
            new = g.node("Reshape", [g.node("Tanh", [new]), g.constant([-1] + rest, numpy.int64)])
            g.node("Transpose", [new], "new_" + name, perm=[int(i) for i in numpy.argsort(first)])
        heard = g.node("MatMul", [heard, g.weights(size, WIDTH, scale=1.2)])
        x = g.node("Add", [x, g.node("Unsqueeze", [heard, g.constant([1], numpy.int64)])])
    x = g.node("MatMul", [g.node("Tanh", [x]), g.weights(WIDTH, width_out, scale=5.0)])
    if ctc:
        # Some outputs are blank.
        bias = numpy.zeros(width_out)
        bias[0] = 4
        x = g.node("LogSoftmax", [g.node("Add", [x, g.constant(bias)])], "log_probs", axis=-1)
    else:
        x = g.node("Identity", [x], "encoder_out")
    g.output(x, ["N", (WINDOW - KERNEL) // STRIDE + 1, width_out])
    for name, shape, is_i64 in states:
        g.output("new_" + name, shape, TensorProto.INT64 if is_i64 else TensorProto.FLOAT)
    g.save(path, metadata)


def decoder(path, seed):
    g = Graph(seed)
    y = g.input("y", ["N", 2], TensorProto.INT64)
    # As in icefall: -1 stands for no token, and its embedding is zero.
    known = g.node("Cast", [g.node("GreaterOrEqual", [y, g.constant(0, numpy.int64)])], to=TensorProto.FLOAT)
    embedding = g.weights(VOCABULARY, WIDTH, scale=VOCABULARY**0.5)
    e = g.node("Gather", [embedding, g.node("Max", [y, g.constant(0, numpy.int64)])], axis=0)
    e = g.node("Mul", [e, g.node("Unsqueeze", [known, g.constant([2], numpy.int64)])])
    e = g.node("Reshape", [e, g.constant([-1, 2 * WIDTH], numpy.int64)])
    g.node("MatMul", [e, g.weights(2 * WIDTH, JOINED, scale=1.5)], "decoder_out")
    g.output("decoder_out", ["N", JOINED])
    g.save(path, {"context_size": 2, "vocab_size": VOCABULARY})


def joiner(path, seed):
    g = Graph(seed)
    x = g.node("Add", [g.input("encoder_out", ["N", JOINED]), g.input("decoder_out", ["N", JOINED])])
    bias = numpy.zeros(VOCABULARY)
    bias[0] = 4
    x = g.node("MatMul", [g.node("Tanh", [x]), g.weights(JOINED, VOCABULARY, scale=4.0)])
    g.node("Add", [x, g.constant(bias)], "logit")
    g.output("logit", ["N", VOCABULARY])
    g.save(path, {"joiner_dim": JOINED})


def zipformer2(encoders):
    """Encoders are (layers, dim, query, value, heads, kernel, left context)."""
    states, i = [], 0
    for layers, dim, query, value, heads, kernel, left in encoders:
        for _ in range(layers):
            states += [
                (f"cached_key_{i}", [left, "N", query * heads], False),
                (f"cached_nonlin_attn_{i}", [1, "N", left, 3 * dim // 4], False),
                (f"cached_val1_{i}", [left, "N", value * heads], False),
                (f"cached_val2_{i}", [left, "N", value * heads], False),
                (f"cached_conv1_{i}", ["N", dim, kernel // 2], False),
                (f"cached_conv2_{i}", ["N", dim, kernel // 2], False),
            ]
            i += 1
    states += [("embed_states", ["N", 128, 3, 19], False), ("processed_lens", ["N"], True)]
    names = ["num_encoder_layers", "encoder_dims", "query_head_dims", "value_head_dims", "num_heads"]
    names += ["cnn_module_kernels", "left_context_len"]
    metadata = {k: ",".join(map(str, v)) for k, v in zip(names, zip(*encoders))}
    return states, {"model_type": "zipformer2", "version": 1, **metadata, "T": WINDOW, "decode_chunk_len": SHIFT}


def zipformer(encoders):
    """Encoders are (layers, dim, attention, kernel, left context)."""
    states = []
    shapes = {
        "len": lambda l, d, a, k, c: [l, "N"],
        "avg": lambda l, d, a, k, c: [l, "N", d],
        "key": lambda l, d, a, k, c: [l, c, "N", a],
        "val": lambda l, d, a, k, c: [l, c, "N", a // 2],
        "val2": lambda l, d, a, k, c: [l, c, "N", a // 2],
        "conv1": lambda l, d, a, k, c: [l, "N", d, k - 1],
        "conv2": lambda l, d, a, k, c: [l, "N", d, k - 1],
    }
    for kind, shape in shapes.items():
        for i, e in enumerate(encoders):
            states.append((f"cached_{kind}_{i}", shape(*e), kind == "len"))
    names = ["num_encoder_layers", "encoder_dims", "attention_dims", "cnn_module_kernels", "left_context_len"]
    metadata = {k: ",".join(map(str, v)) for k, v in zip(names, zip(*encoders))}
    return states, {"model_type": "zipformer", "version": 1, **metadata, "T": WINDOW, "decode_chunk_len": SHIFT}


def lstm(layers, width, hidden):
    states = [("state0", [layers, "N", width], False), ("state1", [layers, "N", hidden], False)]
    metadata = {"num_encoder_layers": layers, "d_model": width, "rnn_hidden_size": hidden}
    return states, {"model_type": "lstm", "version": 1, **metadata, "T": WINDOW, "decode_chunk_len": SHIFT}


def write_tokens(path, bytes_of_text):
    names = ["<blk>", "<sos/eos>", "<unk>"]
    for i in range(3, VOCABULARY):
        if bytes_of_text:
            piece = "".join(BYTE_LETTERS[b] for b in "日本語音声認識你好世界Größeéàzw"[i % 20].encode())
            piece = ("▁" if i % 3 == 0 else "") + piece + "abcdefghij"[i // 20 : i // 20 + 1] * (i // 20)
        else:
            piece = ("▁" if i % 3 == 0 else "") + chr(97 + i % 26) + chr(97 + i // 26)
        names.append(piece)
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(f"{name} {i}\n" for i, name in enumerate(names))


def build(folder):
    made = {}
    two = [(1, 8, 4, 3, 2, 5, 4), (2, 12, 4, 2, 2, 7, 3)]
    for name, bytes_of_text in (("zipformer2-ctc", False), ("zipformer2-ctc-bytes", True)):
        place = os.path.join(folder, name)
        os.mkdir(place)
        states, metadata = zipformer2(two)
        encoder(f"{place}/ctc-epoch-1.onnx", 1, states, metadata, VOCABULARY, True)
        write_tokens(f"{place}/tokens.txt", bytes_of_text)
        made[name] = place
    families = {
        "zipformer2": zipformer2(two),
        "zipformer": zipformer([(2, 8, 6, 5, 4), (1, 10, 8, 3, 2)]),
        "lstm": lstm(3, 6, 10),
    }
    for name, (states, metadata) in families.items():
        place = os.path.join(folder, name + "-transducer")
        os.mkdir(place)
        encoder(f"{place}/encoder-epoch-1-avg-1.onnx", 2, states, metadata, JOINED, False)
        decoder(f"{place}/decoder-epoch-1-avg-1.onnx", 3)
        joiner(f"{place}/joiner-epoch-1-avg-1.onnx", 4)
        write_tokens(f"{place}/tokens.txt", name == "zipformer")
        made[name + "-transducer"] = place
    return made


def recognizer(place):
    tokens = f"{place}/tokens.txt"
    if "ctc" in place:
        model = f"{place}/ctc-epoch-1.onnx"
        return sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(tokens=tokens, model=model, num_threads=1)
    parts = {p: f"{place}/{p}-epoch-1-avg-1.onnx" for p in ("encoder", "decoder", "joiner")}
    return sherpa_onnx.OnlineRecognizer.from_transducer(tokens=tokens, num_threads=1, **parts)


def by_sherpa(r, recordings):
    """All at once in pushes of 100 ms: text without spaces, and tokens with their times."""
    streams, at = [r.create_stream() for _ in recordings], 0
    while any(at < len(x) for x in recordings):
        for stream, samples in zip(streams, recordings):
            if at < len(samples):
                stream.accept_waveform(16000, samples[at : at + 1600])
                if at + 1600 >= len(samples):
                    stream.input_finished()
        while ready := [s for s in streams if r.is_ready(s)]:
            r.decode_streams(ready)
        at += 1600
    result = lambda s: (r.get_result(s).replace(" ", ""), len(r.tokens(s)), list(r.timestamps(s)))
    return [result(s) for s in streams]


def by_hearken(hearken, place, path):
    command = [hearken, "transcribe", "--model", place, "--json", path]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    return [w for e in events if e["type"] == "final" for w in e["words"]]


def same(found, expected, seconds):
    """hearken fills up the last window and adds the model's closing silence, where sherpa-onnx
    drops what does not fill a window: the tokens found there must follow those found by both."""
    text, _, _ = expected
    whole = "".join(w["word"] for w in found)
    if not whole.startswith(text):
        return False
    # Additional tokens begin where sherpa-onnx stops: after the last complete window.
    more, length = [], 0
    for w in found:
        if length >= len(text):
            more.append(w)
        length += len(w["word"])
    return all(w["end"] >= seconds - (WINDOW + SHIFT) / 100 for w in more)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hearken", default="hearken", help="the program")
    parser.add_argument("--keep", help="write the folders here, and keep them")
    parser.add_argument("audio", nargs="+")
    args = parser.parse_args()
    recordings = []
    for path in args.audio:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if rate == 16000 and samples.shape[1] == 1 and len(samples) > 24000:
            recordings.append((path, samples[:, 0]))
    failed = not recordings
    with tempfile.TemporaryDirectory() as folder:
        if args.keep:
            os.makedirs(args.keep)
        for name, place in build(args.keep or folder).items():
            r = recognizer(place)
            alone = [by_sherpa(r, [samples])[0] for _, samples in recordings]
            problems = []
            for begin in range(0, len(recordings), 4):
                together = by_sherpa(r, [samples for _, samples in recordings[begin : begin + 4]])
                if together != alone[begin : begin + 4]:
                    problems.append("sherpa-onnx gives other tokens for several streams")
            for (path, samples), expected in zip(recordings, alone):
                found = by_hearken(args.hearken, place, path)
                if not same(found, expected, len(samples) / 16000):
                    problems.append(f"{path}: {' '.join(w['word'] for w in found)}, expected {expected}")
            verify = [args.hearken, "verify", place, "--audio", recordings[0][0]]
            result = subprocess.run(verify, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                problems.append(result.stdout + result.stderr)
            tokens = sum(count for _, count, _ in alone)
            print(f"{name}: {tokens} tokens of {len(recordings)} recordings; {result.stdout.splitlines()[-1]}")
            if tokens < 100:
                problems.append("too few tokens to tell")
            for problem in problems:
                print(f"  DIFFERS: {problem}"[:1500])
            failed |= bool(problems)
    print(f"sherpa-onnx {sherpa_onnx.__version__}, onnx {onnx.__version__}")
    sys.exit(failed)


main()
