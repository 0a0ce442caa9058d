//! What an evaluator may use of the machine, as its operator says. May import clap, common's
//! way of writing times.

use std::time::Duration;

use espalier_common::spec::time_ms;

use super::{ConfigError, bad};

/// Much more than anything that is looked at later, and little enough that a program which prints in an
/// endless loop is found within seconds.
const OUTPUT: u64 = 1 << 30;
/// No interpreter starts in less.
const LEAST_MEMORY: u64 = 16 << 20;

/// What an evaluator may use, as options.
#[derive(Clone, Debug, clap::Args)]
pub struct LimitArgs {
    /// The most memory of each slot's evaluator with all it started, e.g. 8G [default: no limit]
    #[arg(long, env = "ESPALIER_EVALUATOR_MEMORY", value_name = "SIZE", value_parser = parse_size)]
    pub evaluator_memory: Option<u64>,
    /// The longest that one job may take, e.g. 30m or 2h [default: no limit]
    #[arg(long, env = "ESPALIER_EVALUATOR_TIME", value_name = "DURATION", value_parser = parse_duration)]
    pub evaluator_time: Option<Duration>,
    /// The most that an evaluator may write to stdout and stderr during one job
    #[arg(long, env = "ESPALIER_EVALUATOR_OUTPUT", default_value = "1G", value_name = "SIZE",
          value_parser = parse_size)]
    pub evaluator_output: u64,
    /// The most that one job may keep in its scratch folder, e.g. 20G [default: no limit]
    #[arg(long, env = "ESPALIER_EVALUATOR_SCRATCH", value_name = "SIZE", value_parser = parse_size)]
    pub evaluator_scratch: Option<u64>,
}

/// What an evaluator may use, checked.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory of an evaluator and all it started.
    pub memory: Option<u64>,
    /// For one job.
    pub time: Option<Duration>,
    /// Bytes on stdout and stderr together, for one job.
    pub output: u64,
    /// Bytes in the scratch folder of a job.
    pub scratch: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            time: None,
            output: OUTPUT,
            scratch: None,
        }
    }
}

impl Limits {
    pub(super) fn from_args(args: &LimitArgs) -> Result<Self, ConfigError> {
        if let Some(memory) = args.evaluator_memory {
            const OPTION: &str = "--evaluator-memory";
            if !cfg!(target_os = "linux") {
                return Err(bad(OPTION, "memory can be limited on Linux only"));
            }
            if memory < LEAST_MEMORY {
                return Err(bad(OPTION, "no program starts in that; give 16M or more"));
            }
        }
        Ok(Self {
            memory: args.evaluator_memory,
            time: args.evaluator_time,
            output: args.evaluator_output,
            scratch: args.evaluator_scratch,
        })
    }
}

/// A whole number with its unit: `500ms`, `90s`, `10m`, `2h`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    time_ms(text).map(Duration::from_millis)
}

/// A whole number with its unit, in powers of 1024: `64K`, `500M`, `8G`, `1T`. A bare number is refused, since
/// it would be bytes to one and gigabytes to another.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size; write 500M, 8G or 1T");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit: u64 = match unit {
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = number.checked_mul(unit).filter(|&bytes| bytes > 0);
    bytes.ok_or_else(wrong)
}
