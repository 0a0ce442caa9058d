//! Polls that wait for a job, in the order in which they came. Plain data; the dispatcher owns it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use espalier_common::ids::WorkerId;
use tokio::time::Instant;

use super::Poll;

/// The waiting polls: at most one a worker, the longest wait first.
#[derive(Debug, Default)]
pub(super) struct Polls {
    polls: BTreeMap<u64, Poll>,
    by_worker: HashMap<WorkerId, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    next_ticket: u64,
}

impl Polls {
    /// A poll begins to wait. An older one of the same worker has ended at the worker: it is answered
    /// with nothing.
    pub(super) fn add(&mut self, mut poll: Poll) {
        self.next_ticket += 1;
        poll.ticket = self.next_ticket;
        self.put_back(poll);
    }

    /// A poll that was tried in vain waits on, at its old place.
    pub(super) fn put_back(&mut self, poll: Poll) {
        match self.by_worker.get(&poll.worker).copied() {
            Some(newer) if newer > poll.ticket => return answer_empty(poll),
            Some(older) => {
                if let Some(older) = self.take(older) {
                    answer_empty(older);
                }
            }
            None => {}
        }
        self.by_worker.insert(poll.worker, poll.ticket);
        self.deadlines.insert((poll.deadline, poll.ticket));
        self.polls.insert(poll.ticket, poll);
    }

    /// Takes a poll out.
    pub(super) fn take(&mut self, ticket: u64) -> Option<Poll> {
        let poll = self.polls.remove(&ticket)?;
        self.deadlines.remove(&(poll.deadline, ticket));
        if self.by_worker.get(&poll.worker) == Some(&ticket) {
            self.by_worker.remove(&poll.worker);
        }
        Some(poll)
    }

    /// Takes a worker's poll out.
    pub(super) fn take_of(&mut self, worker: WorkerId) -> Option<Poll> {
        let ticket = *self.by_worker.get(&worker)?;
        self.take(ticket)
    }

    /// Answers a worker's poll with nothing, if it waits.
    pub(super) fn dismiss(&mut self, worker: WorkerId) {
        if let Some(poll) = self.take_of(worker) {
            answer_empty(poll);
        }
    }

    /// The slots for which a worker waits.
    pub(super) fn free_slots(&self, worker: WorkerId) -> u32 {
        let ticket = self.by_worker.get(&worker);
        ticket
            .and_then(|ticket| self.polls.get(ticket))
            .map_or(0, |poll| poll.free_slots)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.polls.is_empty()
    }

    /// Answers those whose time is up with nothing.
    pub(super) fn answer_overdue(&mut self, now: Instant) {
        while let Some(&(deadline, ticket)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            match self.take(ticket) {
                Some(poll) => answer_empty(poll),
                None => {
                    self.deadlines.pop_first();
                }
            }
        }
    }

    /// When the next one's time is up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The waiting, the longest wait first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Poll> {
        self.polls.values()
    }
}

/// Tells the worker that there is nothing for it now. Its caller may be gone, which is as well.
pub(super) fn answer_empty(poll: Poll) {
    let _ = poll.reply.send(Ok(Vec::new()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::error::CallError;
    use espalier_common::job::LeasedJob;
    use std::time::Duration;
    use tokio::sync::oneshot;
    use uuid::Uuid;

    type Answer = oneshot::Receiver<Result<Vec<LeasedJob>, CallError>>;

    fn is_empty(answer: &mut Answer) -> bool {
        matches!(answer.try_recv(), Ok(Ok(jobs)) if jobs.is_empty())
    }

    fn poll(worker: u128, deadline: Instant) -> (Poll, Answer) {
        let (reply, answer) = oneshot::channel();
        let poll = Poll {
            worker: WorkerId(Uuid::from_u128(worker)),
            call: 1,
            free_slots: 1,
            missing: BTreeSet::new(),
            deadline,
            ticket: 0,
            reply,
        };
        (poll, answer)
    }

    #[test]
    fn a_newer_poll_of_a_worker_ends_the_older_one() {
        let mut waiting = Polls::default();
        let later = Instant::now() + Duration::from_secs(9);
        let (older, mut older_answer) = poll(1, later);
        let (newer, mut newer_answer) = poll(1, later);
        waiting.add(older);
        waiting.add(newer);
        assert!(is_empty(&mut older_answer));
        assert!(newer_answer.try_recv().is_err());
        assert_eq!(waiting.iter().count(), 1);
    }

    #[test]
    fn a_poll_that_comes_back_keeps_its_place_unless_a_newer_one_waits() {
        let mut waiting = Polls::default();
        let later = Instant::now() + Duration::from_secs(9);
        let (first, _first_answer) = poll(1, later);
        let (second, _second_answer) = poll(2, later);
        waiting.add(first);
        waiting.add(second);
        let first = waiting.take(1).unwrap();
        waiting.put_back(first);
        assert_eq!(waiting.iter().next().unwrap().ticket, 1);

        let first = waiting.take(1).unwrap();
        let (newer, _newer_answer) = poll(1, later);
        waiting.add(newer);
        waiting.put_back(first);
        let tickets: Vec<u64> = waiting.iter().map(|poll| poll.ticket).collect();
        assert_eq!(tickets, vec![2, 3]);
    }

    #[test]
    fn a_poll_is_answered_with_nothing_when_its_time_is_up() {
        let mut waiting = Polls::default();
        let now = Instant::now();
        let (poll, mut answer) = poll(1, now + Duration::from_secs(5));
        waiting.add(poll);
        waiting.answer_overdue(now + Duration::from_secs(4));
        assert!(answer.try_recv().is_err());
        waiting.answer_overdue(now + Duration::from_secs(5));
        assert!(is_empty(&mut answer));
        assert_eq!(waiting.next_deadline(), None);
    }
}
