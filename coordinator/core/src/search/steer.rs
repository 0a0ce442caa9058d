//! Steering: what users want of a search while it runs. Each is one event that says who wanted what, and the
//! events of what follows from it. Decides only.

use espalier_common::ids::TrialNumber;
use espalier_common::observation::Origin;

use super::command::{Command, Rejection, Reply};
use super::decide::Decision;
use super::event::{Event, FinishReason, PauseReason, Prepared, Refusal, Refused};
use super::limits::LimitsChange;
use super::state::{Phase, Search, Trial, TrialState};

/// The ask of what was proposed without one: by a user. Asks are numbered from 1.
pub(crate) const NO_ASK: u64 = 0;
/// The searcher of what a user proposed.
const USER: &str = "user";

/// A trial that has ended, and what was tried.
type Closed = (TrialNumber, Box<Prepared>);

/// What a user wants of a search.
#[derive(Clone, Debug, PartialEq)]
pub enum Steer {
    /// Lease nothing further.
    Pause,
    /// Lease again.
    Resume,
    /// End now.
    Stop,
    /// Other limits.
    Limit(LimitsChange),
    /// Try this candidate.
    Enqueue {
        /// What is to be tried; see [`crate::searcher::prepare`].
        proposal: Box<Prepared>,
        /// Before all others that wait.
        first: bool,
    },
    /// Run this trial before all others that wait.
    Pin(TrialNumber),
    /// Give this trial up.
    Cancel(TrialNumber),
    /// Never try this candidate.
    Ban {
        /// The candidate, as [`crate::searcher::prepare`] has it.
        proposal: Box<Prepared>,
    },
    /// Try these trials again, which failed or were cancelled, with all their attempts.
    Retry(Vec<(TrialNumber, Box<Prepared>)>),
}

impl Steer {
    /// The origin of a candidate that a user proposes or bans.
    #[must_use]
    pub fn origin() -> Origin {
        Origin::new(USER, USER)
    }

    /// What is wanted of this search, in a few words.
    fn words(&self, search: &Search) -> String {
        let trials = |trials: &[Closed]| {
            let numbers: Vec<String> = trials.iter().map(|(n, _)| n.to_string()).collect();
            numbers.join(", ")
        };
        // As which trial the candidate is known, or will be.
        let candidate = |proposal: &Prepared| {
            let short = proposal.candidate_id.short();
            match search.identities.get(&proposal.candidate_id) {
                Some(of) => format!("candidate {short} of trial {of}"),
                None => format!("candidate {short} as trial {}", search.next_trial()),
            }
        };
        match self {
            Self::Pause => "pause".to_owned(),
            Self::Resume => "resume".to_owned(),
            Self::Stop => "stop".to_owned(),
            Self::Limit(change) => format!("set {}", change.words()),
            Self::Enqueue { proposal, first } => {
                let before = if *first { ", before all others" } else { "" };
                format!("enqueue {}{before}", candidate(proposal))
            }
            Self::Pin(trial) => format!("pin trial {trial}"),
            Self::Cancel(trial) => format!("cancel trial {trial}"),
            Self::Ban { proposal } => format!("ban {}", candidate(proposal)),
            Self::Retry(several) => format!("retry trial {}", trials(several)),
        }
    }
}

impl From<Steer> for Command {
    fn from(steer: Steer) -> Self {
        Self::Steer { steer, by: None }
    }
}

impl Search {
    /// What a user's wish comes to; nothing, when it is so already.
    pub(super) fn decide_steer(
        &self,
        steer: Steer,
        by: Option<String>,
        now_ms: u64,
    ) -> Result<Decision, Rejection> {
        let mut reply = Reply::Done;
        let steer = match steer {
            Steer::Retry(trials) => {
                let (banned, trials) = self.without_banned(trials);
                reply = Reply::Retried { banned };
                Steer::Retry(trials)
            }
            other => other,
        };
        let said = Event::Steered {
            by,
            wish: steer.words(self),
        };
        let events = match steer {
            Steer::Pause => self.pause()?,
            Steer::Resume => self.resume()?,
            Steer::Stop => self.stop()?,
            Steer::Limit(change) => self.change_limits(&change, now_ms)?,
            Steer::Enqueue { proposal, first } => self.enqueue(proposal, first)?,
            Steer::Pin(trial) => self.pin(trial)?,
            Steer::Cancel(trial) => self.cancel(trial)?,
            Steer::Ban { proposal } => self.ban(*proposal)?,
            Steer::Retry(trials) => self.retry(trials)?,
        };
        let said = Some(said).filter(|_| !events.is_empty());
        Ok(Decision {
            events: said.into_iter().chain(events).collect(),
            reply,
        })
    }

    fn pause(&self) -> Result<Vec<Event>, Rejection> {
        match &self.phase {
            Phase::Running => Ok(vec![Event::SearchPaused {
                reason: PauseReason::User,
            }]),
            Phase::Paused(_) => Ok(Vec::new()),
            Phase::Finishing(_) => Err(Rejection::WrongPhase {
                phase: "finishing",
                wanted: "paused",
            }),
            Phase::Finished(reason) => Err(Rejection::Finished(reason.clone())),
        }
    }

    fn resume(&self) -> Result<Vec<Event>, Rejection> {
        match &self.phase {
            Phase::Running | Phase::Finishing(_) => Ok(Vec::new()),
            Phase::Paused(_) => Ok(vec![Event::SearchResumed]),
            Phase::Finished(reason) => Err(Rejection::Finished(reason.clone())),
        }
    }

    fn stop(&self) -> Result<Vec<Event>, Rejection> {
        match &self.phase {
            Phase::Finished(FinishReason::Stopped) | Phase::Finishing(FinishReason::Stopped) => {
                Ok(Vec::new())
            }
            Phase::Finished(reason) => Err(Rejection::Finished(reason.clone())),
            Phase::Running | Phase::Paused(_) | Phase::Finishing(_) => {
                Ok(vec![Event::SearchFinishing {
                    reason: FinishReason::Stopped,
                }])
            }
        }
    }

    /// What changes which trials run is of no use to a search that ends.
    fn goes_on(&self) -> Result<(), Rejection> {
        match &self.phase {
            Phase::Running | Phase::Paused(_) => Ok(()),
            Phase::Finishing(reason) | Phase::Finished(reason) => {
                Err(Rejection::Finished(reason.clone()))
            }
        }
    }

    fn change_limits(&self, change: &LimitsChange, now_ms: u64) -> Result<Vec<Event>, Rejection> {
        self.goes_on()?;
        let limits = self.changed_limits(change, now_ms)?;
        if limits == self.limits {
            return Ok(Vec::new());
        }
        Ok(vec![Event::LimitsChanged { limits }])
    }

    fn enqueue(&self, proposal: Box<Prepared>, first: bool) -> Result<Vec<Event>, Rejection> {
        self.goes_on()?;
        if let Some(of) = self.identities.get(&proposal.candidate_id) {
            let state = self.trial(*of).map_or("known", |known| known.state.name());
            let advice = match state {
                "failed" | "cancelled" => "; `espalier retry` runs it again",
                "queued" => "; `espalier pin` runs it next",
                _ => "",
            };
            return Err(Rejection::NotNow(format!(
                "this candidate is trial {of} already, which is {state}{advice}"
            )));
        }
        if self.trials_used_up() {
            return Err(Rejection::NotNow(format!(
                "the budget of {} trials is used up; give it more first (`espalier set SEARCH --trials +1`)",
                self.charged()
            )));
        }
        let trial = self.next_trial();
        let mut events = vec![Event::TrialProposed {
            ask: NO_ASK,
            told: 0,
            heard: None,
            trial,
            proposal,
        }];
        events.extend(first.then_some(Event::TrialPinned { trial }));
        Ok(events)
    }

    fn pin(&self, trial: TrialNumber) -> Result<Vec<Event>, Rejection> {
        self.goes_on()?;
        let known = self.required(trial)?;
        match known.state {
            TrialState::Queued if self.queue.front() == Some(&trial) => Ok(Vec::new()),
            TrialState::Queued => Ok(vec![Event::TrialPinned { trial }]),
            state => Err(Rejection::NotNow(format!(
                "trial {trial} is {}: only a queued one can be run next",
                state.name()
            ))),
        }
    }

    fn cancel(&self, trial: TrialNumber) -> Result<Vec<Event>, Rejection> {
        let known = self.required(trial)?;
        match known.state {
            TrialState::Queued | TrialState::Running => Ok(vec![Event::TrialCancelled { trial }]),
            TrialState::Cancelled => Ok(Vec::new()),
            state => Err(Rejection::NotNow(format!(
                "trial {trial} is {} already: only a queued or running one can be cancelled",
                state.name()
            ))),
        }
    }

    fn ban(&self, proposal: Prepared) -> Result<Vec<Event>, Rejection> {
        self.goes_on()?;
        let mut events = Vec::with_capacity(2);
        if let Some(&of) = self.identities.get(&proposal.candidate_id) {
            match self.required(of)?.state {
                TrialState::Infeasible => return Ok(events),
                // From now on the refusal below is what the candidate is known by, so that nobody tries it again.
                TrialState::Failed => {}
                _ => events.extend(self.cancel(of)?),
            }
        }
        events.push(self.banned(proposal));
        Ok(events)
    }

    /// The event by which a search has a ban from its beginning: of a candidate that was banned in the search it is
    /// forked from. None, if it is known here already.
    #[must_use]
    pub fn banned_before(&self, proposal: Prepared) -> Option<Event> {
        let known = self.identities.contains_key(&proposal.candidate_id);
        (!known).then(|| self.banned(proposal))
    }

    fn banned(&self, proposal: Prepared) -> Event {
        Event::ProposalRefused {
            ask: NO_ASK,
            refusal: Refusal {
                candidate: proposal.candidate,
                origin: proposal.origin,
                memo: proposal.memo,
                refused: Refused::Infeasible {
                    trial: self.next_trial(),
                    candidate_id: Some(proposal.candidate_id),
                    reason: "banned by a user".to_owned(),
                },
            },
        }
    }

    /// What was banned since, each with the trial as which it was, and the others.
    fn without_banned(
        &self,
        trials: Vec<Closed>,
    ) -> (Vec<(TrialNumber, TrialNumber)>, Vec<Closed>) {
        let mut banned = Vec::new();
        let mut others = Vec::with_capacity(trials.len());
        for (trial, proposal) in trials {
            let of = self.identities.get(&proposal.candidate_id).copied();
            let is_ban = |of: &TrialNumber| {
                *of != trial
                    && self
                        .trial(*of)
                        .is_some_and(|known| known.state == TrialState::Infeasible)
            };
            match of.filter(is_ban) {
                Some(of) => banned.push((trial, of)),
                None => others.push((trial, proposal)),
            }
        }
        (banned, others)
    }

    fn retry(&self, trials: Vec<Closed>) -> Result<Vec<Event>, Rejection> {
        self.goes_on()?;
        let mut events = Vec::with_capacity(trials.len());
        for (trial, proposal) in trials {
            let known = self.required(trial)?;
            if self.identities.get(&proposal.candidate_id) != Some(&trial) {
                return Err(Rejection::NotNow(format!(
                    "trial {trial} has another candidate"
                )));
            }
            match known.state {
                TrialState::Failed | TrialState::Cancelled => {
                    events.push(Event::TrialRetried { trial, proposal });
                }
                // Said before.
                TrialState::Queued | TrialState::Running => {}
                state => {
                    return Err(Rejection::NotNow(format!(
                        "trial {trial} is {}: only a failed or cancelled one can be run again",
                        state.name()
                    )));
                }
            }
        }
        // A cancelled trial that never ran is not charged, and its place may have been taken since.
        let room = |budget: u32| budget.saturating_sub(self.charged());
        let uncharged = events.iter().filter(|event| match event {
            Event::TrialRetried { trial, .. } => {
                self.trial(*trial).is_some_and(|known| known.attempts == 0)
            }
            _ => false,
        });
        let wanted = super::state::count(uncharged.count());
        if self
            .limits
            .budget
            .trials
            .is_some_and(|budget| room(budget) < wanted)
        {
            return Err(Rejection::NotNow(format!(
                "the budget has no room for {wanted} trials that never ran; give it more first \
                 (`espalier set SEARCH --trials +{wanted}`)"
            )));
        }
        Ok(events)
    }

    fn required(&self, trial: TrialNumber) -> Result<&Trial, Rejection> {
        let last = super::state::count(self.trials.len());
        self.trial(trial).ok_or(Rejection::NoTrial { trial, last })
    }

    /// The number of the next trial.
    pub(super) fn next_trial(&self) -> TrialNumber {
        // A stream of 2^32 trials would have outgrown memory long before.
        TrialNumber(u32::try_from(self.trials.len() + 1).unwrap_or(u32::MAX))
    }
}
