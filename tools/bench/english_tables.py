"""Tables of the results of english.py, in Markdown."""

BEGIN, END = "<!-- tables of tools/bench/english.py -->", "<!-- end of tables -->"


def percent(value, digits=1):
    return f"{100 * value:.{digits}f} %"


def table(head, rows):
    align = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, align, *rows])


def words(found):
    sets = found["sets"]
    rows = [[f"{name}-dev", s["lm"]["utterances"], s["lm"]["words"], percent(s["lm"]["wer"]), percent(s["without_lm"]),
             percent(s["closed_vocabulary"]), percent(s["unknown_words"] / s["lm"]["words"])] for name, s in sets.items()]
    groups = [[group, g["utterances"], g["words"], percent(g["wer"])] for group, g in found["by_group"].items()]
    return (table(["word error rate, streaming", "recordings", "words", "beam, language model", "beam, all words alike",
                   "beam, only the words of the set, alike", "words the model lacks"], rows)
            + "\n\n" + table(["group, of all three sets, as the manifests say", "recordings", "words", "word error rate"], groups))


def phones(found):
    rows = [[f"{name}-dev", s["phones"], percent(s["best_path"]), percent(s["recognized_words"])] for name, s in found.items()]
    return table(["phone error rate", "phones", "best path (greedy)", "phones of the recognized words (beam, language model)"], rows)


def precisions(found):
    kinds = [name for name in found if isinstance(found[name], dict)]
    sets = [key for key in found["fp32"] if key not in ("bytes", "wer")]
    rows = [[kind, f"{found[kind]['bytes'] / 1e6:.1f} MB", percent(found[kind]["wer"], 2), *(percent(found[kind][s], 2) for s in sets)]
            for kind in kinds]
    difference = 100 * found["int8_minus_fp32"]
    limit = "within" if difference <= 0.3 else "beyond"
    return (table(["export, in onnxruntime", "size", "word error rate", *sets], rows)
            + f"\n\nint8 differs by {difference:+.2f} % absolute from fp32, {limit} the limit of 0.3 %.")


def engines(found):
    rows = [[name, percent(e["wer"], 2), f"{e['same_text_as_native']} of {e['utterances']}", f"{e['rtf']:.3f}"] for name, e in found.items()]
    return table(["engine", "word error rate", "same text as native", "real-time factor"], rows)


def latency(found):
    def row(name, key):
        value = found[key]
        return [name, *(["not measured"] * 3 if value is None else [f"{value['p50']:.2f} s", f"{value['p95']:.2f} s", value["n"]])]

    rows = [
        row("network: last phone of a single word, after the end of its sound (fsdd-dev, cut tight)", "network"),
        row("partial result with the word, after its end", "partial_first"),
        row("partial result from which the word stays, after its end", "partial_kept"),
        row("final result at a pause (rule 2: 1.2 s), after the last word", "final_at_pause"),
    ]
    shares = f"{percent(found['within_a_second'])} of the right words are shown within a second of their end, " \
             f"{percent(found['kept_within_a_second'])} stay from then on."
    return table(["delay", "50th percentile", "95th percentile", "number"], rows) + "\n\n" + shares


def speed(found):
    return (f"One core, beam and language model: {found['rtf']:.3f} of real time ({found['cpu_share']:.3f} with the start of the program), "
            f"{found['megabytes']} MB, on {found['audio_seconds'] / 60:.0f} minutes of speech; load of the machine {found['load']}.")


def quiet(found):
    return table(["without speech", "seconds", "words written"], [[name, s["seconds"], s["words"]] for name, s in found.items()])


def joined(found):
    rows = [[label, percent(found[key]["wer"]), *(percent(third) for third in found[key]["thirds"])] for label, key in
            (("one by one", "one_by_one"), ("joined; state reset at endpoints", "reset"), ("joined; state kept at endpoints", "kept"),
             ("joined; no endpoints", "without_endpoints"))]
    return table([f"{found['seconds'] / 60:.0f} minutes joined", "word error rate", "first third", "second third", "last third"], rows)


def cold(found):
    rows = [["from the beginning", percent(found["whole"]), percent(found["next_word_whole"])],
            ["from the middle of a word", percent(found["cold"]), percent(found["next_word_cold"])]]
    return table([f"{found['recordings']} recordings, {found['words']} words after the cut", "word error rate",
                  "the next whole word is right"], rows)


def sherpa(found):
    rows = [[f"{name}-dev", s["vocabulary"], f"{s['same']} of {s['recordings']}", percent(s["wer_sherpa"]), percent(s["wer_hearken"])]
            for name, s in found.items()]
    return table(["sherpa-onnx with the exported graph", "words of the graph", "recordings with the same words",
                  "word error rate, sherpa-onnx", "hearken"], rows)


TITLES = {"words": "Words", "phones": "Phones", "precisions": "Precisions", "engines": "Engines", "latency": "Latency", "speed": "Speed",
          "quiet": "Noise and silence", "joined": "Long streams", "cold": "Start in the middle of a word", "sherpa": "sherpa-onnx"}


def tables(results):
    parts = []
    for part, title in TITLES.items():
        if part not in results:
            continue
        found = {key: value for key, value in results[part].items() if key != "about"}
        about = results[part]["about"]
        which = f"{about['limit']} recordings of each set, seed {about['seed']}" if about["limit"] else "all recordings"
        parts.append(f"### {title}\n\n{globals()[part](found)}\n\n({about['machine']}; {about['date']}; {which})")
    return "\n\n".join(parts) + "\n"


def replace(card, text):
    """Puts the tables between the marks of a file."""
    before, mark, rest = card.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"{card}: expected the marks {BEGIN} and {END}")
    card.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")
