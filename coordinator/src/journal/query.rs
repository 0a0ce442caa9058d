//! Listings: searches and trials a page at a time, and the best trials.

use std::ops::BitOr;

use espalier_common::candidate::Candidate;
use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::metrics::Metrics;
use espalier_common::observation::Origin;
use espalier_core::search::{Event, Phase, Refused, TrialState};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::error::{JournalError, Refusal};
use super::reader::{JournalReader, head_of};
use super::rows::{phase_of, state_code, state_of};
use super::stream::{StreamId, trial_of, trial_row};

/// The most rows of one answer, so that no listing holds a reader or its memory for long.
pub const MAX_ROWS: usize = 1000;

/// A set of trial states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u8);

impl States {
    /// Every state.
    pub const ANY: Self = Self(u8::MAX);
    /// No state.
    pub const NONE: Self = Self(0);
}

impl From<TrialState> for States {
    fn from(state: TrialState) -> Self {
        Self(1 << state_code(state))
    }
}

impl BitOr for States {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<TrialState> for States {
    fn from_iter<T: IntoIterator<Item = TrialState>>(states: T) -> Self {
        states
            .into_iter()
            .fold(Self::NONE, |all, state| all | state.into())
    }
}

/// A search in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRow {
    /// The search.
    pub search: SearchId,
    /// Its name.
    pub name: String,
    /// When it was created, in Unix milliseconds.
    pub created_ms: u64,
    /// Where it stands.
    pub phase: Phase,
    /// Records of its stream.
    pub events: u64,
}

/// A trial in a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRow {
    /// Its number.
    pub number: TrialNumber,
    /// Its state.
    pub state: TrialState,
    /// The number of its last attempt; 0 before the first.
    pub attempts: u32,
    /// Its score.
    pub score: Option<f64>,
    /// The last measurement of the attempt that brought the score, or else of the last attempt.
    pub measured: Option<LastMeasurement>,
    /// The candidate.
    pub candidate: Candidate,
    /// The candidate's identity; absent when it could not be built.
    pub candidate_id: Option<Digest>,
    /// Where the candidate came from.
    pub origin: Origin,
    /// Parameters of the network, if there is one.
    pub parameters: Option<u64>,
    /// Multiply-accumulate operations per example, if there is a network.
    pub macs: Option<u64>,
    /// Seconds spent in evaluators by the attempts that ended well.
    pub seconds: f64,
    /// The worker of the attempt that brought the score, or else of the last attempt.
    pub worker: Option<WorkerId>,
    /// Why it failed or is infeasible.
    pub reason: Option<String>,
    /// Digest of its weights, when they are stored.
    pub weights: Option<Digest>,
    /// When it last changed, in Unix milliseconds.
    pub updated_ms: u64,
}

/// A trial's last measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct LastMeasurement {
    /// The attempt.
    pub attempt: AttemptNumber,
    /// Epochs finished.
    pub step: u32,
    /// What was measured.
    pub metrics: Metrics,
}

/// A trial's own columns, then those of the measurement that is shown.
const TRIAL: &str = "
SELECT t.row, t.sequence, t.state, t.attempts, t.score, t.seconds, t.updated_ms, t.worker, t.weights,
       t.reason, m.attempt, m.step, m.metrics, m.time_ms
FROM trial t LEFT JOIN measurement m ON m.trial = t.row AND m.attempt = t.shown AND m.step =
    (SELECT max(step) FROM measurement WHERE trial = t.row AND attempt = t.shown)
";

impl JournalReader {
    /// Searches in the order of their creation, those after `after`; at most `limit` and [`MAX_ROWS`].
    ///
    /// # Errors
    /// There is no search `after`, or what SQLite says.
    pub fn searches(
        &self,
        after: Option<SearchId>,
        limit: usize,
    ) -> Result<Vec<SearchRow>, JournalError> {
        self.snapshot(|connection| {
            let after = match after {
                Some(search) => self.number(connection, search)?,
                None => 0,
            };
            let list = || {
                connection
                    .prepare_cached(
                        "SELECT stream.name, search.name, created_ms, phase, sequence
                         FROM search JOIN stream ON number = stream
                         WHERE stream > ?1 ORDER BY stream LIMIT ?2",
                    )?
                    .query_map(params![after, limit.min(MAX_ROWS) as i64], search_row)?
                    .collect::<Result<Vec<_>, _>>()
            };
            list().map_err(self.at())
        })
    }

    /// Trials with a number after `after`, in order; at most `limit` and [`MAX_ROWS`].
    ///
    /// # Errors
    /// There is no such search, or what SQLite says.
    pub fn trials(
        &self,
        search: SearchId,
        after: TrialNumber,
        limit: usize,
        states: States,
    ) -> Result<Vec<TrialRow>, JournalError> {
        self.snapshot(|connection| {
            let stream = self.number(connection, search)?;
            let sql = format!(
                "{TRIAL} WHERE t.row > ?1 AND t.row < ?2 AND (?3 >> t.state) & 1
                 ORDER BY t.row LIMIT ?4"
            );
            let last = trial_row(stream + 1, 0);
            let limit = limit.min(MAX_ROWS) as i64;
            let values = params![trial_row(stream, after.0), last, states.0, limit];
            self.list(connection, search, stream, &sql, values)
        })
    }

    /// One trial, if there is such a one.
    ///
    /// # Errors
    /// There is no such search, or what SQLite says.
    pub fn trial(
        &self,
        search: SearchId,
        number: TrialNumber,
    ) -> Result<Option<TrialRow>, JournalError> {
        self.snapshot(|connection| {
            let stream = self.number(connection, search)?;
            let sql = format!("{TRIAL} WHERE t.row = ?1");
            let values = params![trial_row(stream, number.0)];
            let mut found = self.list(connection, search, stream, &sql, values)?;
            Ok(found.pop())
        })
    }

    /// The completed trials with the best scores, the best first; of equal ones the lower number first. At
    /// most `count` and [`MAX_ROWS`].
    ///
    /// # Errors
    /// There is no such search, or what SQLite says.
    pub fn best(&self, search: SearchId, count: usize) -> Result<Vec<TrialRow>, JournalError> {
        self.snapshot(|connection| {
            let stream = self.number(connection, search)?;
            let sql = format!("{TRIAL} {BEST}");
            let (first, last) = (trial_row(stream, 0), trial_row(stream + 1, 0));
            let values = params![first, last, count.min(MAX_ROWS) as i64];
            self.list(connection, search, stream, &sql, values)
        })
    }

    /// The number of a search's stream.
    fn number(&self, connection: &Connection, search: SearchId) -> Result<i64, JournalError> {
        let stream = StreamId::Search(search);
        head_of(connection, stream)
            .map_err(self.at())?
            .map(|head| head.number)
            .ok_or(JournalError::NoStream(stream))
    }

    fn list(
        &self,
        connection: &Connection,
        search: SearchId,
        stream: i64,
        sql: &str,
        values: impl rusqlite::Params,
    ) -> Result<Vec<TrialRow>, JournalError> {
        let mut statement = connection.prepare_cached(sql).map_err(self.at())?;
        let mut found = statement.query(values).map_err(self.at())?;
        let mut trials = Vec::new();
        while let Some(row) = found.next().map_err(self.at())? {
            let (sequence, mut trial) = trial_row_of(row).map_err(self.at())?;
            let body = Self::body(connection, stream, sequence).map_err(self.at())?;
            complete(&mut trial, body.as_deref()).map_err(|source| JournalError::Refused {
                stream: StreamId::Search(search),
                sequence,
                source,
            })?;
            trials.push(trial);
        }
        Ok(trials)
    }
}

/// The best first, of the rows between ?1 and ?2. One pass over the search's trials (a tenth of a second
/// for 200,000), since an index by score would cost every completion a page of the journal's log, more of
/// them the more trials there are; and the best are asked for rarely.
pub(super) const BEST: &str = "WHERE t.row IN (SELECT row FROM trial WHERE row > ?1 AND row < ?2 \
     AND utility IS NOT NULL ORDER BY utility DESC, row LIMIT ?3) ORDER BY t.utility DESC, t.row";

fn search_row(row: &Row<'_>) -> Result<SearchRow, rusqlite::Error> {
    let search = Uuid::parse_str(row.get_ref(0)?.as_str()?).map_err(|error| bad(0, error))?;
    Ok(SearchRow {
        search: SearchId(search),
        name: row.get(1)?,
        created_ms: row.get::<_, i64>(2)? as u64,
        phase: phase_of(row.get_ref(3)?.as_str()?).map_err(|error| bad(3, error))?,
        events: row.get::<_, i64>(4)? as u64,
    })
}

/// A trial without what its first event says, and that event's sequence.
fn trial_row_of(row: &Row<'_>) -> Result<(u64, TrialRow), rusqlite::Error> {
    let state: u8 = row.get(2)?;
    let measured = match row.get_ref(12)?.as_str_or_null()? {
        Some(json) => Some(LastMeasurement {
            attempt: AttemptNumber(row.get(10)?),
            step: row.get(11)?,
            metrics: serde_json::from_str(json).map_err(|error| bad(12, error))?,
        }),
        None => None,
    };
    let measured_ms = row.get::<_, Option<i64>>(13)?.unwrap_or(0);
    let trial = TrialRow {
        number: TrialNumber(trial_of(row.get(0)?)),
        state: state_of(state).ok_or_else(|| bad(2, format!("there is no state {state}")))?,
        attempts: row.get(3)?,
        score: row.get(4)?,
        measured,
        candidate: Candidate::default(),
        candidate_id: None,
        origin: Origin {
            searcher: String::new(),
            method: String::new(),
            parents: Vec::new(),
            mutated: None,
            predicted: None,
            acquisition: None,
        },
        parameters: None,
        macs: None,
        seconds: row.get(5)?,
        updated_ms: row.get::<_, i64>(6)?.max(measured_ms) as u64,
        worker: row
            .get::<_, Option<[u8; 16]>>(7)?
            .map(|bytes| WorkerId(Uuid::from_bytes(bytes))),
        weights: row.get::<_, Option<[u8; 32]>>(8)?.map(Digest),
        reason: row.get(9)?,
    };
    Ok((row.get::<_, i64>(1)? as u64, trial))
}

/// Adds what the trial's first event says.
fn complete(trial: &mut TrialRow, body: Option<&str>) -> Result<(), Refusal> {
    let body = body.ok_or("the record is missing")?;
    match serde_json::from_str(body)? {
        Event::TrialProposed { proposal, .. } => {
            trial.candidate = proposal.candidate;
            trial.candidate_id = Some(proposal.candidate_id);
            trial.origin = proposal.origin;
            trial.parameters = proposal.parameters;
            trial.macs = proposal.macs;
        }
        Event::ProposalRefused { refusal, .. } => {
            trial.candidate = refusal.candidate;
            trial.origin = refusal.origin;
            if let Refused::Infeasible {
                candidate_id,
                reason,
                ..
            } = refusal.refused
            {
                trial.candidate_id = candidate_id;
                trial.reason = Some(reason);
            }
        }
        _ => return Err("the record does not begin a trial".into()),
    }
    Ok(())
}

/// A column that holds what it should not.
fn bad(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, error.into())
}
