#!/usr/bin/env python3
"""Writes tests/data/training/gradient_flow.json: norms of gradients through time by PyTorch's autograd.

    venv/bin/pip install torch numpy
    venv/bin/python tools/goldens/gradient_flow.py

The networks and inputs are those of the cases of training.py, whose files it reads: the first STEPS rows of the
first batch are one sequence. The loss is the cross entropy of the last step's output with the uniform distribution.
For each layer and k = 1, 2, ... it writes the norm of the gradient with respect to the states that are carried from
step t-k to the next: only by the recurrence, not by way of the layers above in the same step. It also writes the
singular values of the Jacobian of the states of the last step with respect to those of step t-k (torch.autograd's
jacobian, torch.linalg.svdvals): the largest, and the root mean square of all. The cells are PyTorch's own (torch.rnn_tanh_cell, gru_cell, lstm_cell), in float64.
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


def case(name, config):
    mean, scale, x, p = read(name, config)
    x = ((x.reshape(-1, SUBSAMPLING, FEATURES) - mean) * scale).reshape(STEPS, -1)

    def norm(prefix, v):
        if not config["layer_norm"]:
            return v
        return F.layer_norm(v, v.shape[-1:], p[f"{prefix}.gain"], p[f"{prefix}.bias"], 1e-5)

    x = norm("input_norm", x @ p["input.weight"].T + p["input.bias"])
    layers, carried, inputs = config["layers"], [], []
    states = [[torch.zeros(1, l["hidden"], dtype=x.dtype)] * (2 if l["cell"] == "lstm" else 1) for l in layers]

    def step(i, v, states):
        """The states of a layer after a step with the input v."""
        cell = layers[i]["cell"]
        prefix, gates = f"layers.{i}.{family(cell)}", GATES[family(cell)]
        bx, bs = p[f"{prefix}.B"].chunk(2)
        weights = [reorder(w, gates) for w in (p[f"{prefix}.W"], p[f"{prefix}.R"], bx, bs)]
        if cell == "lstm":
            return list(torch.lstm_cell(v, states, *weights))
        return [CELLS[cell](v, states[0], *weights)]

    for t in range(STEPS):
        v = x[t:t + 1]
        inputs.append([])
        for i in range(len(layers)):
            inputs[t].append(v.detach())
            after = step(i, v, states[i])
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

    def singular_values(t, i):
        """The largest singular value of ds_last/ds_t, and the root mean square of all."""
        sizes = [s.shape[1] for s in carried[t][i]]

        def last(flat):
            states = [part.unsqueeze(0) for part in flat.split(sizes)]
            for later in range(t + 1, STEPS):
                states = step(i, inputs[later][i], states)
            return torch.cat([s.reshape(-1) for s in states])

        flat = torch.cat([s.detach().reshape(-1) for s in carried[t][i]])
        values = torch.linalg.svdvals(torch.autograd.functional.jacobian(last, flat))
        return [float(values[0]), float(values.square().mean().sqrt())]

    def back(value):
        return [[value(STEPS - 1 - k, i) for k in range(1, STEPS)] for i in range(len(layers))]

    return {"norms": back(of), "singular_values": back(singular_values)}


def main():
    torch.set_num_threads(1)
    configs = {case["name"]: case["config"] for case in json.loads((OUT / "cases.json").read_text())["cases"]}
    cases = [{"name": name, **case(name, configs[name])} for name in NAMES]
    about = {"made_by": f"tools/goldens/gradient_flow.py, torch {torch.__version__}", "steps": STEPS, "cases": cases}
    (OUT / "gradient_flow.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
