//! The `espalier` program itself, where no coordinator is needed: specs, help, exit codes, pipes.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

mod cli_support;

use std::io::Read as _;
use std::process::{Output, Stdio};

use cli_support::{espalier, stderr, stdout, write_spec};

const SOUND: &str = "\
name: sound
hyperparameters:
  width: {choice: [64, 128, 256]}
  rate: {range: [0.001, 0.1], scale: log}
evaluator: mine
objectives: [{minimize: loss}]
budget: {trials: 5}
";

fn output(arguments: &[&str]) -> Output {
    espalier().args(arguments).output().unwrap()
}

fn validate(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = write_spec(folder.path(), text);
    espalier()
        .args(["validate", "--output", "json"])
        .arg(&path)
        .arg("--data-root")
        .arg(folder.path())
        .output()
        .unwrap()
}

#[test]
fn a_sound_spec_is_told_with_the_size_of_its_space() {
    let output = validate(SOUND);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["name"], "sound");
    assert_eq!(report["space"]["continuous_decisions"], 1);
    let log10 = report["space"]["log10_size"].as_f64().unwrap();
    assert!((log10 - 3_f64.log10()).abs() < 1e-9, "{log10}");
    assert_eq!(report["sample"]["candidates"], 1_000);
    assert_eq!(report["sample"]["infeasible"], 0);
}

#[test]
fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_word() {
    let output = validate(&SOUND.replace("budget", "budgte"));
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(
        text.contains("spec.yaml:7:") && text.contains("\"budget\""),
        "{text}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn an_empty_choice_is_an_error_at_its_place() {
    let output = validate(&SOUND.replace("[64, 128, 256]", "[]"));
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(
        text.contains("spec.yaml:3:") && text.contains("hyperparameters.width"),
        "{text}"
    );
}

#[test]
fn a_spec_that_is_not_there_or_no_yaml_is_an_error() {
    let output = output(&["validate", "/no/such/spec.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/no/such/spec.yaml"));
    let output = validate("name: [unclosed");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_missing_data_set_is_an_error_that_names_the_path_and_the_root() {
    let spec = "\
name: images
dataset: {format: idx, path: nowhere, validation: 100}
network: [flatten, {linear: {features: classes}}]
training: {epochs: 1, batch_size: 32, optimizer: {sgd: {learning_rate: {choice: [0.1, 0.2]}}}}
objectives: [{maximize: accuracy}]
budget: {trials: 2}
";
    let output = validate(spec);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(
        text.contains("nowhere") && text.contains("--data-root"),
        "{text}"
    );
}

#[test]
fn run_and_submit_refuse_a_wrong_spec_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let spec = write_spec(folder.path(), &SOUND.replace("trials: 5", "trials: 0"));
    let runs = folder.path().join("runs");
    for arguments in [
        vec!["run", "--data-dir", runs.to_str().unwrap()],
        vec!["submit", "--address", "http://127.0.0.1:9"],
    ] {
        let output = espalier().args(arguments).arg(&spec).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("budget.trials"));
    }
    assert!(!runs.exists());
}

#[test]
fn submit_takes_no_inline_command() {
    let folder = tempfile::tempdir().unwrap();
    let spec = SOUND.replace(
        "evaluator: mine",
        "evaluator: {command: [python3, train.py]}",
    );
    let spec = write_spec(folder.path(), &spec);
    let output = espalier().arg("submit").arg(&spec).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("espalier-worker --evaluator"));
}

#[test]
fn an_unreachable_coordinator_is_exit_code_4_with_what_to_do() {
    // Nobody listens on the discard port of a test machine.
    let output = output(&["list", "--address", "http://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(4));
    let text = stderr(&output);
    assert!(
        text.contains("http://127.0.0.1:9") && text.contains("espalier serve"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_token_is_refused_where_it_would_make_nobody_known() {
    for arguments in [
        &["serve", "--token", "espalier1_secret"][..],
        &["serve", "--token=espalier1_secret"],
        &["--token", "espalier1_secret", "schema"],
    ] {
        let refused = output(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let said = stderr(&refused);
        assert!(said.contains("--token"), "{said}");
        assert!(!said.contains("espalier1_secret"), "{said}");
    }
    let serve = output(&["serve", "--token", "espalier1_secret"]);
    assert!(stderr(&serve).contains("--token-dir"), "{}", stderr(&serve));
}

#[test]
fn an_address_is_refused_where_no_coordinator_is_asked() {
    let run = output(&["run", "spec.yaml", "--address", "http://127.0.0.1:9"]);
    assert_eq!(run.status.code(), Some(2));
    assert!(stderr(&run).contains("`submit` takes --address"));
    let schema = output(&["--address", "http://127.0.0.1:9", "schema"]);
    assert_eq!(schema.status.code(), Some(2));
    let schema = espalier()
        .arg("schema")
        .env("ESPALIER_ADDRESS", "http://127.0.0.1:9")
        .output()
        .unwrap();
    assert_eq!(schema.status.code(), Some(0));
}

#[test]
fn serve_beyond_loopback_without_tls_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = espalier()
        .args([
            "serve",
            "--listen",
            "0.0.0.0:0",
            "--tls",
            "off",
            "--data-dir",
        ])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--tls off"));
    assert!(!folder.path().join("data").exists());
}

#[test]
fn the_schema_is_json_and_completions_are_a_script() {
    let schema: serde_json::Value = serde_json::from_str(&stdout(&output(&["schema"]))).unwrap();
    assert!(schema["$schema"].is_string() && schema["properties"]["network"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        let output = output(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("espalier"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let mut child = espalier()
        .arg("schema")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut text = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(text, "");
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_holds_the_exit_codes() {
    assert_eq!(output(&["run"]).status.code(), Some(2));
    assert_eq!(output(&["dance"]).status.code(), Some(2));
    let preset = output(&["preset", "show", "dance"]);
    assert_eq!(preset.status.code(), Some(2));
    assert!(stderr(&preset).contains("no preset"), "{}", stderr(&preset));
    let folder = tempfile::tempdir().unwrap();
    let mut list = espalier();
    list.args(["list", "--context", "nobody"]);
    let context = list.env("XDG_CONFIG_HOME", folder.path()).output().unwrap();
    assert_eq!(context.status.code(), Some(2));
    assert!(
        stderr(&context).contains("no context"),
        "{}",
        stderr(&context)
    );
    let help = output(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("Exit codes:"));
    // Off a terminal nothing is coloured.
    assert!(!stdout(&help).contains('\u{1b}'));
}
