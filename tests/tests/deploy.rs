//! What `deploy/` offers: checked by `deploy/check` as far as this machine has the tools, and the command lines
//! of the units and the Slurm script are run here, without systemd and without Slurm.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use espalier_tests::{Process, binary, command, repository, scripted, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
/// As docs/deploy.md says.
const DRAINED_WITHIN: Duration = Duration::from_secs(17);
/// What the script says beside the coordinator's address.
const SLURM: [(&str, &str); 4] = [
    ("SLURM_JOB_ID", "100"),
    ("SLURM_ARRAY_JOB_ID", "99"),
    ("SLURM_ARRAY_TASK_ID", "7"),
    ("SLURM_CPUS_PER_TASK", "1"),
];

/// A program without what this shell says about Espalier or Slurm.
fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = command(program);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("SLURM_") {
            command.env_remove(variable);
        }
    }
    command
}

/// The coordinator of `espalier.service`, with folders of a test in place of the machine's.
struct Unit {
    folder: TempDir,
    coordinator: Process,
    /// `127.0.0.1:port`.
    host: String,
}

/// What a unit starts, as a process of this one: a shell expands what systemd would.
fn start_unit(unit: &str, name: &str, folder: &Path) -> Result<Process> {
    let text = std::fs::read_to_string(repository().join("deploy/systemd").join(unit))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .context("ExecStart")?;
    let programs = binary("espalier");
    let programs = programs.parent().context("a folder")?.to_string_lossy();
    let settings = folder.join("etc").to_string_lossy().into_owned();
    let line = line
        .replace("/opt/espalier/bin", &programs)
        .replace("/etc/espalier", &settings);
    let mut command = clean("sh");
    command.arg("-c").arg(format!("exec {line}"));
    for variable in [
        "STATE_DIRECTORY",
        "CACHE_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
    ] {
        let path = folder.join(name).join(variable);
        std::fs::create_dir_all(&path)?;
        command.env(variable, path);
    }
    command.env("ESPALIER_TEST_CONTROL", folder.join("control"));
    Process::start(name, folder, command, false)
}

impl Unit {
    async fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        for name in ["etc", "control", "data"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let settings = "listen = \"127.0.0.1:0\"\ntls = \"on\"\n";
        std::fs::write(folder.path().join("etc/coordinator.toml"), settings)?;
        let coordinator = start_unit("espalier.service", "coordinator", folder.path())?;
        let host = wait_until("the coordinator's address", LIMIT, || async {
            let log = coordinator.log();
            let address = log.split("coordinator at https://").nth(1);
            Ok(address.and_then(|rest| Some(rest.split_once(',')?.0.to_owned())))
        })
        .await?;
        Ok(Self {
            folder,
            coordinator,
            host,
        })
    }

    fn token_file(&self, role: &str) -> std::path::PathBuf {
        let tokens = self
            .folder
            .path()
            .join("coordinator/STATE_DIRECTORY/tokens");
        tokens.join(format!("{role}.token"))
    }

    fn espalier(&self, role: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = clean(binary("espalier"));
        command.args(["--address", &format!("https://{}", self.host)]);
        command.arg("--token-file").arg(self.token_file(role));
        Ok(command
            .args(arguments)
            .args(["--output", "json"])
            .output()?)
    }

    fn admin(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.espalier("admin", arguments)?;
        ensure!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// A search whose trials take an hour.
    fn submit_long(&self) -> Result<()> {
        std::fs::write(self.folder.path().join("control/seconds"), "3600")?;
        let spec = self.folder.path().join("long.yaml");
        let text = "name: long\nhyperparameters: {x: {range: [0.0, 1.0]}, y: {choice: [1, 2]}}\n\
                    evaluator: scripted\ntraining: {epochs: 1}\nsearcher: random\n\
                    objectives: [{maximize: score}]\nbudget: {trials: 1}\nseed: 1\n";
        std::fs::write(&spec, text)?;
        self.admin(&["submit", &spec.to_string_lossy()])?;
        Ok(())
    }

    async fn trial_is(&self, state: &str) -> Result<()> {
        wait_until(&format!("a trial that is {state}"), LIMIT, || async {
            let trials = self.admin(&["trials", "long"])?;
            Ok((trials[0]["state"] == state).then_some(()))
        })
        .await
    }

    /// SIGTERM while a trial runs: it is handed back, and the worker ends well in the time that is stated.
    async fn drains(&self, mut worker: Process) -> Result<()> {
        self.submit_long()?;
        self.trial_is("running").await?;
        worker.signal(Signal::SIGTERM)?;
        let status = worker.wait(DRAINED_WITHIN)?;
        ensure!(status.success(), "{status}: {}", worker.log());
        self.trial_is("queued").await
    }
}

#[tokio::test]
async fn the_command_lines_of_the_units_make_a_coordinator_and_a_worker_that_drains() -> Result<()>
{
    let mut unit = Unit::start().await?;
    let folder = unit.folder.path();
    let settings = format!(
        "join = \"{}\"\nname = \"machine\"\nevaluator = [\"{}\"]\ntrainer = \"none\"\n",
        unit.host,
        scripted()
    );
    std::fs::write(folder.join("etc/worker.toml"), settings)?;
    let credentials = folder.join("worker/CREDENTIALS_DIRECTORY");
    std::fs::create_dir_all(&credentials)?;
    std::fs::copy(unit.token_file("worker"), credentials.join("token"))?;
    let worker = start_unit("espalier-worker.service", "worker", folder)?;
    let alive = folder.join("worker/STATE_DIRECTORY/alive");
    wait_until("the worker's sign of life", LIMIT, || async {
        Ok(alive.exists().then_some(()))
    })
    .await?;
    unit.drains(worker).await?;
    unit.coordinator.signal(Signal::SIGTERM)?;
    let status = unit.coordinator.wait(DRAINED_WITHIN)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// The shell lines of a section of docs/deploy.md, with the machine's folders replaced by those of a test, and without
/// what only a machine with systemd and a release can do.
fn documented(section: &str, folder: &Path) -> Result<String> {
    let text = std::fs::read_to_string(repository().join("docs/deploy.md"))?;
    let (_, rest) = text
        .split_once(&format!("\n## {section}\n"))
        .context("a section")?;
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let blocks = section.split("```sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or(block).lines());
    let here = |line: &&str| line.starts_with("install ") || line.starts_with("sed ");
    let lines = lines.filter(here).map(|line| {
        line.replace(" /opt/", &format!(" {}/opt/", folder.display()))
            .replace(" /etc/", &format!(" {}/etc/", folder.display()))
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_lines_of_the_document_make_settings_that_other_machines_can_join_by() -> Result<()> {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let folder = TempDir::new()?;
    std::fs::create_dir(folder.path().join("opt"))?;
    symlink(repository(), folder.path().join("opt/espalier"))?;
    let lines = documented("systemd", folder.path())?;
    let done = clean("sh").args(["-e", "-c", &lines]).output()?;
    ensure!(done.status.success(), "{lines}\n{done:?}");
    let has = |file: &str, wanted: &str| -> Result<()> {
        let text = std::fs::read_to_string(folder.path().join("etc/espalier").join(file))?;
        let found = text.lines().any(|line| line == wanted);
        ensure!(found, "{file} has no line {wanted}: {text}");
        Ok(())
    };
    // Beyond loopback, so with TLS and tokens.
    has("coordinator.toml", "listen = \"0.0.0.0:7777\"")?;
    has("worker.toml", "join = \"coordinator:7777\"")?;
    has("worker.toml", "data_root = \"/data\"")?;
    let token = folder.path().join("etc/espalier/worker.token");
    let mode = std::fs::metadata(token)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "{mode:o}");
    Ok(())
}

#[tokio::test]
async fn a_unit_whose_settings_have_loopback_alone_says_that_there_are_no_tokens() -> Result<()> {
    let folder = TempDir::new()?;
    std::fs::create_dir(folder.path().join("etc"))?;
    let settings = "listen = \"127.0.0.1:0\"\n";
    std::fs::write(folder.path().join("etc/coordinator.toml"), settings)?;
    let coordinator = start_unit("espalier.service", "coordinator", folder.path())?;
    wait_until("a warning", LIMIT, || async {
        let log = coordinator.log();
        let mut lines = log.lines().filter(|line| line.contains("\"WARN\""));
        Ok(lines
            .any(|line| line.contains("no tokens are made"))
            .then_some(()))
    })
    .await
}

#[tokio::test]
async fn the_slurm_script_is_a_worker_that_drains_on_the_signal_before_the_time_limit() -> Result<()>
{
    let unit = Unit::start().await?;
    let mut command = clean("bash");
    command
        .arg(repository().join("deploy/slurm/workers.sbatch"))
        .arg(&unit.host)
        .envs(SLURM)
        .env("ESPALIER_BIN", binary("espalier-worker").with_file_name(""))
        .env("ESPALIER_TOKEN_FILE", unit.token_file("worker"))
        .env("ESPALIER_SCRATCH", unit.folder.path())
        .env("ESPALIER_EVALUATOR", scripted())
        .env("ESPALIER_TRAINER", "none")
        .env("ESPALIER_TEST_CONTROL", unit.folder.path().join("control"));
    let worker = Process::start("slurm", unit.folder.path(), command, false)?;
    wait_until("the worker", LIMIT, || async {
        let cluster = unit.admin(&["status"])?;
        Ok((cluster["workers"][0]["name"] == "slurm-99-7").then_some(()))
    })
    .await?;
    unit.drains(worker).await
}

#[test]
fn the_slurm_script_says_what_is_missing() -> Result<()> {
    for (arguments, variables, said) in [
        (vec![], &SLURM[..], "name the coordinator"),
        (vec!["127.0.0.1:1"], &[][..], "run it with sbatch"),
    ] {
        let mut command = clean("bash");
        command.arg(repository().join("deploy/slurm/workers.sbatch"));
        command.args(arguments).envs(variables.iter().copied());
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && text.contains(said), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn health_tells_a_coordinator_that_takes_calls_from_none_and_from_another_one() -> Result<()>
{
    let unit = Unit::start().await?;
    let healthy = unit.espalier("viewer", &["health"])?;
    let answer: Value = serde_json::from_slice(&healthy.stdout)?;
    ensure!(
        healthy.status.code() == Some(0) && answer["serving"] == true,
        "{answer}"
    );
    // A token that was revoked names the authority all the same, and is not sent.
    let tokens = unit.admin(&["token", "list"])?;
    let tokens = tokens.as_array().context("tokens")?;
    let viewer = tokens.iter().find(|token| token["role"] == "viewer");
    let id = viewer
        .and_then(|token| token["id"].as_str())
        .context("an id")?;
    unit.admin(&["token", "revoke", id])?;
    ensure!(unit.espalier("viewer", &["health"])?.status.success());
    ensure!(unit.espalier("viewer", &["list"])?.status.code() == Some(5));

    let other = Unit::start().await?;
    let mut command = clean(binary("espalier"));
    command.args(["health", "--address", &format!("https://{}", other.host)]);
    command.arg("--token-file").arg(unit.token_file("viewer"));
    let refused = command.output()?;
    ensure!(refused.status.code() == Some(5), "{refused:?}");

    let Unit {
        mut coordinator,
        folder,
        host,
    } = unit;
    coordinator.signal(Signal::SIGTERM)?;
    coordinator.wait(DRAINED_WITHIN)?;
    let gone = Unit {
        folder,
        coordinator,
        host,
    }
    .espalier("viewer", &["health"])?;
    ensure!(gone.status.code() == Some(4), "{gone:?}");
    Ok(())
}

#[test]
fn what_is_in_deploy_passes_every_check_that_this_machine_permits() -> Result<()> {
    let programs = binary("espalier");
    let mut command = clean("python3");
    command.arg(repository().join("deploy/check"));
    command
        .arg("--bin")
        .arg(programs.parent().context("a folder")?);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    // Which checks were not made is in the output of `cargo test -- --nocapture`, and of `make test-deploy`.
    print!("{said}");
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for done in [
        "options and variables against --help",
        "times to end",
        "bash -n",
    ] {
        ensure!(said.contains(done), "{done} was not checked: {said}");
    }
    Ok(())
}
