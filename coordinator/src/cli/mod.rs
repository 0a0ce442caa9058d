//! The commands. Everything but `serve` and what `alone` does is a client of a coordinator's
//! `SearchService`, `run` included. May import the library of this crate (the server), the wire, the reader
//! of specs, the data sets and the view.

mod access;
mod args;
mod candidate_file;
mod client;
mod contexts;
mod control;
mod credentials;
mod dataset;
mod diff;
mod draw;
mod error;
mod explain;
mod follow;
mod health;
mod journal;
mod logs;
mod look;
mod output;
mod preset;
mod progress;
mod query;
mod render;
mod replay;
mod run;
mod sample;
mod serve;
mod simulate;
mod space;
mod spec_file;
mod submit;
mod validate;
mod warm_file;
mod weights;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use espalier_runtime::config::{self, ConfigError};
use espalier_runtime::secrets::hide_from_process_list;

use args::{Cli, Command};
use client::Client;
use contexts::Target;
use error::CliError;
use output::stdout;

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let matches = match config::matches(Cli::command(), std::env::args_os()) {
        Ok(matches) => matches,
        Err(ConfigError::CommandLine(error)) => error.exit(),
        Err(error) => return CliError::Usage(error.to_string()).report(),
    };
    let done = Cli::from_arg_matches(&matches)
        .map_err(|error| CliError::Usage(error.to_string()))
        .and_then(|cli| {
            refuse_idle_target(&cli.command, &matches)?;
            // Not before: behind this a token of the command line looks like one of the environment.
            hide_from_process_list().map_err(|error| {
                let what =
                    format!("the token cannot be hidden: {error}; give it in ESPALIER_TOKEN");
                CliError::Failed(what)
            })?;
            dispatch(cli)
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

/// `--address` where no coordinator is asked anything would mislead: `run --address` does not run there, and
/// `serve --token` would not make that token valid. Environment variables may stand for other commands.
fn refuse_idle_target(command: &Command, matches: &ArgMatches) -> Result<(), CliError> {
    let given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    let given = ["address", "context", "token", "token_file"]
        .into_iter()
        .find(|id| given(id));
    let why = match command {
        Command::Run(_) => "`run` starts a coordinator of its own; `submit` takes --address",
        Command::Serve(_) if matches!(given, Some("token" | "token_file")) => {
            "`serve` makes tokens and takes none; --token-dir says where it keeps them"
        }
        Command::Login(_) if matches!(given, Some("address" | "context")) => {
            "`login` takes the address as its argument, and --name for the context"
        }
        Command::Serve(_) => "`serve` is the coordinator; --listen says where",
        Command::Schema
        | Command::Completions(_)
        | Command::Validate(_)
        | Command::Space(_)
        | Command::Sample(_)
        | Command::Draw(_)
        | Command::Diff(_)
        | Command::Preset(_)
        | Command::Replay(_)
        | Command::Journal(_)
        | Command::Simulate(_) => "this command asks no coordinator",
        _ => return Ok(()),
    };
    if let Some(id) = given {
        return Err(CliError::Usage(format!(
            "--{}: {why}",
            id.replace('_', "-")
        )));
    }
    Ok(())
}

fn dispatch(cli: Cli) -> Result<(), CliError> {
    match alone(&cli.command) {
        Some(done) => done,
        None => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|error| CliError::Failed(format!("cannot start threads: {error}")))?;
            runtime.block_on(with_coordinator(cli))
        }
    }
}

/// What needs neither a coordinator nor threads.
fn alone(command: &Command) -> Option<Result<(), CliError>> {
    Some(match command {
        Command::Schema => schema(),
        Command::Completions(args) => completions(args.shell),
        Command::Validate(args) => validate::validate(args),
        Command::Space(args) => space::space(args),
        Command::Sample(args) => sample::sample(args),
        Command::Draw(args) => draw::draw(args),
        Command::Diff(args) => diff::diff(args),
        Command::Preset(args) => preset::preset(args),
        Command::Replay(args) => replay::replay(args),
        _ => return None,
    })
}

async fn with_coordinator(cli: Cli) -> Result<(), CliError> {
    let target = match &cli.command {
        // They ask none that is named like this.
        Command::Run(_)
        | Command::Serve(_)
        | Command::Simulate(_)
        | Command::Login(_)
        | Command::Journal(_) => None,
        _ => Some(Target::of(&cli)?),
    };
    let Some(target) = target else {
        return match cli.command {
            Command::Run(args) => Box::pin(run::run(&args)).await,
            Command::Serve(args) => Box::pin(serve::serve(&args)).await,
            Command::Login(args) => access::login(&cli.token, &args).await,
            Command::Journal(args) => journal::journal(&args.command).await,
            // Listens to signals while its threads work.
            Command::Simulate(args) => simulate::simulate(args).await,
            _ => Ok(()),
        };
    };
    let connect = || Client::connect(&target);
    match cli.command {
        Command::Submit(args) => submit::submit(&target, &args).await,
        Command::Watch(args) => submit::watch(&target, &args).await,
        Command::Token(args) => access::token(&connect().await?, &args.command).await,
        Command::Dataset(args) => dataset::dataset(&connect().await?, &args.command).await,
        Command::Health(args) => health::health(&connect().await?, &args).await,
        Command::List(args) => query::list(&connect().await?, &args).await,
        Command::Status(args) => query::status(&connect().await?, &args).await,
        Command::Trials(args) => query::trials(&connect().await?, &args).await,
        Command::Best(args) => query::best(&connect().await?, &args).await,
        Command::Logs(args) => logs::logs(&connect().await?, &args).await,
        Command::Explain(args) => explain::explain(&connect().await?, &args).await,
        Command::Pause(args) => control::pause(&connect().await?, &args).await,
        Command::Resume(args) => control::resume(&connect().await?, &args).await,
        Command::Stop(args) => control::stop(&connect().await?, &args).await,
        Command::Set(args) => control::set(&connect().await?, &args).await,
        Command::Enqueue(args) => control::enqueue(&connect().await?, &args).await,
        Command::Ban(args) => control::ban(&connect().await?, &args).await,
        Command::Pin(args) => control::pin(&connect().await?, &args).await,
        Command::Cancel(args) => control::cancel(&connect().await?, &args).await,
        Command::Retry(args) => control::retry(&connect().await?, &args).await,
        Command::Fork(args) => control::fork(&connect().await?, &args).await,
        Command::Failures(args) => control::failures(&connect().await?, &args).await,
        Command::History(args) => control::history(&connect().await?, &args).await,
        // Done above, or by `alone`.
        Command::Run(_)
        | Command::Serve(_)
        | Command::Simulate(_)
        | Command::Login(_)
        | Command::Journal(_)
        | Command::Schema
        | Command::Completions(_)
        | Command::Validate(_)
        | Command::Space(_)
        | Command::Sample(_)
        | Command::Draw(_)
        | Command::Diff(_)
        | Command::Preset(_)
        | Command::Replay(_) => Ok(()),
    }
}

/// `espalier schema`.
fn schema() -> Result<(), CliError> {
    let mut out = stdout();
    out.json(&espalier_common::spec::schema())?;
    out.flush()
}

/// `espalier completions`.
fn completions(shell: clap_complete::Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "espalier", &mut script);
    let mut out = stdout();
    out.text(&String::from_utf8_lossy(&script))?;
    out.flush()
}
