//! Whatever comes over the wire: decoded and converted it is a value of the domain or an error, never a panic, and
//! it takes no more memory than its bytes give reason for.

// Helpers stand outside of `#[test]` functions: a failure in them is to fail the test.
#![allow(clippy::unwrap_used)]

mod memory;

use std::cell::Cell;
use std::collections::BTreeSet;

use espalier_common::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber};
use espalier_common::job::{Job, LeasedJob};
use espalier_common::network::Shape;
use espalier_fuzzing::wire::{Schema, Words, delimited};
use espalier_fuzzing::{Tape, changed, changed_json, check, text};
use espalier_proto::{
    DESCRIPTORS, attempt_from_wire, attempt_to_wire, digest_from_wire, failure_from_wire,
    failure_to_wire, leased_job_from_wire, leased_job_to_wire, measurement_from_wire,
    measurement_to_wire, search_id_from_wire, uuid_to_wire, v1,
};
use proptest::prelude::*;
use prost::Message;

/// What takes bytes for one kind of message, and says how they are encoded again.
type Decode = fn(&[u8]) -> Option<Vec<u8>>;

fn decode<M: Message + Default>(bytes: &[u8]) -> Option<Vec<u8>> {
    M::decode(bytes).ok().map(|message| message.encode_to_vec())
}

macro_rules! messages {
    ($($name:ident)*) => {
        /// Every message there is, by its name in the descriptors.
        const MESSAGES: &[(&str, Decode)] =
            &[$((concat!(".espalier.v1.", stringify!($name)), decode::<v1::$name>)),*];
    };
}

messages!(
    Attempt BanRequest BestReply BestRequest Budget
    CancelRequest CheckpointHeader ClusterStatus CompleteReply CompleteRequest Counts
    CreateReply CreateRequest CreateTokenReply CreateTokenRequest DatasetFile
    DownloadArtifactReply DownloadArtifactRequest DownloadReply DownloadRequest EnqueueRequest
    EnrolReply EnrolRequest EvaluatorOffer FailReply FailRequest
    Failure FailureGroup FindDatasetRequest ForkRequest GetClusterRequest
    GetRequest Lease LeaseReply LeaseRequest LeaveReply
    LeaveRequest ListDatasetsReply ListDatasetsRequest ListFailuresReply ListFailuresRequest
    ListReply ListRequest ListTokensReply ListTokensRequest ListTrialsReply
    ListTrialsRequest ListWishesReply ListWishesRequest LogLine LogReply
    LogRequest LogsReply LogsRequest Measurement Metric
    PauseRequest PinRequest PushDatasetRequest RegisterReply RegisterRequest
    ReleaseReply ReleaseRequest RemoveDatasetRequest RenewReply RenewRequest
    ReportReply ReportRequest ResumeRequest RetryReply RetryRequest
    RevokeTokenReply RevokeTokenRequest SearchStatus SetLimitsRequest Setting
    StopRequest StoredDataset Token Trial TrialChange
    TrialOf UploadArtifactReply UploadArtifactRequest UploadHeader Waiting
    WatchReply WatchRequest WhoAmIReply WhoAmIRequest Wish
    Worker
);

fn words() -> Words {
    Words {
        texts: vec![
            serde_json::to_string(&job()).unwrap(),
            "worker".to_owned(),
            "out_of_memory".to_owned(),
            "6c6f7373".repeat(8),
        ],
        bytes: vec![vec![7; 16]],
        ..Words::default()
    }
}

/// A job as a coordinator leases it.
fn job() -> LeasedJob {
    let spec = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/fashion-mnist.yaml"
    );
    let spec = espalier_common::spec::read(&std::fs::read_to_string(spec).unwrap(), spec).unwrap();
    let dataset = DatasetInfo {
        reference: DatasetReference {
            format: DatasetFormat::Idx,
            path: "fashion-mnist".to_owned(),
            train: None,
            validation: 10,
            split_seed: 0,
        },
        fingerprint: Digest::of(b"data"),
        input: Shape::image(1, 28, 28),
        classes: 10,
        vocabulary: None,
        train: 10,
        validation: 10,
        test: 0,
    };
    let candidate = spec.space.first();
    let built = spec.space.build(&candidate, Some(&dataset)).unwrap();
    assert!(built.network.is_some());
    LeasedJob {
        search: SearchId(uuid::Uuid::from_u128(7)),
        search_name: spec.name,
        trial: TrialNumber(3),
        attempt: AttemptNumber(1),
        job: Job::train(3),
        evaluator: "trainer".to_owned(),
        network: built.network,
        decisions: candidate,
        training: built.recipe,
        dataset: Some(dataset),
        table: None,
        objective: spec.objective,
        seed: u64::MAX,
    }
}

fn random_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..600)
}

#[test]
fn every_message_of_the_descriptors_is_among_those_that_are_tried() {
    let schema = Schema::read(DESCRIPTORS);
    let described: BTreeSet<&str> = schema.names().collect();
    let tried: BTreeSet<&str> = MESSAGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(described, tried);
}

#[test]
fn whatever_bytes_come_each_message_is_refused_or_stays_the_same_when_it_is_sent_on() {
    let schema = Schema::read(DESCRIPTORS);
    let words = words();
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    check(50, random_bytes(), |random| {
        for (name, decode) in MESSAGES {
            let made = schema.message(name, &mut Tape::new(&random), &words);
            for bytes in [&made, &random] {
                let Some(mut once) = decode(bytes) else {
                    refused.set(refused.get() + 1);
                    continue;
                };
                taken.set(taken.get() + 1);
                let mut twice = decode(&once).unwrap();
                if once != twice {
                    // The members of a map come in any order.
                    once.sort_unstable();
                    twice.sort_unstable();
                }
                prop_assert!(once == twice, "{}", name);
            }
        }
        Ok(())
    });
    let counts = (taken.get(), refused.get());
    assert!(counts.0 > 1_000 && counts.1 > 1_000, "{counts:?}");
}

#[test]
fn what_is_converted_is_the_same_when_it_is_converted_back() {
    let schema = Schema::read(DESCRIPTORS);
    let words = words();
    let taken = Cell::new([0; 4]);
    let count = |which: usize| {
        let mut counts = taken.get();
        counts[which] += 1;
        taken.set(counts);
    };
    check(3_000, random_bytes(), |random| {
        let mut tape = Tape::new(&random);
        let made = |name: &str, tape: &mut Tape<'_>| schema.message(name, tape, &words);
        if let Ok(wire) = v1::Attempt::decode(&*made(".espalier.v1.Attempt", &mut tape))
            && let Ok(key) = attempt_from_wire(Some(&wire))
        {
            count(0);
            prop_assert_eq!(attempt_to_wire(key), wire);
        }
        if let Ok(wire) = v1::Measurement::decode(&*made(".espalier.v1.Measurement", &mut tape))
            && let Ok(measurement) = measurement_from_wire(wire.clone())
        {
            count(1);
            let mut values = measurement.metrics.0.values();
            prop_assert!(values.all(|value| value.is_finite()));
            let back = measurement_to_wire(&measurement);
            prop_assert_eq!(back.metrics.len(), wire.metrics.len());
            prop_assert_eq!(measurement_from_wire(back).unwrap(), measurement);
        }
        let mut bytes = made(".espalier.v1.Failure", &mut tape);
        if !tape.once_in(8) {
            // The last of a field counts: most domains and kinds are to be known ones.
            let domain = tape.pick(&["candidate", "worker", "user", "internal"]);
            delimited(1, domain.as_bytes(), &mut bytes);
            delimited(
                2,
                tape.pick(&["crashed", "hung", "disk"]).as_bytes(),
                &mut bytes,
            );
        }
        if let Ok(wire) = v1::Failure::decode(&*bytes)
            && let Ok(failure) = failure_from_wire(Some(wire.clone()))
        {
            count(2);
            let back = failure_to_wire(&failure);
            prop_assert_eq!((&back.domain, &back.kind), (&wire.domain, &wire.kind));
            prop_assert!(wire.message.starts_with(&back.message));
            prop_assert!(wire.log_tail.ends_with(&back.log_tail));
            prop_assert_eq!(failure_from_wire(Some(back)).unwrap(), failure);
        }
        if let Ok(id) = search_id_from_wire(tape.take(16)) {
            count(3);
            prop_assert_eq!(search_id_from_wire(&uuid_to_wire(id.0)).unwrap(), id);
        }
        Ok(())
    });
    let taken = taken.get();
    assert!(taken.iter().all(|&count| count > 100), "{taken:?}");
}

#[test]
fn a_failure_of_any_length_is_cut_between_letters_and_stays_as_it_is_from_then_on() {
    let letters = prop::sample::select(vec!["a", "é", "€", "😀", "\0"]);
    check(
        300,
        (0_usize..12_000, letters, 0_usize..4),
        |(times, letter, before)| {
            let text = "x".repeat(before) + &letter.repeat(times);
            let wire = v1::Failure {
                domain: "worker".to_owned(),
                kind: "crashed".to_owned(),
                message: text.clone(),
                log_tail: text.clone(),
            };
            let failure = failure_from_wire(Some(wire)).unwrap();
            prop_assert!(text.starts_with(&failure.message) && text.ends_with(&failure.log_tail));
            let again = failure_from_wire(Some(failure_to_wire(&failure))).unwrap();
            prop_assert_eq!(again, failure);
            Ok(())
        },
    );
}

#[test]
fn a_digest_that_is_taken_is_the_same_when_it_is_written() {
    let real = "0123456789abcdef".repeat(4);
    let taken = Cell::new(0);
    check(3_000, text(&[&real, &real.to_uppercase()]), |text| {
        if let Ok(digest) = digest_from_wire("digest", &text) {
            taken.set(taken.get() + 1);
            prop_assert_eq!(digest.to_string(), text.to_ascii_lowercase());
        }
        Ok(())
    });
    assert!(taken.get() > 100, "{taken:?}");
}

/// As it comes over the wire, with the key of the job that it brings.
fn lease(json: String) -> v1::Lease {
    let key = serde_json::from_str::<LeasedJob>(&json).map(|job| job.key());
    v1::Lease {
        attempt: Some(attempt_to_wire(key.unwrap_or_else(|_| job().key()))),
        job_json: json,
    }
}

#[test]
fn a_changed_job_is_refused_or_is_the_same_when_it_is_converted_back() {
    let mut test = job();
    test.job = Job::Test {
        weights: Digest::of(b"weights"),
    };
    test.network = None;
    let jobs = [job(), test].map(|job| serde_json::to_value(job).unwrap());
    let texts = jobs
        .iter()
        .map(|job| job.to_string().into_bytes())
        .collect();
    let texts = changed(texts).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let values = changed_json(jobs.to_vec()).prop_map(|value| value.to_string());
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    check(800, prop_oneof![texts, values], |json| {
        let Ok(job) = leased_job_from_wire(&lease(json)) else {
            refused.set(refused.get() + 1);
            return Ok(());
        };
        taken.set(taken.get() + 1);
        let wire = leased_job_to_wire(&job).unwrap();
        prop_assert_eq!(leased_job_from_wire(&wire).unwrap(), job);
        Ok(())
    });
    let counts = (taken.get(), refused.get());
    assert!(counts.0 > 100 && counts.1 > 100, "{counts:?}");
}

#[test]
fn a_message_takes_at_most_a_bounded_multiple_of_its_bytes_in_memory() {
    /// Many small things are dear: two bytes of the wire say that there is one with nothing in it.
    const MOST: (usize, usize) = (60, 250);
    let schema = Schema::read(DESCRIPTORS);
    for (name, decode) in MESSAGES {
        // Requests come from whoever has a token, replies from a coordinator that is trusted.
        let most = if name.ends_with("Request") {
            MOST.0
        } else {
            MOST.1
        };
        for field in schema.repeated(name) {
            let mut bytes = Vec::new();
            while bytes.len() < 64 * 1024 {
                delimited(field, &[], &mut bytes);
            }
            let used = memory::peak(|| decode(&bytes).is_some());
            let times = used / bytes.len();
            assert!(
                times <= most,
                "{name}, field {field}: {times} times its bytes"
            );
        }
        // What only says that it is long.
        for field in 1..20 {
            let mut bytes = Vec::new();
            delimited(field, &[0; 100], &mut bytes);
            bytes.splice(1..2, [0xff, 0xff, 0xff, 0xff, 0x07]);
            let used = memory::peak(|| decode(&bytes).is_some());
            assert!(used < 64 * 1024, "{name}, field {field}: {used} bytes");
        }
    }
}
