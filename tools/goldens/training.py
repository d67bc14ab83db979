#!/usr/bin/env python3
"""Writes tests/data/training: results of PyTorch for small networks of every cell.

    venv/bin/pip install torch numpy
    venv/bin/python tools/goldens/training.py [CELL ...]

With names of cells, only their cases are written; the others stay as they are. For each cell, with and
without layer normalization and residuals: two ragged batches, the logits of the first, its CTC loss and the
gradient of every parameter, and the losses of ten updates (clip_grad_norm_ and AdamW) that take the batches in
turns. The recurrent layers are PyTorch's own (torch._VF.rnn_tanh, gru, lstm on packed sequences, lstmp with proj_size) except
gru-reset-before, mingru and rglru, which PyTorch does not have and which are written out below; conv is made of
F.glu, F.conv1d and F.silu, attention of F.scaled_dot_product_attention with the bias as its mask, tdnnf of two
dilated F.conv1d, whose first is made semi-orthogonal after every fourth update. All is computed in float64 from numbers that float32 holds exactly, and stored as float32
(losses as decimal numbers). ctc.json holds torch.nn.functional.ctc_loss alone.

Parameters are in hearken's names, shapes and (ONNX) gate orders; rows of a batch are packed, step by
step, longest utterance first.
"""
import json
import pathlib
import sys

import numpy as np
import torch
from torch.nn import functional as F

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/training"
FEATURES, SUBSAMPLING, TOKENS = 5, 2, 5
GATES = {"rnn-tanh": 1, "rnn-relu": 1, "gru": 3, "gru-reset-before": 3, "lstm": 4, "mingru": 2, "rglru": 0, "conv": 0,
         "attention": 0, "tdnnf": 0, "lstmp": 4}
# Sizes of layers that only some cells have.
SIZES = {"conv": {"kernel_size": 3}, "attention": {"num_heads": 2, "left_context": 4, "dim_feedforward": 7},
         "tdnnf": {"bottleneck_dim": 4, "time_stride": 2}, "lstmp": {"cell_dim": 8}, "rglru": {"num_heads": 2}}
# Position in ONNX's gate order of each gate in PyTorch's: (z r n) to (r z n), (i o f c) to (i f c o).
ORDER = {1: [0], 3: [1, 0, 2], 4: [0, 2, 3, 1]}
LENGTHS = [[11, 9, 9, 4], [10, 10, 6]]
LABELS = [[[1, 1, 2, 4], [3, 3], [], [2, 1]], [[4, 2, 2, 2, 1], [1], [3, 4]]]
OPTIMIZER = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-8, "weight_decay": 0.1,
             "clip_norm": 4.0}
UPDATES = 10


def family(cell):
    return cell.split("-")[0]


def own_shapes(layer, inputs):
    """Names and shapes of the parameters of a layer's cell."""
    h, k = layer["hidden"], GATES[layer["cell"]] * layer["hidden"]

    def norm(name, width):
        return [(f"{name}.gain", [width]), (f"{name}.bias", [width])]

    def linear(name, out, width):
        return [(f"{name}.weight", [out, width]), (f"{name}.bias", [out])]

    if layer["cell"] == "conv":
        kernel = [("depthwise.kernel", [layer["kernel_size"], h]), ("depthwise.bias", [h])]
        return [*norm("norm1", inputs), *linear("pointwise1", 2 * h, inputs), *kernel, *norm("norm2", h),
                *linear("pointwise2", h, h)]
    if layer["cell"] == "attention":
        inner = layer["dim_feedforward"]
        return [*norm("norm1", inputs), *linear("in_proj", 3 * h, inputs), *linear("out_proj", h, h),
                *norm("norm2", h), *linear("linear1", inner, h), *linear("linear2", h, inner)]
    if layer["cell"] == "tdnnf":
        b = layer["bottleneck_dim"]
        return [("linear.weight", [2 * b, inputs]), *linear("affine", h, 2 * b)]
    if layer["cell"] == "lstmp":
        m = layer["cell_dim"]
        return [("W", [4 * m, inputs]), ("R", [4 * m, h]), ("B", [8 * m]), ("projection.weight", [h, m])]
    if layer["cell"] == "mingru":
        return [("W", [k, inputs]), ("B", [k])]
    if layer["cell"] == "rglru":
        n = layer["num_heads"]
        return [*linear("linear", h, inputs), ("gates.weight", [n, 2 * h // n, h // n]), ("gates.bias", [2 * h]),
                ("Lambda", [h])]
    return [("W", [k, inputs]), ("R", [k, h]), ("B", [2 * k])]


def shapes(config):
    """Names and shapes, in the order of src/model/network.rs."""
    d, out = config["input_size"], []

    def norm(prefix, width):
        if config["layer_norm"]:
            out.extend([(f"{prefix}.gain", [width]), (f"{prefix}.bias", [width])])

    out += [("input.weight", [d, SUBSAMPLING * FEATURES]), ("input.bias", [d])]
    norm("input_norm", d)
    for i, layer in enumerate(config["layers"]):
        name = f"layers.{i}.{family(layer['cell'])}"
        out += [(f"{name}.{part}", shape) for part, shape in own_shapes(layer, d)]
        norm(f"layers.{i}.norm", layer["hidden"])
        d = layer["hidden"]
    return out + [("output.weight", [TOKENS, d]), ("output.bias", [TOKENS])]


def reorder(w, gates):
    blocks = w.chunk(gates)
    return torch.cat([blocks[i] for i in ORDER[gates]])


def recurrent(cell, x, sizes, w, r, b):
    """One layer over packed rows `x [R, in]`; `sizes[t]` streams are active at step t."""
    gates, h = GATES[cell], r.shape[1]
    if cell == "gru-reset-before":
        return reset_before(x, sizes, w, r, b, h)
    bx, bs = b.chunk(2)
    weights = [reorder(v, gates) for v in (w, r, bx, bs)]
    zero = torch.zeros(1, int(sizes[0]), h, dtype=x.dtype)
    run = {"rnn-tanh": torch._VF.rnn_tanh, "rnn-relu": torch._VF.rnn_relu, "gru": torch._VF.gru,
           "lstm": torch._VF.lstm}[cell]
    state = [zero, zero] if cell == "lstm" else zero
    # has_biases, num_layers, dropout, training, bidirectional
    return run(x, sizes, state, weights, True, 1, 0.0, True, False)[0]


def lstmp(layer, x, sizes, p, name):
    """torch.nn.LSTM with proj_size."""
    w, r, b = (p[f"{name}.{part}"] for part in "WRB")
    weights = [*(reorder(v, 4) for v in (w, r, *b.chunk(2))), p[f"{name}.projection.weight"]]
    zeros = [torch.zeros(1, int(sizes[0]), layer[width], dtype=x.dtype) for width in ("hidden", "cell_dim")]
    return torch._VF.lstm(x, sizes, zeros, weights, True, 1, 0.0, True, False)[0]


def reset_before(x, sizes, w, r, b, h):
    state, at, outputs = torch.zeros(int(sizes[0]), h, dtype=x.dtype), 0, []
    bx, bs = b.chunk(2)
    (rz, rr, rn), (bz, br, bn) = r.chunk(3), (bx + bs).chunk(3)
    for n in sizes.tolist():
        z, g, c = (x[at:at + n] @ w.T).chunk(3, dim=1)
        s = state[:n]
        z = torch.sigmoid(z + s @ rz.T + bz)
        g = torch.sigmoid(g + s @ rr.T + br)
        c = torch.tanh(c + (g * s) @ rn.T + bn)
        state = z * s + (1 - z) * c
        outputs.append(state)
        at += n
    return torch.cat(outputs)


def mingru(x, sizes, w, b):
    """The equations of Feng et al. 2024, section 3.1, with biases."""
    gate, candidate = (x @ w.T + b).chunk(2, dim=1)
    z = torch.sigmoid(gate)
    state, at, outputs = torch.zeros(int(sizes[0]), z.shape[1], dtype=x.dtype), 0, []
    for n in sizes.tolist():
        state = (1 - z[at:at + n]) * state[:n] + z[at:at + n] * candidate[at:at + n]
        outputs.append(state)
        at += n
    return torch.cat(outputs)


def rglru(layer, x, sizes, p, name):
    """Equations 1 to 4 of De et al. 2024, with a linear layer for the input, block-diagonal gates and a lower limit of 1 - a^2."""
    v = linear(p, f"{name}.linear", x)
    r, i = torch.zeros_like(v), torch.zeros_like(v)
    width = layer["hidden"] // layer["num_heads"]
    for head, weight in enumerate(p[f"{name}.gates.weight"]):
        at = slice(head * width, (head + 1) * width)
        sums = v[:, at] @ weight.T + p[f"{name}.gates.bias"][2 * head * width:2 * (head + 1) * width]
        r[:, at], i[:, at] = sums.chunk(2, dim=1)
    a = torch.sigmoid(-p[f"{name}.Lambda"]) ** (8 * torch.sigmoid(r))
    added = (1 - a ** 2).clamp(min=1e-6).sqrt() * torch.sigmoid(i) * v
    state, at, outputs = torch.zeros(int(sizes[0]), v.shape[1], dtype=x.dtype), 0, []
    for n in sizes.tolist():
        state = a[at:at + n] * state[:n] + added[at:at + n]
        outputs.append(state)
        at += n
    return torch.cat(outputs)


def streams(sizes):
    """The rows of each stream of a packed batch."""
    offsets = [0, *torch.cumsum(sizes, 0).tolist()]
    return [[offsets[t] + b for t in range(len(sizes)) if b < sizes[t]] for b in range(int(sizes[0]))]


def layer_norm(p, name, x):
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.gain"], p[f"{name}.bias"], 1e-5)


def linear(p, name, x):
    return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def conv(layer, x, sizes, p, name):
    """The convolution module of Gulati et al. 2020, causal, with layer normalization."""
    k, h = layer["kernel_size"], layer["hidden"]
    gated = F.glu(linear(p, f"{name}.pointwise1", layer_norm(p, f"{name}.norm1", x)), dim=-1)
    kernel = p[f"{name}.depthwise.kernel"].T[:, None]
    y = torch.empty(len(x), h, dtype=x.dtype)
    for rows in streams(sizes):
        padded = F.pad(gated[rows].T, (k - 1, 0))
        y[rows] = F.conv1d(padded, kernel, p[f"{name}.depthwise.bias"], groups=h).T
    return linear(p, f"{name}.pointwise2", F.silu(layer_norm(p, f"{name}.norm2", y)))


def attention(layer, x, sizes, p, name):
    """Pre-norm attention over the last steps with the bias of Press et al. 2022, then the feed-forward part. Keys
    and values before the first step are zeros. The residual connection around all is the network's."""
    h, heads, before = layer["hidden"], layer["num_heads"], layer["left_context"]
    assert heads & (heads - 1) == 0, "slopes for powers of 2"
    slopes = torch.tensor([2 ** (-8 * (i + 1) / heads) for i in range(heads)], dtype=x.dtype)
    projected = linear(p, f"{name}.in_proj", layer_norm(p, f"{name}.norm1", x))
    mixed = torch.empty(len(x), h, dtype=x.dtype)
    for rows in streams(sizes):
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in projected[rows].chunk(3, dim=-1))
        k, v = (F.pad(part, (0, 0, before, 0)) for part in (k, v))
        distance = torch.arange(len(rows))[:, None] + before - torch.arange(len(rows) + before)
        bias = -slopes[:, None, None] * distance
        bias = bias.masked_fill((distance < 0) | (distance > before), float("-inf"))
        mixed[rows] = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(0, 1).flatten(1)
    a = linear(p, f"{name}.out_proj", mixed)
    total = x + a if x.shape == a.shape else a
    inner = F.relu(linear(p, f"{name}.linear1", layer_norm(p, f"{name}.norm2", total)))
    return a + linear(p, f"{name}.linear2", inner)


def tdnnf(layer, x, sizes, p, name):
    """The layer of Povey et al. 2018 with its second factor over a step and an earlier one; the residual connection
    around it is the network's."""
    apart = layer["time_stride"]
    first = torch.stack(p[f"{name}.linear.weight"].chunk(2), dim=-1)
    second = torch.stack(p[f"{name}.affine.weight"].chunk(2, dim=1), dim=-1)
    y = torch.empty(len(x), layer["hidden"], dtype=x.dtype)
    for rows in streams(sizes):
        bottleneck = F.conv1d(F.pad(x[rows].T, (apart, 0)), first, dilation=apart)
        y[rows] = F.conv1d(F.pad(bottleneck, (apart, 0)), second, p[f"{name}.affine.bias"], dilation=apart).T
    return F.relu(y)


CELLS = {"conv": conv, "attention": attention, "tdnnf": tdnnf, "lstmp": lstmp, "rglru": rglru}


def constrain(p):
    """The step toward semi-orthogonal first factors of Kaldi's ConstrainOrthonormal, with a floating scale."""
    for name, weight in p.items():
        if name.endswith("tdnnf.linear.weight"):
            m = torch.cat(weight.chunk(2), dim=1)
            product = m @ m.T
            trace, squares = product.trace(), (product * product).sum()
            ratio = squares * len(m) / trace ** 2
            speed = 0.125 / (4 if ratio > 1.1 else 2 if ratio > 1.02 else 1)
            scale = squares / trace
            m = m - 4 * speed / scale * (product - scale * torch.eye(len(m), dtype=m.dtype)) @ m
            weight.copy_(torch.cat(m.chunk(2, dim=1)))


def forward(config, p, mean, scale, x, sizes):
    """Logits `[R, V]`."""
    x = ((x.reshape(-1, SUBSAMPLING, FEATURES) - mean) * scale).reshape(-1, SUBSAMPLING * FEATURES)

    def norm(prefix, v):
        if not config["layer_norm"]:
            return v
        return F.layer_norm(v, v.shape[-1:], p[f"{prefix}.gain"], p[f"{prefix}.bias"], 1e-5)

    x = norm("input_norm", x @ p["input.weight"].T + p["input.bias"])
    for i, layer in enumerate(config["layers"]):
        name = f"layers.{i}.{family(layer['cell'])}"
        if layer["cell"] in SIZES:
            y = CELLS[layer["cell"]](layer, x, sizes, p, name)
        elif layer["cell"] == "mingru":
            y = mingru(x, sizes, p[f"{name}.W"], p[f"{name}.B"])
        else:
            y = recurrent(layer["cell"], x, sizes, p[f"{name}.W"], p[f"{name}.R"], p[f"{name}.B"])
        y = norm(f"layers.{i}.norm", y)
        skip = 0.66 if layer["cell"] == "tdnnf" else 1
        x = skip * x + y if config["residual"] and x.shape == y.shape else y
    return x @ p["output.weight"].T + p["output.bias"]


def ctc(logits, lengths, labels):
    """The sum of the losses over the batch, by the number of labels."""
    sizes = torch.tensor([sum(l > t for l in lengths) for t in range(max(lengths))])
    packed = torch.nn.utils.rnn.PackedSequence(F.log_softmax(logits, dim=-1), sizes)
    log_probs, _ = torch.nn.utils.rnn.pad_packed_sequence(packed)
    flat = torch.tensor([l for ls in labels for l in ls], dtype=torch.long)
    total = F.ctc_loss(log_probs, flat, tuple(lengths), tuple(len(l) for l in labels), reduction="sum")
    return total / len(flat)


def case(cell, layer_norm, residual, seed):
    rng = np.random.default_rng(seed)
    # Heads divide the width.
    hidden = [6, 6] if residual else [4, 8] if cell in ("attention", "rglru") else [5, 7]
    config = {"num_features": FEATURES, "subsampling": SUBSAMPLING, "input_size": 6,
              "layers": [{"cell": cell, "hidden": h, **SIZES.get(cell, {})} for h in hidden], "layer_norm": layer_norm,
              "residual": residual, "num_tokens": TOKENS}

    def random(shape, low=-1.0, high=1.0):
        values = rng.uniform(low, high, size=shape).astype(np.float32)
        return torch.tensor(values, dtype=torch.float64)

    mean, scale = random([FEATURES]), random([FEATURES], 0.5, 1.5)
    p = {name: random(shape, *((0.5, 1.5) if name.endswith("gain") else (-0.7, 0.7)))
         for name, shape in shapes(config)}
    batches = [random([sum(lengths), SUBSAMPLING * FEATURES], -2, 2) for lengths in LENGTHS]
    blocks = [mean, scale, *batches, *(v.clone() for v in p.values())]

    def loss_of(batch):
        lengths = LENGTHS[batch]
        sizes = torch.tensor([sum(l > t for l in lengths) for t in range(max(lengths))])
        logits = forward(config, p, mean, scale, batches[batch], sizes)
        return logits, ctc(logits, lengths, LABELS[batch])

    for v in p.values():
        v.requires_grad_(True)
    logits, loss = loss_of(0)
    loss.backward()
    blocks += [logits.detach(), *(v.grad.clone() for v in p.values())]
    groups = [{"params": [v for v in p.values() if v.dim() >= 2], "weight_decay": OPTIMIZER["weight_decay"]},
              {"params": [v for v in p.values() if v.dim() < 2], "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=OPTIMIZER["learning_rate"], eps=OPTIMIZER["epsilon"],
                             betas=(OPTIMIZER["beta1"], OPTIMIZER["beta2"]))
    losses, norms = [], []
    for step in range(UPDATES):
        adam.zero_grad()
        _, update_loss = loss_of(step % 2)
        update_loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(p.values()), OPTIMIZER["clip_norm"])))
        adam.step()
        if step % 4 == 3:
            with torch.no_grad():
                constrain(p)
        losses.append(update_loss.item())
    blocks += [v.detach() for v in p.values()]
    name = cell + ("-norm" if layer_norm else "") + ("-residual" if residual else "")
    about = {"name": name, "config": config, "loss": loss.item(), "losses": losses, "norms": norms,
             "values": int(sum(b.numel() for b in blocks))}
    data = np.concatenate([b.detach().numpy().reshape(-1) for b in blocks]).astype("<f4")
    (OUT / f"{name}.f32").write_bytes(data.tobytes())
    return about


def ctc_cases():
    rng = np.random.default_rng(99)
    out = []
    for steps, tokens, labels in [
        (12, 6, [1, 2, 3]), (12, 6, [4, 4, 4]), (9, 4, [1, 1, 2, 2, 1]), (7, 4, []), (1, 3, []), (1, 3, [2]),
        (5, 3, [1, 1, 2, 2][:3]), (7, 3, [1, 1, 1, 1]), (40, 28, [5, 9, 9, 1, 27, 3, 3, 5, 5, 5, 2]),
        (25, 12, [10, 11, 10, 11, 10, 10]),
    ]:
        logits = torch.tensor(rng.uniform(-4, 4, size=(steps, tokens)).astype(np.float32), dtype=torch.float64,
                              requires_grad=True)
        log_probs = F.log_softmax(logits, dim=-1)
        loss = F.ctc_loss(log_probs[:, None], torch.tensor([labels], dtype=torch.long).reshape(1, -1), (steps,),
                          (len(labels),), reduction="sum")
        loss.backward()
        out.append({"tokens": tokens, "labels": labels, "loss": loss.item(),
                    "logits": [float(f"{v:.9g}") for v in logits.detach().reshape(-1).tolist()],
                    "gradient": [float(f"{v:.9g}") for v in logits.grad.reshape(-1).tolist()]})
    return out


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or list(GATES)
    kept = json.loads((OUT / "cases.json").read_text())["cases"] if sys.argv[1:] else []
    cases = [c for c in kept if c["config"]["layers"][0]["cell"] not in wanted]
    cases += [case(cell, norm, residual, 1 + 10 * i + 2 * norm + residual)
              for i, cell in enumerate(GATES) if cell in wanted
              for norm in (False, True) for residual in (False, True)]
    about = {"made_by": f"tools/goldens/training.py, torch {torch.__version__}", "lengths": LENGTHS,
             "labels": LABELS, "optimizer": OPTIMIZER, "cases": cases}
    (OUT / "cases.json").write_text(json.dumps(about, indent=1) + "\n")
    (OUT / "ctc.json").write_text(json.dumps(ctc_cases()) + "\n")
    size = sum(f.stat().st_size for f in OUT.iterdir())
    clipped = sum(n > OPTIMIZER["clip_norm"] for c in cases for n in c["norms"])
    print(f"{len(cases)} cases, {size} bytes; {clipped} of {len(cases) * UPDATES} updates were clipped")


if __name__ == "__main__":
    main()
