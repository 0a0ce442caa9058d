//! Searches that begin with what an earlier one found, or with candidates of the spec or a file.

#![allow(clippy::unwrap_used)]

mod cli_support;
mod support;

use cli_support::{espalier, stderr, stdout};
use espalier_proto::v1;
use support::{TestServer, spec};
use tonic::Code;

fn with(name: &str, more: &str) -> String {
    let text = spec(name, 8).replace("searcher: random", "searcher: bayesian");
    format!("{text}{more}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_begins_where_an_earlier_one_ended_and_needs_it_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&with("first", "")).await;
    let mut worker = server.worker("only", 1).await;
    worker.work(300, |_| {}).await;
    server.finished("first").await;
    server
        .create(&with("second", "warm_start: {search: first}"))
        .await;
    worker.work(300, |_| {}).await;
    let status = server.finished("second").await;
    assert_eq!(
        status.counts.unwrap().completed,
        8,
        "what is known does not count"
    );
    let trials = server.trials("second").await;
    // With eight results known the model is there from the first proposal on.
    assert!(
        trials[0].origin_json.contains("predicted"),
        "{}",
        trials[0].origin_json
    );
    server.stop().await;
    let replayed = espalier()
        .args(["replay", "second", "--data-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(
        replayed.status.success(),
        "{}{}",
        stdout(&replayed),
        stderr(&replayed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_search_of_another_space_is_refused_with_trial_and_decision() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&with("first", "")).await;
    let warm = "warm_start: {search: first}";
    let empty = server.try_create(&with("second", warm)).await.unwrap_err();
    assert!(empty.message().contains("no completed trial"), "{empty}");
    let mut worker = server.worker("only", 1).await;
    worker.work(300, |_| {}).await;
    let other = with("second", warm).replace("choice: [1, 2, 3, 4, 5]", "choice: [7, 8]");
    let refused = server.try_create(&other).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let text = refused.message();
    assert!(
        text.contains("warm_start.search: trial 1 of search"),
        "{text}"
    );
    assert!(
        text.contains("the decision hyperparameters.y cannot be"),
        "{text}"
    );
    let unknown = server
        .try_create(&with("second", "warm_start: {search: nobody}"))
        .await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_without_a_score_are_the_first_trials() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let list = "warm_start:\n  candidates:\n    - decisions: {hyperparameters.x: 0.25, hyperparameters.y: 3}\n    \
                - {decisions: {hyperparameters.x: 0.5, hyperparameters.y: 1}, score: 0.5}\n    \
                - decisions: {hyperparameters.x: 0.75, hyperparameters.y: 2}";
    server.create(&with("list", list)).await;
    let mut worker = server.worker("only", 1).await;
    let mut ran = Vec::new();
    worker
        .work(300, |job| {
            ran.push(serde_json::to_value(&job.decisions).unwrap())
        })
        .await;
    assert_eq!(ran[0]["hyperparameters.x"], 0.25);
    assert_eq!(ran[1]["hyperparameters.x"], 0.75);
    assert_eq!(ran.len(), 8);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_where_the_spec_lies_and_looked_at_again_by_the_coordinator() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(&folder.path().join("data")).await;
    let text = with("file", "warm_start: {csv: known.csv}");
    let path = cli_support::write_spec(folder.path(), &text);
    let csv = |rows: &str| {
        let header = "hyperparameters.x,hyperparameters.y,score\n";
        std::fs::write(folder.path().join("known.csv"), format!("{header}{rows}")).unwrap();
    };
    let address = server.endpoint.uri().to_string();
    let submit = || {
        let path = path.clone();
        let address = address.clone();
        tokio::task::spawn_blocking(move || {
            espalier()
                .arg("submit")
                .arg(path)
                .args(["--address", &address])
                .output()
                .unwrap()
        })
    };
    csv("0.5,9,0.1\n");
    let wrong = submit().await.unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let message = stderr(&wrong);
    assert!(
        message.contains(
            "known.csv: warm_start.csv: line 2: the decision hyperparameters.y cannot be 9"
        ),
        "{message}"
    );
    csv("0.5,3,0.1\n0.125,2,\n");
    let done = submit().await.unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let mut worker = server.worker("only", 1).await;
    let job = worker.one().await;
    assert_eq!(
        serde_json::to_value(&job.decisions).unwrap()["hyperparameters.x"],
        0.125
    );

    // A client of its own may send anything.
    let request = |warm_start_json: &str| v1::CreateRequest {
        spec: text.clone(),
        file: "spec.yaml".to_owned(),
        warm_start_json: warm_start_json.to_owned(),
        ..Default::default()
    };
    for (json, told) in [
        ("", "was not sent"),
        ("[1]", "warm_start_json"),
        (
            r#"[{"decisions": {"hyperparameters.x": 2, "hyperparameters.y": 1}}]"#,
            "candidate 1: the decision hyperparameters.x cannot be 2",
        ),
    ] {
        let refused = server.searches().create(request(json)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(told), "{refused}");
    }
    server.stop().await;
}
