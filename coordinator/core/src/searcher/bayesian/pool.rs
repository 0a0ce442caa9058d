//! The candidates among which the best to try next is looked for: the whole space where it is small, else
//! a few at random and the neighbours of the best so far. What it holds follows from what the searcher was
//! told.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::searcher::catalogue::Catalogue;
use crate::searcher::describe::{Described, Describer};

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

/// A pool.
#[derive(Debug)]
pub(super) struct Pool {
    catalogue: Arc<Catalogue>,
    /// Where the next one goes when the pool is full; `None` for a whole space, which nothing joins.
    next: Option<usize>,
    /// Places that hold another candidate since somebody looked.
    changed: Vec<usize>,
}

impl Pool {
    pub(super) fn new(describer: &Describer, rng: &mut ChaCha8Rng) -> Self {
        let whole = describer.whole();
        let mut pool = Self {
            catalogue: whole.cloned().unwrap_or_default(),
            next: whole.is_none().then_some(0),
            changed: Vec::new(),
        };
        if !pool.is_whole() {
            for _ in 0..AT_RANDOM {
                pool.add(describer.sample(rng, DRAWS));
            }
        }
        pool
    }

    pub(super) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    pub(super) fn items(&self) -> &[Described] {
        self.catalogue.items()
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
        if self.catalogue.has(&described) {
            return;
        }
        let place = match &mut self.next {
            Some(next) if self.catalogue.items().len() >= MOST => {
                // The oldest goes: what is good of it has been tried or has newer neighbours.
                *next += 1;
                (*next - 1) % MOST
            }
            _ => self.items().len(),
        };
        if place < self.items().len() {
            self.changed.push(place);
        }
        // Nobody else holds a catalogue that grows, so nothing is copied.
        Arc::make_mut(&mut self.catalogue).put(place, described);
    }
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
