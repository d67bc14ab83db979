"""The code of docs/python.md and the examples run; the stubs name what the module has."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import hearken

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "bindings/python/examples"


def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    (tmp_path / "audio").symlink_to(ROOT / "audio")
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    assert len(code) >= 6
    names = {}
    for block in code:
        exec(compile(block, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out
    for expected in ("audio/pi.wav three one four one five", "final: three", "0.0% of words wrong", "tokens.txt"):
        assert expected in printed


def test_the_example_of_a_folder(tmp_path):
    for name in ("pi.wav", "e.wav"):
        (tmp_path / name).write_bytes((ROOT / "audio" / name).read_bytes())
    (tmp_path / "empty.wav").touch()
    run = subprocess.run(
        [sys.executable, EXAMPLES / "folder.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1 and "empty.wav" in run.stderr
    assert "three one four one five" in run.stdout and "-->" in (tmp_path / "e.srt").read_text()


def test_all_examples_are_python_and_short():
    for path in EXAMPLES.glob("*.py"):
        ast.parse(path.read_text())
        assert path.stat().st_size < 5000, path


def test_the_stubs_have_every_name():
    stubs = ast.parse(Path(hearken.__file__).with_name("__init__.pyi").read_text())
    classes = {node.name: node for node in stubs.body if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in stubs.body if isinstance(node, ast.FunctionDef)}
    assert set(hearken.__all__) == {*classes, *functions, "__version__"}
    for name, node in classes.items():
        found = getattr(hearken, name)
        members = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        public = {member for member in vars(found) if not member.startswith("_")}
        if not issubclass(found, Exception):
            assert {member for member in members if not member.startswith("_")} == public, name
        assert all(hasattr(found, member) for member in members), name
    assert (Path(hearken.__file__).with_name("py.typed")).exists() and os.fspath(hearken.__file__)
