//! The supervisor on a machine: it leases jobs from the coordinator, runs them in evaluator processes
//! (one per slot and evaluator), and delivers what they measure. Never links libtorch. May import proto
//! (client), runtime, data and common.
//!
//! One owner for each state:
//! - `session` holds the registration, the leases and what is free;
//! - `slot` holds its evaluator processes and runs one job at a time in `job`;
//! - `guard` is a process of its own for each evaluator, and ends it with all it started;
//! - `membership` holds its certificate, where the coordinator speaks TLS;
//! - `delivery` reports an attempt's measurements in order, and then how it ended;
//! - `spool` keeps completions on disk until the coordinator has them;
//! - `transfer` moves weights, `cache` keeps a few of them;
//! - `dataset` knows which data this machine has.

mod alive;
mod cache;
mod client;
mod config;
mod dataset;
mod delivery;
mod error;
mod evaluator;
#[cfg(target_os = "linux")]
mod guard;
mod job;
mod left_file;
mod limits;
mod logs;
mod membership;
mod run;
mod session;
mod slot;
mod spool;
mod stop;
mod transfer;
mod work_dir;

pub use config::{Args, ConfigError, LimitArgs, Limits, Program, WorkerConfig};
pub use error::WorkerError;
#[cfg(target_os = "linux")]
pub use guard::run_if_asked;
pub use run::run;
