"""An evaluator for tests of what a candidate may use: what it does with a job is the job's decision "do".
`begun` and `reached` in the folder of the test show how far it came."""

import ctypes
import json
import os
import sys
import time

FOLDER = sys.argv[1]
MIB = 1 << 20


def send(kind, **fields):
    print(json.dumps({"espalier": 1, "type": kind, **fields}), flush=True)


def note(name, text):
    with open(os.path.join(FOLDER, name), "a") as file:
        file.write(f"{text}\n")


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(("RssAnon", "RssShmem")))


def fork_sleepers(count, work=lambda: None):
    """Children that do some work and then sleep; returns when all have done it."""
    reader, writer = os.pipe()
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            held = work()
            os.write(writer, b".")
            time.sleep(1000)
            os._exit(len(held or b""))
        pids.append(pid)
        note("children", pid)
    for _ in range(count):
        os.read(reader, 1)
    return pids


def memory(job):
    held = []
    while True:
        held.append(b"x" * (16 * MIB))
        note("reached", 16 * len(held))


def memory_of_children(job):
    fork_sleepers(4, lambda: b"x" * (96 * MIB))
    note("reached", "all children have theirs")
    time.sleep(1000)


def reserve(job):
    """As CUDA does: much address space, little memory."""
    import mmap
    no_reserve = 0x4000  # mmap.MAP_NORESERVE, which this Python may not know.
    area = mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    area[0] = 1
    note("reached", len(area) // MIB)


def share(job):
    """Many processes that share what one of them holds."""
    held = b"x" * (96 * MIB)
    pids = fork_sleepers(5)
    note("reached", sum(resident_kib(pid) for pid in [os.getpid(), *pids]) // 1024)
    time.sleep(1)
    for pid in pids:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert held


def segfault(job):
    ctypes.string_at(0)


def endless(job):
    while True:
        send("progress", fraction=0.5)
        time.sleep(0.01)


def flood(job):
    while True:
        sys.stdout.write("a print in an inner loop\n" * 1000)


def flood_of_errors(job):
    while True:
        sys.stderr.write("one line without an end" * 1000)


def flood_of_messages(job):
    while True:
        send("ready", protocol=1)


def scratch(job):
    for number in range(1000):
        with open(os.path.join(job["scratch"], f"checkpoint-{number}"), "wb") as file:
            file.write(b"x" * MIB)
        note("reached", number + 1)
        time.sleep(0.02)
    time.sleep(1000)


def full_disk(job):
    with open("/dev/full", "wb") as file:
        file.write(b"x")


def full_disk_told(job):
    try:
        full_disk(job)
    except OSError as error:
        send("failed", failure={"domain": "candidate", "kind": "crashed", "message": str(error)})
        return True


class OutOfMemoryError(RuntimeError):
    """As torch's."""


OutOfMemoryError.__module__ = "torch"


def gpu_memory(job):
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 8.00 GiB")


def own_error(job):
    """Its own mistake, after it has mastered a lack of memory."""
    try:
        gpu_memory(job)
    except OutOfMemoryError as error:
        print(f"torch.OutOfMemoryError: {error}; trying half the batch", file=sys.stderr)
    raise ValueError("the labels have 3 columns")


def well(job):
    pass


def main():
    note("pids", os.getpid())
    send("ready", protocol=1, description="greedy", jobs=["train"], devices=["cpu"])
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "shutdown":
            return
        if message["type"] != "evaluate":
            continue
        note("begun", message["decisions"]["do"])
        if not globals()[message["decisions"]["do"]](message):
            send("measurement", step=1, metrics={"accuracy": 0.5})
            send("done")


main()
