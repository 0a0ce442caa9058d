//! Writes the journal that a search of many trials leaves, with the core and the journal themselves but
//! without the network in between.

use std::path::Path;

use espalier_common::ids::{SearchId, WorkerId};
use espalier_common::job::LeasedJob;
use espalier_common::metrics::{Measurement, Metrics};
use espalier_coordinator::journal::{
    Batch, Journal, JournalHandle, Listing, Record, StreamId, rows,
};
use espalier_core::search::{Command, Completion, Definition, Event, Reply, Search, step};
use espalier_core::searcher::Proposer;
use uuid::Uuid;

use crate::load::spec;

/// Records of one batch.
const BATCH: usize = 1_000;

struct Writer {
    journal: JournalHandle,
    search: Search,
    proposer: Proposer,
    records: Vec<Record>,
    time_ms: u64,
}

/// Writes a journal of `trials` completed trials with three measurements each, and some more in the budget.
pub(crate) async fn write(folder: &Path, trials: u32) {
    let text = spec(trials + 10);
    let spec = espalier_common::spec::read(&text, "load.yaml").expect("a spec");
    let definition = Definition::new(spec, text, None, None);
    let created = Event::SearchCreated {
        definition: Box::new(definition),
    };
    let id = SearchId(Uuid::new_v4());
    let search = Search::from_first_event(id, &created, 1).expect("the first event");
    let proposer = Proposer::new(search.definition());
    let opened = Journal::open(folder).expect("a journal");
    let journal = opened.start().expect("a writer");
    let mut writer = Writer {
        journal,
        search,
        proposer,
        records: Vec::new(),
        time_ms: 1,
    };
    writer.record(created);
    let worker = WorkerId(Uuid::new_v4());
    for trial in 0..trials {
        writer.time_ms += 1;
        let answer = writer.proposer.ask(u64::from(trial) + 1);
        writer.step(answer.into());
        let lease = Command::LeaseJobs {
            worker,
            slots: 1,
            can_test: false,
            can_resume: false,
            retries: std::collections::BTreeSet::new(),
        };
        let Reply::Leased(jobs) = writer.step(lease) else {
            unreachable!("a lease is answered with jobs");
        };
        for job in jobs {
            writer.run_job(worker, &job);
        }
        if writer.records.len() >= BATCH {
            writer.flush().await;
        }
    }
    writer.flush().await;
    writer.journal.close().await;
}

impl Writer {
    fn run_job(&mut self, worker: WorkerId, job: &LeasedJob) {
        let (trial, attempt) = (job.trial, job.attempt);
        let measurement = |step: u32| Measurement {
            step,
            metrics: Metrics::from([("score", f64::from(trial.0) / f64::from(step))]),
        };
        for number in 1..=2 {
            self.step(Command::ReportMeasurement {
                worker,
                trial,
                attempt,
                number,
                measurement: measurement(number),
            });
        }
        self.step(Command::CompleteJob {
            worker,
            trial,
            attempt,
            completion: Completion {
                measurements: vec![measurement(3)],
                seconds: 1.0,
                ..Completion::default()
            },
        });
    }

    fn step(&mut self, command: Command) -> Reply {
        let outcome = step(&mut self.search, command, self.time_ms).expect("accepted");
        for event in outcome.events {
            self.proposer.recorded(&event);
            self.record(event);
        }
        for effect in outcome.effects {
            if let espalier_core::search::Effect::Tell(observation) = effect {
                self.proposer.tell(&observation);
            }
        }
        outcome.reply
    }

    fn record(&mut self, event: Event) {
        let listing = Listing::of(self.search.definition());
        self.records.push(Record {
            body: serde_json::to_string(&event).expect("JSON"),
            rows: rows(&listing, &event),
        });
    }

    async fn flush(&mut self) {
        let batch = Batch {
            stream: StreamId::Search(self.search.id()),
            time_ms: self.time_ms,
            records: std::mem::take(&mut self.records),
            after: None,
        };
        self.journal.commit(batch).await.expect("durable");
    }
}
