//! What the modelled coordinator does with each call of a worker.

use std::collections::BTreeSet;
use std::time::Duration;

use espalier_common::ids::{AttemptKey, WorkerId};
use espalier_core::dispatch::NO_CALL;
use espalier_core::search::{Command, DropReason, Rejection, ReleaseReason, Reply};

use super::account::Account;
use super::agenda::{Agenda, Answer, Call, Caller};
use super::coordinator::{Coordinator, Disk, Known, Poll};

impl Coordinator {
    /// Takes a worker's call.
    pub fn call(
        &mut self,
        agenda: &mut Agenda,
        disk: &mut Disk,
        account: &mut Account,
        caller: Caller,
        call: Call,
    ) {
        account.asked(caller, &call);
        let answer = match call {
            Call::Register { worker, results } => {
                self.register(agenda, account, disk, (caller.worker, worker), &results);
                Some(Answer::Done)
            }
            Call::Lease {
                worker,
                call,
                slots,
            } => self.poll(
                agenda,
                Poll {
                    caller,
                    worker,
                    call,
                    slots,
                    until: agenda.now + 30_000,
                },
            ),
            Call::Renew {
                worker,
                held,
                ended,
            } => {
                let renewed = self.renew(agenda, account, worker, &held, ended);
                agenda.answer(caller, renewed);
                None
            }
            Call::Leave { worker } => {
                self.part(agenda, account, worker, ReleaseReason::WorkerLeft);
                self.registry.remove(&worker);
                Some(Answer::Done)
            }
            of_an_attempt => Some(self.of_an_attempt(agenda, disk, account, of_an_attempt)),
        };
        if let Some(answer) = answer {
            self.answer(agenda, account, caller, answer);
        }
        self.settle(agenda, account);
    }

    /// Answers once everything decided so far is durable.
    pub fn answer(
        &mut self,
        agenda: &mut Agenda,
        account: &mut Account,
        caller: Caller,
        answer: Answer,
    ) {
        if self.pending.is_empty() && self.names.is_empty() {
            account.answered(caller, &answer);
            agenda.answer(caller, answer);
        } else {
            self.held.push((caller, answer));
        }
    }

    fn register(
        &mut self,
        agenda: &mut Agenda,
        account: &mut Account,
        disk: &Disk,
        (name, worker): (usize, WorkerId),
        results: &BTreeSet<AttemptKey>,
    ) {
        let known = self
            .registry
            .iter()
            .filter(|(id, known)| known.name == name && **id != worker);
        let known: BTreeSet<WorkerId> = known.map(|(id, _)| *id).collect();
        let holders = self.leases.holders().filter(|holder| {
            *holder != worker
                && !self.registry.contains_key(holder)
                && disk.names.get(holder) == Some(&name)
        });
        let older: BTreeSet<WorkerId> = holders.chain(known).collect();
        for older in older {
            agenda.note("older instance displaced");
            // Instances count up with their starts.
            let last = disk
                .names
                .iter()
                .rfind(|(id, of)| **of == name && **id != worker);
            let is_last = last.is_some_and(|(id, _)| *id == older);
            self.succeed(agenda, account, (older, is_last), results);
            self.registry.remove(&older);
        }
        let calls_ended = self
            .registry
            .get(&worker)
            .map_or(0, |known| known.calls_ended);
        self.registry.insert(
            worker,
            Known {
                name,
                calls_ended,
                seen: agenda.now,
            },
        );
        self.names.push((worker, name));
    }

    fn succeed(
        &mut self,
        agenda: &mut Agenda,
        account: &mut Account,
        (older, is_last): (WorkerId, bool),
        results: &BTreeSet<AttemptKey>,
    ) {
        let held: Vec<AttemptKey> = self.leases.of_worker(older).map(|(key, _)| key).collect();
        for key in held {
            if results.contains(&key) && !is_last {
                agenda.note("lease of an older result runs out");
            } else if results.contains(&key) {
                agenda.note("lease kept for a result that is to be delivered");
                let now = Duration::from_millis(agenda.now);
                self.leases.touch(older, &key, now);
            } else {
                self.release(agenda, account, key, ReleaseReason::WorkerRestarted);
            }
        }
        self.dismiss(agenda, older);
    }

    fn part(
        &mut self,
        agenda: &mut Agenda,
        account: &mut Account,
        worker: WorkerId,
        reason: ReleaseReason,
    ) {
        let held: Vec<AttemptKey> = self.leases.of_worker(worker).map(|(key, _)| key).collect();
        for key in held {
            self.release(agenda, account, key, reason);
        }
        self.dismiss(agenda, worker);
    }

    fn dismiss(&mut self, agenda: &mut Agenda, worker: WorkerId) {
        if let Some(place) = self.polls.iter().position(|poll| poll.worker == worker) {
            let poll = self.polls.remove(place);
            agenda.answer(poll.caller, Answer::Leased(Vec::new()));
        }
    }

    pub fn release(
        &mut self,
        agenda: &mut Agenda,
        account: &mut Account,
        key: AttemptKey,
        reason: ReleaseReason,
    ) {
        if let Some(search) = self.index(key.search) {
            let command = Command::ReleaseJob {
                trial: key.trial,
                attempt: key.attempt,
                reason,
            };
            let _ = self.command(agenda, account, search, command, NO_CALL);
        }
    }

    fn poll(&mut self, agenda: &mut Agenda, poll: Poll) -> Option<Answer> {
        let Some(known) = self.registry.get_mut(&poll.worker) else {
            return Some(Answer::NotRegistered);
        };
        known.seen = agenda.now;
        if poll.call <= known.calls_ended {
            agenda.answer(poll.caller, Answer::Leased(Vec::new()));
            return None;
        }
        self.dismiss(agenda, poll.worker);
        self.polls.push(poll);
        None
    }

    fn renew(
        &mut self,
        agenda: &mut Agenda,
        account: &mut Account,
        worker: WorkerId,
        held: &BTreeSet<AttemptKey>,
        ended: u64,
    ) -> Answer {
        let renewal = self
            .leases
            .renew(worker, held, ended, Duration::from_millis(agenda.now));
        for key in renewal.lost {
            agenda.note("lost lease returned");
            self.release(agenda, account, key, ReleaseReason::ReplyLost);
        }
        let Some(known) = self.registry.get_mut(&worker) else {
            return Answer::NotRegistered;
        };
        known.seen = agenda.now;
        known.calls_ended = known.calls_ended.max(ended);
        Answer::Renewed(renewal.drop)
    }

    fn of_an_attempt(
        &mut self,
        agenda: &mut Agenda,
        disk: &mut Disk,
        account: &mut Account,
        call: Call,
    ) -> Answer {
        let Some((worker, key, command)) = command_of(call, disk) else {
            return Answer::Refused;
        };
        let (trial, attempt) = (key.trial, key.attempt);
        let index = self
            .index(key.search)
            .expect("a worker speaks of a search that there is");
        let search = &self.searches[index].search;
        if let Command::RecordWeights { weights, .. } = command {
            if search.may_upload(worker, trial, attempt, weights).is_err() {
                return Answer::Refused;
            }
            disk.weights.insert(weights);
        }
        if let Command::RecordCheckpoint { checkpoint, .. } = command {
            let may = search.may_store_checkpoint(worker, trial, attempt, checkpoint);
            if may.is_err() {
                return Answer::Refused;
            }
        }
        let ends = matches!(
            command,
            Command::CompleteJob { .. } | Command::FailJob { .. } | Command::ReleaseJob { .. }
        );
        let held = search.live().get(&trial);
        if ends && held.is_some_and(|live| live.attempt == attempt && live.worker != worker) {
            return Answer::Refused;
        }
        let is_report = matches!(command, Command::ReportMeasurement { .. });
        match self.command(agenda, account, index, command, NO_CALL) {
            Ok(Reply::Weights(answer)) => Answer::Weights(answer),
            Ok(_) if is_report => Answer::Reported { stop: false },
            Err(Rejection::NotHeld {
                reason: DropReason::Closed,
                ..
            }) if is_report => Answer::Reported { stop: true },
            Ok(_) => Answer::Done,
            Err(rejection) => {
                agenda.say(|| format!("refused: {rejection}"));
                Answer::Refused
            }
        }
    }
}

/// What a call about an attempt asks of the search, and whose attempt that is.
fn command_of(call: Call, disk: &Disk) -> Option<(WorkerId, AttemptKey, Command)> {
    let (worker, key) = match &call {
        Call::Report { worker, key, .. }
        | Call::Complete { worker, key, .. }
        | Call::Fail { worker, key, .. }
        | Call::BreakOff { worker, key, .. }
        | Call::Release { worker, key }
        | Call::Upload { worker, key, .. } => (*worker, *key),
        _ => return None,
    };
    let (trial, attempt) = (key.trial, key.attempt);
    let command = match call {
        Call::Report {
            number,
            measurement,
            ..
        } => Command::ReportMeasurement {
            worker,
            trial,
            attempt,
            number,
            measurement,
        },
        Call::Complete { mut completion, .. } => {
            let is_stored = |weights| disk.weights.contains(&weights);
            completion.weights_stored = completion.weights.is_some_and(is_stored);
            Command::CompleteJob {
                worker,
                trial,
                attempt,
                completion,
            }
        }
        Call::Fail { failure, .. } => Command::FailJob {
            trial,
            attempt,
            failure,
        },
        Call::BreakOff { checkpoint, .. } => Command::RecordCheckpoint {
            worker,
            trial,
            attempt,
            checkpoint,
        },
        Call::Release { .. } => Command::ReleaseJob {
            trial,
            attempt,
            reason: ReleaseReason::Worker,
        },
        Call::Upload { weights, .. } => Command::RecordWeights {
            trial,
            attempt,
            weights,
        },
        _ => return None,
    };
    Some((worker, key, command))
}
