//! The commands that look at spaces, candidates and networks, and ask no coordinator. May import clap.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use espalier_common::network::Shape;

use super::super::output::OutputArgs;
use super::DataArgs;

/// The most candidates that one survey draws: a minute's work for large networks.
const MAX_SAMPLES: u64 = 100_000;
/// The most candidates that one sample shows.
const MAX_COUNT: u64 = 10_000;
/// The longest side of assumed data, and the most classes: far above real ones.
const MAX_ASSUMED: u32 = 1 << 20;

/// Show a space: its size, its tree of decisions, and what a sample of it holds
///
/// The tree shows which decision exists under which alternative. The sample says how parameters and
/// multiply-accumulates (MACs) are spread, how many candidates would be refused, and why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier space examples/fashion-mnist.yaml --data-root data
  espalier space spec.yaml --assume-data 3x32x32:10      without the data
  espalier space spec.yaml --samples 10000 --seed 7 --output json")]
pub(in crate::cli) struct SpaceArgs {
    /// The spec, a YAML file
    #[arg(value_name = "SPEC")]
    pub(in crate::cli) spec: PathBuf,
    /// Candidates to draw for the sample
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_SAMPLES))]
    pub(in crate::cli) samples: u64,
    /// Seed of the sample [default: the spec's]
    #[arg(long, value_name = "N")]
    pub(in crate::cli) seed: Option<u64>,
    #[command(flatten)]
    pub(in crate::cli) look: LookArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Show random candidates of a space, with their decisions and sizes
///
/// Only candidates that a search would take. With --output json what is printed is a file of candidates
/// that `draw` and `diff` read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier sample examples/fashion-mnist.yaml --data-root data -n 3
  espalier sample spec.yaml -n 20 --output json > some.json
  espalier draw some.json#7 --spec spec.yaml -o seventh.svg")]
pub(in crate::cli) struct SampleArgs {
    /// The spec, a YAML file
    #[arg(value_name = "SPEC")]
    pub(in crate::cli) spec: PathBuf,
    /// How many
    #[arg(short = 'n', long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_COUNT))]
    pub(in crate::cli) count: u64,
    /// Seed of the sample [default: the spec's]
    #[arg(long, value_name = "N")]
    pub(in crate::cli) seed: Option<u64>,
    #[command(flatten)]
    pub(in crate::cli) look: LookArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Draw a candidate's network as SVG or DOT
///
/// SOURCE is a spec (a random candidate is drawn; --seed takes another one) or a candidate: candidate.json
/// of a run, one of the output of `sample` or `trials` (FILE#NUMBER), or - for stdin. A candidate that holds
/// its network needs nothing else; for any other, --spec says what its decisions mean. Equal blocks in a row
/// are drawn once, with their number.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier draw examples/fashion-mnist.yaml --data-root data --seed 3 -o candidate.svg
  espalier draw espalier-runs/fashion-mnist/best/candidate.json -o best.svg
  espalier trials fashion-mnist --output json | espalier draw -#7 --spec spec.yaml -o trial-7.svg
  espalier draw spec.yaml --format dot | dot -Tpdf -o candidate.pdf")]
pub(in crate::cli) struct DrawArgs {
    /// A spec, or a candidate: FILE.json, FILE.json#NUMBER, -, -#NUMBER
    #[arg(value_name = "SOURCE", allow_hyphen_values = true, value_parser = place)]
    pub(in crate::cli) source: String,
    /// The spec that the candidate is of
    #[arg(long, value_name = "SPEC")]
    pub(in crate::cli) spec: Option<PathBuf>,
    /// Seed of the random candidate: the first one of `sample --seed` [default: the spec's]
    #[arg(long, value_name = "N")]
    pub(in crate::cli) seed: Option<u64>,
    /// Draw the network without what does nothing: dead branches, identities, zeros
    #[arg(long)]
    pub(in crate::cli) simplified: bool,
    /// The file to write [default: stdout]
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
    /// What to write [default: dot for a FILE that ends in .dot or .gv, else svg]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(in crate::cli) format: Option<Picture>,
    #[command(flatten)]
    pub(in crate::cli) look: LookArgs,
}

/// Kinds of drawings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Picture {
    /// A picture that every browser shows.
    Svg,
    /// The language of Graphviz.
    Dot,
}

/// Show how two candidates differ, decision by decision
///
/// A and B are candidate.json of a run, one of the output of `sample` or `trials` (FILE#NUMBER), or - for
/// stdin. With --spec both are checked against the space, and their sizes are counted anew.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier diff run-1/best/candidate.json run-2/best/candidate.json
  espalier diff some.json#1 some.json#2 --spec spec.yaml --data-root data
  espalier trials fashion-mnist --output json | espalier diff -#3 -#9")]
pub(in crate::cli) struct DiffArgs {
    /// A candidate: FILE.json, FILE.json#NUMBER, -, -#NUMBER
    #[arg(value_name = "A", allow_hyphen_values = true, value_parser = place)]
    pub(in crate::cli) a: String,
    /// Another one
    #[arg(value_name = "B", allow_hyphen_values = true, value_parser = place)]
    pub(in crate::cli) b: String,
    /// The spec that both are of
    #[arg(long, value_name = "SPEC")]
    pub(in crate::cli) spec: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) look: LookArgs,
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// List the spaces that ship with Espalier, or show one
///
/// A spec takes one by `preset: NAME`, and may override parts of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  espalier preset list
  espalier preset show darts")]
pub(in crate::cli) struct PresetArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: PresetCommand,
}

/// What to do with presets.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PresetCommand {
    /// Name them all, each with a line about it
    List(PresetListArgs),
    /// Print one as it is written, in the language of specs
    Show(PresetShowArgs),
}

/// Options of `preset list`.
#[derive(Debug, Args)]
pub(in crate::cli) struct PresetListArgs {
    #[command(flatten)]
    pub(in crate::cli) output: OutputArgs,
}

/// Options of `preset show`.
#[derive(Debug, Args)]
pub(in crate::cli) struct PresetShowArgs {
    /// The preset
    #[arg(value_name = "NAME")]
    pub(in crate::cli) name: String,
}

/// What a spec's networks take in and give.
#[derive(Debug, Args)]
pub(in crate::cli) struct LookArgs {
    #[command(flatten)]
    pub(in crate::cli) data: DataArgs,
    /// What to assume of the data instead of looking at them: shape and classes, 3x32x32:10 for images
    /// (channels, height, width), 1x100:5 for signals (channels, time), 30:2 for features, 128:4:20000 for
    /// texts (tokens; the last number is the vocabulary)
    #[arg(long, value_name = "SHAPE:CLASSES", value_parser = assumed)]
    pub(in crate::cli) assume_data: Option<Assumed>,
}

/// Data that need not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Assumed {
    /// Shape of an example.
    pub(in crate::cli) input: Shape,
    /// Number of classes.
    pub(in crate::cli) classes: u32,
    /// Number of different tokens, of texts.
    pub(in crate::cli) vocabulary: Option<u32>,
}

/// A file, or stdin as `-` or `-#7`; whatever else begins with a dash is an option that is not there.
fn place(text: &str) -> Result<String, String> {
    if text.len() > 1 && text.starts_with('-') && !text.starts_with("-#") {
        return Err("there is no such option".to_owned());
    }
    Ok(text.to_owned())
}

fn assumed(text: &str) -> Result<Assumed, String> {
    let wrong = || {
        format!(
            "write SHAPE:CLASSES with numbers from 1 to {MAX_ASSUMED}: 3x32x32:10 for images, 1x100:5 for \
             signals, 30:2 for features, 128:4:20000 for texts"
        )
    };
    let number = |text: &str| {
        let number: Option<u32> = text.trim().parse().ok();
        let number = number.filter(|number| (1..=MAX_ASSUMED).contains(number));
        number.ok_or_else(wrong)
    };
    let mut parts = text.split(':');
    let shape = parts.next().unwrap_or_default().split(['x', '×']);
    let sides = shape.map(number).collect::<Result<Vec<_>, _>>()?;
    let rest = parts.map(number).collect::<Result<Vec<_>, _>>()?;
    let length = |side: u32| u64::from(side);
    let (input, classes, vocabulary) = match (sides.as_slice(), rest.as_slice()) {
        (&[channels, height, width], &[classes]) => (
            Shape::image(length(channels), length(height), length(width)),
            classes,
            None,
        ),
        (&[channels, time], &[classes]) => {
            (Shape::signal(length(channels), length(time)), classes, None)
        }
        (&[features], &[classes]) => (Shape::features(length(features)), classes, None),
        (&[tokens], &[classes, vocabulary]) => {
            (Shape::tokens(length(tokens)), classes, Some(vocabulary))
        }
        _ => return Err(wrong()),
    };
    Ok(Assumed {
        input,
        classes,
        vocabulary,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_stdin_or_an_option() {
        for place_of in ["-", "-#7", "a.json#3"] {
            assert_eq!(place(place_of).as_deref(), Ok(place_of));
        }
        assert!(place("--sed").is_err() && place("-x").is_err());
    }

    #[test]
    fn assumed_data_are_a_shape_and_classes() {
        let of = |text: &str| {
            let data = assumed(text).unwrap();
            (data.input, data.classes, data.vocabulary)
        };
        assert_eq!(of("3x32x16:100"), (Shape::image(3, 32, 16), 100, None));
        assert_eq!(of("2x50:3"), (Shape::signal(2, 50), 3, None));
        assert_eq!(of("30:2"), (Shape::features(30), 2, None));
        assert_eq!(of("128:4:20000"), (Shape::tokens(128), 4, Some(20_000)));
        for wrong in [
            "",
            "3x32x32",
            "0x1x1:10",
            "3x32x32:0",
            "3x32x32:10:7",
            "1x1x1x1:2",
            "3x32x9999999:1",
            "axbxc:d",
        ] {
            assert!(
                assumed(wrong).unwrap_err().contains("3x32x32:10"),
                "{wrong}"
            );
        }
    }
}
