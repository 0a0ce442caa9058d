//! What a worker's operator decides: flags, each with an environment variable, or a file of them, checked
//! before anything starts. May import clap, common and runtime.

mod limits;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use espalier_common::build::Build;
use espalier_common::evaluator::is_device;
use espalier_common::job::TRAINER;
use espalier_common::labels::Labels;
use espalier_common::table::TABLE;
use espalier_proto::MAX_SLOTS;
use espalier_runtime::config::{self, ConfigArgs};
use espalier_runtime::logging::LogArgs;
use espalier_runtime::secrets::TokenArgs;
use espalier_runtime::tls::JoinToken;

use crate::membership;
use limits::parse_duration;
pub use limits::{LimitArgs, Limits};

/// A worker that died elsewhere keeps its name for a lease's time to live: waited for so long at least, and twice
/// that time.
const NAME_PATIENCE: Duration = Duration::from_secs(120);
/// The longest name of a worker or an evaluator, in bytes: both travel with every registration.
const MAX_NAME: usize = 64;
/// Room for a few hundred data sets of the usual size, and little of a disk.
const CACHE_BYTES: u64 = 20 << 30;
/// Less than this would take an ordinary pause (a garbage collection, a slow disk) for a hang.
const LEAST_SILENCE_MS: u64 = 100;

/// Runs training jobs of an Espalier coordinator on this machine.
#[derive(Clone, Debug, Parser)]
#[command(name = "espalier-worker", version, long_version = build().long(), about)]
pub struct Args {
    /// The coordinator: host:port; https://host:port or http://host:port to insist
    #[arg(long, env = "ESPALIER_JOIN", value_name = "ADDRESS")]
    pub join: String,
    /// The token by which this worker joins a coordinator with TLS.
    #[command(flatten)]
    pub token: TokenArgs,
    /// This worker's name, the same across restarts [default: the host's name]
    #[arg(long, env = "ESPALIER_NAME")]
    pub name: Option<String>,
    /// What specs may ask of a worker, e.g. gpu=h100; may be given several times
    #[arg(
        long = "label",
        env = "ESPALIER_LABELS",
        value_name = "NAME=VALUE",
        value_delimiter = ','
    )]
    pub labels: Vec<String>,
    /// How many jobs run at once
    #[arg(long, env = "ESPALIER_SLOTS", default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SLOTS)))]
    pub slots: u32,
    /// Threads for each slot [default: cores / slots]
    #[arg(long, env = "ESPALIER_THREADS", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
    /// The device that evaluators use: cpu, or cuda:N
    #[arg(long, env = "ESPALIER_DEVICE", default_value = "cpu")]
    pub device: String,
    /// The folder that data sets' paths are relative to
    #[arg(
        long,
        env = "ESPALIER_DATA_ROOT",
        default_value = "data",
        value_name = "DIR"
    )]
    pub data_root: PathBuf,
    /// Where decoded data sets and weights are kept [default: espalier in the user's cache folder]
    #[arg(long, env = "ESPALIER_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// The most bytes of decoded data sets in the cache; those not used for the longest time go
    #[arg(long, env = "ESPALIER_CACHE_BYTES", default_value_t = CACHE_BYTES, value_name = "BYTES")]
    pub cache_bytes: u64,
    /// Scratch files, and results that are not delivered yet [default: a folder of this name in the cache]
    #[arg(long, env = "ESPALIER_WORK_DIR", value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// A program that evaluates candidates, split into words as a shell does; may be given several times.
    /// `table` alone: a worker that needs no program, since it only looks results up in tables
    #[arg(
        long = "evaluator",
        env = "ESPALIER_EVALUATOR",
        value_name = "NAME='COMMAND LINE'"
    )]
    pub evaluators: Vec<String>,
    /// The built-in trainer's program [default: espalier-trainer beside this program]
    #[arg(long, env = "ESPALIER_TRAINER", value_name = "PATH")]
    pub trainer: Option<PathBuf>,
    /// An evaluator that writes nothing for this long during a job is taken for hung, and is killed
    #[arg(long, env = "ESPALIER_EVALUATOR_SILENCE_MS", default_value_t = 60_000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(LEAST_SILENCE_MS..))]
    pub evaluator_silence_ms: u64,
    /// What an evaluator may use.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Reading data that makes no progress for this long is given up: the file system does not answer
    #[arg(long, env = "ESPALIER_DATA_SILENCE_MS", default_value_t = 120_000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(LEAST_SILENCE_MS..))]
    pub data_silence_ms: u64,
    /// End after this long without a job or a coordinator to ask, e.g. 90s or 10m [default: never]
    #[arg(long, env = "ESPALIER_UNTIL_IDLE", value_name = "DURATION", value_parser = parse_duration)]
    pub until_idle: Option<Duration>,
    /// How long the end may take: handing jobs back, delivering results
    #[arg(
        long,
        env = "ESPALIER_DRAIN_TIMEOUT_MS",
        default_value_t = 10_000,
        value_name = "MS"
    )]
    pub drain_timeout_ms: u64,
    /// A file of these options.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How logs look.
    #[command(flatten)]
    pub log: LogArgs,
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

impl Args {
    /// The options of a command line, of the environment, and of the file that one of them may name.
    ///
    /// # Errors
    /// [`config::ConfigError`] says what is wrong, and in the file where.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, config::ConfigError> {
        let matches = config::matches(Self::command(), arguments)?;
        Ok(Self::from_arg_matches(&matches)?)
    }
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that cannot be used.
    #[error("{option}: {reason}")]
    Bad {
        /// The option.
        option: &'static str,
        /// What is wrong, and what to write instead.
        reason: String,
    },
}

fn bad(option: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Bad {
        option,
        reason: reason.into(),
    }
}

/// A program that evaluates candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The name that specs use.
    pub name: String,
    /// The program and its arguments; never a shell's line.
    pub command: Vec<String>,
}

impl Program {
    /// From `NAME=command line`, the line split into words as a shell does.
    ///
    /// # Errors
    /// No `=`, a bad or reserved name, an open quote, or nothing to run.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        const OPTION: &str = "--evaluator";
        let (name, line) = text.split_once('=').ok_or_else(|| {
            bad(
                OPTION,
                format!("{text:?} has no `=`; write NAME='command line'"),
            )
        })?;
        check_name(OPTION, name)?;
        if name == TABLE {
            return Err(bad(
                OPTION,
                format!("the name {TABLE:?} is that of tables of results, which need no program"),
            ));
        }
        if name == TRAINER {
            return Err(bad(
                OPTION,
                format!(
                    "the name {TRAINER:?} is that of the built-in trainer; use --trainer for its path"
                ),
            ));
        }
        let command = shell_words::split(line)
            .map_err(|error| bad(OPTION, format!("{name}: {line:?}: {error}")))?;
        if command.is_empty() {
            return Err(bad(
                OPTION,
                format!("{name}: there is no command after the `=`"),
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            command,
        })
    }

    /// The built-in trainer at a path.
    #[must_use]
    pub fn trainer(path: &str) -> Self {
        Self {
            name: TRAINER.to_owned(),
            command: vec![path.to_owned()],
        }
    }

    /// Whether this is the built-in trainer.
    #[must_use]
    pub fn is_trainer(&self) -> bool {
        self.name == TRAINER
    }
}

/// A worker's configuration, checked.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The coordinator, as `http://host:port` without TLS or `https://host:port` with it.
    pub join: String,
    /// By what to join a coordinator with TLS.
    pub token: Option<JoinToken>,
    /// The worker's name, the same across restarts.
    pub name: String,
    /// What its operator says of it.
    pub labels: Labels,
    /// How many jobs run at once.
    pub slots: u32,
    /// Threads for each slot.
    pub threads: u32,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// What data sets' paths are relative to.
    pub data_root: PathBuf,
    /// Decoded data sets and weights; may be shared by workers.
    pub cache_dir: PathBuf,
    /// The most bytes of decoded data sets.
    pub cache_bytes: u64,
    /// Scratch and spool; one worker's own.
    pub work_dir: PathBuf,
    /// The evaluators on offer.
    pub evaluators: Vec<Program>,
    /// Whether a worker without any of them is wanted: tables need none.
    pub tables_suffice: bool,
    /// `espalier-worker` itself, which also is the guard of each evaluator (see [`crate::run_if_asked`]).
    pub guard: PathBuf,
    /// Silence that is a hang.
    pub evaluator_silence: Duration,
    /// What an evaluator may use.
    pub limits: Limits,
    /// Reading data without progress for so long is given up.
    pub data_silence: Duration,
    /// End after this long without a job.
    pub until_idle: Option<Duration>,
    /// How long the end may take.
    pub drain_timeout: Duration,
    /// How long a name is waited for that another worker has: not an option, but for tests.
    pub name_patience: Duration,
}

impl WorkerConfig {
    /// How long an evaluator has for a checkpoint when the worker ends, from the beginning of the end.
    #[must_use]
    pub fn checkpoint_within(&self) -> Duration {
        self.drain_timeout * 6 / 10
    }

    /// Until when a checkpoint must be with the coordinator, from the beginning of the end: what is left is for handing
    /// the job back without it.
    #[must_use]
    pub fn checkpoint_stored_within(&self) -> Duration {
        self.drain_timeout * 9 / 10
    }

    /// Checks the flags and fills in what depends on the machine.
    ///
    /// # Errors
    /// [`ConfigError`] names the option.
    pub fn from_args(args: Args) -> Result<Self, ConfigError> {
        let name = match args.name {
            Some(name) => name,
            None => host_name()?,
        };
        check_name("--name", &name)?;
        check_device(&args.device)?;
        let cache_dir = match args.cache_dir {
            Some(folder) => folder,
            None => user_cache()?,
        };
        let cache_dir = absolute("--cache-dir", &cache_dir)?;
        let work_dir = match args.work_dir {
            Some(folder) => absolute("--work-dir", &folder)?,
            None => cache_dir.join("workers").join(&name),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = u32::try_from(cores).unwrap_or(u32::MAX);
        let token = args.token.read();
        let token = token.map_err(|error| bad("a token", error.to_string()))?;
        // Whoever has joined before needs no token.
        let member = token.is_some() || membership::file(&work_dir).exists();
        Ok(Self {
            join: coordinator_url(&args.join, member, token.is_some())?,
            token,
            name,
            labels: labels(&args.labels)?,
            slots: args.slots,
            threads: args.threads.unwrap_or((cores / args.slots).max(1)),
            device: args.device,
            data_root: absolute("--data-root", &args.data_root)?,
            cache_dir,
            cache_bytes: args.cache_bytes,
            work_dir,
            tables_suffice: args.evaluators.iter().any(|text| text == TABLE),
            evaluators: programs(args.trainer, &args.evaluators)?,
            // Also when the file has been replaced since: a guard and its worker belong together.
            guard: PathBuf::from("/proc/self/exe"),
            evaluator_silence: Duration::from_millis(args.evaluator_silence_ms),
            limits: Limits::from_args(&args.limits)?,
            data_silence: Duration::from_millis(args.data_silence_ms),
            until_idle: args.until_idle,
            drain_timeout: Duration::from_millis(args.drain_timeout_ms),
            name_patience: NAME_PATIENCE,
        })
    }
}

fn programs(trainer: Option<PathBuf>, named: &[String]) -> Result<Vec<Program>, ConfigError> {
    let mut programs = Vec::new();
    if let Some(path) = find_trainer(trainer)? {
        programs.push(Program::trainer(&path));
    }
    for text in named.iter().filter(|text| *text != TABLE) {
        let program = Program::parse(text)?;
        if programs.iter().any(|other| other.name == program.name) {
            return Err(bad(
                "--evaluator",
                format!("the name {:?} is given twice", program.name),
            ));
        }
        programs.push(program);
    }
    Ok(programs)
}

/// The trainer given, or the one beside this program; `None` when there is none, since a worker may offer
/// named evaluators only.
fn find_trainer(given: Option<PathBuf>) -> Result<Option<String>, ConfigError> {
    let path = match given {
        Some(path) => path,
        None => match std::env::current_exe() {
            Ok(own) => own.with_file_name("espalier-trainer"),
            Err(_) => return Ok(None),
        },
    };
    let path = absolute("--trainer", &path)?;
    if !path.is_file() {
        tracing::warn!(path = %path.display(),
            "the built-in trainer is not there; only what --evaluator names is offered");
        return Ok(None);
    }
    Ok(path.to_str().map(str::to_owned))
}

/// Paths go to evaluators in JSON, and their working folder may be another one.
fn absolute(option: &'static str, path: &Path) -> Result<PathBuf, ConfigError> {
    let path = std::path::absolute(path)
        .map_err(|error| bad(option, format!("{}: {error}", path.display())))?;
    if path.to_str().is_none() {
        return Err(bad(
            option,
            format!("the path {} is not valid UTF-8", path.display()),
        ));
    }
    Ok(path)
}

fn user_cache() -> Result<PathBuf, ConfigError> {
    let folder = |variable| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("espalier"))
        .ok_or_else(|| {
            bad(
                "--cache-dir",
                "neither XDG_CACHE_HOME nor HOME is set, so give a folder",
            )
        })
}

fn host_name() -> Result<String, ConfigError> {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            bad(
                "--name",
                "this host has no name that can be used, so give one",
            )
        })
}

/// Names stand in logs, in file names and on the wire.
fn check_name(option: &'static str, name: &str) -> Result<(), ConfigError> {
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(bad(
            option,
            format!("{name:?}: a name has 1 to {MAX_NAME} characters"),
        ));
    }
    if !name.chars().all(letters) || name.starts_with('.') {
        return Err(bad(
            option,
            format!(
                "{name:?}: a name consists of letters, digits, `-`, `_` and `.`, and does not start with `.`"
            ),
        ));
    }
    Ok(())
}

fn check_device(device: &str) -> Result<(), ConfigError> {
    if is_device(device) {
        Ok(())
    } else {
        Err(bad(
            "--device",
            format!("{device:?} is not a device; write cpu, or cuda:0"),
        ))
    }
}

/// The coordinator's URL; whether TLS is spoken the scheme says, or whether this worker can.
fn coordinator_url(text: &str, member: bool, token: bool) -> Result<String, ConfigError> {
    const OPTION: &str = "--join";
    let wrong = |reason: &str| {
        bad(
            OPTION,
            format!("{text:?} {reason}; write host:port, https://host:port or http://host:port"),
        )
    };
    let (scheme, rest) = match text.split_once("://") {
        Some(("http", _)) if token => {
            return Err(wrong("is without TLS, and a token is sent over TLS only"));
        }
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some(_) => return Err(wrong("has another scheme")),
        None if member => ("https", text),
        None => ("http", text),
    };
    let url = format!("{scheme}://{}", rest.trim_end_matches('/'));
    let uri: tonic::transport::Uri = url
        .parse()
        .map_err(|error| wrong(&format!("is no address ({error})")))?;
    if uri.port_u16().is_none() {
        return Err(wrong("has no port"));
    }
    if uri.path() != "/" || uri.query().is_some() {
        return Err(wrong("has something after the port"));
    }
    Ok(url)
}

/// Labels, each as `NAME=VALUE`.
fn labels(given: &[String]) -> Result<Labels, ConfigError> {
    const OPTION: &str = "--label";
    let mut labels = Labels::default();
    for text in given
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
    {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| bad(OPTION, format!("{text:?} has no `=`; write NAME=VALUE")))?;
        let added = labels.add(name, value);
        added.map_err(|error| bad(OPTION, error.to_string()))?;
    }
    Ok(labels)
}

#[cfg(test)]
mod tests;
