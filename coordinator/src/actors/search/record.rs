//! What follows from the events of a batch: records for the journal, tells for the searcher, and which leases
//! began or ended, for the dispatcher. May import the core and the journal.

use std::collections::BTreeMap;

use espalier_common::ids::{AttemptKey, AttemptNumber, SearchId, TrialNumber, WorkerId};
use espalier_core::search::{Effect, Event, LiveAttempt, ReleaseReason};

use super::actor::SearchActor;
use super::status::{self, TrialChange};
use crate::actors::dispatcher::{Changed, News, Sign};
use crate::actors::searcher::ToSearcher;
use crate::journal::{Record, rows};

impl SearchActor {
    /// Takes in what a command came to: records for the journal, tells, leases that began or ended.
    pub(super) fn record(&mut self, events: Vec<Event>, effects: Vec<Effect>, call: u64) {
        let time_ms = self.pending.time_ms;
        let watched = self.shared.is_watched();
        for event in events {
            self.kept.apply(&self.search, &event);
            self.log.write(&self.search, &event, time_ms);
            match serde_json::to_string(&event) {
                Ok(body) => self.pending.records.push(Record {
                    body,
                    rows: rows(&self.listing, &event),
                }),
                // Every event has a JSON form. Should one not, the state in memory is ahead of anything
                // that can ever be durable.
                Err(error) => self
                    .shutdown
                    .fail(format!("an event cannot be written: {error}")),
            }
            if watched {
                let change = TrialChange::of(&event, &self.search, time_ms);
                self.pending.changes.extend(change);
            }
            if let Some((trial, attempt)) = lease_of(&event) {
                self.note_lease(trial, attempt, call);
                let key = key(self.search.id(), trial, attempt);
                let sign = sign_of(&event).map(|sign| (key, sign));
                self.pending.signs.extend(sign);
            }
            if is_about_proposals(&event) {
                self.tell_searcher(ToSearcher::Recorded(Box::new(event)));
            }
        }
        for effect in effects {
            match effect {
                Effect::Tell(observation) => self.tell_searcher(ToSearcher::Tell(observation)),
                Effect::Drop { trial, attempt, .. } => {
                    self.log.dropped(trial);
                    self.note_lease(trial, attempt, call);
                }
            }
        }
    }

    fn tell_searcher(&self, message: ToSearcher) {
        if let Some(searcher) = &self.searcher {
            searcher.send(message);
        }
    }

    /// Notes for the dispatcher whether an attempt holds its lease.
    fn note_lease(&mut self, trial: TrialNumber, attempt: AttemptNumber, call: u64) {
        let key = key(self.search.id(), trial, attempt);
        match self.search.live().get(&trial) {
            Some(live) if live.attempt == attempt => {
                self.pending.granted.push((key, live.worker, call));
            }
            _ => self.pending.ended.push(key),
        }
    }

    pub(super) fn tell_dispatcher(&mut self) {
        let summary = status::summary(&self.search, self.asking);
        let pending = &mut self.pending;
        keep_live(&mut pending.granted, self.search.live());
        let nothing = pending.answered.is_empty()
            && pending.granted.is_empty()
            && pending.ended.is_empty()
            && pending.returned.is_empty();
        if nothing && summary == self.summary {
            return;
        }
        self.summary.clone_from(&summary);
        // The dispatcher ends only with the coordinator.
        let _ = self.shared.news.send(News::Changed(Changed {
            search: self.search.id(),
            summary,
            answered: std::mem::take(&mut pending.answered),
            granted: std::mem::take(&mut pending.granted),
            ended: std::mem::take(&mut pending.ended),
            signs: std::mem::take(&mut pending.signs),
            returned: std::mem::take(&mut pending.returned),
        }));
    }
}

pub(super) fn key(search: SearchId, trial: TrialNumber, attempt: AttemptNumber) -> AttemptKey {
    AttemptKey {
        search,
        trial,
        attempt,
    }
}

/// Forgets the grants that the same batch has ended again: the dispatcher takes in what has ended before
/// what was granted, and would hold such a lease for ever.
fn keep_live(
    granted: &mut Vec<(AttemptKey, WorkerId, u64)>,
    live: &BTreeMap<TrialNumber, LiveAttempt>,
) {
    granted.retain(|(key, _, _)| {
        live.get(&key.trial)
            .is_some_and(|live| live.attempt == key.attempt)
    });
}

/// Whether the searcher's side is to know of this event.
fn is_about_proposals(event: &Event) -> bool {
    matches!(
        event,
        Event::ProposalRefused { .. }
            | Event::TrialProposed { .. }
            | Event::TrialRetried { .. }
            | Event::ProposalsEnded { .. }
    )
}

/// The attempt whose lease an event may have begun or ended.
fn lease_of(event: &Event) -> Option<(TrialNumber, AttemptNumber)> {
    match event {
        Event::JobLeased { trial, attempt, .. }
        | Event::TrialCompleted { trial, attempt, .. }
        | Event::TrialRetrained { trial, attempt, .. }
        | Event::UploadResumed { trial, attempt, .. }
        | Event::WeightsStored { trial, attempt, .. }
        | Event::TestCompleted { trial, attempt, .. }
        | Event::AttemptFailed { trial, attempt, .. }
        | Event::LeaseExpired { trial, attempt }
        | Event::AttemptReleased { trial, attempt, .. } => Some((*trial, *attempt)),
        Event::SearchCreated { .. }
        | Event::SearchRecovered
        | Event::ClockJumped { .. }
        | Event::TimePassed
        | Event::ProposalRefused { .. }
        | Event::TrialProposed { .. }
        | Event::ProposalsEnded { .. }
        | Event::Measured { .. }
        | Event::CheckpointStored { .. }
        | Event::TrialReused { .. }
        | Event::TrialFailed { .. }
        | Event::TrialCancelled { .. }
        | Event::TrialPinned { .. }
        | Event::TrialRetried { .. }
        | Event::Steered { .. }
        | Event::LimitsChanged { .. }
        | Event::SearchPaused { .. }
        | Event::SearchResumed
        | Event::SearchFinishing { .. }
        | Event::SearchFinished { .. } => None,
    }
}

/// What an event says about the machine of its attempt.
fn sign_of(event: &Event) -> Option<Sign> {
    match event {
        Event::TrialCompleted { .. }
        | Event::TrialRetrained { .. }
        | Event::TestCompleted { .. } => Some(Sign::Well),
        Event::AttemptFailed { failure, .. } if failure.domain.is_of_worker() => Some(Sign::Sick),
        Event::LeaseExpired { .. } => Some(Sign::Sick),
        Event::AttemptReleased { reason, .. } if *reason == ReleaseReason::WorkerRestarted => {
            Some(Sign::Sick)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use espalier_common::job::JobKind;
    use espalier_core::search::LivePhase;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_lease_that_begins_and_ends_in_one_batch_is_not_granted() {
        let search = SearchId(Uuid::from_u128(1));
        let worker = WorkerId(Uuid::from_u128(2));
        let attempt = |trial, attempt| key(search, TrialNumber(trial), AttemptNumber(attempt));
        let held = LiveAttempt {
            attempt: AttemptNumber(2),
            worker,
            job: JobKind::Train,
            resumed: false,
            phase: LivePhase::Running,
            reported: 0,
            step: 0,
            since_ms: 0,
        };
        let live = BTreeMap::from([(TrialNumber(1), held)]);
        // Trial 1 was granted, given back and granted again; trial 2 was granted and has ended.
        let mut granted: Vec<_> = [attempt(1, 1), attempt(1, 2), attempt(2, 1)]
            .map(|key| (key, worker, 7))
            .into();
        keep_live(&mut granted, &live);
        assert_eq!(granted, [(attempt(1, 2), worker, 7)]);
    }
}
