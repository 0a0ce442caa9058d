//! The task that knows the data sets. May import common, data, futures, tokio.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use espalier_common::dataset::DatasetInfo;
use espalier_common::failure::FailureKind;
use espalier_data::{DataError, Stamp};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::lanes::{Lanes, Rechecks};
use super::look::{Found, Looker, Present, identity};
use super::{Form, Known, Request, Resolved};

/// How often absent data are looked for again: somebody may just be copying them here.
pub(super) const RECHECK_EVERY: Duration = Duration::from_secs(60);
/// The most data sets remembered, absent or present; the oldest knowledge goes. Each travels with calls.
pub(super) const MAX_REMEMBERED: usize = 256;

/// Data that were looked for in vain.
#[derive(Debug)]
struct Missing {
    info: DatasetInfo,
    /// Of the files that were found and are not the data; `None` when it is not known what is wrong with
    /// them. Hashing gigabytes every minute is not for free.
    stamp: Option<Stamp>,
}

/// What is done about data.
#[derive(Debug)]
enum Job {
    /// Somebody wants them.
    Resolve(DatasetInfo, Form, oneshot::Sender<Resolved>),
    /// They were absent a while ago.
    Recheck(DatasetInfo),
    /// They may not be what they were.
    Doubt(DatasetInfo),
}

/// A look that has ended.
struct Ended {
    job: Job,
    found: Found,
}

/// The task.
pub(super) struct Task {
    looker: Arc<Looker>,
    /// Jobs that wait for another one on the same data.
    lanes: Lanes<Job>,
    /// What is under way: as much as slots want, and a few rechecks.
    looking: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// Answers given before, by data and split.
    present: BTreeMap<(String, Form), Present>,
    missing: Vec<Missing>,
    rechecks: Rechecks<DatasetInfo>,
    publish: watch::Sender<Known>,
}

impl Task {
    pub(super) fn new(looker: Looker, publish: watch::Sender<Known>) -> Self {
        Self {
            looker: Arc::new(looker),
            lanes: Lanes::new(),
            looking: FuturesUnordered::new(),
            present: BTreeMap::new(),
            missing: Vec::new(),
            rechecks: Rechecks::new(),
            publish,
        }
    }

    pub(super) async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut recheck = tokio::time::interval(RECHECK_EVERY);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.looker.prune().await;
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    None => return,
                    Some(request) => self.request(request),
                },
                Some(ended) = self.looking.next() => self.ended(ended),
                _ = recheck.tick(), if !self.missing.is_empty() => self.look_again(),
            }
        }
    }

    /// Waits until nothing is under way.
    #[cfg(test)]
    pub(super) async fn settle(&mut self) {
        while let Some(ended) = self.looking.next().await {
            self.ended(ended);
        }
    }

    pub(super) fn request(&mut self, request: Request) {
        self.enter(match request {
            Request::Resolve { info, form, answer } => Job::Resolve(info, form, answer),
            Request::Doubt(info) => Job::Doubt(info),
        });
    }

    fn enter(&mut self, job: Job) {
        let data = job.info().fingerprint;
        let mut next = self.lanes.enter(data, job);
        while let Some(job) = next {
            if self.begin(job) {
                return;
            }
            next = self.lanes.leave(data);
        }
    }

    /// Begins a job. False: there is nothing to wait for.
    fn begin(&mut self, job: Job) -> bool {
        let (info, form, known) = match &job {
            Job::Doubt(info) => {
                for form in [Form::Decoded, Form::Folder] {
                    self.present.remove(&(identity(info), form));
                }
                return false;
            }
            // The job was stopped while it waited for another one.
            Job::Resolve(_, _, answer) if answer.is_closed() => return false,
            Job::Resolve(info, form, _) => {
                let known = self.present.get(&(identity(info), *form));
                (info.clone(), *form, known.cloned())
            }
            Job::Recheck(info) => (info.clone(), Form::Folder, None),
        };
        let refused = self.missing.iter().find(|missing| missing.info == info);
        let refused = refused.and_then(|missing| missing.stamp.clone());
        let looker = Arc::clone(&self.looker);
        let is_news = known.is_none() && matches!(job, Job::Resolve(..));
        let look = async move {
            let found = looker.look_everywhere(&info, form, known, refused).await;
            if is_news && form == Form::Decoded && found.is_ok() {
                looker.prune().await;
            }
            Ended { job, found }
        };
        self.looking.push(look.boxed());
        true
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { job, found } = ended;
        let data = job.info().fingerprint;
        match job {
            Job::Resolve(info, form, answer) => {
                let resolved = self.resolved(&info, form, found);
                // The job may have been stopped while it waited.
                let _ = answer.send(resolved);
            }
            Job::Recheck(info) => self.rechecked(&info, found),
            Job::Doubt(_) => {}
        }
        while let Some(job) = self.lanes.leave(data) {
            if self.begin(job) {
                return;
            }
        }
    }

    fn resolved(&mut self, info: &DatasetInfo, form: Form, found: Found) -> Resolved {
        let key = (identity(info), form);
        match found {
            Ok(present) => {
                self.forget_missing(info);
                if self.present.len() >= MAX_REMEMBERED {
                    self.present.pop_first();
                }
                let path = present.path.clone();
                self.present.insert(key, present);
                Resolved::Path(path)
            }
            Err((error, stamp)) => {
                self.present.remove(&key);
                let failure = error.failure();
                if failure.kind == FailureKind::Data {
                    self.note_missing(info, &error, stamp);
                    Resolved::Missing
                } else {
                    Resolved::Failed(failure)
                }
            }
        }
    }

    fn note_missing(&mut self, info: &DatasetInfo, error: &DataError, stamp: Option<Stamp>) {
        let known = self
            .missing
            .iter_mut()
            .find(|other| other.info.fingerprint == info.fingerprint);
        if let Some(known) = known {
            known.stamp = stamp;
            return;
        }
        tracing::warn!(path = info.reference.path, fingerprint = %info.fingerprint.short(), %error,
            recheck_s = RECHECK_EVERY.as_secs(),
            "this worker cannot serve the data set, and gets no job that needs it until it can");
        if self.missing.len() >= MAX_REMEMBERED {
            self.missing.remove(0);
        }
        self.missing.push(Missing {
            info: info.clone(),
            stamp,
        });
        self.publish();
    }

    fn forget_missing(&mut self, info: &DatasetInfo) {
        self.missing
            .retain(|missing| missing.info.fingerprint != info.fingerprint);
        self.publish();
    }

    /// Has everything that is missing looked for again.
    pub(super) fn look_again(&mut self) {
        let missing = self.missing.iter().map(|missing| &missing.info);
        self.rechecks.begin(missing);
        self.recheck();
    }

    fn recheck(&mut self) {
        while let Some(info) = self.rechecks.next() {
            self.enter(Job::Recheck(info));
        }
    }

    /// Drops from the missing what is here now; the next job that wants it prepares it.
    fn rechecked(&mut self, info: &DatasetInfo, found: Found) {
        match found {
            Ok(present) => {
                tracing::info!(path = %present.path.display(), fingerprint = %info.fingerprint.short(),
                    "the data set is here now");
                self.forget_missing(info);
            }
            Err((_, stamp)) => {
                let missing = self.missing.iter_mut();
                let known = missing.into_iter().find(|missing| missing.info == *info);
                if let Some(known) = known {
                    known.stamp = stamp;
                }
            }
        }
        self.rechecks.ended();
        self.recheck();
    }

    fn publish(&self) {
        let missing = self.missing.iter().map(|missing| missing.info.fingerprint);
        let missing = missing.collect();
        self.publish.send_replace(Known { missing });
    }
}

impl Job {
    fn info(&self) -> &DatasetInfo {
        match self {
            Self::Resolve(info, ..) | Self::Recheck(info) | Self::Doubt(info) => info,
        }
    }
}
