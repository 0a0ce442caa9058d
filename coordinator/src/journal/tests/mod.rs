//! Tests of the journal, and the histories they write.

mod bodies;
mod chain;
mod commit;
mod damage;
mod goldens;
mod listings;
mod recovery;
mod results;

use std::path::Path;

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::job::Job;
use espalier_common::metrics::{Direction, Measurement, Metrics, Objective};
use espalier_common::observation::Origin;
use espalier_common::space::Space;
use espalier_common::spec::{Budget, EvaluatorSpec, SearcherSpec, Spec};
use espalier_core::search::{
    Definition, Event, FinishReason, PauseReason, Prepared, Refusal, Refused, ReleaseReason,
    TrialOf,
};
use uuid::Uuid;

use super::{Batch, Journal, JournalHandle, JournalReader, Listing, Record, StreamId, rows};

const SEARCH: SearchId = SearchId(Uuid::from_u128(7));
const STREAM: StreamId = StreamId::Search(SEARCH);
const OTHER: SearchId = SearchId(Uuid::from_u128(8));
const WORKER: WorkerId = WorkerId(Uuid::from_u128(70));

fn objective() -> Objective {
    Objective {
        metric: "loss".to_owned(),
        direction: Direction::Minimize,
    }
}

fn listing() -> Listing {
    match created() {
        Event::SearchCreated { definition } => Listing::of(&definition),
        other => panic!("{other:?}"),
    }
}

fn created() -> Event {
    let spec = Spec {
        repeat: espalier_common::spec::Repeat::Never,
        reuse: false,
        warm_start: None,
        name: "a search".to_owned(),
        dataset: None,
        space: Space::default(),
        evaluator: EvaluatorSpec::Named("mine".to_owned()),
        searcher: SearcherSpec::Random {},
        objective: objective(),
        constraints: Vec::new(),
        budget: Budget::default(),
        parallel: None,
        weight: 1,
        worker: Default::default(),
        seed: 1,
        attempts: 3,
    };
    Event::SearchCreated {
        definition: Box::new(Definition::new(
            spec,
            "name: a search".to_owned(),
            None,
            None,
        )),
    }
}

fn candidate(number: u32) -> Candidate {
    let width = (
        DecisionPath("width".to_owned()),
        Value::Integer(number.into()),
    );
    Candidate([width].into())
}

fn origin() -> Origin {
    Origin::new("random", "random")
}

fn proposed(trial: u32) -> Event {
    Event::TrialProposed {
        ask: trial.into(),
        told: 0,
        heard: Some(0),
        trial: TrialNumber(trial),
        proposal: Box::new(Prepared {
            candidate: candidate(trial),
            candidate_id: Digest::of(&trial.to_le_bytes()),
            origin: origin(),
            memo: None,
            parameters: Some(1000),
            macs: Some(5000),
        }),
    }
}

fn refused(trial: u32) -> Event {
    Event::ProposalRefused {
        ask: trial.into(),
        refusal: Refusal {
            candidate: candidate(trial),
            origin: origin(),
            memo: None,
            refused: Refused::Infeasible {
                trial: TrialNumber(trial),
                candidate_id: None,
                reason: "too wide".to_owned(),
            },
        },
    }
}

fn leased(trial: u32, attempt: u32) -> Event {
    Event::JobLeased {
        trial: TrialNumber(trial),
        attempt: AttemptNumber(attempt),
        worker: WORKER,
        job: Job::train(3),
    }
}

fn measurement(step: u32, loss: f64) -> Measurement {
    Measurement {
        step,
        metrics: Metrics::from([("loss", loss)]),
    }
}

fn measured(trial: u32, attempt: u32, step: u32, loss: f64) -> Event {
    Event::Measured {
        trial: TrialNumber(trial),
        attempt: AttemptNumber(attempt),
        number: step,
        measurement: measurement(step, loss),
    }
}

fn completed(trial: u32, attempt: u32, measurements: Vec<Measurement>, score: f64) -> Event {
    Event::TrialCompleted {
        trial: TrialNumber(trial),
        attempt: AttemptNumber(attempt),
        worker: WORKER,
        measurements,
        score,
        step: 3,
        seconds: 1.5,
        weights: Some(Digest::of(b"weights")),
        upload: true,
    }
}

/// A trial with a result of trial 7 of another search.
fn reused(trial: u32) -> Event {
    Event::TrialReused {
        trial: TrialNumber(trial),
        from: TrialOf {
            search: OTHER,
            trial: TrialNumber(7),
        },
        measurement: measurement(3, 0.5),
        score: 0.5,
        weights: None,
    }
}

fn failed(trial: u32, attempt: u32) -> Event {
    Event::AttemptFailed {
        trial: TrialNumber(trial),
        attempt: AttemptNumber(attempt),
        failure: Failure::new(FailureDomain::Worker, FailureKind::Crashed, "it crashed"),
    }
}

/// A history in which every kind of event occurs.
pub(crate) fn history() -> Vec<Event> {
    let trial = TrialNumber;
    let attempt = AttemptNumber;
    let weights = Digest::of(b"weights");
    vec![
        created(),
        proposed(1),
        refused(2),
        proposed(3),
        Event::ProposalRefused {
            ask: 4,
            refusal: Refusal {
                candidate: candidate(1),
                origin: origin(),
                memo: None,
                refused: Refused::Duplicate { of: trial(1) },
            },
        },
        leased(1, 1),
        measured(1, 1, 1, 0.9),
        Event::LeaseExpired {
            trial: trial(1),
            attempt: attempt(1),
        },
        leased(1, 2),
        measured(1, 2, 1, 0.8),
        leased(3, 1),
        failed(3, 1),
        Event::SearchPaused {
            reason: PauseReason::User,
        },
        // The first attempt, taken for lost, is back.
        completed(1, 1, vec![measurement(2, 0.5), measurement(3, 0.25)], 0.25),
        Event::AttemptReleased {
            trial: trial(1),
            attempt: attempt(2),
            reason: ReleaseReason::Superseded,
        },
        Event::SearchResumed,
        Event::SearchRecovered,
        leased(3, 2),
        failed(3, 2),
        Event::TrialFailed {
            trial: trial(3),
            failure: Failure::new(
                FailureDomain::Candidate,
                FailureKind::Diverged,
                "loss is NaN",
            ),
        },
        Event::WeightsStored {
            trial: trial(1),
            attempt: attempt(1),
            weights,
        },
        proposed(4),
        Event::ProposalsEnded {
            ask: 5,
            heard: Some(3),
            reason: "all seen".to_owned(),
        },
        Event::SearchFinishing {
            reason: FinishReason::Exhausted("all seen".to_owned()),
        },
        Event::TrialCancelled { trial: trial(4) },
        leased(1, 3),
        proposed(5),
        reused(5),
        Event::TrialRetrained {
            trial: trial(1),
            attempt: attempt(3),
            seconds: 2.0,
            weights,
            upload: false,
        },
        Event::JobLeased {
            trial: trial(1),
            attempt: attempt(4),
            worker: WORKER,
            job: Job::Test { weights },
        },
        Event::TestCompleted {
            trial: trial(1),
            attempt: attempt(4),
            metrics: Metrics::from([("loss", 0.3)]),
            seconds: 0.5,
        },
        Event::SearchFinished {
            reason: FinishReason::Exhausted("all seen".to_owned()),
            shortfall: None,
        },
    ]
}

fn batch(stream: StreamId, time_ms: u64, events: &[Event]) -> Batch {
    let records = events.iter().map(|event| Record {
        body: serde_json::to_string(event).unwrap(),
        rows: rows(&listing(), event),
    });
    Batch {
        stream,
        time_ms,
        records: records.collect(),
        after: None,
    }
}

/// A batch that changes no rows.
fn plain(stream: StreamId, time_ms: u64, bodies: &[&str]) -> Batch {
    let records = bodies.iter().map(|body| Record {
        body: (*body).to_owned(),
        rows: Vec::new(),
    });
    Batch {
        stream,
        time_ms,
        records: records.collect(),
        after: None,
    }
}

/// Commits each event as a batch of its own, at 1,000 ms and a millisecond later each.
pub(crate) async fn commit_each(journal: &JournalHandle, events: &[Event]) {
    for (event, time_ms) in events.iter().zip(1000..) {
        let one = batch(STREAM, time_ms, std::slice::from_ref(event));
        journal.commit(one).await.unwrap();
    }
}

/// A folder whose journal holds these events, and is closed.
pub(crate) async fn written(events: &[Event]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    commit_each(&journal, events).await;
    journal.close().await;
    folder
}

/// Every record of a stream: sequence, time, body.
fn records(reader: &JournalReader, stream: StreamId) -> Vec<(u64, u64, String)> {
    let mut found = Vec::new();
    let end = reader
        .replay(stream, |sequence, time_ms, body| {
            found.push((sequence, time_ms, body.to_owned()));
            Ok(())
        })
        .unwrap();
    assert_eq!(end.sequence, found.len() as u64);
    found
}

/// The file as plain SQLite, behind the journal's back.
pub(crate) fn sqlite(folder: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.join(super::FILE)).unwrap()
}
