//! The examples run as they are, through coordinator, worker and trainer, but for less data and fewer trials.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use espalier_tests::{binary, repository};
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
    let output = Command::new(binary("espalier"))
        .args(["run", "spec.yaml", "--output", "json", "--workers", "1"])
        .args(["--threads", "1", "--data-dir", "run", "--data-root"])
        .arg(repository().join("data"))
        .current_dir(folder)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {errors}");
    serde_json::from_slice(&output.stdout).with_context(|| errors.into_owned())
}

/// Runs an example; checks that every trial ended well, that no two trained one candidate, that the searcher
/// proposed the last ones itself, and that the best has its weights and its score on the test split.
fn check(name: &str, searcher: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let result = run(name, folder.path())?;
    assert_eq!(result["search"]["trials"]["completed"], TRIALS, "{result}");
    let trials = result["best"].as_array().context("no list of trials")?;
    assert_eq!(trials.len(), TRIALS, "{result}");
    let ids: std::collections::BTreeSet<_> =
        trials.iter().map(|t| t["candidate_id"].as_str()).collect();
    assert_eq!(ids.len(), TRIALS, "{result}");
    let own = |trial: &&Value| trial["origin"]["searcher"] == searcher;
    assert!(trials.iter().any(|trial| own(&trial)), "{result}");
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
