#!/usr/bin/env python3
"""Writes a bill of materials (CycloneDX 1.6, JSON) of a build: the crates that are compiled into it, with versions,
licenses and checksums, who depends on whom, and the embedded models.

    packaging/sbom.py --target x86_64-unknown-linux-gnu > hearken.cdx.json
    packaging/sbom.py --target x86_64-unknown-linux-musl --features cli,digits,serve > hearken.cdx.json

Without --features, those of the default build. Uses `cargo metadata`, `cargo tree` and Cargo.lock; the same input gives the same bytes.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Data inside the program, by feature.
DATA = {
    "digits": [("model digits", "machine-learning-model", "CC-BY-SA-4.0")],
    "english": [
        ("model english", "machine-learning-model", "CC-BY-4.0"),
        ("CMU Pronouncing Dictionary 0.7a", "data", "BSD-2-Clause"),
    ],
}


def cargo(features, *arguments):
    command = ["cargo", *arguments, "--locked"]
    if features is not None:
        command += ["--no-default-features", "--features", features]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def compiled(data, target, features):
    """The packages that a build compiles, without those of tests, each with its direct dependencies."""
    # `cargo metadata` also lists crates that only tests enable; `cargo tree` does not.
    lines = cargo(features, "tree", "-e", "normal,build", "--target", target, "--prefix", "none", "--no-dedupe")
    built = {(name, version.removeprefix("v")) for name, version, *_ in map(str.split, lines.splitlines())}
    ids = {p["id"] for p in data["packages"] if (p["name"], p["version"]) in built}
    dependencies = {}
    for node in data["resolve"]["nodes"]:
        if node["id"] in ids:
            below = [d["pkg"] for d in node["deps"] if {k["kind"] for k in d["dep_kinds"]} & {None, "build"}]
            dependencies[node["id"]] = sorted(set(below) & ids)
    return dependencies


def checksums():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, help="as rustc names it")
    parser.add_argument("--features", help="of the build, separated by commas [default: the default features]")
    args = parser.parse_args()
    data = json.loads(cargo(args.features, "metadata", "--format-version", "1", "--filter-platform", args.target))
    packages = {package["id"]: package for package in data["packages"]}
    root = next(p["id"] for p in data["packages"] if Path(p["manifest_path"]).parent == ROOT)
    tree, sums = compiled(data, args.target, args.features), checksums()

    def purl(package):
        return f"pkg:cargo/{packages[package]['name']}@{packages[package]['version']}"

    def component(package):
        found = packages[package]
        entry = {"type": "library", "bom-ref": purl(package), "name": found["name"], "version": found["version"]}
        if sha := sums.get((found["name"], found["version"])):
            entry["hashes"] = [{"alg": "SHA-256", "content": sha}]
        # Older crates write `MIT/Apache-2.0`, which SPDX writes `MIT OR Apache-2.0`.
        if found["license"]:
            entry["licenses"] = [{"expression": found["license"].replace("/", " OR ")}]
        else:
            print(f"{found['name']} {found['version']}: no license in its manifest", file=sys.stderr)
        return entry | {"purl": purl(package)}

    features = sorted(next(node["features"] for node in data["resolve"]["nodes"] if node["id"] == root))
    embedded = [
        {"type": kind, "bom-ref": name, "name": name, "licenses": [{"license": {"id": license}}]}
        for feature in features
        for name, kind, license in DATA.get(feature, [])
    ]
    program = component(root) | {
        "type": "application",
        "properties": [
            {"name": "cargo:features", "value": ",".join(features)},
            {"name": "cargo:target", "value": args.target},
        ],
    }
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": program},
        "components": sorted((component(p) for p in tree if p != root), key=lambda c: c["bom-ref"]) + embedded,
        "dependencies": sorted(
            ({"ref": purl(p), "dependsOn": sorted(set(map(purl, below)))} for p, below in tree.items()),
            key=lambda entry: entry["ref"],
        ),
    }
    json.dump(bom, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
