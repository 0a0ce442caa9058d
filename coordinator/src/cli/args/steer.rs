//! The options of commands that steer a search while it runs. May import clap.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use espalier_common::spec::{moment_ms, time_ms};

use super::super::output::OutputArgs;

/// One search, and how to print.
#[derive(Debug, Args)]
pub(in crate::cli) struct SearchArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: String,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// A new total, or how much is added to the present one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) enum Total<T> {
    /// So much in all.
    To(T),
    /// So much more.
    More(T),
}

impl<T> Total<T> {
    /// `+VALUE`, or `VALUE`.
    fn parse(text: &str, value: impl Fn(&str) -> Result<T, String>) -> Result<Self, String> {
        match text.strip_prefix('+') {
            Some(more) => value(more).map(Self::More),
            None => value(text).map(Self::To),
        }
    }
}

fn trials(text: &str) -> Result<Total<u32>, String> {
    Total::parse(text, |text| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = u32::from_str(text).ok();
        let number = number.filter(|number| plain && *number > 0);
        number.ok_or_else(|| "write a number of trials, as 200, or +50 for 50 more".to_owned())
    })
}

fn time(text: &str) -> Result<Total<u64>, String> {
    Total::parse(text, |text| {
        time_ms(text).map_err(|error| format!("{error}; +2h is two hours more"))
    })
}

/// This machine's time, Unix milliseconds; a coordinator whose clock differs takes the deadline by its own.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// A point in time, or a time from now; Unix milliseconds.
fn deadline(text: &str) -> Result<u64, String> {
    match text.strip_prefix('+') {
        Some(from_now) => Ok(now_ms().saturating_add(time_ms(from_now)?)),
        None => moment_ms(text).map_err(|error| format!("{error}; +12h is twelve hours from now")),
    }
}

/// A number of trials at one time; 0 stands for as many as there are slots.
fn parallel(text: &str) -> Result<u32, String> {
    if text == "all" {
        return Ok(0);
    }
    let number = u32::from_str(text).ok().filter(|number| *number > 0);
    number.ok_or_else(|| "write a number of trials, or `all`".to_owned())
}

/// Change what bounds a search while it runs: its budget, how many trials run at once, its share of the workers
///
/// What is not given stays. A search that has ended cannot be changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier set fashion-mnist --trials 200
  espalier set fashion-mnist --trials +50 --time +2h
  espalier set fashion-mnist --parallel 4 --weight 3
  espalier set fashion-mnist --deadline 2030-01-31T18:00:00Z")]
#[group(id = "limits", multiple = true)]
pub(in crate::cli) struct SetArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: String,
    /// The budget of trials; +N adds N
    #[arg(long, value_name = "N|+N", value_parser = trials)]
    pub(in crate::cli) trials: Option<Total<u32>>,
    /// The budget of running time; +TIME adds to it
    #[arg(long, value_name = "TIME|+TIME", value_parser = time)]
    pub(in crate::cli) time: Option<Total<u64>>,
    /// The budget of compute, of all attempts together; +TIME adds to it
    #[arg(long, value_name = "TIME|+TIME", value_parser = time)]
    pub(in crate::cli) compute: Option<Total<u64>>,
    /// When the search ends whatever it has found; +TIME is from now
    #[arg(long, value_name = "WHEN|+TIME", value_parser = deadline)]
    pub(in crate::cli) deadline: Option<u64>,
    /// End after so many trials in a row without a better one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) patience: Option<u32>,
    /// End when the objective's metric is this good
    #[arg(long, value_name = "VALUE")]
    pub(in crate::cli) target: Option<f64>,
    /// The most trials at one time; `all`: as many as there are slots
    #[arg(long, value_name = "N|all", value_parser = parallel)]
    pub(in crate::cli) parallel: Option<u32>,
    /// Its share of the workers beside other searches
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) weight: Option<u32>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Have a candidate of your own tried, beside what the searcher proposes
///
/// Its searcher learns from it as from its own. It counts as a trial of the budget.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier sample spec.yaml -n 20 --output json > some.json
  espalier enqueue fashion-mnist some.json#7
  espalier enqueue fashion-mnist candidate.json --first")]
pub(in crate::cli) struct EnqueueArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: String,
    /// The candidate: a JSON file, FILE#NUMBER for one of several, or - for stdin
    #[arg(value_name = "CANDIDATE")]
    pub(in crate::cli) candidate: String,
    /// Before all others that wait
    #[arg(long)]
    pub(in crate::cli) first: bool,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Never have a candidate tried; should it be a trial that has not ended, that is cancelled
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier ban fashion-mnist some.json#7")]
pub(in crate::cli) struct BanArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: String,
    /// The candidate: a JSON file, FILE#NUMBER for one of several, or - for stdin
    #[arg(value_name = "CANDIDATE")]
    pub(in crate::cli) candidate: String,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Run a queued trial before all others that wait
#[derive(Debug, Args)]
pub(in crate::cli) struct PinArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: String,
    /// The trial's number
    #[arg(value_name = "TRIAL", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) trial: u32,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Give up trials that wait or run; the search goes on without them
#[derive(Debug, Args)]
pub(in crate::cli) struct CancelArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: String,
    /// The trials' numbers
    #[arg(value_name = "TRIAL", required = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) trials: Vec<u32>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Try trials again that failed or were cancelled, with all their attempts
///
/// They keep their numbers, and the budget counts them once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier retry fashion-mnist 7 12
  espalier retry fashion-mnist --failed
  espalier retry fashion-mnist --failed --reason 'out of memory'")]
pub(in crate::cli) struct RetryArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: String,
    /// The trials' numbers
    #[arg(value_name = "TRIAL", required_unless_present = "failed", conflicts_with = "failed",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) trials: Vec<u32>,
    /// All that failed
    #[arg(long)]
    pub(in crate::cli) failed: bool,
    /// Of those, the ones with these words in their reason
    #[arg(long, value_name = "WORDS", requires = "failed")]
    pub(in crate::cli) reason: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Start a new search that begins with what the first trials of another one found
///
/// The new search has the other one's spec but for what --set changes, and its searcher is told the scores of those
/// trials before it proposes anything, as with a warm start; its budget counts its own trials only. What is banned in the
/// other one is banned in it, too. The other search goes on as it was, or stays ended.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier fork fashion-mnist --set searcher=bayesian
  espalier fork fashion-mnist --at 50 --set searcher=evolution --set budget.trials=200 --name evolved
  espalier fork fashion-mnist --set 'budget={trials: 100, time: 2h}'")]
pub(in crate::cli) struct ForkArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(in crate::cli) search: String,
    /// Begin with the trials up to this number [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) at: Option<u32>,
    /// What its spec has otherwise: a key, or a path into one, and its value in YAML; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub(in crate::cli) settings: Vec<(String, String)>,
    /// The new search's name [default: the other one's with -fork]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) name: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=');
    let (key, value) = split.ok_or_else(|| "write KEY=VALUE, as searcher=evolution".to_owned())?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_additions_are_told_apart() {
        assert_eq!(trials("200"), Ok(Total::To(200)));
        assert_eq!(trials("+50"), Ok(Total::More(50)));
        assert_eq!(time("+2h"), Ok(Total::More(7_200_000)));
        for wrong in ["", "+", "0", "-5", "many", "++5", "5x"] {
            assert!(trials(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "+", "0s", "5", "1x"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(deadline("1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(deadline("tomorrow").is_err() && deadline("1960-01-01T00:00:00Z").is_err());
        assert_eq!((parallel("all"), parallel("3")), (Ok(0), Ok(3)));
        assert!(parallel("0").is_err());
    }
}
