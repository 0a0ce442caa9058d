//! `espalier validate`: reads a spec and its data, and draws a sample from the space to say what a search
//! would meet in it.

use std::collections::BTreeSet;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::args::ValidateArgs;
use super::error::CliError;
use super::look::load_spec;
use super::output::stdout;
use super::render::quantity;
use super::spec_file::SpecFile;

/// Candidates drawn: shares to about 1.5 in 100, within a second.
const SAMPLE: u64 = 1_000;
/// Fewer candidates are drawn of a space whose candidates are large: so many blocks in all, which take about as
/// long; but never so few that they say nothing.
const SAMPLED_BLOCKS: u64 = 200_000;
const LEAST_SAMPLE: u64 = 20;

/// What was found. Its JSON is what `--output json` prints.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    warnings: Vec<String>,
    space: SpaceReport,
    dataset: Option<DatasetReport>,
    /// What was assumed in the place of data.
    assumed: Option<AssumedReport>,
    sample: SampleReport,
}

#[derive(Debug, Serialize)]
struct SpaceReport {
    log10_size: f64,
    at_most: bool,
    continuous_decisions: u64,
    decisions: u64,
}

#[derive(Debug, Serialize)]
struct DatasetReport {
    fingerprint: String,
    input: String,
    classes: u32,
    train: u64,
    validation: u64,
    test: u64,
}

#[derive(Debug, Serialize)]
struct AssumedReport {
    input: String,
    classes: u32,
}

#[derive(Debug, Default, Serialize)]
struct SampleReport {
    candidates: usize,
    different: usize,
    infeasible: usize,
    first_infeasible: Option<String>,
    parameters: Option<Spread>,
    macs: Option<Spread>,
}

/// The least, the middle and the most of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Spread {
    least: u64,
    median: u64,
    most: u64,
}

impl Spread {
    fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        Some(Self {
            least: *values.first()?,
            median: *values.get(values.len() / 2)?,
            most: *values.last()?,
        })
    }
}

/// `espalier validate`.
pub(super) fn validate(args: &ValidateArgs) -> Result<(), CliError> {
    let file = load_spec(&args.spec, &args.look)?;
    let report = examine(&file, args.look.assume_data.is_some());
    let mut out = stdout();
    if args.output.json() {
        out.json(&report)?;
    } else {
        out.text(&text(&report))?;
    }
    out.flush()?;
    Ok(())
}

fn examine(file: &SpecFile, is_assumed: bool) -> Report {
    let space = &file.spec.space;
    let data = file.dataset.as_ref();
    let size = space.size();
    Report {
        name: file.spec.name.clone(),
        warnings: file.warnings.iter().map(ToString::to_string).collect(),
        space: SpaceReport {
            log10_size: size.log10,
            at_most: size.at_most,
            continuous_decisions: size.continuous,
            decisions: space.count().decisions,
        },
        assumed: data.filter(|_| is_assumed).map(|data| AssumedReport {
            input: data.input.to_string(),
            classes: data.classes,
        }),
        dataset: data.filter(|_| !is_assumed).map(|dataset| DatasetReport {
            fingerprint: dataset.fingerprint.to_string(),
            input: dataset.input.to_string(),
            classes: dataset.classes,
            train: dataset.train,
            validation: dataset.validation,
            test: dataset.test,
        }),
        sample: sample(file),
    }
}

/// Draws candidates, the same ones every time.
fn sample(file: &SpecFile) -> SampleReport {
    let mut rng = ChaCha8Rng::seed_from_u64(file.spec.seed);
    let mut report = SampleReport::default();
    let (mut parameters, mut macs) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    let affordable = SAMPLED_BLOCKS / file.spec.space.count().blocks.max(1);
    for _ in 0..affordable.clamp(LEAST_SAMPLE, SAMPLE) {
        report.candidates += 1;
        match feasible(file, &mut rng) {
            Ok(built) => {
                parameters.extend(built.parameters);
                macs.extend(built.macs);
                seen.insert(built.candidate_id);
            }
            Err(reason) => {
                report.infeasible += 1;
                report.first_infeasible.get_or_insert(reason);
            }
        }
    }
    report.different = seen.len();
    report.parameters = Spread::of(parameters);
    report.macs = Spread::of(macs);
    report
}

fn feasible(
    file: &SpecFile,
    rng: &mut ChaCha8Rng,
) -> Result<espalier_common::space::Built, String> {
    let candidate = file.spec.space.sample(rng);
    let checked = file.spec.check(&candidate, file.dataset.as_ref());
    checked.map_err(|refusal| refusal.to_string())
}

fn text(report: &Report) -> String {
    let mut lines = vec![
        format!("{:<12} {}: the spec is sound", "spec", report.name),
        format!("{:<12} {}", "space", space_text(&report.space)),
    ];
    let warnings = report.warnings.iter();
    lines.extend(warnings.map(|warning| format!("{:<12} {warning}", "warning")));
    if let Some(dataset) = &report.dataset {
        lines.push(format!(
            "{:<12} {}, {} classes; {} training, {} validation, {} test examples",
            "data", dataset.input, dataset.classes, dataset.train, dataset.validation, dataset.test
        ));
    }
    if let Some(assumed) = &report.assumed {
        lines.push(format!(
            "{:<12} assumed: {}, {} classes",
            "data", assumed.input, assumed.classes
        ));
    }
    let sample = &report.sample;
    lines.push(format!(
        "{:<12} {} candidates drawn, {} different ones feasible",
        "sample", sample.candidates, sample.different
    ));
    for (name, spread) in [("parameters", sample.parameters), ("MACs", sample.macs)] {
        if let Some(spread) = spread {
            lines.push(format!(
                "{name:<12} {} to {}, median {}",
                quantity(spread.least),
                quantity(spread.most),
                quantity(spread.median)
            ));
        }
    }
    lines.push(format!(
        "{:<12} {:.1}%{}",
        "infeasible",
        100.0 * sample.infeasible as f64 / sample.candidates.max(1) as f64,
        sample
            .first_infeasible
            .as_ref()
            .map(|reason| format!(", the first: {reason}"))
            .unwrap_or_default()
    ));
    lines.push(String::new());
    lines.join("\n")
}

fn space_text(space: &SpaceReport) -> String {
    let size = if space.log10_size < 6.0 {
        // Up to a million the number itself says more than its logarithm.
        format!("{:.0} candidates", 10_f64.powf(space.log10_size))
    } else {
        format!("10^{:.1} candidates", space.log10_size)
    };
    let size = if space.at_most {
        format!("at most {size}")
    } else {
        size
    };
    match space.continuous_decisions {
        0 => format!("{size}, at most {} decisions", space.decisions),
        continuous => format!(
            "{size}, times the values of {continuous} continuous decision{}; at most {} decisions",
            if continuous == 1 { "" } else { "s" },
            space.decisions
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_the_sorted_values() {
        assert_eq!(
            Spread::of(vec![5, 1, 9]),
            Some(Spread {
                least: 1,
                median: 5,
                most: 9
            })
        );
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn the_report_says_size_data_spread_and_the_share_that_is_infeasible() {
        let report = Report {
            name: "demo".to_owned(),
            warnings: vec!["x.yaml:3:4: network[0].choice: there is nothing to decide".to_owned()],
            space: SpaceReport {
                log10_size: 3.0,
                at_most: false,
                continuous_decisions: 1,
                decisions: 9,
            },
            dataset: Some(DatasetReport {
                fingerprint: "ab".repeat(32),
                input: "1 channels × 28 height × 28 width".to_owned(),
                classes: 10,
                train: 20_000,
                validation: 5_000,
                test: 10_000,
            }),
            assumed: None,
            sample: SampleReport {
                candidates: 1_000,
                different: 640,
                infeasible: 125,
                first_infeasible: Some(
                    "constraints: parameters is 400000, the spec allows at most 300000".into(),
                ),
                parameters: Spread::of(vec![1_234, 56_789, 250_000]),
                macs: Spread::of(vec![1_000_000, 2_000_000, 3_000_000]),
            },
        };
        insta::assert_snapshot!(text(&report));
    }

    #[test]
    fn a_large_space_is_given_as_a_power_of_ten() {
        let space = SpaceReport {
            log10_size: 24.04,
            at_most: true,
            continuous_decisions: 0,
            decisions: 70,
        };
        assert_eq!(
            space_text(&space),
            "at most 10^24.0 candidates, at most 70 decisions"
        );
    }
}
