//! Rows for listings: what they say, and that they can be thrown away.

use espalier_core::search::{Phase, TrialState};

use super::*;
use crate::journal::{JournalError, MAX_ROWS, States};

/// Every row of the tables for listings, as text.
fn dump(folder: &Path) -> Vec<String> {
    let connection = sqlite(folder);
    let mut all = Vec::new();
    for table in ["search", "trial", "measurement"] {
        let mut statement = connection
            .prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2, 3"))
            .unwrap();
        let columns = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values = (0..columns).map(|column| format!("{:?}", row.get_ref(column).unwrap()));
            all.push(format!("{table} {}", values.collect::<Vec<_>>().join(", ")));
        }
    }
    all
}

#[tokio::test]
async fn a_trial_is_listed_with_all_that_became_of_it() {
    let folder = written(&history()).await;
    let journal = Journal::open(folder.path()).unwrap();
    let trials = journal
        .reader()
        .trials(SEARCH, TrialNumber(0), 10, States::ANY)
        .unwrap();
    let states: Vec<_> = trials
        .iter()
        .map(|trial| (trial.number.0, trial.state))
        .collect();
    assert_eq!(
        states,
        [
            (1, TrialState::Completed),
            (2, TrialState::Infeasible),
            (3, TrialState::Failed),
            (4, TrialState::Cancelled)
        ]
    );
    let best = &trials[0];
    assert_eq!(best.candidate, candidate(1));
    assert_eq!(best.candidate_id, Some(Digest::of(&1_u32.to_le_bytes())));
    assert_eq!((best.parameters, best.macs), (Some(1000), Some(5000)));
    assert_eq!((best.score, best.attempts), (Some(0.25), 4));
    assert_eq!(best.seconds, 1.5 + 2.0 + 0.5);
    assert_eq!(best.worker, Some(WORKER));
    assert_eq!(best.weights, Some(Digest::of(b"weights")));
    // Attempt 1 brought the score, though attempts 2 to 4 came after it.
    let measured = best.measured.as_ref().unwrap();
    assert_eq!((measured.attempt.0, measured.step), (1, 3));
    assert_eq!(measured.metrics.get("loss"), Some(0.25));
    // The event before the last of the history is this trial's last.
    assert_eq!(best.updated_ms, 1000 + history().len() as u64 - 2);
    assert_eq!(trials[1].reason.as_deref(), Some("too wide"));
    assert_eq!(trials[1].candidate, candidate(2));
    assert_eq!(trials[2].reason.as_deref(), Some("loss is NaN"));
    assert_eq!(trials[2].attempts, 2);
    let one = journal.reader().trial(SEARCH, TrialNumber(3)).unwrap();
    assert_eq!(one.as_ref(), Some(&trials[2]));
    let none = journal.reader().trial(SEARCH, TrialNumber(5)).unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
async fn a_trial_is_followed_from_attempt_to_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    let mut time_ms = 1000;
    let mut after = async |event: Event| {
        time_ms += 1;
        let one = batch(STREAM, time_ms, &[event]);
        journal.commit(one).await.unwrap();
        let trial = journal.reader().trial(SEARCH, TrialNumber(1)).unwrap();
        trial.map(|trial| {
            let step = trial.measured.map(|measured| measured.step);
            assert_eq!(trial.updated_ms, time_ms);
            (trial.state, trial.attempts, step)
        })
    };
    use TrialState::{Completed, Queued, Running};
    assert_eq!(after(created()).await, None);
    assert_eq!(after(proposed(1)).await, Some((Queued, 0, None)));
    assert_eq!(after(leased(1, 1)).await, Some((Running, 1, None)));
    assert_eq!(
        after(measured(1, 1, 1, 0.5)).await,
        Some((Running, 1, Some(1)))
    );
    assert_eq!(
        after(measured(1, 1, 2, 0.4)).await,
        Some((Running, 1, Some(2)))
    );
    assert_eq!(after(failed(1, 1)).await, Some((Queued, 1, Some(2))));
    assert_eq!(after(leased(1, 2)).await, Some((Running, 2, None)));
    let end = completed(1, 2, vec![measurement(3, 0.3)], 0.3);
    assert_eq!(after(end).await, Some((Completed, 2, Some(3))));
    // What is completed stays so when it is trained once more and that fails.
    assert_eq!(after(leased(1, 3)).await, Some((Completed, 3, Some(3))));
    let again = batch(STREAM, 2000, &[failed(1, 3)]);
    journal.commit(again).await.unwrap();
    let trial = journal.reader().trial(SEARCH, TrialNumber(1)).unwrap();
    assert_eq!(trial.unwrap().state, Completed);
}

#[tokio::test]
async fn an_event_that_contradicts_the_rows_does_not_stop_the_journal() {
    let odd = [
        created(),
        created(),
        proposed(1),
        proposed(1),
        leased(9, 1),
        measured(1, 1, 1, 0.5),
        measured(1, 1, 1, 0.5),
        completed(8, 1, vec![measurement(1, 0.5)], 0.5),
        Event::TrialCancelled {
            trial: TrialNumber(7),
        },
    ];
    let folder = written(&odd).await;
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(records(journal.reader(), STREAM).len(), odd.len());
}

#[tokio::test]
async fn the_best_come_first_and_of_equal_ones_the_lower_number() {
    let mut events = vec![created()];
    let scores = [0.5, 0.25, 0.75, 0.25, 0.125, 0.25, 1.0];
    events.extend((1..=9).map(proposed));
    // Completed in another order than proposed.
    for (number, score) in (1..8_u32).zip(scores).rev() {
        events.push(leased(number, 1));
        events.push(completed(number, 1, vec![measurement(1, score)], score));
    }
    let folder = written(&events).await;
    let journal = Journal::open(folder.path()).unwrap();
    let best = journal.reader().best(SEARCH, 5).unwrap();
    let numbers: Vec<_> = best.iter().map(|trial| trial.number.0).collect();
    assert_eq!(numbers, [5, 2, 4, 6, 1]);
    assert_eq!(journal.reader().best(SEARCH, 100).unwrap().len(), 7);
}

#[tokio::test]
async fn trials_are_listed_page_by_page_and_by_state() {
    let mut events = vec![created()];
    for number in 1..=25 {
        events.push(match number % 5 {
            0 => refused(number),
            _ => proposed(number),
        });
    }
    let folder = written(&events).await;
    let journal = Journal::open(folder.path()).unwrap();
    let list = |states: States| {
        let mut all = Vec::new();
        loop {
            let after = TrialNumber(all.last().copied().unwrap_or(0));
            let page = journal.reader().trials(SEARCH, after, 4, states).unwrap();
            assert!(page.len() <= 4);
            if page.is_empty() {
                return all;
            }
            all.extend(page.iter().map(|trial| trial.number.0));
        }
    };
    assert_eq!(list(States::ANY), (1..=25).collect::<Vec<_>>());
    assert_eq!(list(TrialState::Infeasible.into()), [5, 10, 15, 20, 25]);
    assert_eq!(list(States::NONE), [0_u32; 0]);
    let both = States::from_iter([TrialState::Queued, TrialState::Infeasible]);
    assert_eq!(list(both).len(), 25);
    assert_eq!(list(TrialState::Running.into()), [0_u32; 0]);
}

#[tokio::test]
async fn searches_are_listed_with_where_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    let searches: Vec<_> = (1..=5)
        .rev()
        .map(|number| SearchId(Uuid::from_u128(number)))
        .collect();
    journal
        .commit(plain(StreamId::Cluster, 1, &["{}"]))
        .await
        .unwrap();
    for (search, time_ms) in searches.iter().zip(10..) {
        let one = batch(StreamId::Search(*search), time_ms, &[created()]);
        journal.commit(one).await.unwrap();
    }
    let paused = PauseReason::Failure("no such file".to_owned());
    let events = [Event::SearchPaused {
        reason: paused.clone(),
    }];
    let one = batch(StreamId::Search(searches[1]), 20, &events);
    journal.commit(one).await.unwrap();
    let reason = FinishReason::Stopped;
    let events = [
        Event::SearchFinishing {
            reason: reason.clone(),
        },
        Event::SearchFinished {
            reason: reason.clone(),
            shortfall: None,
        },
    ];
    let one = batch(StreamId::Search(searches[2]), 20, &events);
    journal.commit(one).await.unwrap();

    let first = journal.reader().searches(None, 3).unwrap();
    let rest = journal
        .reader()
        .searches(Some(searches[2]), MAX_ROWS)
        .unwrap();
    let ids = first.iter().chain(&rest).map(|row| row.search);
    assert_eq!(ids.collect::<Vec<_>>(), searches);
    assert_eq!(first[0].name, "a search");
    assert_eq!((first[0].created_ms, first[0].events), (10, 1));
    let phases: Vec<_> = first.into_iter().map(|row| row.phase).collect();
    assert_eq!(
        phases,
        [
            Phase::Running,
            Phase::Paused(paused),
            Phase::Finished(reason)
        ]
    );
    let unknown = journal.reader().searches(Some(SEARCH), 1);
    assert!(matches!(unknown, Err(JournalError::NoStream(_))));
    let unknown = journal.reader().best(SEARCH, 1);
    assert!(matches!(unknown, Err(JournalError::NoStream(_))));
}

#[tokio::test]
async fn rows_made_again_are_the_rows_that_were_made() {
    let folder = written(&history()).await;
    let incremental = dump(folder.path());
    // The search, four trials, four measurements.
    assert_eq!(incremental.len(), 1 + 4 + 4, "{incremental:#?}");
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.rebuild_projections().unwrap();
    drop(journal);
    assert_eq!(dump(folder.path()), incremental);
}

#[tokio::test]
async fn rows_of_another_version_are_made_again_when_the_journal_is_opened() {
    let folder = written(&history()).await;
    let incremental = dump(folder.path());
    sqlite(folder.path())
        .execute_batch(
            "UPDATE journal SET projection = 0; DROP TABLE trial; DELETE FROM measurement;
             UPDATE search SET name = 'wrong';",
        )
        .unwrap();
    drop(Journal::open(folder.path()).unwrap());
    assert_eq!(dump(folder.path()), incremental);
}

#[tokio::test]
async fn rows_are_not_made_from_a_damaged_stream() {
    let folder = written(&history()).await;
    sqlite(folder.path())
        .execute_batch(
            "UPDATE journal SET projection = 0;
             UPDATE record SET time_ms = 0 WHERE row % (1 << 40) = 6;",
        )
        .unwrap();
    let error = Journal::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("record 6 of stream"), "{error}");
}
