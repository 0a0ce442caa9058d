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
    printed: HashMap<u32, u64>,
}

impl Kept {
    /// Whether a line still fits; counts it if so.
    pub(super) fn take(&mut self, line: &Line) -> bool {
        let bytes = line.text.len() as u64 + 1;
        if self.bytes + bytes > SEARCH_BYTES {
            return false;
        }
        if line.printed {
            let trial = self.printed.entry(line.trial.unwrap_or(0)).or_default();
            if *trial + bytes > TRIAL_BYTES {
                return false;
            }
            *trial += bytes;
        }
        self.bytes += bytes;
        true
    }
}

#[cfg(test)]
mod tests {
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
        assert!(kept.take(&line(1, true, half)));
        assert!(!kept.take(&line(1, true, half)), "one byte too many");
        assert!(kept.take(&line(1, false, half)), "not printed");
        assert!(kept.take(&line(2, true, half)), "another trial");
        kept.bytes = SEARCH_BYTES - 10;
        assert!(!kept.take(&line(3, false, 10)));
        assert!(kept.take(&line(3, false, 9)));
    }
}
