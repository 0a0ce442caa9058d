//! What an attempt found out, on its way to the coordinator: measurements in order while it runs, then
//! how it ended. While the coordinator is away everything waits and training goes on. May import proto,
//! common, runtime, tokio.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use espalier_common::ids::{AttemptKey, WorkerId};
use espalier_common::metrics::Measurement;
use espalier_proto::{attempt_to_wire, measurement_to_wire, metrics_to_wire, uuid_to_wire, v1};
use espalier_runtime::backoff::Waits;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

use crate::cache::digest_of;
use crate::client::{Client, MOST_REFUSALS, Refusals, is_transient, persistently};
use crate::left_file;
use crate::session::Event;
use crate::spool::{Completion, Spool, Spooled};
use crate::stop::{Stop, StopHandle, StopSignal};
use crate::transfer::{Transfers, Upload, blocking};

/// Measurements of one attempt that may wait while the coordinator is away.
pub(crate) const MAX_WAITING: usize = 10_000;

/// Everything that delivers for this worker. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// The coordinator.
    pub(crate) client: Client,
    /// This instance.
    pub(crate) worker: WorkerId,
    /// Completions on disk.
    pub(crate) spool: Spool,
    /// Weights.
    pub(crate) transfers: Transfers,
    /// The session.
    pub(crate) events: mpsc::Sender<Event>,
}

/// Reports the measurements of one running attempt in order.
#[derive(Debug)]
pub(crate) struct Reporter {
    queue: mpsc::Sender<Measurement>,
    closing: CancellationToken,
    // Ends with the attempt, however that ends.
    task: AbortOnDropHandle<VecDeque<Measurement>>,
}

/// What a job that was broken off has left.
#[derive(Debug)]
pub(crate) struct Left<'a> {
    /// Its scratch folder.
    pub(crate) scratch: Option<&'a Path>,
    /// The checkpoint's file as the evaluator named it.
    pub(crate) named: &'a str,
    /// Epochs that are finished.
    pub(crate) step: u32,
    /// When it must be stored.
    pub(crate) until: Instant,
}

/// More than [`MAX_WAITING`] measurements wait.
#[derive(Debug)]
pub(crate) struct TooManyWaiting;

impl Reporter {
    /// Hands a measurement over; never waits, so the evaluator's pipe is always drained.
    pub(crate) fn report(&self, measurement: Measurement) -> Result<(), TooManyWaiting> {
        match self.queue.try_send(measurement) {
            // Closed: the coordinator refused the attempt, which is being stopped.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(TooManyWaiting),
        }
    }

    /// Reports what is left, and ends.
    async fn flush(self) {
        let Self { queue, task, .. } = self;
        drop(queue);
        // A panic was logged where it happened.
        let _ = task.await;
    }

    /// Ends reporting after the call in flight, and gives back what was not acknowledged: it travels
    /// with the completion.
    pub(crate) async fn finish(self) -> Vec<Measurement> {
        self.closing.cancel();
        // A panic was logged where it happened; the coordinator has what was acknowledged before.
        self.task.await.unwrap_or_default().into()
    }
}

impl Delivery {
    /// Starts reporting for an attempt. The coordinator may answer that the attempt is to stop.
    pub(crate) fn reporter(&self, key: AttemptKey, stop: StopHandle) -> Reporter {
        let (queue, measurements) = mpsc::channel(MAX_WAITING);
        let closing = CancellationToken::new();
        let task = report_all(self.clone(), key, measurements, closing.clone(), stop);
        Reporter {
            queue,
            closing,
            task: AbortOnDropHandle::new(espalier_runtime::spawn_named("report", task)),
        }
    }

    /// Puts a completion on disk and delivers it. Returns when the coordinator has it; weights may still
    /// be on their way then, and the attempt is closed after them.
    pub(crate) async fn complete(
        &self,
        completion: Completion,
        stop: StopSignal,
    ) -> std::io::Result<()> {
        let spool = self.spool.clone();
        let spooled = blocking(move || spool.store(completion)).await?;
        self.deliver(spooled, Some(stop)).await;
        Ok(())
    }

    /// Delivers a completion that is on disk, and closes the attempt after that. One of this instance has a signal;
    /// one of an earlier instance is not held.
    pub(crate) async fn deliver(&self, spooled: Spooled, stop: Option<StopSignal>) {
        use v1::WeightsDecision as Decision;

        let key = spooled.record.attempt;
        let held = stop.is_some();
        let request = complete_request(&spooled);
        let answer = persistently("Complete", || self.client.complete(request.clone())).await;
        match answer {
            Ok(reply) => {
                let weights = spooled.record.weights.is_some();
                match reply.weights() {
                    Decision::Upload if weights => {
                        // Closes the attempt when it is done.
                        self.transfers.upload(spooled, stop);
                        return;
                    }
                    Decision::Keep => self.transfers.keep(&spooled).await,
                    Decision::Upload | Decision::Discard | Decision::Unspecified => {}
                }
            }
            Err(status) if is_transient(&status) => {
                // It may be taken one day, and the next start of this worker tries once more.
                log_given_up(key, "Complete", &status);
                return self.close(key).await;
            }
            Err(status) if !held && status.code() == Code::PermissionDenied => {
                log_of_another(key, &status);
                return self.close(key).await;
            }
            Err(status) => log_refused(key, "Complete", &status),
        }
        spooled.remove();
        self.close(key).await;
    }

    /// Delivers a failure.
    pub(crate) async fn fail(&self, key: AttemptKey, failure: v1::Failure) {
        let request = v1::FailRequest {
            worker: uuid_to_wire(self.worker.0),
            attempt: Some(attempt_to_wire(key)),
            failure: Some(failure),
        };
        if let Err(status) = persistently("Fail", || self.client.fail(request.clone())).await {
            log_refused(key, "Fail", &status);
        }
        self.close(key).await;
    }

    /// Hands a job back; costs the trial no attempt.
    pub(crate) async fn release(&self, key: AttemptKey) {
        let request = v1::ReleaseRequest {
            worker: uuid_to_wire(self.worker.0),
            attempts: vec![attempt_to_wire(key)],
        };
        if let Err(status) = persistently("Release", || self.client.release(request.clone())).await
        {
            log_refused(key, "Release", &status);
        }
        self.close(key).await;
    }

    /// Hands a job back with a checkpoint; without it when that is not stored in time, for then the worker is to be gone.
    pub(crate) async fn hand_back(&self, key: AttemptKey, left: Left<'_>, reporter: Reporter) {
        let stored = tokio::time::timeout_at(left.until, async {
            // What was measured before the checkpoint is not measured again.
            reporter.flush().await;
            self.store_checkpoint(key, &left).await
        });
        let why = match stored.await {
            Ok(Ok(())) => return self.close(key).await,
            Ok(Err(why)) => why,
            Err(_) => "it was not there in time (--drain-timeout-ms)".to_owned(),
        };
        tracing::warn!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, step = left.step,
            reason = why, "checkpoint not stored: what this attempt has trained is lost");
        self.release(key).await;
    }

    async fn store_checkpoint(&self, key: AttemptKey, left: &Left<'_>) -> Result<(), String> {
        let scratch = left.scratch.ok_or("its folder is gone")?;
        let named = ("checkpoint", left.named);
        let path = left_file::of_job(scratch, named, self.transfers.max_bytes())
            .map_err(|failure| failure.message)?;
        let hashed = path.clone();
        let digest = blocking(move || digest_of(&hashed)).await;
        let upload = Upload {
            worker: self.worker,
            attempt: key,
            digest: digest.map_err(|error| error.to_string())?,
            path,
            checkpoint: Some(left.step),
        };
        let sent = self.transfers.send(&upload).await;
        sent.map_err(|status| status.message().to_owned())
    }

    /// The attempt is no longer held.
    pub(crate) async fn close(&self, key: AttemptKey) {
        // Fails when the session has ended, and then nobody asks.
        let _ = self.events.send(Event::Closed(key)).await;
    }

    /// Runs a delivery beside everything else.
    pub(crate) fn in_background<F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        espalier_runtime::spawn_named("deliver", work(Arc::clone(self)));
    }
}

fn complete_request(spooled: &Spooled) -> v1::CompleteRequest {
    let record = &spooled.record;
    v1::CompleteRequest {
        worker: uuid_to_wire(record.worker.0),
        attempt: Some(attempt_to_wire(record.attempt)),
        measurements: record
            .measurements
            .iter()
            .map(measurement_to_wire)
            .collect(),
        test_metrics: metrics_to_wire(&record.test_metrics),
        seconds: record.seconds,
        weights: record
            .weights
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
    }
}

/// A coordinator that answers and refuses, but not for good.
fn log_given_up(key: AttemptKey, call: &'static str, status: &Status) {
    tracing::error!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, call, %status, tries = MOST_REFUSALS,
        "refused over and over; given up. A completion stays on disk for the next start of this worker");
}

/// A worker of another name, with another certificate, worked in this folder before.
fn log_of_another(key: AttemptKey, status: &Status) {
    tracing::warn!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, %status,
        "a result of an earlier start is not taken from a worker of this name; it stays on disk for a start under \
         the name that it had then (--name)");
}

fn log_refused(key: AttemptKey, call: &'static str, status: &Status) {
    let (search, trial, attempt) = (key.search, key.trial.0, key.attempt.0);
    if status.code() == Code::FailedPrecondition {
        // What happens when a lease ran out, or the search ended meanwhile: nobody needs to act.
        tracing::info!(%search, trial, attempt, call, reason = status.message(), "came too late; dropped");
    } else {
        tracing::warn!(%search, trial, attempt, call, %status, "refused by the coordinator; dropped");
    }
}

async fn report_all(
    delivery: Delivery,
    key: AttemptKey,
    mut measurements: mpsc::Receiver<Measurement>,
    closing: CancellationToken,
    stop: StopHandle,
) -> VecDeque<Measurement> {
    let mut number = 0;
    let mut left = VecDeque::new();
    loop {
        let measurement = tokio::select! {
            // What is not sent yet at the end travels with the completion: one call instead of two.
            biased;
            () = closing.cancelled() => break,
            measurement = measurements.recv() => measurement,
        };
        let Some(measurement) = measurement else {
            break;
        };
        number += 1;
        let request = v1::ReportRequest {
            worker: uuid_to_wire(delivery.worker.0),
            attempt: Some(attempt_to_wire(key)),
            measurement: Some(measurement_to_wire(&measurement)),
            number,
        };
        match report(&delivery.client, request, &closing).await {
            Reported::Acknowledged { wanted: true } => {}
            Reported::Acknowledged { wanted: false } => stop.stop(Stop::Dropped),
            Reported::Refused(status) => {
                // A stale report is refused, a stale completion may still count: should the job have ended
                // by now, it is to be scored by its last measurement.
                log_refused(key, "Report", &status);
                stop.stop(Stop::Dropped);
                left.push_back(measurement);
                break;
            }
            Reported::GivenUp(status) => {
                // The rest travels with the completion, which may fare better.
                log_given_up(key, "Report", &status);
                left.push_back(measurement);
                loop {
                    tokio::select! {
                        () = closing.cancelled() => break,
                        more = measurements.recv() => match more {
                            Some(more) => left.push_back(more),
                            None => break,
                        }
                    }
                }
                break;
            }
            Reported::Waiting => {
                left.push_back(measurement);
                break;
            }
        }
    }
    measurements.close();
    while let Ok(measurement) = measurements.try_recv() {
        left.push_back(measurement);
    }
    left
}

/// What became of a report.
enum Reported {
    Acknowledged {
        wanted: bool,
    },
    Refused(Status),
    /// Refused too often by a coordinator that is there.
    GivenUp(Status),
    /// Not acknowledged when the attempt ended. The coordinator may have it all the same; it knows a
    /// measurement by its step.
    Waiting,
}

async fn report(
    client: &Client,
    request: v1::ReportRequest,
    closing: &CancellationToken,
) -> Reported {
    let (mut waits, mut refusals) = (Waits::default(), Refusals::default());
    loop {
        match client.report(request.clone()).await {
            Ok(reply) => {
                return Reported::Acknowledged {
                    wanted: !reply.stop,
                };
            }
            Err(status) if !is_transient(&status) => return Reported::Refused(status),
            Err(status) if !refusals.allow(&status) => return Reported::GivenUp(status),
            Err(status) => tracing::debug!(%status, "report not delivered; trying again"),
        }
        tokio::select! {
            () = closing.cancelled() => return Reported::Waiting,
            () = tokio::time::sleep(waits.next_wait()) => {}
        }
    }
}
