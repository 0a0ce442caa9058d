//! Numbers of assignments, kept apart by the shared things that they touch: a tie or a shared block is decided
//! once, however many places use it, and not at all when none does. How much is kept apart is bounded twice: in
//! one sum or product, and by the work that all of them may take together. Beyond, a number is an upper bound.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::work::Work;

/// The most different sets of touched things that are kept apart; beyond, a count is an upper bound.
const MAX_KEYS: usize = 4_096;
/// The most pairs that one product looks at: what is kept apart there is not worth more of the work.
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

    /// So many of these multiplied.
    pub(super) fn power(self, times: u64) -> Self {
        let exact = match (self.exact, u32::try_from(times)) {
            (Some(base @ (0 | 1)), _) => Some(if times == 0 { 1 } else { base }),
            (Some(base), Ok(times)) => base.checked_pow(times),
            _ => None,
        };
        match exact {
            Some(exact) => Self::of(exact),
            None => Self {
                log10: self.log10 * times as f64,
                exact,
            },
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
    Name(Rc<str>),
    /// The shared decisions of a definition, used with these arguments.
    Shared(Rc<SharedUse>),
}

/// A definition that is used as shared, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SharedUse {
    pub(super) name: String,
    pub(super) given: Vec<(String, Given)>,
}

/// An argument of a shared use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Given {
    /// A fixed value, written out.
    Fixed(String),
    /// A tie.
    Tie(String),
    /// A decision of the place of use, counted there; with the number of its domain where the blocks depend on
    /// its value.
    Local(Option<u32>),
}

/// The things that an assignment touches, each with its value where the assignment depends on it.
pub(super) type Touched = BTreeMap<Thing, Option<u64>>;

/// Counts of assignments by what they touch.
#[derive(Debug)]
pub(super) struct Ways {
    counts: BTreeMap<Touched, Number>,
    /// Whether they are upper bounds.
    pub(super) at_most: bool,
    /// Whether nothing is kept apart any more: the one number stands for assignments that may touch everything
    /// that is touched anywhere. So it becomes when the work runs out, and then every sum and product is cheap.
    pub(super) spent: bool,
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
            spent: false,
        }
    }

    /// At most so many assignments, with nothing kept apart.
    pub(super) fn spent(number: Number) -> Self {
        Self {
            at_most: true,
            spent: true,
            ..Self::number(number)
        }
    }

    /// The same as upper bounds.
    pub(super) fn bounding(self) -> Self {
        Self {
            at_most: true,
            ..self
        }
    }

    /// One assignment that touches a thing.
    pub(super) fn touching(thing: Thing, value: Option<u64>) -> Self {
        Self {
            counts: BTreeMap::from([(Touched::from([(thing, value)]), Number::ONE)]),
            at_most: false,
            spent: false,
        }
    }

    /// No assignment.
    pub(super) fn none() -> Self {
        Self {
            counts: BTreeMap::new(),
            at_most: false,
            spent: false,
        }
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (&Touched, &Number)> {
        self.counts.iter()
    }

    /// The counts, taken out.
    pub(super) fn into_counts(self) -> impl ExactSizeIterator<Item = (Touched, Number)> {
        self.counts.into_iter()
    }

    /// All of them, whatever they touch.
    pub(super) fn total(&self) -> Number {
        self.counts
            .values()
            .copied()
            .fold(Number::of(0), Number::plus)
    }

    /// The number, where nothing is touched and it is exact.
    pub(super) fn plain(&self) -> Option<Number> {
        let (touched, number) = self.counts.first_key_value()?;
        let plain = self.counts.len() == 1 && touched.is_empty() && !self.at_most;
        plain.then_some(*number)
    }

    /// The same counts, whatever they touch.
    pub(super) fn same_counts(&self, other: &Self) -> bool {
        self.counts == other.counts
    }

    /// How many things all of them touch, each of them counting as one more.
    pub(super) fn weight(&self) -> u64 {
        let each = self.counts.keys().map(|touched| touched.len() as u64 + 1);
        each.sum()
    }

    /// A copy, while there is work left for it.
    pub(super) fn copied(&self, work: &Work) -> Self {
        if self.spent || !work.take(self.weight()) {
            return Self::spent(self.total());
        }
        Self {
            counts: self.counts.clone(),
            at_most: self.at_most,
            spent: false,
        }
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
    pub(super) fn or(mut self, other: Self, work: &Work) -> Self {
        if self.spent || other.spent || !work.take(other.weight()) {
            return Self::spent(self.total().plus(other.total()));
        }
        self.at_most |= other.at_most;
        for (touched, number) in other.counts {
            self.add(touched, number);
        }
        self
    }

    /// Assignments of both.
    pub(super) fn and(mut self, mut other: Self, work: &Work) -> Self {
        if self.spent || other.spent {
            return Self::spent(self.total().times(other.total()));
        }
        self.bound(&mut other);
        match (self.counts.len(), other.counts.len()) {
            (1, mine) if mine != 1 || self.weight() < other.weight() => other.and_one(self, work),
            (_, 1) => self.and_one(other, work),
            _ => self.and_many(&other, work),
        }
    }

    /// The product with a single count, which nearly all products are: nothing is copied.
    fn and_one(mut self, other: Self, work: &Work) -> Self {
        let at_most = self.at_most || other.at_most;
        let Some((touched, &number)) = other.counts.first_key_value() else {
            return self;
        };
        if touched.is_empty() && number == Number::ONE {
            self.at_most = at_most;
            return self;
        }
        if !work.take(self.counts.len() as u64 * other.weight()) {
            return Self::spent(self.total().times(number));
        }
        let mut both = Self {
            at_most,
            ..Self::none()
        };
        for (mine, count) in self.counts {
            if let Some(touched) = together(mine, touched) {
                both.add(touched, count.times(number));
            }
        }
        both
    }

    fn and_many(self, other: &Self, work: &Work) -> Self {
        let copies =
            |here: &Self, there: &Self| here.weight().saturating_mul(there.counts.len() as u64);
        if !work.take(copies(&self, other).saturating_add(copies(other, &self))) {
            return Self::spent(self.total().times(other.total()));
        }
        let mut both = Self {
            at_most: self.at_most || other.at_most,
            ..Self::none()
        };
        for (a, count) in &self.counts {
            for (b, other) in &other.counts {
                if let Some(touched) = together(a.clone(), b) {
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
            ..self
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
fn together(mut a: Touched, b: &Touched) -> Option<Touched> {
    for (thing, value) in b {
        touch(&mut a, thing.clone(), *value)?;
    }
    Some(a)
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
