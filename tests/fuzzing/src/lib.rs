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
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};

/// Names of files, of which some would leave their folder.
pub const FILE_NAMES: [&str; 7] = [
    "train-images-idx3-ubyte",
    "a.b_c",
    "..",
    "a/../../b",
    "/etc/passwd",
    ".x",
    "",
];

/// What makes so many values: the same ones each time, so that nobody's tests fail by chance. `ESPALIER_FUZZ=50` makes
/// fifty times as many, and others each time.
fn runner(few: u32) -> TestRunner {
    let more = std::env::var("ESPALIER_FUZZ").ok();
    let more: Option<u32> = more.and_then(|more| more.parse().ok());
    let config = Config {
        cases: few.saturating_mul(more.unwrap_or(1)),
        failure_persistence: None,
        ..Config::default()
    };
    match more {
        Some(_) => TestRunner::new(config),
        None => {
            let same = TestRng::deterministic_rng(config.rng_algorithm);
            TestRunner::new_with_rng(config, same)
        }
    }
}

/// So many values, for what has a state: a smaller one would not meet the same.
///
/// # Panics
/// There are none.
pub fn values<S: Strategy>(few: u32, values: S) -> Vec<S::Value> {
    let mut runner = runner(few);
    let count = runner.config().cases;
    let value = |_| values.new_tree(&mut runner).expect("a value").current();
    (0..count).map(value).collect()
}

/// Checks a property of so many values. What is found is small and printed; it is then made a test of its own, so no
/// file of seeds is kept.
///
/// # Panics
/// The property does not hold for one of them.
pub fn check<S: Strategy>(
    few: u32,
    values: S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let checked = runner(few).run(&values, property);
    checked.unwrap_or_else(|failed| panic!("{failed}"));
}
