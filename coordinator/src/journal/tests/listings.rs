//! Rows for listings: what they say, and that they can be thrown away.

use espalier_core::search::TrialState;

use super::*;
use crate::journal::{JournalError, MAX_PAGE_BYTES, MAX_ROWS, States, TrialRow};

/// Every row of the tables for listings, as text.
fn dump(folder: &Path) -> Vec<String> {
    let connection = sqlite(folder);
    let mut all = Vec::new();
    for table in ["trial", "weights", "measurement", "result"] {
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
        .unwrap()
        .trials;
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
            (4, TrialState::Cancelled),
            (5, TrialState::Completed)
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
    let reused = &trials[4];
    let from = reused.from.unwrap();
    assert_eq!((from.search, from.trial.0, reused.attempts), (OTHER, 7, 0));
    assert_eq!(
        (reused.score, reused.measured.as_ref().unwrap().step),
        (Some(0.5), 3)
    );
}

/// The first trial, if there is one.
fn first(journal: &JournalHandle) -> Option<TrialRow> {
    let page = journal
        .reader()
        .trials(SEARCH, TrialNumber(0), 1, States::ANY);
    page.unwrap().trials.pop()
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
        first(&journal).map(|trial| {
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
    assert_eq!(first(&journal).unwrap().state, Completed);
}

#[tokio::test]
async fn weights_are_listed_with_the_best_trial_of_which_they_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    let mut events = vec![created()];
    for (number, loss) in [(1, 0.5), (2, 0.25), (3, 0.125), (4, 0.125)] {
        events.extend([proposed(number), leased(number, 1)]);
        events.push(completed(number, 1, vec![measurement(1, loss)], loss));
    }
    commit_each(&journal, &events).await;
    let after = async |number: u32| {
        let stored = Event::WeightsStored {
            trial: TrialNumber(number),
            attempt: AttemptNumber(1),
            weights: Digest::of(&number.to_le_bytes()),
        };
        journal
            .commit(batch(STREAM, 2000, &[stored]))
            .await
            .unwrap();
        let page = journal
            .reader()
            .trials(SEARCH, TrialNumber(0), 10, States::ANY);
        let trials = page.unwrap().trials.into_iter();
        let stored = trials.filter_map(|trial| Some((trial.number.0, trial.weights?)));
        let stored: Vec<_> = stored.collect();
        let [(kept, weights)] = stored[..] else {
            panic!("of one trial: {stored:?}")
        };
        assert_eq!(weights, Digest::of(&kept.to_le_bytes()));
        kept
    };
    assert_eq!(after(1).await, 1);
    assert_eq!(after(3).await, 3);
    assert_eq!(after(2).await, 3, "an upload that ended late");
    assert_eq!(after(4).await, 3, "of equal ones the lower number");
    assert_eq!(after(3).await, 3);
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
            assert!(page.trials.len() <= 4);
            all.extend(page.trials.iter().map(|trial| trial.number.0));
            if !page.more {
                return all;
            }
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
async fn a_page_is_bound_in_bytes_too_and_the_next_goes_on_behind_it() {
    // Each takes a good hundredth of a page, so that bytes are what ends every page but the last.
    const LONG: usize = MAX_PAGE_BYTES / 100;
    let mut events = vec![created()];
    for number in 1..=250 {
        let Event::TrialProposed {
            mut proposal,
            ask,
            told,
            heard,
            trial,
        } = proposed(number)
        else {
            panic!("proposed() proposes")
        };
        let text = Value::Text("x".repeat(LONG));
        proposal
            .candidate
            .0
            .insert(DecisionPath("long".to_owned()), text);
        events.push(Event::TrialProposed {
            ask,
            told,
            heard,
            trial,
            proposal,
        });
    }
    let folder = written(&events).await;
    let journal = Journal::open(folder.path()).unwrap();
    let (mut pages, mut numbers) = (0, Vec::new());
    loop {
        let after = TrialNumber(numbers.last().copied().unwrap_or(0));
        let page = journal
            .reader()
            .trials(SEARCH, after, MAX_ROWS, States::ANY)
            .unwrap();
        let sent = page
            .trials
            .iter()
            .map(|trial| serde_json::to_string(&trial.candidate).unwrap().len());
        let sent: usize = sent.sum();
        assert!(sent <= MAX_PAGE_BYTES, "{sent} bytes");
        pages += 1;
        numbers.extend(page.trials.iter().map(|trial| trial.number.0));
        if !page.more {
            break;
        }
    }
    assert_eq!(numbers, (1..=250).collect::<Vec<_>>());
    assert_eq!(pages, 3, "99 on a page");
}

#[tokio::test]
async fn a_search_that_is_not_there_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let unknown = journal.reader().best(SEARCH, 1);
    assert!(matches!(unknown, Err(JournalError::NoStream(_))));
}

#[tokio::test]
async fn rows_made_again_are_the_rows_that_were_made() {
    let folder = written(&history()).await;
    let incremental = dump(folder.path());
    // Five trials, the weights of one, five measurements, one result to be reused.
    assert_eq!(incremental.len(), 5 + 1 + 5 + 1, "{incremental:#?}");
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
             UPDATE weights SET trial = 0;",
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
