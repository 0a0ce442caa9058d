//! The workers of a run: child processes that are started again when they die, a bounded number of times.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use espalier_common::table::TABLE;
use espalier_runtime::backoff::Waits;
use espalier_runtime::logging::millis;
use espalier_runtime::secrets::{TOKEN_FILE_VARIABLE, TOKEN_VARIABLE};
use espalier_runtime::{Shutdown, ending};
use tokio::task::JoinSet;

use super::super::args::NamedCommand;
use super::super::error::{CliError, say};
use super::spawner::{Grouped, Spawner};

/// The worker's program, found beside this one.
const PROGRAM: &str = "espalier-worker";
/// The built-in trainer's, which the worker looks for beside itself.
const TRAINER_PROGRAM: &str = "espalier-trainer";
/// Deaths in a row after which a worker is given up: with the waits between them about ten seconds.
const MOST_DEATHS: u32 = 6;
/// A worker that lived this long was sound: its next death is a first one.
const SOUND_AFTER: Duration = Duration::from_secs(60);
/// What a worker is told its end may take, and a margin: it hands jobs back and delivers results.
const DRAIN: Duration = Duration::from_secs(15);
/// The end of a log that is searched for its last line.
const LOG_TAIL_BYTES: u64 = 8 * 1024;

/// How workers are started.
#[derive(Clone, Debug)]
pub(super) struct WorkerPlan {
    pub(super) program: PathBuf,
    pub(super) address: String,
    pub(super) slots: u32,
    pub(super) threads: u32,
    pub(super) data_root: PathBuf,
    pub(super) evaluators: Vec<NamedCommand>,
    /// Whether results are looked up in a table, which a worker without any program can do.
    pub(super) tables: bool,
}

/// One worker of it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) log: PathBuf,
    pub(super) work_dir: PathBuf,
    pub(super) device: String,
}

/// The workers of a run.
#[derive(Debug)]
pub(super) struct Workers {
    tasks: JoinSet<Result<(), String>>,
    shutdown: Shutdown,
}

impl Workers {
    /// Starts them.
    pub(super) fn start(plan: &WorkerPlan, places: Vec<Place>, spawner: &Spawner) -> Self {
        let shutdown = Shutdown::new();
        let mut tasks = JoinSet::new();
        for place in places {
            let keeper = Keeper {
                plan: plan.clone(),
                place,
                spawner: spawner.clone(),
                shutdown: shutdown.clone(),
            };
            tasks.spawn(keeper.keep());
        }
        Self { tasks, shutdown }
    }

    /// Waits until the last worker is given up, and says why.
    pub(super) async fn all_given_up(&mut self) -> String {
        let mut reason = "no worker was started".to_owned();
        while let Some(end) = self.tasks.join_next().await {
            reason = match end {
                Ok(Err(reason)) => reason,
                Ok(Ok(())) => "the workers were asked to end".to_owned(),
                Err(error) => error.to_string(),
            };
            if !self.tasks.is_empty() {
                say(&format!("{reason}; the other workers go on"));
            }
        }
        reason
    }

    /// Asks all to end, and waits for it.
    pub(super) async fn drain(mut self) {
        self.shutdown.request();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Keeps one worker running.
struct Keeper {
    plan: WorkerPlan,
    place: Place,
    spawner: Spawner,
    shutdown: Shutdown,
}

impl Keeper {
    /// Until it is asked to end, dies too often, or of what would end it again: then says why.
    async fn keep(self) -> Result<(), String> {
        let name = &self.place.name;
        let (mut deaths, mut waits) = (0, Waits::default());
        loop {
            let started = Instant::now();
            let (died, lasting) = match self.start().await {
                Err(error) => (format!("cannot be started: {error}"), false),
                Ok(mut child) => {
                    tracing::info!(worker = name, process = child.id(), "worker started");
                    tokio::select! {
                        status = child.wait() => {
                            let lasting = status.as_ref().is_ok_and(is_lasting);
                            (death(status, &self.place.log), lasting)
                        }
                        () = self.shutdown.requested() => {
                            drain(&mut child, name).await;
                            return Ok(());
                        }
                    }
                }
            };
            if started.elapsed() > SOUND_AFTER {
                deaths = 0;
                waits.reset();
            }
            deaths += 1;
            let text = format!("{name} {died}; its log: {}", self.place.log.display());
            tracing::warn!(worker = name, deaths, reason = died, "worker died");
            if lasting {
                return Err(format!("{text}; it would end like this again"));
            }
            if deaths >= MOST_DEATHS {
                return Err(format!("{text}; given up after {deaths} times in a row"));
            }
            let wait = waits.next_wait();
            tracing::info!(
                worker = name,
                wait_ms = millis(wait),
                "worker is started again"
            );
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shutdown.requested() => return Ok(()),
            }
        }
    }

    async fn start(&self) -> std::io::Result<Grouped> {
        let command = command(&self.plan, &self.place)?;
        self.spawner.spawn(command).await
    }
}

async fn drain(child: &mut Grouped, name: &str) {
    child.terminate();
    if tokio::time::timeout(DRAIN, child.wait()).await.is_err() {
        tracing::warn!(worker = name, "worker did not end in time and is killed");
        child.kill();
        let _ = child.wait().await;
    }
}

fn command(plan: &WorkerPlan, place: &Place) -> std::io::Result<Command> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&place.log)?;
    let mut command = Command::new(&plan.program);
    command
        .arg("--join")
        .arg(&plan.address)
        .arg("--name")
        .arg(&place.name)
        .arg("--slots")
        .arg(plan.slots.to_string())
        .arg("--threads")
        .arg(plan.threads.to_string())
        .arg("--device")
        .arg(&place.device)
        .arg("--data-root")
        .arg(&plan.data_root)
        .arg("--work-dir")
        .arg(&place.work_dir)
        // Of another coordinator: this one is this process.
        .env_remove(TOKEN_VARIABLE)
        .env_remove(TOKEN_FILE_VARIABLE);
    for evaluator in &plan.evaluators {
        command
            .arg("--evaluator")
            .arg(format!("{}={}", evaluator.name, evaluator.command));
    }
    if plan.tables {
        command.arg("--evaluator").arg(TABLE);
    }
    command
        // A run's workers live as long as the run, whatever other workers of this user are told.
        .env_remove("ESPALIER_UNTIL_IDLE")
        .env_remove("ESPALIER_CONFIG")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// Whether the worker says itself that another start is of no use.
fn is_lasting(status: &ExitStatus) -> bool {
    status.code() == Some(i32::from(ending::WRONG_SETTINGS))
}

/// How it ended, and the last thing it said.
fn death(status: std::io::Result<ExitStatus>, log: &Path) -> String {
    let how = match status {
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("was lost: {error}"),
    };
    match last_line(log) {
        Some(line) => format!("{how} ({})", super::super::render::clean(&line, 300)),
        None => how,
    }
}

fn last_line(log: &Path) -> Option<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};

    let mut file = std::fs::File::open(log).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LOG_TAIL_BYTES)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    String::from_utf8_lossy(&bytes)
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

/// The worker's program, beside this one; with the trainer's, if that is needed, beside it in turn.
pub(super) fn find_program(trainer: bool) -> Result<PathBuf, CliError> {
    let own = std::env::current_exe()
        .map_err(|error| CliError::Failed(format!("cannot find this program's file: {error}")))?;
    let worker = own.with_file_name(PROGRAM);
    let mut needed = vec![worker.clone()];
    // The worker takes the trainer's path from there as well.
    if trainer && std::env::var_os("ESPALIER_TRAINER").is_none() {
        needed.push(own.with_file_name(TRAINER_PROGRAM));
    }
    match needed.iter().find(|program| !program.is_file()) {
        None => Ok(worker),
        Some(missing) => Err(CliError::Failed(format!(
            "{} is not there: build all of Espalier (cargo build --release --workspace --bins), or put \
             {PROGRAM} and {TRAINER_PROGRAM} beside espalier",
            missing.display()
        ))),
    }
}

/// A command line that is split back into the same words.
pub(super) fn quoted(words: &[String]) -> String {
    let quote = |word: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::spawner::Groups;
    use super::*;

    fn plan(program: &Path) -> WorkerPlan {
        WorkerPlan {
            program: program.to_owned(),
            address: "http://127.0.0.1:1".to_owned(),
            slots: 2,
            threads: 3,
            data_root: PathBuf::from("data"),
            evaluators: vec![NamedCommand {
                name: "mine".to_owned(),
                command: "python3 train.py".to_owned(),
            }],
            tables: true,
        }
    }

    fn place(folder: &Path) -> Place {
        Place {
            name: "worker-1".to_owned(),
            log: folder.join("worker-1.log"),
            work_dir: folder.join("work"),
            device: "cuda:1".to_owned(),
        }
    }

    fn script(folder: &Path, body: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;

        let path = folder.join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        let words = ["python3", "my train.py", "--x=1", "it's", ""].map(str::to_owned);
        assert_eq!(
            quoted(&words),
            r#"python3 'my train.py' --x=1 'it'\''s' ''"#
        );
    }

    /// Why a worker of this script, which says one line, is given up, and how often it was started.
    async fn given_up(body: &str) -> (String, usize) {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), body);
        let spawner = Spawner::start(Groups::default()).unwrap();
        let mut workers = Workers::start(&plan(&program), vec![place(folder.path())], &spawner);
        let reason = workers.all_given_up().await;
        let log = std::fs::read_to_string(folder.path().join("worker-1.log")).unwrap();
        (reason, log.lines().count())
    }

    #[tokio::test]
    async fn a_worker_that_keeps_dying_is_given_up_with_its_last_words() {
        let (reason, starts) = given_up("echo no disk left >&2; exit 3").await;
        assert!(
            reason.contains("no disk left") && reason.contains("exit status: 3"),
            "{reason}"
        );
        assert_eq!(starts, MOST_DEATHS as usize);
    }

    #[tokio::test]
    async fn a_worker_that_would_end_the_same_again_is_started_once() {
        let (reason, starts) = given_up("echo no such option >&2; exit 2").await;
        assert!(reason.contains("no such option"), "{reason}");
        assert_eq!(starts, 1);
    }

    #[tokio::test]
    async fn workers_get_their_options_and_end_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(
            folder.path(),
            "trap 'echo drained; exit 0' TERM\necho \"$@\"\nwhile :; do sleep 0.05; done",
        );
        let spawner = Spawner::start(Groups::default()).unwrap();
        let workers = Workers::start(&plan(&program), vec![place(folder.path())], &spawner);
        let log = folder.path().join("worker-1.log");
        while std::fs::read_to_string(&log).unwrap_or_default().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        workers.drain().await;
        let text = std::fs::read_to_string(&log).unwrap();
        let work = folder.path().join("work");
        assert_eq!(
            text,
            format!(
                "--join http://127.0.0.1:1 --name worker-1 --slots 2 --threads 3 --device cuda:1 \
                 --data-root data --work-dir {} --evaluator mine=python3 train.py --evaluator table\ndrained\n",
                work.display()
            )
        );
    }
}
