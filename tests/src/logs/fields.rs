//! The fields of log lines: what each one is, wherever it stands.

/// A field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// number, text, true or false.
    pub kind: &'static str,
    /// What it is.
    pub meaning: &'static str,
}

const fn text(name: &'static str, meaning: &'static str) -> Field {
    let kind = "text";
    Field {
        name,
        kind,
        meaning,
    }
}

const fn number(name: &'static str, meaning: &'static str) -> Field {
    let kind = "number";
    Field {
        name,
        kind,
        meaning,
    }
}

/// Every field, those first that most lines have.
pub const FIELDS: &[Field] = &[
    text("search", "id of the search"),
    text("name", "name of the search"),
    number("trial", "number of the trial within its search"),
    number("attempt", "number of the attempt within its trial"),
    text("worker", "name of the worker"),
    number("slot", "slot of the worker, from 0"),
    text("from", "the state before"),
    text("to", "the state from now on"),
    number(
        "duration_ms",
        "how long what has ended took; of a worker that is paused, how long it will be",
    ),
    number(
        "trial_ms",
        "how long a trial that is open no more was so, from its proposal on",
    ),
    number(
        "ended_ms_ago",
        "how long before this line a part of a step had ended",
    ),
    text(
        "span",
        "the span of the trial's trace that ends with this line",
    ),
    text(
        "trace_id",
        "the trace of the trial; on every line with `search` and `trial` where traces are sent",
    ),
    number("score", "the trial's score; of a search, that of its best"),
    number("open_files", "how many files the process may have open"),
    text("reason", "why, in words"),
    text(
        "error",
        "what the system, or another program, says is wrong",
    ),
    text(
        "status",
        "the answer to a call that failed: its gRPC code and text",
    ),
    text(
        "kind",
        "of a failure (`diverged`, `crashed`, …), or why a call was refused (`no token`, …)",
    ),
    text(
        "domain",
        "whose failure it is: `candidate`, `worker`, `user`, `internal`",
    ),
    text("job", "what an attempt runs: `train`, `test`"),
    text("evaluator", "the evaluator's name"),
    text("searcher", "the searcher's name"),
    text("method", "how the searcher came to its proposal"),
    number("ask", "the number of the ask that a proposal answers"),
    number(
        "step",
        "the step (epoch) of a measurement; the finished ones, of a checkpoint",
    ),
    number(
        "resumes_at",
        "the finished epochs of the checkpoint that an attempt goes on from",
    ),
    text(
        "metrics",
        "the metrics of a measurement, as the text of a JSON object",
    ),
    text("shortfall", "what could not be done at the end of a search"),
    number("best", "the best trial of a search"),
    text("of", "the search that a result was taken from"),
    number(
        "of_trial",
        "the trial that a result was taken from, or that was proposed before",
    ),
    text(
        "by",
        "the user who wanted something, as far as that is known",
    ),
    text("wish", "what a user wanted of a search"),
    number("trials", "the budget of trials"),
    number("time_ms", "the budget of running time"),
    number("compute_ms", "the budget of compute"),
    number("deadline_ms", "when the search ends, Unix time"),
    number("parallel", "the most trials at one time"),
    number("weight", "the search's share of the workers"),
    number("completed", "trials with a score"),
    number("running", "trials that run"),
    number("queued", "trials that wait"),
    text("instance", "id of one start of a worker"),
    text("owner", "id of the start of the worker that has the name"),
    number("slots", "the worker's slots"),
    text("device", "what the worker computes on"),
    text("release", "the worker's release"),
    text("here", "the coordinator's release"),
    text("description", "what the evaluator says of itself"),
    number("held", "jobs that the worker holds"),
    number("leases", "leases that are held"),
    number("deaths", "how often the worker has ended by itself"),
    text(
        "coordinator",
        "the coordinator's address, as the worker has it",
    ),
    text("cluster", "id of the coordinator's journal"),
    text("address", "where the coordinator listens"),
    {
        let (name, kind) = ("tls", "true or false");
        let meaning = "whether the coordinator speaks TLS";
        Field {
            name,
            kind,
            meaning,
        }
    },
    number("searches", "searches in the journal"),
    number("streams", "streams of the journal"),
    number("records", "events in a commit"),
    number("commits", "slow commits since the last line about them"),
    text("data_dir", "the coordinator's data folder"),
    number("place", "a byte of a file, from 0"),
    text("path", "a file or folder"),
    number("bytes", "size of what was moved"),
    number("free_bytes", "room on the disk"),
    number("total_bytes", "size of the disk"),
    number("limit_bytes", "the memory that each evaluator may use"),
    text("digest", "digest of an artifact, or its beginning"),
    text("weights", "digest of the weights"),
    text(
        "fingerprint",
        "beginning of the fingerprint of data or of a table",
    ),
    number("recheck_s", "seconds between two looks at what is missing"),
    text("peer", "address of who calls"),
    text("call", "the call"),
    text("token", "id of a token; never its secret"),
    text("role", "role of a token"),
    text("label", "label of a token"),
    number("lifetime_ms", "how long a certificate lasts"),
    number("tries", "how often it was tried so far"),
    number("tries_left", "how often it will be tried again"),
    number(
        "by_ms",
        "by how many milliseconds a clock jumped; negative: back",
    ),
    number("wait_ms", "how long until the next try"),
    number(
        "missed",
        "changes that a watcher did not get one by one, or lines that a reader did not get",
    ),
    number("lines", "lines of an evaluator that were logged"),
    text("attempt_id", "the attempt that an evaluator named"),
    text("said", "what an evaluator said"),
    text("wire", "a message that cannot be read"),
    text("rejection", "why a command changed nothing"),
    text("signal", "name of a signal"),
    number("group", "id of a process group"),
    number("process", "id of a process"),
    number(
        "exit_code",
        "what the program ends with: 2 when another start would end like this too, until somebody mends it",
    ),
    text("task", "name of a task of the program"),
    text("location", "place in the source"),
    text(
        "backtrace",
        "with `RUST_BACKTRACE=1`: how the program came there",
    ),
];
