//! Choices of several things at once, without order: all sets of a size, and what they are called as values
//! of one decision.

use crate::candidate::Value;

/// The most sets that one decision chooses among.
pub const MAX_SETS: usize = 1_000;

/// The sets of `choose` numbers below `of`, each in rising order; at most [`MAX_SETS`] of them.
pub(super) fn combinations(of: u64, choose: u64) -> Vec<Vec<u64>> {
    let mut all = Vec::new();
    let mut set: Vec<u64> = (0..choose.min(of)).collect();
    while all.len() < MAX_SETS {
        all.push(set.clone());
        // The last number that can still rise, and after it the least ones.
        let size = set.len() as u64;
        let Some(place) = (0..set.len())
            .rev()
            .find(|&place| set[place] < of - size + place as u64)
        else {
            break;
        };
        let next = set[place] + 1;
        for (offset, number) in set[place..].iter_mut().enumerate() {
            *number = next + offset as u64;
        }
    }
    all
}

/// The sets of `choose` numbers below `of` in which a number may be several times, each in rising order; at
/// most [`MAX_SETS`] of them.
pub(super) fn multisets(of: u64, choose: u64) -> Vec<Vec<u64>> {
    // A rising one of these, with every number lowered by its place, is such a set, and every set comes so.
    let mut all = combinations(with_repetition(of, choose), choose);
    for set in &mut all {
        for (place, number) in (0_u64..).zip(set) {
            *number = number.saturating_sub(place);
        }
    }
    all
}

/// Of how many numbers sets without repetition are as many as those of `choose` of `of` with it.
fn with_repetition(of: u64, choose: u64) -> u64 {
    of.saturating_add(choose).saturating_sub(1)
}

/// How many [`multisets`] there are, unbounded.
pub fn multisets_count(of: u64, choose: u64) -> u128 {
    combinations_count(with_repetition(of, choose), choose)
}

/// The sets of one or more numbers below `of`, small ones first; at most [`MAX_SETS`] of them.
pub(super) fn subsets(of: u64) -> Vec<Vec<u64>> {
    let mut all: Vec<_> = (1..=of.min(MAX_SETS as u64))
        .flat_map(|size| combinations(of, size))
        .take(MAX_SETS)
        .collect();
    if all.is_empty() {
        all.push(Vec::new());
    }
    all
}

/// How many [`combinations`] there are, unbounded.
pub fn combinations_count(of: u64, choose: u64) -> u128 {
    let choose = choose.min(of.saturating_sub(choose));
    (0..choose).fold(1_u128, |count, index| {
        count.saturating_mul(u128::from(of - index)) / u128::from(index + 1)
    })
}

/// The value that stands for a set.
pub(super) fn text_of(parts: impl Iterator<Item = impl AsRef<str>>) -> Value {
    let mut text = String::new();
    for part in parts {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(part.as_ref());
    }
    Value::Text(text)
}

/// The set that a value stands for.
pub(super) fn numbers_of(value: &Value, number: impl Fn(&str) -> Option<u64>) -> Vec<u64> {
    match value {
        Value::Text(text) => text.split(',').filter_map(number).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_comes_once_and_in_order() {
        assert_eq!(
            combinations(4, 2),
            [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
        );
        assert_eq!(combinations(3, 3), [[0, 1, 2]]);
        assert_eq!(combinations(2, 5), [[0, 1]]);
        assert_eq!(combinations(3, 0), [[0_u64; 0]]);
        assert_eq!(subsets(3).len(), 7);
        assert_eq!(subsets(0).len(), 1);
        for (of, choose) in [(5, 2), (6, 3), (7, 1), (4, 4)] {
            let all = combinations(of, choose);
            assert_eq!(
                all.len() as u128,
                combinations_count(of, choose),
                "{of} {choose}"
            );
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        }
        assert_eq!(combinations(60, 30).len(), MAX_SETS);
        assert!(combinations_count(60, 30) > 1 << 56);
    }

    #[test]
    fn every_set_with_repetition_comes_once_and_in_order() {
        assert_eq!(
            multisets(3, 2),
            [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]]
        );
        assert_eq!(multisets(1, 3), [[0, 0, 0]]);
        for (of, choose) in [(5, 2), (3, 4), (7, 1), (2, 2)] {
            let all = multisets(of, choose);
            assert_eq!(all.len() as u128, multisets_count(of, choose));
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(all.iter().flatten().all(|&number| number < of));
            assert!(all.iter().all(|set| set.is_sorted()));
        }
        assert_eq!(multisets(60, 30).len(), MAX_SETS);
    }

    #[test]
    fn a_set_survives_its_text() {
        let text = text_of([0_u64, 12].iter().map(u64::to_string));
        assert_eq!(text, Value::Text("0,12".to_owned()));
        assert_eq!(numbers_of(&text, |part| part.parse().ok()), [0, 12]);
    }
}
