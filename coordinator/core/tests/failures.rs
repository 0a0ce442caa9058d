//! What failures come to: attempts that are capped, trials that end by them, and searches that pause since the fault is
//! the user's.

#![allow(clippy::unwrap_used)]

mod support;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::TrialNumber;
use espalier_common::job::LeasedJob;
use espalier_common::observation::Outcome;
use espalier_core::search::{Command, Effect, Event, PauseReason, Phase, Steer, Step, TrialState};
use support::{FLAT, Run, definition};

/// A search with so many trials proposed, whose trials have so many attempts.
fn run(trials: usize, attempts: u32) -> Run {
    let mut run = Run::new(&definition(&format!("{FLAT}\nattempts: {attempts}\n")));
    for _ in 0..trials {
        run.ask();
        run.deliver();
    }
    run
}

fn fail(run: &mut Run, job: &LeasedJob, failure: Failure) -> Step {
    let (trial, attempt) = (job.trial, job.attempt);
    let command = Command::FailJob {
        trial,
        attempt,
        failure,
    };
    run.command(command).unwrap()
}

/// A crash whose last words differ from another's in a number alone.
fn crash(number: u32) -> Failure {
    let mut failure = Failure::new(FailureDomain::Worker, FailureKind::Crashed, "exit status 1");
    failure.log_tail = format!("Traceback\nKeyError: no column 'label' in line {number}\n");
    failure
}

fn is_paused(run: &Run) -> bool {
    matches!(run.search.phase(), Phase::Paused(_))
}

#[test]
fn three_different_candidates_in_a_row_with_the_same_last_line_pause_the_search() {
    for domain in [
        FailureDomain::Worker,
        FailureDomain::Internal,
        FailureDomain::Candidate,
    ] {
        let mut run = run(3, 9);
        let jobs = run.lease(1, 3);
        for (number, job) in (1..).zip(&jobs) {
            assert!(!is_paused(&run), "after {} in domain {domain}", number - 1);
            let failure = Failure {
                domain,
                ..crash(number)
            };
            fail(&mut run, job, failure);
        }
        let Phase::Paused(PauseReason::Failure(reason)) = run.search.phase() else {
            panic!("{:?} in domain {domain}", run.search.phase());
        };
        assert!(reason.contains("3 different candidates"), "{reason}");
        assert!(
            reason.contains("KeyError: no column 'label' in line 3"),
            "{reason}"
        );
        assert_eq!(run.lease(1, 9), []);
        assert_eq!(run.replayed().0, run.search);
    }
}

#[test]
fn one_candidate_that_fails_again_and_again_and_failures_that_differ_pause_nothing() {
    let mut run = run(4, 99);
    for number in 0..5 {
        let job = run.lease(1, 1).remove(0);
        assert_eq!(job.trial, TrialNumber(1));
        fail(&mut run, &job, crash(number));
    }
    assert!(!is_paused(&run));
    // A second trial makes it two; with other words in between, two more do not make three.
    let jobs = run.lease(1, 4);
    fail(&mut run, &jobs[1], crash(1));
    let other = Failure::new(FailureDomain::Worker, FailureKind::Evaluator, "no space");
    fail(&mut run, &jobs[2], other);
    fail(&mut run, &jobs[0], crash(1));
    fail(&mut run, &jobs[3], crash(1));
    assert!(!is_paused(&run));
    // Yet the third in a row does.
    let again = run.lease(1, 4);
    let second = again.iter().find(|job| job.trial.0 == 2).unwrap();
    fail(&mut run, second, crash(1));
    assert!(is_paused(&run));
}

#[test]
fn a_success_or_a_resumed_search_begins_to_count_anew() {
    for succeeds in [false, true] {
        let mut run = run(6, 9);
        let jobs = run.lease(1, 6);
        for job in &jobs[..2] {
            fail(&mut run, job, crash(1));
        }
        if succeeds {
            run.complete(1, &jobs[2], 0.5);
        } else {
            run.command(Steer::Pause.into()).unwrap();
            run.command(Steer::Resume.into()).unwrap();
        }
        for job in &jobs[3..5] {
            fail(&mut run, job, crash(1));
            assert!(!is_paused(&run));
        }
        fail(&mut run, &jobs[5], crash(1));
        assert!(is_paused(&run), "three after it are three");
    }
}

#[test]
fn what_is_the_candidates_own_business_pauses_nothing_and_breaks_no_row() {
    use FailureDomain::{Candidate, Worker};
    let own = [
        (Candidate, FailureKind::Diverged),
        (Candidate, FailureKind::OutOfMemory),
        (Worker, FailureKind::OutOfMemory),
        (Candidate, FailureKind::Data),
    ];
    for (domain, kind) in own {
        let mut run = run(8, 9);
        let jobs = run.lease(1, 8);
        let failure = Failure::new(domain, kind, "as ever");
        for job in &jobs[..5] {
            fail(&mut run, job, failure.clone());
            assert!(!is_paused(&run), "{failure:?}");
        }
        fail(&mut run, &jobs[5], crash(1));
        fail(&mut run, &jobs[6], crash(1));
        assert!(!is_paused(&run), "{failure:?}");
        let again = run.lease(1, 8);
        if let Some(job) = again.iter().find(|job| job.trial.0 == 1) {
            fail(&mut run, job, failure.clone());
        }
        fail(&mut run, &jobs[7], crash(1));
        assert!(is_paused(&run), "three in a row but for {failure:?}");
    }
}

#[test]
fn attempts_that_the_worker_or_espalier_failed_are_capped_and_then_it_is_the_candidates_fault() {
    for domain in [FailureDomain::Worker, FailureDomain::Internal] {
        let mut run = run(1, 3);
        let failure = |number: u32| {
            let words = format!("the disk of machine {number} is full");
            let mut failure = Failure::new(domain, FailureKind::Disk, words);
            failure.log_tail = "its log".to_owned();
            failure
        };
        for number in 1..3 {
            let job = run.lease(1, 1).remove(0);
            let step = fail(&mut run, &job, failure(number));
            assert_eq!(step.effects, [], "the searcher is told nothing");
            assert_eq!(run.search.counts().failed, 0);
            assert_eq!(run.search.queued(), 1);
        }
        let job = run.lease(1, 1).remove(0);
        let step = fail(&mut run, &job, failure(3));
        let ended = step.events.iter().find_map(|event| match event {
            Event::TrialFailed { failure, .. } => Some(failure),
            _ => None,
        });
        let ended = ended.unwrap();
        assert_eq!(ended.domain, FailureDomain::Candidate);
        assert_eq!(ended.kind, FailureKind::AttemptsExhausted);
        assert!(
            ended.message.contains("3 attempts failed") && ended.message.contains("machine 3"),
            "{ended:?}"
        );
        assert_eq!(ended.log_tail, "its log");
        let told = step.effects.iter().any(|effect| {
            matches!(effect, Effect::Tell(told)
                if told.trial == Some(job.trial) && told.outcome == Outcome::Failed)
        });
        assert!(told, "{:?}", step.effects);
        let trial = run.search.trial(job.trial).unwrap();
        assert_eq!(trial.state, TrialState::Failed);
        assert_eq!(trial.ended_by, Some(job.attempt));
        assert_eq!(run.lease(1, 1), []);
        assert_eq!(run.replayed().0, run.search);
    }
}

#[test]
fn what_the_user_is_to_mend_costs_no_attempt() {
    let mut run = run(1, 2);
    let failure = Failure::new(FailureDomain::User, FailureKind::Data, "no such folder");
    for _ in 0..5 {
        let job = run.lease(1, 1).remove(0);
        fail(&mut run, &job, failure.clone());
        assert!(is_paused(&run));
        run.command(Steer::Resume.into()).unwrap();
    }
    let job = run.lease(1, 1).remove(0);
    run.complete(1, &job, 0.5);
    assert_eq!(run.search.counts().completed, 1);
}
