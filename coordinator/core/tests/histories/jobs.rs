//! What a modelled worker does with a job: epochs, reports, the end.

use std::collections::VecDeque;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptKey, Digest};
use espalier_common::job::{Checkpoint, Job, LeasedJob};
use espalier_common::metrics::{Measurement, Metrics};
use espalier_core::search::{Completion, WeightsAnswer};

use super::agenda::{Agenda, Answer, Thing};
use super::faults::Fault;
use super::worker::{Fate, Held, Spooled, Stage, Wake, Wants, Worker, score};

impl Worker {
    pub(super) fn assign(&mut self, agenda: &mut Agenda, job: LeasedJob) {
        let key = job.key();
        if self.held.contains_key(&key) {
            return;
        }
        let free = self.free_slots() > 0 && self.draining.is_none();
        let step = match job.job {
            Job::Train { from, .. } => from,
            Job::Test { .. } => 0,
        };
        let held = Held {
            fate: self.fate(agenda),
            job,
            stage: Stage::Running,
            step,
            began: agenda.now,
            pace: agenda.between(200, 20_000),
            waiting: VecDeque::new(),
            number: 1,
            reporting: false,
            dropped: false,
        };
        let pace = held.pace;
        self.held.insert(key, held);
        if free {
            self.later(agenda, pace, Wake::Step(key));
        } else {
            self.end(key);
            self.send(agenda, Wants::Release(key));
        }
    }

    fn fate(&self, agenda: &mut Agenda) -> Fate {
        use FailureDomain as Domain;
        use FailureKind as Kind;

        if !self.failures || agenda.hit(700) {
            return Fate::Well;
        }
        let (domain, kind) = [
            (Domain::Candidate, Kind::Diverged),
            (Domain::Candidate, Kind::Crashed),
            (Domain::Worker, Kind::Crashed),
            (Domain::Worker, Kind::OutOfMemory),
            (Domain::User, Kind::Data),
            (Domain::Internal, Kind::Unsupported),
        ][agenda.pick(6)];
        if agenda.hit(50) {
            return Fate::Silent;
        }
        let at = 1 + u32::from(agenda.hit(300));
        let words = format!("fault {}", agenda.pick(3));
        Fate::Fails {
            at,
            failure: Failure::new(domain, kind, words),
        }
    }

    fn running(&mut self, key: AttemptKey) -> Option<&mut Held> {
        let held = self.held.get_mut(&key)?;
        (held.stage == Stage::Running).then_some(held)
    }

    pub(super) fn step(&mut self, agenda: &mut Agenda, key: AttemptKey) {
        let weights_by_attempt = agenda.hit(500);
        let Some(held) = self.running(key) else {
            return;
        };
        held.step += 1;
        if let Fate::Fails { at, failure } = &held.fate
            && *at <= held.step
        {
            let failure = failure.clone();
            held.stage = Stage::Ending;
            return self.send(agenda, Wants::Fail(key, failure));
        }
        let metric = held.job.objective.metric.clone();
        let metrics = Metrics::from([(metric.as_str(), score(key, held.step))]);
        let is_test = matches!(held.job.job, Job::Test { .. });
        if !is_test && !matches!(held.fate, Fate::Silent) {
            held.waiting.push_back(Measurement {
                step: held.step,
                metrics: metrics.clone(),
            });
        }
        let to = match held.job.job {
            Job::Train { to, .. } => to,
            Job::Test { .. } => 1,
        };
        if held.step < to {
            let pace = held.pace;
            self.report(agenda, key);
            return self.later(agenda, pace, Wake::Step(key));
        }
        held.stage = Stage::Ending;
        // The same seed gives the same weights on the same machine, and others elsewhere.
        let identity = if weights_by_attempt { key.attempt.0 } else { 0 };
        let weights = [key.trial.0, identity].map(u32::to_le_bytes).concat();
        let has_weights = held.job.network.is_some() && !is_test;
        let completion = Completion {
            measurements: held.waiting.drain(..).collect(),
            test_metrics: if is_test { metrics } else { Metrics::default() },
            seconds: (agenda.now - held.began) as f64 / 1_000.0,
            weights: has_weights.then(|| Digest::of(&weights)),
            weights_stored: false,
        };
        self.spool.insert(
            key,
            Spooled {
                worker: self.instance,
                completion,
            },
        );
        self.send(agenda, Wants::Complete(key));
    }

    /// What a job that is broken off leaves; some are stopped before they have anything to leave.
    pub(super) fn checkpoint(&self, agenda: &mut Agenda, key: AttemptKey) -> Option<Checkpoint> {
        let held = self.held.get(&key)?;
        let trains = matches!(held.job.job, Job::Train { .. });
        if !trains || !held.waiting.is_empty() || !agenda.hit(700) {
            return None;
        }
        let place = [key.trial.0, key.attempt.0, held.step].map(u32::to_le_bytes);
        Some(Checkpoint {
            artifact: Digest::of(&[&b"checkpoint"[..], &place.concat()].concat()),
            step: held.step,
        })
    }

    pub(super) fn report(&mut self, agenda: &mut Agenda, key: AttemptKey) {
        let Some(held) = self.held.get_mut(&key) else {
            return;
        };
        if !held.reporting && held.stage == Stage::Running && !held.waiting.is_empty() {
            held.reporting = true;
            self.send(agenda, Wants::Report(key));
        }
    }

    pub(super) fn reported(&mut self, agenda: &mut Agenda, key: AttemptKey, answer: Answer) {
        let Some(held) = self.running(key) else {
            return;
        };
        match answer {
            Answer::Reported { stop: false } => {
                held.waiting.pop_front();
                held.number += 1;
                held.reporting = false;
                self.report(agenda, key);
            }
            Answer::Reported { stop: true } | Answer::Refused => self.dropped(agenda, key),
            _ => self.again(agenda, Wants::Report(key)),
        }
    }

    pub(super) fn completed(
        &mut self,
        agenda: &mut Agenda,
        key: AttemptKey,
        answer: WeightsAnswer,
    ) {
        let weights = self
            .spool
            .get(&key)
            .is_some_and(|spooled| spooled.completion.weights.is_some());
        if answer != WeightsAnswer::Upload || !weights {
            self.spool.remove(&key);
            return self.close(agenda, key);
        }
        if let Some(held) = self.held.get_mut(&key) {
            held.stage = Stage::Uploading;
        }
        let takes = agenda.between(10, 8_000);
        if agenda.fragile > 0 && agenda.hit(10 * agenda.fragile) {
            let (worker, down) = (self.index, agenda.between(50, 60_000));
            agenda.after(takes / 2, Thing::Fault(Fault::CrashWorker { worker, down }));
        }
        self.later(agenda, takes, Wake::Again(Wants::Upload(key)));
        self.lease(agenda);
    }
}
