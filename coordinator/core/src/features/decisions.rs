//! Decisions as numbers. A `choice` has no order: two values are equal or not. A `range` has its own scale.
//! A decision that is not active is that: no value stands in for it.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::space::{Chooser, Domain, Scale, Space};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::sparse::{Sparse, coordinate, word};

/// Samples from which the decisions outside the network are learned: a decision that is active in one
/// candidate of a hundred is found nearly surely.
const SAMPLES: u32 = 400;
/// The most decisions outside the network with a group of their own; the others share the last one.
const MOST_GROUPS: usize = 24;
/// What begins the paths of decisions outside the network. All others (`network`, `tie`, shared blocks) make
/// the network.
const OUTSIDE: [&str; 2] = ["training", "hyperparameters"];

/// Which group each decision belongs to: all decisions of the network share group 0, since what they mean
/// depends on one another; every other decision has a group of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Whether there is a network.
    network: bool,
    groups: BTreeMap<DecisionPath, usize>,
    count: usize,
}

impl Layout {
    /// The layout for a space. Depends on the space alone.
    #[must_use]
    pub fn of(space: &Space) -> Self {
        // Any seed will do, as long as it is always the same.
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut paths = BTreeSet::new();
        for _ in 0..SAMPLES {
            let sample = space.sample(&mut rng);
            paths.extend(sample.0.into_keys().filter(|path| !is_of_network(path)));
        }
        let first = usize::from(space.network.is_some());
        let own = paths.len().min(MOST_GROUPS);
        let groups = paths.into_iter().enumerate();
        Self {
            network: space.network.is_some(),
            groups: groups
                .map(|(index, path)| (path, first + index.min(MOST_GROUPS - 1)))
                .collect(),
            count: (first + own).max(1),
        }
    }

    /// How many groups there are; at least one.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.count
    }

    fn group(&self, path: &DecisionPath) -> usize {
        if self.network && is_of_network(path) {
            return 0;
        }
        // One that no sample had, shares the last group.
        self.groups.get(path).copied().unwrap_or(self.count - 1)
    }
}

fn is_of_network(path: &DecisionPath) -> bool {
    !OUTSIDE.iter().any(|start| path.0.starts_with(start))
}

/// The decisions of a candidate: one vector for each group of the layout. Two values of one `choice` are at
/// a squared distance of 1; the ends of a `range` as well; a decision that only one of two candidates has
/// adds at least 1/2.
#[must_use]
pub fn encode(space: &Space, layout: &Layout, candidate: &Candidate) -> Vec<Sparse> {
    let mut encoder = Encoder {
        candidate,
        layout,
        entries: vec![Vec::new(); layout.groups()],
    };
    space.expand(&mut encoder);
    encoder.entries.into_iter().map(Sparse::new).collect()
}

struct Encoder<'a> {
    candidate: &'a Candidate,
    layout: &'a Layout,
    entries: Vec<Vec<(u64, f64)>>,
}

impl Chooser for Encoder<'_> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        let value = self
            .candidate
            .get(path)
            .cloned()
            .unwrap_or_else(|| domain.first());
        let name = word(&path.0);
        let entries = &mut self.entries[self.layout.group(path)];
        match position(domain, &value) {
            Some(position) => {
                entries.push((coordinate(&[name, 1]), std::f64::consts::FRAC_1_SQRT_2));
                entries.push((coordinate(&[name, 2]), position - 0.5));
            }
            None => {
                let value = word(&value.to_string());
                entries.push((
                    coordinate(&[name, 3, value]),
                    std::f64::consts::FRAC_1_SQRT_2,
                ));
            }
        }
        value
    }
}

/// Where a value of a range lies between its ends, on its own scale, from 0 to 1.
fn position(domain: &Domain, value: &Value) -> Option<f64> {
    let (low, high, scale) = match *domain {
        Domain::Choice(_) | Domain::Weighted { .. } => return None,
        Domain::Integer {
            low, high, scale, ..
        } => (low as f64, high as f64, scale),
        Domain::Real {
            low, high, scale, ..
        } => (low, high, scale),
    };
    let number = match *value {
        Value::Integer(number) => number as f64,
        Value::Real(number) => number,
        Value::Boolean(_) | Value::Text(_) => return Some(0.5),
    };
    let share = match scale {
        Scale::Log if low > 0.0 => (number / low).ln() / (high / low).ln(),
        Scale::Log | Scale::Linear => (number - low) / (high - low),
    };
    // A range of one value gives 0 / 0.
    Some(if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.5
    })
}
