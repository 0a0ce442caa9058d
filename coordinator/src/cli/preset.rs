//! `espalier preset`: the spaces that ship with Espalier. May import the presets.

use espalier_common::presets::{self, Preset};
use serde::Serialize;

use super::args::{PresetArgs, PresetCommand};
use super::error::CliError;
use super::output::stdout;

/// A preset in a list. Its JSON is what `--output json` prints.
#[derive(Debug, Serialize)]
struct PresetView {
    name: &'static str,
    about: String,
}

impl From<&Preset> for PresetView {
    fn from(preset: &Preset) -> Self {
        Self {
            name: preset.name,
            about: preset.about(),
        }
    }
}

/// `espalier preset`.
pub(super) fn preset(args: &PresetArgs) -> Result<(), CliError> {
    let mut out = stdout();
    match &args.command {
        PresetCommand::List(args) => {
            let all: Vec<_> = presets::all().iter().map(PresetView::from).collect();
            if args.output.json() {
                out.json(&all)?;
            } else {
                for preset in &all {
                    out.line(&format!("{:<16} {}", preset.name, preset.about))?;
                }
            }
        }
        PresetCommand::Show(args) => out.text(find(&args.name)?.text)?,
    }
    out.flush()
}

fn find(name: &str) -> Result<&'static Preset, CliError> {
    presets::find(name).ok_or_else(|| {
        let names: Vec<_> = presets::all().iter().map(|preset| preset.name).collect();
        CliError::Usage(format!(
            "there is no preset {name:?}; there are {}",
            names.join(", ")
        ))
    })
}
