//! Described candidates in numbered places, with the different vectors that they have. May import what
//! describing does.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::ids::Digest;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::describe::{Described, Describer};
use crate::features::{Postings, Sparse};

/// A space of at most this many candidates is looked at as a whole. Describing so many takes a few seconds,
/// once; and what 384 points explain of each of them takes 60 MB.
const MOST_WHOLE: usize = 20_000;

/// The different vectors that candidates have in one group. There are far fewer of them than candidates, so
/// distances are taken to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    vectors: Postings,
    numbers: BTreeMap<Vec<(u64, u64)>, u32>,
    /// The number of each candidate's vector.
    of: Vec<u32>,
}

impl Group {
    fn put(&mut self, place: usize, vector: &Sparse) {
        let entries = vector.entries().iter();
        let key = entries.map(|&(at, value)| (at, value.to_bits())).collect();
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.vectors.push(vector);
        }
        if place == self.of.len() {
            self.of.push(number);
        } else {
            self.of[place] = number;
        }
    }

    /// The different vectors.
    pub(super) fn vectors(&self) -> &Postings {
        &self.vectors
    }

    /// Which of them each candidate has.
    pub(super) fn of(&self) -> &[u32] {
        &self.of
    }
}

/// Described candidates, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    items: Vec<Described>,
    groups: Vec<Group>,
    ids: BTreeSet<Digest>,
}

impl Catalogue {
    /// All candidates of a space, where that is small.
    pub(super) fn of_whole(describer: &Describer) -> Option<Self> {
        let size = describer.space().size();
        // A little more, for rounding in the logarithm; the visit counts exactly.
        if size.continuous > 0 || size.log10 > (MOST_WHOLE as f64).log10() + 1e-6 {
            return None;
        }
        let mut whole = Self::default();
        let complete = describer.space().visit(MOST_WHOLE, |candidate| {
            if let Some(described) = describer.describe(&candidate)
                && !whole.has(&described)
            {
                whole.put(whole.items.len(), described);
            }
        });
        complete.then_some(whole)
    }

    pub(super) fn items(&self) -> &[Described] {
        &self.items
    }

    /// So many of its candidates at random, or all of them.
    pub(super) fn some(&self, count: usize, rng: &mut ChaCha8Rng) -> Vec<Described> {
        let mut places: Vec<usize> = (0..self.items.len()).collect();
        let drawn = (0..count.min(places.len())).map(|_| {
            let place = places.swap_remove(rng.random_range(0..places.len()));
            self.items[place].clone()
        });
        drawn.collect()
    }

    /// The features of its candidates, group by group.
    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Whether it holds this one.
    pub(super) fn has(&self, described: &Described) -> bool {
        self.ids.contains(&described.id)
    }

    /// Puts one that it does not hold into a place: the one behind the last, or in place of another.
    pub(super) fn put(&mut self, place: usize, described: Described) {
        self.ids.insert(described.id);
        self.groups
            .resize_with(described.features.len(), Group::default);
        for (group, vector) in self.groups.iter_mut().zip(&described.features) {
            group.put(place, vector);
        }
        match self.items.get_mut(place) {
            Some(item) => {
                self.ids.remove(&item.id);
                *item = described;
            }
            None => self.items.push(described),
        }
    }
}
