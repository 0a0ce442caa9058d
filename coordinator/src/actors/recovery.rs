//! Start-up: reads every stream of the journal and brings each search, and its searcher, to where it was.
//! May import the core and the journal.

use espalier_common::ids::SearchId;
use espalier_core::search::{Event, Search};
use espalier_core::searcher::Proposer;

use super::cluster::{ClusterEvent, Learned};
use super::search::Kept;
use crate::journal::{JournalError, JournalReader, Refusal, StreamId};

/// A search as the journal has it.
pub(crate) struct Recovered {
    pub(crate) search: Search,
    /// None when the search asks for nothing more: of thousands that have ended, only the states are kept.
    pub(crate) proposer: Option<Proposer>,
    pub(crate) kept: Kept,
    /// Whether this coordinator has made it just now: nothing of it was interrupted.
    pub(crate) is_new: bool,
}

/// Why a stream does not begin as one of a search must.
#[derive(Debug, thiserror::Error)]
#[error("the first event of a search must be search_created")]
struct BadStart;

/// Reads the journal: its searches, in the order in which they were created, and what the
/// cluster's stream says.
///
/// # Errors
/// The first record that is changed, missing, or of a kind that this version does not know.
pub(crate) fn recover(
    reader: &JournalReader,
    learned: &Learned,
) -> Result<Vec<Recovered>, JournalError> {
    let mut searches = Vec::new();
    for stream in reader.streams()? {
        match stream {
            StreamId::Cluster => {
                reader.replay(stream, |_, _, body| {
                    let event = serde_json::from_str::<ClusterEvent>(body)?;
                    learned.learn(&event);
                    Ok(())
                })?;
            }
            StreamId::Search(id) => searches.extend(read_search(reader, id)?),
        }
    }
    Ok(searches)
}

fn read_search(reader: &JournalReader, id: SearchId) -> Result<Option<Recovered>, JournalError> {
    let mut recovered: Option<Recovered> = None;
    reader.replay(StreamId::Search(id), |_, time_ms, body| {
        let event: Event = serde_json::from_str(body)?;
        match &mut recovered {
            Some(recovered) => recovered.apply(&event, time_ms),
            None => recovered = Some(Recovered::begin(id, &event, time_ms)?),
        }
        Ok(())
    })?;
    if let Some(recovered) = recovered.as_mut().filter(|one| !one.search.may_ask()) {
        recovered.proposer = None;
    }
    Ok(recovered)
}

impl Recovered {
    /// A search after its first event.
    ///
    /// # Errors
    /// It is another event than the one that creates a search.
    pub(crate) fn begin(id: SearchId, event: &Event, time_ms: u64) -> Result<Self, Refusal> {
        let search = Search::from_first_event(id, event, time_ms).ok_or(BadStart)?;
        let proposer = Some(Proposer::new(search.definition()));
        Ok(Self {
            search,
            proposer,
            kept: Kept::default(),
            is_new: false,
        })
    }

    /// The same calls, in the same order, that the search's actor made when the event happened.
    pub(crate) fn apply(&mut self, event: &Event, time_ms: u64) {
        // Of what follows only tells: a worker that is to drop its job learns that when it asks for it.
        let effects = self.search.apply(event, time_ms);
        if let Some(proposer) = &mut self.proposer {
            proposer.read(event, &effects);
        }
        self.kept.apply(&self.search, event);
    }
}
