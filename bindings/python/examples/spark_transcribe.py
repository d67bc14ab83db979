"""Transcribes the recordings of a manifest on a Spark cluster, to Parquet.

pip install pyspark pandas pyarrow
spark-submit spark_transcribe.py MANIFEST OUT [--workers N] [--model FILE]

Spark runs one task on each core; a process of Python opens the model once, for all its tasks. If a worker or its machine
is lost, Spark gives its recordings to another. The same command again transcribes what is left, such as after a loss of
the whole cluster.
"""

import sys

import batch
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

SCHEMA = (
    "path string, text string, seconds double, "
    "words array<struct<word: string, start: double, end: double, confidence: double>>, "
    "warnings array<string>, error string, worker string"
)


def transcriber(model):
    def transcribe(frames):
        import pandas

        for frame in frames:
            yield pandas.DataFrame(list(batch.rows(frame["path"], model)), columns=batch.SCHEMA.names)

    return transcribe


def transcribe(paths, args):
    context = SparkSession.getActiveSession().sparkContext
    # Spark shows the parts of a job when all of them are written: with several jobs less is lost with the driver.
    step = 4 * args.part * (args.workers or context.defaultParallelism)
    for at in range(0, len(paths), step):
        write(paths[at : at + step], args)


def write(paths, args):
    """Transcribes by one job. If a process ends again and again, such as for lack of memory, each part has its own job,
    so that only the parts of such recordings are left."""
    spark = SparkSession.getActiveSession()
    tasks = spark.sparkContext.parallelize([(path,) for path in paths], -(-len(paths) // args.part))
    data = spark.createDataFrame(tasks, "path string").mapInPandas(transcriber(args.model), SCHEMA)
    try:
        data.write.mode("append").option("compression", "gzip").parquet(args.out)
    except (PySparkException, Py4JJavaError) as error:
        if len(paths) <= args.part:
            print(error, file=sys.stderr)
            return
        for at in range(0, len(paths), args.part):
            write(paths[at : at + args.part], args)


if __name__ == "__main__":
    session = SparkSession.builder.appName("hearken").getOrCreate()
    session.sparkContext.addPyFile(batch.__file__)
    code = batch.main(__doc__, transcribe)
    session.stop()
    sys.exit(code)
