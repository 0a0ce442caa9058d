//! A cluster on machines of their own: joined by tokens over mutual TLS, each with its own address, and with links
//! that are cut. In network namespaces where the system permits it, else over loopback.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result};
use espalier_tests::net::{Machine, Net};
use espalier_tests::{
    Process, Secured, free_address, program, serve_command, stderr, test_folder, wait_until,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// A coordinator on one machine of a net, and two workers on others. All of them end before the net does.
struct Machines {
    workers: Vec<Process>,
    cluster: Secured,
    net: Net,
}

impl Machines {
    async fn start() -> Result<Self> {
        let net = Net::new(2, free_address()?).await?;
        let folder = test_folder()?;
        let mut options = vec!["--lease-ttl-ms", "2000"];
        // Beyond loopback TLS is what nobody has to ask for.
        if !matches!(net, Net::Namespaces(_)) {
            options.extend(["--tls", "on"]);
        }
        let serve = serve_command(folder.path(), &net.listen(), &options);
        let serve = net.on(Machine::Hub, &serve);
        let (coordinator, ready) = Process::serve_by(folder.path(), serve)?;
        let mut cluster = Secured::of(folder, coordinator, ready)?;
        cluster.host = net.address(Machine::Hub);
        let mut machines = Self {
            workers: Vec::new(),
            cluster,
            net,
        };
        for node in 0..2 {
            let name = format!("node-{node}");
            let host = machines.net.address(Machine::Node(node));
            let mut worker = machines.cluster.worker_command(&name, &host);
            worker.env("ESPALIER_TOKEN", machines.cluster.token("worker"));
            let worker = machines.net.on(Machine::Node(node), &worker);
            let worker = Process::start(&name, machines.cluster.folder.path(), worker, false)?;
            machines.workers.push(worker);
        }
        Ok(machines)
    }

    /// As an admin, beside the coordinator.
    fn admin(&self, arguments: &[&str]) -> Result<Value> {
        let command = self.cluster.admin_command(arguments);
        let output = self.net.on(Machine::Hub, &command).output()?;
        let errors = stderr(&output);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// A command on a node, that knows nothing of the cluster but its address.
    fn stranger(&self, scheme: &str) -> Result<Output> {
        let address = format!("{scheme}://{}", self.net.address(Machine::Node(0)));
        let mut command = program("espalier");
        command
            .args(["list", "--address", &address])
            .env("XDG_CONFIG_HOME", self.cluster.path("nobody"));
        Ok(self.net.on(Machine::Node(0), &command).output()?)
    }

    fn submit(&self, name: &str, trials: u32) -> Result<()> {
        let spec = self.cluster.spec(name, trials)?;
        self.admin(&["submit", &spec.to_string_lossy()])?;
        Ok(())
    }

    async fn finished(&self, name: &str) -> Result<Value> {
        wait_until("the search's end", LIMIT, || async {
            let status = self.admin(&["status", name])?;
            Ok((status["phase"] == "finished").then_some(status))
        })
        .await
    }

    /// Waits until so many workers are there.
    async fn joined(&self, count: usize) -> Result<()> {
        wait_until("the workers", LIMIT, || async {
            let status = self.admin(&["status"])?;
            let workers = status["workers"].as_array().map_or(0, Vec::len);
            Ok((workers == count).then_some(()))
        })
        .await
    }

    /// The evaluations that began, as trial and attempt.
    fn started(&self) -> Result<Vec<(u32, u32)>> {
        let mut started = Vec::new();
        for entry in std::fs::read_dir(self.cluster.path("control"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix("started-") else {
                continue;
            };
            let mut numbers = rest.split('-').map(str::parse);
            let mut next = || numbers.next().context("a number");
            started.push((next()??, next()??));
        }
        Ok(started)
    }

    /// The trial that a worker runs now.
    async fn trial_of(&self, name: &str) -> Result<u64> {
        wait_until("a running trial", LIMIT, || async {
            let status = self.admin(&["status"])?;
            let workers = status["workers"].as_array().context("workers")?.clone();
            let worker = workers.iter().find(|worker| worker["name"] == name);
            let worker = worker.context("no such worker")?;
            Ok(worker["held"][0]["trial"].as_u64())
        })
        .await
    }
}

// Proxies, where there are no namespaces, go on while the test waits for a command.
#[tokio::test(flavor = "multi_thread")]
async fn workers_on_machines_of_their_own_join_run_a_search_and_outlive_a_cut_link() -> Result<()> {
    let machines = Machines::start().await?;
    machines.joined(2).await?;

    // Nobody else gets in: not without TLS, not without a token.
    let plain = machines.stranger("http")?;
    let said = stderr(&plain);
    assert_eq!(plain.status.code(), Some(5), "{said}");
    assert!(said.contains("speaks TLS only"), "{said}");
    let nameless = machines.stranger("https")?;
    assert!(!nameless.status.success(), "{}", stderr(&nameless));
    assert!(stderr(&nameless).contains("token"), "{}", stderr(&nameless));

    machines.cluster.control("seconds", "0.05")?;
    machines.submit("apart", 6)?;
    let status = machines.finished("apart").await?;
    assert_eq!(status["trials"]["completed"], 6, "{status}");

    // The trial of one that is cut off for longer than its lease lasts runs on the other.
    machines.cluster.control("seconds", "2")?;
    machines.submit("cut", 2)?;
    let lost = machines.trial_of("node-0").await?;
    machines.net.cut(0)?;
    machines.cluster.control("seconds", "0.1")?;
    let status = machines.finished("cut").await?;
    assert_eq!(status["trials"]["completed"], 2, "{status}");
    assert!(lost == 1 || lost == 2, "{lost}");
    let again = (u32::try_from(lost)?, 2);
    assert!(
        machines.started()?.contains(&again),
        "trial {lost} did not move"
    );

    // When it comes back its late result does no harm, and it works again.
    machines.net.mend(0)?;
    machines.joined(2).await?;
    let after = machines.admin(&["status", "cut"])?;
    assert_eq!(after["trials"]["completed"], 2, "{after}");
    assert_eq!(after["best"], status["best"]);
    machines.cluster.control("seconds", "0.3")?;
    // More than the other one could do before this one is back.
    machines.submit("together", 100)?;
    machines.trial_of("node-0").await?;
    machines.cluster.control("seconds", "0")?;
    let status = machines.finished("together").await?;
    assert_eq!(status["trials"]["completed"], 100, "{status}");
    assert_eq!(status["trials"]["failed"], 0, "{status}");
    Ok(())
}
