#!/usr/bin/env python3
"""A training program of your own, as an evaluator of Espalier. The standard library is all it needs.

    espalier-worker --evaluator mine='python3 examples/evaluator.py' ...

A worker starts this once for each of its slots and speaks JSON lines with it, over stdin and stdout. A
spec with `evaluator: mine` (examples/own-program.yaml) gets its trials evaluated here. Replace `loss` by
your training; print() what you like, since a line that is no message becomes a line of the trial's log.
"""
import json, math, os, queue, sys, threading

inbox = queue.Queue()


def read():  # in a thread of its own, so that a `stop` is seen while a trial is running
    for line in sys.stdin:
        inbox.put(json.loads(line))
    inbox.put({"type": "shutdown"})  # the pipe is closed: the worker is gone


def say(kind, **fields):  # a message starts with exactly {"espalier":1, so no spaces; flush, or it waits
    print(json.dumps({"espalier": 1, "type": kind, **fields}, separators=(",", ":")), flush=True)


def loss(settings, epoch):  # stands for an epoch of training: best at a rate of 0.001 without dropout
    rate = math.log10(settings.get("learning_rate", 1e-3))
    return (rate + 3) ** 2 / 10 + settings.get("dropout", 0) / 5 + 1 / (10 * epoch * settings.get("layers", 1))


def evaluate(job):
    attempt = job["attempt_id"]  # goes back in every message, so that a late one is not taken for the next job's
    # A decision has a path; the last part of it is the name that the spec gave it.
    settings = {path.split(".")[-1]: value for path, value in job["decisions"].items()}
    done, to = 0, job["job"]["train"]["to"]
    if job.get("checkpoint_path"):  # an earlier attempt was broken off: go on where it was
        with open(job["checkpoint_path"]) as file:
            done = json.load(file)["epochs"]
    for epoch in range(done + 1, to + 1):
        while not inbox.empty():
            message = inbox.get()
            if message["type"] == "shutdown":
                sys.exit()
            if message["type"] == "stop" and message["attempt_id"] == attempt:
                return say("done", attempt_id=attempt)  # what was measured so far counts no more
            if message["type"] == "checkpoint" and message["attempt_id"] == attempt:
                with open(os.path.join(job["scratch"], "checkpoint.json"), "w") as file:
                    json.dump({"epochs": epoch - 1}, file)  # yours has weights and an optimizer, too
                return say("checkpoint", attempt_id=attempt, path="checkpoint.json", step=epoch - 1)
        say("measurement", attempt_id=attempt, step=epoch, metrics={"loss": loss(settings, epoch)})
    say("done", attempt_id=attempt)


threading.Thread(target=read, daemon=True).start()
say("ready", protocol=1, description="the example of examples/evaluator.py", jobs=["train"], checkpoints=True)
while (message := inbox.get())["type"] != "shutdown":
    if message["type"] == "evaluate":  # a `stop` that comes after the end of its trial means nothing
        evaluate(message)
