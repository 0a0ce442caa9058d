//! The command on a table made here: what it prints, draws and writes, and what it refuses.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Parser as _;

use super::super::args::{Cli, Command, SimulateArgs};
use super::*;

/// 5 x 5 x 5 candidates.
const SPEC: &str = "
name: toy
hyperparameters: {x: {range: [0, 4]}, y: {range: [0, 4]}, z: {choice: [a, b, c, d, e]}}
evaluator:
  table:
    path: toy.csv
    decisions: {x: x, y: y, z: z}
    metrics: {accuracy: val, test_accuracy: test}
    cost: {column: s}
objectives: [{maximize: accuracy}]
budget: {trials: 40}
seed: 1
";

/// A hill with a ripple; one row is missing.
fn table() -> String {
    let mut text = "x,y,z,val,test,s\n".to_owned();
    for (x, y, z) in (0..125).map(|n| (n % 5, n / 5 % 5, n / 25)) {
        if (x, y, z) == (0, 0, 0) {
            continue;
        }
        let far = (x - 3_i32).pow(2) + (y - 1).pow(2) + 2 * (z - 2).pow(2);
        let ripple = (7 * x + 11 * y + 13 * z) % 5;
        let val = 90.0 - 0.5 * f64::from(far) - 0.1 * f64::from(ripple);
        let letter = ["a", "b", "c", "d", "e"][z as usize];
        text += &format!("{x},{y},{letter},{val:.2},{:.2},{}\n", val - 1.5, 10 + x);
    }
    text
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("toy.csv"), table()).unwrap();
    std::fs::write(folder.path().join("toy.yaml"), SPEC).unwrap();
    folder
}

fn args(folder: &Path, options: &[&str]) -> SimulateArgs {
    let spec = folder.join("toy.yaml");
    let line = ["espalier", "simulate", spec.to_str().unwrap()];
    let cli = Cli::try_parse_from(line.iter().chain(options)).unwrap();
    match cli.command {
        Command::Simulate(args) => args,
        other => panic!("{other:?}"),
    }
}

struct Done {
    plan: Plan,
    curves: Curves,
    report: Report,
}

/// Runs them all. The searchers' own time, which differs from run to run, is left out.
fn done(folder: &Path, options: &[&str]) -> Done {
    let args = args(folder, options);
    let plan = Plan::of(&args).unwrap();
    let finished = work::run(&plan, args.threads, &AtomicBool::new(false)).unwrap();
    let curves = curves(&plan, finished);
    let mut report = Report::of(&plan.setting(), &curves);
    for one in &mut report.searchers {
        assert!(one.thinking_ms.take().is_some());
    }
    Done {
        plan,
        curves,
        report,
    }
}

fn refused(folder: &Path, options: &[&str]) -> String {
    let error = Plan::of(&args(folder, options)).map(drop).unwrap_err();
    assert_eq!(error.code(), 2);
    error.to_string()
}

const THREE: [&str; 2] = [
    "--searcher",
    "random, {evolution: {population: 8}}, local-search",
];

#[test]
fn the_report_says_how_searchers_do_and_which_differ() {
    let folder = folder();
    let options = [&THREE[..], &["--seeds", "30", "--target", "0,0.5"]].concat();
    insta::assert_snapshot!(text::text(&done(folder.path(), &options).report));
}

#[test]
fn the_report_of_one_searcher_on_many_workers_says_what_was_lost() {
    let folder = folder();
    let options = [
        "--workers",
        "4",
        "--speed-spread",
        "3",
        "--failure-rate",
        "0.1",
        "--seeds",
        "4",
        "--trials",
        "200",
        "--checkpoints",
        "10,100",
    ];
    insta::assert_snapshot!(text::text(&done(folder.path(), &options).report));
}

#[test]
fn the_report_is_the_same_with_any_number_of_threads() {
    let folder = folder();
    let with = |threads: &str| {
        let options = [
            &THREE[..],
            &["--seeds", "9", "--workers", "3", "--threads", threads],
        ]
        .concat();
        let done = done(folder.path(), &options);
        let mut rows = Vec::new();
        evaluations::write(&mut rows, &done.plan, &done.curves).unwrap();
        let drawn = plot::svg(&done.report, done.plan.trials, &done.curves).unwrap();
        let json = serde_json::to_string(&done.report).unwrap();
        (json, String::from_utf8(rows).unwrap(), drawn)
    };
    let alone = with("1");
    assert_eq!(alone, with("2"));
    assert_eq!(alone, with("64"));
}

#[test]
fn the_csv_file_has_a_row_for_every_evaluation() {
    let folder = folder();
    let done = done(
        folder.path(),
        &["--searcher", "grid,random", "--seeds", "2"],
    );
    let mut rows = Vec::new();
    evaluations::write(&mut rows, &done.plan, &done.curves).unwrap();
    let mut reader = csv::Reader::from_reader(rows.as_slice());
    let header = reader
        .headers()
        .unwrap()
        .iter()
        .collect::<Vec<_>>()
        .join(",");
    assert_eq!(
        header,
        "searcher,seed,evaluation,trial,seconds,score,best,regret,test,test_of_best,test_regret"
    );
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2 * 2 * 40);
    let of = |row: &csv::StringRecord, column: usize| row.get(column).unwrap().to_owned();
    let last = rows.last().unwrap();
    assert_eq!(
        [of(last, 0), of(last, 1), of(last, 2)],
        ["random", "2", "40"]
    );
    // The best is never worse than the score, and its regret is what lacks to the best of the table.
    for row in rows.iter().filter(|row| !of(row, 5).is_empty()) {
        let number = |column| of(row, column).parse::<f64>().unwrap();
        assert!(number(6) >= number(5));
        assert!((number(6) + number(7) - done.plan.optimum.score).abs() < 1e-9);
        assert!((number(9) - (number(6) - 1.5)).abs() < 1e-9);
    }
}

#[test]
fn the_plot_names_axes_and_searchers_and_is_whole() {
    let folder = folder();
    let done = done(folder.path(), &THREE);
    let drawn = plot::svg(&done.report, done.plan.trials, &done.curves).unwrap();
    for words in [
        "<svg width=\"840\" height=\"520\" viewBox=\"0 0 1680 1040\"",
        "evaluations",
        "regret (accuracy below the best of the table)",
        "toy: regret of the best so far",
        "median and quartiles of 20 seeds, 1 worker",
        "evolution: {population",
        "</svg>",
    ] {
        assert!(drawn.contains(words), "{words}");
    }
    assert!(!drawn.contains("NaN") && !drawn.contains("inf"));
}

#[test]
fn a_search_that_was_interrupted_is_left_out() {
    let folder = folder();
    let plan = Plan::of(&args(folder.path(), &[])).unwrap();
    let finished = work::run(&plan, Some(1), &AtomicBool::new(true)).unwrap();
    assert!(finished.is_empty());
}

#[test]
fn what_cannot_be_simulated_is_refused_in_a_sentence() {
    let folder = folder();
    let mut all = Vec::new();
    for options in [
        vec!["--searcher", "randon"],
        vec!["--searcher", "random,random"],
        vec!["--searcher", "random,"],
        vec!["--searcher", "{evolution: {populaton: 3}}"],
        vec!["--searcher", "{evolution: {population: 3}"],
        vec!["--checkpoints", "10,41"],
        vec!["--seeds", "10000", "--trials", "1000000"],
    ] {
        all.push(format!(
            "{}\n  {}",
            options.join(" "),
            refused(folder.path(), &options)
        ));
    }
    let spec = SPEC.replace("evaluator:\n  table:", "evaluator: mine\n#");
    let spec = spec.lines().filter(|line| !line.starts_with("    "));
    std::fs::write(
        folder.path().join("toy.yaml"),
        spec.collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let text = refused(folder.path(), &[]);
    all.push(text.replace(folder.path().to_str().unwrap(), "FOLDER"));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn every_searcher_compared_must_know_what_the_budget_asks_of_it() {
    let folder = folder();
    let spec = |searcher: &str| {
        let text = SPEC.replace("trials: 40", "trials: 40, expected_improvement: 0.01");
        std::fs::write(folder.path().join("toy.yaml"), text + searcher).unwrap();
    };
    // The spec's own searcher does not run, so it may be one that could not.
    spec("");
    let plan = Plan::of(&args(folder.path(), &["--searcher", "bayesian"])).unwrap();
    assert_eq!(plan.definition.spec.budget.expected_improvement, Some(0.01));
    assert!(refused(folder.path(), &[]).contains("`evolution` has no model"));
    spec("searcher: bayesian\n");
    assert!(Plan::of(&args(folder.path(), &[])).is_ok());
    let both = ["--searcher", "bayesian, {evolution: {population: 5}}"];
    let text = refused(folder.path(), &both);
    insta::assert_snapshot!(text, @"--searcher: `evolution: {population: 5}` has no model that says what a further trial would bring, so the spec's `budget.expected_improvement` cannot end its searches; compare bayesian searchers only, or take it out of the spec (`patience` is there for every searcher)");
}

#[test]
fn a_time_of_day_ends_no_simulated_search_and_the_report_says_so() {
    let folder = folder();
    let text = SPEC.replace("trials: 40", "trials: 40, deadline: 2020-01-31T18:00:00Z");
    std::fs::write(folder.path().join("toy.yaml"), text).unwrap();
    let report = done(folder.path(), &["--seeds", "2"]).report;
    assert_eq!(report.searchers[0].evaluations.median, 40.0);
    assert!(text::text(&report).contains("\nnote       budget.deadline is a time of day"));
    assert_eq!(report.notes.len(), 1);
}

#[test]
fn the_report_says_what_regret_is_measured_from_where_that_is_not_what_a_search_can_find() {
    let folder = folder();
    // A row for the first candidate, so that the table and the space have something in common.
    let rows = table() + "0,0,a,80,78,10\n";
    std::fs::write(folder.path().join("toy.csv"), rows).unwrap();
    let text = SPEC.replace("x: {range: [0, 4]}", "x: {range: [0, 4000]}");
    std::fs::write(folder.path().join("toy.yaml"), text).unwrap();
    let report = done(folder.path(), &["--seeds", "2", "--trials", "3"]).report;
    assert!(
        text::text(&report)
            .contains("note       regret is measured from the best row of the table")
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["table"]["best_of"], "rows");
    // Hardly any candidate has a row, and what there is none of is said in words.
    insta::assert_snapshot!(text::text(&report));
}

#[test]
fn a_decision_without_a_column_is_told_before_the_rows_that_differ_in_it() {
    let folder = folder();
    let text = SPEC.replace("{x: x, y: y, z: z}", "{y: y, z: z}");
    std::fs::write(folder.path().join("toy.yaml"), text).unwrap();
    let text = refused(folder.path(), &[]);
    assert!(
        text.contains("no column stands for the decision hyperparameters.x"),
        "{text}"
    );
    std::fs::write(folder.path().join("toy.yaml"), SPEC).unwrap();
    std::fs::write(folder.path().join("toy.csv"), "").unwrap();
    let text = refused(folder.path(), &[]);
    assert!(
        text.contains("toy.csv") && text.contains("it is empty"),
        "{text}"
    );
}

#[test]
fn checkpoints_are_the_last_steps_before_the_budget() {
    let of = |trials| checkpoints(&[], trials).unwrap();
    assert_eq!(of(200), [10, 20, 50, 100, 200]);
    assert_eq!(of(81), [5, 10, 20, 50, 81]);
    assert_eq!(of(3), [1, 2, 3]);
    assert_eq!(of(1), [1]);
    assert_eq!(checkpoints(&[7, 3, 7], 10).unwrap(), [3, 7]);
}
