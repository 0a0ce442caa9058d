//! `espalier run`: a search on this machine with a coordinator and workers of its own. They talk over
//! gRPC, leases and a journal exactly as on a cluster; only who starts whom is different.

mod coordinator;
mod folder;
mod interrupt;
mod spawner;
mod summary;
#[cfg(test)]
mod tests;
mod workers;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use espalier_common::spec::EvaluatorSpec;
use espalier_core::search::INLINE_EVALUATOR;
use espalier_proto::v1;
use espalier_runtime::Shutdown;

use super::args::{DEFAULT_DATA_ROOT, DEFAULT_WORKERS, NamedCommand, RunArgs};
use super::client::Client;
use super::error::{CliError, say};
use super::follow::{Until, follow};
use super::output::{stdout, table_width};
use super::progress::Progress;
use super::spec_file::SpecFile;
use super::submit::completed_or_failed;
use super::weights;
use coordinator::Coordinator;
use folder::RunFolder;
use spawner::{Groups, Spawner};
use summary::Summary;
use workers::{Place, WorkerPlan, Workers};

/// The folder of runs, in the working folder.
const RUNS: &str = "espalier-runs";
/// The rows of the table at the end.
const BEST: u32 = 10;
/// How often a search that somebody paused is looked at.
const PAUSED_LOOK: Duration = Duration::from_secs(1);

/// `espalier run`.
pub(super) async fn run(args: &RunArgs) -> Result<(), CliError> {
    let started = Instant::now();
    let file = SpecFile::load(&args.spec, &args.data.data_root)?;
    let evaluators = evaluators(args, &file)?;
    let program = workers::find_program(file.spec.evaluator.is_trainer())?;
    let tables = file.spec.evaluator.table().is_some();
    let path = args
        .data_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(RUNS).join(&file.spec.name));
    let folder = RunFolder::open(&path, &file, args.resume)?;
    coordinator::log_to(&folder.logs().join("coordinator.log"))?;
    let groups = Groups::default();
    let shutdown = interrupt::on_signals(groups.clone())?;
    let spawner = Spawner::start(groups)
        .map_err(|error| CliError::Failed(format!("cannot start a thread: {error}")))?;
    let (mut coordinator, client) = Coordinator::start(&folder).await?;
    let status = create(&client, &folder, &file).await?;
    say(&format!(
        "coordinator at {}, logs in {}",
        coordinator.address,
        folder.logs().display()
    ));
    let plan = WorkerPlan {
        program,
        address: coordinator.address.clone(),
        slots: args.slots_per_worker,
        threads: threads(args),
        data_root: args.data.data_root.clone(),
        evaluators,
        tables,
    };
    let ended = if status.phase == "finished" {
        say("the search has ended before; this is what it found");
        Ok(status)
    } else {
        let mut workers = Workers::start(&plan, places(args, &folder), &spawner);
        let ended = search(&client, &folder, &mut coordinator, &mut workers, &shutdown).await;
        workers.drain().await;
        ended
    };
    let summary = match ended {
        Ok(status) => summarise(&client, &folder, &file, status, started).await,
        Err(error) => Err(error),
    };
    let closed = coordinator.end().await;
    finish(args, &folder, summary, closed)
}

/// Prints what was found, or says why nothing was and how to go on.
fn finish(
    args: &RunArgs,
    folder: &RunFolder,
    summary: Result<Summary, CliError>,
    closed: Result<(), CliError>,
) -> Result<(), CliError> {
    let summary = summary.map_err(|error| match error {
        CliError::Interrupted(_) => CliError::Interrupted(format!(
            "interrupted; everything found so far is kept. To go on: {}",
            resume_command(args)
        )),
        CliError::Failed(reason) => CliError::Failed(format!(
            "{reason}\nlogs are in {}; to go on once it is mended: {}",
            folder.logs().display(),
            resume_command(args)
        )),
        other => other,
    })?;
    let mut out = stdout();
    if args.output.json() {
        out.json(&summary.view())?;
    } else {
        out.text(&summary.text(table_width()))?;
    }
    out.flush()?;
    closed?;
    completed_or_failed(&summary.status)
}

/// The command that goes on with this run: everything that was given and is not the default.
fn resume_command(args: &RunArgs) -> String {
    let mut words = vec![
        "espalier".to_owned(),
        "run".to_owned(),
        args.spec.display().to_string(),
        "--resume".to_owned(),
    ];
    if let Some(folder) = &args.data_dir {
        words.extend(["--data-dir".to_owned(), folder.display().to_string()]);
    }
    if args.data.data_root != Path::new(DEFAULT_DATA_ROOT) {
        let root = args.data.data_root.display().to_string();
        words.extend(["--data-root".to_owned(), root]);
    }
    let counts = [
        (
            "--workers",
            Some(args.workers).filter(|&count| count != DEFAULT_WORKERS),
        ),
        (
            "--slots-per-worker",
            Some(args.slots_per_worker).filter(|&count| count != 1),
        ),
        ("--threads", args.threads),
    ];
    for (option, count) in counts {
        words.extend(
            count
                .into_iter()
                .flat_map(|count| [option.to_owned(), count.to_string()]),
        );
    }
    if args.device != ["cpu"] {
        words.extend(["--device".to_owned(), args.device.join(",")]);
    }
    for NamedCommand { name, command } in &args.evaluator {
        words.extend(["--evaluator".to_owned(), format!("{name}={command}")]);
    }
    workers::quoted(&words)
}

/// The programs that workers offer: those of the command line, and the spec's own.
fn evaluators(args: &RunArgs, file: &SpecFile) -> Result<Vec<NamedCommand>, CliError> {
    let mut evaluators = args.evaluator.clone();
    if let Some(command) = file.command() {
        evaluators.push(NamedCommand {
            name: INLINE_EVALUATOR.to_owned(),
            command: workers::quoted(command),
        });
    }
    if let EvaluatorSpec::Named(wanted) = &file.spec.evaluator
        && !file.spec.evaluator.is_trainer()
        && !evaluators.iter().any(|offered| offered.name == *wanted)
    {
        return Err(CliError::Usage(format!(
            "{}: no worker of this run would offer the evaluator {wanted:?}; add --evaluator \
             {wanted}='COMMAND LINE'",
            file.path.display()
        )));
    }
    for (index, evaluator) in evaluators.iter().enumerate() {
        if evaluators[..index]
            .iter()
            .any(|other| other.name == evaluator.name)
        {
            return Err(CliError::Usage(format!(
                "--evaluator: the name {:?} is given twice ({INLINE_EVALUATOR:?} is that of a spec's \
                 own command)",
                evaluator.name
            )));
        }
    }
    Ok(evaluators)
}

/// Threads of each trial: as told, or the machine's cores shared out.
fn threads(args: &RunArgs) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = u32::try_from(cores).unwrap_or(u32::MAX);
    args.threads
        .unwrap_or_else(|| (cores / (args.workers * args.slots_per_worker)).max(1))
}

fn places(args: &RunArgs, folder: &RunFolder) -> Vec<Place> {
    (1..=args.workers)
        .zip(args.device.iter().cycle())
        .map(|(number, device)| {
            let name = format!("worker-{number}");
            Place {
                log: folder.worker_log(&name),
                work_dir: folder.worker(&name),
                device: device.clone(),
                name,
            }
        })
        .collect()
}

/// Creates the search, or finds it: the folder's id makes both the same call. A search that failed and was
/// paused goes on, now that the user has asked for it.
async fn create(
    client: &Client,
    folder: &RunFolder,
    file: &SpecFile,
) -> Result<v1::SearchStatus, CliError> {
    let id = folder.id().to_string();
    let status = match client.get(&id).await {
        Ok(status) => status,
        Err(CliError::NotFound(_)) => {
            let request = file.request(folder.id(), file.text.clone())?;
            match client.create(request).await {
                Ok(status) => status,
                Err(error @ (CliError::Spec(_) | CliError::Refused(_))) => {
                    folder.forget()?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    if status.phase == "paused" {
        return client.resume(&id).await;
    }
    Ok(status)
}

/// Follows the search to its end, or to whatever ends it early.
async fn search(
    client: &Client,
    folder: &RunFolder,
    coordinator: &mut Coordinator,
    workers: &mut Workers,
    shutdown: &Shutdown,
) -> Result<v1::SearchStatus, CliError> {
    let id = folder.id().to_string();
    tokio::select! {
        status = to_the_end(client, &id, shutdown) => status,
        reason = coordinator.ended() => {
            Err(CliError::Failed(format!("the coordinator cannot go on: {reason}")))
        }
        reason = workers.all_given_up() => Err(CliError::Failed(reason)),
    }
}

async fn to_the_end(
    client: &Client,
    id: &str,
    shutdown: &Shutdown,
) -> Result<v1::SearchStatus, CliError> {
    loop {
        let mut progress = Progress::for_people();
        let status = follow(client, id, Until::FinishedOrPaused, &mut progress, shutdown).await?;
        drop(progress);
        if status.phase != "paused" {
            return Ok(status);
        }
        if status.pause_cause() != v1::PauseCause::User {
            return Err(CliError::Failed(format!(
                "the search is paused, since it cannot go well: {}",
                super::render::clean(&status.reason, 2_000)
            )));
        }
        say(&format!(
            "paused by the user; to go on: espalier resume {id} --address {}",
            client.address()
        ));
        while client.get(id).await?.phase == "paused" {
            tokio::select! {
                () = tokio::time::sleep(PAUSED_LOOK) => {}
                () = shutdown.requested() => return Err(CliError::Interrupted(String::new())),
            }
        }
    }
}

/// Asks what was found and saves the best network.
async fn summarise(
    client: &Client,
    folder: &RunFolder,
    file: &SpecFile,
    status: v1::SearchStatus,
    started: Instant,
) -> Result<Summary, CliError> {
    let best = client.best(&folder.id().to_string(), BEST).await?;
    let saved = match best.first() {
        None => None,
        Some(trial) => {
            let built = built(file, trial);
            Some(weights::save(client, &status, trial, built.as_ref(), &folder.best()).await?)
        }
    };
    Ok(Summary {
        best,
        saved,
        folder: folder.path().to_owned(),
        logs: folder.logs(),
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        status,
    })
}

/// The network and recipe of a trial: what the weights fit into.
fn built(file: &SpecFile, trial: &v1::Trial) -> Option<serde_json::Value> {
    let candidate = serde_json::from_str(&trial.candidate_json).ok()?;
    let built = file
        .spec
        .space
        .build(&candidate, file.dataset.as_ref())
        .ok()?;
    Some(serde_json::json!({
        "network": built.network,
        "training": built.recipe,
        "dataset": file.dataset,
    }))
}
