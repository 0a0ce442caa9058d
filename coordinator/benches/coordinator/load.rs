//! Synthetic workers with a null objective: every job is completed at once, with one measurement.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use espalier_proto::v1;
use espalier_proto::v1::worker_service_client::WorkerServiceClient;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::server::{Running, processor_seconds, resident};

/// What a run of trials came to.
pub(crate) struct Load {
    /// Over all trials but the first window.
    pub(crate) trials_per_second: f64,
    pub(crate) calls_per_trial: f64,
    /// Processor time of workers and coordinator together.
    pub(crate) seconds_per_trial: f64,
    /// The same in the last window alone.
    pub(crate) last_seconds_per_trial: f64,
    pub(crate) bytes_per_trial: f64,
}

/// Six categorical decisions of five values, and a real one so that the space has no end.
pub(crate) fn spec(trials: u32) -> String {
    let choices: String = (0..6)
        .map(|index| format!("  c{index}: {{choice: [0, 1, 2, 3, 4]}}\n"))
        .collect();
    format!(
        "name: load\nhyperparameters:\n{choices}  r: {{range: [0.0, 1.0]}}\nevaluator: null-objective\n\
         searcher: random\nobjectives: [{{maximize: score}}]\nbudget: {{trials: {trials}}}\nseed: 1\n"
    )
}

#[derive(Default)]
struct Counters {
    completed: AtomicU64,
    calls: AtomicU64,
}

/// Runs `trials` trials to their end.
pub(crate) async fn run(
    server: &Running,
    workers: usize,
    slots: u32,
    trials: u32,
    window: u32,
) -> Load {
    let counters = Arc::new(Counters::default());
    let create = v1::CreateRequest {
        spec: spec(trials),
        file: "load.yaml".to_owned(),
        dataset_json: String::new(),
        table_json: String::new(),
        warm_start_json: String::new(),
        id: Vec::new(),
    };
    let mut searches = server.searches().await;
    searches.create(create).await.expect("a search");
    let mut ready = Vec::with_capacity(workers);
    for number in 0..workers {
        let channel = server.endpoint.connect().await.expect("it listens");
        ready.push(Worker::register(channel, number, slots).await);
    }
    // All at once, for the first thousands of trials are measured as well.
    let mut tasks = JoinSet::new();
    for worker in ready {
        tasks.spawn(worker.work(slots, Arc::clone(&counters)));
    }
    let marks = watch(&counters, trials, window).await;
    tasks.shutdown().await;
    let get = v1::GetRequest {
        search: "load".to_owned(),
    };
    let status = searches.get(get).await.expect("a status").into_inner();
    let counts = status.counts.unwrap_or_default();
    assert_eq!(
        (status.phase.as_str(), counts.completed),
        ("finished", trials)
    );
    summarise(&marks, &counters)
}

/// A moment at which so many trials were completed.
struct Mark {
    completed: u64,
    calls: u64,
    at: Instant,
    processor: f64,
    resident: u64,
}

/// Notes a mark at every window.
async fn watch(counters: &Counters, trials: u32, window: u32) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    let mut next = 0;
    loop {
        let completed = counters.completed.load(Ordering::Relaxed);
        if completed >= next {
            marks.push(Mark {
                completed,
                calls: counters.calls.load(Ordering::Relaxed),
                at: Instant::now(),
                processor: processor_seconds(),
                resident: resident(),
            });
            next = completed + u64::from(window);
        }
        // The last few wait for workers whose polls are answered last.
        if completed + u64::from(window) / 100 >= u64::from(trials) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    while counters.completed.load(Ordering::Relaxed) < u64::from(trials) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    marks
}

fn summarise(marks: &[Mark], counters: &Counters) -> Load {
    let (first, last) = (&marks[1], &marks[marks.len() - 1]);
    let per_trial =
        |a: &Mark, b: &Mark| (b.at - a.at).as_secs_f64() / (b.completed - a.completed) as f64;
    let cost =
        |a: &Mark, b: &Mark| (b.processor - a.processor) / (b.completed - a.completed) as f64;
    let costs: Vec<String> = marks
        .windows(2)
        .map(|pair| format!("{:.0}", 1e6 * cost(&pair[0], &pair[1])))
        .collect();
    println!("processor us/trial  {}", costs.join(" "));
    let rates: Vec<String> = marks
        .windows(2)
        .map(|pair| format!("{:.0}", 1.0 / per_trial(&pair[0], &pair[1])))
        .collect();
    println!("trials/s by window  {}", rates.join(" "));
    let total = counters.completed.load(Ordering::Relaxed) as f64;
    let grown = last.resident.saturating_sub(first.resident) as f64;
    Load {
        trials_per_second: 1.0 / per_trial(first, last),
        calls_per_trial: last.calls as f64 / total,
        seconds_per_trial: cost(first, last),
        last_seconds_per_trial: cost(&marks[marks.len() - 2], last),
        bytes_per_trial: grown / (last.completed - first.completed) as f64,
    }
}

struct Worker {
    client: WorkerServiceClient<Channel>,
    id: Vec<u8>,
}

impl Worker {
    async fn register(channel: Channel, number: usize, slots: u32) -> Self {
        let mut client = WorkerServiceClient::new(channel);
        let id = Uuid::new_v4().as_bytes().to_vec();
        let register = v1::RegisterRequest {
            worker: id.clone(),
            name: format!("synthetic-{number}"),
            slots,
            evaluators: vec![v1::EvaluatorOffer {
                name: "null-objective".to_owned(),
                jobs: vec!["train".to_owned()],
                checkpoints: false,
            }],
            device: "cpu".to_owned(),
            version: String::new(),
            cluster: Vec::new(),
            protocol: espalier_proto::PROTOCOL_VERSION,
            labels: std::collections::HashMap::default(),
            home: Vec::new(),
            results: Vec::new(),
        };
        client.register(register).await.expect("registered");
        Self { client, id }
    }

    /// Leases for whatever is free, one call at a time, and completes every job as soon as it has it.
    async fn work(self, slots: u32, counters: Arc<Counters>) {
        let mut free = slots;
        let mut call = 0;
        let mut leasing = FuturesUnordered::new();
        let mut completing = FuturesUnordered::new();
        loop {
            if free > 0 && leasing.is_empty() {
                call += 1;
                counters.calls.fetch_add(1, Ordering::Relaxed);
                leasing.push(self.lease(call, free));
            }
            tokio::select! {
                Some(leases) = leasing.next() => {
                    for lease in leases {
                        free -= 1;
                        counters.calls.fetch_add(1, Ordering::Relaxed);
                        completing.push(self.complete(lease));
                    }
                }
                Some(()) = completing.next() => {
                    free += 1;
                    counters.completed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    async fn lease(&self, call: u64, free_slots: u32) -> Vec<v1::Lease> {
        let request = v1::LeaseRequest {
            worker: self.id.clone(),
            call,
            free_slots,
            wait_ms: 10_000,
            missing_datasets: Vec::new(),
        };
        let reply = self.client.clone().lease(request).await;
        reply.expect("a lease").into_inner().leases
    }

    async fn complete(&self, lease: v1::Lease) {
        let attempt = lease.attempt.expect("an attempt");
        // Some number that differs from trial to trial; nobody learns from it.
        let value = f64::from(attempt.trial.wrapping_mul(2_654_435_761) >> 8);
        let request = v1::CompleteRequest {
            worker: self.id.clone(),
            attempt: Some(attempt),
            measurements: vec![v1::Measurement {
                step: 1,
                metrics: vec![v1::Metric {
                    name: "score".to_owned(),
                    value,
                }],
            }],
            test_metrics: Vec::new(),
            seconds: 0.001,
            weights: String::new(),
        };
        let reply = self.client.clone().complete(request).await;
        reply.expect("completed");
    }
}
