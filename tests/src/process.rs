//! A child process that never outlives its test, its output kept in a file that a failing test prints.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::logs::Catalogue;

/// The path of a binary of this workspace, built in the same profile as the tests.
///
/// # Panics
/// When it has not been built: `cargo test -p espalier-tests` does not build the binaries it runs.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/<profile>/deps/<test> -> target/<profile>/<name>
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in target/<profile>/deps");
    let path = profile.join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --workspace --bins` first (`make test` does)",
        path.display()
    );
    path
}

/// A command that knows nothing of Espalier from the environment of whoever runs the tests.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("ESPALIER_") || name.starts_with("OTEL_") {
            command.env_remove(variable);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

/// A binary of this workspace as such a command.
#[must_use]
pub fn program(name: &str) -> Command {
    command(binary(name))
}

/// What `--evaluator` takes for the scripted evaluator, `evaluators/scripted.py`.
#[must_use]
pub fn scripted() -> String {
    let script = crate::repository().join("tests/evaluators/scripted.py");
    format!("scripted=python3 {}", script.display())
}

/// `espalier serve` with its data in `folder/coordinator`.
#[must_use]
pub fn serve_command(folder: &Path, listen: &str, options: &[&str]) -> Command {
    let mut command = program("espalier");
    command
        .args(["serve", "--output", "json", "--listen", listen])
        .arg("--data-dir")
        .arg(folder.join("coordinator"))
        .args(options);
    command
}

/// Gives a worker's command its name, its folders within `folder` (the one of its own called after its place), and
/// the scripted evaluator.
pub(crate) fn scripted_worker(command: &mut Command, (name, place): (&str, &str), folder: &Path) {
    command
        .args(["--name", name, "--threads", "1"])
        .arg("--data-root")
        .arg(folder.join("data"))
        .arg("--cache-dir")
        .arg(folder.join("cache"))
        .arg("--work-dir")
        .arg(folder.join(format!("work-{place}")))
        .arg("--evaluator")
        .arg(scripted())
        .env("ESPALIER_TEST_CONTROL", folder.join("control"));
}

/// The spec of a random search with the scripted evaluator.
#[must_use]
pub fn scripted_spec(name: &str, trials: u32) -> String {
    format!(
        "name: {name}
hyperparameters: {{x: {{range: [0.0, 1.0]}}, y: {{choice: [1, 2, 3]}}}}
evaluator: scripted
training: {{epochs: 2}}
searcher: random
objectives: [{{maximize: score}}]
budget: {{trials: {trials}}}
seed: 7
"
    )
}

/// The line that `espalier serve --output json` prints when it is ready.
///
/// # Errors
/// It ended before, or printed something else.
pub fn ready(child: &mut Child) -> Result<Value> {
    let stdout = child.stdout.take().context("its stdout is no pipe")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    serde_json::from_str(&line).with_context(|| format!("serve printed {line:?}"))
}

/// The token of a role in such a line.
#[must_use]
pub fn token(ready: &Value, role: &str) -> Option<String> {
    let tokens = ready["tokens"].as_array()?;
    let found = tokens.iter().find(|token| token["role"] == role)?;
    found["token"].as_str().map(str::to_owned)
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its stderr (and stdout, unless piped by the caller) in `folder/name.log`.
    ///
    /// # Errors
    /// The log cannot be written or the program cannot be started.
    pub fn start(
        name: &str,
        folder: &Path,
        mut command: Command,
        pipe_stdout: bool,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        let stdout = if pipe_stdout {
            Stdio::piped()
        } else {
            file.try_clone()?.into()
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Starts `espalier serve` with its data in `folder/coordinator`, and waits until it is ready; what it printed
    /// then is beside it.
    ///
    /// # Errors
    /// It ends before, with what is in its log.
    pub fn serve(folder: &Path, listen: &str, options: &[&str]) -> Result<(Self, Value)> {
        Self::serve_by(folder, serve_command(folder, listen, options))
    }

    /// As [`Process::serve`], by a command that is, or runs, the one of [`serve_command`].
    ///
    /// # Errors
    /// It ends before, with what is in its log.
    pub fn serve_by(folder: &Path, command: Command) -> Result<(Self, Value)> {
        let mut process = Self::start("coordinator", folder, command, true)?;
        let ready = ready(&mut process.child).with_context(|| process.log())?;
        Ok((process, ready))
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.id())?);
        kill(pid, signal).with_context(|| format!("{} has ended already", self.name))
    }

    /// `kill -9`, and waits for its end.
    ///
    /// # Errors
    /// It had ended by itself: the fault would not have fired.
    pub fn kill_9(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself ({status}):\n{}", self.name, self.log());
        }
        self.signal(Signal::SIGKILL)?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!(
                    "{} did not end within {limit:?}:\n{}",
                    self.name,
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.name, self.log());
            return;
        }
        // Whatever a test is about, its processes log nothing that is not documented.
        for line in self.log().lines() {
            if let Err(error) = Catalogue::get().check(line) {
                panic!("{}: {error}: {line}", self.name);
            }
        }
    }
}
