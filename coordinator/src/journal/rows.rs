//! Rows for listings: what an event changes in them, and the statements that do it. The changes never fail
//! for what an event says: a journal must not stop because of a listing.

use espalier_common::ids::{AttemptNumber, Digest, TrialNumber, WorkerId};
use espalier_core::search::{TrialOf, TrialState};
use rusqlite::{Connection, Statement, params};

use super::stream::trial_row;

/// How a trial's state is stored. The open states are the lowest: the statements below say `state <= 1`.
pub(super) fn state_code(state: TrialState) -> u8 {
    match state {
        TrialState::Queued => 0,
        TrialState::Running => 1,
        TrialState::Completed => 2,
        TrialState::Failed => 3,
        TrialState::Infeasible => 4,
        TrialState::Cancelled => 5,
    }
}

/// The state that is stored as `code`.
pub(super) fn state_of(code: u8) -> Option<TrialState> {
    Some(match code {
        0 => TrialState::Queued,
        1 => TrialState::Running,
        2 => TrialState::Completed,
        3 => TrialState::Failed,
        4 => TrialState::Infeasible,
        5 => TrialState::Cancelled,
        _ => return None,
    })
}

/// One change of the rows for listings. The search is that of the stream, the time that of the record.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// A trial begins; the record holds its candidate.
    AddTrial {
        /// The trial.
        trial: TrialNumber,
        /// Its state.
        state: TrialState,
        /// What stands for its result, should another search look for it.
        key: Option<Digest>,
    },
    /// A worker got an attempt. An open trial is running from now on.
    StartAttempt {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// The worker.
        worker: WorkerId,
    },
    /// The attempt is over without a result. If it was the trial's last one, an open trial waits again.
    EndAttempt {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
    },
    /// An attempt measured something.
    AddMeasurement {
        /// The trial.
        trial: TrialNumber,
        /// The attempt.
        attempt: AttemptNumber,
        /// Epochs finished.
        step: u32,
        /// What was measured, as JSON.
        metrics: String,
    },
    /// An open trial has its score.
    CompleteTrial {
        /// The trial.
        trial: TrialNumber,
        /// The attempt that brought it.
        attempt: AttemptNumber,
        /// That attempt's worker.
        worker: WorkerId,
        /// The score.
        score: f64,
        /// The score as a number of which more is better.
        utility: f64,
        /// Digest of the weights it left.
        weights: Option<Digest>,
    },
    /// An open trial has the result of another search.
    ReuseTrial {
        /// The trial.
        trial: TrialNumber,
        /// Whose result it is.
        from: TrialOf,
        /// The score.
        score: f64,
        /// The score as a number of which more is better.
        utility: f64,
    },
    /// An open trial ends without a score.
    CloseTrial {
        /// The trial.
        trial: TrialNumber,
        /// Its state from now on.
        state: TrialState,
        /// Why, when there is a fault.
        reason: Option<String>,
    },
    /// A trial that failed or was cancelled waits again.
    ReopenTrial {
        /// The trial.
        trial: TrialNumber,
    },
    /// An evaluator has spent time on a trial.
    AddSeconds {
        /// The trial.
        trial: TrialNumber,
        /// How much.
        seconds: f64,
    },
    /// A trial's weights are stored; those of a trial that is not as good are kept no longer.
    StoreWeights {
        /// The trial.
        trial: TrialNumber,
        /// Their digest.
        weights: Digest,
    },
}

/// Where a change belongs.
#[derive(Clone, Copy)]
pub(super) struct At {
    /// The stream's number.
    pub(super) stream: i64,
    /// The record's sequence.
    pub(super) sequence: u64,
    /// The record's time.
    pub(super) time_ms: u64,
}

/// The statements behind [`RowChange`], prepared once.
pub(super) struct RowStatements<'c> {
    add_trial: Statement<'c>,
    start_attempt: Statement<'c>,
    end_attempt: Statement<'c>,
    add_measurement: Statement<'c>,
    complete_trial: Statement<'c>,
    add_result: Statement<'c>,
    reuse_trial: Statement<'c>,
    close_trial: Statement<'c>,
    reopen_trial: Statement<'c>,
    add_seconds: Statement<'c>,
    store_weights: Statement<'c>,
    result_weights: Statement<'c>,
    touch: Statement<'c>,
}

impl<'c> RowStatements<'c> {
    /// Prepares them.
    pub(super) fn prepare(connection: &'c Connection) -> Result<Self, rusqlite::Error> {
        // 0 and 1 are the open states (see `state_code`); a closed trial keeps its state whatever comes.
        // What is added replaces a row that is there, so that no event can violate a key.
        Ok(Self {
            add_trial: connection.prepare(
                "INSERT OR REPLACE INTO trial
                     (row, sequence, state, updated_ms, key, attempts, shown, seconds)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0.0)",
            )?,
            start_attempt: connection.prepare(
                "UPDATE trial SET attempts = max(attempts, ?2), updated_ms = ?4,
                     worker = CASE WHEN state <= 1 THEN ?3 ELSE worker END,
                     shown = CASE WHEN state <= 1 THEN ?2 ELSE shown END,
                     state = CASE WHEN state = 0 THEN 1 ELSE state END
                 WHERE row = ?1",
            )?,
            end_attempt: connection.prepare(
                "UPDATE trial SET state = 0, updated_ms = ?3
                 WHERE row = ?1 AND state = 1 AND attempts = ?2",
            )?,
            add_measurement: connection.prepare(
                "INSERT OR REPLACE INTO measurement (trial, attempt, step, time_ms, metrics)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            complete_trial: connection.prepare(
                "UPDATE trial SET state = 2, shown = ?2, worker = ?3, score = ?4, utility = ?5,
                     updated_ms = ?6
                 WHERE row = ?1 AND state <= 1",
            )?,
            // Of several results for one key the newest: its weights are the likeliest to be there. By its
            // time, since a rebuild goes through the searches one after another.
            add_result: connection.prepare(
                "INSERT INTO result (key, trial, time_ms, weights)
                 SELECT key, row, ?4, ?2 FROM trial WHERE row = ?1 AND key IS NOT NULL
                     AND shown = ?3 AND state = 2
                 ON CONFLICT (key) DO UPDATE SET trial = excluded.trial, time_ms = excluded.time_ms,
                     weights = excluded.weights
                 WHERE (excluded.time_ms, excluded.trial) > (result.time_ms, result.trial)",
            )?,
            reuse_trial: connection.prepare(
                "UPDATE trial SET state = 2, score = ?2, utility = ?3, updated_ms = ?4,
                     from_search = ?5, from_trial = ?6
                 WHERE row = ?1 AND state <= 1",
            )?,
            close_trial: connection.prepare(
                "UPDATE trial SET state = ?2, reason = ?3, updated_ms = ?4
                 WHERE row = ?1 AND state <= 1",
            )?,
            reopen_trial: connection.prepare(
                "UPDATE trial SET state = 0, reason = NULL, updated_ms = ?2
                 WHERE row = ?1 AND state IN (3, 5)",
            )?,
            add_seconds: connection.prepare(
                "UPDATE trial SET seconds = seconds + ?2, updated_ms = ?3 WHERE row = ?1",
            )?,
            // Of one trial of each search, as the artifacts are kept: the best of which they are stored.
            store_weights: connection.prepare(
                "INSERT OR REPLACE INTO weights (stream, trial, digest)
                 SELECT ?1, ?2, ?3 WHERE NOT EXISTS (
                     SELECT 1 FROM weights JOIN trial old ON old.row = weights.trial
                         JOIN trial new ON new.row = ?2
                     WHERE weights.stream = ?1 AND old.row <> new.row
                         AND (old.utility > new.utility
                             OR (old.utility = new.utility AND old.row < new.row)))",
            )?,
            // Trained once more: whoever looks next looks for these.
            result_weights: connection.prepare(
                "UPDATE result SET weights = ?2
                 WHERE key = (SELECT key FROM trial WHERE row = ?1) AND trial = ?1",
            )?,
            touch: connection.prepare("UPDATE trial SET updated_ms = ?2 WHERE row = ?1")?,
        })
    }

    /// Makes one change.
    pub(super) fn apply(&mut self, at: At, change: &RowChange) -> Result<(), rusqlite::Error> {
        let time = at.time_ms as i64;
        let row = |trial: &TrialNumber| trial_row(at.stream, trial.0);
        match change {
            RowChange::AddTrial { trial, state, key } => {
                let (sequence, state) = (at.sequence as i64, state_code(*state));
                let key = key.as_ref().map(|key| &key.0[..]);
                self.add_trial
                    .execute(params![row(trial), sequence, state, time, key])
            }
            RowChange::StartAttempt {
                trial,
                attempt,
                worker,
            } => {
                let worker = worker.0.as_bytes();
                self.start_attempt
                    .execute(params![row(trial), attempt.0, worker, time])
            }
            RowChange::EndAttempt { trial, attempt } => {
                self.end_attempt
                    .execute(params![row(trial), attempt.0, time])
            }
            RowChange::AddMeasurement {
                trial,
                attempt,
                step,
                metrics,
            } => self
                .add_measurement
                .execute(params![row(trial), attempt.0, step, time, metrics]),
            RowChange::CompleteTrial {
                trial,
                attempt,
                worker,
                score,
                utility,
                weights,
            } => {
                let (row, worker) = (row(trial), worker.0.as_bytes());
                self.complete_trial
                    .execute(params![row, attempt.0, worker, score, utility, time])?;
                let weights = weights.as_ref().map(|digest| &digest.0[..]);
                self.add_result
                    .execute(params![row, weights, attempt.0, time])
            }
            RowChange::ReuseTrial {
                trial,
                from,
                score,
                utility,
            } => self.reuse_trial.execute(params![
                row(trial),
                score,
                utility,
                time,
                from.search.0.as_bytes(),
                from.trial.0
            ]),
            RowChange::CloseTrial {
                trial,
                state,
                reason,
            } => self
                .close_trial
                .execute(params![row(trial), state_code(*state), reason, time]),
            RowChange::ReopenTrial { trial } => {
                self.reopen_trial.execute(params![row(trial), time])
            }
            RowChange::AddSeconds { trial, seconds } => {
                self.add_seconds.execute(params![row(trial), seconds, time])
            }
            RowChange::StoreWeights { trial, weights } => {
                let row = row(trial);
                self.store_weights
                    .execute(params![at.stream, row, &weights.0[..]])?;
                self.result_weights.execute(params![row, &weights.0[..]])?;
                self.touch.execute(params![row, time])
            }
        }
        .map(drop)
    }
}
