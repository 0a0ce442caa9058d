//! What the coordinator measures, as a page that Prometheus reads. Counters and histograms belong to whoever
//! counts; gauges are set when the page is read, from what the actors have left behind, so that reading it asks
//! no actor and does not wait for the journal. May import everything that is measured, `prometheus-client` and
//! axum.

mod catalogue;
mod http;
mod snapshot;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

use crate::access::CallMeters;
use crate::clock;
use crate::journal::JournalMeters;
use catalogue::{Catalogue, Entry};
pub(crate) use http::with_page;
use snapshot::Snapshot;
pub(crate) use snapshot::Sources;

/// One label and its value.
type Label = [(&'static str, &'static str); 1];
type Gauges = Family<Label, Gauge>;

/// How long searchers took to answer, by their names.
#[derive(Clone, Debug)]
pub(crate) struct AskTimes(Family<Label, Histogram, fn() -> Histogram>);

impl Default for AskTimes {
    fn default() -> Self {
        // From a draw at random to a model of thousands of trials: 1 ms to 4 minutes.
        let times = || Histogram::new(exponential_buckets(0.001, 4.0, 10));
        Self(Family::new_with_constructor(times))
    }
}

impl AskTimes {
    /// Those of one searcher.
    pub(crate) fn of(&self, searcher: &'static str) -> Histogram {
        self.0.get_or_create_owned(&[("searcher", searcher)])
    }
}

/// The page.
pub(crate) struct Page {
    catalogue: Catalogue,
    /// Set and read by one reader at a time.
    gauges: Mutex<PageGauges>,
}

#[derive(Default)]
struct PageGauges {
    searches: Gauges,
    trials: Gauges,
    leases: Gauges,
    workers: Gauges,
    slots: Gauge,
    slots_busy: Gauge,
    slots_wanted: Gauge,
    queue_length: Gauges,
    journal_queue: Gauge,
    journal_size: Gauge,
    artifacts: Gauge,
    artifacts_size: Gauge,
    data_free: Gauge,
    log_lines_lost: Counter,
}

impl Page {
    /// A page with the instruments of those who count.
    pub(crate) fn new(asks: &AskTimes, journal: &JournalMeters, calls: &CallMeters) -> Self {
        let mut catalogue = Catalogue::default();
        let gauges = PageGauges::default();
        add_process(&mut catalogue, &gauges);
        add_work(&mut catalogue, &gauges);
        catalogue.add(
            Entry {
                name: "ask_duration",
                unit: Some(Unit::Seconds),
                label: Some(("searcher", "the searcher's name")),
                meaning: "How long a searcher took to propose a candidate",
            },
            asks.0.clone(),
        );
        add_journal(&mut catalogue, &gauges, journal);
        add_calls(&mut catalogue, calls);
        Self {
            catalogue,
            gauges: Mutex::new(gauges),
        }
    }

    /// The page as it is now.
    pub(crate) fn text(&self, now: &Snapshot) -> Result<String, std::fmt::Error> {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.set(now);
        self.catalogue.text()
    }
}

/// A metric without a label and without a unit.
fn plain(name: &'static str, meaning: &'static str) -> Entry {
    Entry {
        name,
        unit: None,
        label: None,
        meaning,
    }
}

fn add_process(catalogue: &mut Catalogue, gauges: &PageGauges) {
    let version = Gauges::default();
    let label = [("version", env!("CARGO_PKG_VERSION"))];
    version.get_or_create(&label).set(1);
    catalogue.add(
        Entry {
            label: Some(("version", "the coordinator's")),
            ..plain("build_info", "1")
        },
        version,
    );
    let started: Gauge = Gauge::default();
    started.set(i64::try_from(clock::now_ms() / 1_000).unwrap_or(i64::MAX));
    catalogue.add(
        Entry {
            unit: Some(Unit::Seconds),
            ..plain(
                "start_time",
                "When the coordinator was started, in Unix time",
            )
        },
        started,
    );
    let lost =
        "Lines of its log that could not be written: the disk is full, or their reader is gone";
    catalogue.add(plain("log_lines_lost", lost), gauges.log_lines_lost.clone());
}

fn add_work(catalogue: &mut Catalogue, gauges: &PageGauges) {
    let by = |name, label, values, meaning| Entry {
        label: Some((label, values)),
        ..plain(name, meaning)
    };
    let phases = "`running`, `paused`, `finishing`, `finished`";
    let states = "`queued`, `running`, `completed`, `failed`, `infeasible`, `cancelled`";
    catalogue.add(
        by("searches", "state", phases, "Searches"),
        gauges.searches.clone(),
    );
    let meaning = "Trials of all searches; `running` counts training jobs that run, those of the end of a \
                   search among them";
    catalogue.add(
        by("trials", "state", states, meaning),
        gauges.trials.clone(),
    );
    let meaning =
        "Leases that are held: their job runs, or is done and the weights are on their way";
    let values = "`running`, `uploading`";
    catalogue.add(
        by("leases", "phase", values, meaning),
        gauges.leases.clone(),
    );
    let meaning =
        "Registered workers; a paused one gets no jobs for a while, since jobs kept failing on it";
    let values = "`serving`, `paused`";
    catalogue.add(
        by("workers", "state", values, meaning),
        gauges.workers.clone(),
    );
    let meaning = "Slots of all registered workers";
    catalogue.add(plain("slots", meaning), gauges.slots.clone());
    let meaning = "Slots that a lease holds, as `espalier status` counts them";
    catalogue.add(plain("slots_busy", meaning), gauges.slots_busy.clone());
    let meaning = "Slots that searches could fill now, those that they fill among them: of each search what is \
                   left of `budget.trials`, and `parallel` at most (1,024 where neither bounds it); of one that is \
                   paused or ends, what it still needs";
    catalogue.add(plain("slots_wanted", meaning), gauges.slots_wanted.clone());
    let meaning = "Messages that wait for the dispatcher, and for all searches together";
    let values = "`dispatcher`, `searches`";
    catalogue.add(
        by("queue_length", "queue", values, meaning),
        gauges.queue_length.clone(),
    );
}

fn add_journal(catalogue: &mut Catalogue, gauges: &PageGauges, journal: &JournalMeters) {
    let bytes = |name, meaning| Entry {
        unit: Some(Unit::Bytes),
        ..plain(name, meaning)
    };
    catalogue.add(
        Entry {
            unit: Some(Unit::Seconds),
            ..plain(
                "journal_commit_duration",
                "How long commits of the journal took, with the fsync; many events share one",
            )
        },
        journal.commit_seconds.clone(),
    );
    catalogue.add(
        plain("journal_records", "Events that have become durable"),
        journal.records.clone(),
    );
    let meaning = "Events that wait for the journal's writer; 16 MiB at most, then callers wait";
    catalogue.add(
        bytes("journal_queue", meaning),
        gauges.journal_queue.clone(),
    );
    let meaning = "The journal's file and the log beside it";
    catalogue.add(bytes("journal_size", meaning), gauges.journal_size.clone());
    let meaning = "Artifacts that are stored; looked at every 15 seconds at most";
    catalogue.add(plain("artifacts", meaning), gauges.artifacts.clone());
    let meaning = "Artifacts that are stored, together";
    catalogue.add(
        bytes("artifacts_size", meaning),
        gauges.artifacts_size.clone(),
    );
    let meaning = "Room on the disk of the data folder; 0 where the system does not say";
    catalogue.add(bytes("data_free", meaning), gauges.data_free.clone());
}

fn add_calls(catalogue: &mut Catalogue, calls: &CallMeters) {
    let meaning = "Calls that were not let in";
    catalogue.add(
        Entry {
            label: Some((
                "reason",
                "as in the log, such as `no token` or `wrong role`",
            )),
            ..plain("calls_refused", meaning)
        },
        calls.refused.clone(),
    );
    let meaning = "Calls that were let in and answered with an error; not those that failed half way through a \
                   stream";
    catalogue.add(
        Entry {
            label: Some(("code", "the gRPC code, such as `not_found`")),
            ..plain("calls_failed", meaning)
        },
        calls.failed.clone(),
    );
}

impl PageGauges {
    fn set(&self, now: &Snapshot) {
        let by = |family: &Gauges, label, value, number| {
            set(&family.get_or_create(&[(label, value)]), number);
        };
        for (state, number) in now.searches() {
            by(&self.searches, "state", state, number);
        }
        for (state, number) in now.trials() {
            by(&self.trials, "state", state, number);
        }
        let (running, uploading) = now.leases();
        by(&self.leases, "phase", "running", running);
        by(&self.leases, "phase", "uploading", uploading);
        let serving = now.workers.saturating_sub(now.paused_workers);
        by(&self.workers, "state", "serving", serving);
        by(&self.workers, "state", "paused", now.paused_workers);
        set(&self.slots, now.slots);
        set(&self.slots_busy, now.slots_busy);
        set(&self.slots_wanted, now.slots_wanted());
        by(
            &self.queue_length,
            "queue",
            "dispatcher",
            now.dispatcher_queue,
        );
        by(
            &self.queue_length,
            "queue",
            "searches",
            now.searches_queue(),
        );
        set(&self.journal_queue, now.journal_queue_bytes);
        set(&self.journal_size, now.journal_bytes);
        set(&self.artifacts, now.artifacts.files);
        set(&self.artifacts_size, now.artifacts.bytes);
        set(&self.data_free, now.data_free_bytes);
        let counted = self.log_lines_lost.get();
        let more = now.log_lines_lost.saturating_sub(counted);
        self.log_lines_lost.inc_by(more);
    }
}

fn set(gauge: &Gauge, number: u64) {
    gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
}

/// What the page is made from, for whoever reads it.
pub(crate) struct Metrics {
    pub(crate) page: Page,
    pub(crate) sources: Sources,
}

pub(crate) type SharedMetrics = Arc<Metrics>;
