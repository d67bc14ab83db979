#!/usr/bin/env python3
"""Hotwords: errors on listed words and on all others, by boost and length of the list.

    tools/bench/hotwords.py --model MODEL.onnx --lm WORDS.lm --text TEXT MANIFEST... [--hearken PROGRAM] [--jobs N]

TEXT is the text of the language model: words that are not among its 5,000 most frequent are rare. A list of N words
holds rare words of the references, the most frequent first, and as many distractors: rare words of TEXT that no
reference has, drawn at random. One more list holds distractors alone. The error on listed words counts words of the
references that are listed and were substituted or deleted, and listed words that were inserted, by the
number of the former; the error on other words likewise.

Prints a JSON line for each list and boost, then a table in Markdown. Needs Python's standard library only.
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import random
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FREQUENT = 5000
WORD = re.compile(r"[a-z][a-z']*")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST")
    parser.add_argument("--model", required=True)
    parser.add_argument("--lm", required=True)
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    parser.add_argument("--jobs", type=int, default=2, help="settings that are measured at the same time")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1, 10, 100, 500])
    parser.add_argument("--boosts", type=float, nargs="+", default=[1, 2, 4, 6])
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def words(text):
    return WORD.findall(text.lower())


def aligned(reference, hypothesis):
    """Pairs of words of a best alignment; None for an insertion or deletion."""
    rows = [list(range(len(hypothesis) + 1))]
    for i, word in enumerate(reference):
        row = [i + 1]
        for j, other in enumerate(hypothesis):
            row.append(min(rows[i][j] + (word != other), rows[i][j + 1] + 1, row[j] + 1))
        rows.append(row)
    pairs, i, j = [], len(reference), len(hypothesis)
    while i or j:
        if i and j and rows[i][j] == rows[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], hypothesis[j]))
        elif i and rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, hypothesis[j]))
    return pairs


def evaluate(options, hotwords, boost):
    """References and hypotheses, as lists of words."""
    command = [options.hearken, "evaluate", "--json", "--model", options.model, "--lm", options.lm, *options.manifests]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        if boost > 0:
            file.write("\n".join(hotwords) + "\n")
            file.flush()
            command += ["--hotwords", file.name, "--hotwords-score", str(boost)]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return [(words(line["reference"]), words(line["hypothesis"])) for line in lines if line["type"] == "utterance"]


def errors(results, listed):
    """Numbers of errors and words, for hotwords and for other words."""
    wrong, all_words = [0, 0], [0, 0]
    for reference, hypothesis in results:
        for word, found in aligned(reference, hypothesis):
            other = (word if word is not None else found) not in listed
            wrong[other] += word != found
            all_words[other] += word is not None
    return [(w, n) for w, n in zip(wrong, all_words)]


def lists(options):
    """Lists of hotwords by their names."""
    counts = collections.Counter()
    with options.text.open(encoding="utf-8", errors="replace") as text:
        for line in text:
            counts.update(words(line))
    frequent = {word for word, _ in counts.most_common(FREQUENT)}
    spoken = collections.Counter()
    for manifest in options.manifests:
        for line in pathlib.Path(manifest).read_text(encoding="utf-8").splitlines():
            spoken.update(words(json.loads(line)["text"]))
    rare = [word for word, _ in sorted(spoken.items(), key=lambda item: (-item[1], item[0])) if word not in frequent]
    others = sorted(word for word in counts if word not in frequent and word not in spoken and counts[word] > 1)
    random.Random(options.seed).shuffle(others)
    found = {}
    for length in options.lengths:
        targets = rare[:(length + 1) // 2]
        found[str(length)] = targets + others[:length - len(targets)]
    found["distractors"] = others[:max(options.lengths)]
    return found


def main():
    options = arguments()
    all_lists = lists(options)
    rows = collections.defaultdict(dict)

    def report(name, boost, results):
        (wrong, listed), (others_wrong, others) = errors(results, set(all_lists[name]))
        share = round(100 * wrong / listed, 1) if listed else None
        other_share = round(100 * others_wrong / others, 2)
        print(json.dumps({"list": name, "boost": boost, "listed_words": listed, "listed_wer": share,
                          "other_words": others, "other_wer": other_share}), flush=True)
        rows[boost][name] = f"{other_share:.1f}" if share is None else f"{share:.1f} / {other_share:.1f}"

    without = evaluate(options, [], 0)
    for name in all_lists:
        report(name, 0, without)
    settings = [(name, boost) for name in all_lists for boost in options.boosts]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda setting: evaluate(options, all_lists[setting[0]], setting[1]), settings)
        for (name, boost), found in zip(settings, results):
            report(name, boost, found)
    print("\n| boost | " + " | ".join(all_lists) + " |")
    print("| ---: |" + " ---: |" * len(all_lists))
    for boost, row in rows.items():
        print(f"| {boost:g} | " + " | ".join(row[name] for name in all_lists) + " |")


if __name__ == "__main__":
    main()
