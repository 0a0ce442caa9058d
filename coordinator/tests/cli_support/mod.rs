//! What the tests of the `espalier` program share: the program, a coordinator of it, a spec.

// Each test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A spec that needs no data.
pub(crate) const SPEC: &str = "\
name: tiny
hyperparameters: {x: {range: [0.0, 1.0]}, y: {choice: [1, 2, 3]}}
evaluator: mine
training: {epochs: 2}
objectives: [{minimize: loss}]
budget: {trials: 3}
";

/// The program, deaf to the environment of whoever runs the tests.
pub(crate) fn program(path: impl AsRef<Path>) -> Command {
    let mut command = Command::new(path.as_ref());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ESPALIER_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

/// The program that was built for these tests.
pub(crate) fn espalier() -> Command {
    program(env!("CARGO_BIN_EXE_espalier"))
}

/// What was written to stdout.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What was written to stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Writes a spec.
pub(crate) fn write_spec(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("spec.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A coordinator process; killed when dropped.
pub(crate) struct Coordinator {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl Coordinator {
    /// Starts one; port 0 takes a free one.
    pub(crate) fn start(data_dir: &Path, port: u16) -> Self {
        let mut child = espalier()
            .args(["serve", "--output", "json", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("--data-dir")
            .arg(data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        Self {
            child,
            address: ready["address"].as_str().unwrap().to_owned(),
        }
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A command that asks it.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Command {
        let mut command = espalier();
        command.args(arguments).args(["--address", &self.address]);
        command
    }

    /// Runs a command that asks it.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.ask(arguments).output().unwrap()
    }

    /// Runs a command that must go well and prints JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self
            .ask(arguments)
            .args(["--output", "json"])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        serde_json::from_str(&stdout(&output)).unwrap()
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
