"""Writes tests/data/import: small models with random weights, exported by PyTorch's two exporters,
or built as tf2onnx writes Keras' cells, each with an input and the output of the framework itself
(for the latter, of onnxruntime); and the recurrent node tests of the `onnx` package.

    python tools/goldens/import_graphs.py            # torch 2.15, onnx 1.23, onnxscript 0.7, onnxruntime 1.32

A case is NAME.onnx and, in cases.json, its input `x` (batch, time, features), the expected
log-probabilities and the last states of each layer, h before c.
"""

import json
import logging
import pathlib
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import nn

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
HERE = pathlib.Path(__file__).resolve().parents[2] / "tests/data/import"
F, H, V = 6, 8, 5
FLOAT = onnx.TensorProto.FLOAT


class Net(nn.Module):
    """linear -> [norm] -> cells -> [norm] -> linear -> log-softmax; states may be inputs."""

    def __init__(self, cell, layers, batch_first, norm, projected, nonlinearity=None):
        super().__init__()
        extra = {"nonlinearity": nonlinearity} if nonlinearity else {}
        self.input = nn.Linear(F, H) if projected else nn.Identity()
        self.norms = nn.ModuleList([nn.LayerNorm(H) for _ in range(2)] if norm else [])
        self.cells = getattr(nn, cell)(H if projected else F, H, layers, batch_first=batch_first, **extra)
        self.output = nn.Linear(H, V)

    def forward(self, x, *states):
        x = self.input(x)
        if self.norms:
            x = self.norms[0](x)
        given = None if not states else states[0] if len(states) == 1 else states
        y, last = self.cells(x, given)
        if self.norms:
            y = self.norms[1](y)
        y = torch.log_softmax(self.output(y), -1)
        return (y, last) if not isinstance(last, tuple) else (y, *last)


def torch_cases():
    seed = 0
    for dynamo in (False, True):
        for cell, nonlinearity in (("RNN", "tanh"), ("RNN", "relu"), ("GRU", None), ("LSTM", None)):
            for layers in (1, 2, 3):
                seed += 1
                batch_first, with_states, projected = seed % 2 == 1, layers == 2, layers != 3
                net = Net(cell, layers, batch_first, layers == 1, projected, nonlinearity)
                generator = torch.Generator().manual_seed(seed)
                with torch.no_grad():
                    for p in net.parameters():
                        p.add_(torch.randn(p.shape, generator=generator) * 0.3)
                    x = torch.randn((2, 7, F), generator=generator)
                    given = x if batch_first else x.transpose(0, 1).contiguous()
                    out = net(given)
                    y = out[0] if batch_first else out[0].transpose(0, 1)
                kinds = 2 if cell == "LSTM" else 1
                states = tuple(torch.zeros(layers, 2, H) for _ in range(kinds)) if with_states else ()
                name = f"torch-{'dynamo' if dynamo else 'script'}-{nonlinearity or ''}{cell.lower()}-{layers}"
                export(net, (given, *states), HERE / f"{name}.onnx", dynamo, batch_first, kinds)
                yield name, x.numpy(), y.numpy(), [[s[i].numpy() for s in out[1:]] for i in range(layers)]


def export(net, arguments, path, dynamo, batch_first, kinds):
    names = ["x", "h", "c"][: len(arguments)]
    outputs = ["log_probs", "hn", "cn"][: kinds + 1]
    axes = ("N", "T") if batch_first else ("T", "N")
    if dynamo:
        n, t = torch.export.Dim("N"), torch.export.Dim("T")
        # PyTorch unrolls nn.RNN, so that the number of steps is fixed.
        unrolled = isinstance(net.cells, nn.RNN)
        dims = {"N": n, "T": None if unrolled else t}
        first = {k: dims[a] for k, a in enumerate(axes) if dims[a] is not None}
        shapes = (first, tuple({1: n} for _ in arguments[1:])) if arguments[1:] else (first,)
        torch.onnx.export(net.eval(), arguments, path, dynamo=True, input_names=names, output_names=outputs,
                          dynamic_shapes=shapes, external_data=False, verbose=False)
    else:
        dynamic = {"x": dict(enumerate(axes)), "log_probs": dict(enumerate(axes))}
        dynamic |= {k: {1: "N"} for k in names[1:] + outputs[1:]}
        torch.onnx.export(net.eval(), arguments, path, dynamo=False, input_names=names, output_names=outputs,
                          dynamic_axes=dynamic, opset_version=17 if len(arguments) > 1 else 13)
    model = onnx.load(path)
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in list(model.graph.value_info) + list(model.graph.input) + list(model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    onnx.save(model, path)


def keras_cases():
    """Keras' layers as tf2onnx writes them: kernels transposed and gates reordered in the graph,
    the batch first, dense layers over rows, sequence_lens left out."""
    for index, (op, gates) in enumerate((("GRU", 3), ("LSTM", 4), ("RNN", 1))):
        rng = np.random.default_rng(100 + index)
        draw = lambda *shape, rng=rng: (rng.normal(size=shape) * 0.5).astype(np.float32)
        constants = {
            "kernel": draw(F, gates * H), "recurrent": draw(H, gates * H), "bias_x": draw(gates * H),
            "bias_h": draw(gates * H), "dense": draw(H, V), "dense_bias": draw(V),
        }
        node = helper.make_node

        def int64(name, values, constants=constants):
            constants[name] = np.array(values, np.int64)
            return name
        nodes = []
        for weight in ("kernel", "recurrent"):
            nodes.append(node("Transpose", [weight], [weight + "_t"], perm=[1, 0]))
            if op == "LSTM":  # Keras i f c o, ONNX i o f c
                parts = [f"{weight}_{k}" for k in "ifco"]
                nodes.append(node("Split", [weight + "_t"], parts, axis=0))
                nodes.append(node("Concat", [f"{weight}_{k}" for k in "iofc"], [weight + "_ordered"], axis=0))
            else:
                nodes.append(node("Identity", [weight + "_t"], [weight + "_ordered"]))
            nodes.append(node("Unsqueeze", [weight + "_ordered", int64("zero", [0])], [weight + "_w"]))
        nodes += [
            node("Concat", ["bias_x", "bias_h"], ["bias"], axis=0),
            node("Unsqueeze", ["bias", "zero"], ["bias_w"]),
            node("Transpose", ["x"], ["time_first"], perm=[1, 0, 2]),
            node(op, ["time_first", "kernel_w", "recurrent_w", "bias_w"], ["Y", "Y_h"], name=op.lower(), hidden_size=H,
                 **({"linear_before_reset": 1} if op == "GRU" else {})),
            node("Squeeze", ["Y", int64("one", [1])], ["squeezed"]),
            node("Transpose", ["squeezed"], ["batch_first"], perm=[1, 0, 2]),
            node("Shape", ["batch_first"], ["shape"]),
            node("Slice", ["shape", "zero", int64("two", [2]), "zero"], ["outer"]),
            node("Concat", ["outer", int64("tokens", [V])], ["shape_out"], axis=0),
            node("Reshape", ["batch_first", int64("rows", [-1, H])], ["flat"]),
            node("MatMul", ["flat", "dense"], ["product"]),
            node("Reshape", ["product", "shape_out"], ["unflat"]),
            node("Add", ["unflat", "dense_bias"], ["logits"]),
            node("Softmax", ["logits"], ["probabilities"], axis=-1),
        ]
        graph = helper.make_graph(
            nodes, "keras", [helper.make_tensor_value_info("x", FLOAT, ["N", "T", F])],
            [helper.make_tensor_value_info("probabilities", FLOAT, ["N", "T", V])],
            [numpy_helper.from_array(v, k) for k, v in constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8, producer_name="tf2onnx")
        onnx.checker.check_model(model, full_check=True)
        name = f"keras-{op.lower()}"
        onnx.save(model, HERE / f"{name}.onnx")
        x = rng.normal(size=(2, 7, F)).astype(np.float32)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        yield name, x, np.log(session.run(None, {"x": x})[0]), []


def node_cases():
    """The backend tests with weights as initializers instead of inputs."""
    from onnx.backend.test.case.node import collect_testcases

    for case in collect_testcases(None):
        graph = case.model.graph
        if len(graph.node) != 1 or graph.node[0].op_type not in ("RNN", "GRU", "LSTM") or not case.data_sets:
            continue
        inputs, outputs = case.data_sets[0]
        model = onnx.ModelProto.FromString(case.model.SerializeToString())
        given = dict(zip([i.name for i in graph.input], map(np.asarray, inputs)))
        for value in list(model.graph.input)[1:]:
            model.graph.input.remove(value)
            model.graph.initializer.append(numpy_helper.from_array(given[value.name], value.name))
        onnx.save(model, HERE / f"{case.name}.onnx")
        expected = dict(zip([o.name for o in graph.output], map(np.asarray, outputs)))
        yield case.name, given[graph.input[0].name], expected


def numbers(array):
    return {"shape": list(array.shape), "data": [float(f"{v:.9g}") for v in np.asarray(array, np.float64).ravel()]}


def main():
    HERE.mkdir(parents=True, exist_ok=True)
    for old in HERE.glob("*"):
        old.unlink()
    cases = []
    for name, x, y, states in [*torch_cases(), *keras_cases()]:
        cases.append({"name": name, "x": numbers(x), "log_probs": numbers(y),
                      "states": [[numbers(s) for s in layer] for layer in states]})
    nodes = []
    for name, x, expected in node_cases():
        nodes.append({"name": name, "x": numbers(x), "outputs": {k: numbers(v) for k, v in expected.items()}})
    versions = {m.__name__: m.__version__ for m in (torch, onnx, onnxruntime, np)}
    for file, content in (("cases.json", cases), ("nodes.json", nodes)):
        (HERE / file).write_text(json.dumps({"versions": versions, "cases": content}) + "\n")
    print(f"{len(cases)} models, {len(nodes)} nodes, {sum(p.stat().st_size for p in HERE.glob('*'))} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
