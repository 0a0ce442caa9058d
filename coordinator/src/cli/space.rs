//! `espalier space`: the size of a space, its tree of decisions, and what a sample of it holds. May import the
//! reader of specs and the view.

use espalier_view::survey::{Spread, Survey, survey};
use espalier_view::tree::{self, Entry};
use serde::Serialize;

use super::args::SpaceArgs;
use super::error::CliError;
use super::look::read_spec;
use super::output::stdout;
use super::render::quantity;
use super::spec_file::SpecFile;

/// Up to this many candidates the number itself says more than its logarithm.
const COUNTED: u128 = 1_000_000_000_000;
/// Length of the bar of a histogram's fullest class.
const BAR: u64 = 40;

/// What is told. Its JSON is what `--output json` prints.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    size: SizeReport,
    warnings: Vec<String>,
    input: Option<String>,
    classes: Option<u32>,
    decisions: Vec<Entry>,
    seed: u64,
    sample: Survey,
}

#[derive(Debug, Serialize)]
struct SizeReport {
    log10: f64,
    candidates: Option<u128>,
    at_most: bool,
    continuous_decisions: u64,
    decisions: u64,
}

/// `espalier space`.
pub(super) fn space(args: &SpaceArgs) -> Result<(), CliError> {
    let file = read_spec(&args.spec, &args.look)?;
    let report = Report::of(&file, args.seed.unwrap_or(file.spec.seed), args.samples);
    let mut out = stdout();
    if args.output.json() {
        out.json(&report)?;
    } else {
        out.text(&text(&report))?;
    }
    out.flush()
}

impl Report {
    fn of(file: &SpecFile, seed: u64, samples: u64) -> Self {
        let space = &file.spec.space;
        let size = space.size();
        let dataset = file.dataset.as_ref();
        Self {
            name: file.spec.name.clone(),
            size: SizeReport {
                log10: size.log10,
                candidates: size.candidates,
                at_most: size.at_most,
                continuous_decisions: size.continuous,
                decisions: space.count().decisions,
            },
            warnings: file.warnings.iter().map(ToString::to_string).collect(),
            input: dataset.map(|dataset| dataset.input.to_string()),
            classes: dataset.map(|dataset| dataset.classes),
            decisions: tree::tree(space),
            seed,
            sample: survey(&file.spec, dataset, seed, samples),
        }
    }
}

fn text(report: &Report) -> String {
    let mut text = format!("{:<12} {}\n", "space", report.name);
    text.push_str(&format!(
        "{:<12} {}\n",
        "candidates",
        size_text(&report.size)
    ));
    text.push_str(&format!(
        "{:<12} {}\n",
        "decisions",
        decisions_text(&report.size)
    ));
    for warning in &report.warnings {
        text.push_str(&format!("{:<12} {warning}\n", "warning"));
    }
    if let (Some(input), Some(classes)) = (&report.input, report.classes) {
        text.push_str(&format!("{:<12} {input}, {classes} classes\n", "data"));
    }
    text.push('\n');
    if report.decisions.is_empty() {
        text.push_str("there is nothing to decide: one candidate\n");
    } else {
        text.push_str(&tree::text(&report.decisions));
    }
    text.push('\n');
    sample_text(&report.sample, report.seed, &mut text);
    text
}

/// `15,625`, `10^24.0`, with what else is to be known about the number.
fn size_text(size: &SizeReport) -> String {
    let at_most = if size.at_most { "at most " } else { "" };
    let number = match size.candidates {
        Some(candidates) if candidates <= COUNTED => grouped(candidates),
        _ => format!("10^{:.1}", size.log10),
    };
    let continuous = match size.continuous_decisions {
        0 => String::new(),
        1 => ", times the values of 1 continuous decision".to_owned(),
        several => format!(", times the values of {several} continuous decisions"),
    };
    format!("{at_most}{number}{continuous}")
}

fn decisions_text(size: &SizeReport) -> String {
    match size.decisions {
        0 => "none".to_owned(),
        1 => "1".to_owned(),
        several => format!("{several}, every alternative counted and every repeat at its maximum"),
    }
}

/// A number with its thousands set apart.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn sample_text(sample: &Survey, seed: u64, text: &mut String) {
    let feasible = sample.candidates - sample.infeasible;
    text.push_str(&format!(
        "{:<12} {} candidates drawn with seed {seed}: {feasible} feasible, {} of them different\n",
        "sample", sample.candidates, sample.different
    ));
    for (name, spread) in [("parameters", &sample.parameters), ("MACs", &sample.macs)] {
        if let Some(spread) = spread {
            text.push('\n');
            spread_text(name, spread, text);
        }
    }
    if sample.infeasible == 0 {
        return;
    }
    text.push_str(&format!(
        "\n{:<12} {} of {} ({:.1}%)\n",
        "infeasible",
        sample.infeasible,
        sample.candidates,
        100.0 * sample.infeasible as f64 / sample.candidates.max(1) as f64
    ));
    for reason in &sample.reasons {
        // The numbers of one are not those of all.
        let example = if reason.varies { "e.g. " } else { "" };
        text.push_str(&format!(
            "{:>9}  {example}{}\n",
            reason.candidates, reason.example
        ));
    }
    if sample.other_reasons > 0 {
        text.push_str(&format!("{:>9}  for other reasons\n", sample.other_reasons));
    }
}

/// The five numbers of a spread, and a bar for each class of its histogram.
fn spread_text(name: &str, spread: &Spread, text: &mut String) {
    text.push_str(&format!(
        "{name:<12} {} to {}, median {}, half of them from {} to {}\n",
        quantity(spread.min),
        quantity(spread.max),
        quantity(spread.median),
        quantity(spread.lower_quartile),
        quantity(spread.upper_quartile)
    ));
    let most = spread.histogram.iter().copied().max().unwrap_or(0);
    if spread.min == spread.max || most == 0 {
        return;
    }
    for (index, &count) in spread.histogram.iter().enumerate() {
        // Something is never shown as nothing.
        let length = (count * BAR).div_ceil(most);
        let bar = "▆".repeat(usize::try_from(length).unwrap_or(0));
        let line = format!("{:>12} {bar} {count}", quantity(spread.class(index).0));
        text.push_str(line.trim_end_matches(" 0").trim_end());
        text.push('\n');
    }
}
