"""Training with progress, interruption and resumption; exports."""

import hearken
import numpy as np
import pytest

RECIPE = """
[data]
words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "zero"]
[[data.recordings]]
manifest = "manifest.jsonl"
weight = 1.0
[[data.dev]]
manifest = "manifest.jsonl"
[network]
cells = ["gru"]
hidden = [12]
input_size = 12
[schedule]
steps = 6
warmup_steps = 2
[run]
batch_size = 2
log_interval = 2
eval_interval = 6
checkpoint_interval = 6
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def test_a_run_reports_and_writes_a_model(recipe, audio, tmp_path, pi):
    events = []
    trained = hearken.train(recipe, data=audio, out=tmp_path / "run", threads=1, progress=events.append)
    kinds = [event["type"] for event in events]
    assert {"loading", "started", "updated", "step", "scoring", "scores"} <= set(kinds)
    assert [event["step"] for event in events if event["type"] == "step"] == [2, 4, 6]
    assert all(event["loss"] > 0 for event in events if event["type"] == "step")
    (scores,) = [event for event in events if event["type"] == "scores"]
    assert scores["sets"][0]["manifest"] == "manifest.jsonl" and scores["best"]
    assert trained.step == 6 and not trained.stopped and trained.model == tmp_path / "run" / "best.onnx"
    hearken.Recognizer(trained.model).transcribe_samples(pi)
    with pytest.raises(hearken.HearkenError, match="run"):
        hearken.train(recipe, data=audio, out=tmp_path / "run")
    sherpa = hearken.export(trained.model, "sherpa-onnx", tmp_path / "sherpa")
    assert [path.name for path in sherpa][:2] == ["model.onnx", "tokens.txt"]
    (small, *_) = hearken.export(trained.model, "onnxruntime", tmp_path / "small.onnx", precision="int8")
    assert small == tmp_path / "small.onnx" and small.stat().st_size < trained.model.stat().st_size
    with pytest.raises(hearken.UsageError, match="over the model itself"):
        hearken.export(trained.model, "onnxruntime", trained.model)


def test_an_exception_of_the_callback_stops_the_run_with_a_checkpoint(recipe, audio, tmp_path):
    def report(event):
        if event["type"] == "updated" and event["step"] >= 2:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        hearken.train(recipe, data=audio, out=tmp_path / "run", threads=1, progress=report)
    first = []
    resumed = hearken.train(
        recipe, data=audio, out=tmp_path / "run", threads=1, resume=True, progress=first.append
    )
    (started,) = [event for event in first if event["type"] == "started"]
    assert 2 <= started["step"] < 6 and resumed.step == 6


def test_wrong_arguments_are_errors(recipe, audio, tmp_path):
    with pytest.raises(hearken.UsageError, match="resume excludes"):
        hearken.train(recipe, resume=True, overwrite=True)
    recipe.write_text(RECIPE.replace("hidden", "hiden"))
    with pytest.raises(hearken.HearkenError) as caught:
        hearken.train(recipe, data=audio, out=tmp_path / "run")
    assert caught.value.file == recipe and "hidden" in str(caught.value)
    for arguments, expected in [
        (("digits", "tensorrt", "x"), "target"),
        (("digits", "whole", "x", "fp8"), None),
        (("no.onnx", "whole", "x"), "no.onnx"),
        (("digits", "triton", tmp_path / "x.onnx"), "folder"),
    ]:
        with pytest.raises((hearken.HearkenError, TypeError), match=expected):
            hearken.export(*arguments)
    with pytest.raises(hearken.UsageError, match="chunk_frames"):
        hearken.export("digits", "whole", tmp_path / "x", chunk_frames=16)
    (model, *_) = hearken.export("digits", "whole", tmp_path / "whole")
    assert model.exists() and np.fromfile(model, np.uint8).size > 1000
