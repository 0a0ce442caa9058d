//! Fixed wire messages that the tests of what is printed share.

use espalier_proto::v1;

pub(in crate::cli) fn metric(name: &str, value: f64) -> v1::Metric {
    v1::Metric {
        name: name.to_owned(),
        value,
    }
}

pub(in crate::cli) fn id(byte: u8) -> Vec<u8> {
    (0..16).map(|index| byte.wrapping_add(index)).collect()
}

/// A search in the middle of its work.
pub(in crate::cli) fn running() -> v1::SearchStatus {
    v1::SearchStatus {
        id: id(0x3f),
        name: "fashion-mnist".to_owned(),
        phase: "running".to_owned(),
        reason: String::new(),
        created_ms: 1_795_490_573_000,
        updated_ms: 1_795_490_765_000,
        counts: Some(v1::Counts {
            proposed: 17,
            leased: 14,
            queued: 1,
            running: 2,
            completed: 11,
            failed: 1,
            infeasible: 2,
            cancelled: 0,
            duplicates: 3,
            attempts: 16,
            reused: 0,
        }),
        budget: Some(v1::Budget {
            trials: Some(24),
            time_ms: Some(600_000),
            target: Some(0.92),
            patience: Some(40),
            compute_ms: Some(144_000_000),
            expected_improvement: Some(0.0005),
            deadline_ms: Some(1_795_500_000_000),
        }),
        metric: "accuracy".to_owned(),
        direction: "maximize".to_owned(),
        best_score: Some(0.901_234),
        best_trial: Some(7),
        best_weights: String::new(),
        test_metrics: Vec::new(),
        searcher: "evolution".to_owned(),
        evaluator: "trainer".to_owned(),
        compute_seconds: 362.4,
        elapsed_ms: 192_000,
        events: 61,
        pause_cause: 0,
        parallel: Some(4),
        weight: 3,
    }
}

/// A search that has ended and tested its best.
pub(in crate::cli) fn finished() -> v1::SearchStatus {
    v1::SearchStatus {
        id: id(0xa0),
        name: "second".to_owned(),
        phase: "finished".to_owned(),
        reason: "the budget of trials is used up".to_owned(),
        counts: Some(v1::Counts {
            proposed: 3,
            leased: 3,
            completed: 3,
            attempts: 3,
            ..Default::default()
        }),
        budget: Some(v1::Budget {
            trials: Some(3),
            ..Default::default()
        }),
        best_score: Some(0.8812),
        best_trial: Some(2),
        best_weights: "5d".repeat(32),
        test_metrics: vec![metric("accuracy", 0.8791), metric("loss", 0.3312)],
        ..running()
    }
}

pub(in crate::cli) fn completed(number: u32, score: f64) -> v1::Trial {
    v1::Trial {
        number,
        state: "completed".to_owned(),
        attempts: 1,
        score: Some(score),
        metrics: vec![metric("accuracy", score), metric("loss", 0.33)],
        candidate_json: r#"{"network[0].channels":32,"network[1].body.times":2,
            "training.optimizer.learning_rate":0.031234567}"#
            .to_owned(),
        origin_json: r#"{"searcher":"evolution","method":"mutation","parents":[2]}"#.to_owned(),
        parameters: Some(84_213),
        macs: Some(3_141_592),
        seconds: 21.4,
        worker: "worker-1".to_owned(),
        reason: String::new(),
        weights: "5d".repeat(32),
        candidate_id: "c0".repeat(32),
        step: 3,
        updated_ms: 1_795_490_700_000,
        reused_from: None,
    }
}

pub(in crate::cli) fn reused(number: u32, score: f64) -> v1::Trial {
    let search = id(0xb1);
    v1::Trial {
        attempts: 0,
        seconds: 0.0,
        worker: String::new(),
        reason: format!("reused: trial 12 of search {}", super::uuid_text(&search)),
        reused_from: Some(v1::TrialOf { search, trial: 12 }),
        ..completed(number, score)
    }
}
