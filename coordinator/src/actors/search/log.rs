//! One line in the log per change of a search, with the ids as fields. May import the core and tracing.

use std::collections::BTreeMap;

use espalier_common::ids::{AttemptNumber, TrialNumber, WorkerId};
use espalier_common::job::Job;
use espalier_common::metrics::Metrics;
use espalier_core::search::{Event, LivePhase, Refused, Search, TrialState};

use tracing::Level;
use tracing::level_filters::LevelFilter;

use crate::actors::cluster::WorkerNames;

/// Metrics as a field has them: a JSON object as text.
fn told(metrics: &Metrics) -> String {
    serde_json::to_string(metrics).unwrap_or_default()
}

/// Writes the log of one search.
#[derive(Debug)]
pub(super) struct EventLog {
    /// When and to whom the attempts that run were leased. At most one runs a trial.
    leased: BTreeMap<TrialNumber, Leased>,
    /// When open trials were proposed.
    proposed: BTreeMap<TrialNumber, u64>,
    names: WorkerNames,
    /// The phase that the search was in before the event.
    phase: &'static str,
}

/// A lease that began.
#[derive(Clone, Copy, Debug)]
struct Leased {
    attempt: AttemptNumber,
    worker: WorkerId,
    since_ms: u64,
}

impl EventLog {
    /// The log of a search, which may have been there before this start of the coordinator.
    pub(super) fn new(search: &Search, names: WorkerNames) -> Self {
        let running = search.live().iter();
        let running = running.filter(|(_, live)| live.phase == LivePhase::Running);
        Self {
            leased: running
                .map(|(trial, live)| {
                    let leased = Leased {
                        attempt: live.attempt,
                        worker: live.worker,
                        since_ms: live.since_ms,
                    };
                    (*trial, leased)
                })
                .collect(),
            proposed: search.open_since().collect(),
            names,
            phase: search.phase().name(),
        }
    }

    /// Writes the line of an event, unless nobody would see it: then it costs one comparison.
    pub(super) fn write(&mut self, search: &Search, event: &Event, time_ms: u64) {
        // Not `enabled!`: with a filter for each layer, what that finds out is taken for the next line's answer.
        if Level::INFO > LevelFilter::current() {
            return;
        }
        let written = self.begin_line(search, event, time_ms)
            || self.result_line(search, event, time_ms)
            || self.loss_line(search, event, time_ms)
            || self.trial_line(search, event, time_ms);
        if !written {
            self.search_line(search, event);
        }
    }

    /// An attempt is not needed any more.
    pub(super) fn dropped(&mut self, trial: TrialNumber) {
        self.leased.remove(&trial);
    }

    /// The worker that ran an attempt, and for how long.
    fn took(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        time_ms: u64,
    ) -> (Option<String>, Option<u64>) {
        // A stale completion ends a trial that another attempt runs; what is not known here is left out.
        let leased = self.leased.get(&trial).copied();
        let Some(leased) = leased.filter(|leased| leased.attempt == attempt) else {
            return (None, None);
        };
        self.leased.remove(&trial);
        let duration_ms = time_ms.saturating_sub(leased.since_ms);
        (Some(self.names.name(leased.worker)), Some(duration_ms))
    }

    /// How long a trial was open that is so no more.
    fn open_for(&mut self, trial: TrialNumber, time_ms: u64) -> Option<u64> {
        let since = self.proposed.remove(&trial)?;
        Some(time_ms.saturating_sub(since))
    }

    /// The state from which a trial goes on when nothing is said of an attempt.
    fn stands(&self, trial: TrialNumber) -> &'static str {
        if self.leased.contains_key(&trial) {
            "running"
        } else {
            "queued"
        }
    }

    fn begin_line(&mut self, search: &Search, event: &Event, time_ms: u64) -> bool {
        let Event::JobLeased {
            trial,
            attempt,
            worker,
            job,
        } = event
        else {
            return false;
        };
        let leased = Leased {
            attempt: *attempt,
            worker: *worker,
            since_ms: time_ms,
        };
        self.leased.insert(*trial, leased);
        let worker = self.names.name(*worker);
        let resumes_at = match job {
            Job::Train {
                from,
                checkpoint: Some(_),
                ..
            } => Some(*from),
            _ => None,
        };
        let (from, job) = (rest_state(search, *trial), job.kind());
        tracing::info!(search = %search.id(), trial = trial.0, attempt = attempt.0, worker, %job, resumes_at, from, to = "running", "job leased");
        true
    }

    /// The lines of events that bring what an attempt was leased for.
    fn result_line(&mut self, search: &Search, event: &Event, time_ms: u64) -> bool {
        let id = search.id();
        match event {
            Event::TrialCompleted {
                trial,
                attempt,
                worker,
                score,
                step,
                ..
            } => {
                let from = self.stands(*trial);
                let (_, duration_ms) = self.took(*trial, *attempt, time_ms);
                let (worker, trial_ms) = (self.names.name(*worker), self.open_for(*trial, time_ms));
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, worker, from, to = "completed", score, step, span = "attempt", duration_ms, trial_ms, "trial completed");
            }
            Event::TrialReused {
                trial,
                from: source,
                score,
                ..
            } => {
                let (of, of_trial) = (source.search, source.trial.0);
                let trial_ms = self.open_for(*trial, time_ms);
                tracing::info!(search = %id, trial = trial.0, from = "queued", to = "completed", score, %of, of_trial, trial_ms, "result of another search reused");
            }
            Event::TrialRetrained { trial, attempt, .. } => {
                let (worker, duration_ms) = self.took(*trial, *attempt, time_ms);
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, worker, from = "running", to = "completed", span = "attempt", duration_ms, "best trial trained again");
            }
            Event::TestCompleted {
                trial,
                attempt,
                metrics,
                ..
            } => {
                let (worker, duration_ms) = self.took(*trial, *attempt, time_ms);
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, worker, from = "running", to = "completed", span = "attempt", duration_ms, metrics = told(metrics), "best trial tested");
            }
            Event::UploadResumed {
                trial,
                attempt,
                worker,
            } => {
                let worker = self.names.name(*worker);
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, worker, from = "lost", to = "uploading", "upload of the best weights taken up again");
            }
            Event::WeightsStored {
                trial,
                attempt,
                weights,
            } => {
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, from = "uploading", to = "stored", %weights, "weights stored");
            }
            _ => return false,
        }
        true
    }

    /// The lines of events that end an attempt without a result.
    fn loss_line(&mut self, search: &Search, event: &Event, time_ms: u64) -> bool {
        let id = search.id();
        match event {
            Event::AttemptFailed {
                trial,
                attempt,
                failure,
            } => {
                let (worker, duration_ms) = self.took(*trial, *attempt, time_ms);
                let to = rest_state(search, *trial);
                let (domain, kind) = (failure.domain, failure.kind);
                tracing::warn!(search = %id, trial = trial.0, attempt = attempt.0, worker, from = "running", to, span = "attempt", duration_ms, %domain, %kind, reason = failure.message, "attempt failed");
            }
            Event::LeaseExpired { trial, attempt } => {
                let (worker, duration_ms) = self.took(*trial, *attempt, time_ms);
                let to = rest_state(search, *trial);
                tracing::warn!(search = %id, trial = trial.0, attempt = attempt.0, worker, from = "running", to, span = "attempt", duration_ms, "lease expired: its worker was not heard of");
            }
            Event::CheckpointStored {
                trial,
                attempt,
                checkpoint,
            } => {
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, step = checkpoint.step, digest = %checkpoint.artifact.short(), "checkpoint stored: the next attempt goes on from it");
            }
            Event::AttemptReleased {
                trial,
                attempt,
                reason,
            } => {
                let (worker, duration_ms) = self.took(*trial, *attempt, time_ms);
                let to = rest_state(search, *trial);
                tracing::info!(search = %id, trial = trial.0, attempt = attempt.0, worker, from = "running", to, span = "attempt", duration_ms, %reason, "attempt handed back");
            }
            _ => return false,
        }
        true
    }

    /// The lines of the other events about a trial.
    fn trial_line(&mut self, search: &Search, event: &Event, time_ms: u64) -> bool {
        let id = search.id();
        match event {
            Event::TrialProposed {
                ask,
                trial,
                proposal,
                ..
            } => {
                let origin = &proposal.origin;
                self.proposed.insert(*trial, time_ms);
                tracing::info!(search = %id, trial = trial.0, ask, searcher = origin.searcher, method = origin.method, from = "proposed", to = "queued", "trial proposed");
            }
            Event::ProposalRefused { ask, refusal } => match &refusal.refused {
                Refused::Infeasible { trial, reason, .. } => {
                    tracing::info!(search = %id, trial = trial.0, ask, from = "proposed", to = "infeasible", reason, "proposal refused");
                }
                Refused::Duplicate { of } => {
                    tracing::debug!(search = %id, ask, of_trial = of.0, "proposal seen before");
                }
            },
            Event::Measured {
                trial,
                attempt,
                measurement,
                ..
            } => {
                let (step, metrics) = (measurement.step, &measurement.metrics);
                tracing::debug!(search = %id, trial = trial.0, attempt = attempt.0, step, metrics = told(metrics), "measured");
            }
            Event::TrialFailed { trial, failure } => {
                let (from, kind) = (self.stands(*trial), failure.kind);
                let trial_ms = self.open_for(*trial, time_ms);
                tracing::warn!(search = %id, trial = trial.0, from, to = "failed", %kind, reason = failure.message, trial_ms, "trial failed");
            }
            Event::TrialPinned { trial } => {
                tracing::info!(search = %id, trial = trial.0, from = "queued", to = "queued", "trial runs next");
            }
            Event::TrialRetried { trial, .. } => {
                self.proposed.insert(*trial, time_ms);
                tracing::info!(search = %id, trial = trial.0, from = "closed", to = "queued", "trial is tried again");
            }
            Event::TrialCancelled { trial } => {
                let (from, trial_ms) = (self.stands(*trial), self.open_for(*trial, time_ms));
                tracing::info!(search = %id, trial = trial.0, from, to = "cancelled", trial_ms, "trial cancelled");
            }
            _ => return false,
        }
        true
    }

    /// The lines of events about the search as a whole.
    fn search_line(&mut self, search: &Search, event: &Event) {
        let id = search.id();
        let name = &search.definition().spec.name;
        let from = self.phase;
        match event {
            Event::SearchRecovered => {
                let counts = search.counts();
                tracing::info!(search = %id, name, from, to = from, completed = counts.completed, running = search.running(), queued = search.queued(), "search recovered");
            }
            Event::ClockJumped { by_ms } => {
                tracing::info!(search = %id, name, by_ms, "the clock jumped; what it jumped counts in no budget");
            }
            Event::ProposalsEnded { reason, .. } => {
                tracing::info!(search = %id, name, reason, "nothing more to propose");
            }
            Event::Steered { by, wish } => {
                tracing::info!(search = %id, name, by, wish, "search steered");
            }
            Event::LimitsChanged { limits } => {
                let budget = &limits.budget;
                let (trials, time_ms, compute_ms) =
                    (budget.trials, budget.time_ms, budget.compute_ms);
                let deadline_ms = budget.deadline_ms;
                let (parallel, weight) = (limits.parallel, limits.weight);
                tracing::info!(search = %id, name, trials, time_ms, compute_ms, deadline_ms, parallel, weight, "limits changed");
            }
            Event::SearchPaused { reason } => {
                self.phase = "paused";
                tracing::warn!(search = %id, name, from, to = self.phase, %reason, "search paused");
            }
            Event::SearchResumed => {
                self.phase = "running";
                tracing::info!(search = %id, name, from, to = self.phase, "search resumed");
            }
            Event::SearchFinishing { reason } => {
                self.phase = "finishing";
                tracing::info!(search = %id, name, from, to = self.phase, %reason, "search is finishing");
            }
            Event::SearchFinished { reason, shortfall } => {
                self.phase = "finished";
                let best = search.best().map(|best| best.trial.0);
                let score = search.best().map(|best| best.score);
                tracing::info!(search = %id, name, from, to = self.phase, %reason, shortfall, best, score, "search finished");
            }
            // Its line is written when it is created.
            _ => {}
        }
    }
}

/// The state of a trial that no attempt runs: the best has its score, whatever else is done with it.
fn rest_state(search: &Search, trial: TrialNumber) -> &'static str {
    let known = search.trial(trial).map(|known| known.state);
    if known == Some(TrialState::Completed) {
        TrialState::Completed.name()
    } else {
        TrialState::Queued.name()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use espalier_common::failure::{Failure, FailureDomain, FailureKind};
    use espalier_common::ids::{SearchId, WorkerId};
    use espalier_core::search::{Command, Definition, Steer, step};
    use espalier_core::searcher::Proposer;
    use uuid::Uuid;

    use super::*;

    const SPEC: &str = "
name: some
hyperparameters: {x: {range: [0.0, 1.0]}}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 9}
";

    /// Takes in what is logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A search with one trial that is leased at 1,000 ms.
    fn leased() -> Search {
        let spec = espalier_common::spec::read(SPEC, "spec.yaml").unwrap();
        let definition = Definition::new(spec, SPEC.to_owned(), None, None);
        let created = Event::SearchCreated {
            definition: Box::new(definition),
        };
        let id = SearchId(Uuid::from_u128(1));
        let mut search = Search::from_first_event(id, &created, 0).unwrap();
        let answer = Proposer::new(search.definition()).ask(1);
        step(&mut search, answer.into(), 0).unwrap();
        let lease = Command::LeaseJobs {
            worker: WorkerId(Uuid::from_u128(2)),
            slots: 1,
            can_test: false,
            can_resume: false,
            retries: Default::default(),
        };
        step(&mut search, lease, 1_000).unwrap();
        search
    }

    /// The lines of what a command comes to.
    fn lines_of(
        search: &mut Search,
        log: &mut EventLog,
        command: Command,
        now_ms: u64,
    ) -> Vec<serde_json::Value> {
        let lines = Lines::default();
        let written = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || written.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for event in step(search, command, now_ms).unwrap().events {
                log.write(search, &event, now_ms);
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    #[test]
    fn a_failed_attempt_says_from_where_to_where_and_how_long_it_took_also_after_a_restart() {
        let mut search = leased();
        let mut log = EventLog::new(&search, WorkerNames::default());
        let (trial, attempt) = (TrialNumber(1), AttemptNumber(1));
        let fail = Command::FailJob {
            trial,
            attempt,
            failure: Failure::new(FailureDomain::Candidate, FailureKind::Diverged, "NaN"),
        };
        let lines = lines_of(&mut search, &mut log, fail, 3_500);
        assert_eq!(lines[0]["from"], "running");
        assert_eq!(lines[0]["to"], "queued");
        assert_eq!(lines[0]["duration_ms"], 2_500);
        assert_eq!(lines[1]["from"], "queued");
        assert_eq!(lines[1]["to"], "failed");
    }

    #[test]
    fn every_line_of_a_change_of_state_says_from_and_to() {
        let mut search = leased();
        let mut log = EventLog::new(&search, WorkerNames::default());
        let lines = lines_of(&mut search, &mut log, Steer::Stop.into(), 2_000);
        // The wish itself is no change of state.
        assert_eq!(lines[0]["wish"], "stop");
        let moves: Vec<_> = lines[1..]
            .iter()
            .map(|line| (line["from"].as_str(), line["to"].as_str()))
            .collect();
        assert_eq!(
            moves,
            [
                (Some("running"), Some("finishing")),
                (Some("running"), Some("cancelled")),
                (Some("finishing"), Some("finished")),
            ]
        );
    }

    #[test]
    fn attempts_that_are_dropped_leave_nothing_behind() {
        let mut search = leased();
        let mut log = EventLog::new(&search, WorkerNames::default());
        assert_eq!(log.leased.len(), 1);
        for effect in step(&mut search, Steer::Stop.into(), 2_000)
            .unwrap()
            .effects
        {
            if let espalier_core::search::Effect::Drop { trial, .. } = effect {
                log.dropped(trial);
            }
        }
        assert_eq!(log.leased.len(), 0);
    }
}
