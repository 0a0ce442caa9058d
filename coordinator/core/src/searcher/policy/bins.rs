//! A decision as the policy sees it: one of a few bins. A choice and a short range have one for each value;
//! a long range is cut into equal parts of its scale, and a value is drawn evenly within its part.

use espalier_common::candidate::Value;
use espalier_common::space::Domain;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A range with more values than this is cut into [`PARTS`].
const MOST_VALUES: u64 = 12;
/// Parts of a long range: fine enough to leave a tenth of it to chance, few enough to be learned.
const PARTS: usize = 10;

/// How many bins the decision has.
pub(super) fn count(domain: &Domain) -> usize {
    match domain.count() {
        Some(count) if !domain.is_range() || count <= MOST_VALUES => {
            usize::try_from(count).unwrap_or(usize::MAX).max(1)
        }
        _ => PARTS,
    }
}

/// The bin a value lies in; the first one for a value that is no member.
pub(super) fn of(domain: &Domain, value: &Value) -> usize {
    let count = count(domain);
    if is_cut(domain) {
        let share = domain.share(value).unwrap_or(0.0);
        return ((share * count as f64) as usize).min(count - 1);
    }
    (0..count as u64)
        .position(|index| domain.nth(index).as_ref() == Some(value))
        .unwrap_or(0)
}

/// A value of a bin.
pub(super) fn value(domain: &Domain, bin: usize, rng: &mut ChaCha8Rng) -> Value {
    if is_cut(domain) {
        return domain.at((bin as f64 + rng.random::<f64>()) / PARTS as f64);
    }
    domain.nth(bin as u64).unwrap_or_else(|| domain.first())
}

fn is_cut(domain: &Domain) -> bool {
    domain.is_range() && domain.count().is_none_or(|count| count > MOST_VALUES)
}

#[cfg(test)]
mod tests {
    use espalier_common::space::Scale;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_value_of_a_bin_lies_in_that_bin() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let real = Domain::Real {
            low: 1e-4,
            high: 1.0,
            scale: Scale::Log,
            step: None,
        };
        let short = Domain::Integer {
            low: 2,
            high: 8,
            step: 2,
            scale: Scale::Linear,
        };
        let choice = Domain::Choice(vec![Value::Boolean(true), Value::Boolean(false)]);
        for (domain, bins) in [(real, 10), (short, 4), (choice, 2)] {
            assert_eq!(count(&domain), bins);
            for bin in 0..bins {
                let value = value(&domain, bin, &mut rng);
                assert!(domain.contains(&value));
                assert_eq!(of(&domain, &value), bin, "{value:?}");
            }
        }
    }
}
