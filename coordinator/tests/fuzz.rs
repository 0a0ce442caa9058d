//! Every method of every service, called with messages that nobody means: made from their descriptions, with ids and
//! texts that exist here and ones that do not, and bytes that are no message. A call is refused with a word that says
//! whose fault it is, and the coordinator goes on, keeps a sound journal and ends in order.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut};
use espalier_common::ids::Digest;
use espalier_coordinator::ServerConfig;
use espalier_coordinator::journal::JournalReader;
use espalier_coordinator::maintenance::check;
use espalier_fuzzing::wire::{Method, Schema, Words};
use espalier_fuzzing::{Tape, values};
use espalier_proto::{DESCRIPTORS, uuid_to_wire, v1};
use futures::StreamExt as _;
use proptest::prelude::*;
use support::{TestServer, spec};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// How often each method is called in each world.
const ROUNDS: u32 = 8;
const WORLDS: u32 = 5;
/// What leaves little to be called after it comes last.
const ENDS: [&str; 2] = ["/Stop", "/Leave"];
/// Streams of changes and log lines go on: a look is enough.
const LOOK: Duration = Duration::from_millis(60);

/// Messages as they are, encoded already.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length).to_vec()))
    }
}

/// Calls a method, and looks at the beginning of its answer.
async fn call(channel: &Channel, method: &Method, messages: Vec<Vec<u8>>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = method.path.parse().unwrap();
    let request = Request::new(tokio_stream::iter(messages));
    let answered = client.streaming(request, path, Raw);
    let Ok(answered) = tokio::time::timeout(support::LIMIT, answered).await else {
        panic!("{} does not answer", method.path);
    };
    let mut replies = answered?.into_inner();
    for _ in 0..3 {
        match tokio::time::timeout(LOOK, replies.next()).await {
            Ok(Some(reply)) => drop(reply?),
            Ok(None) | Err(_) => break,
        }
    }
    Ok(())
}

/// A coordinator with a search at work, and words that mean something to it.
async fn with_words(server: &TestServer) -> Words {
    let search = server.create(&spec("fuzzed", 1_000)).await;
    let mut worker = server.worker("one", 4).await;
    let done = worker.one().await;
    let content = b"weights";
    let digest = Digest::of(content).to_string();
    worker.complete_with(&done, 0.5, &digest).await.unwrap();
    worker.upload(&done, &digest, content).await.unwrap();
    worker.lease(2, 1_000).await.unwrap();
    let text = |text: &str| text.as_bytes().to_vec();
    let decisions = serde_json::to_vec(&done.decisions).unwrap();
    let id = uuid::Uuid::from_slice(&search.id).unwrap().to_string();
    let odd = [
        "fuzzed",
        "scripted",
        "3",
        "decisions",
        "[{}]",
        &spec("another", 3),
    ];
    Words {
        texts: odd.map(str::to_owned).into(),
        bytes: vec![search.id.clone(), worker.id.clone()],
        meant: BTreeMap::from([
            ("search", vec![text("fuzzed"), text(&id)]),
            ("search:bytes", vec![search.id]),
            ("worker:bytes", vec![worker.id]),
            (
                "id:bytes",
                vec![uuid_to_wire(uuid::Uuid::from_u128(9)), Vec::new()],
            ),
            ("cluster:bytes", vec![Vec::new()]),
            ("digest", vec![text(&digest)]),
            ("weights", vec![text(&digest), Vec::new()]),
            ("fingerprint", vec![text(&digest)]),
            ("missing_datasets", vec![text(&digest)]),
            ("candidate_json", vec![decisions]),
            (
                "spec",
                vec![text(&spec("another", 3)), text(&spec("third", 3))],
            ),
            ("dataset_json", vec![Vec::new()]),
            ("table_json", vec![Vec::new()]),
            ("warm_start_json", vec![Vec::new()]),
            ("states", vec![text("completed"), text("failed")]),
            ("jobs", vec![text("train"), text("test")]),
            ("domain", ["candidate", "worker", "user"].map(text).into()),
            ("kind", ["crashed", "diverged", "hung"].map(text).into()),
            ("level", vec![text("INFO")]),
            ("name", ["score", "one", "b"].map(text).into()),
            ("key", vec![text("seed"), text("searcher")]),
            ("value", vec![text("3"), text("evolution")]),
            ("page_token", vec![Vec::new(), text("1")]),
            ("role", vec![text("worker")]),
        ]),
        numbers: BTreeMap::from([("protocol", 1), ("trial", 2), ("attempt", 1), ("size", 7)]),
    }
}

/// Whether a call was refused for what it said or for how things are, rather than by a fault here.
fn is_orderly(status: &Status) -> bool {
    match status.code() {
        Code::Unknown
        | Code::Unavailable
        | Code::Cancelled
        | Code::DataLoss
        | Code::Unimplemented => false,
        // So the library calls what is no message, or none at all.
        Code::Internal => ["decode", "Missing request message", "protocol error"]
            .iter()
            .any(|known| status.message().contains(known)),
        _ => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_called_with_whatever_message_the_coordinator_goes_on() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(panic);
    }));
    let schema = Schema::read(DESCRIPTORS);
    let methods = &schema.methods;
    assert!(methods.len() > 30, "{methods:?}");
    let mut outcomes = Outcomes::new();
    for _ in 0..WORLDS {
        let folder = tempfile::tempdir().unwrap();
        let hasty = |config: &mut ServerConfig| config.max_lease_wait_ms = 20;
        let server = TestServer::start_with(folder.path(), hasty).await;
        let words = with_words(&server).await;
        let random = prop::collection::vec(any::<u8>(), 0..400);
        let random = values(ROUNDS * methods.len() as u32, random);
        let last = random.len() - methods.len();
        for (number, random) in random.into_iter().enumerate() {
            let method = &methods[number % methods.len()];
            if number < last && ENDS.iter().any(|end| method.path.ends_with(end)) {
                continue;
            }
            let messages = messages(&schema, method, &random, &words);
            let answer = call(&server.channel, method, messages.clone()).await;
            let said = format!("{} {messages:02x?}: {answer:?}", method.path);
            assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{said}");
            let code = answer.as_ref().map_or_else(Status::code, |()| Code::Ok);
            assert!(answer.as_ref().err().is_none_or(is_orderly), "{said}");
            *outcomes
                .entry(&method.path)
                .or_default()
                .entry(code.description())
                .or_default() += 1;
        }
        sound(&server, folder.path()).await;
        server.stop().await;
        // What was taken in is read again.
        let server = TestServer::start(folder.path()).await;
        sound(&server, folder.path()).await;
        server.stop().await;
    }
    println!("{outcomes:#?}");
    let taken = |codes: &&BTreeMap<_, _>| codes.contains_key(Code::Ok.description());
    let taken = outcomes.values().filter(taken).count();
    assert!(
        taken > methods.len() / 2,
        "only {taken} methods have taken anything"
    );
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

/// Answers of each method, by what they say.
type Outcomes<'m> = BTreeMap<&'m str, BTreeMap<&'static str, u32>>;

/// What is sent in one call.
fn messages(schema: &Schema, method: &Method, random: &[u8], words: &Words) -> Vec<Vec<u8>> {
    let mut tape = Tape::new(random);
    let many = if method.takes_a_stream {
        tape.below(4)
    } else {
        1
    };
    let mut messages: Vec<Vec<u8>> = (0..many)
        .map(|_| schema.message(&method.takes, &mut tape, words))
        .collect();
    if tape.once_in(16) {
        messages.push(random.to_vec());
    }
    messages
}

/// The coordinator answers, and its journal is what it should be.
async fn sound(server: &TestServer, folder: &Path) {
    let request = v1::ListRequest::default();
    let listed = server.searches().list(request).await.unwrap().into_inner();
    assert!(!listed.searches.is_empty());
    let checked = check(&JournalReader::open(folder).unwrap()).unwrap();
    assert!(checked.is_sound(), "{:?}", checked.problems);
}
