//! The page of metrics, as Prometheus reads it: during a search, and with TLS.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result};
use espalier_tests::{Cluster, Process, WorkerOptions, repository, token, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// Five trials, of which three may run at one time.
const SPEC: &str = "name: measured
hyperparameters: {x: {range: [0.0, 1.0]}, y: {choice: [1, 2, 3]}}
evaluator: scripted
training: {epochs: 2}
searcher: random
objectives: [{maximize: score}]
budget: {trials: 5}
parallel: 3
seed: 7
";

/// Gets a page without TLS.
fn get(address: &str, path: &str) -> Result<String> {
    let host = address.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The samples of a page, by name with labels.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| line.starts_with("espalier_"));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    lines.filter_map(sample).collect()
}

#[tokio::test]
async fn a_scrape_during_a_search_agrees_with_what_status_says() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    cluster.control("seconds", "600")?;
    let searches = cluster.searches()?;
    let search = searches.create(SPEC, String::new()).await?;
    // Nobody has a slot yet: this is what a cluster grows by.
    let page = get(cluster.address(), "/metrics")?;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("application/openmetrics-text"), "{page}");
    let now = samples(&page);
    assert_eq!(
        (now["espalier_slots_wanted"], now["espalier_slots"]),
        (3.0, 0.0)
    );

    let options = WorkerOptions {
        slots: 2,
        ..WorkerOptions::default()
    };
    let worker = cluster.start_worker("one", &options)?;
    let status = searches
        .when(&search, "two running trials", LIMIT, |status| {
            status.counts.is_some_and(|counts| counts.running == 2)
        })
        .await?;
    let nodes = searches.cluster().await?;
    // The dispatcher hears of what a search has leased a moment later.
    let both_busy = || async {
        let now = samples(&get(cluster.address(), "/metrics")?);
        Ok((now["espalier_slots_busy"] == 2.0).then_some(now))
    };
    let now = wait_until("two busy slots", LIMIT, both_busy).await?;
    let counts = status.counts.unwrap_or_default();
    for (state, number) in [
        ("queued", counts.queued),
        ("running", counts.running),
        ("completed", counts.completed),
        ("failed", counts.failed),
    ] {
        let name = format!("espalier_trials{{state=\"{state}\"}}");
        assert_eq!(now[&name], f64::from(number), "{name}");
    }
    assert_eq!(now["espalier_searches{state=\"running\"}"], 1.0);
    assert_eq!(now["espalier_slots"], f64::from(nodes.slots));
    assert_eq!(now["espalier_slots_busy"], f64::from(nodes.busy));
    assert_eq!(now["espalier_leases{phase=\"running\"}"], 2.0);
    assert_eq!(now["espalier_slots_wanted"], 3.0);
    assert_eq!(now["espalier_workers{state=\"serving\"}"], 1.0);
    assert!(now["espalier_ask_duration_seconds_count{searcher=\"random\"}"] >= 2.0);
    assert!(now["espalier_journal_records_total"] >= 5.0);
    assert!(now["espalier_journal_size_bytes"] > 0.0);

    // A call that fails is counted.
    let unknown = "espalier_calls_failed_total{code=\"not_found\"}";
    assert_eq!(now[unknown], 0.0);
    assert!(searches.status("nothing").await.is_err());
    assert_eq!(samples(&get(cluster.address(), "/metrics")?)[unknown], 1.0);

    // The worker ends, and so does the search: nothing is wanted, and nothing is held.
    drop(worker);
    searches.stop(&search).await?;
    wait_until("an idle page", LIMIT, || async {
        let now = samples(&get(cluster.address(), "/metrics")?);
        let idle = now["espalier_slots_wanted"] == 0.0
            && now["espalier_slots_busy"] == 0.0
            && now["espalier_searches{state=\"finished\"}"] == 1.0
            && now["espalier_trials{state=\"cancelled\"}"] >= 2.0;
        Ok(idle.then_some(()))
    })
    .await?;
    assert!(get(cluster.address(), "/metrics/x")?.starts_with("HTTP/1.1 404"));
    Ok(())
}

/// What Prometheus does with `credentials_file`, `ca_file` and `server_name`.
const SCRAPE: &str = r#"
import http.client, socket, ssl, sys
host, port, authority, token = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
plain = socket.create_connection((host, int(port)), timeout=10)
connection = http.client.HTTPConnection(host)
connection.sock = context.wrap_socket(plain, server_hostname="espalier-coordinator")
headers = {"Authorization": "Bearer " + token} if token else {}
connection.request("GET", "/metrics", headers=headers)
answer = connection.getresponse()
print(answer.status)
print(answer.read().decode())
"#;

fn scrape(host: &str, authority: &std::path::Path, token: &str) -> Result<String> {
    let (host, port) = host.rsplit_once(':').context("a port")?;
    let output: Output = Command::new("python3")
        .args(["-c", SCRAPE, host, port])
        .arg(authority)
        .arg(token)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn with_tls_a_viewers_token_reads_the_page_and_a_workers_or_none_does_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_coordinator, ready) = Process::serve(folder.path(), "127.0.0.1:0", &["--tls", "on"])?;
    let host = ready["address"].as_str().context("an address")?;
    let host = host.trim_start_matches("https://");
    let authority = folder.path().join("coordinator/tls/authority.pem");
    let token_of = |role: &str| token(&ready, role).unwrap_or_default();
    for (role, code) in [("", "401"), ("worker", "403")] {
        let answer = scrape(host, &authority, &token_of(role))?;
        assert!(answer.starts_with(code), "{role}: {answer}");
    }
    for role in ["viewer", "admin"] {
        let answer = scrape(host, &authority, &token_of(role))?;
        assert!(answer.starts_with("200"), "{role}: {answer}");
        let now = samples(&answer);
        let refused = |reason| now[&format!("espalier_calls_refused_total{{reason=\"{reason}\"}}")];
        assert_eq!((refused("no token"), refused("wrong role")), (1.0, 1.0));
    }
    Ok(())
}

#[test]
fn the_settings_for_prometheus_name_the_port_the_authority_and_metrics_that_exist() -> Result<()> {
    let folder = repository().join("deploy/prometheus");
    let settings = std::fs::read_to_string(folder.join("prometheus.yml"))?;
    assert!(settings.contains("server_name: espalier-coordinator"));
    let docs = std::fs::read_to_string(repository().join("docs/metrics.md"))?;
    let alerts = std::fs::read_to_string(folder.join("alerts.yml"))?;
    let mut used = 0;
    for part in alerts.split("espalier_").skip(1) {
        let end = part.find(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        let name = &part[..end.unwrap_or(part.len())];
        let family = name.trim_end_matches("_bucket");
        assert!(
            docs.contains(&format!("`espalier_{family}`")),
            "alerts.yml: espalier_{name} is no metric"
        );
        used += 1;
    }
    assert!(used > 10, "{used}");
    // Its own checker, where it is installed.
    let promtool = Command::new("promtool")
        .args(["check", "rules"])
        .arg(folder.join("alerts.yml"))
        .output();
    match promtool {
        Ok(output) => assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(_) => espalier_tests::not_tested(
            "Prometheus' own check of the alerts",
            "promtool is not installed; they were only compared with the docs",
        ),
    }
    Ok(())
}
