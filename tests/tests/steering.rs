//! Steering with real processes and the real command line: what users change while a search runs takes effect at
//! once, and the coordinator knows it after it was killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use espalier_tests::{Cluster, WorkerOptions, scripted_spec, wait_until};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

fn spec(name: &str, trials: u32, more: &str) -> String {
    format!(
        "name: {name}
hyperparameters: {{x: {{choice: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}}, y: {{choice: [0, 1, 2, 3, 4]}}}}
evaluator: scripted
training: {{epochs: 2}}
searcher: random
objectives: [{{maximize: score}}]
budget: {{trials: {trials}}}
{more}
"
    )
}

/// Why a command was refused.
fn refused(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let output = cluster.espalier(arguments)?;
    ensure!(!output.status.success(), "{arguments:?} was not refused");
    Ok(String::from_utf8(output.stderr)?)
}

#[tokio::test]
async fn a_search_is_steered_while_it_runs_and_the_journal_remembers_who_did_it() -> Result<()> {
    let mut cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    cluster.control("seconds", "600")?;
    let worker = cluster.start_worker("only", &WorkerOptions::default())?;
    let id = searches
        .create(&spec("steered", 3, "parallel: 1"), String::new())
        .await?;
    let (trial, _, evaluator) = cluster.started(&[], LIMIT).await?;
    // So that nothing further starts while it is steered.
    cluster.json(&["pause", "steered"])?;

    // A candidate of the user's is next, though others may wait already.
    let candidate = cluster.path("candidate.json");
    let decisions = serde_json::json!({ "hyperparameters.x": 9, "hyperparameters.y": 4 });
    std::fs::write(&candidate, decisions.to_string())?;
    let candidate = candidate.to_str().context("a path")?;
    cluster.json(&["enqueue", "steered", candidate, "--first"])?;
    let twice = refused(&cluster, &["enqueue", "steered", candidate])?;
    ensure!(twice.contains("is trial"), "{twice}");

    // The running trial is given up, and its evaluator, which sleeps and does not listen, is ended.
    cluster.control("seconds", "0.05")?;
    cluster.json(&["cancel", "steered", &trial.to_string()])?;
    let gone = || async { Ok(kill(Pid::from_raw(evaluator), None).is_err().then_some(())) };
    wait_until("the end of the cancelled trial's evaluator", LIMIT, gone).await?;

    // More budget than the spec gave, and more at one time.
    let status = cluster.json(&["set", "steered", "--trials", "+2", "--parallel", "all"])?;
    ensure!(status["budget"]["trials"] == 5, "{status}");
    let less = refused(&cluster, &["set", "steered", "--trials", "1"])?;
    ensure!(less.contains("have been proposed already"), "{less}");
    let nothing = refused(&cluster, &["set", "steered"])?;
    ensure!(nothing.contains("nothing is to be set"), "{nothing}");
    let unlimited = refused(&cluster, &["set", "steered", "--time", "+1h"])?;
    ensure!(unlimited.contains("no such limit yet"), "{unlimited}");

    // All of it is there after the coordinator was killed.
    cluster.kill_coordinator()?;
    cluster.start_coordinator().await?;
    let status = cluster.json(&["status", "steered"])?;
    let reason = status["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("alice@"), "{status}");
    ensure!(status["budget"]["trials"] == 5, "{status}");
    cluster.json(&["resume", "steered"])?;
    let ended = searches.finished(&id, LIMIT).await?;
    let counts = ended.counts.unwrap_or_default();
    ensure!(counts.leased == 5, "the budget is exact: {counts:?}");
    ensure!((counts.completed, counts.cancelled) == (4, 1), "{counts:?}");
    let trials = cluster.json(&["trials", "steered"])?;
    let own = trials
        .as_array()
        .context("a list")?
        .iter()
        .find(|trial| trial["origin"]["searcher"] == "user");
    let own = own.context("the candidate of the user's")?;
    ensure!(
        own["decisions"] == decisions && own["state"] == "completed",
        "{own}"
    );
    let late = refused(&cluster, &["set", "steered", "--trials", "+1"])?;
    ensure!(late.contains("has ended"), "{late}");

    let history = cluster.json(&["history", "steered"])?;
    let wishes: Vec<&str> = history
        .as_array()
        .context("a list")?
        .iter()
        .filter_map(|wish| wish["wish"].as_str())
        .collect();
    let cancelled = format!("cancel trial {trial}");
    let identity = own["candidate_id"].as_str().unwrap_or_default();
    let enqueued = format!(
        "enqueue candidate {} as trial {}, before all others",
        identity.get(..12).context("an identity")?,
        own["trial"]
    );
    ensure!(
        wishes
            == [
                "pause",
                enqueued.as_str(),
                cancelled.as_str(),
                "set trials 5, parallel all",
                "resume"
            ],
        "{history}"
    );
    ensure!(
        history[0]["by"]
            .as_str()
            .unwrap_or_default()
            .starts_with("alice@"),
        "{history}"
    );
    drop(worker);
    let replay = cluster.espalier(&[
        "replay",
        "steered",
        "--data-dir",
        cluster.path("coordinator").to_str().context("a path")?,
    ])?;
    ensure!(
        replay.status.success(),
        "{}",
        String::from_utf8_lossy(&replay.stdout)
    );
    Ok(())
}

#[tokio::test]
async fn failures_are_grouped_and_the_failed_run_again() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    // Divergence is the candidate's own fault, and does not pause the search.
    cluster.control("diverge", "")?;
    cluster.control("seconds", "0.2")?;
    let _worker = cluster.start_worker("only", &WorkerOptions::default())?;
    let id = searches
        .create(&spec("failing", 30, "parallel: 1"), String::new())
        .await?;
    let two_failed = || async {
        let status = searches.status(&id).await?;
        Ok((status.counts.unwrap_or_default().failed >= 2).then_some(()))
    };
    wait_until("two failed trials", LIMIT, two_failed).await?;
    let paused = cluster.espalier(&["pause", "failing"])?;
    ensure!(
        paused.status.success(),
        "{}",
        String::from_utf8_lossy(&paused.stderr)
    );
    // What runs goes on, and fails too.
    let at_rest = || async {
        let status = searches.status(&id).await?;
        Ok((status.counts.unwrap_or_default().running == 0).then_some(()))
    };
    wait_until("the end of what runs", LIMIT, at_rest).await?;
    let groups = cluster.json(&["failures", "failing"])?;
    ensure!(groups[0]["domain"] == "candidate", "{groups}");
    ensure!(
        groups[0]["attempts"].as_u64().unwrap_or_default() >= 2,
        "{groups}"
    );
    ensure!(groups[0]["workers"][0] == "only", "{groups}");

    std::fs::remove_file(cluster.path("control/diverge"))?;
    cluster.control("seconds", "0")?;
    let none = cluster.espalier(&["retry", "failing", "--failed", "--reason", "no such words"])?;
    ensure!(String::from_utf8_lossy(&none.stdout).contains("no trial failed so"));
    let retried = cluster.espalier(&["retry", "failing", "--failed"])?;
    let text = String::from_utf8_lossy(&retried.stdout);
    ensure!(
        text.contains("wait again"),
        "{text}{}",
        String::from_utf8_lossy(&retried.stderr)
    );
    cluster.json(&["resume", "failing"])?;
    let ended = searches.finished(&id, LIMIT).await?;
    let counts = ended.counts.unwrap_or_default();
    ensure!(
        (counts.completed, counts.failed, counts.leased) == (30, 0, 30),
        "{counts:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_spec_runs_on_workers_with_its_labels_only() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    let _plain = cluster.start_worker("plain", &WorkerOptions::default())?;
    let wanting = spec("labelled", 2, "worker: {labels: {gpu: h100}}");
    let id = searches.create(&wanting, String::new()).await?;
    let why = || async {
        let status = cluster.json(&["status", "labelled"])?;
        let waiting = status["waiting"].as_str().unwrap_or_default().to_owned();
        Ok(waiting.contains("labels gpu=h100").then_some(()))
    };
    wait_until("the reason why it waits", LIMIT, why).await?;
    ensure!(
        cluster.all_started()?.is_empty(),
        "a worker without the label got a job"
    );
    let options = WorkerOptions {
        labels: vec!["gpu=h100".to_owned(), "zone=a".to_owned()],
        ..WorkerOptions::default()
    };
    let _labelled = cluster.start_worker("labelled", &options)?;
    searches.finished(&id, LIMIT).await?;
    for trial in searches.trials(&id).await? {
        ensure!(trial.worker == "labelled", "{trial:?}");
    }
    let workers = cluster.json(&["status"])?;
    let labels: Vec<&Value> = workers["workers"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|worker| &worker["labels"])
        .collect();
    ensure!(
        labels.contains(&&serde_json::json!({ "gpu": "h100", "zone": "a" })),
        "{workers}"
    );
    Ok(())
}

#[tokio::test]
async fn who_runs_what_is_given_up_is_told_by_the_next_heartbeat() -> Result<()> {
    // A heartbeat is a third of the lease. Nothing else tells the worker: the evaluators report nothing.
    let heartbeat = Duration::from_secs(3);
    let cluster = Cluster::start(9_000).await?;
    let searches = cluster.searches()?;
    cluster.control("waits", "")?;
    let options = WorkerOptions {
        slots: 2,
        ..WorkerOptions::default()
    };
    let _worker = cluster.start_worker("only", &options)?;
    searches
        .create(&spec("given-up", 4, "parallel: 2"), String::new())
        .await?;
    let first = cluster.started(&[], LIMIT).await?;
    let second = cluster.started(&[(first.0, first.1)], LIMIT).await?;
    // Nothing further starts when the first slot is free.
    cluster.json(&["pause", "given-up"])?;
    let told = |trial: u32| {
        let marker = format!("told-{trial}");
        let is_there = cluster.has_control(&marker);
        async move { Ok(is_there.then_some(())) }
    };
    // One that was just missed, the next, and one for a machine that does much else.
    let limit = 3 * heartbeat;
    cluster.json(&["cancel", "given-up", &first.0.to_string()])?;
    wait_until("word of a cancelled trial", limit, || told(first.0)).await?;
    ensure!(!cluster.has_control(&format!("told-{}", second.0)));
    cluster.json(&["stop", "given-up"])?;
    wait_until("word of a stopped search", limit, || told(second.0)).await?;
    Ok(())
}

#[tokio::test]
async fn a_fork_begins_with_what_the_first_trials_found() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    let _worker = cluster.start_worker("only", &WorkerOptions::default())?;
    // Fifty candidates in all.
    let id = searches
        .create(&spec("first", 20, "# a comment that stays"), String::new())
        .await?;
    searches.finished(&id, LIMIT).await?;
    let settings = [
        "--set",
        "searcher=local-search",
        "--set",
        "budget.trials=30",
    ];
    let fork = [
        &["fork", "first", "--at", "15", "--name", "second"][..],
        &settings,
    ]
    .concat();
    let status = cluster.json(&fork)?;
    ensure!(
        status["name"] == "second" && status["searcher"] == "local-search",
        "{status}"
    );
    ensure!(status["budget"]["trials"] == 30, "{status}");
    let second = status["id"].as_str().context("an id")?.to_owned();
    let ended = searches.finished(&second, LIMIT).await?;
    ensure!(
        ended.counts.unwrap_or_default().completed == 30,
        "{ended:?}"
    );

    // Its first proposal is a neighbour of the best that its searcher was told of.
    let first = cluster.json(&["trials", "first"])?;
    let known: Vec<&Value> = first
        .as_array()
        .context("a list")?
        .iter()
        .take(15)
        .collect();
    let own = cluster.json(&["trials", "second"])?;
    let own = own.as_array().context("a list")?;
    let best = known
        .iter()
        .max_by(|a, b| {
            a["score"]
                .as_f64()
                .unwrap_or(f64::MIN)
                .total_cmp(&b["score"].as_f64().unwrap_or(f64::MIN))
        })
        .context("a best")?;
    let differing = ["hyperparameters.x", "hyperparameters.y"]
        .into_iter()
        .filter(|path| own[0]["decisions"][path] != best["decisions"][path])
        .count();
    ensure!(differing == 1, "{} is no neighbour of {best}", own[0]);

    let history = cluster.json(&["history", "second"])?;
    let wish = history[0]["wish"].as_str().unwrap_or_default();
    ensure!(
        wish == format!("fork of search {id} up to trial 15")
            && history[0]["by"].as_str().is_some_and(|by| !by.is_empty()),
        "{history}"
    );
    let wrong = refused(&cluster, &["fork", "first", "--set", "searcher=nothing"])?;
    ensure!(
        wrong.contains("fork.yaml:") && wrong.contains("nothing"),
        "{wrong}"
    );
    let lost = refused(&cluster, &["fork", "first", "--set", "budget.trials.x=1"])?;
    ensure!(lost.contains("give all of `budget`"), "{lost}");
    Ok(())
}

#[tokio::test]
async fn status_says_what_a_slot_without_a_job_does_and_takes_no_running_search_for_one_that_waits()
-> Result<()> {
    let cluster = Cluster::start(30_000).await?;
    // It hears of its end when it has slept.
    cluster.control("seconds", "3")?;
    let _worker = cluster.start_worker("node", &WorkerOptions::default())?;
    let searches = cluster.searches()?;
    searches
        .create(&scripted_spec("first", 9), String::new())
        .await?;
    cluster.started(&[], LIMIT).await?;
    searches
        .create(&scripted_spec("second", 1), String::new())
        .await?;
    let status = |arguments: &[&str]| -> Result<String> {
        let output = cluster.espalier(&[&["status"], arguments].concat())?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let busy = "all slots of the 1 worker that fits are busy";
    let said = status(&[])?;
    ensure!(
        said.contains(&format!("first could run more: {busy}")),
        "{said}"
    );
    ensure!(said.contains(&format!("second waits: {busy}")), "{said}");
    let said = status(&["first"])?;
    ensure!(said.contains(&format!("could run more: {busy}")), "{said}");

    cluster.espalier(&["stop", "first"])?;
    let said = status(&[])?;
    ensure!(said.contains("0 of 1 slots busy"), "{said}");
    ensure!(
        said.contains("second waits: 1 of the workers that fit have a slot without a job"),
        "{said}"
    );
    Ok(())
}
