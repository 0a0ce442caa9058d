//! Sparse vectors over an open set of coordinates, which are named by hashes.

/// A sparse vector: coordinates in ascending order, each once, with finite values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sparse(Vec<(u64, f64)>);

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
        Self(entries)
    }

    /// Its entries, by coordinate.
    #[must_use]
    pub fn entries(&self) -> &[(u64, f64)] {
        &self.0
    }

    /// Whether every coordinate is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The squared Euclidean distance to another vector.
    #[must_use]
    pub fn squared_distance(&self, other: &Self) -> f64 {
        let (mut a, mut b) = (self.0.as_slice(), other.0.as_slice());
        let mut sum = 0.0;
        loop {
            let difference = match (a.first(), b.first()) {
                (Some(x), Some(y)) if x.0 == y.0 => {
                    (a, b) = (&a[1..], &b[1..]);
                    x.1 - y.1
                }
                (Some(x), Some(y)) if x.0 < y.0 => {
                    a = &a[1..];
                    x.1
                }
                (Some(x), None) => {
                    a = &a[1..];
                    x.1
                }
                (_, Some(y)) => {
                    b = &b[1..];
                    y.1
                }
                (None, None) => return sum,
            };
            sum += difference * difference;
        }
    }
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
}
