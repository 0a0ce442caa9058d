//! Whatever an evaluator prints, the worker goes on reading: nothing of it panics, is taken for something else, or
//! hides what comes after it.

use std::cell::Cell;
use std::sync::Arc;

use espalier_common::evaluator::{
    Done, FromEvaluator, Line, LogLevel, MAX_LINE, Ready, checked_metrics,
};
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptKey, AttemptNumber, SearchId, TrialNumber};
use espalier_common::job::JobKind;
use espalier_fuzzing::{changed, changed_json, check};
use proptest::prelude::*;
use tokio::io::BufReader;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::lines::Lines;
use super::output::{Output, Scope, Written, read_stdout};
use super::protocol::{Parsed, parse};

const KEY: AttemptKey = AttemptKey {
    search: SearchId(uuid::Uuid::from_u128(7)),
    trial: TrialNumber(3),
    attempt: AttemptNumber(2),
};

fn metrics() -> std::collections::BTreeMap<String, Option<f64>> {
    [
        ("loss", Some(0.1 + 0.2)),
        ("accuracy", None),
        ("é \"x\"", Some(-5e-324)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// A message of each kind, as it comes.
fn messages() -> Vec<FromEvaluator> {
    vec![
        FromEvaluator::Ready(Ready {
            protocol: 1,
            description: "mine 1.0".to_owned(),
            jobs: vec![JobKind::Train, JobKind::Test],
            devices: vec!["cpu".to_owned()],
            checkpoints: true,
        }),
        FromEvaluator::Progress { fraction: 0.25 },
        FromEvaluator::Measurement {
            step: 3,
            metrics: metrics(),
            seconds: metrics(),
        },
        FromEvaluator::Log {
            level: LogLevel::Warn,
            message: "slow\ndisk 😀".to_owned(),
        },
        FromEvaluator::Checkpoint {
            path: "checkpoint".to_owned(),
            step: 3,
        },
        FromEvaluator::Done(Done {
            metrics: metrics(),
            weights: Some("weights.safetensors".to_owned()),
        }),
        FromEvaluator::Failed {
            failure: Failure::new(
                FailureDomain::Candidate,
                FailureKind::Diverged,
                "loss is NaN",
            ),
        },
    ]
}

fn line(message: FromEvaluator) -> String {
    let line = Line::new(Some(KEY.to_string()), message);
    serde_json::to_string(&line).unwrap()
}

/// What evaluators print, and the same damaged.
fn printed() -> impl Strategy<Value = Vec<u8>> {
    let mut real: Vec<Vec<u8>> = messages()
        .into_iter()
        .map(|message| line(message).into_bytes())
        .collect();
    real.push(b"Epoch 1:  10%|#         | 12/117\r".to_vec());
    real.push(
        b"{\"espalier\": 1, \"type\": \"measurement\", \"step\": 1, \"metrics\": {\"loss\": NaN}}"
            .to_vec(),
    );
    let json: Vec<serde_json::Value> = messages()
        .into_iter()
        .map(|message| serde_json::to_value(Line::new(None, message)).unwrap())
        .collect();
    // A map has its members in order, so that `espalier` has to be put first again.
    let other_shapes = changed_json(json).prop_map(|value| {
        let text = value.to_string();
        match text.strip_prefix('{') {
            Some(rest) => format!("{{\"espalier\":1,{rest}").into_bytes(),
            None => text.into_bytes(),
        }
    });
    prop_oneof![
        2 => changed(real),
        2 => other_shapes,
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

#[test]
fn bytes_become_the_same_lines_however_the_pipe_hands_them_out() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let letters = prop::sample::select(b"ab\n\r\xff\xc3\xa9\xf0".to_vec());
    let bytes = prop::collection::vec(letters, 0..200);
    check(
        1_000,
        (bytes, 1_usize..40, 1_usize..12),
        |(bytes, max, buffer)| {
            let expected: Vec<(String, bool)> = bytes
                .split(|byte| matches!(byte, b'\n' | b'\r'))
                .filter(|line| !line.is_empty())
                .map(|line| {
                    let kept = &line[..line.len().min(max)];
                    (String::from_utf8_lossy(kept).into_owned(), line.len() > max)
                })
                .collect();
            let mut lines = Lines::new(BufReader::with_capacity(buffer, &*bytes), max);
            let found = runtime.block_on(async {
                let mut found = Vec::new();
                while let Some(line) = lines.next().await {
                    found.push((line.text, line.cut));
                }
                found
            });
            prop_assert_eq!(found, expected);
            Ok(())
        },
    );
}

#[test]
fn a_line_is_log_or_a_message_that_is_the_same_when_it_is_written_again() {
    let kinds = Cell::new([0; 3]);
    check(3_000, printed(), |bytes| {
        let text = String::from_utf8_lossy(&bytes);
        let mut counts = kinds.get();
        match parse(&text) {
            Parsed::Log => counts[0] += 1,
            Parsed::Message(attempt_id, message) => {
                counts[1] += 1;
                if let FromEvaluator::Measurement { metrics, .. } = &message
                    && let Ok(metrics) = checked_metrics(metrics)
                {
                    prop_assert!(metrics.0.values().all(|value| value.is_finite()));
                }
                let again = Line::new(attempt_id.clone(), message.clone());
                let again = serde_json::to_string(&again).unwrap();
                prop_assert_eq!(parse(&again), Parsed::Message(attempt_id, message));
            }
            Parsed::Bad(reason) => {
                counts[2] += 1;
                prop_assert!(reason.len() < 4_096, "{} bytes", reason.len());
            }
            Parsed::UnknownType(kind) => prop_assert!(kind.chars().count() <= 40),
            Parsed::OtherVersion(version) => prop_assert!(version != 1),
        }
        kinds.set(counts);
        Ok(())
    });
    let kinds = kinds.get();
    assert!(kinds.iter().all(|&count| count > 100), "{kinds:?}");
}

/// All that the slot gets of what an evaluator printed during a job.
async fn outputs_of(printed: &[u8]) -> Vec<Output> {
    let (_scope, scope) = watch::channel(Scope::of_job("mine", 0, KEY));
    let (alive, _) = watch::channel(Instant::now());
    let (sender, mut receiver) = mpsc::channel(8);
    let written = Written::new(u64::MAX);
    let reading = read_stdout(printed, scope, (alive, Arc::clone(&written)), sender);
    let taking = async {
        let mut outputs = Vec::new();
        while let Some(output) = receiver.recv().await {
            outputs.push(output);
        }
        outputs
    };
    tokio::join!(reading, taking).1
}

#[test]
fn what_comes_after_any_output_is_read_as_if_nothing_had_come_before() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let last = FromEvaluator::Measurement {
        step: 77,
        metrics: metrics(),
        seconds: metrics(),
    };
    let end = format!("\n{}\n", line(last.clone()));
    check(300, prop::collection::vec(printed(), 0..5), |before| {
        let mut bytes = before.join(&b"\n"[..]);
        bytes.extend(end.as_bytes());
        match runtime.block_on(outputs_of(&bytes)).last() {
            Some(Output::Message(message)) => prop_assert_eq!(message, &last),
            other => prop_assert!(false, "{other:?}"),
        }
        Ok(())
    });
}

#[tokio::test]
async fn a_line_without_end_is_no_message_and_costs_no_more_than_its_bound() {
    let last = FromEvaluator::Progress { fraction: 0.5 };
    for start in [
        "",
        "{\"espalier\":1,\"type\":\"done\",\"weights\":\"",
        "\u{ff}",
    ] {
        // Were the rest of the line kept or read as the next one, a message would be seen.
        let long = start.to_owned() + &"x".repeat(3 * MAX_LINE) + "\"}";
        let mut lines = Lines::new(long.as_bytes(), MAX_LINE);
        let first = lines.next().await.unwrap();
        assert!(first.cut && first.text.len() <= MAX_LINE + 8);
        assert_eq!(lines.next().await, None);
        let printed = format!("{long}\n{}\n", line(last.clone()));
        assert!(outputs_of(printed.as_bytes()).await.is_empty());
    }
}

#[test]
fn deep_nesting_ends_no_worker() {
    for opened in ["[", "{\"a\":"] {
        let text = format!(
            "{{\"espalier\":1,\"type\":\"done\",\"x\":{}",
            opened.repeat(100_000)
        );
        assert!(matches!(parse(&text), Parsed::Bad(_)));
    }
}
