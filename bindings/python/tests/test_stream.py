"""Streams: samples of all kinds, events, endpoints, threads."""

import json
import threading

import hearken
import numpy as np
import pytest

PI = "three one four one five"


def text(events):
    return " ".join(event.text for event in events if isinstance(event, hearken.Final) and event.text)


def test_events_are_objects_with_words(digits, pi):
    stream = digits.stream()
    events = [event for at in range(0, len(pi), 1600) for event in stream.accept_waveform(pi[at : at + 1600], 16000)]
    events += stream.finish()
    assert all(isinstance(event, hearken.Partial) for event in events[:-1]) and len(events) > 3
    assert all(isinstance(event, hearken.Segment) for event in events)
    match events[-1]:
        case hearken.Final(found):
            assert found == PI
        case other:
            pytest.fail(repr(other))
    final = events[-1]
    assert [word.word for word in final.words] == PI.split()
    assert all(0 <= word.start < word.end <= final.end and 0 < word.confidence <= 1 for word in final.words)
    line = json.loads(final.to_json())
    assert line["type"] == "final" and line["text"] == PI and len(line["words"]) == 5
    assert repr(final).startswith(f'Final("{PI}"') and "three" in repr(final.words[0])
    assert stream.finish() == [] and stream.seconds == pytest.approx(len(pi) / 16000)


def test_all_kinds_of_samples_give_the_same(digits, pi):
    floats = pi.astype(np.float32) / 32768
    stereo = np.stack([floats, floats], axis=1)
    for samples in (
        pi,
        floats,
        floats.astype(np.float64),
        stereo,
        stereo[:, :1],
        np.repeat(floats, 2)[::2],  # not contiguous
        pi.tobytes(),
        bytearray(pi.tobytes()),
        floats.tolist(),
    ):
        stream = digits.stream()
        assert text(stream.accept_waveform(samples) + stream.finish()) == PI


def test_other_rates_are_converted(digits, pi):
    at_48k = np.repeat(pi, 3)
    stream = digits.stream(partials=False)
    events = stream.accept_waveform(at_48k, 48000) + stream.finish()
    assert text(events) == PI and len(events) == 1
    assert stream.seconds == pytest.approx(len(pi) / 16000, abs=0.01)
    stream.reset()
    assert text(stream.accept_waveform(pi, 16000) + stream.finish()) == PI


def test_utterances_end_by_rules(digits, pi):
    twice = np.concatenate([pi, np.zeros(32000, np.int16), pi])
    assert text(digits.stream().accept_waveform(twice)) == ""
    stream = digits.stream(endpoint=hearken.EndpointRules(rule2_min_trailing_silence=0.4))
    first = [event for event in stream.accept_waveform(twice) if isinstance(event, hearken.Final)]
    assert first and text(first + stream.finish()) == f"{PI} {PI}"
    assert len([event for event in digits.transcribe_samples(twice, endpoint=True).segments if event.text]) == 2
    stream = digits.stream()
    stream.accept_waveform(pi)
    (ended,) = [event for event in stream.end_segment() if isinstance(event, hearken.Final)]
    assert ended.text.startswith("three one four")


def test_alternatives(digits, pi):
    (final,) = digits.transcribe_samples(pi, nbest=3).segments
    scores = [alternative.score for alternative in final.alternatives]
    assert final.alternatives[0].text == PI and scores[0] == 0 and scores == sorted(scores, reverse=True)


def test_wrong_arguments_are_errors(digits, pi):
    stream = digits.stream()
    for call, error, expected in [
        (lambda: stream.accept_waveform(pi.astype(np.int32)), TypeError, "found int32"),
        (lambda: stream.accept_waveform("audio"), TypeError, "float32"),
        (lambda: stream.accept_waveform(b"abc"), hearken.UsageError, "odd number of bytes"),
        (lambda: stream.accept_waveform(pi.reshape(1, -1)), hearken.UsageError, "shape"),
        (lambda: stream.accept_waveform(pi, 5), hearken.HearkenError, "sample rate"),
        (lambda: stream.accept_waveform(np.array([np.nan], np.float32)), hearken.InputError, "found NaN"),
        (lambda: digits.stream(nbest=0), hearken.UsageError, "nbest"),
        (lambda: digits.stream(endpoint=3), hearken.UsageError, "endpoint"),
        (lambda: hearken.EndpointRules(rule1_min_trailing_silence=-1), ValueError, "rule 1"),
    ]:
        with pytest.raises(error, match=expected):
            call()
    stream.accept_waveform(pi, 16000)
    with pytest.raises(hearken.UsageError, match="16000 Hz so far, found 8000 Hz"):
        stream.accept_waveform(pi, 8000)
    # None of them has changed the stream.
    assert text(stream.finish()) == PI
    with pytest.raises(hearken.InputError, match="finished"):
        stream.accept_waveform(pi)


def test_the_gil_is_released(digits, pi):
    """Another thread of Python runs while samples are processed."""
    minute = np.tile(pi, 20)
    counts, done = [], threading.Event()
    stream = digits.stream()

    def count():
        while not done.is_set():
            counts.append(1)
            # Waits for the GIL, which another thread would keep for the whole call.
            done.wait(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    while not counts:
        pass
    before = len(counts)
    stream.accept_waveform(minute)
    after = len(counts)
    done.set()
    thread.join()
    assert after - before > 3


def test_threads_share_a_recognizer_and_a_stream(digits, pi):
    texts = []

    def work():
        stream = digits.stream()
        texts.append(text(stream.accept_waveform(pi) + stream.finish()))

    shared = digits.stream()
    threads = [threading.Thread(target=work) for _ in range(4)]
    threads += [threading.Thread(target=shared.accept_waveform, args=(pi,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [PI] * 4
    assert shared.seconds == pytest.approx(2 * len(pi) / 16000)
