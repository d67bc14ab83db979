"""The C library by cffi, from its header: results like vosk-api's, errors for wrong arguments.

HEARKEN_C_LIBRARY is the shared library; tools/check/bindings.sh sets it.
"""

import json
import os
import re
import threading
import wave
from pathlib import Path

import cffi
import pytest

ROOT = Path(__file__).resolve().parents[3]
AUDIO = ROOT / "audio"

ffi = cffi.FFI()
header = (ROOT / "bindings/c/include/hearken.h").read_text()
# cffi reads declarations, not directives of the preprocessor.
header = re.sub(r"#ifdef __cplusplus.*?#endif.*?\n", "", header, flags=re.DOTALL)
ffi.cdef("\n".join(line for line in header.splitlines() if not line.startswith("#")))
lib = ffi.dlopen(os.environ["HEARKEN_C_LIBRARY"])


def error():
    return ffi.string(lib.hearken_last_error()).decode()


def text(result):
    assert result, error()
    return json.loads(ffi.string(result))


def pcm(name):
    with wave.open(str(AUDIO / name)) as file:
        return file.readframes(file.getnframes()), file.getframerate()


@pytest.fixture(scope="module")
def model():
    model = lib.hearken_model_new(ffi.NULL)
    assert model, error()
    yield model
    lib.hearken_model_free(model)


@pytest.fixture
def recognizer(model):
    recognizer = lib.hearken_recognizer_new(model, 16000)
    assert recognizer, error()
    yield recognizer
    lib.hearken_recognizer_free(recognizer)


def accept(recognizer, data, step=3200):
    """All results and partial results, as a client of vosk-api collects them."""
    results, partials = [], []
    for at in range(0, len(data), step):
        chunk = data[at : at + step]
        ended = lib.hearken_recognizer_accept_waveform(recognizer, chunk, len(chunk))
        assert ended >= 0, error()
        if ended:
            results.append(text(lib.hearken_recognizer_result(recognizer)))
        else:
            partials.append(text(lib.hearken_recognizer_partial_result(recognizer))["partial"])
    results.append(text(lib.hearken_recognizer_final_result(recognizer)))
    return results, partials


def test_results_are_those_of_vosk(recognizer):
    assert lib.hearken_recognizer_set_words(recognizer, 1) == 0
    results, partials = accept(recognizer, pcm("pi.wav")[0])
    spoken = " ".join(result["text"] for result in results).split()
    assert spoken == "three one four one five".split()
    words = [word for result in results for word in result.get("result", [])]
    assert [word["word"] for word in words] == spoken
    assert all(word["start"] < word["end"] and 0 <= word["conf"] <= 1 for word in words)
    assert "three one" in partials


def test_times_continue_after_a_final_result_and_reset_starts_anew(recognizer):
    lib.hearken_recognizer_set_words(recognizer, 1)
    data, rate = pcm("pi.wav")
    first = accept(recognizer, data)[0][0]["result"][0]["start"]
    second = accept(recognizer, data)[0][0]["result"][0]["start"]
    assert second == pytest.approx(first + len(data) / 2 / rate, abs=1e-3)
    assert lib.hearken_recognizer_reset(recognizer) == 0
    assert accept(recognizer, data)[0][0]["result"][0]["start"] == first


def test_all_types_of_samples_give_the_same(recognizer):
    data, _ = pcm("pi.wav")
    number = len(data) // 2
    shorts = ffi.new("short[]", number)
    ffi.buffer(shorts)[:] = data
    floats = ffi.new("float[]", [sample / 32768 for sample in shorts])
    texts = []
    for call in (
        lambda: lib.hearken_recognizer_accept_waveform(recognizer, data, len(data)),
        lambda: lib.hearken_recognizer_accept_waveform_s(recognizer, shorts, number),
        lambda: lib.hearken_recognizer_accept_waveform_f(recognizer, floats, number),
    ):
        assert call() >= 0, error()
        texts.append(text(lib.hearken_recognizer_final_result(recognizer))["text"])
    assert texts == ["three one four one five"] * 3


def test_another_rate_and_alternatives(model):
    data, rate = pcm("telephone-8k.wav")
    recognizer = lib.hearken_recognizer_new(model, rate)
    assert lib.hearken_recognizer_set_max_alternatives(recognizer, 3) == 0
    (result,), _ = accept(recognizer, data)
    alternatives = result["alternatives"]
    assert 1 <= len(alternatives) <= 3 and alternatives[0]["text"]
    assert alternatives == sorted(alternatives, key=lambda one: -one["confidence"])
    lib.hearken_recognizer_free(recognizer)


def test_utterances_end_in_silence_and_none_is_lost(model):
    recognizer = lib.hearken_recognizer_new(model, 16000)
    assert lib.hearken_recognizer_set_endpointer_delays(recognizer, 5, 0.4, 20) == 0
    spoken = pcm("pi.wav")[0]
    data = spoken + bytes(32000) + spoken + bytes(32000)
    by_steps, _ = accept(recognizer, data)
    assert len(by_steps) > 2
    at_once, _ = accept(recognizer, data, step=len(data))
    words = "three one four one five three one four one five"
    for results in (by_steps, at_once):
        assert " ".join(result["text"] for result in results if result["text"]) == words
    lib.hearken_recognizer_free(recognizer)


def test_a_grammar_replaces_the_words():
    model = lib.hearken_model_new(b"english")
    assert model, error()
    recognizer = lib.hearken_recognizer_new_grm(model, 16000, b'["three one four one five", "two seven one"]')
    assert recognizer, error()
    lib.hearken_model_free(model)  # The recognizer remains valid.
    results, _ = accept(recognizer, pcm("pi.wav")[0])
    assert " ".join(result["text"] for result in results).strip() == "three one four one five"
    lib.hearken_recognizer_free(recognizer)


def test_options_are_read_up_to_their_size(tmp_path):
    phrases = tmp_path / "phrases.txt"
    phrases.write_text("three one four one five\n")
    name = ffi.new("char[]", str(phrases).encode())
    options = ffi.new("HearkenModelOptions *", {"size": ffi.sizeof("HearkenModelOptions"), "phrases": name})
    model = lib.hearken_model_new_with(options)
    assert model, error()
    assert lib.hearken_model_sample_rate(model) == 16000
    lib.hearken_model_free(model)
    options.size = 8
    model = lib.hearken_model_new_with(options)
    assert model, error()
    lib.hearken_model_free(model)
    for size in (0, 10_000):
        options.size = size
        assert not lib.hearken_model_new_with(options) and "options->size" in error()
    phrases.write_text("three (one\n")
    options.size = ffi.sizeof("HearkenModelOptions")
    assert not lib.hearken_model_new_with(options)
    assert str(phrases) in error() and "line 1" in error()


def test_wrong_arguments_are_errors(model, recognizer):
    null = ffi.NULL
    for failed, expected in [
        (lambda: lib.hearken_model_new(b"/no/such.onnx"), "/no/such.onnx"),
        (lambda: lib.hearken_model_new_with(null), "options: expected a valid pointer"),
        (lambda: lib.hearken_recognizer_new(null, 16000), "model: expected a valid pointer"),
        (lambda: lib.hearken_recognizer_new(model, -1), "sample_rate"),
        (lambda: lib.hearken_recognizer_new(model, float("nan")), "sample_rate"),
        (lambda: lib.hearken_recognizer_new(model, 5), "sample rate"),
        (lambda: lib.hearken_recognizer_new_grm(model, 16000, null), "grammar"),
        (lambda: lib.hearken_recognizer_new_grm(model, 16000, b"["), "grammar"),
        (lambda: lib.hearken_recognizer_new_grm(model, 16000, b"\xff"), "UTF-8"),
        (lambda: lib.hearken_recognizer_result(null), "recognizer"),
        (lambda: lib.hearken_recognizer_partial_result(null), "recognizer"),
        (lambda: lib.hearken_recognizer_final_result(null), "recognizer"),
    ]:
        assert not failed(), expected
        assert expected in error()
    for failed, expected in [
        (lambda: lib.hearken_recognizer_accept_waveform(null, b"", 0), "recognizer"),
        (lambda: lib.hearken_recognizer_accept_waveform(recognizer, null, 2), "data"),
        (lambda: lib.hearken_recognizer_accept_waveform(recognizer, b"abc", 3), "whole 16-bit samples"),
        (lambda: lib.hearken_recognizer_accept_waveform(recognizer, b"ab", -2), "length"),
        (lambda: lib.hearken_recognizer_set_max_alternatives(recognizer, 1000), "max_alternatives"),
        (lambda: lib.hearken_recognizer_set_endpointer_delays(recognizer, 1, -1, 1), "rule 2"),
        (lambda: lib.hearken_recognizer_set_words(null, 1), "recognizer"),
        (lambda: lib.hearken_recognizer_reset(null), "recognizer"),
        (
            lambda: lib.hearken_recognizer_accept_waveform_f(recognizer, ffi.new("float[]", [float("nan")]), 1),
            "found NaN",
        ),
    ]:
        assert failed() == -1, expected
        assert expected in error()
    assert lib.hearken_model_sample_rate(null) == 0
    lib.hearken_model_free(null)
    lib.hearken_recognizer_free(null)
    # None of them has changed the recognizer.
    assert lib.hearken_recognizer_accept_waveform(recognizer, null, 0) == 0
    results, _ = accept(recognizer, pcm("pi.wav")[0])
    assert " ".join(result["text"] for result in results).strip() == "three one four one five"
    lib.hearken_recognizer_accept_waveform(recognizer, bytes(2), 2)
    assert lib.hearken_recognizer_set_max_alternatives(recognizer, 2) == -1
    assert "before the first samples" in error()


def test_threads_share_a_model_and_have_their_own_errors(model):
    data, _ = pcm("pi.wav")
    texts, errors = [], []

    def work():
        recognizer = lib.hearken_recognizer_new(model, 16000)
        results, _ = accept(recognizer, data)
        texts.append(" ".join(result["text"] for result in results).strip())
        errors.append(lib.hearken_last_error() == ffi.NULL)
        lib.hearken_recognizer_free(recognizer)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["three one four one five"] * 4 and all(errors)
    assert ffi.string(lib.hearken_version()).count(b".") == 2
