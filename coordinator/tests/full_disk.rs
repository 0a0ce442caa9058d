//! A journal that cannot be written any more: the coordinator stops, says why, and has acknowledged
//! nothing that is not on the disk. The real process, with a limit on the size of its files.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use espalier_proto::v1;
use espalier_proto::v1::search_service_client::SearchServiceClient;
use support::{TestServer, TestWorker, score, spec};
use tonic::transport::Channel;

/// Larger than an empty journal, and reached within a few thousand trials.
const FILE_LIMIT_BLOCKS: u32 = 2_000;

/// Waits for the end of the process; kills it when it does not come.
fn wait(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(15) {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("it runs");
    panic!("the coordinator went on with a full disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_coordinator_and_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    // The signal that goes with the limit is ignored: then a write fails, as it does on a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f {FILE_LIMIT_BLOCKS}; \
         exec \"$0\" serve --listen 127.0.0.1:0 --output json --data-dir \"$1\""
    );
    let mut child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_espalier")])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        log
    });
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = ready["address"].as_str().unwrap().to_owned();
    let endpoint = Channel::from_shared(address).unwrap();
    let channel = endpoint.connect().await.unwrap();

    let create = v1::CreateRequest {
        spec: spec("full", 1_000_000),
        file: "spec.yaml".to_owned(),
        dataset_json: String::new(),
        table_json: String::new(),
        warm_start_json: String::new(),
        id: Vec::new(),
    };
    let mut searches = SearchServiceClient::new(channel.clone());
    searches.create(create).await.unwrap();
    let mut worker = TestWorker::register(channel, "only", 8).await;
    let mut acknowledged = Vec::new();
    'full: while let Ok(jobs) = worker.lease(8, 5_000).await {
        for job in jobs {
            match worker.complete(&job, score(&job.decisions)).await {
                Ok(_) => acknowledged.push(job.trial.0),
                Err(_) => break 'full,
            }
        }
    }
    let status = wait(&mut child);
    let log = log.join().unwrap();
    assert!(!status.success(), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains("journal") && last.contains("disk"),
        "not said clearly: {last}"
    );
    assert!(
        acknowledged.len() > 10,
        "the disk was full too early: {log}"
    );

    let server = TestServer::start(folder.path()).await;
    let counts = server.status("full").await.counts.unwrap();
    let durable = counts.completed as usize;
    // One completion may have become durable without its acknowledgement.
    assert!(
        (acknowledged.len()..=acknowledged.len() + 1).contains(&durable),
        "{durable} are durable, {} were acknowledged",
        acknowledged.len()
    );
    let listed = server.trials("full").await;
    for number in acknowledged.into_iter().take(listed.len()) {
        let trial = &listed[number as usize - 1];
        assert_eq!(trial.state, "completed", "{trial:?}");
    }
    server.stop().await;
}
