"""Recordings: transcripts in order, failures, formats, alignment, evaluation."""

import gc
import json
import signal
import subprocess
import sys

import hearken
import pytest

TEXTS = {
    "pi.wav": "three one four one five",
    "e.wav": "two seven one eight",
    "golden.flac": "six one eight zero",
    "voice-note.opus": "one two three four five six seven eight nine",
    "pi.m4a": "three one four one five",
}


def test_transcripts_come_in_order(digits, audio):
    paths = [audio / name for name in TEXTS] * 3
    transcripts = digits.transcribe(paths, threads=3)
    assert len(transcripts) == len(paths)
    found = list(transcripts)
    assert [transcript.text for transcript in found] == list(TEXTS.values()) * 3
    assert [transcript.path for transcript in found] == [str(path) for path in paths]
    assert all(transcript.error is None and transcript.warnings == [] for transcript in found)
    assert found[0].words[0].word == "three" and found[0].duration > 2
    assert next(transcripts, None) is None


def test_one_path_and_any_iterable(digits, audio):
    assert next(digits.transcribe(str(audio / "pi.wav"))).text == TEXTS["pi.wav"]
    assert [one.text for one in digits.transcribe(audio.glob("pi.wav"))] == [TEXTS["pi.wav"]]
    assert list(digits.transcribe([])) == []


def test_a_recording_that_fails_loses_no_other(digits, audio, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF nothing")
    paths = [audio / "pi.wav", broken, tmp_path / "missing.wav", audio / "e.wav"]
    found = list(digits.transcribe(paths, errors="return"))
    assert [one.text for one in found] == [TEXTS["pi.wav"], "", "", TEXTS["e.wav"]]
    assert isinstance(found[1].error, hearken.InputError) and found[1].error.file == broken
    assert isinstance(found[2].error, FileNotFoundError) and found[2].path == str(paths[2])
    transcripts = digits.transcribe(paths)
    assert next(transcripts).text == TEXTS["pi.wav"]
    with pytest.raises(hearken.InputError, match="broken.wav"):
        next(transcripts)
    with pytest.raises(hearken.MissingFileError, match="missing.wav"):
        next(transcripts)
    assert next(transcripts).text == TEXTS["e.wav"]
    with pytest.raises(StopIteration):
        next(transcripts)


def test_an_iteration_can_be_abandoned(digits, audio):
    transcripts = digits.transcribe([audio / "countdown.wav"] * 1000)
    next(transcripts)
    del transcripts
    gc.collect()


def test_ctrl_c_ends_a_run(audio):
    code = """
import signal, sys, hearken
# Where the tests run in the background, the signal is ignored at first.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    for transcript in hearken.Recognizer().transcribe([sys.argv[1]] * 100_000):
        print(transcript.text, flush=True)
except KeyboardInterrupt:
    print("interrupted")
"""
    command = [sys.executable, "-c", code, str(audio / "e.wav")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == TEXTS["e.wav"]
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().endswith("interrupted\n")
    assert process.returncode == 0


def test_events_of_a_file(digits, audio, tmp_path):
    events = list(digits.events(audio / "pi.mp3"))
    assert isinstance(events[0], hearken.Partial) and events[-1].text == TEXTS["pi.wav"]
    assert all(isinstance(event, hearken.Final) for event in digits.events(audio / "pi.wav", partials=False))
    cut = tmp_path / "cut.wav"
    cut.write_bytes((audio / "pi.wav").read_bytes()[:40000])
    events = digits.events(cut)
    with pytest.raises(hearken.InputError, match="cut.wav"):
        list(events)


def test_the_length_of_a_recording_is_limited(digits, audio):
    problem = "longer than the limit of 1.5 s"
    (transcript,) = digits.transcribe(audio / "pi.wav", max_seconds=1.5)
    assert transcript.duration == pytest.approx(1.5, abs=0.01) and problem in transcript.warnings[0]
    found = []
    with pytest.raises(hearken.InputError, match=problem):
        found.extend(digits.events(audio / "pi.wav", max_seconds=1.5, partials=False))
    assert found and isinstance(found[-1], hearken.Final)
    assert next(digits.transcribe(audio / "pi.wav", max_seconds=0)).text == TEXTS["pi.wav"]
    for seconds in (-1, float("nan")):
        with pytest.raises(hearken.UsageError, match="max_seconds"):
            digits.transcribe(audio / "pi.wav", max_seconds=seconds)


def test_formats(digits, audio):
    transcript = next(digits.transcribe(audio / "pi.wav"))
    assert "-->" in transcript.to_format("srt")
    assert json.loads(transcript.to_format("json"))["text"] == TEXTS["pi.wav"]
    with pytest.raises(hearken.UsageError, match="textgrid"):
        transcript.to_format("doc")


def test_alignment(digits, audio):
    alignment = digits.align(audio / "pi.wav", "Three, one, four, one, five.")
    assert alignment.fits and alignment.unmatched == [] and alignment.guessed == []
    assert [word.word for word in alignment.words] == ["Three", "one", "four", "one", "five"]
    assert all(word.fits and word.tokens for word in alignment.words)
    assert [token.token for token in alignment.words[2].tokens][0].startswith("F")
    ends = [word.end for word in alignment.words]
    assert ends == sorted(ends) and ends[-1] <= alignment.duration
    assert "IntervalTier" in alignment.to_format("textgrid")
    assert not digits.align(audio / "pi.wav", "three one eight one five").fits
    for text, expected in [("", "no words"), ("three %", "%")]:
        with pytest.raises(hearken.InputError, match=expected):
            digits.align(audio / "pi.wav", text)


def test_evaluation(digits, audio, tmp_path):
    scores = digits.evaluate(audio / "manifest.jsonl")
    assert scores.wer == 0 and scores.cer == 0 and scores.correct == len(scores.utterances) == 11
    assert scores.reference_words == 59 and 0 < scores.rtf and scores.failed == []
    lines = [
        {"audio_filepath": str(audio / "pi.wav"), "text": "three oh four one five"},
        {"audio_filepath": str(tmp_path / "missing.wav"), "text": "one"},
    ]
    manifest = tmp_path / "dev.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = digits.evaluate(manifest)
    assert scores.wer == pytest.approx(1 / 5) and scores.substitutions == 1
    assert scores.confusions == [("oh", "one", 1)] and scores.utterances[0].errors == 1
    ((path, error),) = scores.failed
    assert path.endswith("missing.wav") and isinstance(error, FileNotFoundError)
    assert digits.evaluate(manifest, equal=["oh=one"]).wer == 0
    manifest.write_text("{}\n")
    with pytest.raises(hearken.InputError) as caught:
        digits.evaluate(manifest)
    assert caught.value.place == "line 1" and caught.value.file == manifest
