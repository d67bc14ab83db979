"""Transcribes the recordings of a manifest by Spark's `mapInPandas`: a model for each partition, Parquet out.

pip install pyspark pandas pyarrow
spark-submit spark_transcribe.py MANIFEST OUT [PARTITIONS] [MODEL]

A line of the manifest has `audio_filepath`, relative to its folder, which every machine can read. Each recording is one
row of the result; one that fails has its reason in `error` and no text.
"""

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession

SCHEMA = "path string, text string, seconds double, error string"


def transcriber(model):
    def transcribe(batches):
        import hearken
        import pandas

        recognizer = hearken.Recognizer(model)
        for batch in batches:
            found = list(recognizer.transcribe(list(batch["path"]), threads=1, errors="return"))
            yield pandas.DataFrame(
                {
                    "path": batch["path"],
                    "text": [one.text if one.error is None else None for one in found],
                    "seconds": [one.duration for one in found],
                    "error": [None if one.error is None else str(one.error) for one in found],
                }
            )

    return transcribe


def main(manifest, out, partitions=2, model=None):
    spark = SparkSession.builder.appName("hearken").getOrCreate()
    lines = [json.loads(line) for line in Path(manifest).read_text().splitlines() if line.strip()]
    paths = dict.fromkeys(str(Path(manifest).parent / line["audio_filepath"]) for line in lines)
    data = spark.createDataFrame([(path,) for path in paths], "path string").repartition(int(partitions))
    data.mapInPandas(transcriber(model), SCHEMA).write.mode("overwrite").parquet(out)
    result = spark.read.parquet(out)
    failed = result.where("error is not null").collect()
    for row in failed:
        print("failed:", row["error"], file=sys.stderr)
    print(f"{result.count()} recordings, {len(failed)} failed")
    spark.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
