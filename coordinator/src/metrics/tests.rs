//! The page against its documentation, both ways.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::artifacts::Usage;

/// Between these lines of the page in the docs is what this test writes.
const BEGIN: &str = "<!-- written by a test: begin -->\n";
const END: &str = "<!-- written by a test: end -->";

fn page() -> Page {
    let asks = AskTimes::default();
    asks.of("random").observe(0.002);
    Page::new(&asks, &JournalMeters::default(), &CallMeters::default())
}

fn table(page: &Page) -> String {
    let mut text = String::from(
        "| name | type | unit | label | what it is |\n| --- | --- | --- | --- | --- |\n",
    );
    for metric in &page.catalogue.described {
        let unit = metric.unit.as_ref().map_or("", |unit| unit.as_str());
        let label = metric.label.map_or(String::new(), |(name, values)| {
            format!("`{name}`: {values}")
        });
        let (sample, kind, meaning) = (&metric.sample, metric.kind, metric.meaning);
        text.push_str(&format!(
            "| `{sample}` | {kind} | {unit} | {label} | {meaning} |\n"
        ));
    }
    text
}

#[test]
fn the_documented_metrics_are_those_that_are_registered() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let (before, rest) = docs.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let wanted = table(&page());
    if written != wanted && std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        written, wanted,
        "docs/metrics.md is not what the code registers: run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn every_sample_of_the_page_is_of_a_documented_metric_and_every_metric_has_samples() {
    let page = page();
    let text = page.text(&Snapshot::default()).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let described: BTreeMap<&str, _> = page
        .catalogue
        .described
        .iter()
        .map(|metric| (metric.family.as_str(), metric))
        .collect();
    let mut seen = BTreeSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(described[name].kind, kind, "{name}");
            family = name;
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, _) = line.split_once([' ', '{']).unwrap();
        let metric = described[family];
        let ends: &[&str] = match metric.kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            "counter" => &["_total"],
            _ => &[""],
        };
        let end = name.strip_prefix(family).unwrap();
        assert!(ends.contains(&end), "{line}");
        let labels: Vec<&str> = line
            .split_once('{')
            .map(|(_, rest)| rest.split_once('}').unwrap().0)
            .unwrap_or_default()
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0))
            .filter(|label| *label != "le")
            .collect();
        let expected: Vec<&str> = metric.label.iter().map(|(name, _)| *name).collect();
        assert_eq!(labels, expected, "{line}");
        seen.insert(family);
    }
    let all: BTreeSet<&str> = described.keys().copied().collect();
    assert_eq!(seen, all);
}

#[test]
fn what_is_documented_of_a_labels_values_are_those_that_it_takes() {
    let page = page();
    let text = page.text(&Snapshot::default()).unwrap();
    for metric in &page.catalogue.described {
        let Some((label, values)) = metric.label else {
            continue;
        };
        if !values.starts_with('`') {
            continue; // not a list
        }
        let documented: BTreeSet<&str> = values.split(", ").map(|v| v.trim_matches('`')).collect();
        let start = format!("{}{{{label}=\"", metric.sample);
        let taken: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&start)?.split_once('"'))
            .map(|(value, _)| value)
            .collect();
        assert_eq!(documented, taken, "{}", metric.sample);
    }
}

#[test]
fn the_page_has_the_numbers_of_the_moment() {
    let page = page();
    let now = Snapshot {
        workers: 3,
        paused_workers: 1,
        slots: 8,
        slots_busy: 5,
        journal_bytes: 4_096,
        artifacts: Usage {
            files: 2,
            bytes: 1_000,
        },
        log_lines_lost: 7,
        ..Snapshot::default()
    };
    let text = page.text(&now).unwrap();
    for line in [
        "espalier_workers{state=\"serving\"} 2",
        "espalier_workers{state=\"paused\"} 1",
        "espalier_slots 8",
        "espalier_slots_busy 5",
        "espalier_journal_size_bytes 4096",
        "espalier_artifacts_size_bytes 1000",
        "espalier_log_lines_lost_total 7",
        "espalier_ask_duration_seconds_count{searcher=\"random\"} 1",
        "espalier_calls_refused_total{reason=\"no token\"} 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    // Set once more, and not added to.
    let again = page.text(&now).unwrap();
    assert!(
        again.contains("espalier_log_lines_lost_total 7\n"),
        "{again}"
    );
}
