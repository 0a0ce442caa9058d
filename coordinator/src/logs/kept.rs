//! How much of a search's log is kept. Plain data; the writer owns it.

use std::collections::HashMap;

use super::line::Line;

/// What evaluators print of one trial: the beginning, with what went wrong at the start; the end of what failed is
/// in the failure itself.
const TRIAL_BYTES: u64 = 256 << 10;
/// Everything of one search.
const SEARCH_BYTES: u64 = 1 << 30;

/// What is kept of one search so far.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: u64,
    printed: HashMap<u32, Printed>,
}

/// What is kept of what a trial's evaluator printed.
#[derive(Debug, Default)]
struct Printed {
    bytes: u64,
    /// Whether the file says that there was more.
    cut: bool,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// It is kept.
    Whole,
    /// It is the first of its trial that is not, which the file is to say.
    Cut,
    /// It is not.
    Not,
}

impl Kept {
    /// Whether a line still fits; counts it if so.
    pub(super) fn take(&mut self, line: &Line) -> Take {
        let bytes = line.text.len() as u64 + 1;
        if self.bytes + bytes > SEARCH_BYTES {
            return Take::Not;
        }
        if line.printed {
            let trial = self.printed.entry(line.trial.unwrap_or(0)).or_default();
            // What is behind a cut would look as if nothing were missing.
            if trial.cut {
                return Take::Not;
            }
            if trial.bytes + bytes > TRIAL_BYTES {
                trial.cut = true;
                return Take::Cut;
            }
            trial.bytes += bytes;
        } else if line.is_cut() {
            self.printed.entry(line.trial.unwrap_or(0)).or_default().cut = true;
        }
        self.bytes += bytes;
        Take::Whole
    }
}

#[cfg(test)]
mod tests {
    use espalier_common::ids::SearchId;

    use super::*;

    fn line(trial: u32, printed: bool, bytes: usize) -> Line {
        Line {
            number: 1,
            search: None,
            trial: Some(trial),
            worker: None,
            timestamp: String::new(),
            printed,
            last: false,
            text: "x".repeat(bytes),
        }
    }

    #[test]
    fn what_evaluators_print_is_bounded_for_each_trial_and_the_rest_for_each_search() {
        let mut kept = Kept::default();
        let half = TRIAL_BYTES as usize / 2;
        assert_eq!(kept.take(&line(1, true, half)), Take::Whole);
        assert_eq!(kept.take(&line(1, true, half)), Take::Cut, "one byte");
        assert_eq!(kept.take(&line(1, true, 1)), Take::Not, "behind the cut");
        assert_eq!(kept.take(&line(1, false, half)), Take::Whole, "not printed");
        assert_eq!(kept.take(&line(2, true, half)), Take::Whole, "another");
        kept.bytes = SEARCH_BYTES - 10;
        assert_eq!(kept.take(&line(3, false, 10)), Take::Not);
        assert_eq!(kept.take(&line(3, false, 9)), Take::Whole);
    }

    #[test]
    fn that_something_was_cut_off_is_known_from_the_file_too() {
        let (mut kept, search) = (Kept::default(), SearchId(uuid::Uuid::from_u128(1)));
        let cut = Line::cut(search, 1);
        assert_eq!(
            Line::of_own(&cut).map(|line| kept.take(&line)),
            Some(Take::Whole)
        );
        assert_eq!(kept.take(&line(1, true, 1)), Take::Not);
        assert_eq!(kept.take(&line(2, true, 1)), Take::Whole);
    }
}
