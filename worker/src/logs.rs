//! What evaluators print, on its way to the coordinator, where it is kept with its trial. Best effort: a line that
//! finds no room, or no coordinator for long, is lost and counted; nothing waits for it. May import proto, common
//! and the runtime's logging.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use espalier_common::ids::{AttemptKey, AttemptNumber, SearchId, TrialNumber, WorkerId};
use espalier_proto::{attempt_to_wire, uuid_to_wire, v1};
use espalier_runtime::logging;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::client::Client;

/// Lines that wait: a chatty trial's, while the coordinator is away for a moment.
const QUEUE: usize = 4_096;
/// Lines of one message, and about as many bytes as one has.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Lines that come one by one are sent together.
const GATHER: Duration = Duration::from_millis(250);
/// How often one message is tried, with a wait between: a coordinator that restarts is back by then.
const TRIES: u32 = 10;
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// For the last lines at the end, and how often it is looked whether they are sent.
const END_LIMIT: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The target of what evaluators print.
const EVALUATOR: &str = "evaluator";

/// Of a line of the log, what is sent.
#[derive(Debug, Deserialize)]
struct Printed {
    target: String,
    level: String,
    message: String,
    search: SearchId,
    trial: u32,
    attempt: u32,
    slot: u32,
    evaluator: String,
}

/// What waits to be sent.
#[derive(Debug)]
pub(crate) struct Lines {
    queue: mpsc::Receiver<v1::LogLine>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Lines that wait or are on their way.
    waiting: AtomicU64,
    /// Lines that found no room, since the last message.
    lost: AtomicU64,
}

impl Counts {
    /// Waits until everything is sent, but not for long: a worker that ends has better things to do.
    pub(crate) async fn sent(&self) {
        let looks = END_LIMIT.as_millis() / LOOK_EVERY.as_millis();
        for _ in 0..looks {
            if self.waiting.load(Ordering::Relaxed) == 0 {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Takes in what evaluators print from now on.
pub(crate) fn tap() -> Lines {
    let (sender, queue) = mpsc::channel(QUEUE);
    let counts = Arc::new(Counts::default());
    let counter = Arc::clone(&counts);
    logging::tap(move |text| {
        // Most lines are not about an attempt, and fail at once.
        let Some(line) = parse(text) else { return };
        counter.waiting.fetch_add(1, Ordering::Relaxed);
        if sender.try_send(line).is_err() {
            counter.waiting.fetch_sub(1, Ordering::Relaxed);
            counter.lost.fetch_add(1, Ordering::Relaxed);
        }
    });
    Lines { queue, counts }
}

impl Lines {
    /// What is counted of them.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

fn parse(text: &str) -> Option<v1::LogLine> {
    let line: Printed = serde_json::from_str(text).ok()?;
    let key = AttemptKey {
        search: line.search,
        trial: TrialNumber(line.trial),
        attempt: AttemptNumber(line.attempt),
    };
    (line.target == EVALUATOR).then(|| v1::LogLine {
        attempt: Some(attempt_to_wire(key)),
        slot: line.slot,
        evaluator: line.evaluator,
        level: line.level,
        text: line.message,
    })
}

/// Sends lines for as long as the worker runs.
pub(crate) async fn send(mut lines: Lines, client: Client, worker: WorkerId) {
    while let Some(first) = lines.queue.recv().await {
        // More of them are on their way.
        tokio::time::sleep(GATHER).await;
        let mut bytes = first.text.len();
        let mut batch = vec![first];
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Ok(line) = lines.queue.try_recv() else {
                break;
            };
            bytes += line.text.len();
            batch.push(line);
        }
        let count = batch.len() as u64;
        let request = v1::LogRequest {
            worker: uuid_to_wire(worker.0),
            lines: batch,
            lost: lines.counts.lost.swap(0, Ordering::Relaxed),
        };
        let lost = request.lost;
        if !deliver(&client, request).await {
            let lost = count + lost;
            lines.counts.lost.fetch_add(lost, Ordering::Relaxed);
        }
        lines.counts.waiting.fetch_sub(count, Ordering::Relaxed);
    }
}

async fn deliver(client: &Client, request: v1::LogRequest) -> bool {
    for _ in 0..TRIES {
        match client.log(request.clone()).await {
            Ok(_) => return true,
            Err(status) if !crate::client::is_transient(&status) => return false,
            Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_evaluator_prints_about_an_attempt_is_sent_and_nothing_else() {
        let line = |target: &str, rest: &str| {
            format!(
                "{{\"timestamp\":\"t\",\"level\":\"INFO\",\"message\":\"epoch 1\",\"slot\":1,\
                 \"evaluator\":\"mine\",\"target\":\"{target}\"{rest}}}\n"
            )
        };
        let attempt =
            ",\"search\":\"00000000-0000-0000-0000-000000000001\",\"trial\":3,\"attempt\":2";
        let sent = parse(&line(EVALUATOR, attempt)).unwrap();
        assert_eq!(
            (sent.text.as_str(), sent.level.as_str()),
            ("epoch 1", "INFO")
        );
        assert_eq!(sent.attempt.unwrap().trial, 3);
        assert!(parse(&line(EVALUATOR, "")).is_none(), "between jobs");
        assert!(parse(&line("espalier_worker::slot", attempt)).is_none());
        assert!(parse("no JSON").is_none());
    }
}
