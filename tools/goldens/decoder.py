#!/usr/bin/env python3
"""Writes tests/data/decoder/flashlight.json: the best word sequences of a lexicon, by flashlight-text.

    python3 -m venv venv && venv/bin/pip install flashlight-text kenlm
    venv/bin/python tools/goldens/decoder.py

The log-probabilities come from the formula of align.py, which the test has too. flashlight's score is that of the best CTC path
plus the language model's log10 probability, with the end of the sentence, times its weight, plus a score for each word. Only
the first of its sequences is the best of all: it merges histories. The three best of an exhaustive search over all sequences of
up to four words are written beside it.
"""
import itertools
import json
import math
import pathlib

import kenlm
import numpy
from flashlight.lib.text.decoder import (
    CriterionType,
    KenLM,
    LexiconDecoder,
    LexiconDecoderOptions,
    SmearingMode,
    Trie,
)
from flashlight.lib.text.dictionary import Dictionary, create_word_dict

DATA = pathlib.Path(__file__).resolve().parents[2] / "tests/data/decoder"
FRAMES, TOKENS, BLANK = 14, 6, 0
LEXICON = {"ab": ["ab"], "abc": ["abc"], "cab": ["cab"], "dee": ["dee"], "e": ["e"], "bad": ["bad", "bd"]}
SETTINGS = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (2.0, 0.5), (5.0, 2.0)]


def log_probs():
    def logit(t, v):
        wave = 2 * math.sin(0.7 * t + 1.3 * v + 0.05 * t * v)
        return wave + 2 * (7919 * (TOKENS * t + v) % 1000 / 1000 - 0.5)
    logits = numpy.array([[logit(t, v) for v in range(TOKENS)] for t in range(FRAMES)])
    return logits - numpy.log(numpy.exp(logits).sum(1, keepdims=True))


def labels(spelling):
    return ["-abcde".index(letter) for letter in spelling]


def flashlight(emission, weight, score):
    tokens = Dictionary(list("-abcde"))
    spelled = {word: [list(spelling) for spelling in all_] for word, all_ in LEXICON.items()}
    words = create_word_dict({**spelled, "<unk>": []})
    model = KenLM(str(DATA / "words.arpa"), words)
    trie = Trie(tokens.index_size(), BLANK)
    start = model.start(False)
    for word, spellings in LEXICON.items():
        _, probability = model.score(start, words.get_index(word))
        for spelling in spellings:
            trie.insert(labels(spelling), words.get_index(word), probability)
    trie.smear(SmearingMode.MAX)
    options = LexiconDecoderOptions(
        beam_size=5000, beam_size_token=TOKENS, beam_threshold=1e6, lm_weight=weight, word_score=score,
        unk_score=-math.inf, sil_score=0.0, log_add=False, criterion_type=CriterionType.CTC)
    decoder = LexiconDecoder(options, trie, model, BLANK, BLANK, words.get_index("<unk>"), [], False)
    matrix = numpy.ascontiguousarray(emission, dtype=numpy.float32)
    best = decoder.decode(matrix.ctypes.data, FRAMES, TOKENS)[0]
    return {"words": [words.get_entry(word) for word in best.words if word >= 0], "score": round(best.score, 4)}


def alignment(emission, path):
    """Log-probability of the best CTC path of labels."""
    extended = [BLANK, *itertools.chain.from_iterable((label, BLANK) for label in path)]
    scores = [emission[0, label] if s < 2 else -math.inf for s, label in enumerate(extended)]
    for row in emission[1:]:
        skips = [s > 1 and label != BLANK and label != extended[s - 2] for s, label in enumerate(extended)]
        scores = [max([scores[s], *scores[max(s - 1, 0):s], *([scores[s - 2]] if skips[s] else [])]) + row[label]
                  for s, label in enumerate(extended)]
    return max(scores[-2:])


def exhaustive(emission, model, weight, score):
    found = []
    for length in range(5):
        for sentence in itertools.product(LEXICON, repeat=length):
            spellings = itertools.product(*(LEXICON[word] for word in sentence))
            best = max(alignment(emission, labels("".join(spelling))) for spelling in spellings)
            found.append((best + weight * model.score(" ".join(sentence)) + score * length, sentence))
    found.sort(reverse=True)
    return [{"words": list(words), "score": round(float(total), 4)} for total, words in found[:3]]


def main():
    emission, model = log_probs(), kenlm.Model(str(DATA / "words.arpa"))
    cases = []
    for weight, score in SETTINGS:
        best = flashlight(emission, weight, score)
        cases.append({"lm_weight": weight, "word_score": score, "flashlight": best,
                      "exhaustive": exhaustive(emission, model, weight, score)})
    golden = {"frames": FRAMES, "tokens": TOKENS, "lexicon": LEXICON, "cases": cases}
    (DATA / "flashlight.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
