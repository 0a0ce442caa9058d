//! Seeded orders: which examples a split draws, and in what order an epoch visits them. Written out here
//! and not taken from a library, so that the same seed means the same order in every release.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A generator of its own for a purpose and some numbers (a seed, an epoch): two purposes never share
/// random numbers.
#[must_use]
pub fn generator(purpose: &str, numbers: &[u64]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new_derive_key("espalier seeded order, version 1");
    hasher.update(purpose.as_bytes());
    // Ends the purpose, so that no purpose with numbers equals another one with other numbers.
    hasher.update(&[0]);
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// The first number of such a generator: a seed for somebody else's.
#[must_use]
pub fn seed(purpose: &str, numbers: &[u64]) -> u64 {
    generator(purpose, numbers).next_u64()
}

/// The numbers from 0 to `count - 1` in a random order (Fisher and Yates).
#[must_use]
pub fn permutation(generator: &mut ChaCha8Rng, count: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, below(generator, last as u64 + 1) as usize);
    }
    order
}

/// A number below `bound`, which is at most 2^32: the bias of the multiplication is then below 2^-32.
fn below(generator: &mut ChaCha8Rng, bound: u64) -> u64 {
    ((u128::from(generator.next_u64()) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = permutation(&mut generator("test", &[7]), 1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn the_order_depends_on_the_purpose_and_on_every_number() {
        let order =
            |purpose: &str, numbers: &[u64]| permutation(&mut generator(purpose, numbers), 100);
        assert_eq!(order("a", &[1, 2]), order("a", &[1, 2]));
        assert_ne!(order("a", &[1, 2]), order("b", &[1, 2]));
        assert_ne!(order("a", &[1, 2]), order("a", &[1, 3]));
        assert_ne!(order("a", &[1, 2]), order("a", &[2, 2]));
    }

    #[test]
    fn the_order_of_a_seed_never_changes() {
        // Pinned: results of searches are compared across releases, so a change here needs a new version.
        assert_eq!(
            permutation(&mut generator("split", &[1]), 8),
            [3, 4, 1, 0, 5, 2, 6, 7]
        );
    }

    #[test]
    fn nothing_and_one_are_permuted_too() {
        assert!(permutation(&mut generator("test", &[]), 0).is_empty());
        assert_eq!(permutation(&mut generator("test", &[]), 1), [0]);
    }
}
