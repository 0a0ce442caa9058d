"""An evaluator for the whole-system tests: scores are a function of the decisions, and files in the folder
$ESPALIER_TEST_CONTROL make it misbehave.

  seconds      sleep so long before every measurement
  parts        what it says of its time with every measurement, a JSON object
  prints       print this before the first measurement
  weights      leave a file of so many bytes as the weights, another one for each candidate
  checkpoints  it knows checkpoints, when the file is there at its start; they are files of so many bytes
  waits        while it is there, an evaluation does nothing until it is told to stop, and leaves a marker `told-TRIAL`
  hang-once    the first evaluation that sees it takes it away and is silent for ever
  stubborn     while it is there, SIGTERM does not end the process
  diverge      while it is there, every evaluation fails: the candidate diverges
  crash-once   the first evaluation that sees it takes it away and ends the process
  crash        while it is there, every evaluation does that
  memory-once, segfault-once, endless-once, flood-once, disk-once, gpu-once
               the first evaluation that sees it takes it away and does that for ever, or until it breaks
Every evaluation leaves a marker `started-TRIAL-ATTEMPT-PID`.
"""

import ctypes
import hashlib
import json
import os
import select
import signal
import sys
import time

CONTROL = os.environ["ESPALIER_TEST_CONTROL"]


def control(name):
    try:
        with open(os.path.join(CONTROL, name)) as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def take(name):
    """Whether the control file was there; only one process gets it."""
    path = os.path.join(CONTROL, name)
    try:
        os.rename(path, f"{path}.taken-{os.getpid()}")
        return True
    except FileNotFoundError:
        return False


def send(kind, **fields):
    print(json.dumps({"espalier": 1, "type": kind, **fields}, separators=(",", ":")), flush=True)


def lines():
    """Lines of stdin; None when there is none yet. Python's own reader would hide lines that wait."""
    buffer = b""
    while True:
        line, end, rest = buffer.partition(b"\n")
        if end:
            buffer = rest
            yield json.loads(line)
        elif select.select([0], [], [], 0)[0]:
            more = os.read(0, 1 << 16)
            if not more:
                return
            buffer += more
        else:
            yield None


MESSAGES = lines()


def wait_for_message():
    while True:
        message = next(MESSAGES, {"type": "shutdown"})
        if message is not None:
            return message
        select.select([0], [], [])


def leave(job, name, size, what):
    """A file in the scratch folder that is another one for each `what`."""
    pattern = hashlib.sha256(repr(what).encode()).digest()
    with open(os.path.join(job["scratch"], name), "wb") as file:
        file.write((pattern * (int(size) // len(pattern) + 1))[: int(size)])
        file.write(json.dumps(what).encode())


def broken_off(job, epoch):
    """Whether a checkpoint was asked for meanwhile; then it is written."""
    message = next(MESSAGES, {"type": "shutdown"})
    if message is None or message["type"] == "stop":
        return False
    if message["type"] == "shutdown":
        sys.exit()
    if epoch == 0:
        failure = {"domain": "worker", "kind": "evaluator", "message": "nothing to go on from"}
        send("failed", attempt_id=job["attempt_id"], failure=failure)
        return True
    leave(job, "checkpoint", control("checkpoints") or 0, [job["trial"], job["attempt"], epoch])
    send("checkpoint", attempt_id=job["attempt_id"], path="checkpoint", step=epoch)
    return True


def memory():
    held = []
    while True:
        held.append(b"x" * (16 << 20))


def endless():
    while True:
        send("progress", fraction=0.5)
        time.sleep(0.01)


def flood():
    while True:
        sys.stdout.write("a print in an inner loop\n" * 1000)


def disk():
    with open("/dev/full", "wb") as file:
        file.write(b"x")


def gpu():
    raise RuntimeError("CUDA error: out of memory")


MISDEEDS = {
    "memory": memory,
    "segfault": lambda: ctypes.string_at(0),
    "endless": endless,
    "flood": flood,
    "disk": disk,
    "gpu": gpu,
}


def evaluate(job):
    trial, attempt, attempt_id = job["trial"], job["attempt"], job["attempt_id"]
    if control("stubborn") is not None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(os.path.join(CONTROL, f"started-{trial}-{attempt}-{os.getpid()}"), "w").close()
    if take("hang-once"):
        time.sleep(3600)
    if take("crash-once") or control("crash") is not None:
        print("scripted evaluator crashes on purpose", file=sys.stderr, flush=True)
        os._exit(3)
    if control("diverge") is not None:
        time.sleep(float(control("seconds") or 0))
        failure = {"domain": "candidate", "kind": "diverged", "message": "the loss is NaN"}
        send("failed", attempt_id=attempt_id, failure=failure)
        return
    if control("waits") is not None:
        while (message := wait_for_message())["type"] == "checkpoint":
            pass
        open(os.path.join(CONTROL, f"told-{trial}"), "w").close()
        if message["type"] == "shutdown":
            sys.exit()
        send("done", attempt_id=attempt_id)
        return
    for name in MISDEEDS:
        if take(f"{name}-once"):
            MISDEEDS[name]()
    if "traceparent" in job:
        print("traceparent", job["traceparent"], flush=True)
    if control("prints"):
        print(control("prints"), flush=True)
    decisions = job["decisions"]
    x, y = decisions["hyperparameters.x"], decisions["hyperparameters.y"]
    done = job["job"]["train"]["from"]
    if done:
        with open(job["checkpoint_path"], "rb") as file:
            assert file.read().endswith(f", {done}]".encode()), "the checkpoint is another one"
    for epoch in range(done + 1, job["job"]["train"]["to"] + 1):
        if KNOWS_CHECKPOINTS and broken_off(job, epoch - 1):
            return
        time.sleep(float(control("seconds") or 0))
        score = (1.0 - (x - 0.3) ** 2) * y * epoch / job["training"]["epochs"]
        said = {"step": epoch, "metrics": {"score": score}}
        if control("parts"):
            said["seconds"] = json.loads(control("parts"))
        send("measurement", attempt_id=attempt_id, **said)
    if control("weights"):
        leave(job, "weights", control("weights"), [x, y])
        send("done", attempt_id=attempt_id, weights="weights")
    else:
        send("done", attempt_id=attempt_id)


KNOWS_CHECKPOINTS = control("checkpoints") is not None


def main():
    ready = {"protocol": 1, "description": "scripted", "jobs": ["train"], "devices": ["cpu"]}
    send("ready", checkpoints=KNOWS_CHECKPOINTS, **ready)
    print("this line is log, not protocol", flush=True)
    while (message := wait_for_message())["type"] != "shutdown":
        if message["type"] == "evaluate":
            evaluate(message)


main()
