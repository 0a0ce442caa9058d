//! What fuzz tests are made of: bytes, texts, JSON and messages of the wire that are real ones changed at random,
//! since nearly all random bytes are refused by the first check. Only other crates' tests depend on this. May
//! import proptest, prost and serde_json.

mod json;
mod mutate;
mod tape;
pub mod wire;

pub use json::changed_json;
pub use mutate::{changed, text};
pub use tape::Tape;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// Checks a property of `cases` values. What is found is small and printed; it is then made a test of its own, so no
/// file of seeds is kept. `ESPALIER_FUZZ=50` makes fifty times as many.
///
/// # Panics
/// The property does not hold for one of them.
pub fn check<S: Strategy>(
    cases: u32,
    values: S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let more = std::env::var("ESPALIER_FUZZ").ok();
    let more = more.and_then(|more| more.parse().ok()).unwrap_or(1_u32);
    let config = Config {
        cases: cases.saturating_mul(more),
        failure_persistence: None,
        ..Config::default()
    };
    let checked = TestRunner::new(config).run(&values, property);
    checked.unwrap_or_else(|failed| panic!("{failed}"));
}
