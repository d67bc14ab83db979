#!/usr/bin/env python3
"""Reads transcripts of hearken with widely used parsers, and compares the contents with `--format json`.

    python tools/check/formats.py --hearken target/release/hearken audio/*.wav

SRT: srt (which must write the very same text back) and pysubs2. WebVTT: webvtt-py and pysubs2. TextGrid:
textgrid (which refuses overlaps) and Praat (praat-parselmouth). CTM: NIST's sclite and validator, where
Debian's sctk is installed. TSV, TXT, JSON and JSON lines: Python's own. Ends with 1 when something differs.
Checked with srt 3.5.3, pysubs2 1.8.1, webvtt-py 0.6.0, textgrid 1.6.1, praat-parselmouth 0.4.7, sctk 2.4.10.
"""

import argparse
import csv
import html
import json
import pathlib
import subprocess
import sys
import tempfile

import parselmouth
import pysubs2
import srt
import textgrid
import webvtt

FORMATS = ["txt", "json", "jsonl", "srt", "vtt", "ctm", "tsv", "textgrid"]
SCTK = pathlib.Path("/usr/lib/sctk/bin")
MAX_LINE, MAX_SECONDS = 42, 7.0


def transcribe(hearken, recordings, folder):
    """The transcripts by format and recording."""
    for name in FORMATS:
        command = [hearken, "transcribe", *recordings, "--format", name, "--out", folder / name]
        # A recording that is cut short ends with 1, and has a transcript.
        subprocess.run(command, check=False)
    ending = {"textgrid": "TextGrid"}
    stems = [pathlib.Path(recording).stem for recording in recordings]
    return {stem: {name: folder / name / f"{stem}.{ending.get(name, name)}" for name in FORMATS} for stem in stems}


def close(a, b, what, tolerance=1.5e-3):
    assert abs(a - b) <= tolerance, f"{what}: {a} and {b}"


def check_cues(cues, words):
    """`cues`: start, end, text of each; together they show all words, in time, in lines of a fit length."""
    shown = [word for _, _, text in cues for word in text.split()]
    assert shown == [word["word"] for word in words], f"{shown} is not what was said"
    at = 0
    for start, end, text in cues:
        count = len(text.split())
        first, last = words[at], words[at + count - 1]
        close(start, first["start"], "a subtitle's start")
        assert end + 1.5e-3 >= last["end"] and end - start <= max(MAX_SECONDS, last["end"] - first["start"]) + 2e-3
        lines = text.split("\n")
        assert len(lines) <= 2 and all(len(line) <= MAX_LINE for line in lines), text
        at += count
    pairs = zip(cues, cues[1:])
    assert all(a[1] <= b[0] + 1e-6 for a, b in pairs), "subtitles overlap"


def check_srt(path, words):
    text = path.read_text(encoding="utf-8")
    parsed = list(srt.parse(text))
    assert srt.compose(parsed) == text, "srt writes another text back"
    seconds = [(c.start.total_seconds(), c.end.total_seconds(), c.content) for c in parsed]
    check_cues(seconds, words)
    check_pysubs(path, words)


def check_pysubs(path, words):
    # The format is given, since it cannot be detected from an empty file.
    events = pysubs2.load(str(path), format_=path.suffix[1:])
    cues = [(e.start / 1000, e.end / 1000, html.unescape(e.plaintext)) for e in events]
    check_cues(cues, words)


def check_vtt(path, words):
    def seconds(text):
        hours, minutes, rest = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(rest)

    cues = [(seconds(c.start), seconds(c.end), html.unescape(c.text)) for c in webvtt.read(str(path))]
    check_cues(cues, words)
    check_pysubs(path, words)


def check_textgrid(path, words, duration):
    grid = textgrid.TextGrid.fromFile(str(path))
    assert [tier.name for tier in grid.tiers] == ["utterances", "words"]
    close(grid.maxTime, max(duration, 1e-3), "a TextGrid's end")
    for tier in grid.tiers:
        ends = [0.0, *(interval.maxTime for interval in tier)]
        assert [interval.minTime for interval in tier] == ends[:-1] and ends[-1] == grid.maxTime, "a gap"
    said = [interval for interval in grid.getFirst("words") if interval.mark]
    assert [interval.mark for interval in said] == [word["word"] for word in words]
    for interval, word in zip(said, words):
        close(interval.minTime, word["start"], word["word"])
    praat = parselmouth.read(str(path))
    assert praat.class_name == "TextGrid"
    count = parselmouth.praat.call(praat, "Get number of intervals", 2)
    labels = [parselmouth.praat.call(praat, "Get label of interval", 2, i + 1) for i in range(int(count))]
    assert [label for label in labels if label] == [word["word"] for word in words]


def check_ctm(path, stem, words, duration, folder):
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row[4] for row in rows] == [word["word"] for word in words]
    for row, word in zip(rows, words):
        assert len(row) == 6 and row[0] == stem and 0 <= float(row[5]) <= 1
        close(float(row[2]), word["start"], word["word"])
        close(float(row[2]) + float(row[3]), word["end"], word["word"])
    if not words or not (SCTK / "sclite").exists():
        return
    stm = folder / f"{stem}.stm"
    stm.write_text(f"{stem} 1 speaker 0.000 {duration + 1:.3f} {' '.join(row[4] for row in rows)}\n")
    for command in (
        ["perl", SCTK / "ctmValidator.pl", "-i", path],
        [SCTK / "sclite", "-r", stm, "stm", "-h", path, "ctm", "-o", "sum", "stdout"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


def check_rest(paths, transcript):
    texts = [segment["text"] for segment in transcript["segments"] if segment["text"]]
    assert paths["txt"].read_text(encoding="utf-8").splitlines() == (texts or [""])
    lines = [json.loads(line) for line in paths["jsonl"].read_text(encoding="utf-8").splitlines()]
    segments = [{"type": "final", "path": transcript["path"], **segment} for segment in transcript["segments"]]
    assert lines == segments
    with open(paths["tsv"], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["text"] for row in rows] == texts
    assert all(int(row["start"]) <= int(row["end"]) for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hearken", required=True)
    parser.add_argument("recordings", nargs="+")
    options = parser.parse_args()
    if not (SCTK / "sclite").exists():
        print("skipped: sclite, which is not installed (Debian's sctk)")
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for stem, paths in transcribe(options.hearken, options.recordings, folder).items():
            try:
                transcript = json.loads(paths["json"].read_text(encoding="utf-8"))
                words = [word for segment in transcript["segments"] for word in segment["words"]]
                check_srt(paths["srt"], words)
                check_vtt(paths["vtt"], words)
                check_textgrid(paths["textgrid"], words, transcript["duration"])
                check_ctm(paths["ctm"], stem, words, transcript["duration"], folder)
                check_rest(paths, transcript)
                print(f"{stem}: {len(words)} words, {len(FORMATS)} formats")
            except (AssertionError, OSError, ValueError, webvtt.errors.MalformedFileError) as error:
                failed = True
                print(f"{stem}: FAILED: {type(error).__name__}: {error}")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
