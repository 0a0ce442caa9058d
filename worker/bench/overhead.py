#!/usr/bin/env python3
"""Measures what a trial costs beside its training, with a warm evaluator.

Runs `espalier run` with one worker of one thread on trials of one short epoch, and reads the logs that
every run writes: from the lease to the acknowledged completion (both on the coordinator's clock), less
the time that the trainer says it spent on training batches. The validation of 512 images, the writing of
the weights and the way of all messages are thus in the overhead. The first trial, which starts the
trainer's threads and decodes the data, is left out. Usage:

    overhead.py ESPALIER_BINARY DATA_ROOT [--trials 40]
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

IMAGES = 6400
TARGET_MS = 50
SPEC = """\
name: overhead
dataset: {{format: idx, path: fashion-mnist, train: {images}, validation: 512}}
network:
  - conv: {{channels: {{range: [8, 23]}}, kernel: 3, stride: 2}}
  - batch_norm
  - relu
  - conv: {{channels: {{range: [8, 23]}}, kernel: 3, stride: 2}}
  - batch_norm
  - relu
  - global_avg_pool
  - linear: {{features: classes}}
training: {{epochs: 1, batch_size: 128, optimizer: {{sgd: {{learning_rate: 0.1}}}}}}
searcher: random
objectives: [{{maximize: accuracy}}]
budget: {{trials: {trials}}}
seed: 1
"""
SPEED = re.compile(r"; (\d+) images/s")


def lines(log):
    with open(log) as file:
        return [json.loads(line) for line in file if line.startswith("{")]


def moment(line):
    return datetime.fromisoformat(line["timestamp"].replace("Z", "+00:00"))


def overheads(logs):
    """Milliseconds of each trial outside training, and from each completion to the next lease."""
    leased, completed, trained = {}, {}, {}
    for line in lines(logs / "coordinator.log"):
        if line["message"] == "job leased" and line["job"] == "train":
            leased[line["trial"]] = moment(line)
        elif line["message"] == "trial completed":
            completed[line["trial"]] = moment(line)
    for line in lines(logs / "worker-1.log"):
        speed = SPEED.search(line["message"])
        if line.get("evaluator") == "trainer" and speed:
            trained[line["trial"]] = IMAGES / int(speed[1])
    order = sorted(completed, key=completed.get)[1:]
    outside = [1e3 * ((completed[t] - leased[t]).total_seconds() - trained[t]) for t in order]
    between = [1e3 * (leased[b] - completed[a]).total_seconds() for a, b in zip(order, order[1:])]
    return outside, between


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("espalier")
    parser.add_argument("data_root")
    parser.add_argument("--trials", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "overhead.yaml"
        spec.write_text(SPEC.format(images=IMAGES, trials=arguments.trials))
        run = Path(folder) / "run"
        command = [arguments.espalier, "run", str(spec), "--workers", "1", "--threads", "1"]
        command += ["--data-root", arguments.data_root, "--data-dir", str(run)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
        outside, between = overheads(run / "logs")
    print(
        f"overhead of a trial {statistics.median(outside):>10.1f} ms  median of {len(outside)} "
        f"({min(outside):.1f} to {max(outside):.1f}), outside training (target: at most {TARGET_MS})"
    )
    print(
        f"to the next lease   {statistics.median(between):>10.1f} ms  median of {len(between)} "
        f"({min(between):.1f} to {max(between):.1f})"
    )


if __name__ == "__main__":
    main()
