"""Transcribes the recordings of a manifest on a Ray cluster, to Parquet.

pip install 'ray[data]'
python ray_transcribe.py MANIFEST OUT [--workers N] [--model FILE]

Each worker is an actor with one core, which opens the model once. If a worker or its machine is lost, Ray gives its
recordings to another. The same command again transcribes what is left, such as after a loss of the whole cluster.
"""

import sys

import batch
import pyarrow
import ray


class Transcriber:
    def __init__(self, model):
        self.model = model
        batch.recognizer(model)

    def __call__(self, table):
        rows = list(batch.rows(table["path"].to_pylist(), self.model))
        return pyarrow.Table.from_pylist(rows, batch.SCHEMA)


def transcribe(paths, args):
    # A part whose processes end again and again, such as for lack of memory, stops no other: it is reported as left.
    ray.data.DataContext.get_current().max_errored_blocks = -1
    workers = args.workers or max(1, int(ray.cluster_resources()["CPU"]))
    # Fewer than all workers suffice, so that the job goes on without a machine that does not come back.
    actors = ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers)
    data = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=-(-len(paths) // args.part))
    data = data.map_batches(
        Transcriber,
        fn_constructor_args=[args.model],
        batch_format="pyarrow",
        batch_size=None,
        compute=actors,
        num_cpus=1,
        max_task_retries=3,
    )
    # The actors have all cores; to write takes almost none, but each task at the same time is a process.
    data.write_parquet(args.out, ray_remote_args={"num_cpus": 0}, concurrency=workers)


if __name__ == "__main__":
    ray.init(runtime_env={"py_modules": [batch]})  # the cluster of RAY_ADDRESS or of this machine
    sys.exit(batch.main(__doc__, transcribe))
