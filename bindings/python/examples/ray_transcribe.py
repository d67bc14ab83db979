"""Transcribes the recordings of a manifest on a Ray cluster: actors that open the model once, Parquet out.

pip install 'ray[data]'
python ray_transcribe.py MANIFEST OUT [WORKERS] [MODEL]

A line of the manifest has `audio_filepath`, relative to its folder, which every machine can read. Each recording is one
row of the result; one that fails has its reason in `error` and no text. Files that OUT has already are skipped, so a run
that was stopped is continued by the same command.
"""

import json
import sys
from pathlib import Path

import pyarrow.parquet
import ray


class Transcriber:
    def __init__(self, model):
        import hearken

        self.recognizer = hearken.Recognizer(model)

    def __call__(self, batch):
        paths = [str(path) for path in batch["path"]]
        found = list(self.recognizer.transcribe(paths, threads=1, errors="return"))
        return {
            "path": paths,
            "text": [one.text if one.error is None else None for one in found],
            "seconds": [one.duration for one in found],
            "words": [json.dumps([[w.word, round(w.start, 3), round(w.end, 3)] for w in one.words]) for one in found],
            "warnings": ["; ".join(one.warnings) for one in found],
            "error": [None if one.error is None else str(one.error) for one in found],
        }


def main(manifest, out, workers=2, model=None):
    lines = [json.loads(line) for line in Path(manifest).read_text().splitlines() if line.strip()]
    paths = dict.fromkeys(str(Path(manifest).parent / line["audio_filepath"]) for line in lines)
    done = set()
    if list(Path(out).glob("*.parquet")):
        done = set(pyarrow.parquet.read_table(out, columns=["path"])["path"].to_pylist())
    left = [{"path": path} for path in paths if path not in done]
    if left:
        data = ray.data.from_items(left, override_num_blocks=max(int(workers), len(left) // 64))
        actors = ray.data.ActorPoolStrategy(size=int(workers))
        options = {"fn_constructor_args": (model,), "batch_size": 16, "compute": actors, "num_cpus": 1}
        data.map_batches(Transcriber, **options).write_parquet(out)
    result = pyarrow.parquet.read_table(out).to_pylist()
    failed = [row for row in result if row["error"] is not None]
    for row in failed:
        print("failed:", row["error"], file=sys.stderr)
    print(f"{len(result)} recordings, {len(done)} of them before, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
