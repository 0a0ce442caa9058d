//! Listings: trials a page at a time, and the best trials.

use std::ops::BitOr;

use espalier_common::candidate::Candidate;
use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::metrics::Metrics;
use espalier_common::observation::Origin;
use espalier_core::search::{Event, Refused, TrialOf, TrialState};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::error::{JournalError, Refusal};
use super::reader::{JournalReader, head_of};
use super::rows::{state_code, state_of};
use super::stream::{StreamId, trial_of, trial_row};

/// The most rows of one answer, so that no listing holds a reader or its memory for long.
pub const MAX_ROWS: usize = 1000;
/// The most bytes of one answer, as it would be sent: a quarter of the largest message.
pub const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// What a row has in an answer besides its texts and metrics: numbers, two digests, a worker's name.
const ROW_BYTES: usize = 1024;
/// What a metric has in an answer besides its name.
const METRIC_BYTES: usize = 16;

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
    /// What its searcher put into its proposal.
    pub memo: Option<serde_json::Value>,
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
    /// Digest of its weights, while they are kept.
    pub weights: Option<Digest>,
    /// Whose result it has, when that is another search's.
    pub from: Option<TrialOf>,
    /// When it last changed, in Unix milliseconds.
    pub updated_ms: u64,
}

impl TrialRow {
    /// At most so many bytes does the row take in an answer; `body` is the event that the candidate and its
    /// origin were read from, which are sent in the same form.
    fn bytes(&self, body: &str) -> usize {
        let reason = self.reason.as_ref().map_or(0, String::len);
        let metrics = self
            .measured
            .iter()
            .flat_map(|taken| taken.metrics.0.keys());
        let metrics: usize = metrics.map(|name| name.len() + METRIC_BYTES).sum();
        ROW_BYTES + body.len() + reason + metrics
    }
}

/// A page of trials.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialPage {
    /// The trials.
    pub trials: Vec<TrialRow>,
    /// Whether more follow.
    pub more: bool,
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

/// A trial's own columns and its weights, then the measurement that is shown. A row number begins with the
/// stream's (see `stream`).
const TRIAL: &str = "
SELECT t.row, t.sequence, t.state, t.attempts, t.score, t.seconds, t.updated_ms, t.worker, w.digest,
       t.reason, m.attempt, m.step, m.metrics, m.time_ms, t.from_search, t.from_trial
FROM trial t LEFT JOIN weights w ON w.stream = t.row >> 32 AND w.trial = t.row LEFT JOIN measurement m ON m.trial = t.row AND m.attempt = t.shown AND m.step =
    (SELECT max(step) FROM measurement WHERE trial = t.row AND attempt = t.shown)
";

impl JournalReader {
    /// Trials with a number after `after`, in order; at most `limit`, [`MAX_ROWS`] and [`MAX_PAGE_BYTES`],
    /// but at least one if there is one.
    ///
    /// # Errors
    /// There is no such search, or what SQLite says.
    pub fn trials(
        &self,
        search: SearchId,
        after: TrialNumber,
        limit: usize,
        states: States,
    ) -> Result<TrialPage, JournalError> {
        self.snapshot(|connection| {
            let stream = self.number(connection, search)?;
            let sql = format!(
                "{TRIAL} WHERE t.row > ?1 AND t.row < ?2 AND (?3 >> t.state) & 1
                 ORDER BY t.row LIMIT ?4"
            );
            let last = trial_row(stream + 1, 0);
            let limit = limit.clamp(1, MAX_ROWS);
            // One more than the page, to see whether there is another page.
            let values = params![trial_row(stream, after.0), last, states.0, limit as i64 + 1];
            self.list(connection, (search, stream), limit, &sql, values)
        })
    }

    /// The completed trials with the best scores, the best first; of equal ones the lower number first. At
    /// most `count`, [`MAX_ROWS`] and [`MAX_PAGE_BYTES`].
    ///
    /// # Errors
    /// There is no such search, or what SQLite says.
    pub fn best(&self, search: SearchId, count: usize) -> Result<Vec<TrialRow>, JournalError> {
        self.snapshot(|connection| {
            let stream = self.number(connection, search)?;
            let sql = format!("{TRIAL} {BEST}");
            let (first, last) = (trial_row(stream, 0), trial_row(stream + 1, 0));
            let count = count.clamp(1, MAX_ROWS);
            let values = params![first, last, count as i64];
            let page = self.list(connection, (search, stream), count, &sql, values)?;
            Ok(page.trials)
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

    /// The rows that `sql` finds, as far as they fit on a page of `limit` rows.
    fn list(
        &self,
        connection: &Connection,
        (search, stream): (SearchId, i64),
        limit: usize,
        sql: &str,
        values: impl rusqlite::Params,
    ) -> Result<TrialPage, JournalError> {
        let mut statement = connection.prepare_cached(sql).map_err(self.at())?;
        let mut found = statement.query(values).map_err(self.at())?;
        let (mut page, mut bytes) = (TrialPage::default(), 0);
        while let Some(row) = found.next().map_err(self.at())? {
            let (sequence, mut trial) = trial_row_of(row).map_err(self.at())?;
            let body = Self::body(connection, stream, sequence).map_err(self.at())?;
            let body = body.unwrap_or_default();
            complete(&mut trial, &body).map_err(|source| JournalError::Refused {
                stream: StreamId::Search(search),
                sequence,
                source,
            })?;
            bytes += trial.bytes(&body);
            if !page.trials.is_empty() && (page.trials.len() == limit || bytes > MAX_PAGE_BYTES) {
                page.more = true;
                break;
            }
            page.trials.push(trial);
        }
        Ok(page)
    }
}

/// The best first, of the rows between ?1 and ?2. One pass over the search's trials (a tenth of a second
/// for 200,000), since an index by score would cost every completion a page of the journal's log, more of
/// them the more trials there are; and the best are asked for rarely.
pub(super) const BEST: &str = "WHERE t.row IN (SELECT row FROM trial WHERE row > ?1 AND row < ?2 \
     AND utility IS NOT NULL ORDER BY utility DESC, row LIMIT ?3) ORDER BY t.utility DESC, t.row";

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
        memo: None,
        origin: Origin::new("", ""),
        parameters: None,
        macs: None,
        seconds: row.get(5)?,
        updated_ms: row.get::<_, i64>(6)?.max(measured_ms) as u64,
        worker: row
            .get::<_, Option<[u8; 16]>>(7)?
            .map(|bytes| WorkerId(Uuid::from_bytes(bytes))),
        weights: row.get::<_, Option<[u8; 32]>>(8)?.map(Digest),
        reason: row.get(9)?,
        from: match row.get::<_, Option<[u8; 16]>>(14)? {
            Some(search) => Some(TrialOf {
                search: SearchId(Uuid::from_bytes(search)),
                trial: TrialNumber(row.get(15)?),
            }),
            None => None,
        },
    };
    Ok((row.get::<_, i64>(1)? as u64, trial))
}

/// Adds what the trial's first event says.
fn complete(trial: &mut TrialRow, body: &str) -> Result<(), Refusal> {
    if body.is_empty() {
        return Err("the record is missing".into());
    }
    match serde_json::from_str(body)? {
        Event::TrialProposed { proposal, .. } => {
            trial.candidate = proposal.candidate;
            trial.candidate_id = Some(proposal.candidate_id);
            trial.memo = proposal.memo;
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
