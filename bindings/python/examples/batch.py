"""What ray_transcribe.py and spark_transcribe.py share: the manifest, the rows of the result, and what is left to do.

The result is a folder of Parquet files, its parts, with one row for each recording, which has either `text` or `error`.
"""

import argparse
import functools
import json
import os
import socket
import sys
from pathlib import Path

import pyarrow
from pyarrow import parquet

WORD = pyarrow.struct({"word": "string", "start": "float64", "end": "float64", "confidence": "float64"})
SCHEMA = pyarrow.schema(
    {"path": "string", "text": "string", "seconds": "float64", "words": pyarrow.list_(WORD),
     "warnings": pyarrow.list_(pyarrow.string()), "error": "string", "worker": "string"}
)  # fmt: skip


@functools.cache
def recognizer(model):
    """The recognizer, opened once in each process. Other arguments (phrases, lm, hotwords) are added here."""
    import hearken  # only the machines that transcribe need the package

    return hearken.Recognizer(model)


def rows(paths, model):
    """Rows of the recordings. A recording that fails loses no other: its row has the reason in `error`."""
    worker = f"{socket.gethostname()}:{os.getpid()}"
    names = WORD.names
    for one in recognizer(model).transcribe(list(paths), threads=1, errors="return"):
        words = [{name: getattr(word, name) for name in names} for word in one.words]
        text, error = (one.text, None) if one.error is None else (None, str(one.error))
        row = (one.path, text, one.duration, words, one.warnings, error, worker)
        yield dict(zip(SCHEMA.names, row))


def recordings(manifest):
    """Paths of the recordings of a manifest, each once. Recordings are transcribed whole."""
    paths = {}
    for number, line in enumerate(Path(manifest).read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            entry = json.loads(line)
            if entry.get("offset"):
                sys.exit(f"{manifest}: line {number}: expected whole recordings, found an offset")
            paths[str(Path(manifest).resolve().parent / entry["audio_filepath"])] = None
    return list(paths)


def left(manifest, out):
    """Recordings without a row. Rows of failed ones are removed, so that they are tried again and have one row only."""
    done = set()
    for part in Path(out).glob("*.parquet"):
        try:
            table = parquet.ParquetFile(part).read()
        except pyarrow.ArrowInvalid:
            part.unlink()  # its writer was killed before the end of the file: these recordings are left
            continue
        kept = table.filter(table["error"].is_null())
        if kept.num_rows < table.num_rows:
            part.with_name(f".{part.name}.crc").unlink(missing_ok=True)  # Spark's checksum of the part
            parquet.write_table(kept, f"{part}.new")
            os.replace(f"{part}.new", part)
        done.update(kept["path"].to_pylist())
    return [path for path in recordings(manifest) if path not in done]


def report(manifest, out):
    """Prints what failed and what is left, and returns the exit code."""
    read = (parquet.ParquetFile(part).read(["path", "error"]) for part in Path(out).glob("*.parquet"))
    found = [row for table in read for row in table.to_pylist()]
    wanted, have = set(recordings(manifest)), {row["path"] for row in found}
    failed = [row["error"] for row in found if row["error"] is not None and row["path"] in wanted]
    missing, twice = len(wanted - have), len(found) - len(have)
    for error in failed:
        print("failed:", error, file=sys.stderr)
    print(f"{len(wanted)} recordings, {len(failed)} failed, {missing} left, {twice} rows too many")
    return 1 if failed or missing or twice else 0


def main(description, transcribe):
    """The command line: calls `transcribe(paths, args)` until nothing is left, `--attempts` times at most."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("manifest", help="lines of JSON with audio_filepath, relative to the folder of the manifest")
    parser.add_argument("out", help="folder of the Parquet files, which all machines reach by this path")
    parser.add_argument("--workers", type=int, help="recordings at the same time [default: the cores of the cluster]")
    parser.add_argument("--model", help="a file that all machines have, digits or english [default: digits]")
    parser.add_argument("--part", type=int, default=200, help="recordings in a part of the result [default: 200]")
    parser.add_argument("--attempts", type=int, default=3, help="attempts for each recording [default: 3]")
    args = parser.parse_args()
    args.out = str(Path(args.out).resolve())
    for _ in range(args.attempts):
        if paths := left(args.manifest, args.out):
            transcribe(paths, args)
    return report(args.manifest, args.out)
