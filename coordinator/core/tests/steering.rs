//! What users change of a search while it runs: limits, candidates of their own, trials given up or tried again.

// Test code, though not in a `#[test]` function: a failure here is to fail the test.
#![allow(clippy::unwrap_used)]

mod support;

use espalier_common::candidate::Candidate;
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::TrialNumber;
use espalier_common::job::LeasedJob;
use espalier_core::search::{
    Command, Completion, DropReason, Effect, Event, FinishReason, LimitsChange, Phase, Prepared,
    Rejection, Reply, Steer, TrialState,
};
use espalier_core::searcher::{AskPlaces, Replay, prepare};
use support::{FLAT, Run, definition};

/// The candidate whose decisions all have one value.
fn constant(run: &Run, value: i64) -> Box<Prepared> {
    let decisions: Vec<(String, i64)> = ('a'..='h')
        .map(|name| (format!("hyperparameters.{name}"), value))
        .collect();
    let candidate: Candidate = serde_json::from_value(
        serde_json::to_value(
            decisions
                .into_iter()
                .collect::<std::collections::BTreeMap<_, _>>(),
        )
        .unwrap(),
    )
    .unwrap();
    let definition = run.search.definition();
    Box::new(prepare(definition, candidate, Steer::origin()).unwrap())
}

fn refusal(run: &mut Run, steer: Steer) -> String {
    let before = run.search.clone();
    let refused = run.command(steer.into()).unwrap_err();
    assert_eq!(run.search, before, "a refusal changes nothing");
    refused.to_string()
}

fn state(run: &Run, trial: u32) -> TrialState {
    run.search.trial(TrialNumber(trial)).unwrap().state
}

fn ask(run: &mut Run) {
    run.ask();
    run.deliver();
}

fn fail(run: &mut Run, job: &LeasedJob, message: &str) {
    let (trial, attempt) = (job.trial, job.attempt);
    let failure = Failure::new(FailureDomain::Candidate, FailureKind::Diverged, message);
    let command = Command::FailJob {
        trial,
        attempt,
        failure,
    };
    run.command(command).unwrap();
}

/// What was proposed, as the journal has it.
fn proposal_of(run: &Run, wanted: TrialNumber) -> Box<Prepared> {
    let mut events = run.journal.iter();
    let found = events.find_map(|(event, _)| match event {
        Event::TrialProposed {
            trial, proposal, ..
        } if *trial == wanted => Some(proposal.clone()),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn every_wish_is_an_event_that_says_who_and_what() {
    let mut run = Run::new(&definition(FLAT));
    let step = run
        .command(Command::Steer {
            steer: Steer::Pause,
            by: Some("alice@lab".to_owned()),
        })
        .unwrap();
    assert_eq!(
        step.events[0],
        Event::Steered {
            by: Some("alice@lab".to_owned()),
            wish: "pause".to_owned()
        }
    );
    assert_eq!(run.search.phase_by(), Some("alice@lab"));
    // What is so already is no event.
    assert!(run.command(Steer::Pause.into()).unwrap().events.is_empty());
    run.command(Steer::Resume.into()).unwrap();
    assert_eq!(run.search.phase_by(), None);
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn a_wish_about_a_candidate_says_which_and_as_which_trial_it_is_known() {
    let mut run = Run::new(&definition(FLAT));
    let wish = |run: &mut Run, steer: Steer| {
        let step = run.command(steer.into()).unwrap();
        match &step.events[0] {
            Event::Steered { wish, .. } => wish.clone(),
            other => panic!("{other:?}"),
        }
    };
    let proposals = [0, 1, 2].map(|value| constant(&run, value));
    let [own, first, never] = proposals;
    let short = |proposal: &Prepared| proposal.candidate_id.short();
    let enqueue = |proposal: &Prepared, first| Steer::Enqueue {
        proposal: Box::new(proposal.clone()),
        first,
    };
    let ban = |proposal: &Prepared| Steer::Ban {
        proposal: Box::new(proposal.clone()),
    };
    let said = wish(&mut run, enqueue(&own, false));
    assert_eq!(
        said,
        format!("enqueue candidate {} as trial 1", short(&own))
    );
    let said = wish(&mut run, enqueue(&first, true));
    assert_eq!(
        said,
        format!(
            "enqueue candidate {} as trial 2, before all others",
            short(&first)
        )
    );
    let said = wish(&mut run, ban(&never));
    assert_eq!(said, format!("ban candidate {} as trial 3", short(&never)));
    assert_eq!(state(&run, 3), TrialState::Infeasible);
    let said = wish(&mut run, ban(&own));
    assert_eq!(said, format!("ban candidate {} of trial 1", short(&own)));
}

#[test]
fn a_budget_that_is_extended_goes_on_and_one_that_is_used_cannot_be_taken_back() {
    let mut run = Run::new(&definition(&FLAT.replace("trials: 100", "trials: 2")));
    let limit = |trials| {
        Steer::Limit(LimitsChange {
            trials: Some(trials),
            ..LimitsChange::default()
        })
    };
    ask(&mut run);
    ask(&mut run);
    assert_eq!(run.search.proposals_wanted(), 0);
    assert!(refusal(&mut run, limit(1)).contains("2 have been proposed"));
    assert!(refusal(&mut run, limit(0)).contains("between 1 and"));
    run.command(limit(3).into()).unwrap();
    assert_eq!(run.search.proposals_wanted(), 1);
    ask(&mut run);
    for job in run.lease(1, 9) {
        run.complete(1, &job, 0.5);
    }
    assert_eq!(run.search.counts().completed, 3);
    assert_eq!(*run.search.phase(), Phase::Finished(FinishReason::Trials));
    assert!(refusal(&mut run, limit(9)).contains("the search has ended"));
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn a_wish_says_what_is_to_be_set() {
    let mut run = Run::new(&definition(FLAT));
    let change = LimitsChange {
        trials: Some(200),
        time_ms: Some(5_400_000),
        deadline_ms: Some(4_102_444_800_000),
        parallel: Some(0),
        ..LimitsChange::default()
    };
    let step = run.command(Steer::Limit(change).into()).unwrap();
    let Event::Steered { wish, .. } = &step.events[0] else {
        panic!("{:?}", step.events);
    };
    let words = "set trials 200, time 5400 s, deadline 2100-01-01T00:00:00Z, parallel all";
    assert_eq!(wish, words);
}

#[test]
fn fewer_trials_at_one_time_take_effect_with_the_next_lease() {
    let mut run = Run::new(&definition(FLAT));
    let parallel = |limit| {
        Steer::Limit(LimitsChange {
            parallel: Some(limit),
            ..LimitsChange::default()
        })
    };
    (0..6).for_each(|_| ask(&mut run));
    run.command(parallel(2).into()).unwrap();
    assert_eq!(run.lease(1, 9).len(), 2);
    run.command(parallel(0).into()).unwrap();
    assert_eq!(run.search.free_parallel(), u32::MAX);
    assert_eq!(run.lease(1, 9).len(), 4);
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn a_deadline_ends_a_search_whatever_it_does_and_running_trials_may_end() {
    let spec = FLAT.replace(
        "budget: {trials: 100}",
        "budget: {deadline: 1970-01-01T00:01:40Z}",
    );
    let mut run = Run::new(&definition(&spec));
    ask(&mut run);
    ask(&mut run);
    let job = run.lease(1, 1).remove(0);
    run.now_ms = 99_000;
    assert_eq!(run.search.time_to_look_ms(99_000), Some(1_000));
    run.command(Command::CheckTime).unwrap();
    assert_eq!(*run.search.phase(), Phase::Running);
    // Paused or not.
    run.command(Steer::Pause.into()).unwrap();
    run.now_ms = 100_000;
    run.command(Command::CheckTime).unwrap();
    assert_eq!(
        *run.search.phase(),
        Phase::Finishing(FinishReason::Deadline)
    );
    assert_eq!(state(&run, 2), TrialState::Cancelled);
    run.complete(1, &job, 0.5);
    assert_eq!(*run.search.phase(), Phase::Finished(FinishReason::Deadline));
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn a_candidate_of_the_users_runs_first_and_its_searcher_hears_of_it() {
    let mut run = Run::new(&definition(&format!(
        "{FLAT}\nsearcher: {{evolution: {{population: 1}}}}\n"
    )));
    (0..3).for_each(|_| ask(&mut run));
    let proposal = constant(&run, 3);
    let enqueue = |first| Steer::Enqueue {
        proposal: proposal.clone(),
        first,
    };
    run.command(enqueue(true).into()).unwrap();
    assert!(refusal(&mut run, enqueue(false)).contains("is trial 4 already, which is queued"));
    let job = run.lease(1, 1).remove(0);
    assert_eq!(job.trial, TrialNumber(4));
    assert_eq!(job.decisions, proposal.candidate);
    run.complete(1, &job, 0.9);
    assert_eq!(run.search.best().unwrap().trial, TrialNumber(4));
    // With a population of one it is the parent of whatever comes next.
    ask(&mut run);
    let queued = run.lease(1, 9).pop().unwrap();
    let differing = |job: &LeasedJob| {
        let pairs = job.decisions.0.iter().zip(&proposal.candidate.0);
        pairs.filter(|(one, other)| one != other).count()
    };
    assert_eq!(differing(&queued), 1, "{:?}", queued.decisions);
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn a_used_up_budget_has_no_room_for_a_candidate_of_the_users() {
    let mut run = Run::new(&definition(&FLAT.replace("trials: 100", "trials: 1")));
    ask(&mut run);
    let proposal = constant(&run, 3);
    let enqueue = Steer::Enqueue {
        proposal,
        first: false,
    };
    assert!(refusal(&mut run, enqueue).contains("the budget of 1 trials is used up"));
}

#[test]
fn what_is_cancelled_before_it_ran_costs_nothing_and_what_ran_stays_charged() {
    let mut run = Run::new(&definition(&FLAT.replace("trials: 100", "trials: 3")));
    (0..3).for_each(|_| ask(&mut run));
    let job = run.lease(1, 1).remove(0);
    let cancel = |trial| Steer::Cancel(TrialNumber(trial));
    let step = run.command(cancel(1).into()).unwrap();
    let dropped = |effect: &Effect| matches!(effect, Effect::Drop { trial, .. } if trial.0 == 1);
    assert!(
        step.effects.iter().any(dropped),
        "its worker is told: {:?}",
        step.effects
    );
    assert_eq!(run.search.proposals_wanted(), 0);
    run.command(cancel(3).into()).unwrap();
    assert_eq!(
        run.search.proposals_wanted(),
        1,
        "a trial that never ran is free"
    );
    assert!(run.command(cancel(3).into()).unwrap().events.is_empty());
    assert!(refusal(&mut run, cancel(9)).contains("no trial 9"));
    // A late result of a cancelled trial is refused.
    let late = Command::CompleteJob {
        worker: support::worker(1),
        trial: job.trial,
        attempt: job.attempt,
        completion: Default::default(),
    };
    let refused = run.command(late).unwrap_err();
    assert!(matches!(refused, Rejection::NotHeld { .. }), "{refused}");
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn a_pinned_trial_runs_before_those_that_wait_longer() {
    let mut run = Run::new(&definition(FLAT));
    (0..4).for_each(|_| ask(&mut run));
    run.command(Steer::Pin(TrialNumber(3)).into()).unwrap();
    let order: Vec<u32> = run.lease(1, 9).iter().map(|job| job.trial.0).collect();
    assert_eq!(order, [3, 1, 2, 4]);
    assert!(refusal(&mut run, Steer::Pin(TrialNumber(3))).contains("is running"));
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn a_banned_candidate_is_never_proposed_and_a_banned_trial_is_cancelled() {
    // Two candidates in all.
    let spec = "
name: two
hyperparameters: {a: {choice: [0, 1]}}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 100}
";
    let mut run = Run::new(&definition(spec));
    let of = |run: &Run, value: i64| {
        let json = serde_json::json!({ "hyperparameters.a": value });
        let candidate = serde_json::from_value(json).unwrap();
        let definition = run.search.definition();
        Box::new(prepare(definition, candidate, Steer::origin()).unwrap())
    };
    let proposal = of(&run, 0);
    let ban = Steer::Ban { proposal };
    run.command(ban.clone().into()).unwrap();
    assert_eq!(state(&run, 1), TrialState::Infeasible);
    assert!(
        run.command(ban.into()).unwrap().events.is_empty(),
        "it is so already"
    );
    ask(&mut run);
    let job = run.lease(1, 1).remove(0);
    assert_eq!(job.decisions, of(&run, 1).candidate);
    let proposal = of(&run, 1);
    run.command(Steer::Ban { proposal }.into()).unwrap();
    assert_eq!(state(&run, 2), TrialState::Cancelled);
    ask(&mut run);
    assert!(
        matches!(
            run.search.phase(),
            Phase::Finished(FinishReason::Exhausted(_))
        ),
        "{:?}",
        run.search.phase()
    );
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn a_ban_holds_whatever_became_of_the_trial_and_nothing_that_is_banned_runs_again() {
    let mut run = Run::new(&definition(FLAT));
    (0..4).for_each(|_| ask(&mut run));
    let proposals: Vec<_> = (1..=4)
        .map(|trial| (TrialNumber(trial), proposal_of(&run, TrialNumber(trial))))
        .collect();
    // One has failed, one was cancelled, one waits; the fourth fails as well and is not banned.
    let jobs = run.lease(1, 2);
    fail(&mut run, &jobs[0], "the disk was full");
    fail(&mut run, &jobs[1], "the disk was full");
    run.command(Steer::Cancel(TrialNumber(3)).into()).unwrap();
    for (trial, proposal) in [&proposals[0], &proposals[2], &proposals[3]] {
        let ban = || Steer::Ban {
            proposal: proposal.clone(),
        };
        assert!(
            !run.command(ban().into()).unwrap().events.is_empty(),
            "{trial}"
        );
        assert!(
            run.command(ban().into()).unwrap().events.is_empty(),
            "{trial}"
        );
        let again = Steer::Retry(vec![(*trial, proposal.clone())]);
        let step = run.command(again.into()).unwrap();
        assert!(step.events.is_empty(), "{trial}");
        let Reply::Retried { banned } = step.reply else {
            panic!("{:?}", step.reply);
        };
        assert_eq!(banned[0].0, *trial);
        assert!(banned[0].1.0 > 4, "{banned:?}");
    }
    assert_eq!(state(&run, 1), TrialState::Failed);
    assert_eq!(state(&run, 4), TrialState::Cancelled);
    let failed = Steer::Retry(proposals[..2].to_vec());
    let step = run.command(failed.into()).unwrap();
    assert_eq!(state(&run, 1), TrialState::Failed, "it is banned");
    let banned = vec![(TrialNumber(1), TrialNumber(5))];
    assert_eq!(step.reply, Reply::Retried { banned });
    assert!(
        matches!(&step.events[0], Event::Steered { wish, .. } if wish == "retry trial 2"),
        "{:?}",
        step.events
    );
    assert_eq!(state(&run, 2), TrialState::Queued);
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn failed_trials_run_again_under_their_numbers_and_are_charged_once() {
    let mut run = Run::new(&definition(&FLAT.replace("trials: 100", "trials: 3")));
    (0..3).for_each(|_| ask(&mut run));
    let jobs = run.lease(1, 2);
    for job in &jobs {
        fail(&mut run, job, "the disk was full");
    }
    assert_eq!(run.search.counts().failed, 2);
    let proposals: Vec<_> = jobs
        .iter()
        .map(|job| (job.trial, proposal_of(&run, job.trial)))
        .collect();
    run.command(Steer::Retry(proposals.clone()).into()).unwrap();
    assert_eq!(
        (state(&run, 1), run.search.counts().failed),
        (TrialState::Queued, 0)
    );
    assert_eq!(run.search.proposals_wanted(), 0, "they were charged before");
    // Said twice, done once.
    run.command(Steer::Retry(proposals.clone()).into()).unwrap();
    let again = run.lease(1, 9);
    assert_eq!(again.len(), 3);
    assert!(
        again
            .iter()
            .all(|job| job.attempt.0 == if job.trial.0 == 3 { 1 } else { 2 })
    );
    for job in &again {
        run.complete(1, job, f64::from(job.trial.0));
    }
    assert_eq!(run.search.counts().completed, 3);
    assert_eq!(*run.search.phase(), Phase::Finished(FinishReason::Trials));
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn a_result_of_before_a_retry_is_refused_and_its_compute_counts_once() {
    let mut run = Run::new(&definition(&format!("{FLAT}\nattempts: 2\n")));
    ask(&mut run);
    let lost = |run: &mut Run, after_ms| {
        let job = run.lease(1, 1).remove(0);
        run.now_ms += after_ms;
        let (trial, attempt) = (job.trial, job.attempt);
        run.command(Command::ExpireLease { trial, attempt })
            .unwrap();
        job
    };
    let late = |run: &mut Run, job: &LeasedJob, seconds| {
        run.command(Command::CompleteJob {
            worker: support::worker(1),
            trial: job.trial,
            attempt: job.attempt,
            completion: Completion {
                seconds,
                ..support::completion("score", 0.5)
            },
        })
    };
    let before = [lost(&mut run, 5_000), lost(&mut run, 7_000)];
    assert_eq!(state(&run, 1), TrialState::Failed);
    let proposal = proposal_of(&run, TrialNumber(1));
    run.command(Steer::Retry(vec![(TrialNumber(1), proposal)]).into())
        .unwrap();
    // Neither while the trial waits nor while it runs.
    let mut again = None;
    for _ in 0..2 {
        for job in &before {
            let known = run.search.clone();
            let refused = late(&mut run, job, 9.0).unwrap_err();
            let reason = DropReason::Stale;
            let (trial, attempt) = (job.trial, job.attempt);
            let stale = Rejection::NotHeld {
                trial,
                attempt,
                reason,
            };
            assert_eq!(refused, stale);
            assert_eq!(run.search, known);
        }
        again = again.or_else(|| run.lease(1, 1).pop());
    }
    assert_eq!(run.search.compute_seconds(), 12.0);
    // One of after it counts however late it is, with what it took beyond what is counted.
    let again = again.unwrap();
    run.now_ms += 4_000;
    let (trial, attempt) = (again.trial, again.attempt);
    run.command(Command::ExpireLease { trial, attempt })
        .unwrap();
    late(&mut run, &again, 6.0).unwrap();
    assert_eq!(state(&run, 1), TrialState::Completed);
    assert_eq!(run.search.compute_seconds(), 18.0);
    assert_eq!(run.replayed().0, run.search);
}

#[test]
fn only_what_failed_or_was_cancelled_is_tried_again_and_only_as_it_was() {
    let mut run = Run::new(&definition(FLAT));
    ask(&mut run);
    ask(&mut run);
    let job = run.lease(1, 1).remove(0);
    let own = proposal_of(&run, job.trial);
    run.complete(1, &job, 0.1);
    let retry = |proposal| Steer::Retry(vec![(TrialNumber(1), proposal)]);
    assert!(refusal(&mut run, retry(own)).contains("trial 1 is completed"));
    let other = constant(&run, 2);
    assert!(refusal(&mut run, retry(other)).contains("another candidate"));
}

#[test]
fn a_replay_of_a_search_that_was_steered_finds_no_difference() {
    for searcher in ["evolution", "bayesian", "reinforce", "tpe", "local-search"] {
        let mut run = Run::new(&support::definition_with(FLAT, searcher, 60, 7));
        for round in 0..12_u32 {
            // Two asks are out while the user steers.
            run.ask();
            run.ask();
            let proposal = constant(&run, i64::from(round % 4));
            let steer = match round % 4 {
                0 => Steer::Enqueue {
                    proposal,
                    first: true,
                },
                1 => Steer::Ban { proposal },
                2 => Steer::Cancel(TrialNumber(round)),
                _ => Steer::Pin(TrialNumber(round)),
            };
            let _ = run.command(steer.into());
            run.deliver();
            run.deliver();
            let jobs = run.lease(1, 2);
            for job in &jobs {
                if round % 3 == 0 {
                    fail(&mut run, job, "diverged");
                    let trials = vec![(job.trial, proposal_of(&run, job.trial))];
                    run.command(Steer::Retry(trials).into()).unwrap();
                } else {
                    let score = support::toy_score(&job.decisions);
                    run.complete(1, job, score);
                }
            }
        }
        assert!(run.search.counts().completed > 10, "{searcher}");
        assert_eq!(run.replayed().0, run.search, "{searcher}");
        let mut places = AskPlaces::default();
        run.journal.iter().for_each(|(event, _)| places.read(event));
        let (first, time) = &run.journal[0];
        let mut replay = Replay::begin(run.search.id(), first, *time, places).unwrap();
        run.journal[1..]
            .iter()
            .for_each(|(event, time)| replay.read(event, *time));
        let findings = replay.findings();
        assert_eq!(
            (findings.differing, findings.unplaced),
            (0, 0),
            "{searcher}: {findings:?}"
        );
        assert!(findings.compared > 20, "{searcher}");
    }
}
