//! `preset:` takes a space that ships with Espalier: its parts stand where the spec has none.

use super::reader::{At, Reader};
use super::scalar::Kind;
use super::yaml::{self, Node, Text};
use crate::candidate::Value;
use crate::presets::{self, NAMES};

/// Keys whose entries are taken one by one; of any other, the spec's value takes the preset's place.
const MERGED: [&str; 4] = ["blocks", "tie", "training", "hyperparameters"];

impl Reader<'_> {
    /// The spec with the parts of its preset, if it names one.
    pub(super) fn with_preset<'t>(&mut self, mut spec: Node<'t>) -> Node<'t> {
        let Some(index) = self.preset_of(&spec) else {
            return spec;
        };
        let (Some(preset), Ok(number)) = (presets::all().get(index), u8::try_from(index)) else {
            return spec;
        };
        match yaml::parse(preset.text, Text::Preset(number)) {
            Ok(parts) => merge(&mut spec, parts, |key| MERGED.contains(&key)),
            Err(trouble) => self.error(trouble.place, trouble.path, trouble.message),
        }
        spec
    }

    fn preset_of(&mut self, spec: &Node<'_>) -> Option<usize> {
        let root = At::root(spec);
        let entries = root.entries()?;
        let (_, at) = entries.iter().find(|(key, _)| key.text == "preset")?;
        match self.value(at, Kind::Word(&NAMES))? {
            Value::Text(name) => NAMES.iter().position(|known| *known == name),
            _ => None,
        }
    }
}

/// Adds to a map the entries of another; those of `spec` win, but where `deeper` says so the entries of both
/// values are taken.
fn merge<'t>(spec: &mut Node<'t>, preset: Node<'t>, deeper: fn(&str) -> bool) {
    let (yaml::Kind::Map(own), yaml::Kind::Map(parts)) = (&mut spec.kind, preset.kind) else {
        return;
    };
    for (key, value) in parts {
        match own.iter_mut().find(|(other, _)| other.text == key.text) {
            None => own.push((key, value)),
            Some((_, given)) if deeper(&key.text) => merge(given, value, |_| false),
            Some(_) => {}
        }
    }
}
