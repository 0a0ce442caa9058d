//! A coordinator as a process of its own, and what it costs.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use espalier_runtime::tls::{ClientTls, JoinToken};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What `/proc` counts processor time in: the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// `espalier`, deaf to the environment of whoever runs this.
fn espalier() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_espalier"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ESPALIER_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

/// A child process; killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    fn stat(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.0.id());
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Processor time so far, in seconds.
    pub(crate) fn processor_seconds(&self) -> f64 {
        let stat = self.stat("stat");
        // The name, in brackets, may hold anything; user and system time are the 12th and 13th field after it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks: f64 = times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        ticks / TICKS_PER_SECOND
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = self.stat("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `espalier serve`, with its data in a folder.
pub(crate) struct Coordinator {
    pub(crate) process: Process,
    pub(crate) url: String,
    log: PathBuf,
    tokens: Vec<(String, JoinToken)>,
}

impl Coordinator {
    /// Starts one on a free port of loopback and waits until it takes calls.
    pub(crate) fn start(folder: &Path, options: &[&str]) -> Self {
        let log = folder.join("coordinator.log");
        let mut child = espalier()
            .args(["serve", "--output", "json", "--listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("the folder is writable"))
            .spawn()
            .expect("espalier is built");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is a pipe");
        let process = Process(child);
        let read = BufReader::new(stdout).read_line(&mut line);
        read.expect("the ready line");
        let ready: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{}", std::fs::read_to_string(&log).unwrap_or_default()));
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let tokens = ready["tokens"].as_array().cloned().unwrap_or_default();
        let token = |made: &serde_json::Value| {
            let token = text(&made["token"]).parse().expect("a token");
            (text(&made["role"]), token)
        };
        Self {
            process,
            url: text(&ready["address"]),
            log,
            tokens: tokens.iter().map(token).collect(),
        }
    }

    /// The token of a role, and whom it trusts; none without TLS.
    pub(crate) fn token(&self, role: &str) -> Option<(JoinToken, ClientTls)> {
        let (_, token) = self.tokens.iter().find(|(of, _)| of == role)?;
        let tls = ClientTls::new(token.authority, None).expect("what is built is fixed");
        Some((token.clone(), tls))
    }

    /// How many lines of its log have this in their message.
    pub(crate) fn lines_with(&self, text: &str) -> usize {
        let file = File::open(&self.log).expect("its log");
        let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        let has = |line: &Vec<u8>| String::from_utf8_lossy(line).contains(text);
        lines.filter(has).count()
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) {
        let pid = i32::try_from(self.process.0.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        let status = self.process.0.wait().expect("it ends");
        assert!(status.success(), "{status}");
    }
}
