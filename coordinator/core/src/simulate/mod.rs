//! The simulator: whole searches on a table of results, with a clock that only jumps. The state machine, the
//! proposer and the dispatcher's choice are the ones that a coordinator runs; only the workers are modelled.
//! Pure and deterministic: equal settings and seeds give equal searches. May import what the rest of the core
//! may.

mod best;
mod cluster;
mod observer;
mod run;
mod statistics;

pub use best::{Among, Optimum, optimum, test_metric};
pub use cluster::{Cluster, MAX_WORKERS};
pub use observer::{Observer, Work};
pub use run::{Ended, Evaluation, Run, simulate};
pub use statistics::{
    Interval, compare, holm, interval_of_mean, interval_of_median, mean, quantile,
};
