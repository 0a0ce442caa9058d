//! Sorting by colours. They are hashes, so their first bits spread them evenly, and a few nodes at a time are
//! left to be compared. Pure; knows nothing of networks.

/// From so many nodes with the same first bits on, all are sorted by comparing them. Many of them have equal
/// colours then, for which that is fast.
const MANY: u32 = 16;

/// Nodes sorted by their colours, and by their numbers where those are equal.
#[derive(Debug, Default)]
pub(super) struct ByColour {
    /// Colour and node.
    pub(super) pairs: Vec<(u64, u32)>,
    /// How many different colours there are.
    pub(super) classes: usize,
    /// Where the nodes whose colours have the same first bits lie, while sorting.
    ends: Vec<u32>,
}

impl ByColour {
    pub(super) fn of(colours: &[u64]) -> Self {
        let mut sorted = Self::default();
        sorted.sort(colours);
        sorted
    }

    /// Sorts the nodes by these colours instead.
    pub(super) fn sort(&mut self, colours: &[u64]) {
        let buckets = colours.len().next_power_of_two().max(2);
        let bucket = |colour: u64| (colour >> (64 - buckets.trailing_zeros())) as usize;
        self.ends.clear();
        self.ends.resize(buckets + 1, 0);
        for &colour in colours {
            self.ends[bucket(colour) + 1] += 1;
        }
        let (mut sum, mut fullest) = (0, 0);
        for end in &mut self.ends {
            fullest = fullest.max(*end);
            sum += *end;
            *end = sum;
        }
        // Every place is written below.
        self.pairs.resize(colours.len(), (0, 0));
        for (&colour, node) in colours.iter().zip(0_u32..) {
            let end = &mut self.ends[bucket(colour)];
            self.pairs[*end as usize] = (colour, node);
            *end += 1;
        }
        if fullest > MANY {
            self.pairs.sort_unstable();
        } else {
            insertion_sort(&mut self.pairs);
        }
        let differs = |pair: &[(u64, u32)]| usize::from(pair[0].0 != pair[1].0);
        let others: usize = self.pairs.windows(2).map(differs).sum();
        self.classes = others + usize::from(!colours.is_empty());
    }

    /// The nodes in order.
    pub(super) fn nodes(&self) -> impl Iterator<Item = u32> {
        self.pairs.iter().map(|&(_, node)| node)
    }
}

/// Sorts what is sorted but for near neighbours.
fn insertion_sort(pairs: &mut [(u64, u32)]) {
    for place in 1..pairs.len() {
        let pair = pairs[place];
        let mut at = place;
        while at > 0 && pair < pairs[at - 1] {
            pairs[at] = pairs[at - 1];
            at -= 1;
        }
        pairs[at] = pair;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn buckets_sort_as_comparing_does(
            colours in proptest::collection::vec(
                prop_oneof![any::<u64>(), 0_u64..4, Just(u64::MAX)],
                0..200,
            ),
        ) {
            let mut expected: Vec<(u64, u32)> = colours.iter().copied().zip(0..).collect();
            expected.sort_unstable();
            let mut classes: Vec<u64> = expected.iter().map(|&(colour, _)| colour).collect();
            classes.dedup();
            // What is left of an earlier sorting does not matter.
            let mut sorted = ByColour::of(&[7, 7, 1]);
            sorted.sort(&colours);
            prop_assert_eq!(&sorted.pairs, &expected);
            prop_assert_eq!(sorted.classes, classes.len());
        }
    }
}
