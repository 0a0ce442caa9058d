//! `espalier diff`: how two candidates differ, decision by decision. May import the reader of specs and the
//! view.

use std::collections::BTreeMap;

use espalier_common::candidate::{DecisionPath, Value};
use espalier_view::diff::Diff;
use serde::Serialize;

use super::args::DiffArgs;
use super::candidate_file::{self, CandidateFile, Place};
use super::error::CliError;
use super::look::{built, read_spec};
use super::output::stdout;
use super::render::{clean, quantity};

/// A line of a file's text is cut here: no decision of a space is as long.
const MOST_OF_LINE: usize = 2_000;

/// Decisions as they are written: path and value.
type Entries = Vec<(String, String)>;

/// What is told. Its JSON is what `--output json` prints.
#[derive(Debug, Serialize)]
struct Report {
    a: Side,
    b: Side,
    same_network: Option<bool>,
    #[serde(flatten)]
    diff: Diff,
}

/// One of the two.
#[derive(Debug, Serialize)]
struct Side {
    candidate: String,
    parameters: Option<u64>,
    macs: Option<u64>,
    network_id: Option<String>,
}

/// `espalier diff`.
pub(super) fn diff(args: &DiffArgs) -> Result<(), CliError> {
    let mut candidates = candidate_file::load(&[Place::of(&args.a), Place::of(&args.b)])?;
    if let Some(spec) = &args.spec {
        let file = read_spec(spec, &args.look)?;
        for candidate in &mut candidates {
            let built = built(&file, candidate)?;
            candidate.parameters = built.parameters;
            candidate.macs = built.macs;
            candidate.network_id = built.network_id.map(|id| id.to_string());
        }
    }
    let [a, b] = &candidates[..] else {
        return Err(CliError::Failed("two candidates were not read".to_owned()));
    };
    let report = Report::of(a, b);
    let mut out = stdout();
    if args.output.json() {
        out.json(&report)?;
    } else {
        out.text(&text(&report))?;
    }
    out.flush()
}

impl Report {
    fn of(a: &CandidateFile, b: &CandidateFile) -> Self {
        let (a_side, b_side) = (Side::of(a), Side::of(b));
        Self {
            same_network: a_side
                .network_id
                .as_ref()
                .zip(b_side.network_id.as_ref())
                .map(|(a, b)| a == b),
            a: a_side,
            b: b_side,
            diff: Diff::of(&a.decisions, &b.decisions),
        }
    }
}

impl Side {
    fn of(candidate: &CandidateFile) -> Self {
        // A network in the file tells more than what stands beside it.
        let network = candidate.network.as_ref();
        Self {
            candidate: candidate.name.clone(),
            parameters: network
                .map(|network| network.parameters())
                .or(candidate.parameters),
            macs: network.map(|network| network.macs()).or(candidate.macs),
            network_id: network
                .map(|network| network.network_id().to_string())
                .or_else(|| candidate.network_id.clone()),
        }
    }
}

fn text(report: &Report) -> String {
    let mut lines = vec![
        format!("{:<12} {}", "A", report.a.candidate),
        format!("{:<12} {}", "B", report.b.candidate),
    ];
    for (name, a, b) in [
        ("parameters", report.a.parameters, report.b.parameters),
        ("MACs", report.a.macs, report.b.macs),
    ] {
        if let Some((a, b)) = a.zip(b) {
            lines.push(format!("{name:<12} {}", change(a, b)));
        }
    }
    if let Some(same) = report.same_network {
        let word = if same { "the same" } else { "different" };
        lines.push(format!("{:<12} {word}", "network"));
    }
    let diff = &report.diff;
    let changed: Entries = diff
        .changed
        .iter()
        .map(|(path, change)| (path.to_string(), format!("{} → {}", change.a, change.b)))
        .collect();
    let only = |decisions: &BTreeMap<DecisionPath, Value>| -> Entries {
        let entries = decisions.iter();
        entries
            .map(|(path, value)| (path.to_string(), value.to_string()))
            .collect()
    };
    let sections = [
        ("changed, from A to B", changed),
        ("only in A", only(&diff.only_a)),
        ("only in B", only(&diff.only_b)),
    ];
    let paths = sections.iter().flat_map(|(_, entries)| entries);
    let widest = paths
        .map(|(path, _)| path.chars().count())
        .max()
        .unwrap_or(0);
    for (title, entries) in sections.iter().filter(|(_, entries)| !entries.is_empty()) {
        lines.push(String::new());
        lines.push((*title).to_owned());
        for (path, value) in entries {
            // What a file holds must not command the terminal.
            let line = format!("{path:<widest$}  {value}");
            lines.push(format!("  {}", clean(&line, MOST_OF_LINE)));
        }
    }
    lines.push(String::new());
    lines.push(match (diff.is_empty(), diff.equal) {
        (true, _) => "no decision differs".to_owned(),
        (false, 1) => "1 decision is equal".to_owned(),
        (false, equal) => format!("{equal} decisions are equal"),
    });
    lines.push(String::new());
    lines.join("\n")
}

/// `84.2k → 91.3k (+8.4%)`.
fn change(a: u64, b: u64) -> String {
    if a == b {
        return format!("{} in both", quantity(a));
    }
    let share = if a == 0 {
        String::new()
    } else {
        format!(" ({:+.1}%)", 100.0 * (b as f64 - a as f64) / a as f64)
    };
    format!("{} → {}{share}", quantity(a), quantity(b))
}
