#!/usr/bin/env python3
"""Compares networks with PyTorch. Usage, with CANDIDATES the binary of examples/candidates.rs:

    goldens.py write CANDIDATES [--count 20]     writes the golden files beside this one
    goldens.py parity CANDIDATES [--count 1000]  compares candidates and what they compute, and writes nothing

Golden files hold what PyTorch says about candidates: the shape that comes out, the parameters, and the
multiply-accumulates that FlopCounterMode counts; and the bytes that automatic differentiation keeps for an
example, which the estimate in Rust is held against. tests/goldens.rs compares them without PyTorch.

`parity` compares the same numbers, and the outputs that the trainer and PyTorch compute from the same weights
and inputs: they differ by at most 1e-4, or 1e-4 of the greatest output where that is more than 1.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pytorch

FOLDER = Path(__file__).resolve().parent
TOLERANCE = 1e-4
SEED = 1


def candidates(binary, count, scratch=None):
    """The lines of the example; with a scratch folder an answer to each lets it go on."""
    command = [binary, str(count), str(SEED), *([scratch] if scratch else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            yield json.loads(line)
            if scratch:
                process.stdin.write("next\n")
                process.stdin.flush()
        process.stdin.close()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed")


def measured(line):
    """A candidate's golden values."""
    import reference
    import torch

    torch.set_num_threads(1)  # the networks are small
    torch.manual_seed(0)
    network = line["network"]
    model = reference.Reference(network)
    return model, {
        "decisions": line["decisions"],
        "shape": reference.shape_of(model, network),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "macs": reference.macs(network),
        "kept_bytes": round(reference.kept_bytes(model, network)),
    }


def write(binary, count):
    spaces, errors = {}, []
    for line in candidates(binary, count):
        _, values = measured(line)
        errors.append(line["activation_bytes"] / max(1, values["kept_bytes"]) - 1)
        spaces.setdefault(line["space"], []).append(values)
    for space, entries in spaces.items():
        rows = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
        text = f'{{"torch":"{pytorch.TORCH}","candidates":[\n{rows}\n]}}\n'
        (FOLDER / f"{space}.json").write_text(text, encoding="utf-8")
        print(f"{space}: {len(entries)} candidates")
    tell_errors(errors)


def tell_errors(errors):
    worst = max(errors, key=abs)
    middle = statistics.median(abs(error) for error in errors)
    print(f"activation memory: the estimate is off by {middle:.1%} (median), {worst:+.1%} at worst")


def parity(binary, count):
    import reference
    import torch

    errors, counts, found = [], {}, 0

    def differs(text):
        nonlocal found
        found += 1
        if found <= 20:
            print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        for line in candidates(binary, count, scratch):
            if line["space"] not in counts:
                # It takes long: told as it goes on.
                print(f"{line['space']} …", flush=True)
            model, values = measured(line)
            where = f"{line['space']}, candidate {counts.get(line['space'], 0)}"
            expected = reference.size_of(line["network"]["nodes"][line["network"]["output"]]["shape"])
            for name, ours in (("parameters", line["parameters"]), ("macs", line["macs"]), ("shape", expected)):
                if values[name] != ours:
                    differs(f"{where}: {name} {ours}, and PyTorch says {values[name]}: {line['decisions']}")
            errors.append(line["activation_bytes"] / max(1, values["kept_bytes"]) - 1)
            tensors = reference.read_safetensors(Path(line["file"]))
            model.load(tensors)
            with torch.no_grad():
                output = model.eval()(tensors["input"])
            off = (output - tensors["output"]).abs().max().item()
            most = TOLERANCE * max(1.0, output.abs().max().item())
            # Not `>`: a NaN must not pass.
            if not off <= most:
                differs(f"{where}: the outputs differ by {off:.2e}: {line['decisions']}")
            counts[line["space"]] = counts.get(line["space"], 0) + 1
    for space, number in counts.items():
        print(f"{space}: {number} candidates")
    tell_errors(errors)
    if found:
        sys.exit(f"{found} differences from PyTorch {pytorch.TORCH}")
    print(f"no differences from PyTorch {pytorch.TORCH}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["write", "parity"])
    parser.add_argument("candidates")
    parser.add_argument("--count", type=int)
    arguments = parser.parse_args()
    if pytorch.version_of(sys.executable) != pytorch.TORCH:
        python = pytorch.python_with_torch()
        os.execv(python, [python, "-W", "ignore", __file__, *sys.argv[1:]])
    if arguments.what == "write":
        write(arguments.candidates, arguments.count or 20)
    else:
        parity(arguments.candidates, arguments.count or 1000)


if __name__ == "__main__":
    main()
