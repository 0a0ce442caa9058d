//! What a run prints at its end, and what it makes of its command line.

use clap::Parser as _;

use super::super::args::{Cli, Command};
use super::super::render::samples::{completed, finished};
use super::super::weights::Saved;
use super::*;

fn args(line: &str) -> RunArgs {
    match Cli::try_parse_from(line.split_whitespace())
        .unwrap()
        .command
    {
        Command::Run(args) => args,
        other => panic!("{other:?}"),
    }
}

fn spec_file(evaluator: &str) -> SpecFile {
    let text = format!(
        "name: tiny\nhyperparameters: {{x: {{range: [0.0, 1.0]}}}}\nevaluator: {evaluator}\n\
         objectives: [{{minimize: loss}}]\nbudget: {{trials: 3}}\n"
    );
    SpecFile {
        table: None,
        known: Vec::new(),
        path: PathBuf::from("tiny.yaml"),
        spec: espalier_common::spec::read(&text, "tiny.yaml").unwrap(),
        text,
        warnings: Vec::new(),
        dataset: None,
    }
}

fn summary() -> Summary {
    Summary {
        status: finished(),
        best: vec![completed(2, 0.8812), completed(1, 0.87)],
        saved: Some(Saved {
            candidate: PathBuf::from("/runs/demo/best/candidate.json"),
            weights: Some(PathBuf::from("/runs/demo/best/weights.safetensors")),
            trial: 2,
        }),
        folder: PathBuf::from("/runs/demo"),
        logs: PathBuf::from("/runs/demo/logs"),
        duration_ms: 192_345,
    }
}

#[test]
fn the_end_of_a_run() {
    insta::assert_snapshot!(summary().text(None));
}

#[test]
fn the_end_of_a_run_without_a_completed_trial() {
    let mut summary = summary();
    summary.best.clear();
    summary.saved = None;
    summary.status.counts = Some(v1::Counts {
        failed: 3,
        attempts: 9,
        ..Default::default()
    });
    insta::assert_snapshot!(summary.text(None));
    assert_eq!(completed_or_failed(&summary.status).unwrap_err().code(), 1);
}

#[test]
fn the_end_of_a_run_as_json() {
    insta::assert_json_snapshot!(summary().view());
}

#[test]
fn an_inline_command_becomes_an_evaluator_of_the_workers() {
    let file = spec_file("{command: [python3, my train.py]}");
    let offered = evaluators(&args("espalier run tiny.yaml --evaluator mine=x"), &file).unwrap();
    assert_eq!(offered.len(), 2);
    assert_eq!(offered[1].name, INLINE_EVALUATOR);
    assert_eq!(offered[1].command, "python3 'my train.py'");
}

#[test]
fn a_name_given_twice_is_refused() {
    let line = "espalier run tiny.yaml --evaluator mine=x --evaluator mine=y";
    let error = evaluators(&args(line), &spec_file("mine")).unwrap_err();
    assert_eq!(error.code(), 2);
    let line = format!("espalier run tiny.yaml --evaluator {INLINE_EVALUATOR}=x");
    assert!(evaluators(&args(&line), &spec_file("{command: [x]}")).is_err());
}

#[test]
fn an_evaluator_that_nobody_would_offer_is_refused() {
    let error = evaluators(&args("espalier run tiny.yaml"), &spec_file("mine")).unwrap_err();
    assert_eq!(error.code(), 2);
    assert!(error.to_string().contains("--evaluator mine="), "{error}");
    let offered = args("espalier run tiny.yaml --evaluator mine=./train");
    assert_eq!(evaluators(&offered, &spec_file("mine")).unwrap().len(), 1);
}

#[test]
fn the_command_that_goes_on_names_everything_that_was_given() {
    assert_eq!(
        resume_command(&args("espalier run a.yaml")),
        "espalier run a.yaml --resume"
    );
    assert_eq!(
        resume_command(&args("espalier run a.yaml --data-dir d --workers 3")),
        "espalier run a.yaml --resume --data-dir d --workers 3"
    );
    let all = [
        "espalier",
        "run",
        "a.yaml",
        "--data-root",
        "/my data",
        "--slots-per-worker",
        "2",
        "--threads",
        "1",
        "--device",
        "cuda:0, cuda:1",
        "--evaluator",
        "mine=python3 train.py",
    ];
    let Command::Run(all) = Cli::parse_from(all).command else {
        panic!("this is a run");
    };
    assert_eq!(
        resume_command(&all),
        "espalier run a.yaml --resume --data-root '/my data' --slots-per-worker 2 --threads 1 \
         --device cuda:0,cuda:1 --evaluator 'mine=python3 train.py'"
    );
}

#[test]
fn cores_are_shared_out_and_never_less_than_one() {
    assert_eq!(threads(&args("espalier run a.yaml --threads 7")), 7);
    let many = "espalier run a.yaml --workers 256 --slots-per-worker 1024";
    assert_eq!(threads(&args(many)), 1);
}
