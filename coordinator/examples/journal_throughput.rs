//! How many records a second the journal makes durable, and how fast it reads them again:
//! `cargo run --release -p espalier-coordinator --example journal_throughput -- [FOLDER] [TRIALS]`.
//!
//! 64 tasks append one trial after the other, each as the coordinator would: proposed and leased, a
//! measurement, completed; and each waits until a batch is durable before it makes the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber, WorkerId};
use espalier_coordinator::journal::{
    Batch, Journal, JournalError, JournalHandle, Record, RowChange, States, StreamId,
};
use espalier_core::search::TrialState;

const TASKS: u32 = 64;
/// The length of an event's body: a candidate with some twenty decisions.
const BODY: usize = 800;

/// Records of about the right size; a listing of these trials is not asked for.
fn body(kind: &str, trial: u32) -> String {
    let start = format!("{{\"{kind}\":{{\"trial\":{trial},\"filler\":\"");
    let filler = "x".repeat(BODY - start.len());
    format!("{start}{filler}\"}}}}")
}

fn proposed(trial: TrialNumber) -> Vec<Record> {
    let attempt = AttemptNumber(1);
    let worker = WorkerId(uuid::Uuid::from_u128(9));
    let state = TrialState::Queued;
    vec![
        Record {
            body: body("trial_proposed", trial.0),
            rows: vec![RowChange::AddTrial {
                trial,
                state,
                key: Some(Digest::of(&trial.0.to_le_bytes())),
            }],
        },
        Record {
            body: body("job_leased", trial.0),
            rows: vec![RowChange::StartAttempt {
                trial,
                attempt,
                worker,
            }],
        },
    ]
}

fn completed(trial: TrialNumber) -> Vec<Record> {
    let attempt = AttemptNumber(1);
    let worker = WorkerId(uuid::Uuid::from_u128(9));
    let score = f64::from(trial.0.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX);
    let rows = vec![
        RowChange::AddMeasurement {
            trial,
            attempt,
            step: 1,
            metrics: format!("{{\"accuracy\":{score},\"loss\":{score}}}"),
        },
        RowChange::CompleteTrial {
            trial,
            attempt,
            worker,
            score,
            utility: score,
            weights: None,
        },
        RowChange::AddSeconds {
            trial,
            seconds: 1.0,
        },
    ];
    vec![Record {
        body: body("trial_completed", trial.0),
        rows,
    }]
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

async fn trials(
    journal: JournalHandle,
    stream: StreamId,
    next: Arc<AtomicU32>,
    count: u32,
) -> Result<Vec<u64>, JournalError> {
    let mut waits = Vec::new();
    loop {
        let trial = next.fetch_add(1, Ordering::Relaxed);
        if trial > count {
            return Ok(waits);
        }
        for records in [proposed(TrialNumber(trial)), completed(TrialNumber(trial))] {
            let start = Instant::now();
            journal
                .commit(Batch {
                    stream,
                    time_ms: now_ms(),
                    records,
                    after: None,
                })
                .await?;
            waits.push(start.elapsed().as_micros() as u64);
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir_in(".")?;
    let folder = arguments
        .next()
        .map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let count: u32 = arguments.next().map_or(Ok(50_000), |text| text.parse())?;
    let stream = StreamId::Search(SearchId(uuid::Uuid::from_u128(1)));

    let journal = Journal::open(&folder)?.start()?;
    let next = Arc::new(AtomicU32::new(1));
    let start = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| tokio::spawn(trials(journal.clone(), stream, next.clone(), count)))
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await??);
    }
    let seconds = start.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!(
        "{count} trials of 3 records in {seconds:.2} s: {:.0} trials/s, {:.0} records/s",
        f64::from(count) / seconds,
        f64::from(count) * 3.0 / seconds
    );
    println!(
        "a batch is durable after (ms): median {:.1}, 99% {:.1}, 99.9% {:.1}, longest {:.1}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    let start = Instant::now();
    journal.close().await;
    println!("closed in {:.2} s", start.elapsed().as_secs_f64());

    let journal = Journal::open(&folder)?;
    let start = Instant::now();
    let mut bytes = 0;
    let end = journal.reader().replay(stream, |_, _, body| {
        bytes += body.len();
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} records, {} MB read and checked in {seconds:.2} s: {:.0} records/s",
        end.sequence,
        bytes / 1_000_000,
        end.sequence as f64 / seconds
    );
    let start = Instant::now();
    let search = SearchId(uuid::Uuid::from_u128(1));
    let none =
        journal
            .reader()
            .trials(search, TrialNumber(0), 10, States::from(TrialState::Failed))?;
    println!(
        "{} failed trials found in {:.1} ms",
        none.trials.len(),
        start.elapsed().as_secs_f64() * 1000.0
    );
    Ok(())
}
