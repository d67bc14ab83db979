#!/usr/bin/env python3
"""Measures a model of English phones, and writes the tables of its card.

    tools/bench/english.py --data DIR --dictionary cmudict.txt [--model MODEL.onnx] [--lm WORDS.lm] [--hearken PROGRAM]
        [--limit N] [--parts words,phones,…] [--results FILE.json] [--card README.md]

DIR has the manifests english/*-dev.jsonl and noise/*.jsonl. `--limit N` measures N recordings of each set, drawn with
`--seed`. Each part is written to `--results` when it is done, and parts that are there from an earlier call are kept, so
that `--parts` can measure one after another. The tables are printed, and with --card they replace what stands between the
marks `<!-- tables of tools/bench/english.py -->` and `<!-- end of tables -->`.

| part | measures |
| --- | --- |
| words | word error by set and group: with the language model, without, and with the words of the set alone |
| phones | phone error: best path of the network, and phones of the recognized words |
| precisions | word error of exports in fp32, fp16, int8, and their sizes |
| engines | word error of the native engine, tract and onnxruntime |
| latency | delay of the network, of partial and of final results |
| speed | share of one core, memory |
| quiet | words in noise and silence |
| joined | word error of all recordings as one, beside one by one |
| cold | word error of recordings that begin in the middle of a word |
| sherpa | words of the export in sherpa-onnx with its decoding graph, beside hearken's (runs ../check/sherpa_words.py) |

All parts on all recordings take about half an hour on two idle cores. Needs the packages of tools/bench/requirements.txt; sherpa also
those of tools/check/requirements.txt.
"""
import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile

import english_tables
from phone_error import RATE, Model, dictionary, edits, read, words_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETS = ["librispeech", "speechocean", "commonvoice"]
PARTS = ["words", "phones", "precisions", "engines", "latency", "speed", "quiet", "joined", "cold", "sherpa"]
CHUNK = 0.1  # of `transcribe`, seconds
LAST_FRAME = 0.0075  # of a window of 25 ms every 10 ms, beyond the end of its step, seconds
# Accents of Common Voice, as speakers describe them. What is said to be a second language is not native.
NATIVE = re.compile(r"united states|canadian|england|american|australian|scot|irish|wales|new zealand|\bus\b", re.IGNORECASE)
OTHER = re.compile(r"second language|filipino|india|africa|hungarian|khoja|asia", re.IGNORECASE)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--dictionary", required=True, help="CMU Pronouncing Dictionary, may be .xz")
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/english/english.onnx")
    parser.add_argument("--lm", type=pathlib.Path, default=ROOT / "models/english/lm/english.lm")
    parser.add_argument("--hearken", default=str(ROOT / "target/release/hearken"))
    parser.add_argument("--limit", type=int, help="recordings of each set [default: all]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--results", type=pathlib.Path, help="JSON file of the results")
    parser.add_argument("--card", type=pathlib.Path, help="Markdown file that contains the tables")
    options = parser.parse_args()
    options.parts = [part for part in options.parts.split(",") if part]
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"--parts: expected {', '.join(PARTS)}, found {part}")
    options.data, options.model, options.lm = (p.resolve() for p in (options.data, options.model, options.lm))
    if not options.lm.is_file() or not options.model.is_file():
        parser.error(f"expected the files {options.model} and {options.lm}")
    return options


def groups(name, row):
    """Groups of a recording, by what the manifest says about its speaker."""
    if name == "librispeech":
        return ["adults", "native or near it"]
    if "age" in row:
        return ["children below 14" if row["age"] < 14 else "adults", "other first language"]
    accent = row.get("accent")
    known = "accent not said" if not accent else "other first language"
    if accent and NATIVE.search(accent) and not OTHER.search(accent):
        known = "native or near it"
    return ["age not said" if not row.get("age_group") else "teens" if row["age_group"] == "teens" else "adults", known]


def share(errors, words):
    return round(errors / max(words, 1), 4)


def percentiles(values):
    if not len(values):
        return None
    return {"p50": round(float(np.percentile(values, 50)), 3), "p95": round(float(np.percentile(values, 95)), 3), "n": len(values)}


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, pathlib.Path(folder)
        self.sets, self.words = {}, {}
        for name in SETS:
            manifest = options.data / f"english/{name}-dev.jsonl"
            rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
            self.words[name] = {word for row in rows for word in words_of(row["text"])}
            if options.limit and options.limit < len(rows):
                rows = sorted(random.Random(options.seed).sample(rows, options.limit), key=lambda row: row["audio_filepath"])
            for row in rows:
                row["audio_filepath"] = str((manifest.parent / row["audio_filepath"]).resolve())
                row.pop("duration", None)
            self.sets[name] = rows
        self.whole = None

    def write(self, name, rows):
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    def run(self, command, *arguments, lm=True, model=None, core=None):
        """Output of the program, lines of JSON; seconds of a core and memory that it took."""
        language = ["--lm", str(self.options.lm if lm is True else lm)] if lm else []
        line = [self.options.hearken, *command, "--model", str(model or self.options.model), *language, *arguments]
        pin = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
        with tempfile.TemporaryFile("w+") as out:
            process = subprocess.Popen(line, stdout=out, stderr=subprocess.PIPE, text=True, env=environment(), preexec_fn=pin)
            notes = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"{' '.join(map(str, line))}:\n{notes}")
            out.seek(0)
            rows = [json.loads(text) for text in out]
        return rows, {"cpu_seconds": usage.ru_utime + usage.ru_stime, "megabytes": usage.ru_maxrss / 1024}

    def evaluate(self, rows, *arguments, **kinds):
        found, used = self.run(["evaluate", "--json"], *arguments, self.write("set", rows), **kinds)
        return {r["path"]: r for r in found if r["type"] == "utterance"}, found[-1], used

    def events(self, rows, *arguments):
        """Events of each recording."""
        options = ["--threads", "1", "--chunk-ms", str(round(1000 * CHUNK)), *arguments, self.write("set", rows)]
        found, _ = self.run(["transcribe", "--json"], *options)
        by_path = {row["audio_filepath"]: [] for row in rows}
        for event in found:
            by_path[event["path"].split("#")[0]].append(event)
        return by_path

    def aligned(self, rows):
        """Words of each reference with their times, by `hearken align`; recordings that cannot be aligned are missing."""
        found, _ = self.run(["align", "--format", "jsonl"], self.write("set", rows), lm=False)
        return {r["path"].split("#")[0]: r for r in found}

    def one_by_one(self):
        """Final words of all recordings, each on its own."""
        if self.whole is None:
            rows = [row for rows in self.sets.values() for row in rows]
            self.whole = {path: final_words(events) for path, events in self.events(rows, "--no-partials").items()}
        return self.whole


def environment():
    kept = dict(os.environ)
    try:
        from engines import library
        kept.setdefault("ORT_DYLIB_PATH", str(library()))
    except ImportError:
        pass
    return kept


def final_words(events):
    return [word for event in events if event["type"] == "final" for word in event["words"]]


def sum_of(utterances):
    errors = sum(u["substitutions"] + u["deletions"] + u["insertions"] for u in utterances)
    return {"wer": share(errors, sum(u["words"] for u in utterances)), "words": sum(u["words"] for u in utterances),
            "utterances": len(utterances)}


def uniform(path, words):
    """A language model in which each word is as likely as any other."""
    cost = -np.log10(len(words) + 1)
    lines = [f"{cost:.4f}\t{word}" for word in ["</s>", *sorted(words)]]
    path.write_text("\\data\\\nngram 1={}\n\n\\1-grams:\n-99\t<s>\n{}\n\n\\end\\\n".format(len(lines) + 1, "\n".join(lines)))
    return path


def vocabulary(bench):
    """Words of the language model."""
    arpa = bench.folder / "whole.arpa"
    subprocess.run([bench.options.hearken, "lm", "--model", bench.options.lm, "-o", arpa], check=True, capture_output=True)
    with arpa.open(encoding="utf-8") as lines:
        words, inside = set(), False
        for line in lines:
            if line.startswith("\\"):
                if inside:
                    break
                inside = line.startswith("\\1-grams")
            elif inside and len(line.split()) > 1:
                words.add(line.split()[1])
    return words - {"<s>", "</s>", "<unk>"}


def words(bench):
    result, by_group = {}, {}
    none = uniform(bench.folder / "uniform.arpa", vocabulary(bench))
    for name, rows in bench.sets.items():
        utterances, total, _ = bench.evaluate(rows)
        result[name] = {"lm": sum_of(list(utterances.values())), "unknown_words": total["unknown_words"],
                        "by_group": {}, "minutes": round(total["audio_seconds"] / 60, 1)}
        for row in rows:
            for group in groups(name, row):
                by_group.setdefault(group, []).append(utterances[row["audio_filepath"]])
                result[name]["by_group"].setdefault(group, []).append(utterances[row["audio_filepath"]])
        result[name]["by_group"] = {g: sum_of(us) for g, us in result[name]["by_group"].items()}
        result[name]["without_lm"] = bench.evaluate(rows, lm=none)[1]["wer"]
        closed = uniform(bench.folder / f"{name}.arpa", bench.words[name])
        result[name]["closed_vocabulary"] = bench.evaluate(rows, lm=closed)[1]["wer"]
    return {"sets": result, "by_group": {group: sum_of(us) for group, us in sorted(by_group.items())}}


def phones(bench):
    pronounced, model, result = dictionary(bench.options.dictionary), Model(str(bench.options.model)), {}
    for name, rows in bench.sets.items():
        said = [[p for word in words_of(row["text"]) for p in pronounced.get(word, [])] for row in rows]
        found = [[p for w in bench.one_by_one()[row["audio_filepath"]] for p in pronounced.get(w["word"], [])] for row in rows]
        greedy = [model.phones(read(row["audio_filepath"])) for row in rows]
        total = sum(map(len, said))
        result[name] = {"best_path": share(sum(map(edits, said, greedy)), total), "phones": total,
                        "recognized_words": share(sum(map(edits, said, found)), total)}
    return result


def precisions(bench):
    result, rows = {}, [row for rows in bench.sets.values() for row in rows]
    for precision in ("fp32", "fp16", "int8", "int8-dynamic"):
        path = bench.folder / f"{precision}.onnx"
        subprocess.run([bench.options.hearken, "export", str(bench.options.model), "--for", "onnxruntime", "--precision",
                        precision, "-o", str(path)], check=True, capture_output=True)
        utterances, total, _ = bench.evaluate(rows, "--engine", "ort", model=path)
        result[precision] = {"bytes": path.stat().st_size, "wer": total["wer"],
                             **{name: sum_of([utterances[r["audio_filepath"]] for r in set_])["wer"] for name, set_ in bench.sets.items()}}
    result["int8_minus_fp32"] = round(result["int8"]["wer"] - result["fp32"]["wer"], 5)
    return result


def engines(bench):
    result, first, rows = {}, None, [row for rows in bench.sets.values() for row in rows]
    for engine in ("native", "tract", "ort"):
        utterances, total, _ = bench.evaluate(rows, "--engine", engine)
        texts = {path: u["hypothesis"] for path, u in utterances.items()}
        first = first or texts
        result[engine] = {"wer": total["wer"], "rtf": total["rtf"], "utterances": len(texts),
                          "same_text_as_native": sum(texts[path] == first[path] for path in texts)}
    return result


def emitted(event):
    """Length of the audio after which an event was written, seconds."""
    return float(np.ceil((event["end"] + LAST_FRAME) / CHUNK - 1e-6) * CHUNK)


def matched(said, found):
    """Pairs of places of equal words, of an alignment with the fewest errors."""
    table = np.zeros((len(said) + 1, len(found) + 1), int)
    table[:, 0], table[0, :] = range(len(said) + 1), range(len(found) + 1)
    for i, a in enumerate(said, 1):
        for j, b in enumerate(found, 1):
            table[i, j] = min(table[i - 1, j - 1] + (a != b), table[i - 1, j] + 1, table[i, j - 1] + 1)
    i, j, pairs = len(said), len(found), []
    while i and j:
        if table[i, j] == table[i - 1, j - 1] + (said[i - 1] != found[j - 1]):
            i, j = i - 1, j - 1
            if said[i] == found[j]:
                pairs.append((i, j))
        elif table[i, j] == table[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def has(event, word):
    """Whether an event has a word at about its place in the final result."""
    return any(w["word"] == word["word"] and abs(w["end"] - word["end"]) < 0.3 for w in event["words"])


def network_delay(bench):
    """When the network outputs the last phone of a word after the end of its sound: of single words that are cut tight."""
    manifest, rows = bench.options.data / "digits/fsdd-dev.jsonl", []
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    ends, pause = {}, np.zeros(RATE // 2, np.float32)
    for k, row in enumerate(random.Random(bench.options.seed).sample(lines, min(len(lines), 100))):
        samples, path = read(manifest.parent / row["audio_filepath"]), bench.folder / f"tight-{k}.wav"
        soundfile.write(path, np.concatenate([pause, samples, pause]), RATE)
        ends[str(path)] = 0.5 + len(samples) / RATE
        rows.append({"audio_filepath": str(path), "text": row["text"]})
    found = bench.aligned(rows)
    return percentiles([r["words"][-1]["tokens"][-1]["end"] - ends[path] for path, r in found.items() if r["fits"]])


def latency(bench):
    rows = [row for rows in bench.sets.values() for row in rows]
    aligned, events = bench.aligned(rows), bench.events(rows)
    first, kept = [], []
    for row in rows:
        path = row["audio_filepath"]
        if path not in aligned or not aligned[path]["words"]:
            continue
        reference, heard = aligned[path]["words"], final_words(events[path])
        for i, j in matched([w["word"] for w in reference], [w["word"] for w in heard]):
            end, shown = reference[i]["end"], [(emitted(e), has(e, heard[j])) for e in events[path] if e["type"] == "partial"]
            if abs(heard[j]["end"] - end) > 0.3 or not any(there for _, there in shown):
                continue  # at the end of the recording, where there is no partial result after it
            first.append(next(at for at, there in shown if there) - end)
            since = [k for k, (_, there) in enumerate(shown) if not there]
            after = since[-1] + 1 if since else 0
            if after < len(shown):
                kept.append(shown[after][0] - end)
    return {"network": network_delay(bench), "partial_first": percentiles(first),
            "partial_kept": percentiles(kept), "within_a_second": share(sum(v <= 1 for v in first), len(first)),
            "kept_within_a_second": share(sum(v <= 1 for v in kept), len(kept)), **final_latency(bench, rows, aligned)}


def final_latency(bench, rows, aligned):
    """Delay of final results at pauses of two seconds, from the end of the last word."""
    delays, joined = [], []
    for name in SETS:
        subset = [row for row in bench.sets[name] if row["audio_filepath"] in aligned][:40]
        at, parts, ends = 0.0, [], []
        for row in subset:
            samples = np.concatenate([read(row["audio_filepath"]), np.zeros(2 * RATE, np.float32)])
            ends.append((at, at + aligned[row["audio_filepath"]]["words"][-1]["end"], at + len(samples) / RATE))
            parts.append(samples)
            at += len(samples) / RATE
        path = bench.folder / f"pauses-{name}.wav"
        soundfile.write(path, np.concatenate(parts), RATE)
        joined.append(({"audio_filepath": str(path), "text": ""}, ends))
    for row, ends in joined:
        found = bench.events([row], "--endpoint", "on", "--no-partials")[row["audio_filepath"]]
        finals = [event for event in found if event["type"] == "final"]
        for _, end, next_start in ends:
            # The final result with the last word, if it came before the next recording's speech.
            times = [emitted(f) for f in finals if end - 0.3 < emitted(f) <= next_start + 0.5]
            delays += [times[0] - end] if times else []
    return {"final_at_pause": percentiles(delays), "pauses": sum(len(ends) for _, ends in joined)}


def speed(bench):
    rows = [row for rows in bench.sets.values() for row in rows]
    cores = sorted(os.sched_getaffinity(0))
    _, total, used = bench.evaluate(rows, core=cores[-1])
    seconds = total["audio_seconds"]
    return {"audio_seconds": seconds, "rtf": round(total["rtf"], 4), "cpu_share": round(used["cpu_seconds"] / seconds, 4),
            "megabytes": round(used["megabytes"]), "load": round(os.getloadavg()[0], 1)}


def generated(generator, seconds=60):
    """Sounds without speech, by name."""
    n = seconds * RATE
    white = generator.normal(size=n)
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), n)
    times = np.arange(n) / RATE
    clicks = np.zeros(n)
    clicks[generator.integers(0, n, seconds)] = 0.5
    hum = sum(np.sin(2 * np.pi * 50 * k * times) / k for k in (1, 2, 3, 5))
    return {"digital silence": np.zeros(n), "white noise, -60 dBFS": white * 1e-3, "white noise, -30 dBFS": white * 0.03,
            "pink noise, -30 dBFS": pink / pink.std() * 0.03, "hum of 50 Hz": hum * 0.05, "clicks": clicks}


def quiet(bench):
    result = {}
    for name in ("backgrounds", "esc10", "gsc-long"):
        manifest = bench.options.data / f"noise/{name}.jsonl"
        rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        rows = [{"audio_filepath": str((manifest.parent / r["audio_filepath"]).resolve()), "text": ""} for r in rows]
        _, total, _ = bench.evaluate(rows)
        result[f"noise/{name}"] = {"words": total["insertions"], "seconds": round(total["audio_seconds"])}
    for name, samples in generated(np.random.default_rng(bench.options.seed)).items():
        path = bench.folder / "sound.wav"
        soundfile.write(path, samples.astype(np.float32), RATE)
        _, total, _ = bench.evaluate([{"audio_filepath": str(path), "text": ""}])
        result[name] = {"words": total["insertions"], "seconds": round(total["audio_seconds"])}
    return result


def joined(bench):
    rows = [row for rows in bench.sets.values() for row in rows]
    random.Random(bench.options.seed).shuffle(rows)
    spans, parts, at = [], [], 0.0
    for row in rows:
        samples = np.concatenate([read(row["audio_filepath"]), np.zeros(RATE // 2, np.float32)])
        spans.append((row, at, at + len(samples) / RATE))
        parts.append(samples)
        at += len(samples) / RATE
    path = bench.folder / "joined.wav"
    soundfile.write(path, np.concatenate(parts), RATE)
    result = {"seconds": round(at)}
    alone = bench.one_by_one()
    variants = {"reset": ["--endpoint-state", "reset"], "kept": ["--endpoint-state", "carry"], "without_endpoints": ["--endpoint", "off"]}
    for name, endpoints in variants.items():
        found = final_words(bench.events([{"audio_filepath": str(path), "text": ""}], *endpoints, "--no-partials")[str(path)])
        wrong = []
        for row, begin, end in spans:
            heard = [w["word"] for w in found if begin <= (w["start"] + w["end"]) / 2 < end]
            wrong.append((edits(words_of(row["text"]), heard), len(words_of(row["text"]))))
        thirds = [wrong[k * len(wrong) // 3 : (k + 1) * len(wrong) // 3] for k in range(3)]
        result[name] = {"wer": share(*map(sum, zip(*wrong))), "thirds": [share(*map(sum, zip(*part))) for part in thirds]}
    single = [(edits(words_of(r["text"]), [w["word"] for w in alone[r["audio_filepath"]]]), len(words_of(r["text"]))) for r, _, _ in spans]
    thirds = [single[k * len(single) // 3 : (k + 1) * len(single) // 3] for k in range(3)]
    result["one_by_one"] = {"wer": share(*map(sum, zip(*single))), "thirds": [share(*map(sum, zip(*part))) for part in thirds]}
    return result


def cold(bench):
    rows = [row for rows in bench.sets.values() for row in rows]
    aligned, chosen = bench.aligned(rows), random.Random(bench.options.seed)
    cut = []
    for row in rows:
        reference = aligned.get(row["audio_filepath"], {}).get("words", [])
        inner = [k for k in range(1, len(reference) - 2) if reference[k]["end"] - reference[k]["start"] >= 0.2]
        if inner:
            k = chosen.choice(inner)
            at = (reference[k]["start"] + reference[k]["end"]) / 2
            path = bench.folder / f"cut-{len(cut)}.wav"
            soundfile.write(path, read(row["audio_filepath"])[int(at * RATE) :], RATE)
            cut.append((row, str(path), at, [w["word"] for w in reference[k + 1 :]]))
    events = bench.events([{"audio_filepath": path, "text": ""} for _, path, _, _ in cut], "--no-partials")
    whole, there, alone = bench.one_by_one(), 0, 0
    first_whole = first_cold = 0
    for row, path, at, rest in cut:
        after = [w["word"] for w in whole[row["audio_filepath"]] if w["end"] > at]
        begun = [w["word"] for w in final_words(events[path])]
        # The word that is cut counts as an error in neither: whatever is made of it may stand first.
        there += min(edits(rest, after), edits(rest, after[1:]))
        alone += min(edits(rest, begun), edits(rest, begun[1:]))
        first_whole += rest[0] in after[:2]
        first_cold += rest[0] in begun[:2]
    total = sum(len(rest) for *_, rest in cut)
    return {"recordings": len(cut), "words": total, "whole": share(there, total), "cold": share(alone, total),
            "next_word_whole": share(first_whole, len(cut)), "next_word_cold": share(first_cold, len(cut))}


def sherpa(bench):
    import onnx

    pronounced, result = dictionary(bench.options.dictionary), {}
    for name, rows in bench.sets.items():
        wanted = sorted({w for row in rows for w in words_of(row["text"]) if w in pronounced})
        model = onnx.load(str(bench.options.model))
        for entry in model.metadata_props:
            if entry.key == "hearken.decoder":
                decoder = json.loads(entry.value)
                lexicon = [{"word": w, "tokens": pronounced[w]} for w in wanted]
                # A closed vocabulary: other speech is too expensive to be found.
                entry.value = json.dumps({**decoder, "lexicon": lexicon, "word_cost": 1.0, "filler": [], "filler_entry_cost": 90.0,
                                          "filler_label_cost": 20.0})
        path, folder = bench.folder / "words.onnx", bench.folder / f"sherpa-{name}"
        onnx.save(model, path)
        subprocess.run([bench.options.hearken, "export", str(path), "--for", "sherpa-onnx", "-o", str(folder)], check=True, capture_output=True)
        waves = []
        for k, row in enumerate(rows):
            wave = bench.folder / f"sherpa-{name}-{k}.wav"
            soundfile.write(wave, read(row["audio_filepath"]), RATE)
            waves.append({"audio_filepath": str(wave), "text": row["text"]})
        check = [sys.executable, str(ROOT / "tools/check/sherpa_words.py"), "--hearken", bench.options.hearken, str(path), str(folder),
                 bench.write(f"{name}-waves", waves)]
        out = subprocess.run(check, check=False, capture_output=True, text=True)
        same = re.search(r"the same words in (\d+) of (\d+) recordings, in (\d+) without", out.stdout)
        rates = re.search(r"sherpa-onnx ([\d.]+) %, hearken ([\d.]+) %", out.stdout)
        if not same or not rates:
            raise SystemExit(f"sherpa_words.py: {out.stdout}{out.stderr}")
        result[name] = {"same": int(same[1]), "recordings": int(same[2]), "vocabulary": len(wanted),
                        "wer_sherpa": float(rates[1]) / 100, "wer_hearken": float(rates[2]) / 100}
    return result


def machine():
    names = [line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores"


def main():
    options = arguments()
    results = {}
    if options.results and options.results.exists():
        results = json.loads(options.results.read_text())
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, folder)
        for part in options.parts:
            begin = time.time()
            found = globals()[part](bench)
            results[part] = {**found, "about": {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "limit": options.limit,
                                                "seed": options.seed, "model": options.model.name, "minutes": round((time.time() - begin) / 60, 1)}}
            print(f"{part}: {time.time() - begin:.0f} s", file=sys.stderr, flush=True)
            if options.results:
                options.results.write_text(json.dumps(results, indent=1) + "\n")
    text = english_tables.tables(results)
    print(text)
    if options.card:
        english_tables.replace(options.card, text)


if __name__ == "__main__":
    main()
