#!/usr/bin/env python3
"""Makes a table of results of a search: one row a trial, as CSV on stdout. Without dependencies.

    espalier trials SEARCH --output json | python3 examples/table.py [COLUMN=DECISION ...] > table.csv

The columns are the decisions (named COLUMN where that is given, else by their path), the metrics at the last
epoch, the seconds of training, parameters and multiply-accumulates. Trials that did not complete are left out.
"""

import csv
import json
import sys


def main():
    names = dict(reversed(pair.split("=", 1)) for pair in sys.argv[1:])
    trials = [trial for trial in json.load(sys.stdin) if trial["state"] == "completed"]
    if not trials:
        sys.exit("table.py: no trial has completed")
    decisions = sorted({path for trial in trials for path in trial["decisions"]})
    unknown = set(names) - set(decisions)
    if unknown:
        sys.exit(f"table.py: no such decision: {', '.join(sorted(unknown))}; there are {', '.join(decisions)}")
    metrics = sorted({name for trial in trials for name in trial["metrics"]})
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow([names.get(path, path) for path in decisions] + metrics + ["seconds", "parameters", "macs"])
    rows = [
        [trial["decisions"].get(path, "") for path in decisions]
        + [round(trial["metrics"][name], 6) for name in metrics]
        + [round(trial["seconds"], 3), trial["parameters"], trial["macs"]]
        for trial in trials
    ]
    for row in sorted(rows, key=lambda row: [str(cell) for cell in row[: len(decisions)]]):
        out.writerow(row)


if __name__ == "__main__":
    main()
