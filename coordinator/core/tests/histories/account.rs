//! What must hold after every step, beside what the second account of the events says: no result that was
//! acknowledged is lost, budgets of time and compute agree with virtual time, nothing is stuck.

use std::collections::BTreeMap;

use espalier_common::ids::{AttemptKey, SearchId};
use espalier_core::search::{Event, FinishReason, Phase, ReleaseReason, Search, TrialState};

use super::agenda::{Agenda, Answer, Call, Caller};
use super::coordinator::{Disk, LOOK_EVERY, Live};
use super::worker::score;

/// So much running time may be lost when the coordinator dies, and is then not in the budget.
const LOST_MS: u64 = 60_000;

/// A shorter stall may not be noticed.
const STOOD_STILL: u64 = 5_000;

/// Virtual time without the stalls that must be noticed: those count in no budget.
fn passed(stalls: &[(u64, u64)], now: u64) -> u64 {
    let long = stalls
        .iter()
        .filter(|(from, until)| until - from > STOOD_STILL);
    let still = long.map(|(from, until)| now.min(*until).saturating_sub(*from));
    now - still.sum::<u64>()
}

/// What is known from outside of the core.
#[derive(Default)]
pub struct Account {
    /// Completions that workers asked for, until they are answered.
    asked: BTreeMap<(usize, u64, u64), AttemptKey>,
    /// Completions whose workers may forget them.
    acknowledged: Vec<AttemptKey>,
    /// In virtual time, when each attempt began and stopped running.
    begun: BTreeMap<AttemptKey, u64>,
    ended: BTreeMap<AttemptKey, u64>,
    /// Since when each search had something leased.
    first: BTreeMap<SearchId, u64>,
    /// Running time of each search while there was a coordinator that did not stand still, and since when it goes on.
    ran: BTreeMap<SearchId, (u64, Option<u64>)>,
    /// The budget of time of each search, and how long it had run when a user set that.
    set: BTreeMap<SearchId, (Option<u64>, u64)>,
    crashes: u64,
    /// From when until when the coordinator stood still.
    stalls: Vec<(u64, u64)>,
}

impl Account {
    pub fn asked(&mut self, caller: Caller, call: &Call) {
        if let Call::Complete {
            key, completion, ..
        } = call
            && !(completion.measurements.is_empty() && completion.test_metrics.0.is_empty())
        {
            self.asked
                .insert((caller.worker, caller.start, caller.call), *key);
        }
    }

    pub fn answered(&mut self, caller: Caller, answer: &Answer) {
        let key = self
            .asked
            .remove(&(caller.worker, caller.start, caller.call));
        if let (Some(key), Answer::Weights(_)) = (key, answer) {
            self.acknowledged.push(key);
        }
    }

    pub fn begun(&mut self, now: u64, key: AttemptKey) {
        self.begun.insert(key, now);
        self.ended.remove(&key);
        self.first.entry(key.search).or_insert(now);
    }

    pub fn ended(&mut self, now: u64, key: AttemptKey) {
        self.ended.insert(key, now);
    }

    pub fn crashed(&mut self, now: u64) {
        self.crashes += 1;
        if let Some((_, until)) = self.stalls.last_mut() {
            *until = now.min(*until);
        }
        let passed = passed(&self.stalls, now);
        for (ran, since) in self.ran.values_mut() {
            *ran += since.take().map_or(0, |since| passed - since);
        }
    }

    pub fn stalled(&mut self, from: u64, until: u64) {
        match self.stalls.last_mut() {
            Some((_, last)) if *last >= from => *last = until.max(*last),
            _ => self.stalls.push((from, until)),
        }
    }

    pub fn happened(&mut self, agenda: &mut Agenda, search: &Search, event: &Event) {
        let what = match event {
            Event::TrialCompleted { trial, attempt, .. } => {
                let given = search.trial(*trial).map_or(0, |known| known.attempts);
                if given > attempt.0 {
                    "stale completion taken"
                } else {
                    "trial completed"
                }
            }
            Event::TrialRetrained { .. } => "best trained again",
            Event::UploadResumed { .. } => "upload resumed",
            Event::WeightsStored { .. } => "weights stored",
            Event::CheckpointStored { .. } => "checkpoint stored",
            Event::JobLeased { job, .. } if job.checkpoint().is_some() => {
                "trial gone on with from a checkpoint"
            }
            Event::TestCompleted { .. } => "best tested",
            Event::AttemptFailed { .. } => "attempt failed",
            Event::TrialFailed { .. } => "trial failed",
            Event::TrialCancelled { .. } => "trial cancelled",
            Event::SearchPaused { .. } => "search paused",
            Event::SearchRecovered => "search recovered",
            Event::TimePassed => "passing of time noted",
            Event::ClockJumped { by_ms } if *by_ms < 0 => "clock set back",
            Event::ClockJumped { .. } => "clock jumped",
            Event::AttemptReleased {
                reason: ReleaseReason::ReplyLost,
                ..
            } => "lease came back, its reply was lost",
            Event::AttemptReleased { .. } => "attempt released",
            Event::SearchFinished { reason, .. } => match reason {
                FinishReason::Trials => "finished: trials",
                FinishReason::Time => "finished: time",
                FinishReason::Target => "finished: target",
                FinishReason::Patience => "finished: patience",
                FinishReason::Compute => "finished: compute",
                FinishReason::Deadline => "finished: deadline",
                FinishReason::Stopped => "finished: stopped",
                _ => "finished: otherwise",
            },
            _ => return,
        };
        agenda.note(what);
    }

    /// After each command to a search.
    pub fn check(&mut self, agenda: &Agenda, search: &Search, unix: u64) {
        let id = search.id();
        let runs = *search.phase() == Phase::Running && search.counts().leased > 0;
        let now = passed(&self.stalls, agenda.now);
        let (ran, since) = self.ran.entry(id).or_default();
        match (runs, *since) {
            (true, None) => *since = Some(now),
            (false, Some(from)) => {
                *ran += now - from;
                *since = None;
            }
            _ => {}
        }
        let so_far = *ran + since.map_or(0, |from| now - from);
        let budget = search.limits().budget.time_ms;
        let set = self.set.entry(id).or_insert((budget, 0));
        if set.0 != budget {
            *set = (budget, so_far);
        }
        // Of the time budget no more is used up than time has passed, but for what nobody can notice.
        let first = self.first.get(&id);
        let passed = first.map_or(0, |first| now - passed(&self.stalls, *first));
        let elapsed = search.elapsed_ms(unix);
        assert!(
            elapsed <= passed,
            "{elapsed} ms count as elapsed, and {passed} have passed"
        );
        check_goes_on(search, unix);
        self.check_acknowledged(search);
    }

    /// Every completion that was acknowledged is that of a trial with a score.
    fn check_acknowledged(&self, search: &Search) {
        for key in self
            .acknowledged
            .iter()
            .filter(|key| key.search == search.id())
        {
            let state = search.trial(key.trial).map(|trial| trial.state);
            assert_eq!(
                state,
                Some(TrialState::Completed),
                "the result of {key:?} was acknowledged"
            );
        }
    }

    /// A start has read the journal.
    pub fn check_after_start(&self, searches: &[Live]) {
        for live in searches {
            self.check_acknowledged(&live.search);
        }
    }

    /// When everything has come to an end.
    pub fn check_end(&self, agenda: &Agenda, disk: &Disk, searches: &[Live]) {
        for (live, (id, events)) in searches.iter().zip(&disk.searches) {
            let search = &live.search;
            assert_eq!(
                Live::read(*id, events).search,
                *search,
                "the journal replays to the state"
            );
            let Phase::Finished(reason) = search.phase() else {
                panic!("{:?}", search.phase())
            };
            let budget = &search.limits().budget;
            let counts = search.counts();
            if *reason == FinishReason::Trials {
                assert_eq!(Some(counts.leased), budget.trials, "the budget is exact");
            }
            if let (FinishReason::Time, Some(time)) = (reason, budget.time_ms) {
                let (ran, _) = self.ran[id];
                let unnoticed = self.stalls.iter().map(|(from, until)| {
                    let short = Some(until - from).filter(|time| *time <= STOOD_STILL);
                    short.unwrap_or(0) + LOOK_EVERY
                });
                let slack = self.crashes * LOST_MS + unnoticed.sum::<u64>() + 2 * LOOK_EVERY;
                assert!(ran >= time, "{ran} of {time} ms");
                // Less than it has run already ends a search at once.
                let (_, before) = self.set[id];
                assert!(
                    ran <= time.max(before) + slack,
                    "{ran} of {time} ms, {slack} may be more"
                );
            }
            for (number, trial) in search
                .trials()
                .filter(|(_, trial)| trial.state == TrialState::Completed)
            {
                let attempt = trial.ended_by.expect("some attempt has completed it");
                let key = AttemptKey {
                    search: *id,
                    trial: number,
                    attempt,
                };
                let to = search.definition().spec.space.training.epochs;
                assert_eq!(trial.score, Some(score(key, to)), "{key:?}");
            }
            self.check_compute(agenda, search, events);
            check_budgets(*id, events);
        }
    }

    /// Compute is what every attempt was held for, or said that it took when that is more: never both.
    fn check_compute(&self, agenda: &Agenda, search: &Search, events: &[(Event, u64)]) {
        let (mut held, mut told) = (BTreeMap::new(), BTreeMap::new());
        let key = |trial, attempt| AttemptKey {
            search: search.id(),
            trial,
            attempt,
        };
        for (event, _) in events {
            match event {
                Event::JobLeased { trial, attempt, .. } => {
                    let key = key(*trial, *attempt);
                    let begun = self.begun.get(&key).copied().unwrap_or(agenda.now);
                    let ended = self.ended.get(&key).copied().unwrap_or(agenda.now);
                    held.insert(key, (ended - begun) as f64 / 1_000.0);
                }
                Event::TrialCompleted {
                    trial,
                    attempt,
                    seconds,
                    ..
                }
                | Event::TrialRetrained {
                    trial,
                    attempt,
                    seconds,
                    ..
                }
                | Event::TestCompleted {
                    trial,
                    attempt,
                    seconds,
                    ..
                } => {
                    let before = told.insert(key(*trial, *attempt), *seconds);
                    assert_eq!(before, None, "{event:?} is an attempt's second result");
                }
                _ => {}
            }
        }
        let compute = search.compute_seconds();
        let least: f64 = told.values().sum();
        assert!(
            compute >= least - 0.01,
            "{compute} s, and completed attempts took {least}"
        );
        let most: f64 = held
            .iter()
            .map(|(key, held)| told.get(key).map_or(*held, |told| told.max(*held)))
            .sum();
        assert!(
            compute <= most + 0.01,
            "{compute} s, and attempts were held for or took {most}"
        );
    }
}

/// Which of the budgets that are no count of trials are used up.
fn used_up(search: &Search, unix: u64) -> Vec<FinishReason> {
    let budget = &search.limits().budget;
    let compute_ms = search.compute_seconds() * 1_000.0;
    let all = [
        (
            FinishReason::Deadline,
            budget.deadline_ms.is_some_and(|deadline| unix >= deadline),
        ),
        (
            FinishReason::Compute,
            budget
                .compute_ms
                .is_some_and(|budget| compute_ms >= budget as f64),
        ),
        (
            FinishReason::Time,
            budget
                .time_ms
                .is_some_and(|budget| search.elapsed_ms(unix) >= budget),
        ),
    ];
    let used_up = all.into_iter().filter(|(_, used_up)| *used_up);
    used_up.map(|(reason, _)| reason).collect()
}

/// A search that somebody has looked at goes on only while it may.
pub fn check_goes_on(search: &Search, unix: u64) {
    if matches!(search.phase(), Phase::Running | Phase::Paused(_)) {
        assert_eq!(used_up(search, unix), [], "the search goes on");
    }
}

/// Who says that a budget is used up is right, and from then on nothing is leased but what ends the search, so that
/// it is overshot by no more than what ran.
fn check_budgets(id: SearchId, events: &[(Event, u64)]) {
    let ((first, time), rest) = events.split_first().expect("a search is created");
    let mut search = Search::from_first_event(id, first, *time).expect("a search is created");
    let mut last = None;
    for (event, time) in rest {
        match event {
            Event::JobLeased { trial, job, .. } => match &last {
                None => assert_eq!(used_up(&search, *time), [], "{event:?}"),
                Some(reason) => {
                    let best = search.best().map(|best| best.trial);
                    assert_eq!(best, Some(*trial), "after its end by {reason:?}: {job:?}");
                }
            },
            Event::SearchFinishing { reason } => {
                let budgets = [
                    FinishReason::Deadline,
                    FinishReason::Compute,
                    FinishReason::Time,
                ];
                if budgets.contains(reason) {
                    let used_up = used_up(&search, *time);
                    assert!(used_up.contains(reason), "{reason:?}, and {used_up:?}");
                }
                last = Some(reason.clone());
            }
            _ => {}
        }
        search.apply(event, *time);
    }
}
