//! Jobs for tests.

use std::collections::BTreeMap;

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber};
use espalier_common::job::{Job, LeasedJob};
use espalier_common::metrics::{Direction, Objective};
use espalier_common::network::Shape;
use espalier_common::recipe::{Optimizer, Recipe, Schedule};
use uuid::Uuid;

/// A job for the test evaluator, with what it is to do.
pub fn job(trial: u32, what: &str) -> LeasedJob {
    let decision = (DecisionPath("do".to_owned()), Value::Text(what.to_owned()));
    LeasedJob {
        table: None,
        search: SearchId(Uuid::from_u128(7)),
        search_name: "test".to_owned(),
        trial: TrialNumber(trial),
        attempt: AttemptNumber(1),
        job: Job::train(3),
        evaluator: "mine".to_owned(),
        network: None,
        decisions: Candidate(BTreeMap::from([decision])),
        training: Recipe {
            epochs: 3,
            batch_size: 8,
            optimizer: Optimizer::Adamw {
                learning_rate: 0.1,
                weight_decay: 0.0,
            },
            schedule: Schedule::Constant { warmup_epochs: 0.0 },
            label_smoothing: 0.0,
        },
        dataset: None,
        objective: Objective {
            metric: "accuracy".to_owned(),
            direction: Direction::Maximize,
        },
        seed: 1,
    }
}

/// A job that measures weights on the test split.
pub fn test_job(trial: u32, weights: Digest) -> LeasedJob {
    LeasedJob {
        job: Job::Test { weights },
        attempt: AttemptNumber(2),
        ..job(trial, "test")
    }
}

/// A data set that no machine has.
pub fn dataset() -> DatasetInfo {
    DatasetInfo {
        reference: DatasetReference {
            format: DatasetFormat::Idx,
            path: "nowhere".to_owned(),
            train: None,
            validation: 10,
            split_seed: 0,
        },
        fingerprint: Digest::of(b"data"),
        input: Shape::image(1, 2, 2),
        classes: 2,
        vocabulary: None,
        train: 10,
        validation: 10,
        test: 0,
    }
}
