"""A Python that has PyTorch, for what is compared with it.

PyTorch comes from the Python that ESPALIER_BENCH_PYTHON names, or from a virtual environment that is
made once in the user's cache folder: the CPU build from pytorch.org (200 MB) where that can be reached,
else the one on PyPI (2.8 GB, as it brings CUDA along).
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

TORCH = "2.11.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def version_of(python):
    """The version of PyTorch that `python` has, without its build; None when it has none."""
    probe = "import torch; print(torch.__version__)"
    result = subprocess.run([python, "-W", "ignore", "-c", probe], capture_output=True, text=True)
    return result.stdout.strip().split("+")[0] if result.returncode == 0 else None


def python_with_torch():
    """Its path; makes the virtual environment where there is none."""
    own = os.environ.get("ESPALIER_BENCH_PYTHON")
    if own:
        if version_of(own) != TORCH:
            sys.exit(f"ESPALIER_BENCH_PYTHON={own} has PyTorch {version_of(own)}; the comparison needs {TORCH}")
        return own
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "espalier" / f"eager-{TORCH}"
    python = str(folder / "bin" / "python")
    if folder.exists() and version_of(python) == TORCH:
        return python
    print(f"making a virtual environment with PyTorch {TORCH} in {folder}, once", flush=True)
    venv.create(folder, clear=True, with_pip=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    cpu = [*pip, "--retries", "1", "--index-url", CPU_INDEX, f"torch=={TORCH}"]
    if subprocess.run(cpu, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        print(f"{CPU_INDEX} cannot be used; getting the larger build from PyPI", flush=True)
        if subprocess.run([*pip, f"torch=={TORCH}"], check=False).returncode != 0:
            sys.exit(f"pip could not install PyTorch; ESPALIER_BENCH_PYTHON names a Python that has {TORCH}")
    return python
