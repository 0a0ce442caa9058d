//! Size and count of a part of a space. May import the ways to decide it and the work they may take.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::setting::Setting;
use super::ways::Ways;
use super::work::Work;

/// Size and count of a part of a space.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) ways: Ways,
    /// Continuous decisions, every alternative counted and every repeat at its maximum.
    pub(super) continuous: u64,
    /// Decisions, counted the same way.
    pub(super) decisions: u64,
    /// The most blocks and rounds of repeats of one candidate.
    pub(super) blocks: u64,
    /// The deepest nesting of lists.
    pub(super) nesting: u64,
    /// The names that are read in it, each with whether the ways depend on its value.
    pub(super) names: Names,
}

/// Names, each with whether the number of decisions depends on its value.
pub(super) type Names = BTreeMap<Rc<str>, bool>;

impl Tally {
    /// Both together.
    pub(super) fn and(self, other: Self, work: &Work) -> Self {
        Self {
            blocks: self.blocks.saturating_add(other.blocks),
            ..self.merged(other, |a, b| a.and(b, work))
        }
    }

    /// One or the other; the decision between them is not counted.
    pub(super) fn or(self, other: Self, work: &Work) -> Self {
        self.merged(other, |a, b| a.or(b, work))
    }

    fn merged(self, other: Self, join: impl FnOnce(Ways, Ways) -> Ways) -> Self {
        Self {
            ways: join(self.ways, other.ways),
            continuous: self.continuous.saturating_add(other.continuous),
            decisions: self.decisions.saturating_add(other.decisions),
            blocks: self.blocks.max(other.blocks),
            nesting: self.nesting.max(other.nesting),
            names: of_both(self.names, other.names),
        }
    }

    /// Counts the decision of how often something is repeated, or reads its name, without changing the ways.
    pub(super) fn repeated<T>(mut self, times: &Setting<T>) -> Self {
        match times {
            Setting::Fixed(_) => {}
            Setting::Decide(_) => self.decisions = self.decisions.saturating_add(1),
            Setting::Named(name) => {
                self.names.insert(name.as_str().into(), true);
            }
        }
        self
    }

    /// A copy, with its ways while there is work left for them.
    pub(super) fn copied(&self, work: &Work) -> Self {
        Self {
            ways: self.ways.copied(work),
            names: self.names.clone(),
            ..*self
        }
    }
}

/// The smaller put into the larger: a nest of lists would else move its names once for each of them.
fn of_both(a: Names, b: Names) -> Names {
    let (mut all, few) = if a.len() < b.len() { (b, a) } else { (a, b) };
    for (name, steers) in few {
        *all.entry(name).or_default() |= steers;
    }
    all
}
