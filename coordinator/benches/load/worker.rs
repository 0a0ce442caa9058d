//! A synthetic worker: it speaks to the coordinator as `espalier-worker` does (one Lease call at a time, Renew by
//! the coordinator's own interval, Report and Complete), and its evaluator is a clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use espalier_proto::v1::worker_service_client::WorkerServiceClient;
use espalier_proto::{MAX_LEASE_WAIT_MS, MAX_MESSAGE_BYTES, v1};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::transport::Channel;
use tonic::{Response, Status};
use uuid::Uuid;

/// As of a worker: a call that is no long poll is answered by then.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// What a trial is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// How long it takes on average; from half of that to half as much again.
    pub(crate) trial: Duration,
    /// Measurements that are reported on the way; one more comes with its completion.
    pub(crate) reports: u32,
    /// Every so manieth trial takes `long`; 0: none does.
    pub(crate) long_every: u32,
    /// Longer than a lease lives, so that heartbeats alone keep it.
    pub(crate) long: Duration,
}

impl Work {
    fn duration(&self, trial: u32) -> Duration {
        if self.long_every > 0 && trial.is_multiple_of(self.long_every) {
            return self.long;
        }
        self.trial
            .mul_f64(0.5 + f64::from(number(trial)) / f64::from(u32::MAX))
    }
}

/// Some number that differs from trial to trial; nobody learns from it.
fn number(trial: u32) -> u32 {
    trial.wrapping_mul(2_654_435_761)
}

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Renew,
    Report,
    Complete,
}

/// What all workers together have seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) completed: AtomicU64,
    pub(crate) calls: AtomicU64,
    /// Calls that were refused, or not answered in time.
    failed: AtomicU64,
    first_failure: Mutex<Option<String>>,
    times: Mutex<BTreeMap<Call, Vec<Duration>>>,
}

impl Tally {
    pub(crate) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// How many calls were refused or not answered, and what was said of the first.
    pub(crate) fn failures(&self) -> (u64, String) {
        let failed = self.failed.load(Ordering::Relaxed);
        let first = self.first_failure.lock();
        let first = first.unwrap_or_else(PoisonError::into_inner);
        (failed, first.clone().unwrap_or_default())
    }

    /// How long calls of a kind took, in the order in which they ended.
    pub(crate) fn times(&self, call: Call) -> Vec<Duration> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.get(&call).cloned().unwrap_or_default()
    }

    fn note_failure(&self, what: &str, status: &Status) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let first = self.first_failure.lock();
        let mut first = first.unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| format!("{what}: {status}"));
    }

    async fn timed<T>(
        &self,
        call: Call,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Option<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        let answer = timeout(CALL_LIMIT, answer).await;
        let took = start.elapsed();
        let times = self.times.lock();
        let mut times = times.unwrap_or_else(PoisonError::into_inner);
        times.entry(call).or_default().push(took);
        drop(times);
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
        answer
            .map(Response::into_inner)
            .inspect_err(|status| self.note_failure(&format!("{call:?}"), status))
            .ok()
    }
}

/// A registered worker.
pub(crate) struct Worker {
    client: WorkerServiceClient<Channel>,
    id: Vec<u8>,
    slots: u32,
    renew_every: Duration,
}

/// What ended.
enum Ended {
    Lease(Option<v1::LeaseReply>),
    Renew,
    /// The job of a place among the slots.
    Job(usize),
}

type Calls = FuturesUnordered<BoxFuture<'static, Ended>>;

impl Worker {
    pub(crate) async fn register(channel: Channel, name: &str, slots: u32) -> Result<Self, Status> {
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let id = Uuid::new_v4().as_bytes().to_vec();
        let register = v1::RegisterRequest {
            worker: id.clone(),
            name: name.to_owned(),
            slots,
            evaluators: vec![v1::EvaluatorOffer {
                name: "null-objective".to_owned(),
                jobs: vec!["train".to_owned()],
                checkpoints: false,
            }],
            device: "cpu".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: Vec::new(),
            protocol: espalier_proto::PROTOCOL_VERSION,
            labels: std::collections::HashMap::default(),
            home: Vec::new(),
            results: Vec::new(),
        };
        let welcome = client.register(register).await?.into_inner();
        Ok(Self {
            client,
            id,
            slots,
            renew_every: Duration::from_millis(welcome.renew_every_ms),
        })
    }

    /// Works until it is dropped. Whatever goes wrong is counted, and it goes on.
    pub(crate) async fn work(self, work: Work, tally: Arc<Tally>) {
        let mut held: Vec<Option<v1::Attempt>> = vec![None; self.slots as usize];
        let mut calls = Calls::new();
        let (mut call, mut leasing, mut renewing) = (0, false, false);
        // As if the workers had been started one by one, at any time.
        let phase = f64::from(self.id[0]) / 256.0 + f64::from(self.id[1]) / 65_536.0;
        let mut renew_at = Instant::now() + self.renew_every.mul_f64(phase);
        loop {
            let free = held.iter().filter(|place| place.is_none()).count();
            if free > 0 && !leasing {
                leasing = true;
                call += 1;
                calls.push(self.lease(call, free, &tally));
            }
            tokio::select! {
                Some(ended) = calls.next() => match ended {
                    Ended::Lease(reply) => {
                        leasing = false;
                        let leases = reply.map_or_else(Vec::new, |reply| reply.leases);
                        for attempt in leases.into_iter().filter_map(|lease| lease.attempt) {
                            let place = held.iter().position(Option::is_none);
                            let place = place.expect("no more is leased than was asked for");
                            held[place] = Some(attempt.clone());
                            calls.push(self.job(place, attempt, work, &tally));
                        }
                    }
                    // What is to be dropped is not looked at: a job that has ended meanwhile is among it, and
                    // the calls of one that was taken away are refused, which counts.
                    Ended::Renew => {
                        renewing = false;
                        renew_at = Instant::now() + self.renew_every;
                    }
                    Ended::Job(place) => held[place] = None,
                },
                () = sleep_until(renew_at), if !renewing => {
                    renewing = true;
                    calls.push(self.renew(&held, call - u64::from(leasing), &tally));
                }
            }
        }
    }

    fn lease(&self, call: u64, free: usize, tally: &Arc<Tally>) -> BoxFuture<'static, Ended> {
        let request = v1::LeaseRequest {
            worker: self.id.clone(),
            call,
            free_slots: u32::try_from(free).unwrap_or(u32::MAX),
            wait_ms: MAX_LEASE_WAIT_MS,
            missing_datasets: Vec::new(),
        };
        let (mut client, tally) = (self.client.clone(), Arc::clone(tally));
        Box::pin(async move {
            tally.calls.fetch_add(1, Ordering::Relaxed);
            match client.lease(request).await {
                Ok(reply) => Ended::Lease(Some(reply.into_inner())),
                Err(status) => {
                    tally.note_failure("Lease", &status);
                    sleep(Duration::from_secs(1)).await;
                    Ended::Lease(None)
                }
            }
        })
    }

    fn renew(
        &self,
        held: &[Option<v1::Attempt>],
        calls_ended: u64,
        tally: &Arc<Tally>,
    ) -> BoxFuture<'static, Ended> {
        let request = v1::RenewRequest {
            worker: self.id.clone(),
            held: held.iter().flatten().cloned().collect(),
            calls_ended,
        };
        let (mut client, tally) = (self.client.clone(), Arc::clone(tally));
        Box::pin(async move {
            tally.timed(Call::Renew, client.renew(request)).await;
            Ended::Renew
        })
    }

    /// Does a job: measurements at equal distances, then its completion.
    fn job(
        &self,
        place: usize,
        attempt: v1::Attempt,
        work: Work,
        tally: &Arc<Tally>,
    ) -> BoxFuture<'static, Ended> {
        let (id, client, tally) = (self.id.clone(), self.client.clone(), Arc::clone(tally));
        Box::pin(async move {
            let steps = work.reports + 1;
            let step_time = work.duration(attempt.trial) / steps;
            for step in 1..=steps {
                if !step_time.is_zero() {
                    sleep(step_time).await;
                }
                let measurement = measurement(step, attempt.trial);
                let (worker, attempt) = (id.clone(), Some(attempt.clone()));
                let mut client = client.clone();
                if step < steps {
                    let request = v1::ReportRequest {
                        worker,
                        attempt,
                        measurement: Some(measurement),
                        number: step,
                    };
                    tally.timed(Call::Report, client.report(request)).await;
                    continue;
                }
                let request = v1::CompleteRequest {
                    worker,
                    attempt,
                    measurements: vec![measurement],
                    test_metrics: Vec::new(),
                    seconds: step_time.as_secs_f64() * f64::from(steps),
                    weights: String::new(),
                };
                let answer = tally.timed(Call::Complete, client.complete(request)).await;
                if answer.is_some() {
                    tally.completed.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ended::Job(place)
        })
    }
}

fn measurement(step: u32, trial: u32) -> v1::Measurement {
    v1::Measurement {
        step,
        metrics: vec![v1::Metric {
            name: "score".to_owned(),
            value: f64::from(number(trial) >> 8) + f64::from(step),
        }],
    }
}
