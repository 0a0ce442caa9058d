//! Whether a journal can be relied on: its file, the hashes of its records, what they say, and the listings.

use std::path::{Path, PathBuf};

use espalier_common::ids::SearchId;
use espalier_core::search::{Event, Search};
use serde::Serialize;

use crate::actors::ClusterEvent;
use crate::journal::{
    End, FILE, JournalError, JournalReader, LogEnd, Moment, Refusal, StreamId, end_of_log,
};

/// Why a stream does not begin as one of a search must.
#[derive(Debug, thiserror::Error)]
#[error("the first event of a search must be search_created")]
struct BadStart;

/// What was found. Its JSON is what `--output json` prints; keys are a promise to scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// The file.
    pub journal: PathBuf,
    /// Whose journal it is.
    pub cluster: String,
    /// Streams: of searches, and of the cluster.
    pub streams: u64,
    /// Records that are sound.
    pub records: u64,
    /// When the newest of them happened, in Unix milliseconds.
    pub newest_ms: Option<u64>,
    /// The searches, in the order in which they began, but for those that are damaged.
    pub searches: Vec<CheckedSearch>,
    /// The rows for listings.
    pub listings: Listings,
    /// How the log beside the file ends, unless a coordinator is writing it.
    pub log: Option<Log>,
    /// What is wrong; empty for a sound journal.
    pub problems: Vec<String>,
}

/// A search, as its events have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedSearch {
    /// Its id.
    pub search: SearchId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub phase: &'static str,
    /// How many trials are completed.
    pub completed: u32,
    /// How many records it has.
    pub records: u64,
    /// The hash of the last one, which stands for all before.
    pub hash: String,
}

/// What is known of the rows for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Listings {
    /// They are what the records give.
    Sound,
    /// They are not; a coordinator would show what is wrong.
    Wrong,
    /// They are made when a coordinator next opens the journal.
    ToBeMade,
    /// They could not be compared, since something else is damaged.
    Unknown,
}

/// How a log ends. What is not whole was not acknowledged, unless the file was damaged since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// With a whole commit, or there is none.
    Whole,
    /// With a commit that is not whole, from this byte on; it is left out.
    Torn(u64),
}

/// How the log ends of a journal that nobody writes.
///
/// # Errors
/// It is damaged in the middle: SQLite would leave out in silence what follows.
pub(super) fn sound_log(reader: &JournalReader) -> Result<Option<Log>, JournalError> {
    let folder = reader.path().parent().unwrap_or(Path::new("."));
    let is_of_a_folder = reader.path().file_name() == Some(FILE.as_ref());
    let end = if is_of_a_folder {
        end_of_log(folder)?
    } else {
        None
    };
    Ok(end.and_then(|end| match end {
        LogEnd::Whole => Some(Log::Whole),
        LogEnd::Torn(from) => Some(Log::Torn(from)),
        LogEnd::Damaged(_) => None,
    }))
}

/// Checks all of a journal, as it is at one moment.
///
/// # Errors
/// It cannot be read at all. What is wrong with its content is part of the answer.
pub fn check(reader: &JournalReader) -> Result<Checked, JournalError> {
    reader.moment(|moment| {
        let mut checked = Checked {
            journal: reader.path().to_owned(),
            cluster: reader.cluster().to_string(),
            streams: 0,
            records: 0,
            newest_ms: None,
            searches: Vec::new(),
            listings: Listings::Unknown,
            log: None,
            problems: Vec::new(),
        };
        match sound_log(reader) {
            Ok(log) => checked.log = log,
            Err(error) => checked.problems.push(error.to_string()),
        }
        let faults = moment.faults_of_the_file();
        match faults {
            Ok(faults) => checked.problems.extend(
                faults
                    .into_iter()
                    .map(|fault| format!("the file is damaged: {fault}")),
            ),
            Err(error) => checked.problems.push(error.to_string()),
        }
        if let Err(error) = checked.read(moment) {
            checked.problems.push(error.to_string());
        }
        Ok(checked)
    })
}

impl Checked {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn read(&mut self, moment: &Moment<'_>) -> Result<(), JournalError> {
        if let Some(number) = moment.lost_stream()? {
            self.problems
                .push(JournalError::Lost { number }.to_string());
        }
        let streams = moment.streams_left()?;
        self.streams = streams.len() as u64;
        for stream in streams {
            match check_stream(moment, stream) {
                Ok((end, search)) => {
                    self.records += end.sequence;
                    self.newest_ms = self.newest_ms.max(Some(end.time_ms));
                    self.searches.extend(search);
                }
                Err(error) => self.problems.push(error.to_string()),
            }
        }
        match moment.strays()? {
            0 => {}
            strays => self.problems.push(format!(
                "the journal is damaged: {strays} records belong to no stream"
            )),
        }
        if !moment.has_listings()? {
            self.listings = Listings::ToBeMade;
        } else if self.is_sound() {
            match moment.wrong_listing()? {
                None => self.listings = Listings::Sound,
                Some(place) => {
                    self.listings = Listings::Wrong;
                    self.problems.push(format!(
                        "the listings are not what the records give: {place}; nothing is lost: stop the \
                         coordinator, and `espalier journal compact` makes them again"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Reads one stream to its end, as a coordinator does at its start.
fn check_stream(
    moment: &Moment<'_>,
    stream: StreamId,
) -> Result<(End, Option<CheckedSearch>), JournalError> {
    let StreamId::Search(id) = stream else {
        let end = moment.replay(stream, |_, _, body| {
            serde_json::from_str::<ClusterEvent>(body)?;
            Ok(())
        })?;
        return Ok((end, None));
    };
    let mut search: Option<Search> = None;
    let end = moment.replay(stream, |_, time_ms, body| {
        let event: Event = serde_json::from_str(body)?;
        match &mut search {
            Some(search) => drop(search.apply(&event, time_ms)),
            None => {
                let first = Search::from_first_event(id, &event, time_ms);
                search = Some(first.ok_or_else(|| Refusal::from(BadStart))?);
            }
        }
        Ok(())
    })?;
    let found = search.map(|search| CheckedSearch {
        search: id,
        name: search.definition().spec.name.clone(),
        phase: search.phase().name(),
        completed: search.counts().completed,
        records: end.sequence,
        hash: espalier_common::ids::Digest(end.hash).to_string(),
    });
    Ok((end, found))
}
