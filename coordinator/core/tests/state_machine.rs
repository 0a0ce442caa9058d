//! Any sequence of commands: the state agrees with the events, the journal replays to it, nothing is lost,
//! and a search that is served to the end finishes.

// Helpers stand outside of `#[test]` functions: a failure in them is to fail the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber};
use espalier_common::job::{Checkpoint, Job, LeasedJob};
use espalier_common::metrics::{Measurement, Metrics};
use espalier_core::search::{
    Command, Completion, Event, FinishReason, LimitsChange, Phase, Prepared, Rejection,
    ReleaseReason, Reply, Steer, StoredResult, TrialOf, WeightsAnswer,
};
use espalier_core::searcher::Proposer;
use proptest::prelude::*;
use support::model::Model;
use support::{FLAT, IMAGES, Run, completion, definition_with, retries, worker};
use uuid::Uuid;

/// What somebody does. Numbers pick, modulo how many there are, one of the jobs leased so far.
#[derive(Clone, Debug)]
enum Act {
    Ask,
    /// Takes an answer in, maybe with a result that was found for it.
    Deliver {
        found: Option<u8>,
        weights: Option<u8>,
        stored: bool,
    },
    Lease {
        worker: u8,
        slots: u32,
        can_test: bool,
        can_resume: bool,
        again: bool,
    },
    Report {
        job: usize,
        number: u32,
        step: u32,
    },
    Complete {
        job: usize,
        score: Option<u8>,
        weights: Option<u8>,
        stored: bool,
    },
    Fail {
        job: usize,
        domain: FailureDomain,
        diverged: bool,
    },
    Release(usize),
    BreakOff {
        job: usize,
        file: u8,
        step: u32,
    },
    Expire(usize),
    Weights {
        job: usize,
        weights: u8,
    },
    Pause,
    Resume,
    Stop,
    Steer {
        wish: u8,
        number: u32,
    },
    Recover,
    Wait(u64),
    Unknown,
}

fn domains() -> impl Strategy<Value = FailureDomain> {
    prop::sample::select(vec![
        FailureDomain::Candidate,
        FailureDomain::Worker,
        FailureDomain::User,
        FailureDomain::Internal,
    ])
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    // Recent jobs first: most of the older ones are stale.
    let job = || prop_oneof![3 => 0_usize..3, 1 => 0_usize..40];
    let one = prop_oneof![
        10 => Just(Act::Ask),
        10 => (prop::option::weighted(0.2, 0_u8..9), prop::option::of(0_u8..3), any::<bool>())
            .prop_map(|(found, weights, stored)| Act::Deliver { found, weights, stored }),
        10 => (0_u8..3, 0_u32..4, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(worker, slots, can_test, can_resume, again)| Act::Lease {
                worker, slots, can_test, can_resume, again,
            }),
        6 => (job(), 1_u32..4, 1_u32..3)
            .prop_map(|(job, number, step)| Act::Report { job, number, step }),
        8 => (job(), prop::option::weighted(0.9, 0_u8..9), prop::option::of(0_u8..3), any::<bool>())
            .prop_map(|(job, score, weights, stored)| Act::Complete { job, score, weights, stored }),
        5 => (job(), domains(), any::<bool>())
            .prop_map(|(job, domain, diverged)| Act::Fail { job, domain, diverged }),
        3 => job().prop_map(Act::Release),
        4 => (job(), 0_u8..3, 0_u32..3).prop_map(|(job, file, step)| Act::BreakOff { job, file, step }),
        4 => job().prop_map(Act::Expire),
        5 => (job(), 0_u8..3).prop_map(|(job, weights)| Act::Weights { job, weights }),
        1 => Just(Act::Pause),
        3 => Just(Act::Resume),
        1 => prop::bool::weighted(0.1).prop_map(|stop| if stop { Act::Stop } else { Act::Recover }),
        4 => (0_u8..7, 1_u32..9).prop_map(|(wish, number)| Act::Steer { wish, number }),
        2 => (1_u64..2_000).prop_map(Act::Wait),
        1 => Just(Act::Unknown),
    ];
    prop::collection::vec(one, 0..150)
}

prop_compose! {
    fn budgets()(
        trials in prop::option::weighted(0.8, 1_u32..12),
        time in prop::option::weighted(0.2, 1_u64..20),
        target in prop::option::weighted(0.2, 1_u8..9),
        patience in prop::option::weighted(0.2, 1_u32..6),
        parallel in prop::option::weighted(0.3, 1_u32..4),
        attempts in 1_u32..4,
        images in any::<bool>(),
        reuse in any::<bool>(),
    ) -> (String, u32) {
        let (space, metric) = if images { (IMAGES, "accuracy") } else { (FLAT, "score") };
        let mut budget = vec!["trials: 12".to_owned()];
        budget.extend(time.map(|seconds| format!("time: {seconds}s")));
        budget.extend(target.map(|target| format!("target: {{{metric}: 0.{target}}}")));
        budget.extend(patience.map(|patience| format!("patience: {patience}")));
        let space = space.lines().filter(|line| !line.starts_with("budget:"));
        let mut text: String = space.flat_map(|line| [line, "\n"]).collect();
        text.push_str(&format!(
            "budget: {{{}}}\nattempts: {attempts}\nreuse: {reuse}\n",
            budget.join(", ")
        ));
        if let Some(parallel) = parallel {
            text.push_str(&format!("parallel: {parallel}\n"));
        }
        (text, trials.unwrap_or(12))
    }
}

/// A run with the account kept beside it and every job leased so far.
struct Drive {
    run: Run,
    model: Model,
    jobs: Vec<(u128, LeasedJob)>,
}

impl Drive {
    fn new(text: &str, trials: u32) -> Self {
        let run = Run::new(&definition_with(text, "random", trials, 5));
        Self {
            run,
            model: Model::default(),
            jobs: Vec::new(),
        }
    }

    fn command(&mut self, command: Command) -> Result<Reply, Rejection> {
        let before = self.run.search.clone();
        match self.run.command(command) {
            Ok(step) => {
                self.model.step(&step.events, &step.effects);
                self.model.check(&self.run.search);
                Ok(step.reply)
            }
            Err(rejection) => {
                assert_eq!(before, self.run.search, "a rejection changes nothing");
                Err(rejection)
            }
        }
    }

    fn propose(&mut self) {
        if self.run.search.proposals_wanted() > 0 {
            self.run.ask();
        }
    }

    /// A result of another search.
    fn found(&self, score: u8, weights: Option<u8>, stored: bool) -> StoredResult {
        let metric = self.run.search.definition().spec.objective.metric.as_str();
        StoredResult {
            from: TrialOf {
                search: SearchId(Uuid::from_u128(9)),
                trial: TrialNumber(3),
            },
            measurement: Measurement {
                step: 1,
                metrics: Metrics::from([(metric, f64::from(score) / 10.0)]),
            },
            weights: weights.map(|byte| Digest::of(&[byte])),
            stored: stored && weights.is_some(),
        }
    }

    fn deliver(&mut self, found: Option<StoredResult>) {
        if let Some(answer) = self.run.in_flight.pop_front() {
            let mut command = answer.into();
            if let Command::RecordProposal { stored, .. } = &mut command {
                *stored = found.map(Box::new);
            }
            self.command(command).unwrap();
        }
    }

    fn lease(
        &mut self,
        number: u128,
        slots: u32,
        (can_test, can_resume): (bool, bool),
        again: bool,
    ) -> Vec<LeasedJob> {
        let waiting = retries(&self.run.search);
        let retries = if again {
            waiting.clone()
        } else {
            BTreeSet::new()
        };
        let command = Command::LeaseJobs {
            worker: worker(number),
            slots,
            can_test,
            can_resume,
            retries,
        };
        let Reply::Leased(jobs) = self.command(command).unwrap() else {
            panic!("a lease is answered with jobs");
        };
        assert!(jobs.len() <= slots as usize);
        let left = self.run.search.checkpoints();
        for job in &jobs {
            let resumes = can_resume && left.contains_key(&job.trial);
            assert_eq!(job.job.checkpoint().is_some(), resumes);
        }
        assert!(again || jobs.iter().all(|job| !waiting.contains(&job.trial)));
        assert!(can_test || jobs.iter().all(|job| matches!(job.job, Job::Train { .. })));
        self.jobs
            .extend(jobs.iter().cloned().map(|job| (number, job)));
        jobs
    }

    /// The job that a number picks, counted from the last one leased.
    fn job(&self, index: usize) -> Option<(u128, LeasedJob)> {
        let last = self.jobs.len().checked_sub(1)?;
        Some(self.jobs[last - index % self.jobs.len()].clone())
    }

    fn act(&mut self, act: Act) {
        let command = match act {
            Act::Ask => {
                self.propose();
                return;
            }
            Act::Deliver {
                found,
                weights,
                stored,
            } => {
                self.deliver(found.map(|score| self.found(score, weights, stored)));
                return;
            }
            Act::Lease {
                worker,
                slots,
                can_test,
                can_resume,
                again,
            } => {
                self.lease(worker.into(), slots, (can_test, can_resume), again);
                return;
            }
            Act::Wait(time) => {
                self.run.now_ms += time;
                Some(Command::CheckTime)
            }
            Act::Pause => Some(Steer::Pause.into()),
            Act::Resume => Some(Steer::Resume.into()),
            Act::Stop => Some(Steer::Stop.into()),
            Act::Steer { wish, number } => self.wish(wish, number).map(Command::from),
            Act::Recover => {
                // What was under way is lost.
                self.run.in_flight.clear();
                Some(Command::Recover)
            }
            Act::Unknown => Some(Command::ExpireLease {
                trial: TrialNumber(1_000),
                attempt: AttemptNumber(1),
            }),
            of_a_job => self.of_a_job(of_a_job),
        };
        if let Some(command) = command {
            // Most of what comes too late is refused; `command` checks that it changes nothing.
            let _ = self.command(command);
        }
    }

    /// What a user may want, of a trial with this number or of something else.
    fn wish(&self, wish: u8, number: u32) -> Option<Steer> {
        let trial = TrialNumber(number);
        let limit = |change| Some(Steer::Limit(change));
        match wish {
            0 => Some(Steer::Cancel(trial)),
            1 => Some(Steer::Pin(trial)),
            2 => limit(LimitsChange {
                trials: Some(8 + number),
                ..LimitsChange::default()
            }),
            3 => limit(LimitsChange {
                parallel: Some(number - 1),
                weight: Some(number),
                ..LimitsChange::default()
            }),
            4 => {
                let proposal = self.proposed(trial)?;
                Some(Steer::Retry(vec![(trial, proposal)]))
            }
            // A candidate that is out on its way, a trial already, or neither.
            5 => Some(Steer::Enqueue {
                proposal: self.drawn(number)?,
                first: number.is_multiple_of(2),
            }),
            _ => Some(Steer::Ban {
                proposal: self.drawn(number)?,
            }),
        }
    }

    /// What a trial was proposed as.
    fn proposed(&self, wanted: TrialNumber) -> Option<Box<Prepared>> {
        let mut events = self.run.journal.iter();
        events.find_map(|(event, _)| match event {
            Event::TrialProposed {
                trial, proposal, ..
            } if *trial == wanted => Some(proposal.clone()),
            _ => None,
        })
    }

    /// One of a few candidates of the space, the same for the same number.
    fn drawn(&self, number: u32) -> Option<Box<Prepared>> {
        let definition = self.run.search.definition();
        let mut other = Proposer::new(definition);
        let answer = other.ask(u64::from(number));
        answer.outcome.ok()
    }

    fn of_a_job(&self, act: Act) -> Option<Command> {
        let index = match &act {
            Act::Report { job, .. }
            | Act::Complete { job, .. }
            | Act::Fail { job, .. }
            | Act::Release(job)
            | Act::BreakOff { job, .. }
            | Act::Expire(job)
            | Act::Weights { job, .. } => *job,
            _ => return None,
        };
        let (number, job) = self.job(index)?;
        let (trial, attempt) = (job.trial, job.attempt);
        let metric = job.objective.metric.as_str();
        Some(match act {
            Act::Report {
                number: message,
                step,
                ..
            } => Command::ReportMeasurement {
                worker: worker(number),
                trial,
                attempt,
                number: message,
                measurement: Measurement {
                    step,
                    metrics: Metrics::from([(metric, 0.5)]),
                },
            },
            Act::Complete {
                score,
                weights,
                stored,
                ..
            } => Command::CompleteJob {
                worker: worker(number),
                trial,
                attempt,
                completion: Completion {
                    weights: weights.map(|byte| Digest::of(&[byte])),
                    weights_stored: stored && weights.is_some(),
                    ..outcome(&job, score.map(|score| f64::from(score) / 10.0))
                },
            },
            Act::Fail {
                domain, diverged, ..
            } => Command::FailJob {
                trial,
                attempt,
                failure: failure(domain, diverged),
            },
            Act::Release(_) => Command::ReleaseJob {
                trial,
                attempt,
                reason: ReleaseReason::Worker,
            },
            Act::BreakOff { file, step, .. } => Command::RecordCheckpoint {
                worker: worker(number),
                trial,
                attempt,
                checkpoint: Checkpoint {
                    artifact: Digest::of(&[file]),
                    step,
                },
            },
            Act::Expire(_) => Command::ExpireLease { trial, attempt },
            Act::Weights { weights, .. } => Command::RecordWeights {
                trial,
                attempt,
                weights: Digest::of(&[weights]),
            },
            _ => return None,
        })
    }

    /// Serves the search as an honest worker would, until nothing more is to do.
    fn serve(&mut self) {
        // Two attempts for every trial and the work at the end, with room to spare.
        for _ in 0..200 {
            if matches!(self.run.search.phase(), Phase::Finished(_)) {
                return;
            }
            self.command(Steer::Resume.into()).unwrap();
            self.propose();
            self.deliver(None);
            for job in self.lease(7, 4, (true, true), true) {
                self.finish(&job);
            }
            // Whoever held something before is gone.
            let held: Vec<_> = self
                .run
                .search
                .live()
                .iter()
                .map(|(t, l)| (*t, l.attempt))
                .collect();
            for (trial, attempt) in held {
                match self.command(Command::ExpireLease { trial, attempt }) {
                    // The one before it may have ended the search, which then needs no upload any more.
                    Ok(_) | Err(Rejection::NotHeld { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
        panic!("the search does not end: {:?}", self.run.search);
    }

    fn finish(&mut self, job: &LeasedJob) {
        let weights = Digest::of(&job.trial.0.to_le_bytes());
        let command = Command::CompleteJob {
            worker: worker(7),
            trial: job.trial,
            attempt: job.attempt,
            completion: Completion {
                weights: Some(weights),
                ..outcome(job, Some(0.3))
            },
        };
        match self.command(command) {
            Ok(Reply::Weights(WeightsAnswer::Upload)) => {
                let command = Command::RecordWeights {
                    trial: job.trial,
                    attempt: job.attempt,
                    weights,
                };
                // Refused when the search was over with that completion.
                let _ = self.command(command);
            }
            Ok(_) | Err(Rejection::NotHeld { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// What a job ends with, when it ends well.
fn outcome(job: &LeasedJob, score: Option<f64>) -> Completion {
    let metric = job.objective.metric.as_str();
    match (&job.job, score) {
        (_, None) => Completion::default(),
        (Job::Train { .. }, Some(score)) => completion(metric, score),
        (Job::Test { .. }, Some(score)) => Completion {
            test_metrics: Metrics::from([(metric, score)]),
            ..Completion::default()
        },
    }
}

fn failure(domain: FailureDomain, diverged: bool) -> Failure {
    let kind = if diverged {
        FailureKind::Diverged
    } else {
        FailureKind::Crashed
    };
    Failure::new(domain, kind, "the last line")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        // The smallest failing input is printed; no file is left in the source tree.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_commands_keeps_the_promises((text, trials) in budgets(), acts in acts()) {
        let mut drive = Drive::new(&text, trials);
        for act in acts {
            drive.act(act);
        }
        let (replayed, _) = drive.run.replayed();
        prop_assert_eq!(&replayed, &drive.run.search);

        drive.serve();
        let (replayed, _) = drive.run.replayed();
        prop_assert_eq!(&replayed, &drive.run.search);
        for (event, _) in &drive.run.journal {
            let text = serde_json::to_string(event).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), event);
        }
    }
}

#[test]
fn a_search_whose_test_always_fails_finishes_and_says_so() {
    for domain in [
        FailureDomain::Candidate,
        FailureDomain::Worker,
        FailureDomain::User,
        FailureDomain::Internal,
    ] {
        let text = format!("{IMAGES}budget: {{trials: 3}}\nattempts: 2\n");
        let mut drive = Drive::new(&text, 3);
        let mut tests = 0;
        for _ in 0..20 {
            drive.propose();
            drive.deliver(None);
            for job in drive.lease(7, 1, (true, true), true) {
                if matches!(job.job, Job::Train { .. }) {
                    drive.finish(&job);
                    continue;
                }
                tests += 1;
                let (trial, attempt) = (job.trial, job.attempt);
                let failure = failure(domain, false);
                drive
                    .command(Command::FailJob {
                        trial,
                        attempt,
                        failure,
                    })
                    .unwrap();
            }
        }
        assert_eq!(
            *drive.run.search.phase(),
            Phase::Finished(FinishReason::Trials),
            "{domain:?}"
        );
        assert_eq!(tests, 2, "{domain:?}");
        assert!(drive.run.search.shortfall().is_some());
        assert!(drive.run.search.test_metrics().is_none());
    }
}

#[test]
fn an_honest_search_tests_its_best() {
    let mut drive = Drive::new(&format!("{IMAGES}budget: {{trials: 5}}\n"), 5);
    drive.serve();
    let search = &drive.run.search;
    assert_eq!(*search.phase(), Phase::Finished(FinishReason::Trials));
    assert_eq!(search.counts().leased, 5);
    assert_eq!(search.counts().completed, 5);
    assert!(search.counts().infeasible > 0, "the space has some");
    assert_eq!(search.test_metrics().unwrap().get("accuracy"), Some(0.3));
    assert_eq!(search.shortfall(), None);
}
