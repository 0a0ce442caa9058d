//! What users do in a history: pause, resume, stop, and everything else that steers a search.

use espalier_common::ids::TrialNumber;
use espalier_core::dispatch::NO_CALL;
use espalier_core::search::{Event, LimitsChange, Phase, Prepared, Steer};
use espalier_core::searcher::Proposer;

use super::agenda::Thing;
use super::coordinator::{Disk, unix_ms};
use super::faults::Fault;
use super::world::World;

/// Kinds of wishes; see [`World::wish`].
pub const WISHES: usize = 10;

impl World {
    /// What a user does, who tries again when there is no coordinator.
    pub fn user(&mut self, fault: Fault) {
        if !self.coordinator.up || self.coordinator.still_until > self.agenda.now {
            return self.agenda.after(1_000, Thing::Fault(fault));
        }
        match fault {
            Fault::Pause { search } => self.want(search, Steer::Pause),
            Fault::Stop { search } => {
                self.agenda.note("user stopped a search");
                self.want(search, Steer::Stop);
            }
            Fault::Steer {
                search,
                wish,
                number,
            } => {
                if let Some((what, wish)) = self.wish(search, wish, number) {
                    self.agenda.note(what);
                    self.want(search, wish);
                }
            }
            _ => {
                for search in 0..self.coordinator.searches.len() {
                    let phase = self.coordinator.searches[search].search.phase();
                    if matches!(phase, Phase::Paused(_)) {
                        self.want(search, Steer::Resume);
                    }
                }
                if self.healed.is_some() {
                    self.agenda.after(30_000, Thing::Fault(Fault::Resume));
                }
            }
        }
        self.coordinator.settle(&mut self.agenda, &mut self.account);
    }

    /// What comes too late is refused, and changes nothing.
    fn want(&mut self, search: usize, steer: Steer) {
        let (agenda, account) = (&mut self.agenda, &mut self.account);
        let wanted = self
            .coordinator
            .command(agenda, account, search, steer.into(), NO_CALL);
        if wanted.is_ok() {
            self.agenda.note("user was heeded");
        }
    }

    /// A wish about a trial with this number, or about the search, and its name in the tally.
    fn wish(&self, search: usize, wish: usize, number: u32) -> Option<(&'static str, Steer)> {
        let trial = TrialNumber(number);
        Some(match wish {
            0 => ("wish: cancel", Steer::Cancel(trial)),
            1 => ("wish: pin", Steer::Pin(trial)),
            2 => {
                let proposal = proposed(&self.disk, search, trial)?;
                ("wish: retry", Steer::Retry(vec![(trial, proposal)]))
            }
            3 => {
                let (proposal, first) = (self.drawn(search, number)?, number.is_multiple_of(2));
                ("wish: enqueue", Steer::Enqueue { proposal, first })
            }
            4 => {
                let proposal = self.drawn(search, number)?;
                ("wish: ban", Steer::Ban { proposal })
            }
            _ => {
                let mut change = LimitsChange::default();
                let what = self.limit(&mut change, wish, number);
                (what, Steer::Limit(change))
            }
        })
    }

    /// Another limit by this number, and its name in the tally.
    fn limit(&self, change: &mut LimitsChange, wish: usize, number: u32) -> &'static str {
        let time_ms = u64::from(number) * 15_000;
        match wish {
            5 => {
                change.trials = Some(number);
                "wish: budget of trials"
            }
            6 => {
                change.parallel = Some(number - 1);
                "wish: parallel"
            }
            7 => {
                change.time_ms = Some(2 * time_ms);
                "wish: budget of time"
            }
            8 => {
                change.compute_ms = Some(time_ms);
                "wish: budget of compute"
            }
            _ => {
                let now = unix_ms(self.coordinator.machine, &self.agenda);
                change.deadline_ms = Some(now + time_ms);
                "wish: deadline"
            }
        }
    }

    /// One of a few candidates of the space: out on its way, a trial already, or neither.
    fn drawn(&self, search: usize, number: u32) -> Option<Box<Prepared>> {
        let definition = self.coordinator.searches[search].search.definition();
        let answer = Proposer::new(definition).ask(u64::from(number));
        answer.outcome.ok()
    }
}

/// What a trial was proposed as, as far as it is durable.
fn proposed(disk: &Disk, search: usize, wanted: TrialNumber) -> Option<Box<Prepared>> {
    let (_, events) = &disk.searches[search];
    events.iter().find_map(|(event, _)| match event {
        Event::TrialProposed {
            trial, proposal, ..
        } if *trial == wanted => Some(proposal.clone()),
        _ => None,
    })
}
