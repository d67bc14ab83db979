"""Trains many recipes on a Ray cluster by Ray Tune, and prints their scores, the best first.

pip install 'ray[tune]' tomlkit
python ray_sweep.py --data DATA --out OUT [--set optimizer.learning_rate=0.001,0.002] RECIPE…

Each recipe is trained with every combination of the values of `--set`. DATA and OUT are folders that all machines reach
by these paths. A training whose worker is lost continues elsewhere from its last checkpoint, and the same command again
continues a sweep that was stopped.
"""

import argparse
import itertools
import re
import sys
from pathlib import Path

import tomlkit
from ray import tune


def trainings(recipes, settings):
    """Name and recipe of each training; a setting is such as `network.hidden=[64],[64, 64]`."""
    choices = []
    for key, values in (setting.split("=", 1) for setting in settings):
        values = tomlkit.parse(f"values = [{values}]")["values"]
        choices.append([(key, value) for value in values])
    for path, chosen in itertools.product(map(Path, recipes), itertools.product(*choices)):
        recipe = tomlkit.parse(path.read_text(encoding="utf-8"))
        for key, value in chosen:
            *tables, name = key.split(".")
            table = recipe
            for one in tables:
                table = table.setdefault(one, {})
            table[name] = value.unwrap()
        name = "-".join([path.stem, *(f"{key}={value.as_string()}" for key, value in chosen)])
        yield {"name": re.sub(r"[^\w.=+-]+", "_", name), "recipe": tomlkit.dumps(recipe)}


def train(config):
    import hearken

    training = config["training"]
    run = Path(config["out"], training["name"])
    recipe = Path(f"{run}.toml")
    recipe.write_text(training["recipe"], encoding="utf-8")

    def progress(event):
        if event["type"] == "scores":
            tune.report({"step": event["step"], "score": event["total"]})

    trained = hearken.train(
        recipe,
        data=config["data"],
        out=run,
        threads=config["threads"],
        resume=any(run.glob("checkpoint*")),
        progress=progress,
    )
    if trained.best_score is None:
        raise ValueError(f"{training['name']}: expected [[data.dev]] in the recipe with a weight above 0, whose score is compared")
    tune.report({"step": trained.step, "score": trained.best_score, "model": str(trained.model)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="with [[data.dev]], which is scored")
    parser.add_argument("--data", required=True, help="folder of the manifests of the recipes")
    parser.add_argument("--out", required=True, help="folder of the trainings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE,…", help="values of a key, in TOML")
    parser.add_argument("--threads", type=int, default=1, help="cores for each training [default: 1]")
    args = parser.parse_args()
    data, out = Path(args.data).resolve(), Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    choices = tune.grid_search(list(trainings(args.recipes, args.set)))
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": args.threads}),
        param_space={"training": choices, "data": str(data), "out": str(out), "threads": args.threads},
        tune_config=tune.TuneConfig(metric="score", mode="min"),
        run_config=tune.RunConfig(
            storage_path=str(out / "tune"), failure_config=tune.FailureConfig(max_failures=3), verbose=0
        ),
    )
    results = list(tuner.fit())
    done = [result.metrics for result in results if result.error is None]
    for metrics in sorted(done, key=lambda metrics: metrics["score"]):
        print(f"{metrics['score']:.4f}", metrics["step"], metrics["model"], sep="\t")
    for result in results:
        if result.error is not None:
            print("failed:", result.config["training"]["name"], result.error, file=sys.stderr)
    return 1 if len(done) < len(results) else 0


if __name__ == "__main__":
    sys.exit(main())
