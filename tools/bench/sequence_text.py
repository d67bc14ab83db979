#!/usr/bin/env python3
"""The example `sequences -- text` in PyTorch: the same data, size, batches a step, number of updates and schedule.

    sequence_text.py [--steps 1500] [--seed 1] [--threads 2]                 # needs torch

Prints bits per character of the last twentieth of examples/sequences/data/books.txt, and the time of training.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from torch import nn

TEXT = Path(__file__).parents[2] / "examples/sequences/data/books.txt"
WINDOW, BATCH, HIDDEN, EMBEDDING = 128, 16, 256, 64
RATE, FINAL, AVERAGE = 3e-3, 0.02, 0.99


class Model(nn.Module):
    """Embedding, layer norm, two GRU layers with layer norm and residuals where widths are equal, linear."""

    def __init__(self, tokens):
        super().__init__()
        self.embedding = nn.Embedding(tokens, EMBEDDING)
        self.embedding_bias = nn.Parameter(torch.zeros(EMBEDDING))
        self.norms = nn.ModuleList([nn.LayerNorm(n) for n in (EMBEDDING, HIDDEN, HIDDEN)])
        self.cells = nn.ModuleList([nn.GRU(n, HIDDEN, batch_first=True) for n in (EMBEDDING, HIDDEN)])
        self.output = nn.Linear(HIDDEN, tokens)

    def forward(self, ids):
        x = self.norms[0](self.embedding(ids) + self.embedding_bias)
        for cell, norm in zip(self.cells, self.norms[1:]):
            y = norm(cell(x)[0])
            x = y + x if y.shape == x.shape else y
        return self.output(x)


def rate(step, steps):
    warmup = steps // 20
    if step < warmup:
        return (step + 1) / warmup
    done = min((step - warmup) / max(steps - warmup, 1), 1)
    return FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * done))


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("--steps", 1500), ("--seed", 1), ("--threads", 2)):
        parser.add_argument(name, type=int, default=default)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    text = TEXT.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    ids = torch.tensor([alphabet.index(c) for c in text])
    train, test = ids[: len(ids) // 20 * 19], ids[len(ids) // 20 * 19 :]
    model = Model(len(alphabet))
    average = [p.detach().clone() for p in model.parameters()]
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 1e-2},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))
    begin = time.time()
    for step in range(options.steps):
        at = torch.randint(len(train) - WINDOW - 1, (BATCH,))
        rows = torch.stack([train[i : i + WINDOW + 1] for i in at])
        loss = nn.functional.cross_entropy(model(rows[:, :-1]).transpose(1, 2), rows[:, 1:])
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = RATE * rate(step, options.steps)
        adam.step()
        keep = min(AVERAGE, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, p in zip(average, model.parameters()):
                mean.lerp_(p, 1 - keep)
        if (step + 1) % max(options.steps // 10, 1) == 0:
            print(f"update {step + 1}: training loss {loss.item():.4f}, {time.time() - begin:.0f} s", flush=True)
    size = len(test) // 20 + 1
    pieces = [test[i : i + size] for i in range(0, len(test), size)]
    with torch.no_grad():
        for mean, p in zip(average, model.parameters()):
            p.copy_(mean)
        sums = [
            nn.functional.cross_entropy(model(p[None, :-1])[0], p[1:], reduction="sum").item() for p in pieces
        ]
    bits = sum(sums) / sum(len(p) - 1 for p in pieces) / math.log(2)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{bits:.3f} bits per character by {parameters} parameters, torch {torch.__version__}")


if __name__ == "__main__":
    main()
