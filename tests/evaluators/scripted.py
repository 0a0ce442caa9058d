"""An evaluator for the whole-system tests: scores are a function of the decisions, and files in the folder
$ESPALIER_TEST_CONTROL make it misbehave.

  seconds      sleep so long before every measurement
  hang-once    the first evaluation that sees it takes it away and is silent for ever
  diverge      while it is there, every evaluation fails: the candidate diverges
  crash-once   the first evaluation that sees it takes it away and ends the process
Every evaluation leaves a marker `started-TRIAL-ATTEMPT-PID`.
"""

import json
import os
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


def evaluate(job):
    trial, attempt, name = job["trial"], job["attempt"], job["attempt_id"]
    open(os.path.join(CONTROL, f"started-{trial}-{attempt}-{os.getpid()}"), "w").close()
    if take("hang-once"):
        time.sleep(3600)
    if take("crash-once"):
        print("scripted evaluator crashes on purpose", file=sys.stderr, flush=True)
        os._exit(3)
    if control("diverge") is not None:
        time.sleep(float(control("seconds") or 0))
        failure = {"domain": "candidate", "kind": "diverged", "message": "the loss is NaN"}
        send("failed", attempt_id=name, failure=failure)
        return
    decisions = job["decisions"]
    x, y = decisions["hyperparameters.x"], decisions["hyperparameters.y"]
    for epoch in range(1, job["job"]["train"]["to"] + 1):
        time.sleep(float(control("seconds") or 0))
        score = (1.0 - (x - 0.3) ** 2) * y * epoch / job["training"]["epochs"]
        send("measurement", attempt_id=name, step=epoch, metrics={"score": score})
    send("done", attempt_id=name)


def main():
    send("ready", protocol=1, description="scripted", jobs=["train"], devices=["cpu"])
    print("this line is log, not protocol", flush=True)
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "evaluate":
            evaluate(message)
        elif message["type"] == "shutdown":
            return


main()
