//! The commands that look at spaces and candidates, as users see them: `space`, `sample`, `draw`, `diff`,
//! `preset`. None of them needs data, a coordinator or workers.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod cli_support;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use cli_support::{espalier, stderr, stdout, write_spec};

const SPACE: &str = "
name: demo
dataset: {format: idx, path: nowhere, validation: 10}
network:
  - conv: {name: stem, channels: {choice: [8, 16]}, stride: 2}
  - batch_norm
  - repeat:
      name: body
      times: {range: [1, 3]}
      block: [{residual: [{conv: {kernel: {choice: [3, 5]}}}, batch_norm, relu]}]
  - choice:
      pooled: [{max_pool: {kernel: {choice: [4, 20]}}}]
      none: []
  - global_avg_pool
  - linear: {features: classes}
training: {epochs: 1}
objectives: [{maximize: accuracy}]
constraints: [{parameters: {at_most: 12k}}]
budget: {trials: 1}
seed: 1
";

/// The data are nowhere: what they are like is said.
const ASSUMED: [&str; 2] = ["--assume-data", "1x28x28:10"];

struct Folder {
    folder: tempfile::TempDir,
    spec: PathBuf,
}

impl Folder {
    fn new(spec: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = write_spec(folder.path(), spec);
        Self { folder, spec }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: &str, more: &[&str]) -> Output {
        espalier()
            .arg(command)
            .arg(&self.spec)
            .args(ASSUMED)
            .args(more)
            .output()
            .unwrap()
    }

    /// A file with a sample of the space.
    fn sample(&self) -> PathBuf {
        let path = self.path("sample.json");
        let output = self.run("sample", &["-n", "3", "--output", "json"]);
        std::fs::write(&path, output.stdout).unwrap();
        path
    }
}

fn of(path: &Path, number: u32) -> String {
    format!("{}#{number}", path.display())
}

fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    stdout(output)
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}", stdout(output));
    stderr(output)
}

#[test]
fn a_space_is_shown_with_its_tree_and_its_spread() {
    let folder = Folder::new(SPACE);
    insta::assert_snapshot!(done(&folder.run("space", &["--samples", "200"])));
}

#[test]
fn a_reason_that_many_are_refused_for_shows_the_numbers_of_one_as_those_of_one() {
    let refused_for = |channels: &str| {
        let spec = SPACE.replace("at_most: 12k", "at_most: 10");
        let network = format!(
            "network: [{{conv: {{channels: {channels}}}}}, global_avg_pool, {{linear: {{features: classes}}}}]\n"
        );
        let (start, rest) = spec.split_once("network:").unwrap();
        let (_, end) = rest.split_once("\ntraining:").unwrap();
        let folder = Folder::new(&format!("{start}{network}training:{end}"));
        done(&folder.run("space", &["--samples", "50"]))
    };
    let one = refused_for("4");
    assert!(one.contains("50  constraints: parameters is"), "{one}");
    let several = refused_for("{choice: [4, 5, 6]}");
    assert!(
        several.contains("50  e.g. constraints: parameters is"),
        "{several}"
    );
}

#[test]
fn a_spec_is_validated_without_its_data_when_they_are_assumed() {
    let folder = Folder::new(SPACE);
    let text = done(&folder.run("validate", &[]));
    assert!(
        text.contains("data         assumed: 1 channels × 28 height × 28 width, 10 classes"),
        "{text}"
    );
    let json = done(&folder.run("validate", &["--output", "json"]));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["assumed"]["classes"], 10);
    assert!(report["dataset"].is_null(), "{json}");
    // Data that are not there are refused without the option, which is named.
    let without = espalier().arg("validate").arg(&folder.spec).output();
    assert!(refused(&without.unwrap()).contains("--assume-data"));
}

#[test]
fn a_space_as_json_holds_the_same() {
    let folder = Folder::new(SPACE);
    let text = done(&folder.run(
        "space",
        &["--samples", "50", "--seed", "4", "--output", "json"],
    ));
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Two widths; two kernels for one to three rounds; two windows or none.
    assert_eq!(report["size"]["candidates"], 2 * (2 + 4 + 8) * 3);
    assert_eq!(
        (&report["seed"], &report["sample"]["candidates"]),
        (&4.into(), &50.into())
    );
    let network = &report["decisions"][0];
    assert_eq!(network["name"], "network");
    assert_eq!(
        network["holds"][0]["holds"][0]["decision"],
        "network.stem.channels"
    );
}

#[test]
fn a_space_without_a_feasible_candidate_is_still_shown() {
    let folder = Folder::new(&SPACE.replace("12k", "10"));
    let text = done(&folder.run("space", &["--samples", "20"]));
    assert!(
        text.contains("0 feasible") && text.contains("20 of 20 (100.0%)"),
        "{text}"
    );
    let text = refused(&folder.run("sample", &[]));
    assert!(
        text.contains("1000 candidates in a row") && text.contains("allows at most 10"),
        "{text}"
    );
    assert!(refused(&folder.run("draw", &[])).contains("1000 candidates in a row"));
}

#[test]
fn a_sample_is_the_same_each_time_and_for_each_command() {
    let folder = Folder::new(SPACE);
    let text = done(&folder.run("sample", &["-n", "2"]));
    insta::assert_snapshot!(text);
    assert_eq!(done(&folder.run("sample", &["-n", "2"])), text);
    assert_ne!(
        done(&folder.run("sample", &["-n", "2", "--seed", "2"])),
        text
    );
    // What a seed draws is the first candidate of its sample.
    let spec = folder.spec.to_str().unwrap();
    let first = of(&folder.sample(), 1);
    let mut by_file = vec!["draw", &first, "--spec", spec];
    by_file.extend(ASSUMED);
    let by_file = done(&espalier().args(by_file).output().unwrap());
    let by_seed = done(&folder.run("draw", &["--seed", "1"]));
    let from = |svg: &str| svg.split_once("<g ").unwrap().1.to_owned();
    assert_eq!(from(&by_file), from(&by_seed));
}

#[test]
fn a_drawing_goes_to_stdout_or_a_file_as_svg_or_dot() {
    let folder = Folder::new(SPACE);
    let svg = done(&folder.run("draw", &["--seed", "3"]));
    assert!(
        svg.starts_with("<svg ") && svg.contains("demo · seed 3"),
        "{svg}"
    );
    let file = folder.path("x.dot");
    done(&folder.run("draw", &["--seed", "3", "-o", file.to_str().unwrap()]));
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .starts_with("digraph")
    );
    assert!(refused(&folder.run("draw", &["-o", "x.png"])).contains(".svg or .dot"));
    let simple = done(&folder.run("draw", &["--seed", "3", "--simplified"]));
    assert!(simple.starts_with("<svg "));
}

#[test]
fn a_trial_of_a_running_search_is_drawn_from_stdin() {
    use std::io::Write as _;

    let folder = Folder::new(SPACE);
    let trials = std::fs::read_to_string(folder.sample())
        .unwrap()
        .replace("\"number\"", "\"trial\"");
    let mut child = espalier()
        .args(["draw", "-#2", "--spec", folder.spec.to_str().unwrap()])
        .args(ASSUMED)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(trials.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(done(&output).contains("demo · 2"));
}

#[test]
fn the_winner_of_a_run_is_drawn_from_the_network_beside_it() {
    let folder = Folder::new(SPACE);
    let winner = r#"{"search": {"name": "demo"}, "trial": {"trial": 4, "decisions": {"network[0].kernel": 3}},
        "built": {"network": {"nodes": [
            {"name": "input", "op": "input", "inputs": [], "shape": [["channels", 1], ["height", 2], ["width", 2]]},
            {"name": "network[0]", "op": "flatten", "inputs": [0], "shape": [["features", 4]]},
            {"name": "network[1]", "op": {"linear": {"in_features": 4, "out_features": 2, "bias": true}},
             "inputs": [1], "shape": [["features", 2]]}], "output": 2}}}"#;
    let path = folder.path("candidate.json");
    let draw = |text: &str| {
        std::fs::write(&path, text).unwrap();
        espalier().arg("draw").arg(&path).output().unwrap()
    };
    let svg = done(&draw(winner));
    assert!(
        svg.contains("demo · 4") && svg.contains("10 parameters · 8 MACs"),
        "{svg}"
    );
    // Nothing in a file is trusted: a shape that no operation gives is told.
    let text = refused(&draw(&winner.replace("\"features\", 2", "\"features\", 3")));
    assert!(
        text.contains("built.network: network[1] (linear)"),
        "{text}"
    );
    assert!(refused(&draw("{\"a\": [1]")).contains("no JSON: EOF"));
}

#[test]
fn two_candidates_are_compared_decision_by_decision() {
    let folder = Folder::new(SPACE);
    let sample = folder.sample();
    let spec = folder.spec.to_str().unwrap();
    let (a, b) = (of(&sample, 1), of(&sample, 2));
    let run = |more: &[&str]| {
        let output = espalier()
            .args(["diff", &a, &b])
            .args(more)
            .output()
            .unwrap();
        done(&output).replace(folder.folder.path().to_str().unwrap(), "FOLDER")
    };
    let text = run(&[]);
    insta::assert_snapshot!(text);
    assert_eq!(run(&["--spec", spec, ASSUMED[0], ASSUMED[1]]), text);
    let json: serde_json::Value = serde_json::from_str(&run(&["--output", "json"])).unwrap();
    assert_eq!(json["same_network"], false);
    let same = espalier().args(["diff", &a, &a]).output().unwrap();
    assert!(done(&same).contains("no decision differs"));
}

#[test]
fn a_candidate_of_another_space_is_refused_with_what_does_not_fit() {
    let folder = Folder::new(SPACE);
    let sample = folder.sample();
    let other = Folder::new(&SPACE.replace("[8, 16]", "[32, 48]"));
    let output = espalier()
        .args([
            "draw",
            &of(&sample, 1),
            "--spec",
            other.spec.to_str().unwrap(),
        ])
        .args(ASSUMED)
        .output()
        .unwrap();
    let text = refused(&output);
    assert!(
        text.contains("not a candidate of") && text.contains("network.stem.channels"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_drawn_is_said_in_a_sentence() {
    let folder = Folder::new(SPACE);
    let sample = folder.sample();
    let run = |arguments: &[&str]| refused(&espalier().args(arguments).output().unwrap());
    assert!(run(&["draw", sample.to_str().unwrap()]).contains("say which one"));
    assert!(run(&["draw", &of(&sample, 1)]).contains("--spec SPEC"));
    assert!(run(&["draw", &of(&sample, 1), "--seed", "3"]).contains("--seed"));
    assert!(run(&["draw", "missing.json"]).contains("missing.json: cannot read"));
    let plain = Folder::new(
        "name: x\nevaluator: mine\nhyperparameters: {a: {choice: [1, 2]}}\nobjectives: [{minimize: loss}]\nbudget: {trials: 1}\n",
    );
    assert!(refused(&plain.run("draw", &[])).contains("nothing to draw"));
    assert!(done(&plain.run("space", &[])).contains("candidates   2"));
    let data = refused(&espalier().arg("space").arg(&folder.spec).output().unwrap());
    assert!(data.contains("--assume-data"), "{data}");
}

#[test]
fn mistakes_in_a_spec_have_their_line_and_column() {
    let folder = Folder::new(&SPACE.replace("times:", "tims:"));
    for command in ["space", "sample", "draw"] {
        let text = refused(&folder.run(command, &[]));
        assert!(
            text.contains(":9:") && text.contains("did you mean \"times\""),
            "{text}"
        );
    }
}

#[test]
fn presets_are_listed_and_shown_and_can_be_drawn() {
    let list = done(
        &espalier()
            .args(["preset", "list", "--output", "json"])
            .output()
            .unwrap(),
    );
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    assert!(!list.is_empty());
    for preset in &list {
        let name = preset["name"].as_str().unwrap();
        assert!(!preset["about"].as_str().unwrap().is_empty(), "{name}");
        let text = done(&espalier().args(["preset", "show", name]).output().unwrap());
        assert!(text.contains("network:"), "{name}");
    }
    let unknown = espalier()
        .args(["preset", "show", "resnt"])
        .output()
        .unwrap();
    assert!(refused(&unknown).contains("resnet"));
    let folder = Folder::new(
        "name: x\npreset: resnet\ndataset: {format: idx, path: x, validation: 1}\nobjectives: [{maximize: accuracy}]\nbudget: {trials: 1}\n",
    );
    assert!(done(&folder.run("draw", &[])).contains("residual"));
}
