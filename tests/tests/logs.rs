//! Log lines against their documentation, the recipes in it, and the lines that ask somebody to act.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use espalier_tests::logs::{Catalogue, FIELDS, TRACE};
use espalier_tests::{Cluster, Process, WorkerOptions, repository, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// Between these lines of the document is what a test writes.
const BEGIN: &str = "<!-- written by a test: begin -->\n";
const END: &str = "<!-- written by a test: end -->";

fn document() -> Result<String> {
    Ok(std::fs::read_to_string(repository().join("docs/logs.md"))?)
}

#[test]
fn the_documented_lines_and_fields_are_those_that_the_programs_log() -> Result<()> {
    let text = document()?;
    let (before, rest) = text.split_once(BEGIN).context("where it begins")?;
    let (written, after) = rest.split_once(END).context("where it ends")?;
    let wanted = Catalogue::get().tables();
    if written != wanted && std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{before}{BEGIN}{wanted}{END}{after}");
        std::fs::write(repository().join("docs/logs.md"), text)?;
        return Ok(());
    }
    let lines = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    let (written, wanted) = (lines(written), lines(&wanted));
    let (new, gone) = (wanted.difference(&written), written.difference(&wanted));
    assert!(
        written == wanted,
        "docs/logs.md is not what the programs log: run this test with UPDATE_DOCS=1. New: {:#?}, gone: {:#?}",
        new.collect::<Vec<_>>(),
        gone.collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
fn every_field_has_a_meaning_and_every_meaning_a_field() {
    let known: BTreeSet<&str> = FIELDS.iter().map(|field| field.name).collect();
    assert_eq!(known.len(), FIELDS.len(), "a field is there twice");
    let sites = Catalogue::get().sites.values().flatten();
    let used = sites.flat_map(|site| &site.fields);
    let used: BTreeSet<&str> = used.map(String::as_str).chain([TRACE]).collect();
    let nameless: Vec<_> = used.difference(&known).collect();
    assert!(
        nameless.is_empty(),
        "fields without a meaning in tests/src/logs/fields.rs: {nameless:?}"
    );
    let unused: Vec<_> = known.difference(&used).collect();
    assert!(unused.is_empty(), "fields that no line has: {unused:?}");
}

#[test]
fn a_line_or_a_field_that_is_not_documented_is_found() {
    let catalogue = Catalogue::get();
    let line = |level: &str, target: &str, rest: &str| {
        format!("{{\"timestamp\":\"t\",\"level\":\"{level}\",\"target\":\"{target}\",{rest}}}")
    };
    let own = "espalier_coordinator::server";
    let check = |level, target, rest| catalogue.check(&line(level, target, rest));
    check("INFO", own, "\"message\":\"coordinator ended\"").unwrap();
    check("INFO", own, "\"message\":\"trial completed\",\"score\":1.0").unwrap();
    check("INFO", "evaluator", "\"message\":\"epoch 3\",\"trial\":1").unwrap();
    check("WARN", "hyper", "\"message\":\"anything\"").unwrap();
    assert!(check("WARN", own, "\"message\":\"coordinator ended\"").is_err());
    assert!(check("INFO", own, "\"message\":\"something new\"").is_err());
    assert!(check("INFO", own, "\"message\":\"coordinator ended\",\"x\":1").is_err());
    assert!(check("INFO", "evaluator", "\"message\":\"epoch 3\",\"x\":1").is_err());
}

fn spec(name: &str, trials: u32) -> String {
    format!(
        "name: {name}
hyperparameters: {{x: {{range: [0.0, 1.0]}}, y: {{choice: [1, 2, 3]}}}}
evaluator: scripted
training: {{epochs: 1}}
searcher: random
objectives: [{{maximize: score}}]
budget: {{trials: {trials}}}
seed: 7
"
    )
}

/// The commands of a recipe in the document: the block after its heading.
fn recipe(text: &str, heading: &str) -> Result<String> {
    let (_, rest) = text
        .split_once(&format!("### {heading}\n"))
        .context(heading.to_owned())?;
    let (_, rest) = rest.split_once("```sh\n").context("a block")?;
    let (block, _) = rest.split_once("```").context("its end")?;
    Ok(block.to_owned())
}

/// Runs a recipe beside a log. jq has to be there: a recipe that was not run proves nothing.
fn run(recipe: &str, log: &str) -> Result<Vec<Vec<String>>> {
    let jq = Command::new("jq").arg("--version").output();
    ensure!(
        jq.is_ok(),
        "jq is not installed, and this test runs it: apt-get install jq"
    );
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("coordinator.log"), log)?;
    let mut shell = Command::new("sh")
        .arg("-e")
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = shell.stdin.take().context("a pipe")?;
    stdin.write_all(recipe.as_bytes())?;
    drop(stdin);
    let output = shell.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}\n{recipe}");
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines();
    Ok(lines
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect())
}

#[tokio::test]
async fn the_recipes_of_the_document_tell_what_a_search_did() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    cluster.control("crash-once", "")?;
    cluster.control("seconds", "0.1")?;
    let searches = cluster.searches()?;
    let worker = cluster.start_worker("node", &WorkerOptions::default())?;
    let search = searches.create(&spec("logged", 5), String::new()).await?;
    let status = searches.finished(&search, LIMIT).await?;
    // One that waits for a program that nobody has.
    let other = spec("idle", 2).replace("evaluator: scripted", "evaluator: nobodys");
    searches.create(&other, String::new()).await?;
    drop(worker);
    let log = cluster.coordinator.as_ref().context("a coordinator")?.log();
    // Its first line is the one on stdout.
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let log: String = lines.flat_map(|line| [line, "\n"]).collect();
    let text = document()?;

    let best = run(&recipe(&text, "Best so far over time")?, &log)?;
    let last = best.last().context("a best")?;
    assert_eq!(last[1].parse::<u32>().ok(), status.best_trial, "{best:?}");
    assert_eq!(last[2].parse::<f64>().ok(), status.best_score, "{best:?}");
    let scores: Vec<f64> = best
        .iter()
        .filter_map(|line| line[2].parse().ok())
        .collect();
    assert!(scores.is_sorted() && scores.len() == best.len(), "{best:?}");

    // Weights are stored behind a trial's end, and are no state of it.
    let stored = format!(
        "{log}{{\"message\":\"weights stored\",\"search\":\"{search}\",\"trial\":1,\"from\":\"uploading\",\"to\":\"stored\"}}\n"
    );
    let states = run(&recipe(&text, "Trials by state")?, &stored)?;
    assert!(
        states.contains(&vec!["completed".to_owned(), "5".to_owned()]),
        "{states:?}"
    );

    let idle = run(&recipe(&text, "Workers by idle share")?, &log)?;
    assert_eq!(idle.len(), 1, "{idle:?}");
    assert_eq!(idle[0][0], "node");
    // Five trials of a tenth of a second, and the start of two evaluators.
    let share: f64 = idle[0][1].parse()?;
    assert!(share > 0.0 && share < 1.0, "{idle:?}");

    let failed = run(&recipe(&text, "Why trials failed")?, &log)?;
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(
        (failed[0][0].as_str(), failed[0][1].as_str()),
        ("1", "crashed")
    );
    assert!(failed[0][3].contains("exited with code 3"), "{failed:?}");
    Ok(())
}

#[tokio::test]
async fn a_search_that_stands_still_is_one_warning_that_says_why() -> Result<()> {
    // Ten times to live: five minutes with the usual one.
    let cluster = Cluster::start(200).await?;
    let searches = cluster.searches()?;
    let search = searches.create(&spec("lonely", 2), String::new()).await?;
    let log = || {
        cluster
            .coordinator
            .as_ref()
            .map(|one| one.log())
            .unwrap_or_default()
    };
    wait_until("a warning", LIMIT, || async {
        Ok(log().contains("search stalled").then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let lines: Vec<String> = log().lines().map(str::to_owned).collect();
    let stalled: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("search stalled"))
        .collect();
    assert_eq!(stalled.len(), 1, "{stalled:?}");
    assert!(
        stalled[0].contains("\"WARN\"") && stalled[0].contains(&search),
        "{stalled:?}"
    );
    assert!(stalled[0].contains("worker"), "no reason: {stalled:?}");
    // Long enough to be looked at while it runs.
    cluster.control("seconds", "0.3")?;
    let _worker = cluster.start_worker("late", &WorkerOptions::default())?;
    searches.finished(&search, LIMIT).await?;
    assert!(log().contains("stands still no longer"));
    Ok(())
}

#[tokio::test]
async fn a_log_file_is_put_aside_when_it_gets_large_and_nothing_goes_to_stderr() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("espalier.log");
    let log = log.to_str().context("a path")?;
    let options = [
        "--log-file-bytes",
        "1000",
        "--log-files",
        "2",
        "--log-file",
        log,
    ];
    let (process, ready) = espalier_tests::Process::serve(folder.path(), "127.0.0.1:0", &options)?;
    let searches = espalier_tests::Searches::new(ready["address"].as_str().context("an address")?)?;
    for number in 0..12 {
        searches
            .create(&spec(&format!("s{number}"), 1), String::new())
            .await?;
    }
    let mut files: Vec<String> = std::fs::read_dir(folder.path())?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| name.starts_with("espalier.log"))
        .collect();
    files.sort();
    assert_eq!(files, ["espalier.log", "espalier.log.1", "espalier.log.2"]);
    for name in &files {
        let text = std::fs::read_to_string(folder.path().join(name))?;
        assert!(text.len() <= 1_000, "{name}: {}", text.len());
        for line in text.lines() {
            Catalogue::get().check(line)?;
            serde_json::from_str::<serde_json::Value>(line).context(line.to_owned())?;
        }
    }
    assert_eq!(process.log(), "");
    Ok(())
}

/// Runs `espalier logs` to its end.
fn logs(cluster: &Cluster, arguments: &[&str]) -> Result<Vec<serde_json::Value>> {
    let output = espalier_tests::program("espalier")
        .args(["logs", "--address", cluster.address(), "--output", "json"])
        .args(arguments)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().map(|line| {
        Catalogue::get().check(line)?;
        Ok(serde_json::from_str(line)?)
    });
    lines.collect()
}

fn texts(lines: &[serde_json::Value]) -> Vec<&str> {
    let lines = lines.iter();
    lines.filter_map(|line| line["message"].as_str()).collect()
}

/// How many lines the test's evaluator printed.
fn printed(lines: &[serde_json::Value]) -> usize {
    let lines = lines.iter().filter(|line| line["target"] == "evaluator");
    let own = |line: &&serde_json::Value| {
        let text = line["message"].as_str();
        text.is_some_and(|text| text.starts_with("loss"))
    };
    lines.filter(own).count()
}

#[tokio::test]
async fn logs_have_what_evaluators_printed_by_search_and_by_trial_also_after_a_restart()
-> Result<()> {
    let mut cluster = Cluster::start(5_000).await?;
    cluster.control("prints", "loss 0.25\u{1b}[2J")?;
    cluster.control("seconds", "0.3")?;
    let searches = cluster.searches()?;
    let worker = cluster.start_worker("node", &WorkerOptions::default())?;
    let search = searches.create(&spec("printed", 3), String::new()).await?;
    // Follows to the end by itself.
    let followed = logs(&cluster, &[&search, "--follow"])?;
    let messages = texts(&followed);
    let completed = messages.iter().filter(|text| **text == "trial completed");
    assert_eq!(completed.count(), 3, "{messages:?}");
    assert_eq!(messages.last(), Some(&"search finished"), "{messages:?}");
    // What is printed arrives a moment later.
    wait_until("what was printed", LIMIT, || async {
        Ok((printed(&logs(&cluster, &[&search])?) == 3).then_some(()))
    })
    .await?;
    let one = logs(&cluster, &[&search, "2"])?;
    assert!(one.iter().all(|line| line["trial"] == 2), "{one:?}");
    assert_eq!(printed(&one), 1, "{one:?}");
    assert!(texts(&one).contains(&"trial completed"), "{one:?}");
    let mut of_evaluator = one.iter().filter(|line| line["target"] == "evaluator");
    let line = of_evaluator.next().context("a line")?;
    assert_eq!(
        (&line["worker"], &line["slot"]),
        (&"node".into(), &0.into())
    );

    cluster.kill_coordinator()?;
    cluster.start_coordinator().await?;
    assert_eq!(printed(&logs(&cluster, &[&search])?), 3);
    assert_eq!(logs(&cluster, &[&search, "--last", "2"])?.len(), 2);
    // Everything: the newest lines, of this start.
    let all = logs(&cluster, &[])?;
    assert!(texts(&all).contains(&"coordinator started"), "{all:?}");
    let of_worker = logs(&cluster, &["--worker", "node"])?;
    assert!(of_worker.iter().all(|line| line["worker"] == "node"));
    // One that has left is known still; of what is not there no line would ever come, however long one waits.
    drop(worker);
    assert!(!logs(&cluster, &[&search, "--worker", "node"])?.is_empty());
    for (arguments, said) in [
        (&[search.as_str(), "999", "-f"][..], "it has trials 1 to 3"),
        (&["printed", "4"], "it has trials 1 to 3"),
        (&["-f", "--worker", "nobody"], "there are node"),
        (&["printed", "--worker", "Node"], "there are node"),
        (&["nothing"], "there is no search"),
    ] {
        let output = cluster.espalier(&[&["logs"], arguments].concat())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {errors}");
        assert!(errors.contains(said), "{arguments:?}: {errors}");
    }
    // For people, without control characters.
    let output = espalier_tests::program("espalier")
        .args(["logs", "--address", cluster.address(), &search, "2"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(text.contains("INFO loss 0.25"), "{text:?}");
    assert!(!text.contains(char::from(0x1b)), "{text:?}");
    Ok(())
}

/// The lines of the log in what a process wrote; the others are words to people.
fn objects(process: &Process) -> Vec<String> {
    let log = process.log();
    let lines = log.lines().filter(|line| line.starts_with('{'));
    lines.map(str::to_owned).collect()
}

/// Starts `espalier logs -f` with these arguments.
fn follower(cluster: &Cluster, name: &str, arguments: &[&str]) -> Result<Process> {
    let mut command = espalier_tests::program("espalier");
    command
        .args(["logs", "-f", "--address", cluster.address()])
        .args(["--output", "json"])
        .args(arguments);
    Process::start(name, cluster.folder.path(), command, false)
}

#[tokio::test]
async fn a_follower_outlives_restarts_of_the_coordinator_misses_nothing_and_shows_nothing_twice()
-> Result<()> {
    let mut cluster = Cluster::start(5_000).await?;
    cluster.control("prints", "loss 0.25")?;
    cluster.control("seconds", "0.2")?;
    let searches = cluster.searches()?;
    let options = WorkerOptions {
        slots: 2,
        ..WorkerOptions::default()
    };
    let _worker = cluster.start_worker("node", &options)?;
    let search = searches.create(&spec("long", 60), String::new()).await?;
    let mut one = follower(&cluster, "one", &[&search])?;
    let mut new = follower(&cluster, "new", &[&search, "--last", "0"])?;
    let all = follower(&cluster, "all", &[])?;
    for round in 0..3 {
        let grown = async |process: &Process| {
            let before = objects(process).len();
            wait_until("lines", LIMIT, || async {
                Ok((objects(process).len() > before + 4).then_some(()))
            })
            .await
        };
        grown(&one).await?;
        grown(&all).await?;
        if round == 1 {
            let mut coordinator = cluster.coordinator.take().context("a coordinator")?;
            coordinator.signal(nix::sys::signal::Signal::SIGTERM)?;
            coordinator.wait(LIMIT)?;
        } else {
            cluster.kill_coordinator()?;
        }
        cluster.start_coordinator().await?;
    }
    cluster.control("seconds", "0")?;
    searches.finished(&search, LIMIT).await?;
    // It ends by itself, with its search.
    assert!(one.wait(LIMIT)?.success(), "{}", one.log());
    let shown = objects(&one);
    let output = cluster.espalier(&["logs", &search, "--output", "json"])?;
    let text = String::from_utf8(output.stdout)?;
    let kept: Vec<String> = text.lines().map(str::to_owned).collect();
    // What was printed last may have come behind the end.
    assert_eq!(shown, kept[..shown.len()], "not what the file has");
    assert!(shown.iter().any(|line| line.contains("search finished")));
    let completed = |line: &&String| line.contains("\"trial completed\"");
    assert_eq!(shown.iter().filter(completed).count(), 60);
    // One that wanted new lines only has all of them from its first one on.
    assert!(new.wait(LIMIT)?.success(), "{}", new.log());
    let tail = objects(&new);
    let first = tail.first().context("a line")?;
    let from = kept.iter().position(|line| line == first);
    let from = from.context("its first line is none of the log")?;
    assert_eq!(tail, kept[from..from + tail.len()]);
    assert_eq!(tail.last(), shown.last());

    // Of everything, each start's lines, none twice.
    wait_until("the last start's lines", LIMIT, || async {
        let starts = objects(&all);
        let starts = starts
            .iter()
            .filter(|line| line.contains("coordinator started"));
        Ok((starts.count() == 4).then_some(()))
    })
    .await?;
    let mut lines = objects(&all);
    let count = lines.len();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), count, "lines came twice");
    let words = one.log();
    let away = words.lines().filter(|line| line.contains("is away"));
    assert_eq!(away.count(), 3, "once for each time: {words}");
    Ok(())
}
