//! Every table, text and JSON form from fixed wire messages, as reviewed.

use espalier_proto::v1;

use super::samples::{completed, finished, id, reused, running};
use super::*;

fn trials() -> Vec<v1::Trial> {
    let failed = v1::Trial {
        state: "failed".to_owned(),
        attempts: 3,
        score: None,
        metrics: Vec::new(),
        reason: "loss is NaN:\ntraining diverged".to_owned(),
        weights: String::new(),
        ..completed(8, 0.0)
    };
    let infeasible = v1::Trial {
        number: 9,
        state: "infeasible".to_owned(),
        candidate_json: r#"{"network[0].kernel":31}"#.to_owned(),
        reason: "network[0] (conv): a kernel of 31 does not fit 28 × 28".to_owned(),
        ..Default::default()
    };
    vec![
        completed(7, 0.901_234),
        failed,
        infeasible,
        reused(10, 0.8951),
    ]
}

fn cluster() -> v1::ClusterStatus {
    v1::ClusterStatus {
        cluster: id(1),
        version: "0.1.0".to_owned(),
        workers: vec![
            v1::Worker {
                id: id(2),
                name: "node-a".to_owned(),
                slots: 2,
                held: vec![v1::Attempt {
                    search: running().id,
                    trial: 12,
                    attempt: 1,
                }],
                evaluators: vec!["trainer".to_owned()],
                missing_datasets: Vec::new(),
                device: "cpu".to_owned(),
                last_seen_ms_ago: 1_200,
                version: "0.1.0".to_owned(),
                labels: [("zone", "a"), ("gpu", "h100")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
            },
            v1::Worker {
                id: id(3),
                name: "node-b".to_owned(),
                slots: 1,
                held: Vec::new(),
                evaluators: vec!["trainer".to_owned(), "mine".to_owned()],
                missing_datasets: vec!["ab".repeat(32)],
                device: "cuda:0".to_owned(),
                last_seen_ms_ago: 300,
                version: "0.1.0".to_owned(),
                labels: Default::default(),
            },
        ],
        slots: 3,
        busy: 1,
        waiting: vec![v1::Waiting {
            search: finished().id,
            reason: "no worker offers the evaluator \"table\"".to_owned(),
        }],
    }
}

fn name(id: &[u8]) -> Option<String> {
    (id == running().id).then(|| "fashion-mnist".to_owned())
}

#[test]
fn searches_as_a_table() {
    insta::assert_snapshot!(searches_table(&[running(), finished()], None));
}

#[test]
fn no_searches_are_a_header() {
    insta::assert_snapshot!(searches_table(&[], None));
}

#[test]
fn a_running_search_that_waits() {
    let mut status = running();
    status.counts.as_mut().unwrap().running = 0;
    insta::assert_snapshot!(status_text(&status, Some("no worker is connected")));
}

#[test]
fn a_search_that_runs_does_not_wait_but_could_run_more() {
    let busy = "all slots of the 1 worker that fits are busy";
    let text = status_text(&running(), Some(busy));
    let line = format!("waiting    could run more: {busy}\n");
    assert!(text.contains(&line), "{text}");
    let mut cluster = cluster();
    for (search, says) in [(running().id, "could run more"), (finished().id, "waits")] {
        cluster.waiting = vec![v1::Waiting {
            search,
            reason: busy.to_owned(),
        }];
        let text = cluster_text(&cluster, |_| Some("it".to_owned()), None);
        assert!(text.ends_with(&format!("\nit {says}: {busy}\n")), "{text}");
    }
    cluster.workers.truncate(1);
    let text = cluster_text(&cluster, |_| None, None);
    assert!(text.contains(": 1 worker, "), "{text}");
}

#[test]
fn why_a_search_is_paused_is_said_once() {
    let mut status = running();
    (status.phase, status.reason) = ("paused".to_owned(), "paused by the user (a@b)".to_owned());
    let text = status_text(&status, Some("paused by the user"));
    assert_eq!(text.matches("paused by the user").count(), 1, "{text}");
}

#[test]
fn a_finished_search() {
    insta::assert_snapshot!(status_text(&finished(), None));
}

#[test]
fn a_search_on_one_line() {
    insta::assert_snapshot!(status_line(&finished()));
}

#[test]
fn trials_as_a_table() {
    insta::assert_snapshot!(trials_table(&trials(), None));
}

#[test]
fn a_table_keeps_to_the_width_of_a_terminal_by_breaking_its_last_column() {
    let text = trials_table(&trials(), Some(110));
    assert!(
        text.lines().all(|line| line.chars().count() <= 110),
        "{text}"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn a_terminal_without_a_size_does_not_squeeze_a_table() {
    assert_eq!(
        trials_table(&trials(), Some(0)),
        trials_table(&trials(), None)
    );
}

#[test]
fn the_best_as_a_table() {
    let best = [completed(7, 0.901_234), completed(3, 0.87)];
    insta::assert_snapshot!(best_table(&best, "accuracy", None));
}

#[test]
fn the_cluster() {
    insta::assert_snapshot!(cluster_text(&cluster(), name, None));
}

#[test]
fn a_search_as_json() {
    insta::assert_json_snapshot!(SearchView::new(&finished(), None));
}

#[test]
fn a_search_without_a_result_as_json() {
    let status = v1::SearchStatus {
        best_score: None,
        best_trial: None,
        ..running()
    };
    insta::assert_json_snapshot!(SearchView::new(&status, Some("paused".to_owned())));
}

#[test]
fn trials_as_json() {
    let views: Vec<_> = trials().iter().map(TrialView::from).collect();
    insta::assert_json_snapshot!(views);
}

#[test]
fn the_cluster_as_json() {
    insta::assert_json_snapshot!(ClusterView::from(&cluster()));
}

#[test]
fn a_change_of_a_watched_search_as_json() {
    let reply = v1::WatchReply {
        status: None,
        changes: vec![v1::TrialChange {
            trial: 7,
            state: "completed".to_owned(),
            attempt: 1,
            score: Some(0.9),
            reason: String::new(),
            worker: "worker-1".to_owned(),
            step: 3,
            time_ms: 1_795_490_700_000,
        }],
    };
    insta::assert_json_snapshot!(UpdateView::from(&reply));
}
