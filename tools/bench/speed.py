#!/usr/bin/env python3
"""Measures all speeds on this machine and prints them as Markdown tables: the kernels beside the peaks of a core,
training beside PyTorch, running beside onnxruntime.

    cargo build --release --no-default-features --features cli,train,ort --example bench_training --example bench_engine
    venv/bin/pip install torch onnxruntime
    venv/bin/python tools/bench/speed.py > speed.md

The machine must be idle: about ten minutes, or one with --quick. A ratio above 1 means that hearken is faster.
"""
import json
import os
import subprocess

import engines
import training

CELLS = ("lstm", "gru", "rnn-tanh")
GATES = {"lstm": 4, "gru": 3, "rnn-tanh": 1}
MODELS = ("models/digits/digits.onnx", "models/english/english.onnx")


def kernels(binary):
    """Prints the tables of peaks and kernels; returns the rate of multiply-adds by number of threads, GFLOP/s."""
    run = subprocess.run([binary, "--kernels"], capture_output=True, check=True, text=True)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    peaks = {row.get("threads", 1): row["gflops"] for row in rows if "gflops" in row and "peak" in row}
    reading = {row["kilobytes"]: row["gigabytes"] for row in rows if row.get("peak") == "reading"}
    print("| peak | |\n| --- | ---: |")
    for threads, peak in peaks.items():
        print(f"| multiply-adds in registers, {threads} thread{'s' if threads > 1 else ''} | {peak:.0f} GFLOP/s |")
    for size, rate in reading.items():
        print(f"| reading {size} KiB again and again | {rate:.0f} GB/s |")
    print("\n| kernel | shape | GFLOP/s | of the peak | GB/s of weights | of the bandwidth for this size |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        if "kernel" in row:
            # The bandwidth measured at the next larger size.
            limit = next((rate for size, rate in reading.items() if size >= row["kilobytes"]), min(reading.values()))
            print(f"| {row['kernel']} | {row['shape']} | {row['gflops']:.0f} | {row['of_peak']:.0%} "
                  f"| {row['gigabytes']:.1f} | {row['gigabytes'] / limit:.0%} |")
    return peaks


def train(args, peaks, precision):
    args.precision = precision
    print(f"\n| training in {precision}, 3 layers, utterances of 3 s | batch | hearken | PyTorch | ratio | GFLOP/s | of the peak |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for cell in CELLS:
        for hidden in (64, 256) if args.quick else (64, 256, 512, 1024):
            for batch in (32,) if args.quick else (4, 16, 64):
                heavy = hidden * hidden * batch > 8_000_000
                args.updates, args.rounds = (1, 2) if heavy else (4, 3)
                (own, _, threads), (peer, _, _) = training.measure(args, cell, hidden, batch, False)
                layer = 2 * hidden * hidden * GATES[cell]
                flops = 6 * args.steps * batch * (args.layers * layer + 320 * hidden)
                rate = flops / own / 1e9
                print(f"| `{cell}` {hidden} | {batch} | {1e3 * own:.1f} ms | {1e3 * peer:.1f} ms | {peer / own:.2f} "
                      f"| {rate:.0f} | {rate / peaks.get(threads, threads * peaks[1]):.0%} |", flush=True)


def running(args):
    print("\nWeights are 16-bit floats, as in the models that are shipped and in exports of `--precision fp16`.")
    print("\n| running, one thread | | hearken | onnxruntime | ratio |\n| --- | --- | ---: | ---: | ---: |")
    cases = [(f"`{model}`", [str(training.ROOT / model)]) for model in MODELS]
    cases += [(f"`{cell}` 3 x {hidden}", ["--cell", cell, "--hidden", str(hidden), "--half"])
              for cell in CELLS for hidden in ((256,) if args.quick else (64, 256, 512))]
    for name, options in cases:
        rows = engines.measure(args.engine_bin, options, 5 if args.quick else 9)
        for shape in ("100 ms", "whole"):
            own, peer = rows[shape, "native"], rows[shape, "ort"]
            print(f"| {name} | {shape} | {own['microseconds']:.0f} µs | {peer['microseconds']:.0f} µs "
                  f"| {peer['times_native']:.2f} |", flush=True)


def main():
    p = training.parser(__doc__)
    p.add_argument("--engine-bin", default=training.ROOT / "target/release/examples/bench_engine")
    p.add_argument("--quick", action="store_true")
    args = p.parse_args()
    print(f"{training.machine()}, load {os.getloadavg()[0]:.1f}; torch {training.torch.__version__}, onnxruntime "
          f"{engines.onnxruntime.__version__}\n", flush=True)
    peaks = kernels(args.bin)
    for precision in ("fp32", "bf16"):
        train(args, peaks, precision)
    running(args)


if __name__ == "__main__":
    main()
