//! Streams and their records: names, numbers and the hash chain.

use std::fmt;
use std::str::FromStr;

use espalier_common::ids::{ClusterId, SearchId};

/// The schema of the records written now. A reader refuses a newer one.
pub(super) const SCHEMA: u32 = 1;

/// Bits of a record's row number that hold its sequence; those above hold the stream's number. So a stream
/// is one range of the table, a lookup is by integer, and 8 million searches of a million million records
/// each fit.
const SEQUENCE_BITS: u32 = 40;
/// Bits of a trial's row number that hold the trial's number.
const TRIAL_BITS: u32 = 32;

/// A stream of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamId {
    /// The cluster's own: workers and the like.
    Cluster,
    /// A search's.
    Search(SearchId),
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Search(search) => search.fmt(f),
        }
    }
}

impl FromStr for StreamId {
    type Err = <SearchId as FromStr>::Err;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "cluster" => Ok(Self::Cluster),
            _ => text.parse().map(Self::Search),
        }
    }
}

impl StreamId {
    /// What stands for the stream in a record's hash.
    fn tag(&self) -> [u8; 16] {
        match self {
            // No search has the nil id: clients choose random ones.
            Self::Cluster => [0; 16],
            Self::Search(search) => *search.0.as_bytes(),
        }
    }
}

/// A record's hash.
pub(super) type Hash = [u8; 32];

/// Where a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The stream's number in the tables.
    pub(super) number: i64,
    /// The last record's sequence; 0 while there is none.
    pub(super) sequence: u64,
    /// The last record's hash.
    pub(super) hash: Hash,
}

/// By how many bits a record's row number is shifted to give its stream's number.
pub(super) fn sequence_bits() -> u32 {
    SEQUENCE_BITS
}

/// The row number of a record.
pub(super) fn record_row(stream: i64, sequence: u64) -> i64 {
    (stream << SEQUENCE_BITS) | (sequence as i64)
}

/// The sequence in a record's row number.
pub(super) fn sequence_of(row: i64) -> u64 {
    (row & ((1 << SEQUENCE_BITS) - 1)) as u64
}

/// The stream's number in a record's row number.
pub(super) fn stream_of(row: i64) -> i64 {
    row >> SEQUENCE_BITS
}

/// The row numbers of all records of a stream.
pub(super) fn record_rows(stream: i64) -> std::ops::Range<i64> {
    record_row(stream, 0)..record_row(stream + 1, 0)
}

/// The row number of a trial.
pub(super) fn trial_row(stream: i64, number: u32) -> i64 {
    (stream << TRIAL_BITS) | i64::from(number)
}

/// The trial's number in its row number.
pub(super) fn trial_of(row: i64) -> u32 {
    (row & ((1 << TRIAL_BITS) - 1)) as u32
}

/// What the first record of a stream has for its previous hash: records do not move between journals.
pub(super) fn genesis(cluster: ClusterId) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"espalier journal");
    hasher.update(cluster.0.as_bytes());
    *hasher.finalize().as_bytes()
}

/// The hash of a record: over the previous record's and everything this one has. The parts before the body
/// have fixed lengths, so no two records give the same bytes.
pub(super) fn record_hash(
    previous: &Hash,
    stream: StreamId,
    sequence: u64,
    time_ms: u64,
    schema: u32,
    body: &[u8],
) -> Hash {
    let mut start = [0; 68];
    start[..32].copy_from_slice(previous);
    start[32..48].copy_from_slice(&stream.tag());
    start[48..56].copy_from_slice(&sequence.to_le_bytes());
    start[56..64].copy_from_slice(&time_ms.to_le_bytes());
    start[64..].copy_from_slice(&schema.to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&start);
    hasher.update(body);
    *hasher.finalize().as_bytes()
}
