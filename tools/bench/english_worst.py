#!/usr/bin/env python3
"""Pictures of the recordings of each set with the highest word error rates: spectrogram, alignment of the reference, what was recognized.

    tools/bench/english_worst.py --data DIR --dictionary cmudict.txt --out FOLDER [--each 10] [--recordings FILE] [options of english.py]

Writes FOLDER/worst-N.png, six recordings on each, and FOLDER/worst.tsv: a line for each recording with word error rate, phone
errors of the best path, signal-to-noise ratio, level, rate of speech, share of words that do not fit their text by `hearken
align`, words that the language model lacks, and the texts. Recordings of fewer than three words are left out. With --recordings,
only the recordings whose names stand in the file, one on each line, are measured. Needs pillow beside the packages of english.py.
"""
import argparse
import pathlib
import sys
import tempfile

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from english import SETS, Bench, final_words, groups, vocabulary
from english import arguments as arguments_of_english
from phone_error import RATE, Model, dictionary, edits, features, read, words_of

WIDTH, HEIGHT, MARGIN = 1500, 80 * 2, 56
PAGE = 6


def arguments():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--each", type=int, default=10, help="recordings of each set")
    parser.add_argument("--recordings", type=pathlib.Path)
    own, rest = parser.parse_known_args()
    sys.argv = [sys.argv[0], *rest]
    return own, arguments_of_english()


def heat(values):
    """Colors of values from 0 to 1: black, violet, orange, white."""
    stops = np.array([[0, 0, 0], [60, 20, 110], [190, 55, 85], [250, 150, 40], [255, 255, 220]], float)
    at = np.clip(values, 0, 1) * (len(stops) - 1)
    low = np.minimum(at.astype(int), len(stops) - 2)
    return (stops[low] + (stops[low + 1] - stops[low]) * (at - low)[..., None]).astype(np.uint8)


def panel(draw, page, top, case, font):
    frames = case["features"]
    low, high = np.percentile(frames, 5), np.percentile(frames, 99.5)
    picture = Image.fromarray(heat(((frames - low) / (high - low)).T[::-1]))
    scale = WIDTH / max(len(frames), 400)  # at least four seconds wide
    width = round(len(frames) * scale)
    page.paste(picture.resize((width, HEIGHT)), (0, top + MARGIN))
    draw.text((4, top + 2), case["title"], fill="black", font=font)
    for words, y, color in ((case["aligned"], top + 18, "#0050b0"), (case["found"], top + MARGIN + HEIGHT + 2, "#b00000")):
        for k, word in enumerate(words):
            x = word["start"] * 100 * scale
            draw.line([(x, top + MARGIN - 2), (x, top + MARGIN + 10)] if y < top + MARGIN else
                      [(x, y - 12), (x, y)], fill=color)
            mark = "" if word.get("fits", True) else "?"
            draw.text((x, y + (k % 2) * 16), word["word"] + mark, fill=color, font=font)


def case_of(name, row, utterance, aligned, events, greedy, pronounced, known):
    samples, said = read(row["audio_filepath"]), words_of(row["text"])
    frames = features(samples)
    level = frames.max(1) * 10 / np.log(10)
    phones = [p for word in said for p in pronounced.get(word, [])]
    words = aligned["words"] if aligned else []
    seconds = max(words[-1]["end"] - words[0]["start"], 0.1) if words else len(samples) / RATE
    facts = {
        "wer": round(utterance["wer"], 2),
        "phone_error": round(edits(phones, greedy) / max(len(phones), 1), 2),
        "snr_db": round(float(np.percentile(level, 95) - np.percentile(level, 10))),
        "peak": round(float(np.abs(samples).max()), 2),
        "words_a_second": round(len(said) / seconds, 1),
        "misfits": f"{sum(not w['fits'] for w in words)}/{len(words)}",
        "lacking": " ".join(w for w in said if w not in known) or "-",
    }
    stem = pathlib.Path(row["audio_filepath"]).stem
    title = f"{name} {stem} {', '.join(groups(name, row))}; " + ", ".join(f"{k} {v}" for k, v in facts.items())
    return {"title": title, "features": frames, "aligned": words, "found": final_words(events), "facts": facts, "name": name, "stem": stem,
            "reference": utterance["reference"], "hypothesis": utterance["hypothesis"], "best_path": " ".join(greedy)}


def main():
    own, options = arguments()
    own.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        bench, worst = Bench(options, folder), []
        known = vocabulary(bench)
        names = own.recordings.read_text(encoding="utf-8").split() if own.recordings else None
        for name in SETS:
            rows = [row for row in bench.sets[name] if names is None or pathlib.Path(row["audio_filepath"]).name in names]
            utterances = bench.evaluate(rows)[0] if rows else {}
            cases = [(name, row, utterances[row["audio_filepath"]]) for row in rows]
            cases = [case for case in cases if case[2]["words"] >= 3]
            worst += sorted(cases, key=lambda case: (-case[2]["wer"], -case[2]["words"]))[: own.each]
        rows = [row for _, row, _ in worst]
        aligned, events = bench.aligned(rows), bench.events(rows, "--no-partials")
        model, pronounced = Model(str(options.model)), dictionary(options.dictionary)
        cases = [case_of(name, row, utterance, aligned.get(row["audio_filepath"]), events[row["audio_filepath"]],
                         model.phones(read(row["audio_filepath"])), pronounced, known) for name, row, utterance in worst]
    with (own.out / "worst.tsv").open("w", encoding="utf-8") as file:
        for case in cases:
            print(case["name"], case["stem"], *case["facts"].values(), case["reference"], case["hypothesis"], case["best_path"],
                  sep="\t", file=file)
    font = ImageFont.load_default(13)
    each = HEIGHT + 2 * MARGIN
    for number in range(0, len(cases), PAGE):
        part = cases[number : number + PAGE]
        page = Image.new("RGB", (WIDTH, each * len(part)), "white")
        draw = ImageDraw.Draw(page)
        for k, case in enumerate(part):
            panel(draw, page, k * each, case, font)
        page.save(own.out / f"worst-{number // PAGE + 1}.png")


main()
