#!/usr/bin/env python3
"""Compares the trainer with eager PyTorch: images per second of training the same network.

Runs examples/speed.rs and bench/eager.py in turn, so that whatever else the machine does meets both
alike, and prints the median of the ratios. Usage:

    compare.py SPEED_BINARY DATA_ROOT [--pairs 5] [--threads 1] [--device cpu] [--width 1]

Where PyTorch comes from is told in ../goldens/pytorch.py.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "goldens"))
from pytorch import TORCH, python_with_torch  # noqa: E402

EAGER = Path(__file__).with_name("eager.py")


def say(text):
    print(text, flush=True)


def measure(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed")
    return float(result.stdout)


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown processor"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speed")
    parser.add_argument("data")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=1, help="multiplies the numbers of channels")
    arguments = parser.parse_args()
    python = python_with_torch()
    tail = [arguments.data, str(arguments.threads), arguments.device, str(arguments.width)]
    eager = [python, "-W", "ignore", str(EAGER), *tail]
    where = f"{arguments.threads} thread(s)" if arguments.device == "cpu" else arguments.device
    say(f"{processor()}, {os.cpu_count()} CPUs; {where}, width {arguments.width}; images/s of training")
    say(f"{'pair':>4} {'trainer':>9} {'eager':>9} {'ratio':>6} {'eager, channels last':>21} {'ratio':>6}")
    ratios, against_last = [], []
    for pair in range(1, arguments.pairs + 1):
        ours = measure([arguments.speed, *tail])
        plain = measure(eager)
        last = measure([*eager, "channels_last"])
        ratios.append(ours / plain)
        against_last.append(ours / last)
        say(f"{pair:>4} {ours:>9.0f} {plain:>9.0f} {ratios[-1]:>6.2f} {last:>21.0f} {against_last[-1]:>6.2f}")
    say(
        f"trainer / eager PyTorch {TORCH}: median {statistics.median(ratios):.2f} (goal: at least 0.95); "
        f"against eager in the trainer's own layout: {statistics.median(against_last):.2f}"
    )


if __name__ == "__main__":
    main()
