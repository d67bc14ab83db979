#!/usr/bin/env python3
"""Compares the training speed of hearken's cells with each other.

    cargo build --release --no-default-features --example bench_training
    python3 tools/bench/training_speed.py

An update (forward pass, CTC, backpropagation, clipping, AdamW) of each cell in turns, on one thread and on two. The
processor time on one thread is compared, because other programs disturb it least; the lowest of all rounds counts. A
ratio above 1 means that the cell is faster than the first one. Without other programs on the machine, the time on two
threads shows how much of it two cores save.
"""
import argparse
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def machine():
    names = [l.split(":", 1)[1].strip() for l in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if l.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def run(args, cell, hidden, threads):
    """Processor time of an update, and the lowest time by the clock, milliseconds."""
    command = [args.bin, "--cell", cell, "--hidden", str(hidden), "--layers", str(args.layers), "--batch",
               str(args.batch), "--steps", str(args.steps), "--threads", str(threads), "--updates", str(args.updates + 1)]
    result = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return 1e3 * result["cpu_seconds"], 1e3 * min(result["seconds"][1:])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cells", default="gru,lstm,rnn-tanh,mingru,rglru,conv,tdnnf,attention")
    p.add_argument("--hidden", default="192,320,512")
    p.add_argument("--layers", type=int, default=3)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--steps", type=int, default=75, help="of 40 ms")
    p.add_argument("--updates", type=int, default=6, help="a turn")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--bin", default=ROOT / "target/release/examples/bench_training")
    args = p.parse_args()
    print(f"{machine()}; {args.layers} layers, {args.batch} utterances of {args.steps * 0.04:.1f} s; milliseconds an update")
    cells = args.cells.split(",")
    for hidden in map(int, args.hidden.split(",")):
        cpu = {cell: [] for cell in cells}
        clock = {cell: {1: [], 2: []} for cell in cells}
        for _ in range(args.rounds):
            for threads in (1, 2):
                for cell in cells:
                    processor, wall = run(args, cell, hidden, threads)
                    clock[cell][threads].append(wall)
                    if threads == 1:
                        cpu[cell].append(processor)
        for cell in cells:
            best = min(cpu[cell])
            one, two = (min(clock[cell][threads]) for threads in (1, 2))
            print(f"{cell} x {hidden}: {best:.0f} of processor time, {args.batch / best * 1e3:.0f} utterances/s, "
                  f"ratio {min(cpu[cells[0]]) / best:.2f}; by the clock {one:.0f} on one thread, {two:.0f} on two", flush=True)


if __name__ == "__main__":
    main()
