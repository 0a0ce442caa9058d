//! Processes that end at a step.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use espalier_coordinator::steps::Step;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli_support::espalier;
use crate::support::LIMIT;

/// What makes a command end when it comes to a step for the `times`th time.
pub(crate) fn ending_at(mut command: Command, step: Step, times: u32) -> Command {
    command.env("ESPALIER_KILL_AT", format!("{}:{times}", step.name()));
    command
}

/// Asserts that a process was killed, and that it was at this step.
pub(crate) fn assert_killed(status: ExitStatus, stderr: &str, step: Step) {
    let killed = status.signal() == Some(Signal::SIGKILL as i32);
    let said = stderr.contains(&format!("killed at {}\n", step.name()));
    assert!(
        killed && said,
        "not killed at {}: {status}\n{stderr}",
        step.name()
    );
}

/// Asserts that a command that ended at a step was killed there.
pub(crate) fn assert_command_killed(output: &Output, step: Step) {
    assert_killed(
        output.status,
        &String::from_utf8_lossy(&output.stderr),
        step,
    );
}

/// A coordinator process that may end by itself.
pub(crate) struct Life {
    child: Child,
    /// Where it listens; `None`: it ended before it did.
    pub(crate) address: Option<String>,
    log: PathBuf,
}

impl Life {
    /// Starts one that ends at a step, or one that does not.
    pub(crate) fn start(data_dir: &Path, end: Option<(Step, u32)>) -> Self {
        let log = data_dir.with_extension("log");
        let mut command = espalier();
        command
            .args(["serve", "--output", "json", "--listen", "127.0.0.1:0"])
            // A lease whose reply was lost is not waited for long.
            .args(["--lease-ttl-ms", "400", "--data-dir"])
            .arg(data_dir)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap());
        if let Some((step, times)) = end {
            command = ending_at(command, step, times);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready = serde_json::from_str::<serde_json::Value>(&line).ok();
        let address = ready.map(|ready| ready["address"].as_str().unwrap().to_owned());
        Self {
            child,
            address,
            log,
        }
    }

    /// Waits for its end, which nobody else asks for. Whether it was the one at the step.
    pub(crate) fn ended_at(mut self, step: Step) {
        let status = self.wait();
        let stderr = std::fs::read_to_string(&self.log).unwrap();
        assert_killed(status, &stderr, step);
    }

    /// Asks it to end in order, and waits for that.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )
        .unwrap();
        let status = self.wait();
        (status, std::fs::read_to_string(&self.log).unwrap())
    }

    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            let log = std::fs::read_to_string(&self.log).unwrap();
            assert!(Instant::now() < until, "it does not end:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
