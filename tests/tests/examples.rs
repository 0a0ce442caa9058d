//! The examples run as they are, through coordinator, worker and trainer, but for less data and fewer trials.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use espalier_common::spec::{Spec, read};
use espalier_common::table::TableBuilder;
use espalier_tests::{program, repository};
use serde_json::Value;

/// Trials of each: enough that the searcher has learned something before the last one.
const TRIALS: usize = 7;

/// What is made smaller: the examples' own words for each, and what stands in for them.
const SMALLER: [(&[&str], &str); 3] = [
    (
        &[
            "train: 20000, validation: 5000",
            "train: 4000, validation: 2000",
        ],
        "train: 256, validation: 64",
    ),
    (&["epochs: 2"], "epochs: 1"),
    (
        &["budget: {trials: 40}", "budget: {trials: 300}"],
        "budget: {trials: 7}",
    ),
];

/// Runs an example in a folder; gives what `run` prints at the end.
fn run(name: &str, folder: &Path) -> Result<Value> {
    let path = repository().join("examples").join(name);
    let mut spec = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for (words, small) in SMALLER {
        let usual = words.iter().find(|words| spec.contains(**words));
        let usual = usual.with_context(|| format!("{name} says none of {words:?}"))?;
        spec = spec.replace(usual, small);
    }
    std::fs::write(folder.join("spec.yaml"), spec)?;
    let output = program("espalier")
        .args(["run", "spec.yaml", "--output", "json", "--workers", "1"])
        .args(["--threads", "1", "--data-dir", "run", "--data-root"])
        .arg(repository().join("data"))
        .current_dir(folder)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {errors}");
    serde_json::from_slice(&output.stdout).with_context(|| errors.into_owned())
}

/// Whether a searcher proposed a trial by what it had learned or by the policy that it trains: none of them says
/// this of a candidate that it draws to begin with.
fn is_by_its_own_means(origin: &Value, searcher: &str) -> bool {
    let shows = match searcher {
        // The first ones cover the space; of the others a model says how good they will be.
        "bayesian" => origin["predicted"][0].is_number() && origin["acquisition"].is_number(),
        // The probability of the candidate under the policy.
        "reinforce" => origin["method"] == "policy" && origin["acquisition"].as_f64() > Some(0.0),
        // The first ones are drawn at random, and have no parents.
        "evolution" => origin["parents"]
            .as_array()
            .is_some_and(|all| !all.is_empty()),
        _ => false,
    };
    origin["searcher"] == searcher && shows
}

/// Runs an example; checks that every trial ended well, that no two trained one candidate, that the searcher
/// proposed the last one by its own means, and that the best has its weights and its score on the test split.
fn check(name: &str, searcher: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let result = run(name, folder.path())?;
    assert_eq!(result["search"]["trials"]["completed"], TRIALS, "{result}");
    let trials = result["best"].as_array().context("no list of trials")?;
    assert_eq!(trials.len(), TRIALS, "{result}");
    let ids: std::collections::BTreeSet<_> =
        trials.iter().map(|t| t["candidate_id"].as_str()).collect();
    assert_eq!(ids.len(), TRIALS, "{result}");
    let last = trials.iter().max_by_key(|trial| trial["trial"].as_u64());
    let last = last.context("no trial")?;
    assert!(is_by_its_own_means(&last["origin"], searcher), "{last}");
    let best = &result["search"]["best"];
    assert!(best["test_metrics"]["accuracy"].is_number(), "{result}");
    let weights = folder.path().join("run/best/weights.safetensors");
    assert!(weights.is_file(), "{name} left no weights: {result}");
    Ok(())
}

#[test]
fn cells_are_searched_by_bayesian_optimisation() -> Result<()> {
    check("cells.yaml", "bayesian")
}

#[test]
fn inverted_bottlenecks_are_searched_with_their_recipe_under_a_limit() -> Result<()> {
    check("mobile.yaml", "evolution")
}

#[test]
fn a_grammar_with_a_tie_grows_networks() -> Result<()> {
    check("grown.yaml", "evolution")
}

#[test]
fn perceptrons_are_emitted_by_a_policy() -> Result<()> {
    check("policy.yaml", "reinforce")
}

/// A spec of the examples.
fn example(name: &str) -> Result<Spec> {
    let path = repository().join("examples").join(name);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    read(&text, name).map_err(|errors| anyhow!("{errors}"))
}

#[test]
fn the_table_has_a_row_for_every_candidate_of_the_space_that_was_trained() -> Result<()> {
    let (searched, trained) = (example("table.yaml")?, example("table-trained.yaml")?);
    assert_eq!(searched.space, trained.space);
    let columns = searched.evaluator.table().context("no table")?;
    let rows = std::fs::read_to_string(repository().join("examples/table.csv"))?;
    let mut lines = rows.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().context("no header")?;
    let mut table = TableBuilder::new(columns, header)?;
    for (number, line) in (2..).zip(lines) {
        table.row(number, line.into_iter())?;
    }
    let table = table.finish()?;
    let mut missing = Vec::new();
    let whole = searched.space.visit(1_000, |candidate| {
        let cells = columns.cells_of(&searched.space, &candidate);
        if table.find(&cells).is_none() {
            missing.push(candidate);
        }
    });
    assert!(whole && missing.is_empty(), "{missing:?}");
    assert_eq!(table.len(), 144);
    Ok(())
}

#[test]
fn the_table_is_searched_by_real_workers_without_data_or_trainer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = program("espalier")
        .args([
            "run",
            "examples/table.yaml",
            "--output",
            "json",
            "--workers",
            "2",
        ])
        .arg("--data-dir")
        .arg(folder.path().join("run"))
        .current_dir(repository())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    let result: Value = serde_json::from_slice(&output.stdout).context(errors.into_owned())?;
    assert_eq!(result["search"]["trials"]["completed"], 40, "{result}");
    let best = result["best"][0]["score"].as_f64().context("no score")?;
    // Half of the table's rows are below 0.8, and 40 trials find one above it.
    assert!((0.8..=0.85).contains(&best), "{result}");
    Ok(())
}
