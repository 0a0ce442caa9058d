//! What the journal says of a search that no listing holds: why attempts failed, and who wanted what. The whole
//! stream is read for it, which is asked for rarely. May import the journal's reader and the core.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptNumber, SearchId, TrialNumber, WorkerId};
use espalier_core::search::{Event, Forked, ReleaseReason};
use espalier_proto::v1;

use crate::actors::{CallError, WorkerNames};
use crate::journal::{JournalError, JournalReader, StreamId};

/// The most groups of one answer.
const MAX_GROUPS: usize = 200;
/// The most trials and workers that are named of a group.
const NAMED_TRIALS: usize = 100;
const NAMED_WORKERS: usize = 20;
/// The most wishes of one answer.
const MAX_WISHES: usize = 1_000;

/// Attempts that failed for one reason.
#[derive(Debug, Default)]
struct Group {
    message: String,
    attempts: u32,
    trials: BTreeSet<TrialNumber>,
    workers: BTreeSet<WorkerId>,
    last_ms: u64,
}

/// Failures of a stream by domain, kind and last line.
#[derive(Debug, Default)]
struct Failures {
    groups: BTreeMap<(FailureDomain, FailureKind, String), Group>,
    /// Who runs what; at most one attempt of a trial is live.
    running: BTreeMap<TrialNumber, (AttemptNumber, WorkerId)>,
}

impl Failures {
    fn read(&mut self, event: &Event, time_ms: u64) {
        match event {
            Event::JobLeased {
                trial,
                attempt,
                worker,
                ..
            } => {
                self.running.insert(*trial, (*attempt, *worker));
            }
            Event::AttemptFailed {
                trial,
                attempt,
                failure,
            } => self.note(*trial, *attempt, failure, time_ms),
            Event::LeaseExpired { trial, attempt } => {
                self.lost(*trial, *attempt, "its worker was not heard of", time_ms);
            }
            Event::AttemptReleased {
                trial,
                attempt,
                reason: ReleaseReason::WorkerRestarted,
            } => self.lost(*trial, *attempt, "its worker was started again", time_ms),
            _ => {}
        }
    }

    fn lost(&mut self, trial: TrialNumber, attempt: AttemptNumber, message: &str, time_ms: u64) {
        let failure = Failure::new(FailureDomain::Worker, FailureKind::WorkerLost, message);
        self.note(trial, attempt, &failure, time_ms);
    }

    fn note(
        &mut self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        failure: &Failure,
        time_ms: u64,
    ) {
        let key = (failure.domain, failure.kind, failure.last_line().to_owned());
        let group = self.groups.entry(key).or_default();
        group.message.clone_from(&failure.message);
        group.attempts = group.attempts.saturating_add(1);
        group.trials.insert(trial);
        group.last_ms = time_ms;
        let holder = self.running.get(&trial);
        let holder = holder.filter(|(running, _)| *running == attempt);
        group.workers.extend(holder.map(|(_, worker)| *worker));
    }

    fn reply(self, names: &WorkerNames) -> v1::ListFailuresReply {
        let mut groups: Vec<_> = self.groups.into_iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.attempts));
        let more = groups.len() > MAX_GROUPS;
        groups.truncate(MAX_GROUPS);
        let wire =
            |((domain, kind, last_line), group): ((FailureDomain, FailureKind, String), Group)| {
                let workers: BTreeSet<String> =
                    group.workers.iter().map(|id| names.name(*id)).collect();
                v1::FailureGroup {
                    domain: domain.to_string(),
                    kind: kind.to_string(),
                    last_line,
                    message: group.message,
                    attempts: group.attempts,
                    trial_count: u32::try_from(group.trials.len()).unwrap_or(u32::MAX),
                    trials: group
                        .trials
                        .iter()
                        .take(NAMED_TRIALS)
                        .map(|trial| trial.0)
                        .collect(),
                    workers: workers.into_iter().take(NAMED_WORKERS).collect(),
                    last_ms: group.last_ms,
                }
            };
        v1::ListFailuresReply {
            groups: groups.into_iter().map(wire).collect(),
            more,
        }
    }
}

/// Reads the events of a search, in their order.
fn each(
    reader: &JournalReader,
    search: SearchId,
    mut visit: impl FnMut(&Event, u64),
) -> Result<(), JournalError> {
    let stream = StreamId::Search(search);
    let read = reader.replay(stream, |_, time_ms, body| {
        visit(&serde_json::from_str(body)?, time_ms);
        Ok(())
    });
    read.map(|_| ())
}

/// Why attempts of a search failed.
///
/// # Errors
/// The journal cannot be read.
pub(super) async fn failures(
    reader: &JournalReader,
    search: SearchId,
    names: &WorkerNames,
) -> Result<v1::ListFailuresReply, CallError> {
    let read = move |reader: &JournalReader| {
        let mut failures = Failures::default();
        each(reader, search, |event, time_ms| {
            failures.read(event, time_ms)
        })?;
        Ok(failures)
    };
    Ok(reader.read(read).await?.reply(names))
}

/// Who wanted what of a search.
///
/// # Errors
/// The journal cannot be read.
pub(super) async fn wishes(
    reader: &JournalReader,
    search: SearchId,
) -> Result<v1::ListWishesReply, CallError> {
    let read = move |reader: &JournalReader| {
        let mut wishes = VecDeque::new();
        each(reader, search, |event, time_ms| {
            if let Event::SearchCreated { definition } = event
                && let Some(Forked { from, at, by, bans }) = &definition.forked
            {
                let until = match at.0 {
                    u32::MAX => "its last trial".to_owned(),
                    at => format!("trial {at}"),
                };
                let with = match bans {
                    0 => "",
                    1 => ", with its banned candidate",
                    _ => ", with its banned candidates",
                };
                wishes.push_back(v1::Wish {
                    time_ms,
                    by: by.clone().unwrap_or_default(),
                    wish: format!("fork of search {from} up to {until}{with}"),
                });
            }
            if let Event::Steered { by, wish } = event {
                if wishes.len() >= MAX_WISHES {
                    wishes.pop_front();
                }
                wishes.push_back(v1::Wish {
                    time_ms,
                    by: by.clone().unwrap_or_default(),
                    wish: wish.clone(),
                });
            }
        })?;
        Ok(wishes)
    };
    let wishes = reader.read(read).await?.into();
    Ok(v1::ListWishesReply { wishes })
}

#[cfg(test)]
mod tests {
    use espalier_common::job::Job;
    use uuid::Uuid;

    use super::*;

    fn leased(trial: u32, worker: u128) -> Event {
        Event::JobLeased {
            trial: TrialNumber(trial),
            attempt: AttemptNumber(1),
            worker: WorkerId(Uuid::from_u128(worker)),
            job: Job::train(1),
        }
    }

    fn failed(trial: u32, message: &str, tail: &str) -> Event {
        let mut failure = Failure::new(FailureDomain::Candidate, FailureKind::Crashed, message);
        failure.log_tail = tail.to_owned();
        Event::AttemptFailed {
            trial: TrialNumber(trial),
            attempt: AttemptNumber(1),
            failure,
        }
    }

    #[test]
    fn failures_are_grouped_by_their_last_line_the_most_frequent_first() {
        let names = WorkerNames::default();
        names.learn_for_tests(WorkerId(Uuid::from_u128(1)), "one");
        let mut failures = Failures::default();
        let events = [
            leased(1, 1),
            failed(1, "exit 1", "a\nKeyError: 'x'\n"),
            leased(2, 1),
            failed(2, "exit 2", "b\nKeyError: 'x'\n"),
            leased(3, 2),
            Event::LeaseExpired {
                trial: TrialNumber(3),
                attempt: AttemptNumber(1),
            },
        ];
        for (time_ms, event) in events.iter().enumerate() {
            failures.read(event, time_ms as u64);
        }
        let reply = failures.reply(&names);
        assert_eq!(reply.groups.len(), 2);
        let first = &reply.groups[0];
        assert_eq!((first.attempts, first.trial_count), (2, 2));
        assert_eq!(
            (first.last_line.as_str(), first.message.as_str()),
            ("KeyError: 'x'", "exit 2")
        );
        assert_eq!((&first.trials[..], first.last_ms), (&[1, 2][..], 3));
        assert_eq!(first.workers, ["one"]);
        assert_eq!(reply.groups[1].domain, "worker");
    }
}
