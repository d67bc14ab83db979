#!/usr/bin/env python3
"""Measures how well the confidence of words is calibrated, and fits the constants of src/recognizer/confidence.rs.

    tools/bench/confidence.py --data DIR [--fit] [--share 0.4] [--hearken PROGRAM] [-- OPTIONS OF TRANSCRIBE]

DIR has the manifests of the dev sets: english/{librispeech,speechocean,commonvoice}-dev.jsonl are transcribed with the
language model of `--model english`, commands/orders-dev.jsonl with docs/examples/orders.txt. A word is right if it is
aligned with the same word of the text; of an order, also if it belongs to a slot with the right value. The words of partial
results are aligned with the beginning of the text.

Prints for final and for partial results a table of reliability: the mean confidence and the share of right words in ten
bins, and the expected calibration error, which is the mean difference of the two. With --fit, the constants are fitted to half
of the speakers (of the orders: of the files) by logistic regression and printed as lines of Rust, and the tables are those of
the other half with these constants. The scores of the words are computed from the confidences in the results and the constants
in confidence.rs, which must therefore be those of the program. With --share, a random part of the recordings is used. Needs numpy.
"""
import argparse
import collections
import hashlib
import json
import pathlib
import random
import re
import subprocess
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGLISH = ["english/librispeech-dev", "english/speechocean-dev", "english/commonvoice-dev"]
ORDERS = "commands/orders-dev"
SOURCE = ROOT / "src/recognizer/confidence.rs"
KINDS = {"lm": "LANGUAGE_MODEL", "phrases": "PHRASES"}
MAX_SECONDS = 1.0
BINS = 10
FINAL, PARTIAL = "final", "partial"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    parser.add_argument("--phrases", default=str(ROOT / "docs/examples/orders.txt"))
    parser.add_argument("--model", default="english")
    parser.add_argument("--only", choices=["lm", "phrases"], help="one kind of recognition only")
    parser.add_argument("--events", type=pathlib.Path, help="folder for the results, which are read again if they are there")
    parser.add_argument("--share", type=float, default=1.0, help="share of the recordings of each set")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--uncalibrated", action="store_true", help="the program writes posteriors, as version 0.1 does")
    parser.add_argument("options", nargs="*")
    return parser.parse_args()


def rows_of(manifest):
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def name_of(path):
    return path.split("#")[0].rsplit("/", 1)[1]


def aligned(found, said, beginning=False):
    """Which of the found words are aligned with the same word; with `beginning`, of any beginning of the text."""
    cost = np.zeros((len(found) + 1, len(said) + 1), int)
    cost[:, 0], cost[0, :] = range(len(found) + 1), range(len(said) + 1)
    for i, word in enumerate(found, 1):
        for j, other in enumerate(said, 1):
            cost[i, j] = min(cost[i - 1, j - 1] + (word != other), cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    i, j = len(found), int(cost[-1].argmin()) if beginning else len(said)
    right = [False] * len(found)
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + (found[i - 1] != said[j - 1]):
            i, j = i - 1, j - 1
            right[i] = found[i] == said[j]
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return right


def events_of(manifest, rows, options, extra):
    """Partial and final results of each recording, in order."""
    kept = options.events / f"{manifest.stem}.json" if options.events else None
    if kept and kept.is_file():
        text = kept.read_text()
    else:
        command = [options.hearken, "transcribe", "--json", "--model", options.model, *extra, *options.options]
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as part:
            part.writelines(json.dumps(row) + "\n" for row in rows)
            part.flush()
            text = subprocess.run([*command, part.name], stdout=subprocess.PIPE, text=True, check=True).stdout
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(text)
    events = collections.defaultdict(list)
    for event in map(json.loads, text.splitlines()):
        if event["type"] in (FINAL, PARTIAL):
            events[name_of(event["path"])].append(event)
    return events


def slot_words(event, row):
    """The words of slots with the right value."""
    slots = [slot for phrase in event.get("phrases", []) for slot in phrase.get("slots", [])]
    right = [slot["value"] for slot in slots if row.get("slots", {}).get(slot["name"]) == slot["value"]]
    return set(" ".join(right).split())


def words_of(manifest, half_of, constants, options, extra):
    """(kind, half, whether it is right, confidence, evidence) of each word of the results."""
    rows = rows_of(manifest)
    rows = random.Random(options.seed).sample(rows, round(options.share * len(rows)))
    named = {name_of(row["audio_filepath"]): row for row in rows}
    rows = [{**row, "audio_filepath": str((manifest.parent / row["audio_filepath"]).resolve())} for row in rows]
    for name, events in events_of(manifest, rows, options, extra).items():
        row, before = named[name], []
        half, said = half_of(row), row["text"].split()
        finals = [event for event in events if event["type"] == FINAL]
        found = [word["word"].lower() for event in finals for word in event["words"]]
        right = iter(aligned(found, said))
        for event in events:
            words = [word["word"].lower() for word in event["words"]]
            if event["type"] == FINAL:
                slots = slot_words(event, row)
                for word, known in zip(event["words"], evidence(event, constants)):
                    yield FINAL, half, next(right) or word["word"].lower() in slots, word["confidence"], *known
                before += words
            else:
                start = len(before)
                found = zip(event["words"], aligned(before + words, said, True)[start:], evidence(event, constants))
                for word, is_right, known in found:
                    yield PARTIAL, half, is_right, word["confidence"], *known


def by_speaker(manifests):
    """Half of a row: speakers are assigned alternately in each manifest, in the order of their names."""
    halves = {}
    for manifest in manifests:
        speakers = sorted({row["speaker"] for row in rows_of(manifest)})
        halves.update({speaker: at % 2 for at, speaker in enumerate(speakers)})
    return lambda row: halves[row["speaker"]]


def by_name(row):
    return int(hashlib.md5(name_of(row["audio_filepath"]).encode()).hexdigest(), 16) % 2


def calibration_error(confidence, right):
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return sum(abs((confidence - right)[bins == at].sum()) for at in range(BINS)) / max(len(right), 1)


def table(title, confidence, right):
    error = calibration_error(confidence, right)
    print(f"{title}: {len(right)} words, {right.mean():.1%} right, expected calibration error {error:.3f}")
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    for at in range(BINS):
        if (bins == at).any():
            print(f"  {at / BINS:.1f} to {(at + 1) / BINS:.1f}  {(bins == at).sum():6} words  confidence "
                  f"{confidence[bins == at].mean():.3f}  right {right[bins == at].mean():.3f}")


def constants_of(name):
    """Offset and factors of a calibration in the source: of the word, the segment and the seconds."""
    number = r"([-\d.]+)"
    pattern = rf"const {name}: Self =\s*Self {{ offset: {number}, word: {number}, segment: {number}, seconds: {number} }}"
    return [float(found) for found in re.search(pattern, SOURCE.read_text(encoding="utf-8")).groups()]


def evidence(event, constants):
    """Log-probability, mean log-probability of the segment, and duration of each word of an event."""
    confidence = np.array([word["confidence"] for word in event["words"]])
    seconds = np.minimum([word["end"] - word["start"] for word in event["words"]], MAX_SECONDS)
    if constants is None:
        log_prob = np.log(np.maximum(confidence, 0.001))
    else:
        offset, own, segment, factor = constants
        rest = log_odds(confidence) - offset - factor * seconds
        log_prob = (rest - segment * rest.mean() / (own + segment)) / own if len(rest) else rest
    return [(own, log_prob.mean(), length) for own, length in zip(log_prob, seconds)]


def log_odds(confidence):
    confidence = np.clip(confidence, 0.0005, 0.9995)
    return np.log(confidence / (1 - confidence))


def logistic(odds):
    return 1 / (1 + np.exp(-odds))


def regression(columns, right, weights):
    """Factors of the columns in the log-odds."""
    factors = np.zeros(columns.shape[1])
    for _ in range(30):
        p = logistic(columns @ factors)
        hessian = (columns * (weights * p * (1 - p))[:, None]).T @ columns + 1e-3 * np.eye(len(factors))
        factors -= np.linalg.solve(hessian, columns.T @ (weights * (p - right)) + 1e-3 * factors)
    return factors


def report(name, words, fitted):
    kinds = np.array([word[0] for word in words])
    half, right, confidence, *known = np.array([word[1:] for word in words], float).T
    chosen = np.full(len(words), True)
    if fitted:
        # With a language model the words around a word matter; with phrases, nearly all words are right.
        used = known if name == "LANGUAGE_MODEL" else known[:1]
        columns = np.stack([np.ones(len(words)), *used], axis=1)
        final = kinds == FINAL
        # All partial results together count as much as the final ones.
        weights = np.where(final, 1.0, final.sum() / max(1, (~final).sum()))
        fit = half == 0
        factors = regression(columns[fit], right[fit], weights[fit])
        confidence, chosen = logistic(columns @ factors), half == 1
        offset, own, segment, seconds = [*factors, 0.0, 0.0][:4]
        numbers = f"offset: {offset:.2f}, word: {own:.2f}, segment: {segment:.2f}, seconds: {seconds:.2f}"
        print(f"pub const {name}: Self = Self {{ {numbers} }};")
    for kind in (FINAL, PARTIAL):
        of = chosen & (kinds == kind)
        table(f"{name.lower()}, {kind}", confidence[of], right[of])


def main():
    options = arguments()
    for kind, name in KINDS.items():
        if options.only not in (None, kind):
            continue
        manifests = [options.data / f"{name}.jsonl" for name in (ENGLISH if kind == "lm" else [ORDERS])]
        half_of = by_speaker(manifests) if kind == "lm" else by_name
        extra = ["--phrases", options.phrases] if kind == "phrases" else []
        constants = None if options.uncalibrated else constants_of(name)
        words = []
        for manifest in manifests:
            own = list(words_of(manifest, half_of, constants, options, extra))
            finals = [word for word in own if word[0] == FINAL]
            confidence, right = np.array([[word[3], word[2]] for word in finals], float).T
            print(f"{manifest.stem}: {len(finals)} words, as the program writes them: mean confidence {confidence.mean():.3f}, "
                  f"right {right.mean():.3f}, expected calibration error {calibration_error(confidence, right):.3f}")
            words += own
        report(name, words, options.fit)


if __name__ == "__main__":
    main()
