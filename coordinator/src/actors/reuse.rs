//! Looks for the result that another search has for a candidate. Runs on the searcher's thread, where reading the
//! journal holds nobody up; what it finds goes into the command and so into the journal, and is never looked for
//! again. May import the core, the journal and the artifacts.

use std::sync::Arc;

use espalier_common::ids::{Digest, SearchId};
use espalier_core::search::{Definition, Prepared, StoredResult, result_key};
use espalier_core::searcher::Answer;

use crate::artifacts::{ArtifactStore, Hold};
use crate::journal::{FoundResult, JournalReader};

/// A searcher's answer, with the result there is for what it proposes.
#[derive(Debug)]
pub(crate) struct Proposed {
    pub(crate) answer: Answer,
    pub(crate) found: Option<Found>,
}

/// A result, and a claim on its weights until the search has its own.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) result: Box<StoredResult>,
    pub(crate) weights: Option<Hold>,
}

/// Where results are looked for.
#[derive(Debug)]
pub(super) struct Results {
    search: SearchId,
    circumstances: Digest,
    reader: JournalReader,
    artifacts: ArtifactStore,
}

impl Results {
    /// For a search that reuses results; `None` for one that does not.
    pub(super) fn of(
        search: SearchId,
        definition: &Arc<Definition>,
        reader: &JournalReader,
        artifacts: &ArtifactStore,
    ) -> Option<Self> {
        if !definition.spec.reuse {
            return None;
        }
        Some(Self {
            search,
            circumstances: definition.circumstances()?,
            reader: reader.clone(),
            artifacts: artifacts.clone(),
        })
    }

    /// The result for what is proposed. A journal that cannot be read costs a training, not the search.
    pub(super) fn find(&self, proposal: &Prepared) -> Option<Found> {
        let key = result_key(&self.circumstances, &proposal.candidate_id);
        match self.reader.result(&key) {
            Ok(found) => found.map(|found| self.with_weights(found)),
            Err(error) => {
                tracing::warn!(search = %self.search, %error, "earlier results cannot be looked up; the candidate is trained");
                None
            }
        }
    }

    fn with_weights(&self, found: FoundResult) -> Found {
        // Claimed first: what nobody wants may be removed at any time.
        let claimed = found.weights.map(|digest| self.artifacts.hold(digest));
        let is_there = |digest| self.artifacts.path(&digest).try_exists();
        let stored = found
            .weights
            .is_some_and(|digest| is_there(digest).unwrap_or(false));
        Found {
            result: Box::new(StoredResult {
                from: found.from,
                measurement: found.measurement,
                weights: found.weights,
                stored,
            }),
            weights: claimed.filter(|_| stored),
        }
    }
}
