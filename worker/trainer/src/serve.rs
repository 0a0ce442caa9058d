//! The evaluator protocol: says `ready`, runs the jobs that the worker sends, and answers each with
//! `done`, `checkpoint` or `failed`, also when it panics.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use espalier_common::evaluator::{Evaluate, FromEvaluator, LogLevel, PROTOCOL_VERSION, Ready};
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::AttemptKey;
use espalier_common::job::JobKind;

use crate::error::JobError;
use crate::inbox::{Inbox, Wanted};
use crate::job::{Runner, metrics};
use crate::outbox::Outbox;
use crate::train::{Epoch, Session};
use crate::{DESCRIPTION, device};

/// Serves a worker until it says `shutdown` or closes its end.
///
/// # Errors
/// When the worker cannot be written to.
pub fn serve(from: impl BufRead + Send + 'static, to: impl Write) -> std::io::Result<()> {
    let inbox = Inbox::start(from)?;
    let mut outbox = Outbox::new(to);
    outbox.send(FromEvaluator::Ready(Ready {
        protocol: PROTOCOL_VERSION,
        description: DESCRIPTION.to_owned(),
        jobs: vec![JobKind::Train, JobKind::Test],
        devices: device::available(),
        checkpoints: true,
    }))?;
    let mut runner = Runner::default();
    while let Some(request) = inbox.next() {
        outbox.about(request.attempt_id);
        let answer = match request.job {
            Wanted::Evaluate(job) => evaluate(&mut runner, &job, &inbox, &mut outbox),
            Wanted::Unreadable(why) => failed(&JobError::Unsupported(why).failure()),
        };
        outbox.send(answer)?;
    }
    Ok(())
}

fn failed(failure: &Failure) -> FromEvaluator {
    FromEvaluator::Failed {
        failure: failure.clone(),
    }
}

fn evaluate<W: Write>(
    runner: &mut Runner,
    job: &Evaluate,
    inbox: &Inbox,
    outbox: &mut Outbox<W>,
) -> FromEvaluator {
    let attempt = job.job.key();
    let mut session = JobSession {
        attempt,
        inbox,
        outbox,
        began: Some(Instant::now()),
    };
    // What a panic may leave half done belongs to the job (network, optimizer) and is dropped; libtorch's
    // own state is set anew by the next job.
    let result = catch_unwind(AssertUnwindSafe(|| runner.run(job, &mut session)));
    match result {
        Ok(Ok(end)) => end,
        // Not written to stderr as well: failures are grouped by their last line, which must be the same
        // in every trial, and the worker logs them with their ids.
        Ok(Err(error)) => failed(&error.failure()),
        Err(panic) => {
            let message = format!("the trainer panicked: {}", panic_text(panic.as_ref()));
            failed(&Failure::new(FailureDomain::Internal, FailureKind::Crashed, message).bounded())
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

/// One job's line to the worker.
struct JobSession<'a, W> {
    attempt: AttemptKey,
    inbox: &'a Inbox,
    outbox: &'a mut Outbox<W>,
    /// When the job began; until its first measurement.
    began: Option<Instant>,
}

impl<W: Write> Session for JobSession<'_, W> {
    fn between_batches(&mut self, fraction: f64) -> Result<(), JobError> {
        if self.inbox.is_dropped(self.attempt) {
            return Err(JobError::Stopped);
        }
        if self.inbox.is_to_break_off(self.attempt) {
            return Err(JobError::BrokenOff);
        }
        Ok(self.outbox.progress(fraction)?)
    }

    fn begins_anew(&mut self, why: &JobError) -> Result<(), JobError> {
        Ok(self.outbox.send(FromEvaluator::Log {
            level: LogLevel::Warn,
            message: format!("training begins anew: {why}"),
        })?)
    }

    fn measured(&mut self, epoch: Epoch) -> Result<(), JobError> {
        let mut metrics = metrics(epoch.score);
        metrics.insert("train_loss".to_owned(), Some(epoch.train_loss));
        let (train, validate) = epoch.seconds;
        let mut seconds = BTreeMap::from([("train", train), ("validate", validate)]);
        if let Some(began) = self.began.take() {
            // The data, the network, a checkpoint: whatever came before the first batch.
            seconds.insert("load", began.elapsed().as_secs_f64() - train - validate);
        }
        let seconds = seconds.into_iter();
        self.outbox.send(FromEvaluator::Measurement {
            step: epoch.number,
            metrics,
            seconds: seconds
                .map(|(name, value)| (name.to_owned(), Some(value)))
                .collect(),
        })?;
        let message = format!(
            "epoch {}/{}: train loss {:.4}, validation loss {:.4}, accuracy {:.4}; {:.0} images/s",
            epoch.number,
            epoch.of,
            epoch.train_loss,
            epoch.score.loss,
            epoch.score.accuracy,
            epoch.images_per_second
        );
        Ok(self.outbox.send(FromEvaluator::Log {
            level: LogLevel::Info,
            message,
        })?)
    }
}
