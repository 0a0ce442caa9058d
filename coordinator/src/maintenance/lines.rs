//! The lines of an export: a first one that says what it is, one for each record, and a last one that says that
//! nothing was cut off. Each is one JSON object. Raise [`VERSION`] when the meaning of a line changes.

use std::borrow::Cow;

use espalier_common::ids::{ClusterId, Digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of the text. A reader refuses a newer one.
pub(super) const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct First<'a> {
    /// [`VERSION`].
    pub(super) espalier_journal: u32,
    /// Which espalier wrote it, for people.
    #[serde(borrow)]
    pub(super) release: Cow<'a, str>,
    /// Whose journal it is: the hashes hang on it.
    pub(super) cluster: ClusterId,
}

/// A record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RecordLine<'a> {
    /// `cluster`, or the id of a search.
    #[serde(borrow)]
    pub(super) stream: Cow<'a, str>,
    pub(super) sequence: u64,
    pub(super) time_ms: u64,
    pub(super) schema: u32,
    pub(super) hash: Digest,
    /// As it stands in the journal, byte by byte, since its hash covers the bytes.
    #[serde(borrow)]
    pub(super) body: &'a RawValue,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Last {
    pub(super) end: Totals,
}

/// What came before the last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Streams.
    pub streams: u64,
    /// Records.
    pub records: u64,
}
