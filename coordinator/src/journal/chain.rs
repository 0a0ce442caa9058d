//! The check of a stream, record by record: from the journal's file, or from a text that is to become one.

use espalier_common::ids::ClusterId;

use super::error::{JournalError, Refusal};
use super::stream::{Hash, Head, SCHEMA, StreamId, genesis, record_hash};

/// Where a replayed stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The last record's sequence; 0 when there is none.
    pub sequence: u64,
    /// The last record's hash.
    pub hash: [u8; 32],
    /// The last record's time in Unix milliseconds; 0 when there is none.
    pub time_ms: u64,
}

/// A record as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRecord<'r> {
    /// Its place in its stream, from 1.
    pub sequence: u64,
    /// When it happened, in Unix milliseconds.
    pub time_ms: u64,
    /// The version of its form.
    pub schema: u32,
    /// Over the record before it and all of this one.
    pub hash: Hash,
    /// The event, as JSON.
    pub body: &'r str,
}

/// A stream as far as it has been checked.
pub(super) struct Chain {
    stream: StreamId,
    end: End,
}

impl Chain {
    /// A stream of a journal, before its first record.
    pub(super) fn new(stream: StreamId, cluster: ClusterId) -> Self {
        Self {
            stream,
            end: End {
                sequence: 0,
                hash: genesis(cluster),
                time_ms: 0,
            },
        }
    }

    /// Checks the next record.
    pub(super) fn check(&mut self, record: &StoredRecord<'_>) -> Result<(), JournalError> {
        let sequence = self.end.sequence + 1;
        if record.sequence != sequence {
            return Err(self.broken(sequence, "it is missing"));
        }
        let whole = record_hash(
            &self.end.hash,
            self.stream,
            sequence,
            record.time_ms,
            record.schema,
            record.body.as_bytes(),
        );
        // Before the schema: a changed one is damage, not a newer version.
        if whole != record.hash {
            return Err(self.broken(sequence, "it does not match its hash"));
        }
        if record.schema > SCHEMA {
            return Err(JournalError::NewerRecord {
                stream: self.stream,
                sequence,
                found: record.schema,
                known: SCHEMA,
            });
        }
        self.end = End {
            sequence,
            hash: record.hash,
            time_ms: record.time_ms,
        };
        Ok(())
    }

    /// How far it has been checked.
    pub(super) fn end(&self) -> End {
        self.end
    }

    /// Checks that the stream ends where it should.
    pub(super) fn finish(self, head: &Head) -> Result<End, JournalError> {
        if self.end.sequence < head.sequence {
            return Err(self.broken(self.end.sequence + 1, "it is missing"));
        }
        if self.end.sequence > head.sequence {
            return Err(self.broken(head.sequence + 1, "it is beyond the end of the stream"));
        }
        if self.end.hash != head.hash {
            return Err(self.broken(head.sequence, "the end of the stream does not match it"));
        }
        Ok(self.end)
    }

    pub(super) fn unreadable(&self, error: &rusqlite::Error) -> JournalError {
        self.broken(
            self.end.sequence + 1,
            &format!("it cannot be read: {error}"),
        )
    }

    fn broken(&self, sequence: u64, what: &str) -> JournalError {
        JournalError::Broken {
            stream: self.stream,
            sequence,
            what: what.to_owned(),
        }
    }

    pub(super) fn refused(&self, source: Refusal) -> JournalError {
        JournalError::Refused {
            stream: self.stream,
            sequence: self.end.sequence,
            source,
        }
    }
}
