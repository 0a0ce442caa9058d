//! What all searches of one definition have in common, whatever their seeds and searchers: descriptions of
//! candidates, which cost far more than comparing them. May import what describing does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use espalier_common::ids::Digest;
use espalier_common::spec::Kernel;

use super::catalogue::Catalogue;
use super::describe::Described;

/// The most memory that descriptions remembered one by one take, in bytes.
const MOST_REMEMBERED: usize = 50_000_000;
/// About what a decision of a candidate takes, and an entry of a vector.
const DECISION_BYTES: usize = 128;
const ENTRY_BYTES: usize = 16;

/// Descriptions of the candidates of one definition, made by whoever needs them first. Each follows from the
/// definition and the candidate, so sharing them changes nothing but the time it takes.
///
/// Many simulated searches of one spec share one; it must not be shared by searches whose specs differ in
/// more than the searcher, the budget and the seed.
#[derive(Debug, Default)]
pub struct Shared {
    by_decisions: Descriptions,
    by_network: Descriptions,
}

impl Shared {
    pub(super) fn of(&self, kernel: Kernel) -> &Descriptions {
        match kernel {
            Kernel::Network => &self.by_network,
            Kernel::Rbf => &self.by_decisions,
        }
    }
}

/// What is compared by one kernel.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    /// The mean squared distance of two candidates at random, in each group.
    pub(super) typical: OnceLock<Vec<f64>>,
    /// All candidates of a small space.
    pub(super) whole: OnceLock<Option<Arc<Catalogue>>>,
    remembered: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    /// By their decisions; `None`: cannot be built.
    described: BTreeMap<Digest, Option<Arc<Described>>>,
    /// About how much memory they take.
    bytes: usize,
}

impl Descriptions {
    /// The description of the candidate with these decisions, from memory or by `describe`.
    pub(super) fn remember(
        &self,
        assignment: Digest,
        describe: impl FnOnce() -> Option<Described>,
    ) -> Option<Arc<Described>> {
        // Poisoned only by a panic in this very code; the map is whole at every moment.
        let lock = || {
            let locked = self.remembered.lock();
            locked.unwrap_or_else(|poisoned| poisoned.into_inner())
        };
        if let Some(described) = lock().described.get(&assignment) {
            return described.clone();
        }
        let described = describe().map(Arc::new);
        let mut remembered = lock();
        remembered.bytes += described.as_deref().map_or(DECISION_BYTES, bytes);
        if remembered.bytes > MOST_REMEMBERED {
            *remembered = Remembered::default();
        }
        let known = &mut remembered.described;
        known.insert(assignment, described.clone());
        described
    }
}

fn bytes(described: &Described) -> usize {
    let entries = described
        .features
        .iter()
        .map(|vector| vector.entries().len());
    let decisions = 1 + described.candidate.0.len();
    decisions * DECISION_BYTES + entries.sum::<usize>() * ENTRY_BYTES
}
