//! Numbers of assignments, kept apart by the shared things that they touch: a tie or a shared block is decided
//! once, however many places use it, and not at all when none does.

use std::collections::{BTreeMap, BTreeSet};

use super::setting::Setting;

/// The most different sets of touched things that are kept apart; beyond, a count is an upper bound.
const MAX_KEYS: usize = 4_096;
/// The most pairs that one product looks at: bounds the time of a count to about a second.
const MAX_PAIRS: usize = 100_000;

/// A count of assignments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    /// Its logarithm to base 10; negative infinity for none.
    pub(super) log10: f64,
    /// Itself, while it fits.
    pub(super) exact: Option<u128>,
}

impl Number {
    pub(super) const ONE: Self = Self {
        log10: 0.0,
        exact: Some(1),
    };

    pub(super) fn of(count: u128) -> Self {
        Self {
            log10: (count as f64).log10(),
            exact: Some(count),
        }
    }

    pub(super) fn times(self, other: Self) -> Self {
        let both = self.exact.zip(other.exact);
        Self {
            log10: self.log10 + other.log10,
            exact: both.and_then(|(a, b)| a.checked_mul(b)),
        }
    }

    fn plus(self, other: Self) -> Self {
        let both = self.exact.zip(other.exact);
        let exact = both.and_then(|(a, b)| a.checked_add(b));
        let log10 = match exact {
            Some(exact) => (exact as f64).log10(),
            None => {
                let (low, high) = (self.log10.min(other.log10), self.log10.max(other.log10));
                high + (1.0 + 10_f64.powf(low - high)).log10()
            }
        };
        Self { log10, exact }
    }
}

/// Something that is decided once for several places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Thing {
    /// What a name stands for where the count is: a parameter or a tie.
    Name(String),
    /// The shared decisions of a definition, used with these arguments.
    Shared(String, Vec<(String, Given)>),
}

/// An argument of a shared use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Given {
    /// A fixed value, written out.
    Fixed(String),
    /// A tie.
    Tie(String),
    /// A decision of the place of use, counted there; with its values where the blocks depend on them.
    Local(String),
}

/// The things that an assignment touches, each with its value where the assignment depends on it.
pub(super) type Touched = BTreeMap<Thing, Option<u64>>;

/// Counts of assignments by what they touch.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    counts: BTreeMap<Touched, Number>,
    /// Whether they are upper bounds.
    pub(super) at_most: bool,
}

impl Default for Ways {
    /// One assignment: nothing to decide.
    fn default() -> Self {
        Self::number(Number::ONE)
    }
}

impl Ways {
    pub(super) fn number(number: Number) -> Self {
        Self {
            counts: BTreeMap::from([(Touched::new(), number)]),
            at_most: false,
        }
    }

    /// One assignment that touches a thing.
    pub(super) fn touching(thing: Thing, value: Option<u64>) -> Self {
        Self {
            counts: BTreeMap::from([(Touched::from([(thing, value)]), Number::ONE)]),
            at_most: false,
        }
    }

    /// No assignment.
    pub(super) fn none() -> Self {
        Self {
            counts: BTreeMap::new(),
            at_most: false,
        }
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (&Touched, &Number)> {
        self.counts.iter()
    }

    /// The same counts, whatever they touch.
    pub(super) fn same_counts(&self, other: &Self) -> bool {
        self.counts == other.counts
    }

    pub(super) fn add(&mut self, touched: Touched, number: Number) {
        self.counts
            .entry(touched)
            .and_modify(|count| *count = count.plus(number))
            .or_insert(number);
        if self.counts.len() > MAX_KEYS {
            self.collapse();
        }
    }

    /// Assignments of one or the other.
    pub(super) fn or(mut self, other: Self) -> Self {
        self.at_most |= other.at_most;
        for (touched, number) in other.counts {
            self.add(touched, number);
        }
        self
    }

    /// Assignments of both.
    pub(super) fn and(mut self, mut other: Self) -> Self {
        self.bound(&mut other);
        let mut both = Self {
            counts: BTreeMap::new(),
            at_most: self.at_most || other.at_most,
        };
        for (a, count) in &self.counts {
            for (b, other) in &other.counts {
                if let Some(touched) = together(a, b) {
                    both.add(touched, count.times(*other));
                }
            }
        }
        both
    }

    /// So many times as many.
    pub(super) fn times(mut self, number: Number) -> Self {
        for count in self.counts.values_mut() {
            *count = count.times(number);
        }
        self
    }

    /// The assignments under other names; `rename` gives the new touched things and a factor, or `None`
    /// when they contradict each other.
    pub(super) fn renamed(
        self,
        mut rename: impl FnMut(&Touched) -> Option<(Touched, Number)>,
    ) -> Self {
        let mut renamed = Self {
            counts: BTreeMap::new(),
            at_most: self.at_most,
        };
        for (touched, number) in self.counts {
            if let Some((touched, factor)) = rename(&touched) {
                renamed.add(touched, number.times(factor));
            }
        }
        renamed
    }

    /// Collapses two that have too many pairs to look at.
    pub(super) fn bound(&mut self, other: &mut Self) {
        if self.counts.len().saturating_mul(other.counts.len()) > MAX_PAIRS {
            self.collapse();
            other.collapse();
        }
    }

    /// All in one: a bound that counts every touched thing for every assignment.
    fn collapse(&mut self) {
        let mut all = Touched::new();
        let mut total: Option<Number> = None;
        for (touched, number) in std::mem::take(&mut self.counts) {
            all.extend(touched.into_keys().map(|thing| (thing, None)));
            total = Some(total.map_or(number, |total| total.plus(number)));
        }
        self.counts.extend(total.map(|total| (all, total)));
        self.at_most = true;
    }
}

/// What two assignments touch together; `None` when they need different values of one thing.
pub(super) fn together(a: &Touched, b: &Touched) -> Option<Touched> {
    let mut both = a.clone();
    for (thing, value) in b {
        touch(&mut both, thing.clone(), *value)?;
    }
    Some(both)
}

/// Adds a thing to those that are touched; `None` when it is touched with another value already.
pub(super) fn touch(touched: &mut Touched, thing: Thing, value: Option<u64>) -> Option<()> {
    let present = touched.entry(thing).or_insert(value);
    match (*present, value) {
        (Some(present), Some(value)) if present != value => None,
        (None, Some(_)) => {
            *present = value;
            Some(())
        }
        _ => Some(()),
    }
}

/// Size and count of a part of a space.
#[derive(Clone, Debug, Default)]
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
    /// The things that are touched anywhere.
    pub(super) touched: BTreeSet<Thing>,
}

impl Tally {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            blocks: self.blocks.saturating_add(other.blocks),
            ..self.merged(other, Ways::and)
        }
    }

    /// Counts a decision, or touches what is named, without changing the ways.
    pub(super) fn naming<T>(mut self, setting: &Setting<T>) -> Self {
        match setting {
            Setting::Fixed(_) => {}
            Setting::Decide(_) => self.decisions = self.decisions.saturating_add(1),
            Setting::Named(name) => {
                self.touched.insert(Thing::Name(name.clone()));
            }
        }
        self
    }

    /// One or the other; the decision between them is not counted.
    pub(super) fn or(self, other: Self) -> Self {
        self.merged(other, Ways::or)
    }

    fn merged(mut self, other: Self, join: fn(Ways, Ways) -> Ways) -> Self {
        self.touched.extend(other.touched);
        Self {
            ways: join(self.ways, other.ways),
            continuous: self.continuous.saturating_add(other.continuous),
            decisions: self.decisions.saturating_add(other.decisions),
            blocks: self.blocks.max(other.blocks),
            nesting: self.nesting.max(other.nesting),
            touched: self.touched,
        }
    }
}
