//! `espalier simulate`. May import clap.

use std::path::PathBuf;

use clap::Args;
use espalier_core::simulate::MAX_WORKERS;

use super::super::output::OutputArgs;
use super::DataArgs;

/// The most searches of each searcher: what is said of them no longer changes long before.
const MAX_SEEDS: i64 = 10_000;
/// The most trials of a search: more than tables that are worth a search have rows.
const MAX_TRIALS: i64 = 1_000_000;
/// The most threads: more than machines have cores.
const MAX_THREADS: i64 = 1_024;
/// The widest spread of speeds: a thousand times covers any two machines.
const MAX_SPREAD: f64 = 1_000.0;

/// Run many searches on a table of results, in virtual time, and compare searchers
///
/// The spec's evaluator is a table: nothing is trained, and a clock that only jumps goes by the table's
/// seconds. Each searcher is run with the same seeds, from the spec's on. Prints how far the best found is
/// from the best of the table, how many evaluations and how much time it takes to come close, and which
/// searchers differ by more than chance.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier simulate examples/table.yaml
  espalier simulate examples/table.yaml --searcher random,evolution,bayesian --seeds 100 --svg regret.svg
  espalier simulate spec.yaml --searcher 'evolution, {evolution: {population: 20}}' --trials 200
  espalier simulate spec.yaml --workers 64 --speed-spread 4 --failure-rate 0.05 --csv evaluations.csv")]
pub(in crate::cli) struct SimulateArgs {
    /// The spec, a YAML file
    #[arg(value_name = "SPEC")]
    pub(in crate::cli) spec: PathBuf,
    /// Searchers to compare, as they stand after `searcher:` in a spec, separated by commas; may be repeated
    /// [default: the spec's]
    #[arg(long, value_name = "SEARCHER,...")]
    pub(in crate::cli) searcher: Vec<String>,
    /// Searches of each searcher
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_SEEDS))]
    pub(in crate::cli) seeds: u32,
    /// Trials of each search [default: the spec's budget, or as many as the table has rows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_TRIALS))]
    pub(in crate::cli) trials: Option<u32>,
    /// Workers of each search, each with one slot
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_WORKERS)))]
    pub(in crate::cli) workers: u32,
    /// How many times as long the slowest worker takes as the fastest
    #[arg(long, default_value_t = 1.0, value_name = "F", value_parser = spread)]
    pub(in crate::cli) speed_spread: f64,
    /// Share of attempts that are lost with their worker; the searcher is not told
    #[arg(long, default_value_t = 0.0, value_name = "F", value_parser = share)]
    pub(in crate::cli) failure_rate: f64,
    /// Evaluations after which searchers are compared [default: up to five, the last one the budget]
    #[arg(long, value_delimiter = ',', value_name = "N,...", value_parser = clap::value_parser!(u32).range(1..=MAX_TRIALS))]
    pub(in crate::cli) checkpoints: Vec<u32>,
    /// Regrets that count as reached: how far the best found may be from the best of the table
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "REGRET,...", value_parser = regret)]
    pub(in crate::cli) target: Vec<f64>,
    /// Write every evaluation of every search to this file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) csv: Option<PathBuf>,
    /// Draw the median regret of each searcher, with its quartiles, to this file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) svg: Option<PathBuf>,
    /// Searches that run at one time; the results are the same [default: the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_THREADS))]
    pub(in crate::cli) threads: Option<u32>,
    #[command(flatten)]
    pub(in crate::cli) data: DataArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

fn number(text: &str, from: f64, to: f64) -> Result<f64, String> {
    let number = text.trim().parse().ok();
    let number = number.filter(|number| (from..=to).contains(number));
    number.ok_or_else(|| format!("write a number from {from} to {to}"))
}

fn spread(text: &str) -> Result<f64, String> {
    number(text, 1.0, MAX_SPREAD)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

fn regret(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok();
    let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "write a number of at least 0: how far the best found may be from the best of the table, in the metric's own scale".to_owned())
}
