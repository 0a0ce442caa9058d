//! The candidates among which the best to try next is looked for: the whole space where it is small, else
//! a few at random and the neighbours of the best so far. What it holds follows from what the searcher was
//! told.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::ids::Digest;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::features::Sparse;
use crate::searcher::describe::{Described, Describer};

/// A space of at most this many candidates is looked at as a whole. Describing so many takes a few seconds,
/// once; and 512 correlations for each of them take 40 MB.
const MOST_WHOLE: usize = 20_000;
/// The most candidates of a pool that is not the whole space.
const MOST: usize = 2_000;
/// Of them drawn at random at the start.
const AT_RANDOM: usize = 1_000;
/// Draws for each of them, of which one must be buildable.
const DRAWS: usize = 10;
/// Neighbours of a new good candidate that come in.
const NEIGHBOURS: usize = 24;
/// Mutations on the way to a neighbour, at most: each further one is half as likely.
const STEPS: u32 = 3;

/// The different vectors that candidates have in one group. There are far fewer of them than candidates, so
/// distances are taken to them.
#[derive(Debug, Default)]
pub(super) struct Group {
    vectors: Vec<Sparse>,
    numbers: BTreeMap<Vec<(u64, u64)>, u32>,
    /// The number of each candidate's vector.
    of: Vec<u32>,
}

impl Group {
    fn put(&mut self, place: usize, vector: &Sparse) {
        let entries = vector.entries().iter();
        let key = entries.map(|&(at, value)| (at, value.to_bits())).collect();
        let next = self.vectors.len() as u32;
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.vectors.push(vector.clone());
        }
        if place == self.of.len() {
            self.of.push(number);
        } else {
            self.of[place] = number;
        }
    }

    /// The different vectors.
    pub(super) fn vectors(&self) -> &[Sparse] {
        &self.vectors
    }

    /// Which of them each candidate has.
    pub(super) fn of(&self) -> &[u32] {
        &self.of
    }
}

/// A pool.
#[derive(Debug)]
pub(super) struct Pool {
    items: Vec<Described>,
    groups: Vec<Group>,
    /// Where the next one goes when the pool is full; `None` for a whole space, which nothing joins.
    next: Option<usize>,
    ids: BTreeSet<Digest>,
    /// Places that hold another candidate since somebody looked.
    changed: Vec<usize>,
}

impl Pool {
    pub(super) fn new(describer: &Describer, rng: &mut ChaCha8Rng) -> Self {
        let space = describer.space();
        let mut pool = Self {
            items: Vec::new(),
            groups: Vec::new(),
            next: None,
            ids: BTreeSet::new(),
            changed: Vec::new(),
        };
        if is_small(describer) {
            let whole = space.visit(MOST_WHOLE, |candidate| {
                pool.add(describer.describe(&candidate));
            });
            if whole {
                return pool;
            }
            pool.items.clear();
            pool.groups.clear();
            pool.ids.clear();
        }
        pool.next = Some(0);
        for _ in 0..AT_RANDOM {
            pool.add(describer.sample(rng, DRAWS));
        }
        pool
    }

    pub(super) fn items(&self) -> &[Described] {
        &self.items
    }

    /// The features of its candidates, group by group.
    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Whether it holds the whole space.
    pub(super) fn is_whole(&self) -> bool {
        self.next.is_none()
    }

    /// Takes the places that changed since the last time.
    pub(super) fn take_changed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.changed)
    }

    /// Takes in neighbours of a candidate that turned out good.
    pub(super) fn grow_around(
        &mut self,
        describer: &Describer,
        good: &Described,
        rng: &mut ChaCha8Rng,
    ) {
        if self.is_whole() {
            return;
        }
        for _ in 0..NEIGHBOURS {
            self.add(neighbour(describer, good, rng));
        }
    }

    fn add(&mut self, described: Option<Described>) {
        let Some(described) = described else {
            return;
        };
        if !self.ids.insert(described.id) {
            return;
        }
        let place = match &mut self.next {
            Some(next) if self.items.len() >= MOST => {
                // The oldest goes: what is good of it has been tried or has newer neighbours.
                *next += 1;
                (*next - 1) % MOST
            }
            _ => self.items.len(),
        };
        self.groups
            .resize_with(described.features.len(), Group::default);
        for (group, vector) in self.groups.iter_mut().zip(&described.features) {
            group.put(place, vector);
        }
        if place == self.items.len() {
            self.items.push(described);
        } else {
            self.ids.remove(&self.items[place].id);
            self.items[place] = described;
            self.changed.push(place);
        }
    }
}

/// Whether the space is looked at as a whole.
pub(super) fn is_small(describer: &Describer) -> bool {
    let size = describer.space().size();
    // A little more, for rounding in the logarithm; the visit counts exactly.
    size.continuous == 0 && size.log10 <= (MOST_WHOLE as f64).log10() + 1e-6
}

/// A candidate a few mutations away; `None` when it cannot be built or there is nothing to mutate.
pub(super) fn neighbour(
    describer: &Describer,
    of: &Described,
    rng: &mut ChaCha8Rng,
) -> Option<Described> {
    let space = describer.space();
    let mut candidate = space.mutate(&of.candidate, rng)?.0;
    for _ in 1..STEPS {
        if rng.random_bool(0.5) {
            break;
        }
        candidate = space.mutate(&candidate, rng)?.0;
    }
    describer.describe(&candidate)
}
