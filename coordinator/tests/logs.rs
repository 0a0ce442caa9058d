//! What workers send for the log, and what of it is shown, by a coordinator in this process.
// A step that fails must end its test.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use espalier_proto::v1;
use support::{LIMIT, TestServer, TestWorker, attempt, score, spec};
use tokio_stream::StreamExt;
use tonic::{Code, Status};

fn line(attempt: v1::Attempt, text: &str) -> v1::LogLine {
    v1::LogLine {
        attempt: Some(attempt),
        slot: 0,
        evaluator: "mine".to_owned(),
        level: "INFO".to_owned(),
        text: text.to_owned(),
    }
}

async fn send(worker: &TestWorker, lines: Vec<v1::LogLine>) -> Result<(), Status> {
    let request = v1::LogRequest {
        worker: worker.id.clone(),
        lines,
        lost: 0,
    };
    worker.client.clone().log(request).await.map(drop)
}

/// The texts that are shown of a search.
async fn shown(server: &TestServer, request: v1::LogsRequest) -> Vec<String> {
    let stream = server.searches().logs(request).await.unwrap().into_inner();
    let replies: Result<Vec<v1::LogsReply>, Status> = stream.collect().await;
    let lines = replies.unwrap().into_iter().flat_map(|reply| reply.lines);
    let text = |line: String| {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["message"].as_str().unwrap().to_owned()
    };
    // Other tests of this process may log.
    lines
        .map(text)
        .filter(|text| text.starts_with("printed"))
        .collect()
}

fn of(search: &str) -> v1::LogsRequest {
    v1::LogsRequest {
        search: search.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_taken_from_the_worker_that_holds_or_held_the_attempt_and_from_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("printed", 2)).await;
    let mut worker = server.worker("own", 1).await;
    let other = server.worker("other", 1).await;
    let job = worker.one().await;
    let key = attempt(&job);
    send(&worker, vec![line(key.clone(), "printed 1")])
        .await
        .unwrap();
    send(&other, vec![line(key.clone(), "printed by another")])
        .await
        .unwrap();
    let mut none = key.clone();
    none.trial = 77;
    send(&worker, vec![line(none, "printed of no trial")])
        .await
        .unwrap();
    worker.complete(&job, score(&job.decisions)).await.unwrap();
    // What was printed last comes behind the result.
    send(&worker, vec![line(key.clone(), "printed 2")])
        .await
        .unwrap();
    assert_eq!(
        shown(&server, of("printed")).await,
        ["printed 1", "printed 2"]
    );
    let last = v1::LogsRequest {
        last: Some(1),
        ..of("printed")
    };
    assert_eq!(shown(&server, last).await, ["printed 2"]);
    let trial = v1::LogsRequest {
        trial: Some(2),
        ..of("printed")
    };
    let refused = server.searches().logs(trial).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    assert!(
        refused.message().contains("it has trial 1 so far"),
        "{refused}"
    );
    let worker_of = v1::LogsRequest {
        worker: "other".to_owned(),
        ..of("printed")
    };
    assert!(shown(&server, worker_of).await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_evaluators_print_is_bounded_for_each_trial_over_restarts_and_messages_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let id = server.create(&spec("flood", 2)).await.id;
    let mut worker = server.worker("loud", 1).await;
    let job = worker.one().await;
    let text = format!("printed {}", "x".repeat(10_000));
    let flood = |count| vec![line(attempt(&job), &text); count];
    send(&worker, flood(40)).await.unwrap();
    assert_eq!(shown(&server, of("flood")).await.len(), 25);
    server.stop().await;
    let server = TestServer::start(folder.path()).await;
    worker.reconnect(server.channel.clone());
    worker.register_again().await.unwrap();
    send(&worker, flood(5)).await.unwrap();
    assert_eq!(shown(&server, of("flood")).await.len(), 25);
    let size = file_size(folder.path(), &id);
    assert!(size < 300_000, "{size}");
    // The file says where it was cut, once over both starts.
    let file = std::fs::read_to_string(file_of(folder.path(), &id)).unwrap();
    assert_eq!(file.matches("from here on is not kept").count(), 1);

    let mut wrong = line(attempt(&job), "printed");
    wrong.level = "LOUD".to_owned();
    let long = line(attempt(&job), &"x".repeat(20_000));
    for lines in [vec![wrong], vec![long], flood(1_025)] {
        let refused = send(&worker, lines).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let of_no_search = v1::LogsRequest {
        trial: Some(1),
        ..of("")
    };
    let refused = server.searches().logs(of_no_search).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let unknown = server.searches().logs(of("nothing")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
    server.stop().await;
}

fn file_of(data_dir: &Path, id: &[u8]) -> PathBuf {
    let id = uuid::Uuid::from_slice(id).unwrap();
    data_dir.join("logs").join(format!("{id}.jsonl"))
}

fn file_size(data_dir: &Path, id: &[u8]) -> u64 {
    std::fs::metadata(file_of(data_dir, id)).unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_a_crash_cut_off_within_a_letter_costs_itself_only() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let id = server.create(&spec("torn", 2)).await.id;
    let mut worker = server.worker("own", 1).await;
    let job = worker.one().await;
    let print = |text: &str| vec![line(attempt(&job), text)];
    send(&worker, print("printed 1")).await.unwrap();
    assert_eq!(shown(&server, of("torn")).await, ["printed 1"]);
    server.stop().await;
    let mut file = std::fs::File::options()
        .append(true)
        .open(file_of(folder.path(), &id))
        .unwrap();
    file.write_all(b"{\"timestamp\":\"x\",\"message\":\"printed \xc3")
        .unwrap();

    let server = TestServer::start(folder.path()).await;
    worker.reconnect(server.channel.clone());
    worker.register_again().await.unwrap();
    send(&worker, print("printed 2")).await.unwrap();
    send(&worker, print("printed 3")).await.unwrap();
    let all = ["printed 1", "printed 2", "printed 3"];
    assert_eq!(shown(&server, of("torn")).await, all);
    let last = |last| v1::LogsRequest {
        last: Some(last),
        ..of("torn")
    };
    assert_eq!(shown(&server, last(1)).await, all[2..]);
    assert_eq!(shown(&server, last(100)).await, all);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_gets_what_is_there_and_what_comes_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    server.create(&spec("followed", 2)).await;
    let mut worker = server.worker("own", 1).await;
    let job = worker.one().await;
    send(&worker, vec![line(attempt(&job), "printed 0")])
        .await
        .unwrap();
    let request = v1::LogsRequest {
        follow: true,
        ..of("followed")
    };
    let mut stream = server.searches().logs(request).await.unwrap().into_inner();
    let sending = async {
        for number in 1..200 {
            let text = format!("printed {number}");
            send(&worker, vec![line(attempt(&job), &text)])
                .await
                .unwrap();
        }
    };
    let reading = async {
        let mut texts = Vec::new();
        while texts.len() < 200 {
            let reply = stream.next().await.unwrap().unwrap();
            for line in reply.lines {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                let text = line["message"].as_str().unwrap();
                texts.extend(
                    text.strip_prefix("printed ")
                        .map(|n| n.parse::<u32>().unwrap()),
                );
            }
        }
        texts
    };
    let both = async { tokio::join!(sending, reading).1 };
    let texts = tokio::time::timeout(LIMIT, both).await.unwrap();
    assert_eq!(texts, (0..200).collect::<Vec<u32>>());
    // Who follows is told that the coordinator stops, and holds nothing up.
    let (last, ()) = tokio::join!(stream.next(), server.stop());
    assert_eq!(last.unwrap().unwrap_err().code(), Code::Unavailable);
}

/// Texts that are shown, and the place of the last reply that has one.
async fn shown_to(server: &TestServer, request: v1::LogsRequest) -> (Vec<String>, String) {
    let stream = server.searches().logs(request.clone()).await.unwrap();
    let replies: Result<Vec<v1::LogsReply>, Status> = stream.into_inner().collect().await;
    let replies = replies.unwrap();
    let mut places = replies.iter().rev().map(|reply| reply.place.clone());
    let place = places.find(|place| !place.is_empty()).unwrap();
    (shown(server, request).await, place)
}

fn from(place: &str, search: &str) -> v1::LogsRequest {
    v1::LogsRequest {
        from: place.to_owned(),
        ..of(search)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_at_its_place_also_after_a_restart_and_whatever_the_clock_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(folder.path()).await;
    let id = server.create(&spec("placed", 2)).await.id;
    let mut worker = server.worker("own", 1).await;
    let job = worker.one().await;
    let print = |text: &str| vec![line(attempt(&job), text)];
    send(&worker, print("printed 1")).await.unwrap();
    let (texts, first) = shown_to(&server, of("placed")).await;
    assert_eq!(texts, ["printed 1"]);
    let (texts, same) = shown_to(&server, from(&first, "placed")).await;
    assert_eq!((texts.len(), &same), (0, &first));
    // The same text at the same time is another line.
    send(&worker, [print("printed 2"), print("printed 2")].concat())
        .await
        .unwrap();
    let (texts, second) = shown_to(&server, from(&first, "placed")).await;
    assert_eq!(texts, ["printed 2", "printed 2"]);
    let (_, memory) = shown_to(&server, of("")).await;
    server.stop().await;
    // As a coordinator writes it whose clock was set back.
    let mut file = std::fs::File::options()
        .append(true)
        .open(file_of(folder.path(), &id))
        .unwrap();
    let id = uuid::Uuid::from_slice(&id).unwrap();
    let old = format!("{{\"timestamp\":\"1999\",\"message\":\"printed 3\",\"search\":\"{id}\"}}\n");
    file.write_all(old.as_bytes()).unwrap();

    let server = TestServer::start(folder.path()).await;
    let (texts, _) = shown_to(&server, from(&second, "placed")).await;
    assert_eq!(texts, ["printed 3"]);
    worker.reconnect(server.channel.clone());
    worker.register_again().await.unwrap();
    send(&worker, print("printed 4")).await.unwrap();
    let (texts, _) = shown_to(&server, from(&second, "placed")).await;
    assert_eq!(texts, ["printed 3", "printed 4"]);
    // What this start has is new to a reader of another one.
    let (texts, again) = shown_to(&server, from(&memory, "")).await;
    assert_eq!(texts, ["printed 4"]);
    assert_eq!(shown(&server, from(&again, "")).await, Vec::<String>::new());
    // A file that was removed meanwhile is not the one of the place.
    std::fs::remove_file(file_of(folder.path(), id.as_bytes())).unwrap();
    send(&worker, print("printed 5")).await.unwrap();
    assert_eq!(shown(&server, from(&second, "placed")).await, ["printed 5"]);

    for (place, search) in [("file:1", ""), ("memory:1:1", "placed"), ("x", "placed")] {
        let refused = server.searches().logs(from(place, search)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    server.stop().await;
}
