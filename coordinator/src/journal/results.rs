//! Results that a search may reuse: the last one for a key.

use espalier_common::ids::{Digest, TrialNumber};
use espalier_common::metrics::Measurement;
use espalier_core::search::TrialOf;
use rusqlite::OptionalExtension;

use super::error::JournalError;
use super::reader::JournalReader;
use super::stream::{StreamId, trial_of};

/// A trial's result, as another search may reuse it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundResult {
    /// Whose it is.
    pub from: TrialOf,
    /// The last measurement of the attempt that brought the score.
    pub measurement: Measurement,
    /// Digest of the weights it left; they may be gone.
    pub weights: Option<Digest>,
}

/// A row's number begins with its stream's (see `stream`).
const RESULT: &str = "
SELECT s.name, r.trial, r.weights, m.step, m.metrics
FROM result r JOIN trial t ON t.row = r.trial JOIN stream s ON s.number = r.trial >> 32
    JOIN measurement m ON m.trial = t.row AND m.attempt = t.shown AND m.step =
        (SELECT max(step) FROM measurement WHERE trial = t.row AND attempt = t.shown)
WHERE r.key = ?1
";

impl JournalReader {
    /// The last result for a key (see [`result_key`](espalier_core::search::result_key)).
    ///
    /// # Errors
    /// What SQLite says.
    pub fn result(&self, key: &Digest) -> Result<Option<FoundResult>, JournalError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(RESULT)?;
            let found = statement.query_row([&key.0[..]], |row| {
                let name: String = row.get(0)?;
                let metrics: String = row.get(4)?;
                let metrics = serde_json::from_str(&metrics).map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(
                        4,
                        rusqlite::types::Type::Text,
                        error.into(),
                    )
                })?;
                // Only searches have trials.
                let Ok(StreamId::Search(search)) = name.parse() else {
                    return Ok(None);
                };
                let trial = TrialNumber(trial_of(row.get(1)?));
                Ok(Some(FoundResult {
                    from: TrialOf { search, trial },
                    measurement: Measurement {
                        step: row.get(3)?,
                        metrics,
                    },
                    weights: row.get::<_, Option<[u8; 32]>>(2)?.map(Digest),
                }))
            });
            Ok(found.optional()?.flatten())
        })
    }
}
