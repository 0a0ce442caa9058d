//! A model of the coordinator's process around the real core: the state machine of each search and its proposer,
//! the real lease table and the real choice of who gets what. What it has decided is durable only after a commit,
//! and nobody hears of it before. A crash loses everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use espalier_common::ids::{AttemptKey, Digest, SearchId, WorkerId};
use espalier_core::clock::{Clock, Jumps, Reading};
use espalier_core::dispatch::{BEFORE_START, Health, LeaseTable, NO_CALL};
use espalier_core::search::{
    Command, Definition, Effect, Event, LivePhase, Phase, Rejection, Reply, Search, step,
};
use espalier_core::searcher::Proposer;

use super::account::{Account, check_goes_on};
use super::agenda::{Agenda, Answer, Caller, Inside, Thing};
use super::faults::Fault;
use crate::support::model::Model;

/// Time to live of a lease.
pub const TTL: u64 = 30_000;
/// How often deadlines are looked at.
pub const LOOK_EVERY: u64 = TTL / 20;

/// Unix time by a machine's clock that is so far from virtual time.
pub fn unix_ms(machine: i64, agenda: &Agenda) -> u64 {
    u64::try_from(machine + agenda.now as i64).unwrap_or(0)
}

/// What survives a crash.
#[derive(Default)]
pub struct Disk {
    pub searches: Vec<(SearchId, Vec<(Event, u64)>)>,
    pub names: BTreeMap<WorkerId, usize>,
    pub weights: BTreeSet<Digest>,
}

/// One search in memory.
pub struct Live {
    pub search: Search,
    pub proposer: Proposer,
    pub model: Model,
    pub asking: u32,
    pub last_ask: u64,
    /// What of the clock's jumps the search was told.
    jumps: Jumps,
    /// When a retry may go where it failed before, with the failures it had when that was decided.
    pub rested: BTreeMap<espalier_common::ids::TrialNumber, (u32, u64)>,
}

/// A registered worker.
pub struct Known {
    pub name: usize,
    pub calls_ended: u64,
    pub seen: u64,
}

/// A worker that waits for jobs.
#[derive(Clone, Debug)]
pub struct Poll {
    pub caller: Caller,
    pub worker: WorkerId,
    pub call: u64,
    pub slots: u32,
    pub until: u64,
}

/// The coordinator's process.
pub struct Coordinator {
    pub up: bool,
    pub start: u64,
    pub still_until: u64,
    /// The machine's clock, less virtual time.
    pub machine: i64,
    pub clock: Clock<Duration>,
    pub searches: Vec<Live>,
    pub leases: LeaseTable<Duration>,
    pub registry: BTreeMap<WorkerId, Known>,
    pub polls: Vec<Poll>,
    pub health: BTreeMap<usize, Health>,
    pub(super) pending: Vec<(usize, Event, u64)>,
    pub(super) names: Vec<(WorkerId, usize)>,
    pub(super) held: Vec<(Caller, Answer)>,
    committing: bool,
}

impl Coordinator {
    pub fn new() -> Self {
        Self {
            up: false,
            start: 0,
            still_until: 0,
            machine: 0,
            clock: Clock::new(Duration::ZERO, 0),
            searches: Vec::new(),
            leases: LeaseTable::new(Duration::from_millis(TTL), Duration::ZERO),
            registry: BTreeMap::new(),
            polls: Vec::new(),
            health: BTreeMap::new(),
            pending: Vec::new(),
            names: Vec::new(),
            held: Vec::new(),
            committing: false,
        }
    }

    /// Starts on what the disk holds.
    pub fn begin(&mut self, agenda: &mut Agenda, disk: &Disk, account: &mut Account, machine: i64) {
        let now = Duration::from_millis(agenda.now);
        // Since the process began it may have stood still, before the first search was there.
        let mut slow = 0;
        if agenda.hit(100) {
            agenda.note("slow start");
            slow = agenda.between(0, 60_000).min(agenda.now);
        }
        *self = Self {
            up: true,
            start: self.start + 1,
            machine,
            clock: Clock::new(
                now - Duration::from_millis(slow),
                unix_ms(machine, agenda) - slow,
            ),
            leases: LeaseTable::new(Duration::from_millis(TTL), now),
            ..Self::new()
        };
        let reading = self.read_clock(agenda);
        for (id, events) in &disk.searches {
            let mut live = Live::read(*id, events);
            live.jumps = Jumps::since(reading);
            for (trial, held) in live.search.live() {
                let key = AttemptKey {
                    search: *id,
                    trial: *trial,
                    attempt: held.attempt,
                };
                self.leases.grant(key, held.worker, BEFORE_START, now);
            }
            self.searches.push(live);
        }
        for index in 0..self.searches.len() {
            if self.searches[index].search.events() > 1 {
                let _ = self.command(agenda, account, index, Command::Recover, NO_CALL);
            }
        }
        self.later(agenda, LOOK_EVERY, Inside::Look);
        self.settle(agenda, account);
    }

    /// Creates a search; durable at once.
    pub fn create(disk: &mut Disk, id: SearchId, definition: &Arc<Definition>) {
        let event = Event::SearchCreated {
            definition: Box::new(definition.as_ref().clone()),
        };
        disk.searches.push((id, vec![(event, 1)]));
    }

    /// The process dies. What it was just writing may be there or not, but nobody was told.
    pub fn crash(&mut self, agenda: &mut Agenda, disk: &mut Disk) {
        if self.committing && agenda.hit(500) {
            agenda.note("crash between commit and answer");
            self.write(disk);
        } else if !self.pending.is_empty() {
            agenda.note("crash before a commit");
        }
        self.up = false;
    }

    fn write(&mut self, disk: &mut Disk) {
        for (search, event, time) in self.pending.drain(..) {
            disk.searches[search].1.push((event, time));
        }
        disk.names.extend(self.names.drain(..));
    }

    fn read_clock(&mut self, agenda: &Agenda) -> Reading {
        let now = Duration::from_millis(agenda.now);
        self.clock.read(now, unix_ms(self.machine, agenda))
    }

    fn later(&self, agenda: &mut Agenda, delay: u64, inside: Inside) {
        let start = self.start;
        agenda.after(delay, Thing::Coordinator { start, inside });
    }

    /// Whether all that was decided is durable.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    pub fn inside(
        &mut self,
        agenda: &mut Agenda,
        disk: &mut Disk,
        account: &mut Account,
        inside: Inside,
    ) {
        match inside {
            Inside::Look => {
                self.look(agenda, account);
                self.later(agenda, LOOK_EVERY, Inside::Look);
            }
            Inside::Commit => {
                self.committing = false;
                self.write(disk);
                for (caller, answer) in std::mem::take(&mut self.held) {
                    account.answered(caller, &answer);
                    agenda.answer(caller, answer);
                }
            }
            Inside::Proposed { search, answer } => {
                let live = &mut self.searches[search];
                live.asking = live.asking.saturating_sub(1);
                let _ = self.command(agenda, account, search, (*answer).into(), NO_CALL);
            }
        }
        self.settle(agenda, account);
    }

    /// Deadlines, clocks, and workers that were not heard of.
    fn look(&mut self, agenda: &mut Agenda, account: &mut Account) {
        let look = self.leases.look(Duration::from_millis(agenda.now));
        if look.stalled {
            agenda.note("stall noticed");
            for known in self.registry.values_mut() {
                known.seen = agenda.now;
            }
        }
        for key in look.expired {
            if let Some(search) = self.index(key.search) {
                let command = Command::ExpireLease {
                    trial: key.trial,
                    attempt: key.attempt,
                };
                if self
                    .command(agenda, account, search, command, NO_CALL)
                    .is_ok()
                {
                    agenda.note("lease expired");
                }
            }
        }
        self.registry
            .retain(|_, known| agenda.now - known.seen <= 3 * TTL);
        for search in 0..self.searches.len() {
            let now = self.follow_clock(agenda, account, search);
            if self.searches[search].search.time_to_look_ms(now) == Some(0) {
                let _ = self.command(agenda, account, search, Command::CheckTime, NO_CALL);
            }
            check_goes_on(&self.searches[search].search, now);
        }
        let overdue: Vec<Poll> = self
            .polls
            .iter()
            .filter(|poll| poll.until <= agenda.now)
            .cloned()
            .collect();
        for poll in overdue {
            self.polls.retain(|known| known.worker != poll.worker);
            agenda.answer(poll.caller, Answer::Leased(Vec::new()));
        }
    }

    pub fn index(&self, id: SearchId) -> Option<usize> {
        self.searches.iter().position(|live| live.search.id() == id)
    }

    /// Gives a command, as a search's actor does, and follows what it came to.
    pub fn command(
        &mut self,
        agenda: &mut Agenda,
        account: &mut Account,
        search: usize,
        command: Command,
        call: u64,
    ) -> Result<Reply, Rejection> {
        let now = self.follow_clock(agenda, account, search);
        self.give(agenda, account, search, (command, now), call)
    }

    /// What the time is, after a search was told by how much the clock has jumped.
    fn follow_clock(&mut self, agenda: &mut Agenda, account: &mut Account, search: usize) -> u64 {
        let reading = self.read_clock(agenda);
        if let Some(by_ms) = self.searches[search].jumps.look(reading) {
            let jumped = (Command::ClockJumped { by_ms }, reading.unix_ms);
            self.give(agenda, account, search, jumped, NO_CALL)
                .expect("a jump is never refused");
        }
        reading.unix_ms
    }

    fn give(
        &mut self,
        agenda: &mut Agenda,
        account: &mut Account,
        search: usize,
        (command, now): (Command, u64),
        call: u64,
    ) -> Result<Reply, Rejection> {
        let live = &mut self.searches[search];
        let outcome = step(&mut live.search, command, now)?;
        live.model.step(&outcome.events, &outcome.effects);
        live.model.check(&live.search);
        for event in outcome.events {
            agenda.say(|| {
                format!("search {search}: {event:?}")
                    .chars()
                    .take(300)
                    .collect()
            });
            live.proposer.recorded(&event);
            account.happened(agenda, &live.search, &event);
            self.pending.push((search, event, now));
        }
        for effect in &outcome.effects {
            if let Effect::Tell(observation) = effect {
                live.proposer.tell(observation);
            }
        }
        self.note_leases(agenda, account, search, call);
        account.check(agenda, &self.searches[search].search, now);
        Ok(outcome.reply)
    }

    /// Brings the lease table to what the search says, as the dispatcher does with a search's news.
    fn note_leases(
        &mut self,
        agenda: &mut Agenda,
        account: &mut Account,
        search: usize,
        call: u64,
    ) {
        let now = Duration::from_millis(agenda.now);
        let search = &self.searches[search].search;
        let id = search.id();
        let ended: Vec<AttemptKey> = self
            .leases
            .keys()
            .filter(|key| {
                let live = search.live().get(&key.trial);
                key.search == id && live.is_none_or(|live| live.attempt != key.attempt)
            })
            .collect();
        for key in ended {
            account.ended(agenda.now, key);
            self.leases.end(&key);
        }
        for (trial, held) in search.live() {
            let key = AttemptKey {
                search: id,
                trial: *trial,
                attempt: held.attempt,
            };
            if self.leases.holder(&key).is_none() {
                if held.phase == LivePhase::Running {
                    account.begun(agenda.now, key);
                }
                self.leases.grant(key, held.worker, call, now);
            } else if held.phase == LivePhase::Uploading {
                account.ended(agenda.now, key);
            }
        }
    }

    /// After each thing: jobs for who waits, proposals for what is wanted, a commit for what was decided.
    pub fn settle(&mut self, agenda: &mut Agenda, account: &mut Account) {
        self.assign(agenda, account);
        self.ask(agenda);
        self.check_leases();
        let nothing = self.pending.is_empty() && self.names.is_empty() && self.held.is_empty();
        if !self.committing && !nothing {
            self.committing = true;
            let slow = agenda.hit(50);
            let takes = if slow {
                agenda.between(100, 3_000)
            } else {
                agenda.between(1, 20)
            };
            self.later(agenda, takes, Inside::Commit);
            if agenda.fragile > 0 && agenda.hit(agenda.fragile) {
                let down = agenda.between(50, 60_000);
                agenda.after(takes / 2, Thing::Fault(Fault::CrashCoordinator { down }));
            }
        }
    }

    /// Every lease that a search knows has a deadline, and no other has.
    fn check_leases(&self) {
        let live: usize = self
            .searches
            .iter()
            .map(|live| live.search.live().len())
            .sum();
        assert_eq!(
            self.leases.len(),
            live,
            "leases with a deadline, and leases"
        );
        for live in &self.searches {
            for (trial, held) in live.search.live() {
                let key = AttemptKey {
                    search: live.search.id(),
                    trial: *trial,
                    attempt: held.attempt,
                };
                assert_eq!(self.leases.holder(&key), Some(held.worker), "{key:?}");
            }
        }
    }

    /// Whether every search has ended.
    pub fn has_finished(&self) -> bool {
        let mut searches = self.searches.iter();
        searches.all(|live| matches!(live.search.phase(), Phase::Finished(_)))
    }
}

impl Live {
    /// What a start makes of the events that are durable.
    pub fn read(id: SearchId, events: &[(Event, u64)]) -> Self {
        let ((first, time), rest) = events.split_first().unwrap();
        let mut search = Search::from_first_event(id, first, *time).unwrap();
        let mut proposer = Proposer::new(search.definition());
        let mut model = Model::default();
        for (event, time) in rest {
            let effects = search.apply(event, *time);
            model.step(std::slice::from_ref(event), &effects);
            proposer.read(event, &effects);
        }
        model.check(&search);
        let last_ask = search.next_ask().saturating_sub(1);
        Self {
            search,
            proposer,
            model,
            asking: 0,
            last_ask,
            jumps: Jumps::since(Reading::default()),
            rested: BTreeMap::new(),
        }
    }
}
