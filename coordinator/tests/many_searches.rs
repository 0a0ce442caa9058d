//! Searches that have ended cost no thread. In a file of its own: it counts the threads of the process.

// Helpers stand outside of `#[test]` functions: a failure in them is to fail the test.
#![allow(clippy::unwrap_used)]

mod support;

use support::{TestServer, spec};

const SEARCHES: usize = 200;

/// Threads of searchers in this process.
fn searchers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("ask-")).count()
}

async fn until_searchers(wanted: usize) {
    let waiting = async {
        while searchers() != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(support::LIMIT, waiting).await;
    waited.unwrap_or_else(|_| panic!("{} searchers, not {wanted}", searchers()));
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_that_have_ended_cost_no_thread_before_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    for index in 0..SEARCHES {
        server.create(&spec(&format!("s{index}"), 1)).await;
    }
    // Every running search has one; a thread gets its name when it first runs.
    until_searchers(SEARCHES).await;
    let mut worker = server.worker("only", 8).await;
    worker.work(500, |_| {}).await;
    for index in 0..SEARCHES {
        server.finished(&format!("s{index}")).await;
    }
    until_searchers(0).await;
    server.create(&spec("last", 1)).await;
    worker.call += 1;
    server.stop().await;

    let server = TestServer::start(folder.path()).await;
    // Answers when everything has been read.
    assert_eq!(server.status("s7").await.phase, "finished");
    until_searchers(1).await;
    let mut worker = server.worker("only", 1).await;
    worker.work(300, |_| {}).await;
    server.finished("last").await;
    until_searchers(0).await;
    // What has ended still answers.
    assert_eq!(server.trials("s7").await.len(), 1);
    server.stop().await;
}
