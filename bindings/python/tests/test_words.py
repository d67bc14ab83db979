"""Words of one's own: phrases, language models, hotwords, wake words; errors with places."""

import logging

import hearken
import numpy as np
import pytest

LINES = ["@intent digits", "{first} one four one five", "{first} = three | two"]


def test_phrases_from_a_list_and_a_file(audio, tmp_path):
    file = tmp_path / "phrases.txt"
    file.write_text("\n".join(LINES))
    for phrases in (LINES, file, str(file)):
        recognizer = hearken.Recognizer(phrases=phrases)
        (segment,) = next(recognizer.transcribe(audio / "pi.wav")).segments
        (phrase,) = segment.phrases
        assert segment.text == "three one four one five"
        assert (phrase.intent, phrase.slots) == ("digits", [("first", "three")])


def test_hotwords_and_dictation(audio, tmp_path):
    english = hearken.Recognizer("english", hotwords=["Nuuk"], numbers="digits")
    assert "Nuuk" in english.words and len(english.words) > 10_000
    assert next(english.transcribe(audio / "pi.wav")).text
    lm = tmp_path / "digits.arpa"
    words = "one three four five".split()
    lines = [f"-0.7\t{word}\t0" for word in [*words, "<s>", "</s>"]]
    lm.write_text("\\data\\\nngram 1=6\n\n\\1-grams:\n" + "\n".join(lines) + "\n\n\\end\\\n")
    assert next(hearken.Recognizer(lm=lm).transcribe(audio / "pi.wav")).text == "three one four one five"
    both = hearken.Recognizer(lm=lm, phrases=["turn on the light"])
    assert next(both.transcribe(audio / "pi.wav")).text == "three one four one five"


def test_wake_words(pi):
    recognizer = hearken.Recognizer(wake_words=["hey computer"])
    assert recognizer.transcribe_samples(pi, endpoint=True).text == ""


def test_notes_are_logged(caplog):
    with caplog.at_level(logging.WARNING, logger="hearken"):
        recognizer = hearken.Recognizer(phrases=["call zbigniewski"])
    assert any("zbigniewski" in note for note in recognizer.notes)
    assert [record.message for record in caplog.records] == recognizer.notes


def test_errors_have_kinds_and_places(tmp_path):
    file = tmp_path / "phrases.txt"
    file.write_text("turn on\nturn (off\n")
    with pytest.raises(hearken.InputError) as caught:
        hearken.Recognizer(phrases=file)
    error = caught.value
    assert error.file == file and "line 2" in error.place and error.problem in str(error) and error.stage == "text"
    with pytest.raises(hearken.MissingFileError) as caught:
        hearken.Recognizer(tmp_path / "model.onnx")
    assert caught.value.errno == 2 and "model.onnx" in str(caught.value)
    assert isinstance(caught.value, OSError) and isinstance(caught.value, FileNotFoundError)
    model = tmp_path / "broken.onnx"
    model.write_bytes(b"\x08\x08\xff")
    with pytest.raises(hearken.InputError, match="broken.onnx"):
        hearken.Recognizer(model)
    for arguments, expected in [
        ({"lexicon": "a.txt"}, "no effect"),
        ({"phrases": LINES, "hotwords": ["x"]}, "weights"),
        ({"numbers": "roman"}, "numbers"),
        ({"engine": "torch"}, "engine"),
        ({"tokens": "tokens.txt"}, "tokens"),
        ({"wake_words": ["uh"]}, "phones"),
    ]:
        with pytest.raises(hearken.UsageError, match=expected) as caught:
            hearken.Recognizer(**arguments)
        assert isinstance(caught.value, ValueError)


def test_silence_has_no_words(digits):
    assert digits.transcribe_samples(np.zeros(16000, np.float32), 16000).text == ""
