#!/usr/bin/env python3
"""Prints the goldens of src/decode/align.rs: forced alignments by torchaudio.

    python3 -m venv venv && venv/bin/pip install torch torchaudio
    venv/bin/python tools/goldens/align.py

The log-probabilities come from a formula that the test has too, so that there is no file.
"""
import math

import torch
from torchaudio.functional import forced_align, merge_tokens

TOKENS = 6
CASES = [
    (20, [1, 2, 3]),
    (20, [1, 1, 2]),
    (20, [5]),
    (20, [2, 2, 2, 2]),
    (12, [1, 2, 3, 4, 5, 1]),
    (6, [1, 1, 1]),
    (5, [1, 1, 1]),
    (60, [3, 1, 4, 1, 5, 2, 5, 3, 5]),
]


def logit(t, v):
    wave = 2 * math.sin(0.7 * t + 1.3 * v + 0.05 * t * v)
    return wave + 2 * (7919 * (TOKENS * t + v) % 1000 / 1000 - 0.5)


def main():
    for frames, labels in CASES:
        logits = [[logit(t, v) for v in range(TOKENS)] for t in range(frames)]
        log_probs = torch.tensor(logits, dtype=torch.float64).log_softmax(1)
        targets = torch.tensor([labels], dtype=torch.int32)
        path, scores = forced_align(log_probs[None].float(), targets, blank=0)
        total = sum(log_probs[t, k].item() for t, k in enumerate(path[0]))
        spans = [(s.start, s.end, round(s.score, 6)) for s in merge_tokens(path[0], scores[0])]
        print(f"Golden {{ frames: {frames}, labels: &{labels}, log_prob: {total!r}, spans: &{spans} }},")


if __name__ == "__main__":
    main()
