#!/usr/bin/env python3
"""Measures searchers on published tables of results, by `espalier simulate`, and prints Markdown.

    search.py ESPALIER_BINARY TABLES_FOLDER [--seeds 100] [--searchers a,b,...] [--workers 1,8,64]
              [--benchmarks NAME,...] [--threads N]

The specs lie in `search/` beside this file; the folder of tables holds `nb201.csv.gz` and `nb_macro.csv.gz`,
with the columns that the specs name. One table is printed for each benchmark and number of workers as soon as it is
measured; what is under way is told on stderr. Numbers in brackets are 95% intervals by bootstrap.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent / "search"
SEARCHERS = "random,local-search,evolution,tpe,reinforce,ppo,bananas,bayesian"
# The policies learn slowly: they are held against chance in longer searches of their own.
LONG = "random,evolution,reinforce,ppo"
# Regret in points that counts as having found it.
TARGET = 0.1


class Setting:
    """How one table is measured."""

    def __init__(self, workers, trials, checkpoints, searchers, compared):
        self.workers, self.trials, self.checkpoints = workers, trials, checkpoints
        self.searchers, self.compared = searchers, compared


def settings(options):
    for workers in options.workers:
        if workers == 1:
            yield Setting(1, 200, [50, 100, 200], options.searchers, 100)
            long = ",".join(one for one in LONG.split(",") if one in split(options.searchers))
            if options.long and ("reinforce" in long or "ppo" in long):
                yield Setting(1, 500, [100, 200, 500], long, 500)
        else:
            # With 64 workers 200 trials would be three rounds.
            trials = 256 if workers > 16 else 200
            checkpoints = [64, 128, 256] if workers > 16 else [50, 100, 200]
            yield Setting(workers, trials, checkpoints, options.searchers, checkpoints[1])


def split(searchers):
    """The searchers of a list; commas inside of brackets separate nothing."""
    parts, depth = [""], 0
    for letter in searchers:
        depth += (letter in "{[") - (letter in "}]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def simulate(options, spec, setting):
    command = [
        options.espalier, "simulate", str(spec), "--data-root", options.tables,
        "--searcher", setting.searchers, "--seeds", str(options.seeds), "--trials", str(setting.trials),
        "--workers", str(setting.workers), "--target", str(TARGET), "--output", "json",
        "--checkpoints", ",".join(map(str, setting.checkpoints)),
    ]
    if options.threads:
        command += ["--threads", str(options.threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: ended with code {done.returncode}")
    return json.loads(done.stdout)


def number(value, digits=3):
    return "-" if value is None else f"{value:.{digits}f}"


def count(value, most):
    """Evaluations; those that were never reached are `null`."""
    return f">{most}" if value is None else f"{value:g}"


def with_interval(summary, digits=3):
    ends = summary.get("mean_interval")
    text = number(summary["mean"], digits)
    return text if ends is None else f"{text} ({number(ends['low'], digits)} to {number(ends['high'], digits)})"


def row(one, setting):
    target = one["targets"][0]
    ends = target["evaluations"]["median_interval"] or {"low": None, "high": None}
    most = setting.trials
    reached = count(target["evaluations"]["median"], most)
    cells = [f"`{one['searcher']}`"]
    cells.append(f"{reached} ({count(ends['low'], most)} to {count(ends['high'], most)})")
    cells += [with_interval(at["regret"]) for at in one["checkpoints"]]
    last = one["checkpoints"][-1]["test_regret"]
    cells.append("" if last is None else with_interval(last))
    cells.append(f"{one['duplicates']['mean']:.1f}")
    thinking = one["thinking_ms"]
    cells.append(f"{thinking['p50']:.2f} / {thinking['p99']:.2f}")
    return cells


def table(report, setting, peers):
    header = ["searcher", f"t({TARGET})"]
    header += [f"mean regret after {at}" for at in setting.checkpoints]
    header += [f"mean test regret after {setting.trials}", "duplicates refused", "ask + tell, ms, p50 / p99"]
    lines = [header, ["---"] * len(header)]
    lines += [row(one, setting) for one in report["searchers"]]
    for name, regrets in peers:
        cells = [name, ""] + [number(regrets.get(str(at))) for at in setting.checkpoints]
        lines.append(cells + [""] * (len(header) - len(cells)))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def differences(report, setting):
    """Who beats whom after so many evaluations, in sentences."""
    names = [f"`{one['searcher']}`" for one in report["searchers"]]
    of = [one for one in report["comparisons"] if one["after"] == setting.compared]
    lines = []
    for place, name in enumerate(names):
        beaten = [one for one in of[0]["differences"] if one["better"] == place] if of else []
        clear = [one for one in beaten if one["p"] is not None and one["p"] < 0.01]
        if clear:
            others = ", ".join(f"{names[one['worse']]} ({probability(one['p'])})" for one in clear)
            lines.append(f"- {name} beats {others}.")
    if not lines:
        return ""
    return (
        f"After {setting.compared} evaluations, by regret, p < 0.01 (Mann–Whitney, corrected for all pairs by "
        "Holm):\n\n" + "\n".join(lines) + "\n"
    )


def probability(p):
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def title(report, setting, seeds):
    workers = "1 worker" if setting.workers == 1 else f"{setting.workers} workers"
    best = report["table"]
    test = "" if best["best_test"] is None else f", on test {best['best_test']:.3f}"
    return (
        f"### {report['search']}: {workers}, {setting.trials} trials, {seeds} seeds\n\n"
        f"The best of the table: {best['best_score']:.3f}{test}.\n"
    )


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("espalier", help="the program")
    parser.add_argument("tables", help="the folder with the tables")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--searchers", default=SEARCHERS, help=f"default: {SEARCHERS}")
    parser.add_argument("--workers", default="1,8,64", help="default: 1,8,64")
    parser.add_argument("--benchmarks", default="", help="names of specs in search/; default: all")
    parser.add_argument("--threads", type=int, default=0, help="searches at one time; default: the cores")
    parser.add_argument("--no-long", dest="long", action="store_false", help="without the searches of 500 trials")
    options = parser.parse_args()
    options.workers = [int(workers) for workers in options.workers.split(",")]
    return options


def main():
    options = arguments()
    peers = json.loads((HERE / "peers.json").read_text())
    wanted = [name for name in options.benchmarks.split(",") if name]
    specs = sorted(HERE.glob("*.yaml"))
    unknown = set(wanted) - {spec.stem for spec in specs}
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(spec.stem for spec in specs)}")
    for spec in specs:
        if wanted and spec.stem not in wanted:
            continue
        for setting in settings(options):
            print(f"{spec.stem}, {setting.workers} workers ...", file=sys.stderr, flush=True)
            begun = time.monotonic()
            report = simulate(options, spec, setting)
            took = time.monotonic() - begun
            beside = peers.get(spec.stem, []) if setting.workers == 1 and setting.trials == 200 else []
            print(title(report, setting, options.seeds))
            print(table(report, setting, beside))
            print()
            print(differences(report, setting), flush=True)
            print(f"  {took:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
