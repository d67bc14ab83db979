#!/usr/bin/env python3
"""Runs all stages of the training of the digits model.

    tools/digits/train.py DATA OUT [--hearken PROGRAM] [--recipes-only]

DATA is prepared by tools/digits/data.py. The first stage is models/digits/recipe.toml; each later one changes the
recipe before it (STAGES below), starts from the mean of models of earlier stages, and ends after a number of
updates. Writes each stage's recipe and run to OUT, and the model to OUT/digits.onnx. A finished stage is skipped;
one that was interrupted continues from its checkpoint. Needs onnx.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Name; models it begins with (their mean); updates after which it ends; what changes in the recipe.
# Weights of manifests are named `recordings[MANIFEST]` and `pools[MANIFEST]`.
STAGES = [
    ("first", [], 17000, {}),
    # More noise without speech, synthetic sounds, more single other words, microphones with less treble.
    ("further", ["first/last"], 16000, {
        "data.generated_sounds": 0.25, "data.silence_weight": 0.1,
        "data.strings.other_words_probability": 0.35,
        "augment.sounds": "{ probability = 0.06 }",
        "augment.equalizer": "{ probability = 0.45, gain_db = [-12.0, 9.0] }",
        "augment.low_pass": "{ probability = 0.2, cutoff_hz = [2000.0, 7500.0] }",
        "optimizer.learning_rate": 1e-3, "schedule.lengthen_steps": 1, "schedule.short_steps": 0,
        "schedule.steps": 16000, "run.seed": 2, "run.eval_interval": 2000,
        "decoder.filler_label_cost": 0.0,
        "decoder.rejection": "{ window_ms = 2000, most_other = 0.35, least_confidence = [0.5, 0.5, 0.2] }",
    }),
    # A constant learning rate, with noise that is suppressed after a while and breath noise.
    ("constant", ["further/last", "further/best"], 12000, {
        "data.silence_weight": 0.12, "augment.sounds": "{ probability = 0.1 }",
        "augment.suppression": "{ probability = 0.12 }", "augment.breath": "{ probability = 0.15 }",
        "network.dropout": 0.12, "optimizer.learning_rate": 7e-4, "optimizer.ema_decay": 0.9998,
        "schedule.steps": 12000, "schedule.final_share": 1.0,
        "run.seed": 3, "run.eval_interval": 1500, "run.keep_models": "true",
        "decoder.rejection": "{ window_ms = 2000, most_other = 0.35, least_confidence = [0.5, 0.5, 0.2], "
                             "confidence_for_others = 1.0, longest_ms = 1500 }",
    }),
    ("falling", ["constant/at-009000", "constant/at-010500", "constant/at-012000"], 2000, {
        "optimizer.learning_rate": 5e-4, "optimizer.ema_decay": 0.9995, "schedule.steps": 6000,
        "schedule.warmup_steps": 100, "schedule.final_share": 0.01, "run.seed": 4, "run.eval_interval": 1000,
    }),
    # MMI over words, a third of all examples with other English, and the audio processing of browsers.
    ("words", [f"constant/at-{n:06}" for n in (6000, 7500, 9000, 10500, 12000)]
     + ["falling/at-001000", "falling/at-002000"], 31500, {
        "recordings[browser/sentences.jsonl]": 0.14, "recordings[browser/strings.jsonl]": 0.16,
        "recordings[digits/one-adult-train.jsonl]": 0.04, "recordings[digits/strings-train.jsonl]": 0.05,
        "recordings[english/arctic-train.jsonl]": 0.02, "recordings[english/ljspeech-train.jsonl]": 0.02,
        "recordings[english/librispeech-train.jsonl]": 0.08,
        "recordings[english/machine-labelled-train.jsonl]": 0.09,
        "recordings[english/speechocean-train.jsonl]": 0.12,
        "recordings[synthetic/synthetic-accents.jsonl]": 0.04,
        "recordings[synthetic/synthetic-digits.jsonl]": 0.12,
        "pools[browser/words.jsonl]": 0.25, "pools[digits/commands-train.jsonl]": 0.33,
        "pools[digits/fsdd-train.jsonl]": 0.1, "pools[synthetic/synthetic-digits.jsonl]": 0.08,
        "data.strings.weight": 0.4, "data.silence_weight": 0.14,
        "loss.mmi.denominator": '"words"', "loss.mmi.weight": 1.0, "loss.mmi.other_weight": 0.5,
        "optimizer.learning_rate": 7e-4, "optimizer.ema_decay": 0.9998, "schedule.steps": 60000,
        "schedule.warmup_steps": 300, "schedule.final_share": 1.0, "run.seed": 5, "run.eval_interval": 1500,
    }),
    # Three of ten examples are followed by another one after a pause.
    ("joined", ["words/at-031500", *(f"words/at-{n:06}" for n in range(6000, 31500, 3000)), "words-begin"], 5250, {
        "data.concatenation.probability": 0.3, "optimizer.learning_rate": 5e-4, "optimizer.ema_decay": 0.9995,
        "schedule.steps": 20000, "schedule.warmup_steps": 200, "run.seed": 6, "run.eval_interval": 750,
    }),
]
# The final model is the mean of these: models saved during the last stage, and its initial model.
MODEL = [*(f"joined/at-{n:06}" for n in range(3000, 5251, 750)), "joined-begin"]
# Costs and thresholds of its search, chosen on the dev sets.
DECODER = {
    "filler_entry_cost": 6.0, "filler_label_cost": 0.2,
    "rejection": {"window_ms": 4000, "pause_ms": 720, "most_other": 0.4, "least_confidence": [0.5, 0.7, 0.2],
                  "confidence_for_others": 1.0, "longest_ms": 1500},
}


def change(text, key, value):
    """A recipe's text with one setting changed or added."""
    named = re.fullmatch(r"(recordings|pools)\[(.*)\]", key)
    if named and named[1] == "recordings":
        block = rf'(manifest = "{re.escape(named[2])}"\nweight = )\S+'
        new = f'[[data.recordings]]\nmanifest = "{named[2]}"\nweight = {value}\n\n[[data.dev]]'
        return put(text, block, value, lambda: text.replace("[[data.dev]]", new, 1))
    if named:
        line = rf'(manifest = "{re.escape(named[2])}", weight = )[\d.]+'
        new = f'pools = [\n  {{ manifest = "{named[2]}", weight = {value} }},'
        return put(text, line, value, lambda: text.replace("pools = [", new, 1))
    table, name = key.rsplit(".", 1)
    if f"[{table}]\n" not in text:
        return f"{text}\n[{table}]\n{name} = {value}\n"
    head, rest = text.split(f"[{table}]\n", 1)
    body, mark, tail = rest.partition("\n[")
    body = put(body, rf"(?m)(^{name} = ).*$", value, lambda: f"{name} = {value}\n{body}")
    return f"{head}[{table}]\n{body}{mark}{tail}"


def put(text, pattern, value, otherwise):
    changed, count = re.subn(pattern, lambda found: f"{found[1]}{value}", text)
    return changed if count else otherwise()


def mean(hearken, out, models, *options):
    subprocess.run([hearken, "average", *models, "-o", out, *options], check=True, stdout=subprocess.DEVNULL)


def search_by(path, decoder):
    """Writes other costs and thresholds into a model."""
    import onnx

    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == "hearken.decoder":
            entry.value = json.dumps(json.loads(entry.value) | decoder, separators=(",", ":"))
    onnx.save(model, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    parser.add_argument("--recipes-only", action="store_true", help="write the recipes, train nothing")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    models = lambda names: [options.out / f"{name}.onnx" for name in names]
    recipe = (ROOT / "models/digits/recipe.toml").read_text(encoding="utf-8")
    for name, begins, updates, changes in STAGES:
        for key, value in changes.items():
            recipe = change(recipe, key, value)
        path, run, done = (options.out / file for file in (f"{name}.toml", name, f"{name}.done"))
        path.write_text(recipe, encoding="utf-8")
        if options.recipes_only or done.is_file():
            continue
        command = [options.hearken, "train", path, "--data", options.data, "--out", run, "--stop-after", str(updates)]
        if (run / "checkpoint.bin").is_file():
            command.append("--resume")
        elif begins:
            mean(options.hearken, options.out / f"{name}-begin.onnx", models(begins))
            command += ["--from", options.out / f"{name}-begin.onnx"]
        print(f"train: {name}", file=sys.stderr)
        subprocess.run(command, check=True)
        done.touch()
    if not options.recipes_only:
        mean(options.hearken, options.out / "digits.onnx", models(MODEL), "--halves")
        search_by(options.out / "digits.onnx", DECODER)


if __name__ == "__main__":
    main()
