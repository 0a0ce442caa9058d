//! The command line: every command with its options, and what `--help` says about them. May import clap.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use espalier_common::build::Build;
use espalier_common::evaluator::is_device;
use espalier_common::job::TRAINER;
use espalier_common::table::TABLE;
use espalier_runtime::config::ConfigArgs;
use espalier_runtime::logging::LogArgs;
use espalier_runtime::secrets::TokenArgs;

use super::error::EXIT_CODES;
use super::output::OutputArgs;

mod access;
mod dataset;
mod journal;
mod logs;
mod look;
mod records;
mod simulate;
mod steer;

pub(super) use access::{
    LoginArgs, TlsArgs, TokenCommand, TokenCreateArgs, TokenListArgs, TokenRevokeArgs, TokensArgs,
};
pub(super) use dataset::{
    DatasetArgs, DatasetCommand, DatasetListArgs, DatasetPushArgs, DatasetRemoveArgs,
};
pub(super) use journal::{
    BackupArgs, CompactArgs, ExportArgs, ImportArgs, JournalArgs, JournalCommand, VerifyArgs,
};
pub(super) use logs::LogsArgs;
pub(super) use look::{
    DiffArgs, DrawArgs, LookArgs, Picture, PresetArgs, PresetCommand, SampleArgs, SpaceArgs,
};
pub(super) use records::{ExplainArgs, ReplayArgs};
pub(super) use simulate::SimulateArgs;
pub(super) use steer::{
    BanArgs, CancelArgs, EnqueueArgs, ForkArgs, PinArgs, RetryArgs, SearchArgs, SetArgs, Total,
};

/// Where data sets lie when nobody says otherwise.
pub(super) const DEFAULT_DATA_ROOT: &str = "data";
/// Workers that `run` starts when nobody says otherwise.
pub(super) const DEFAULT_WORKERS: u32 = 2;
/// The most workers that `run` starts on one machine: far above what one machine trains with.
const MAX_RUN_WORKERS: i64 = 256;
/// The longest name of an evaluator, as specs and workers have it.
const MAX_NAME: usize = 64;
/// The shortest lease that the server takes.
const MIN_LEASE_TTL_MS: u64 = 100;
/// The longest lease: a lost worker's trial must not wait for longer than a day.
const MAX_LEASE_TTL_MS: u64 = 24 * 60 * 60 * 1_000;

/// Searches for neural network architectures, on this machine or on a cluster
#[derive(Debug, Parser)]
#[command(name = "espalier", version, long_version = build().long(), after_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Cli {
    /// The coordinator to ask: https://HOST:PORT, or http://HOST:PORT for one without TLS [default: that of
    /// the current context, or http://127.0.0.1:7777]
    #[arg(
        long,
        global = true,
        env = "ESPALIER_ADDRESS",
        value_name = "URL",
        value_parser = address
    )]
    pub(super) address: Option<String>,
    /// The coordinator and the token that `espalier login` has kept under this name
    #[arg(
        long,
        global = true,
        env = "ESPALIER_CONTEXT",
        value_name = "NAME",
        conflicts_with = "address"
    )]
    pub(super) context: Option<String>,
    #[command(flatten)]
    pub(super) token: TokenArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What `--version` tells.
fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("ESPALIER_BUILD_COMMIT"),
        date: option_env!("ESPALIER_BUILD_DATE"),
        libtorch: option_env!("ESPALIER_BUILD_LIBTORCH"),
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Run(RunArgs),
    Serve(ServeArgs),
    Submit(SubmitArgs),
    Validate(ValidateArgs),
    Space(SpaceArgs),
    Sample(SampleArgs),
    Draw(DrawArgs),
    Diff(DiffArgs),
    Preset(PresetArgs),
    Simulate(SimulateArgs),
    List(ListArgs),
    Status(StatusArgs),
    Watch(WatchArgs),
    Trials(TrialsArgs),
    Best(BestArgs),
    Logs(LogsArgs),
    Explain(ExplainArgs),
    Replay(ReplayArgs),
    Journal(JournalArgs),
    /// Pause a search: running trials go on, no further one starts
    Pause(SearchArgs),
    /// Resume a paused search
    Resume(SearchArgs),
    /// End a search now: running trials are dropped; what it found is kept
    Stop(SearchArgs),
    Dataset(DatasetArgs),
    Health(HealthArgs),
    Set(SetArgs),
    Enqueue(EnqueueArgs),
    Ban(BanArgs),
    Pin(PinArgs),
    Cancel(CancelArgs),
    Retry(RetryArgs),
    Fork(ForkArgs),
    /// Show why attempts of a search failed: grouped by whose fault it was and the last line, the most frequent first
    #[command(after_help = "\
Examples:
  espalier failures fashion-mnist
  espalier failures fashion-mnist --output json | jq '.[0]'")]
    Failures(SearchArgs),
    /// Show who changed what of a search, and when
    History(SearchArgs),
    Login(LoginArgs),
    Token(TokensArgs),
    /// Print the JSON Schema of specs, for editors
    #[command(after_help = "\
Examples:
  espalier schema > espalier.schema.json

A spec whose first line is this comment is then completed and checked by every editor with the YAML language server:
  # yaml-language-server: $schema=espalier.schema.json")]
    Schema,
    Completions(CompletionsArgs),
}

/// Run a search on this machine: a coordinator and workers of its own, and the best network at the end
///
/// Starts a coordinator on a free loopback port, workers as child processes, submits the spec to it and
/// follows the search to its end. Journal, logs and the best network's weights lie in the run's folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier run examples/fashion-mnist.yaml --data-root data
  espalier run spec.yaml --workers 4 --threads 2 --data-dir runs/first
  espalier run spec.yaml --workers 4 --device cuda:0,cuda:1
  espalier run spec.yaml --resume          go on after Ctrl-C or a crash
  espalier run spec.yaml --evaluator mine='python3 train.py'")]
pub(super) struct RunArgs {
    /// The spec, a YAML file
    #[arg(value_name = "SPEC")]
    pub(super) spec: PathBuf,
    /// Worker processes to start
    #[arg(long, default_value_t = DEFAULT_WORKERS, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_RUN_WORKERS))]
    pub(super) workers: u32,
    /// Trials that each worker runs at one time
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(espalier_proto::MAX_SLOTS)))]
    pub(super) slots_per_worker: u32,
    /// Threads of each trial [default: the machine's cores shared out evenly]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(super) threads: Option<u32>,
    /// What trials are computed on: cpu or cuda:N; of several, with commas between, each worker takes the next
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_delimiter = ',', value_parser = device)]
    pub(super) device: Vec<String>,
    #[command(flatten)]
    pub(super) data: DataArgs,
    /// The run's folder [default: espalier-runs/NAME, by the spec's name]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Go on with the search that is in the run's folder
    #[arg(long)]
    pub(super) resume: bool,
    /// A program that specs may name as their evaluator, with its arguments; may be repeated
    #[arg(long, value_name = "NAME=COMMAND", value_parser = named_command)]
    pub(super) evaluator: Vec<NamedCommand>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Serve as a coordinator until SIGTERM or Ctrl-C
///
/// Prints one line with the address on stdout once it takes calls. Beyond loopback it speaks TLS, and at its
/// first start it prints one line for each role, with a token. A second coordinator on the same folder is
/// refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier serve
  espalier serve --listen 127.0.0.1:0 --data-dir /var/lib/espalier --output json
  espalier serve --config deploy/config/coordinator.toml
  espalier serve --listen 0.0.0.0:7777                  with TLS; prints a token for each role, once")]
pub(super) struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "ESPALIER_LISTEN",
        default_value = "127.0.0.1:7777",
        value_name = "ADDRESS"
    )]
    pub(super) listen: SocketAddr,
    /// Folder of the journal and the artifacts [default: espalier in the XDG data folder]
    #[arg(long, env = "ESPALIER_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
    /// How long a worker may be silent before its trials are given to others, in milliseconds [default: 30000]
    #[arg(long, env = "ESPALIER_LEASE_TTL_MS", value_name = "MS", value_parser = clap::value_parser!(u64).range(MIN_LEASE_TTL_MS..=MAX_LEASE_TTL_MS))]
    pub(super) lease_ttl_ms: Option<u64>,
    /// The largest artifact (a network's weights) that is stored, in bytes [default: 4294967296]
    #[arg(long, env = "ESPALIER_MAX_ARTIFACT_BYTES", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) max_artifact_bytes: Option<u64>,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// Submit a search to a coordinator and print its id
///
/// Inspects the data where they lie; the coordinator gets their description and never the data.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier submit spec.yaml --data-root /data
  espalier submit spec.yaml --watch")]
pub(super) struct SubmitArgs {
    /// The spec, a YAML file
    #[arg(value_name = "SPEC")]
    pub(super) spec: PathBuf,
    #[command(flatten)]
    pub(super) data: DataArgs,
    /// Follow the search to its end
    #[arg(long)]
    pub(super) watch: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Check a spec and its data, and say how large and how sound its space is
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier validate examples/fashion-mnist.yaml --data-root data
  espalier validate spec.yaml --assume-data 3x32x32:10   without the data
  espalier validate spec.yaml --output json")]
pub(super) struct ValidateArgs {
    /// The spec, a YAML file
    #[arg(value_name = "SPEC")]
    pub(super) spec: PathBuf,
    #[command(flatten)]
    pub(super) look: LookArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Where data sets lie.
#[derive(Debug, Args)]
pub(super) struct DataArgs {
    /// The folder that the data set's path in the spec is relative to
    #[arg(
        long,
        env = "ESPALIER_DATA_ROOT",
        default_value = DEFAULT_DATA_ROOT,
        value_name = "DIR"
    )]
    pub(super) data_root: PathBuf,
}

/// Ask whether a coordinator takes calls, for probes: 0 yes, 1 no, 4 it cannot be reached
///
/// Sends no token; over TLS one is needed all the same, since the authority it names is what is trusted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier health
  espalier health --address https://127.0.0.1:7777 --token-file tokens/viewer.token")]
pub(super) struct HealthArgs {
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// List the searches of a coordinator
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Show a search, or without one the cluster: workers, what they do, why searches wait
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier status
  espalier status fashion-mnist
  espalier status 3f2a --output json")]
pub(super) struct StatusArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(super) search: Option<String>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Follow a search to its end
///
/// Shows a progress bar on a terminal and lines elsewhere, both on stderr, and the best trials at the
/// end. A coordinator that is started again meanwhile is waited for. With --output json every change
/// is a line on stdout, and the last line is the search.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(super) search: String,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// List the trials of a search, all of them unless told otherwise
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier trials fashion-mnist
  espalier trials fashion-mnist --state failed --state infeasible
  espalier trials fashion-mnist --limit 100 --output json | jq '.[].score'")]
pub(super) struct TrialsArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(super) search: String,
    /// Only trials in this state; may be repeated
    #[arg(long, value_enum, value_name = "STATE")]
    pub(super) state: Vec<TrialState>,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// States of trials, as the coordinator writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TrialState {
    Queued,
    Running,
    Completed,
    Failed,
    Infeasible,
    Cancelled,
}

impl TrialState {
    /// Its word on the wire.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Infeasible => "infeasible",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Show the best trials of a search, and fetch the best one's weights
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier best fashion-mnist -n 5
  espalier best fashion-mnist --download best/   weights.safetensors and candidate.json")]
pub(super) struct BestArgs {
    /// The search: its id, a beginning of the id, or its name
    #[arg(value_name = "SEARCH")]
    pub(super) search: String,
    /// How many
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) count: u32,
    /// Put the best trial's weights and candidate into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) download: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier completions bash > ~/.local/share/bash-completion/completions/espalier
  espalier completions zsh > ~/.zfunc/_espalier")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
}

/// A program that evaluates, under the name by which specs ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedCommand {
    /// The name.
    pub(super) name: String,
    /// The command line, as the worker splits it.
    pub(super) command: String,
}

fn device(text: &str) -> Result<String, String> {
    let name = text.trim();
    if is_device(name) {
        Ok(name.to_owned())
    } else {
        Err("write cpu, or cuda:0, or several with commas between: cuda:0,cuda:1".to_owned())
    }
}

fn named_command(text: &str) -> Result<NamedCommand, String> {
    let (name, command) = text
        .split_once('=')
        .ok_or("write NAME=COMMAND, for example mine='python3 train.py'")?;
    let (name, command) = (name.trim(), command.trim());
    if name.is_empty() || command.is_empty() {
        return Err("both the name and the command must be there: NAME=COMMAND".to_owned());
    }
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.len() > MAX_NAME || !name.chars().all(letters) {
        return Err(format!(
            "{name:?} is not a name: 1 to {MAX_NAME} letters, digits, `_` or `-`, before the first `=`"
        ));
    }
    if name == TRAINER || name == TABLE {
        return Err(format!(
            "{name:?} is the name of a built-in evaluator; choose another one"
        ));
    }
    Ok(NamedCommand {
        name: name.to_owned(),
        command: command.to_owned(),
    })
}

/// An address: a URL, or host and port, whose scheme is told by whether there is a token.
pub(super) fn address(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let wrong =
        || "write https://HOST:PORT, or http://HOST:PORT for a coordinator without TLS".to_owned();
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let uri: tonic::transport::Uri = url
        .parse()
        .map_err(|error| format!("{error}; {}", wrong()))?;
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    if !scheme || uri.port_u16().is_none() || uri.path() != "/" || uri.query().is_some() {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
