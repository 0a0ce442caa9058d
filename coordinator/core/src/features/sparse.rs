//! Sparse vectors over an open set of coordinates, which are named by hashes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A sparse vector: coordinates in ascending order, each once, with finite values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sparse {
    entries: Vec<(u64, f64)>,
    /// The sum of the squares of its values.
    squares: f64,
}

impl Sparse {
    /// The vector with these entries; equal coordinates are added up.
    #[must_use]
    pub fn new(mut entries: Vec<(u64, f64)>) -> Self {
        entries.sort_by_key(|entry| entry.0);
        entries.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 += later.1;
            }
            same
        });
        let squares = entries
            .iter()
            .fold(0.0, |sum, (_, value)| sum + value * value);
        Self { entries, squares }
    }

    /// Its entries, by coordinate.
    #[must_use]
    pub fn entries(&self) -> &[(u64, f64)] {
        &self.entries
    }

    /// Whether every coordinate is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The squared Euclidean distance to another vector. [`Postings`] gives the same number, to the last bit.
    #[must_use]
    pub fn squared_distance(&self, other: &Self) -> f64 {
        let (mut a, mut b) = (self.entries.as_slice(), other.entries.as_slice());
        let mut product = 0.0;
        while let (Some(x), Some(y)) = (a.first(), b.first()) {
            match x.0.cmp(&y.0) {
                Ordering::Equal => {
                    product += x.1 * y.1;
                    (a, b) = (&a[1..], &b[1..]);
                }
                Ordering::Less => a = &a[1..],
                Ordering::Greater => b = &b[1..],
            }
        }
        between(self.squares, other.squares, product)
    }
}

/// Many vectors, found by their coordinates: how far a vector is from all of them is computed at once, from
/// what it has in common with each.
#[derive(Clone, Debug, Default)]
pub struct Postings {
    /// For each coordinate the places of the vectors that have it, and its value there.
    places: BTreeMap<u64, Vec<(u32, f64)>>,
    /// For each vector the sum of the squares of its values.
    squares: Vec<f64>,
}

impl Postings {
    /// Takes in a vector; its place is the number of those before it.
    pub fn push(&mut self, vector: &Sparse) {
        let place = self.squares.len() as u32;
        for &(coordinate, value) in vector.entries() {
            self.places
                .entry(coordinate)
                .or_default()
                .push((place, value));
        }
        self.squares.push(vector.squares);
    }

    /// The squared Euclidean distances of a vector from each.
    #[must_use]
    pub fn squared_distances(&self, from: &Sparse) -> Vec<f64> {
        let mut products = vec![0.0; self.squares.len()];
        for (coordinate, value) in from.entries() {
            for (place, other) in self.places.get(coordinate).into_iter().flatten() {
                products[*place as usize] += value * other;
            }
        }
        let pairs = products.into_iter().zip(&self.squares);
        pairs
            .map(|(product, squares)| between(from.squares, *squares, product))
            .collect()
    }
}

/// The squared distance of two vectors: of equal ones zero, since their product is summed as their squares are.
fn between(squares: f64, other: f64, product: f64) -> f64 {
    (squares + other - 2.0 * product).max(0.0)
}

/// The coordinate that these words name (collisions do no more than blur two coordinates).
#[must_use]
pub(super) fn coordinate(words: &[u64]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    fnv(0xcbf2_9ce4_8422_2325, bytes)
}

/// The number of a text, to be used as a word of a coordinate.
#[must_use]
pub(super) fn word(text: &str) -> u64 {
    fnv(0x8422_2325_cbf2_9ce4, text.bytes())
}

/// FNV-1a: for a few words at a time the cheapest hash that spreads well.
fn fnv(start: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_coordinates_that_one_of_two_lacks() {
        let a = Sparse::new(vec![(3, 1.0), (1, 2.0), (3, 1.0)]);
        let b = Sparse::new(vec![(3, 1.0), (7, 3.0)]);
        assert_eq!(a.entries(), [(1, 2.0), (3, 2.0)]);
        assert_eq!(a.squared_distance(&b), 4.0 + 1.0 + 9.0);
        assert_eq!(b.squared_distance(&a), 14.0);
        assert_eq!(a.squared_distance(&a), 0.0);
        assert_eq!(Sparse::default().squared_distance(&b), 10.0);
    }

    #[test]
    fn all_distances_at_once_are_the_distances_one_by_one() {
        let vector = |seed: u64| {
            let entry = |index: u64| (seed * index % 11, (seed + index) as f64 / 7.0);
            Sparse::new((0..seed % 6).map(entry).collect())
        };
        let vectors: Vec<Sparse> = (0..40).map(vector).collect();
        let mut postings = Postings::default();
        vectors.iter().for_each(|one| postings.push(one));
        for from in &vectors {
            let one_by_one: Vec<f64> = vectors.iter().map(|to| from.squared_distance(to)).collect();
            assert_eq!(postings.squared_distances(from), one_by_one);
            assert_eq!(from.squared_distance(from), 0.0);
        }
    }
}
