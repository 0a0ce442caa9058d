//! What is told of a search afterwards: `replay` and `explain`, on journals that real coordinators have written.

#![allow(clippy::unwrap_used)]

mod cli_support;
mod support;

use std::path::Path;
use std::process::Output;

use cli_support::{espalier, stderr, stdout};
use support::{TestServer, score, spec};

fn replay(folder: &Path, search: &str, more: &[&str]) -> Output {
    let mut command = espalier();
    command.args(["replay", search, "--data-dir"]).arg(folder);
    command.args(more).output().unwrap()
}

fn replayed(folder: &Path, search: &str) -> serde_json::Value {
    let output = replay(folder, search, &["--output", "json"]);
    assert!(
        output.status.success(),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_one_worker_is_derived_again_while_its_coordinator_runs_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let text = spec("one", 16).replace(
        "searcher: random",
        "searcher: {evolution: {population: 4, tournament: 2}}",
    );
    let status = server.create(&text).await;
    let mut worker = server.worker("only", 1).await;
    worker.work(300, |_| {}).await;
    let while_it_runs = replayed(folder.path(), "one");
    assert_eq!(while_it_runs["compared"], 16);
    assert_eq!(
        (&while_it_runs["differing"], &while_it_runs["unplaced"]),
        (&0.into(), &0.into())
    );
    let trials = server.trials("one").await;
    let child = trials
        .iter()
        .find(|trial| trial.origin_json.contains("parents"))
        .expect("sixteen trials have a child");
    let explained = espalier()
        .args([
            "explain",
            "one",
            &child.number.to_string(),
            "--output",
            "json",
            "--address",
        ])
        .arg(server.endpoint.uri().to_string())
        .output()
        .unwrap();
    assert!(explained.status.success(), "{}", stderr(&explained));
    let explained: serde_json::Value = serde_json::from_str(&stdout(&explained)).unwrap();
    assert_eq!(explained["searcher"], "evolution");
    assert_eq!(explained["trial"]["trial"], child.number);
    let diff = &explained["parents"][0]["diff"];
    assert_eq!(diff["changed"].as_object().unwrap().len(), 1, "{diff}");
    let unknown = espalier()
        .args(["explain", "one", "99", "--address"])
        .arg(server.endpoint.uri().to_string())
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(3));
    assert!(
        stderr(&unknown).contains("no trial 99"),
        "{}",
        stderr(&unknown)
    );
    server.stop().await;

    let output = replay(folder.path(), "one", &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("none differs"),
        "{}",
        stdout(&output)
    );
    let id = uuid::Uuid::from_slice(&status.id).unwrap().to_string();
    assert_eq!(replayed(folder.path(), &id[..8])["name"], "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_several_workers_is_derived_again_with_restarts_between() {
    let folder = tempfile::tempdir().unwrap();
    let text = spec("many", 48).replace(
        "searcher: random",
        "searcher: {evolution: {population: 6, tournament: 3}}",
    );
    let mut server = TestServer::start(folder.path()).await;
    server.create(&text).await;
    for turn in 0..4_u32 {
        let mut workers = tokio::task::JoinSet::new();
        for name in ["a", "b", "c"] {
            let mut worker = server.worker(name, 2).await;
            workers.spawn(async move {
                // The last turn runs to the end; those before leave asks and leases behind.
                for _ in 0..if turn == 3 { 100 } else { 2 } {
                    let Ok(jobs) = worker.lease(2, 500).await else {
                        return;
                    };
                    for job in &jobs {
                        let _ = worker.complete(job, score(&job.decisions)).await;
                    }
                    if jobs.is_empty() {
                        return;
                    }
                }
                let _ = worker.lease(2, 0).await;
            });
        }
        workers.join_all().await;
        if turn < 3 {
            server.stop().await;
            server = TestServer::start(folder.path()).await;
        }
    }
    server.stop().await;
    let found = replayed(folder.path(), "many");
    assert_eq!(
        (&found["differing"], &found["unplaced"]),
        (&0.into(), &0.into()),
        "{found}"
    );
    assert!(found["compared"].as_u64().unwrap() >= 48, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_and_journals_that_are_not_there_are_told_and_a_run_is_found_below_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = replay(folder.path(), "one", &[]);
    assert_eq!(nothing.status.code(), Some(3));
    assert!(
        stderr(&nothing).contains("no journal"),
        "{}",
        stderr(&nothing)
    );
    // As `espalier run` lays it out.
    let server = TestServer::start(&folder.path().join("coordinator")).await;
    server.create(&spec("one", 3)).await;
    server.stop().await;
    let output = replay(folder.path(), "other", &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("no search \"other\""),
        "{}",
        stderr(&output)
    );
    assert_eq!(replayed(folder.path(), "one")["compared"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_that_is_not_what_the_searcher_would_propose_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("one", 5)).await;
    let mut worker = server.worker("only", 1).await;
    worker.work(300, |_| {}).await;
    server.stop().await;
    // The hashes of a journal are no signature: whoever can write the file can make them anew.
    forge(
        folder.path(),
        "\"searcher\":\"random\"",
        "\"searcher\":\"chance\"",
    );
    let output = replay(folder.path(), "one", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("5 differ; the first is ask 1 (trial 1)"),
        "{text}"
    );
    assert!(
        text.contains("chance") && text.contains("derived again"),
        "{text}"
    );
    assert!(
        stderr(&output).contains("5 of 5 proposals differ"),
        "{}",
        stderr(&output)
    );
}

/// Copies a journal's events, changed, through a journal of its own.
fn forge(folder: &Path, from: &str, to: &str) {
    use espalier_coordinator::journal::{Batch, Journal, JournalReader, Record};

    let reader = JournalReader::open(folder).unwrap();
    let forged = folder.join("forged");
    let runtime = tokio::runtime::Handle::current();
    let journal = Journal::open(&forged).unwrap().start().unwrap();
    for stream in reader.streams().unwrap() {
        let mut records = Vec::new();
        reader
            .replay(stream, |_, _, body| {
                let body = body.replace(from, to);
                records.push(Record {
                    body,
                    rows: Vec::new(),
                });
                Ok(())
            })
            .unwrap();
        let batch = Batch {
            stream,
            time_ms: 1,
            records,
            after: None,
        };
        tokio::task::block_in_place(|| runtime.block_on(journal.commit(batch))).unwrap();
    }
    tokio::task::block_in_place(|| runtime.block_on(journal.close()));
    drop(reader);
    std::fs::rename(forged.join("journal.db"), folder.join("journal.db")).unwrap();
}
