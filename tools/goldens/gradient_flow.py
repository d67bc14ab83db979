#!/usr/bin/env python3
"""Writes tests/data/training/gradient_flow.json: norms of gradients through time by PyTorch's autograd.

    venv/bin/pip install torch numpy
    venv/bin/python tools/goldens/gradient_flow.py

The networks and inputs are those of the cases of training.py, whose files it reads: the first STEPS rows of the
first batch are one sequence. The loss is the cross entropy of the last step's output with the uniform distribution.
For each layer and k = 1, 2, ... it writes the norm of the gradient with respect to the states that are carried from
step t-k to the next: only by the recurrence, not by way of the layers above in the same step. The cells are
PyTorch's own (torch.rnn_tanh_cell, gru_cell, lstm_cell), in float64.
"""
import json

import numpy as np
import torch
from torch.nn import functional as F
from training import FEATURES, LENGTHS, OUT, SUBSAMPLING, family, reorder, shapes

STEPS = 9
NAMES = ["rnn-tanh", "rnn-relu-norm", "gru-norm-residual", "lstm-norm-residual", "lstm"]
CELLS = {"rnn-tanh": torch.rnn_tanh_cell, "rnn-relu": torch.rnn_relu_cell, "gru": torch.gru_cell}
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def read(name, config):
    """Mean, scale, the first rows, and the parameters of a case."""
    values = torch.from_numpy(np.fromfile(OUT / f"{name}.f32", dtype="<f4").astype(np.float64))
    at = 0

    def take(shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return values[at - count:at].reshape(shape)

    mean, scale = take([FEATURES]), take([FEATURES])
    batches = [take([sum(lengths), SUBSAMPLING * FEATURES]) for lengths in LENGTHS]
    return mean, scale, batches[0][:STEPS], {name: take(shape) for name, shape in shapes(config)}


def norms(name, config):
    mean, scale, x, p = read(name, config)
    x = ((x.reshape(-1, SUBSAMPLING, FEATURES) - mean) * scale).reshape(STEPS, -1)

    def norm(prefix, v):
        if not config["layer_norm"]:
            return v
        return F.layer_norm(v, v.shape[-1:], p[f"{prefix}.gain"], p[f"{prefix}.bias"], 1e-5)

    x = norm("input_norm", x @ p["input.weight"].T + p["input.bias"])
    layers, carried = config["layers"], []
    states = [[torch.zeros(1, l["hidden"], dtype=x.dtype)] * (2 if l["cell"] == "lstm" else 1) for l in layers]
    for t in range(STEPS):
        v = x[t:t + 1]
        for i, layer in enumerate(layers):
            prefix, gates = f"layers.{i}.{family(layer['cell'])}", GATES[family(layer["cell"])]
            bx, bs = p[f"{prefix}.B"].chunk(2)
            weights = [reorder(w, gates) for w in (p[f"{prefix}.W"], p[f"{prefix}.R"], bx, bs)]
            if layer["cell"] == "lstm":
                after = list(torch.lstm_cell(v, states[i], *weights))
            else:
                after = [CELLS[layer["cell"]](v, states[i][0], *weights)]
            # What is carried is apart from what the layer above reads.
            states[i] = [(s * 1).requires_grad_() for s in after]
            [s.retain_grad() for s in states[i]]
            y = norm(f"layers.{i}.norm", after[0])
            v = v + y if config["residual"] and v.shape == y.shape else y
        carried.append([list(s) for s in states])
    logits = v @ p["output.weight"].T + p["output.bias"]
    (-F.log_softmax(logits, dim=-1).mean()).backward()

    def of(t, i):
        return float(torch.cat([s.grad.reshape(-1) for s in carried[t][i]]).norm())

    return [[of(STEPS - 1 - k, i) for k in range(1, STEPS)] for i in range(len(layers))]


def main():
    torch.set_num_threads(1)
    configs = {case["name"]: case["config"] for case in json.loads((OUT / "cases.json").read_text())["cases"]}
    cases = [{"name": name, "norms": norms(name, configs[name])} for name in NAMES]
    about = {"made_by": f"tools/goldens/gradient_flow.py, torch {torch.__version__}", "steps": STEPS, "cases": cases}
    (OUT / "gradient_flow.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
