#!/usr/bin/env python3
"""Writes tests/data/training/mmi.json: lattice-free MMI by PyTorch on small graphs.

    venv/bin/pip install torch
    venv/bin/python tools/goldens/mmi.py

Each case is a random n-gram over four labels as a weighted acceptor, random logits of some frames, and
words with their pronunciations; the result is the loss and its gradient with respect to the logits, in float64.
The computation is independent of hearken's: the numerator is the sum of torch.nn.functional.ctc_loss over all
combinations of pronunciations, the denominator a product of dense matrices of all states in logarithms, and the
gradients are those of autograd.
"""
import itertools
import json
import pathlib

import torch
from torch.nn import functional as F

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/training/mmi.json"
LABELS = 4
WORDS = [[[1, 2], [2]], [[3]], [[4, 4], [4, 1, 4]], [[2, 2]]]
NOTHING = -1e30
torch.manual_seed(5)
torch.set_default_dtype(torch.float64)


def acceptor(extra):
    """The initial state, a state for each label, and some states for two labels."""
    histories = [()] + [(label,) for label in range(1, LABELS + 1)] + extra
    states = []
    for history in histories:
        p = torch.softmax(torch.randn(LABELS + 1), 0).tolist()
        following = []
        for label in range(1, LABELS + 1):
            longer = (*history, label)
            to = next(histories.index(longer[i:]) for i in range(len(longer)) if longer[i:] in histories)
            following.append([label, to, p[label]])
        states.append({"last": history[-1] if history else None, "next": following, "end": p[0]})
    shares = torch.softmax(torch.randn(len(states)), 0).tolist()
    return [{**state, "share": share} for state, share in zip(states, shares)]


def anything(states, log_probs, leak):
    """States 2h (the last label of history h; for the first an impossible one) and 2h + 1 (blanks)."""
    count = 2 * len(states)
    move = torch.zeros(count, count)
    begin, end, share, emits = torch.zeros(count), torch.zeros(count), torch.zeros(count), []
    for h, state in enumerate(states):
        spoken, waits = 2 * h, 2 * h + 1
        emits += [state["last"] or 0, 0]
        if h == 0:
            begin[waits] = 1.0
        else:
            move[spoken, spoken] = 1.0
            move[spoken, waits] = 1.0
        move[waits, waits] = 1.0
        end[spoken] = end[waits] = state["end"]
        share[waits if h == 0 else spoken] = state["share"]
        for label, to, p in state["next"]:
            move[waits, 2 * to] += p
            if h == 0:
                begin[2 * to] += p
            elif label != state["last"]:
                move[spoken, 2 * to] += p
    move = (move + leak * share[None, :]).clamp_min(1e-300).log()
    emits = torch.tensor(emits)
    alpha = begin.clamp_min(1e-300).log() + log_probs[0, emits]
    for row in log_probs[1:]:
        alpha = torch.logsumexp(alpha[:, None] + move, 0) + row[emits]
    return torch.logsumexp(alpha + end.clamp_min(1e-300).log(), 0)


def what_was_said(states, log_probs, words):
    sums = []
    for combination in itertools.product(*(WORDS[word] for word in words)):
        labels = [label for way in combination for label in way]
        state, cost = 0, torch.tensor(0.0)
        for label in labels:
            _, state, p = next(arc for arc in states[state]["next"] if arc[0] == label)
            cost = cost + torch.tensor(p).log()
        cost = cost + torch.tensor(states[state]["end"]).log()
        ctc = F.ctc_loss(log_probs[:, None], torch.tensor([labels], dtype=torch.long), [len(log_probs)],
                         [len(labels)], blank=0, reduction="sum")
        if torch.isfinite(ctc):
            sums.append(cost - ctc)
    return torch.logsumexp(torch.stack(sums), 0)


def case(frames, words, leak, extra):
    states = acceptor(extra)
    logits = (2.0 * torch.randn(frames, LABELS + 1)).requires_grad_()
    log_probs = torch.log_softmax(logits, 1)
    loss = anything(states, log_probs, leak) - what_was_said(states, log_probs, words)
    loss.backward()
    return {"states": states, "leak": leak, "said": [WORDS[word] for word in words],
            "logits": logits.detach().flatten().tolist(), "loss": loss.item(),
            "gradient": logits.grad.flatten().tolist()}


def main():
    two = [(1, 2), (2, 2), (4, 4), (2, 4)]
    cases = [case(8, [0, 1], 0.0, []), case(12, [2, 0, 3], 0.0, two), case(12, [2, 0, 3], 1e-3, two),
             case(20, [0, 0, 1, 2, 3], 0.1, two), case(6, [], 1e-5, two), case(5, [3, 1], 0.0, two)]
    OUT.write_text(json.dumps({"tokens": LABELS + 1, "cases": cases}) + "\n")


main()
