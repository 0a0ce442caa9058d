//! Tests of tables: what a row is found by, what is refused, and what a missing result means.

use super::*;
use crate::candidate::{Candidate, Value};
use crate::failure::{FailureDomain, FailureKind};
use crate::job::Job;
use crate::spec::{EvaluatorSpec, Repeat, Spec, read};

const SPEC: &str = "\
name: t
hyperparameters:
  kernel: {choice: [3, 5]}
  op: {choice: [none, skip, conv]}
evaluator:
  table:
    path: t.csv
    decisions: {k: kernel, op: op}
    metrics:
      accuracy: {1: a1, 4: a4}
      test_accuracy: t4
    cost: {column: s}
objectives: [{maximize: accuracy}]
budget: {trials: 5}
";
const HEADER: &str = "k,op,a1,a4,t4,s";

fn spec(text: &str) -> Spec {
    read(text, "spec").unwrap_or_else(|errors| panic!("{errors}"))
}

fn table_of(spec: &Spec) -> &TableSpec {
    spec.evaluator.table().unwrap()
}

fn build(spec: &Spec, lines: &[&str]) -> Result<Table, TableError> {
    let mut builder = TableBuilder::new(table_of(spec), HEADER.split(','))?;
    for (line, text) in (2..).zip(lines) {
        let fields: Vec<&str> = text.split(',').collect();
        builder.row(line, fields.into_iter())?;
    }
    builder.finish()
}

fn candidate(kernel: i64, op: &str) -> Candidate {
    Candidate(BTreeMap::from([
        (
            DecisionPath("hyperparameters.kernel".to_owned()),
            Value::Integer(kernel),
        ),
        (
            DecisionPath("hyperparameters.op".to_owned()),
            Value::Text(op.to_owned()),
        ),
    ]))
}

fn train(from: u32, to: u32) -> Job {
    Job::Train {
        from,
        to,
        checkpoint: None,
    }
}

fn answer(
    spec: &Spec,
    table: &Table,
    candidate: &Candidate,
    job: &Job,
) -> Result<Answer, crate::failure::Failure> {
    let cells = table_of(spec).cells(&spec.space, candidate);
    table_of(spec).answer(table, &cells, job, &spec.objective)
}

#[test]
fn a_candidate_is_found_by_names_and_by_the_places_of_alternatives() {
    let spec = spec(SPEC);
    let by_name = build(&spec, &["3,none,.1,.4,.3,8", "5.0, conv ,.2,.5,.6,8"]).unwrap();
    let by_place = build(&spec, &["3,0,.1,.4,.3,8", "5,2,.2,.5,.6,8"]).unwrap();
    for table in [&by_name, &by_place] {
        let found = answer(&spec, table, &candidate(5, "conv"), &train(0, 4)).unwrap();
        let scores: Vec<_> = found
            .measurements
            .iter()
            .map(|m| (m.step, m.metrics.get("accuracy")))
            .collect();
        assert_eq!(scores, [(1, Some(0.2)), (4, Some(0.5))]);
        assert_eq!(
            found.measurements[1].metrics.get("test_accuracy"),
            Some(0.6)
        );
        assert_eq!(found.measurements[0].metrics.get("test_accuracy"), None);
        assert_eq!(found.seconds, 8.0);
    }
}

#[test]
fn a_part_of_the_epochs_takes_a_part_of_the_time_and_brings_its_own_measurements() {
    let spec = spec(SPEC);
    let table = build(&spec, &["3,none,.1,.4,.3,8"]).unwrap();
    let early = answer(&spec, &table, &candidate(3, "none"), &train(0, 2)).unwrap();
    assert_eq!(
        (early.measurements.len(), early.measurements[0].step),
        (1, 1)
    );
    assert_eq!(early.seconds, 4.0);
    let late = answer(&spec, &table, &candidate(3, "none"), &train(1, 4)).unwrap();
    assert_eq!((late.measurements.len(), late.measurements[0].step), (1, 4));
    assert_eq!(late.seconds, 6.0);
    let between = answer(&spec, &table, &candidate(3, "none"), &train(1, 2)).unwrap_err();
    assert_eq!(between.domain, FailureDomain::User);
}

#[test]
fn values_say_what_stands_in_the_column() {
    let text = SPEC.replace(
        "op: op}",
        "op: {decision: op, values: {none: off, skip: 7, conv: 1}}}",
    );
    let spec = spec(&text);
    let table = build(&spec, &["3,off,,1,1,1", "3,7.0,,2,2,2", "3,1,,3,3,3"]).unwrap();
    for (op, row) in [("none", 0), ("skip", 1), ("conv", 2)] {
        let cells = table_of(&spec).cells(&spec.space, &candidate(3, op));
        assert_eq!(table.find(&cells), Some(row), "{op}");
    }
}

#[test]
fn a_decision_that_is_not_active_is_an_empty_cell_and_a_flag_a_word_or_a_number() {
    let text = "\
name: t
evaluator:
  table:
    path: t.csv
    input: [1, 28, 28]
    classes: 10
    decisions: {k: \"network[0].optional\", op: \"network[0].optional[0].conv.kernel\"}
    metrics: {accuracy: a4}
network: [{optional: [{conv: {name: conv, kernel: {choice: [3, 5]}}}]}, flatten, {linear: {features: classes}}]
objectives: [{maximize: accuracy}]
budget: {trials: 5}
";
    let text = text.replace("optional[0].conv.kernel", "optional.conv.kernel");
    let spec = spec(&text);
    let mut candidates = spec.space.enumerate(10).unwrap();
    candidates.sort_by_key(|candidate| candidate.0.len());
    for yes in [["False", "True"], ["0", "1"], ["false", "true"]] {
        let lines = [
            format!("{},,0,7,0,0", yes[0]),
            format!("{},5,0,9,0,0", yes[1]),
        ];
        let table = build(&spec, &[&lines[0], &lines[1]]).unwrap();
        let rows: Vec<_> = candidates
            .iter()
            .map(|candidate| table.find(&table_of(&spec).cells(&spec.space, candidate)))
            .collect();
        assert_eq!(rows, [Some(0), None, Some(1)], "{yes:?}");
    }
    assert_eq!(table_of(&spec).check(&spec.space), Ok(()));
    let described = table_of(&spec).described_data().unwrap();
    assert_eq!(described.input, crate::network::Shape::image(1, 28, 28));
    assert!(spec.space.build(&candidates[2], Some(&described)).is_ok());
}

#[test]
fn a_candidate_without_a_result_takes_its_own_seconds_or_the_mean_of_the_table() {
    let cost = |spec: &Spec, lines: &[&str], op: &str, job: &Job| {
        let table = build(spec, lines).unwrap();
        let info = TableInfo {
            path: "t.csv".to_owned(),
            fingerprint: Digest::of(b"t"),
            rows: table.len() as u64,
        };
        let columns = std::sync::Arc::new(table_of(spec).clone());
        let about = TableJob::of(&info, &columns, &spec.space, &candidate(3, op));
        FailureCost::of(&columns, &table).seconds(&about, &table, job)
    };
    let with = spec(SPEC);
    let lines = [
        "3,none,.1,.4,.3,8",
        "3,skip,nan,.4,.3,20",
        "5,none,.1,.4,.3,",
    ];
    assert_eq!(cost(&with, &lines, "skip", &train(0, 4)), 20.0);
    assert_eq!(cost(&with, &lines, "conv", &train(0, 4)), 14.0);
    assert_eq!(cost(&with, &lines, "conv", &train(0, 1)), 3.5);
    // Nothing is known of times.
    assert_eq!(cost(&with, &lines[2..], "conv", &train(0, 4)), 1.0);
    let without = spec(&SPEC.replace("    cost: {column: s}\n", ""));
    assert_eq!(cost(&without, &lines, "conv", &train(0, 4)), 1.0);
}

#[test]
fn what_the_table_does_not_know_is_the_candidates_own_and_names_the_row() {
    let spec = spec(SPEC);
    let table = build(&spec, &["3,none,,.4,.3,8", "5,none,nan,.4,.3,8"]).unwrap();
    let missing = answer(&spec, &table, &candidate(3, "skip"), &train(0, 4)).unwrap_err();
    assert_eq!(
        (missing.domain, missing.kind),
        (FailureDomain::Candidate, FailureKind::Data)
    );
    assert!(
        missing.message.contains("k=3 op=skip"),
        "{}",
        missing.message
    );
    let empty = answer(&spec, &table, &candidate(3, "none"), &train(0, 1)).unwrap_err();
    assert_eq!(empty.kind, FailureKind::Data);
    assert!(empty.message.contains("\"a1\""), "{}", empty.message);
    let diverged = answer(&spec, &table, &candidate(5, "none"), &train(0, 1)).unwrap_err();
    assert_eq!(
        (diverged.domain, diverged.kind),
        (FailureDomain::Candidate, FailureKind::Diverged)
    );
    let weights = Job::Test {
        weights: Digest::of(b"w"),
    };
    assert!(answer(&spec, &table, &candidate(3, "none"), &weights).is_err());
}

#[test]
fn what_is_wrong_in_a_table_is_said_with_line_and_column() {
    let spec = spec(SPEC);
    let wrong = |lines: &[&str]| build(&spec, lines).unwrap_err().to_string();
    let long = format!("3,{},1,1,1,1", "x".repeat(MAX_CELL + 1));
    let all = [
        wrong(&["3,none,.1,.4,.3,8", "3,none,.1,high,.3,8"]),
        wrong(&["3,none,.1,.4,.3,-8"]),
        wrong(&["3,none,.1,.4,.3,inf"]),
        wrong(&["3,none,.1,.4,.3"]),
        wrong(&["3,none,1,1,1,1", "5,none,1,1,1,1", "3.0,none,2,2,2,2"]),
        wrong(&[&long]),
        wrong(&[]),
        TableBuilder::new(table_of(&spec), ["k", "op", "a1", "a_4", "t4", "s"])
            .err()
            .unwrap()
            .to_string(),
        TableBuilder::new(table_of(&spec), ["k", "op", "a1", "a4", "t4", "s", "k"])
            .err()
            .unwrap()
            .to_string(),
        TableBuilder::new(table_of(&spec), std::iter::repeat_n("k", MAX_COLUMNS + 1))
            .err()
            .unwrap()
            .to_string(),
        TableBuilder::new(table_of(&spec), [])
            .err()
            .unwrap()
            .to_string(),
        TableBuilder::new(table_of(&spec), [""])
            .err()
            .unwrap()
            .to_string(),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn columns_and_decisions_that_do_not_belong_together_are_named() {
    let wrong = |from: &str, to: &str| {
        let spec = spec(&SPEC.replace(from, to));
        table_of(&spec).check(&spec.space).unwrap_err().to_string()
    };
    let all = [
        wrong("{k: kernel", "{k: kernels"),
        wrong("{k: kernel, op: op}", "{k: kernel}"),
    ];
    insta::assert_snapshot!(all.join("\n"));
    let fine = spec(SPEC);
    assert_eq!(table_of(&fine).check(&fine.space), Ok(()));
}

#[test]
fn a_spec_settles_fidelities_and_short_names() {
    let fine = spec(SPEC);
    let table = table_of(&fine);
    assert_eq!(fine.space.training.epochs, 4);
    assert_eq!(
        table.cost,
        Some(CostColumn {
            column: "s".to_owned(),
            at: 4
        })
    );
    assert_eq!(
        table.metrics["test_accuracy"],
        BTreeMap::from([(4, "t4".to_owned())])
    );
    assert_eq!(table.decisions["op"].decision.0, "hyperparameters.op");
    let cheap = spec(&format!("{SPEC}training: {{epochs: 2}}\n"));
    assert_eq!(cheap.space.training.epochs, 2);
    assert_eq!(
        table_of(&cheap).scored_by(&cheap.objective, 2),
        Some((1, "a1"))
    );
    let plain = spec(&SPEC.replace("{1: a1, 4: a4}", "a4"));
    assert_eq!(plain.space.training.epochs, 1);
    assert_eq!(
        table_of(&plain).metrics["accuracy"],
        BTreeMap::from([(1, "a4".to_owned())])
    );
    let twice = spec(&format!("{SPEC}repeat: by-decisions\n"));
    assert_eq!(
        (twice.repeat, fine.repeat),
        (Repeat::ByDecisions, Repeat::Never)
    );
}

#[test]
fn a_spec_of_a_table_comes_back_from_its_json_and_older_ones_are_read() {
    let spec = spec(SPEC);
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    let mut old: serde_json::Value = serde_json::from_str(&json).unwrap();
    let before = old.as_object_mut().unwrap().remove("repeat");
    assert!(before.is_some());
    assert_eq!(
        serde_json::from_value::<Spec>(old).unwrap().repeat,
        Repeat::Never
    );
    assert!(matches!(spec.evaluator, EvaluatorSpec::Table(_)));
}
