"""Exports model files to every target and checks the results with ONNX's own checker, onnxruntime
and, where it is installed, tract, against the plain model in onnxruntime.

    python tools/check/exports.py --hearken target/release/hearken model.onnx [more.onnx ...]

For each model and target: full check with strict shape inference; batches of 3; chunks of odd sizes
with the states carried, against one pass over all; lengths of all kinds for `whole`; samples in for
`--with-frontend`, against features by kaldi-native-fbank where it is installed.

Triton's configuration is read by Triton's own schema where tritonclient is installed.

Needs numpy, onnx, onnxruntime; uses kaldi-native-fbank, tract (the PyPI package) and
tritonclient[grpc] if they are installed. Exits with 1 if something differs. Checked with onnx 1.23.2,
onnxruntime 1.32.0, tract 0.23.9, kaldi-native-fbank 1.23.0, tritonclient 2.73.0.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime

try:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2
except (ImportError, RuntimeError):
    model_config_pb2 = None
    print("skipped: Triton's schema, for want of tritonclient[grpc]")

try:
    import kaldi_native_fbank
except ImportError:
    kaldi_native_fbank = None
    print("skipped: the front end against kaldi-native-fbank, which is not installed")
try:
    import tract
except ImportError:
    tract = None
    print("skipped: tract, which is not installed")

STEPS = 13
CHUNKS = (1, 3, 2, 7)
# Largest difference of log-probabilities from the plain model, by how weights are stored; --rounding
# allows larger ones for rounded weights, which have more effect in models with random weights.
AGAINST_PLAIN = {"fp32": 1e-4, "fp16": 0.05, "int8": 0.5, "int8-dynamic": 2.0}


class OnnxRuntime:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = [o.name for o in self.session.get_outputs()]

    def run(self, inputs):
        return dict(zip(self.outputs, self.session.run(self.outputs, inputs)))


class Tract:
    def __init__(self, path):
        graph = onnx.load(path).graph
        self.inputs = [i.name for i in graph.input]
        self.outputs = [o.name for o in graph.output]
        self.model = tract.onnx().load(path).into_model().into_runnable()

    def run(self, inputs):
        outputs = self.model.run([inputs[name] for name in self.inputs])
        return {name: o.to_numpy() for name, o in zip(self.outputs, outputs)}


class Model:
    """A file with its metadata, on one runtime."""

    def __init__(self, path, runtime):
        proto = onnx.load(path)
        self.metadata = {p.key: p.value for p in proto.metadata_props}
        self.states = json.loads(self.metadata["states"])
        self.subsampling = int(self.metadata["subsampling"])
        self.input = proto.graph.input[0].name
        self.runtime = runtime(path)

    def zeros(self, batch):
        shape = lambda s: [batch if d == "N" else d for d in s["shape"]]
        kind = lambda s: numpy.int64 if s.get("type") == "int64" else numpy.float32
        return {s["input"]: numpy.zeros(shape(s), kind(s)) for s in self.states}

    def run(self, x, states):
        out = self.runtime.run({self.input: x, **states})
        return out["log_probs"], {s["input"]: out[s["output"]] for s in self.states}

    def in_chunks(self, x, per_step, chunks):
        states, pieces, at, turn = self.zeros(len(x)), [], 0, 0
        while at < x.shape[1]:
            n = chunks[turn % len(chunks)] * per_step
            piece, states = self.run(numpy.ascontiguousarray(x[:, at : at + n]), states)
            pieces.append(piece)
            at, turn = at + n, turn + 1
        return numpy.concatenate(pieces, 1)


def worst(a, b):
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(abs(a - b).max())


def check_file(path):
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert model.opset_import[0].version == 17 and model.ir_version == 8


def runtimes(path):
    # tract runs every RNN node with tanh and cannot compute relu (tract inside hearken can).
    nodes = onnx.load(path).graph.node
    activations = {a for n in nodes if n.op_type == "RNN" for p in n.attribute for a in p.strings}
    usable = tract and activations <= {b"Tanh"}
    return [("onnxruntime", OnnxRuntime)] + ([("tract", Tract)] if usable else [])


def check_streaming(path, plain, frames, precision):
    """Feature input: compares chunks with whole streams, batches with single ones, all with the plain model."""
    expected = plain.run(frames, plain.zeros(3))[0]
    exact = precision != "int8-dynamic"
    found = []
    for name, runtime in runtimes(path):
        model = Model(path, runtime)
        per_step = model.subsampling
        whole = model.run(frames, model.zeros(3))[0]
        chunks = worst(model.in_chunks(frames, per_step, CHUNKS), whole)
        alone = numpy.concatenate([model.run(f[None], model.zeros(1))[0] for f in frames])
        batch, against = worst(alone, whole), worst(whole, expected)
        assert not exact or max(chunks, batch) < 1e-4, (name, chunks, batch)
        assert against < AGAINST_PLAIN[precision], (name, against)
        found.append(f"{name}: chunks {chunks:.1e}, batch {batch:.1e}, plain {against:.1e}")
    return "; ".join(found)


def check_whole(path, plain, frames):
    s, total = plain.subsampling, frames.shape[1]
    lengths = numpy.array([total, total - s - 1, 1], numpy.int64)
    floor = numpy.log(json.loads(plain.metadata["features"])["energy_floor"])
    found = []
    for name, runtime in runtimes(path):
        out = runtime(path).run({"x": frames, "lengths": lengths})
        steps = -(-lengths // s)
        assert (out["output_lengths"] == steps).all(), out["output_lengths"]
        difference = 0.0
        for row, (length, count) in enumerate(zip(lengths, steps)):
            padded = numpy.full((1, count * s, frames.shape[2]), floor, numpy.float32)
            padded[0, :length] = frames[row, :length]
            expected = plain.run(padded, plain.zeros(1))[0]
            difference = max(difference, worst(out["log_probs"][row : row + 1, :count], expected))
        assert difference < 1e-4, (name, difference)
        found.append(f"{name}: {difference:.1e}")
    return "; ".join(found)


def kaldi_features(options, samples):
    o = kaldi_native_fbank.FbankOptions()
    o.frame_opts.samp_freq = options["sample_rate"]
    o.frame_opts.dither = 0
    o.frame_opts.snip_edges = options["snip_edges"]
    o.frame_opts.window_type = options["window"]
    o.mel_opts.num_bins = options["num_mel_bins"]
    o.mel_opts.low_freq, o.mel_opts.high_freq = options["low_freq"], options["high_freq"]
    fbank = kaldi_native_fbank.OnlineFbank(o)
    fbank.accept_waveform(options["sample_rate"], samples.tolist())
    fbank.input_finished()
    return numpy.array([fbank.get_frame(k) for k in range(fbank.num_frames_ready)], numpy.float32)


def speech_like(samples, seed):
    random = numpy.random.default_rng(seed)
    t = numpy.arange(samples) / 16000
    tone = sum(numpy.sin(2 * numpy.pi * f * (1 + 0.02 * seed) * t + f) for f in (130, 260, 520, 1900, 3100))
    loud = 0.5 - 0.5 * numpy.cos(2 * numpy.pi * 3 * t)
    return (0.05 * tone * loud + 0.01 * random.normal(size=samples)).astype(numpy.float32)


def check_samples(path, plain, precision):
    """PCM input: compares features with Kaldi's, then log-probabilities, which come one delay later."""
    metadata = plain.metadata
    options, delay = json.loads(metadata["features"]), None
    step = plain.subsampling * options["sample_rate"] // 100
    pcm = numpy.stack([speech_like(STEPS * step, seed) for seed in range(3)])
    pcm[1, : 3 * step] = 0
    pcm[2] += 0.1
    features = numpy.stack([kaldi_features(options, p) for p in pcm])
    expected = plain.run(features, plain.zeros(3))[0]
    with_features = onnx.load(path)
    n = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, None)
    with_features.graph.output.append(n)
    onnx.save(with_features, path + ".features")
    found = []
    for name, runtime in runtimes(path):
        model = Model(path, runtime)
        delay = int(model.metadata["hearken.delay_steps"])
        fed = numpy.concatenate([pcm, numpy.zeros((3, delay * step), numpy.float32)], 1)
        if name == "onnxruntime":
            out = OnnxRuntime(path + ".features").run({"pcm": fed, **model.zeros(3)})
            graph_features = out["x"][:, delay * plain.subsampling :]
            # The last frame's end is mirrored in one and followed by zeros in the other.
            difference = abs(graph_features - features)[:, :-2]
            near = features[:, :-2] > features[:, :-2].max(-1, keepdims=True) - 15
            assert difference[near].max() < 1e-3 and (difference < 1e-3).mean() > 0.999, difference.max()
            found.append(f"features {difference[near].max():.1e} ({difference.max():.1e} with the faintest)")
        whole = model.run(fed, model.zeros(3))[0]
        chunks = worst(model.in_chunks(fed, step, CHUNKS), whole)
        assert (whole[:, :delay].argmax(-1) == int(metadata["blank"])).all()
        against = worst(whole[:, delay:-1], expected[:, : whole.shape[1] - delay - 1])
        assert precision == "int8-dynamic" or chunks < 1e-3, (name, chunks)
        assert against < max(AGAINST_PLAIN[precision], 2e-3), (name, against)
        found.append(f"{name}: chunks {chunks:.1e}, plain {against:.1e}")
    return "; ".join(found)


def check_config(file):
    """Triton's configuration names the inputs and outputs of the graph, and each state once."""
    if not model_config_pb2:
        return
    with open(os.path.join(os.path.dirname(file), "..", "config.pbtxt"), encoding="utf-8") as text:
        config = text_format.Parse(text.read(), model_config_pb2.ModelConfig())
    graph = onnx.load(file).graph
    states = config.sequence_batching.state
    takes = [i.name for i in config.input] + [s.input_name for s in states]
    gives = [o.name for o in config.output] + [s.output_name for s in states]
    assert sorted(takes) == sorted(i.name for i in graph.input), takes
    assert sorted(gives) == sorted(o.name for o in graph.output), gives


def check_model(hearken, path, folder):
    plain = Model(path, OnnxRuntime)
    width = json.loads(plain.metadata["features"])["num_mel_bins"]
    rows = numpy.random.default_rng(1).normal(size=(3, STEPS * plain.subsampling, width))
    frames = (2 * rows - 6).astype(numpy.float32)
    failed = False

    def export(name, check, *options):
        nonlocal failed
        # Triton's export is a folder with the model two folders down.
        triton = "triton" in options
        out = os.path.join(folder, name if triton else name + ".onnx")
        command = [hearken, "export", path, *options, "-o", out]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            assert result.returncode == 0, result.stderr
            file = os.path.join(out, "m", "1", "model.onnx") if triton else out
            check_file(file)
            if triton:
                check_config(file)
            print(f"{path}: {name}: {os.path.getsize(file)} bytes; {check(file)}", flush=True)
        except Exception as error:
            failed = True
            print(f"{path}: {name}: FAILED: {type(error).__name__}: {str(error)[:300]}", flush=True)

    for p in AGAINST_PLAIN:
        export(p, lambda f, p=p: check_streaming(f, plain, frames, p), "--for", "onnxruntime", "--precision", p)
    export("sherpa-onnx", lambda f: check_streaming(f, plain, frames, "fp32"), "--for", "sherpa-onnx")
    export("triton", lambda f: check_streaming(f, plain, frames, "fp32"), "--for", "triton", "--name", "m")
    export("whole", lambda f: check_whole(f, plain, frames), "--for", "whole")
    if kaldi_native_fbank:
        for p in AGAINST_PLAIN:
            options = ("--for", "onnxruntime", "--with-frontend", "--precision", p)
            export(f"samples-{p}", lambda f, p=p: check_samples(f, plain, p), *options)
        options = ("--for", "triton", "--name", "m", "--with-frontend")
        export("samples-triton", lambda f: check_samples(f, plain, "fp32"), *options)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hearken", default="hearken", help="the program")
    parser.add_argument("--rounding", type=float, default=1.0, help="times as much rounding as usual")
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    for precision in AGAINST_PLAIN:
        AGAINST_PLAIN[precision] *= 1.0 if precision == "fp32" else args.rounding
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for path in args.models:
            failed |= check_model(args.hearken, path, folder)
    sys.exit(failed)


main()
