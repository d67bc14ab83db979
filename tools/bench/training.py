#!/usr/bin/env python3
"""Compares the speed of training in hearken and PyTorch, on the same network and shapes of batches, alternately.

    cargo build --release --no-default-features --example bench_training
    venv/bin/pip install torch
    venv/bin/python tools/bench/training.py

An update is forward, CTC loss, backward, clipping of the global norm and AdamW, on features computed
beforehand. PyTorch runs its own layers (nn.GRU, nn.LSTM, nn.RNN, and mingru written out below; a layer normalization after each, as in
hearken; packed sequences if the lengths differ) and its fused AdamW. Both run with one thread and with two,
A B A B; the best settings of each are compared, by the median over all rounds. A ratio above 1 means that
hearken is faster. With `--precision bf16` both round the factors of products to bf16 (PyTorch by autocast), and PyTorch runs in fp32
too: its faster one counts.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import time

import torch
from torch import nn
from torch.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parents[2]
LABELS, TOKENS, STACKED = 6, 12, 320


class MinGru(nn.Module):
    """Feng et al. 2024, as in hearken: the products of all steps at once, then step by step. (The logarithmic form of
    the paper is slower on a CPU.)"""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.gates = nn.Linear(inputs, 2 * hidden)

    def forward(self, x):
        packed = isinstance(x, nn.utils.rnn.PackedSequence)
        sums = self.gates(x.data if packed else x.flatten(0, 1))
        sizes = x.batch_sizes.tolist() if packed else [x.shape[1]] * x.shape[0]
        z, c = sums.chunk(2, dim=-1)
        z, outputs = torch.sigmoid(z), []
        keep, new = (1 - z).split(sizes), (z * c).split(sizes)
        for t, n in enumerate(sizes):
            outputs.append(torch.addcmul(new[t], keep[t], outputs[-1][:n]) if t else new[t])
        y = torch.cat(outputs)
        return (nn.utils.rnn.PackedSequence(y, x.batch_sizes) if packed else y.view(*x.shape[:2], -1)), None


class Network(nn.Module):
    def __init__(self, cell, hidden, layers):
        super().__init__()
        make = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn-tanh": nn.RNN, "mingru": MinGru}[cell]
        self.input, self.input_norm = nn.Linear(STACKED, hidden), nn.LayerNorm(hidden)
        self.cells = nn.ModuleList(make(hidden, hidden) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.output = nn.Linear(hidden, TOKENS)

    def forward(self, x, sizes):
        """x: [T, N, 320], or packed rows [R, 320] with their batch sizes."""
        x = self.input_norm(self.input(x))
        for cell, norm in zip(self.cells, self.norms):
            if sizes is None:
                y = cell(x)[0]
            else:
                y = cell(nn.utils.rnn.PackedSequence(x, sizes))[0].data
            x = x + norm(y)
        return self.output(x).log_softmax(-1)


def lengths_of(args, ragged):
    shortest = args.steps // 2 if ragged else args.steps
    return [args.steps - (args.steps - shortest) * i // (args.batch - 1) for i in range(args.batch)]


class Torch:
    def __init__(self, args, cell, hidden, ragged):
        torch.manual_seed(1)
        self.lengths = lengths_of(args, ragged)
        self.net = Network(cell, hidden, args.layers)
        self.adam = torch.optim.AdamW(self.net.parameters(), lr=1e-3, betas=(0.9, 0.98), fused=True)
        self.labels = torch.randint(1, TOKENS, (args.batch, LABELS))
        self.sizes = None
        self.x = torch.rand(args.steps, args.batch, STACKED) * 3.4 - 1.7
        if ragged:
            self.sizes = torch.tensor([sum(l > t for l in self.lengths) for t in range(args.steps)])
            self.x = torch.rand(sum(self.lengths), STACKED) * 3.4 - 1.7

    def update(self, bf16):
        self.adam.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            log_probs = self.net(self.x, self.sizes)
        log_probs = log_probs.float()
        if self.sizes is not None:
            log_probs, _ = nn.utils.rnn.pad_packed_sequence(nn.utils.rnn.PackedSequence(log_probs, self.sizes))
        loss = F.ctc_loss(log_probs, self.labels, tuple(self.lengths), (LABELS,) * len(self.lengths))
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.adam.step()

    def run(self, threads, updates, bf16=False):
        torch.set_num_threads(threads)
        times = []
        for _ in range(updates):
            start = time.perf_counter()
            self.update(bf16)
            times.append(time.perf_counter() - start)
        return times


def hearken(args, cell, hidden, ragged, threads):
    command = [args.bin, "--cell", cell, "--hidden", str(hidden), "--layers", str(args.layers), "--batch",
               str(args.batch), "--steps", str(args.steps), "--threads", str(threads), "--updates",
               str(args.updates + 1), *(["--ragged"] if ragged else []), *(["--bf16"] if args.precision == "bf16" else [])]
    run = subprocess.run(command, capture_output=True, check=True, text=True)
    # The first update allocates.
    return json.loads(run.stdout)["seconds"][1:]


def machine():
    names = [l.split(":", 1)[1].strip() for l in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if l.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores"


def measure(args, cell, hidden, batch, ragged):
    """Seconds of an update by hearken and PyTorch: [median, lowest, settings] each: the threads, and for PyTorch whether it is bf16."""
    args.batch = batch
    peer = Torch(args, cell, hidden, ragged)
    precisions = (False, True) if args.precision == "bf16" else (False,)
    ours, theirs = {1: []}, {(1, bf16): [] for bf16 in precisions}
    for bf16 in precisions:
        peer.run(1, 1, bf16)
    for _ in range(args.rounds):
        for threads in (1, 2):
            ours.setdefault(threads, []).extend(hearken(args, cell, hidden, ragged, threads))
            for bf16 in precisions:
                theirs.setdefault((threads, bf16), []).extend(peer.run(threads, args.updates, bf16))

    def best(times):
        return min((statistics.median(t), min(t), settings) for settings, t in times.items())

    return best(ours), best(theirs)


def parser(description):
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cells", default="gru,lstm,rnn-tanh,mingru")
    p.add_argument("--hidden", default="192,256")
    p.add_argument("--layers", type=int, default=3)
    p.add_argument("--batch", default="32", help="numbers of utterances")
    p.add_argument("--steps", type=int, default=75, help="of 40 ms")
    p.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    p.add_argument("--lengths", default="equal,ragged")
    p.add_argument("--updates", type=int, default=4, help="a turn")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--bin", default=ROOT / "target/release/examples/bench_training")
    return p


def main():
    args = parser(__doc__).parse_args()
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}; torch {torch.__version__}; utterances of up to "
          f"{args.steps * 0.04:.1f} s; milliseconds an update, median (lowest)")
    batches = [int(batch) for batch in args.batch.split(",")]
    for hidden in map(int, args.hidden.split(",")):
        for cell in args.cells.split(","):
            for batch in batches:
                for lengths in args.lengths.split(","):
                    (a, low_a, n_a), (b, low_b, (n_b, bf16)) = measure(args, cell, hidden, batch, lengths == "ragged")
                    print(f"{cell} {args.layers} x {hidden}, batch {batch}, {lengths} lengths: hearken "
                          f"{1e3 * a:.0f} ({1e3 * low_a:.0f}) on {n_a}, PyTorch {1e3 * b:.0f} ({1e3 * low_b:.0f}) on "
                          f"{n_b}{', bf16' if bf16 else ''}; ratio {b / a:.2f} ({low_b / low_a:.2f})", flush=True)


if __name__ == "__main__":
    main()
