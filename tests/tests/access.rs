//! Joining over TLS with real processes: tokens, certificates, roles, and what becomes of those who have
//! none, or a wrong one.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use espalier_tests::{Secured, forged, program, serve_secured, stderr, wait_until};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_worker_joins_by_its_token_and_completes_a_search() -> Result<()> {
    let cluster = Secured::start(&[])?;
    let token = cluster.token("worker");
    let worker = cluster.worker("node-1", Some(&token))?;
    cluster.submit("joined", 4)?;
    let status = cluster.finished("joined").await?;
    assert_eq!(status["trials"]["completed"], 4, "{status}");

    // No secret in logs, nor in the list of processes.
    let secret = &token[60..];
    let process = Path::new("/proc").join(worker.id().to_string());
    let line = std::fs::read_to_string(process.join("cmdline"))?;
    assert!(line.contains("--join") && !line.contains(secret), "{line}");
    for log in [worker.log(), cluster.coordinator.log()] {
        assert!(log.contains("node-1"), "{log}");
        for role in ["admin", "viewer", "worker"] {
            assert!(!log.contains(&cluster.token(role)[60..]), "{log}");
        }
    }
    // Nor do programs of users get any.
    let environments = scripted_environments(cluster.folder.path())?;
    assert!(!environments.is_empty());
    for environment in environments {
        assert!(!environment.contains("ESPALIER_TOKEN"), "{environment}");
        assert!(!environment.contains(secret), "{environment}");
    }
    // And in the data folder only their hashes.
    for entry in std::fs::read_dir(cluster.folder.path().join("coordinator"))? {
        let path = entry?.path();
        if path.is_file() {
            let bytes = std::fs::read(&path)?;
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    Ok(())
}

/// The environments of the scripted evaluators that run with this folder.
fn scripted_environments(folder: &Path) -> Result<Vec<String>> {
    let control = format!("ESPALIER_TEST_CONTROL={}", folder.display());
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc")? {
        let process = process?.path();
        // Others end meanwhile, or are none of ours.
        let read = |file: &str| std::fs::read(process.join(file)).unwrap_or_default();
        let text = |file: &str| String::from_utf8_lossy(&read(file)).into_owned();
        let environment = text("environ");
        let line = text("cmdline");
        // The worker, whose options name it too, has its token.
        let (program, rest) = line.split_once('\0').unwrap_or_default();
        let is_it = program.contains("python") && rest.contains("scripted.py\0");
        if environment.contains(&control) && is_it {
            found.push(environment);
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_token_on_the_command_line_is_gone_from_the_list_of_processes() -> Result<()> {
    let cluster = Secured::start(&[])?;
    let token = cluster.token("viewer");
    let mut command = program("espalier");
    command.args([
        "logs",
        "-f",
        "--address",
        &format!("https://{}", cluster.host),
    ]);
    command.args(["--token", &token]);
    let mut reader = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let process = Path::new("/proc").join(reader.id().to_string());
    let gone = wait_until("a command line without the token", LIMIT, || async {
        let line = std::fs::read_to_string(process.join("cmdline"))?;
        Ok((line.contains("logs") && !line.contains(&token[60..])).then_some(()))
    })
    .await;
    let runs = reader.try_wait()?.is_none();
    reader.kill()?;
    reader.wait()?;
    gone?;
    assert!(runs, "it follows the log");
    Ok(())
}

#[tokio::test]
async fn a_member_comes_back_without_a_token_and_after_the_coordinator_was_killed() -> Result<()> {
    let mut cluster = Secured::start(&[])?;
    let worker = cluster.worker("node-1", Some(&cluster.token("worker")))?;
    wait_until("the worker", LIMIT, || async {
        Ok((cluster.workers()? == ["node-1"]).then_some(()))
    })
    .await?;
    worker.kill_9()?;
    let (folder, host) = (cluster.folder.path().to_owned(), cluster.host.clone());
    cluster
        .coordinator
        .signal(nix::sys::signal::Signal::SIGKILL)?;
    cluster.coordinator.wait(Duration::from_secs(10))?;
    let (coordinator, ready) = serve_secured(&folder, &host, &[])?;
    cluster.coordinator = coordinator;
    // The tokens are the same ones, and are not printed again.
    assert!(ready["tokens"].is_null(), "{ready}");
    cluster.submit("again", 2)?;
    let _worker = cluster.worker("node-1", None)?;
    let status = cluster.finished("again").await?;
    assert_eq!(status["trials"]["completed"], 2);
    Ok(())
}

#[tokio::test]
async fn certificates_are_renewed_while_a_search_runs() -> Result<()> {
    let cluster = Secured::start(&["--worker-certificate-ms", "3000"])?;
    cluster.control("seconds", "0.5")?;
    let worker = cluster.worker("node-1", Some(&cluster.token("worker")))?;
    cluster.submit("renewed", 8)?;
    let status = cluster.finished("renewed").await?;
    assert_eq!(status["trials"]["completed"], 8);
    assert_eq!(status["trials"]["attempts"], 8, "work was done twice");
    let received = worker.log().matches("certificate received").count();
    assert!(received >= 3, "{received} certificates: {}", worker.log());
    Ok(())
}

#[tokio::test]
async fn a_wrong_expired_or_foreign_token_gets_its_own_message() -> Result<()> {
    let cluster = Secured::start(&[])?;
    let token = cluster.token("worker");
    let made = cluster.admin(&["token", "create", "--role", "worker", "--ttl", "1s"])?;
    let brief = made["token"].as_str().context("a token")?.to_owned();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let cases = [
        (forged(&token, 40)?, "not known here"),
        (brief, "has expired"),
        (forged(&token, 3)?, "certificate authority"),
        (cluster.token("viewer"), "does not allow Enrol"),
        (cluster.token("admin"), "does not allow Enrol"),
        (token[..50].to_owned(), "damaged"),
        ("hunter2".to_owned(), "no token"),
    ];
    for (index, (token, message)) in cases.into_iter().enumerate() {
        let mut worker = cluster.worker(&format!("wrong-{index}"), Some(&token))?;
        let status = worker.wait(Duration::from_secs(20))?;
        // Those who start workers again do not do so after this one.
        assert_eq!(status.code(), Some(2), "{message}");
        let log = worker.log();
        assert!(log.contains(message), "{message}: {log}");
        assert!(token.len() < 60 || !log.contains(&token[60..]), "{log}");
    }
    assert!(cluster.workers()?.is_empty());
    Ok(())
}

#[tokio::test]
async fn whoever_has_no_token_or_no_tls_is_told_so() -> Result<()> {
    let cluster = Secured::start(&[])?;
    let plain = format!("http://{}", cluster.host);
    let output = cluster.espalier(None, &["list", "--address", &plain])?;
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("speaks TLS only"),
        "{}",
        stderr(&output)
    );

    let mut worker = cluster.worker("plain", None)?;
    assert_eq!(worker.wait(Duration::from_secs(20))?.code(), Some(2));
    assert!(worker.log().contains("speaks TLS only"), "{}", worker.log());

    // A browser, say.
    let mut stream = std::net::TcpStream::connect(&cluster.host)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    // Something that is neither.
    let mut stream = std::net::TcpStream::connect(&cluster.host)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5])?;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    // No effect on others; and said once.
    assert!(cluster.workers()?.is_empty());
    let said = cluster
        .coordinator
        .log()
        .matches("plain connection")
        .count();
    assert_eq!(said, 1, "{}", cluster.coordinator.log());
    Ok(())
}

#[tokio::test]
async fn a_viewer_looks_and_changes_nothing_and_a_context_needs_no_flags() -> Result<()> {
    let cluster = Secured::start(&[])?;
    cluster.submit("looked-at", 2)?;
    let viewer = cluster.token("viewer");
    // The token as a flag: as it is printed by `serve`.
    let output = cluster.espalier(None, &["login", &cluster.host, "--token", &viewer])?;
    assert!(output.status.success(), "{}", stderr(&output));
    let output = cluster.espalier(None, &["list"])?;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("looked-at"));
    for command in [&["stop", "looked-at"][..], &["token", "list"]] {
        let output = cluster.espalier(None, command)?;
        assert_eq!(output.status.code(), Some(5), "{command:?}");
        assert!(stderr(&output).contains("viewer"), "{}", stderr(&output));
    }
    let admin = cluster.token("admin");
    let login = ["login", &cluster.host, "--name", "boss"];
    let output = cluster.espalier(Some(&admin), &login)?;
    assert!(output.status.success(), "{}", stderr(&output));
    let output = cluster.espalier(None, &["stop", "looked-at"])?;
    assert!(output.status.success(), "{}", stderr(&output));
    let output = cluster.espalier(None, &["token", "list", "--context", &cluster.host])?;
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let output = cluster.espalier(
        None,
        &["login", &cluster.host, "--token", &cluster.token("worker")],
    )?;
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    Ok(())
}

#[tokio::test]
async fn revocation_cuts_a_worker_off_and_its_trial_runs_elsewhere() -> Result<()> {
    // A heartbeat is a third of it. By nothing but the revocation does anything end before a lease has.
    let lease = Duration::from_secs(24);
    let cluster = Secured::start_with_leases(24_000)?;
    cluster.control("seconds", "3600")?;
    let made = cluster.admin(&["token", "create", "--role", "worker", "--label", "bad"])?;
    let mut worker = cluster.worker("bad", made["token"].as_str())?;
    cluster.submit("moved", 1)?;
    wait_until("a running trial", LIMIT, || async {
        let status = cluster.admin(&["status", "moved"])?;
        Ok((status["trials"]["running"] == 1).then_some(()))
    })
    .await?;
    let _heir = cluster.worker("heir", Some(&cluster.token("worker")))?;
    wait_until("the heir", LIMIT, || async {
        Ok((cluster.workers()?.len() == 2).then_some(()))
    })
    .await?;
    cluster.control("seconds", "0")?;
    let id = made["id"].as_str().context("an id")?;
    let started = std::time::Instant::now();
    cluster.admin(&["token", "revoke", id])?;
    // Its lease goes with the token, long before its end, and the other one gets the trial at once.
    let status = cluster.finished("moved").await?;
    assert!(started.elapsed() < lease, "{:?}", started.elapsed());
    let said = cluster.coordinator.log();
    assert!(!said.contains("lease expired"), "{said}");
    assert_eq!(said.matches("worker cut off").count(), 1, "{said}");
    assert_eq!(status["trials"]["completed"], 1);
    assert_eq!(status["trials"]["attempts"], 2, "{status}");
    // It hears of it with its next heartbeat; the time of another one is for the end of its evaluator and for a machine
    // that has much else to do.
    let two_heartbeats = lease * 2 / 3;
    let ended = worker.wait(two_heartbeats.saturating_sub(started.elapsed()))?;
    assert!(
        ended.code() == Some(2) && worker.log().contains("revoked"),
        "{}",
        worker.log()
    );
    assert_eq!(cluster.workers()?, ["heir"]);
    // It does not get in again, with its certificate or with the token.
    let mut again = cluster.worker("bad", made["token"].as_str())?;
    assert_eq!(again.wait(Duration::from_secs(20))?.code(), Some(2));
    assert!(again.log().contains("revoked"), "{}", again.log());

    let tokens = cluster.admin(&["token", "list"])?;
    let all = tokens.as_array().context("tokens")?;
    let revoked: Vec<_> = all
        .iter()
        .filter(|token| token["state"] == "revoked")
        .collect();
    assert_eq!((all.len(), revoked.len()), (4, 1), "{tokens}");
    assert_eq!(revoked[0]["label"], "bad");
    Ok(())
}

#[tokio::test]
async fn a_folder_of_tokens_is_filled_once_and_joins_by_files() -> Result<()> {
    let folder = TempDir::new()?;
    let tokens = folder.path().join("tokens");
    let option = ["--token-dir", &tokens.to_string_lossy()].map(str::to_owned);
    let options: Vec<&str> = option.iter().map(String::as_str).collect();
    let (mut coordinator, ready) = serve_secured(folder.path(), "127.0.0.1:0", &options)?;
    assert!(ready["tokens"].is_null());
    let read = |role: &str| std::fs::read_to_string(tokens.join(format!("{role}.token")));
    let before = [read("admin")?, read("viewer")?, read("worker")?];
    let address = ready["address"].as_str().context("an address")?.to_owned();
    coordinator.signal(nix::sys::signal::Signal::SIGTERM)?;
    coordinator.wait(Duration::from_secs(15))?;
    let host = address.trim_start_matches("https://");
    let _coordinator = serve_secured(folder.path(), host, &options)?;
    assert_eq!(before, [read("admin")?, read("viewer")?, read("worker")?]);
    let output = program("espalier")
        .args(["status", "--address", &address, "--token-file"])
        .arg(tokens.join("viewer.token"))
        .stdin(Stdio::null())
        .output()?;
    assert!(output.status.success(), "{}", stderr(&output));
    Ok(())
}
