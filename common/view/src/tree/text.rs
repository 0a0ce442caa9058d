//! The tree of decisions as indented lines. Imports the tree.

use espalier_common::candidate::Value;
use espalier_common::space::{Domain, Scale};

use super::Entry;

/// The most values of a choice that are written out.
const MAX_VALUES: usize = 12;
/// Values stand in one column, unless a name reaches beyond this.
const MOST_COLUMN: usize = 44;

/// A line before its columns are lined up.
struct Line {
    depth: usize,
    name: String,
    values: String,
}

pub(super) fn lines(entries: &[Entry]) -> String {
    let mut lines = Vec::new();
    for entry in entries {
        collect(entry, 0, &mut lines);
    }
    let width = |line: &Line| 2 * line.depth + line.name.chars().count();
    let column = lines
        .iter()
        .filter(|line| !line.values.is_empty())
        .map(width)
        .filter(|&width| width <= MOST_COLUMN)
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for line in &lines {
        text.push_str(&"  ".repeat(line.depth));
        text.push_str(&line.name);
        if !line.values.is_empty() {
            text.push_str(&" ".repeat(column.saturating_sub(width(line)) + 2));
            text.push_str(&line.values);
        }
        text.push('\n');
    }
    text
}

fn collect(entry: &Entry, depth: usize, lines: &mut Vec<Line>) {
    let parts = [
        Some(entry.name.as_str()),
        entry.block.as_deref(),
        entry.when.as_deref(),
    ];
    let parts: Vec<&str> = parts
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    let values = match entry {
        Entry {
            domain: Some(domain),
            ..
        } => domain_text(domain),
        Entry {
            sets: Some(sets), ..
        } => sets.clone(),
        Entry {
            named: Some(named), ..
        } => format!("${named}"),
        Entry {
            uses: Some(definition),
            ..
        } => format!("as in blocks, {definition}"),
        _ => String::new(),
    };
    lines.push(Line {
        depth,
        name: parts.join(" "),
        values,
    });
    for inner in &entry.holds {
        collect(inner, depth + 1, lines);
    }
}

/// `3 | 5`, `1 to 3`, `0.01 to 0.3, log`.
fn domain_text(domain: &Domain) -> String {
    let scale_text = |scale: Scale| match scale {
        Scale::Linear => "",
        Scale::Log => ", log",
    };
    match domain {
        Domain::Choice(values) => choice(values.iter().map(Value::to_string)),
        Domain::Weighted { values, weights } => {
            let both = values.iter().zip(weights);
            choice(both.map(|(value, weight)| format!("{value} (weight {weight})")))
        }
        Domain::Integer {
            low,
            high,
            step,
            scale,
        } => {
            let step = if *step == 1 {
                String::new()
            } else {
                format!(" in steps of {step}")
            };
            format!("{low} to {high}{step}{}", scale_text(*scale))
        }
        Domain::Real {
            low,
            high,
            scale,
            step,
        } => {
            let step = step.map_or(String::new(), |step| format!(" in steps of {step}"));
            format!("{low} to {high}{step}{}", scale_text(*scale))
        }
    }
}

fn choice(values: impl ExactSizeIterator<Item = String>) -> String {
    let count = values.len();
    let mut shown: Vec<String> = values.take(MAX_VALUES).collect();
    if count > MAX_VALUES {
        shown.push(format!("… ({count} values)"));
    }
    shown.join(" | ")
}
