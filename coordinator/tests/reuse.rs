//! Two searches of one journal, one after the other: what the first has trained the second takes.

mod support;

use std::collections::BTreeMap;

use espalier_common::ids::Digest;
use espalier_common::job::LeasedJob;
use espalier_proto::v1;
use support::{TestServer, assert_exact, score, spec};

/// Two decisions of three alternatives: nine candidates, which two seeds find in another order.
fn small(name: &str, trials: u32, more: &str) -> String {
    format!(
        "name: {name}\nhyperparameters: {{x: {{choice: [0, 1, 2]}}, y: {{choice: [0, 1, 2]}}}}\n\
         evaluator: scripted\nsearcher: random\nobjectives: [{{maximize: score}}]\n\
         budget: {{trials: {trials}}}\n{more}"
    )
}

fn candidates(trials: &[v1::Trial]) -> BTreeMap<String, &v1::Trial> {
    let named = trials
        .iter()
        .map(|trial| (trial.candidate_json.clone(), trial));
    named.collect()
}

async fn run(server: &TestServer, text: &str, name: &str) -> (Vec<LeasedJob>, v1::SearchStatus) {
    server.create(text).await;
    let mut worker = server.worker(name, 1).await;
    let mut ran = Vec::new();
    worker.work(300, |job| ran.push(job.clone())).await;
    (ran, server.finished(name).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_search_trains_only_what_the_first_has_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let (ran, first) = run(&server, &small("first", 6, "seed: 1\n"), "first").await;
    assert_eq!(ran.len(), 6);
    let trained = server.trials("first").await;
    let trained = candidates(&trained);

    // The whole space: six candidates are there, three are left to train.
    let (ran, second) = run(
        &server,
        &small("second", 9, "seed: 2\nreuse: true\n"),
        "second",
    )
    .await;
    let shared =
        |job: &LeasedJob| trained.contains_key(&serde_json::to_string(&job.decisions).unwrap());
    assert_eq!(
        (ran.len(), ran.iter().filter(|job| shared(job)).count()),
        (3, 0)
    );
    let counts = second.counts.unwrap();
    assert_eq!((counts.completed, counts.reused, counts.leased), (9, 6, 3));
    for trial in server.trials("second").await {
        let Some(original) = trained.get(&trial.candidate_json) else {
            assert_eq!(trial.reused_from, None);
            continue;
        };
        assert_eq!((trial.score, trial.attempts), (original.score, 0));
        assert_eq!(trial.metrics, original.metrics);
        let from = trial.reused_from.unwrap();
        assert_eq!(
            (from.search, from.trial),
            (first.id.clone(), original.number)
        );
        assert!(
            trial.reason.starts_with("reused: trial "),
            "{}",
            trial.reason
        );
    }

    // Without `reuse` nothing is taken, and a reused result is passed on under its first name.
    let (ran, _) = run(&server, &small("third", 9, "seed: 2\n"), "third").await;
    assert_eq!(ran.len(), 9);
    let before = server.trials("second").await;
    server.stop().await;

    // What was reused is in the journal: a restart asks nothing again.
    let server = TestServer::start(folder.path()).await;
    assert_eq!(server.trials("second").await, before);
    assert_eq!(server.status("second").await.counts, second.counts);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_circumstances_are_another_result() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    run(&server, &small("first", 9, ""), "first").await;
    let longer = small("longer", 9, "training: {epochs: 2}\nreuse: true\n");
    let (ran, status) = run(&server, &longer, "longer").await;
    assert_eq!((ran.len(), status.counts.unwrap().reused), (9, 0));
    let other = small("other", 9, "reuse: true\n").replace("maximize: score", "minimize: regret");
    server.create(&other).await;
    let mut worker = server.worker("other", 1).await;
    let job = worker.one().await;
    assert_eq!(
        job.search_name, "other",
        "a result without the metric that is sought is none"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_weights_of_a_reused_best_are_kept_by_both_searches() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let content = b"the weights of the first";
    let digest = Digest::of(content).to_string();
    server.create(&small("first", 1, "seed: 3\n")).await;
    let mut worker = server.worker("only", 1).await;
    let job = worker.one().await;
    worker
        .complete_with(&job, score(&job.decisions), &digest)
        .await
        .unwrap();
    worker.upload(&job, &digest, content).await.unwrap();
    server.finished("first").await;

    let text = small("second", 1, "seed: 3\nreuse: true\n");
    server.create(&text).await;
    worker.work(300, |_| {}).await;
    let second = server.finished("second").await;
    assert_eq!(second.counts.unwrap().reused, 1);
    let listed = server.trials("second").await;
    assert_eq!(listed[0].weights, digest, "claimed, not trained again");
    server.stop().await;

    let server = TestServer::start(folder.path()).await;
    let path = folder
        .path()
        .join("artifacts")
        .join(&digest[..2])
        .join(&digest[2..]);
    assert!(path.exists(), "{} was swept away", path.display());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_whose_all_candidates_are_reused_needs_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    run(&server, &small("first", 9, ""), "first").await;
    server
        .create(&small("second", 9, "seed: 5\nreuse: true\n"))
        .await;
    // A slot that waits is what makes a search ask; it gets no job.
    let mut worker = server.worker("idle", 1).await;
    assert!(worker.lease(1, 2_000).await.unwrap().is_empty());
    let status = server.finished("second").await;
    assert_eq!(status.counts.unwrap().reused, 9);
    assert!(
        status.reason.contains("nothing more to propose"),
        "{}",
        status.reason
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_reuses_nothing_is_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("plain", 5)).await;
    let mut worker = server.worker("only", 1).await;
    worker.work(300, |_| {}).await;
    let trials = assert_exact(&server, "plain", 5).await;
    assert!(trials.iter().all(|trial| trial.reused_from.is_none()));
    server.stop().await;
}
