//! The decisions of a space as a tree: which decision exists under which alternative. Made from the blocks of
//! the space and never by expanding it, so that it is as long as the spec and not as the space is large. May
//! import the space and serde.

mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use espalier_common::candidate::Value;
use espalier_common::space::{
    Alternative, Block, BlockKind, Body, Cell, Definition, Domain, Hyperparameter, Hyperparameters,
    Inputs, OptimizerSpace, Repeat, ScheduleSpace, Setting, Space, Training, Use, uses_of,
};
use serde::Serialize;

/// A part of a space, with the decisions in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Entry {
    /// Its name among its siblings: `stem`, `[2]`, `kernel`.
    pub name: String,
    /// The word of the block, for a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// When or where what it holds exists: `if plain`, `in each round`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The path of the decision that it is. `*` stands for any number; what is in a definition begins with
    /// `blocks.` and its name, also where every use has decisions, and paths, of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// The values of the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
    /// The values of a decision among sets of things, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sets: Option<String>,
    /// The tie or parameter that it is, instead of a decision of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
    /// The definition whose decisions belong here, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<String>,
    /// What it holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Entry>,
}

impl Entry {
    /// Whether there is nothing to decide in it.
    fn is_empty(&self) -> bool {
        self.decision.is_none()
            && self.named.is_none()
            && self.uses.is_none()
            && self.holds.is_empty()
    }

    fn decision(path: &str, name: &str, domain: &Domain) -> Self {
        Self {
            name: name.to_owned(),
            decision: Some(format!("{path}.{name}")),
            domain: Some(domain.clone()),
            ..Self::default()
        }
    }

    fn section(name: &str, holds: Vec<Entry>) -> Self {
        Self {
            name: name.to_owned(),
            holds,
            ..Self::default()
        }
    }
}

/// The decisions of a space, as a tree: its parts that have any.
#[must_use]
pub fn tree(space: &Space) -> Vec<Entry> {
    let open = open_definitions(space);
    let walk = Walk {
        space,
        open: &open,
        parameters: &[],
    };
    let ties = space.tie.iter();
    let ties = ties.filter_map(|(name, setting)| walk.scalar("tie", name, setting));
    let definitions = space
        .blocks
        .iter()
        .map(|(name, one)| walk.definition(name, one));
    let mut sections = vec![
        Entry::section("tie", ties.collect()),
        Entry::section(
            "network",
            walk.list("network", space.network.as_deref().unwrap_or_default()),
        ),
        Entry::section(
            "blocks",
            definitions.filter(|entry| !entry.is_empty()).collect(),
        ),
        Entry::section("training", walk.training(&space.training)),
        Entry::section(
            "hyperparameters",
            walk.hyperparameters("hyperparameters", &space.hyperparameters),
        ),
    ];
    sections.retain(|section| !section.is_empty());
    sections
}

/// The tree as indented lines.
#[must_use]
pub fn text(entries: &[Entry]) -> String {
    text::lines(entries)
}

/// The definitions in which there is something to decide, in themselves or in what they use.
fn open_definitions(space: &Space) -> BTreeSet<&str> {
    let none = BTreeSet::new();
    let walk = Walk {
        space,
        open: &none,
        parameters: &[],
    };
    let mut open: BTreeSet<&str> = space
        .blocks
        .iter()
        .filter(|(name, definition)| !walk.definition(name, definition).is_empty())
        .map(|(name, _)| name.as_str())
        .collect();
    // Each turn but the last adds one at least.
    for _ in 0..space.blocks.len() {
        let before = open.len();
        for (name, definition) in &space.blocks {
            let uses = uses_of(definition.body.blocks());
            if uses.iter().any(|used| open.contains(used.block.as_str())) {
                open.insert(name);
            }
        }
        if open.len() == before {
            break;
        }
    }
    open
}

/// A walk through the blocks of a space.
#[derive(Clone, Copy)]
struct Walk<'s> {
    space: &'s Space,
    /// The definitions with something to decide.
    open: &'s BTreeSet<&'s str>,
    /// What names stand for arguments here: those are decided where the definition is used.
    parameters: &'s [String],
}

impl<'s> Walk<'s> {
    fn definition(&self, name: &str, definition: &'s Definition) -> Entry {
        let inside = Self {
            parameters: &definition.parameters,
            ..*self
        };
        Entry {
            name: name.to_owned(),
            when: definition
                .depth
                .map(|depth| format!("inside itself to depth {depth}")),
            holds: inside.body(&format!("blocks.{name}"), &definition.body),
            ..Entry::default()
        }
    }

    /// The blocks of a list that have something to decide.
    fn list(&self, path: &str, blocks: &[Block]) -> Vec<Entry> {
        let entries = blocks
            .iter()
            .enumerate()
            .map(|(index, block)| match &block.name {
                Some(name) => self.block(&format!("{path}.{name}"), name.clone(), block),
                None => self.block(&format!("{path}[{index}]"), format!("[{index}]"), block),
            });
        entries.filter(|entry| !entry.is_empty()).collect()
    }

    /// The blocks of a list, or the one that stands in its place and adds nothing to the path.
    fn body(&self, path: &str, body: &Body) -> Vec<Entry> {
        match body {
            Body::List(blocks) => self.list(path, blocks),
            Body::One(block) => {
                let entry = match &block.name {
                    Some(name) => self.block(&format!("{path}.{name}"), name.clone(), block),
                    None => self.block(path, String::new(), block),
                };
                (!entry.is_empty()).then_some(entry).into_iter().collect()
            }
        }
    }

    fn block(&self, path: &str, name: String, block: &Block) -> Entry {
        let mut entry = Entry {
            name,
            block: Some(word(&block.kind)),
            ..Entry::default()
        };
        match &block.kind {
            BlockKind::Layer(layer) => entry.holds = self.settings(path, layer.as_ref()),
            BlockKind::Choice(alternatives) => self.choice(&mut entry, path, alternatives),
            BlockKind::Optional(blocks) => {
                let both = [false, true].map(Value::Boolean);
                entry.decision = Some(format!("{path}.optional"));
                entry.domain = Some(Domain::Choice(both.to_vec()));
                let holds = self.list(&format!("{path}.optional"), blocks);
                add_when(&mut entry, "if true", holds);
            }
            BlockKind::Repeat(repeat) => self.repeat(&mut entry, path, repeat),
            BlockKind::Residual(blocks) => {
                entry.holds = self.list(&format!("{path}.residual"), blocks);
            }
            BlockKind::Shortcut(both) => {
                entry.holds = self.list(&format!("{path}.residual"), &both.body);
                let shortcut = self.list(&format!("{path}.shortcut"), &both.shortcut);
                add_when(&mut entry, "on the shortcut", shortcut);
            }
            BlockKind::Branches(branches) => {
                entry
                    .holds
                    .extend(self.scalar(path, "join", &branches.join));
                for (index, blocks) in branches.of.iter().enumerate() {
                    let holds = self.list(&format!("{path}.branches[{index}]"), blocks);
                    add_when(&mut entry, &format!("in branch {index}"), holds);
                }
            }
            BlockKind::Sequence(blocks) => entry.holds = self.list(path, blocks),
            BlockKind::Cell(cell) => self.cell(&mut entry, path, cell),
            BlockKind::Use(used) => self.used(&mut entry, path, used),
            BlockKind::From(source) => entry.holds.extend(self.scalar(path, "from", source)),
            BlockKind::Inputs(inputs) => self.inputs(&mut entry, path, inputs),
        }
        entry
    }

    fn choice(&self, entry: &mut Entry, path: &str, alternatives: &[Alternative]) {
        let values: Vec<Value> = alternatives
            .iter()
            .map(|one| Value::Text(one.name.clone()))
            .collect();
        let plain = alternatives.iter().all(|one| one.weight.is_none());
        entry.decision = Some(format!("{path}.choice"));
        entry.domain = Some(if plain {
            Domain::Choice(values)
        } else {
            let weights = alternatives.iter().map(|one| one.weight.unwrap_or(1.0));
            Domain::Weighted {
                values,
                weights: weights.collect(),
            }
        });
        for one in alternatives {
            let holds = self.list(&format!("{path}.choice.{}", one.name), &one.blocks);
            add_when(entry, &format!("if {}", one.name), holds);
        }
    }

    fn repeat(&self, entry: &mut Entry, path: &str, repeat: &Repeat) {
        entry
            .holds
            .extend(self.scalar(path, "times", &repeat.times));
        let (mark, when) = if repeat.shared {
            ("all", "the same in all rounds")
        } else {
            ("*", "in each round")
        };
        let holds = self.list(&format!("{path}#{mark}"), &repeat.block);
        add_when(entry, when, holds);
    }

    fn cell(&self, entry: &mut Entry, path: &str, cell: &Cell) {
        if let Some(channels) = &cell.channels {
            entry.holds.extend(self.scalar(path, "channels", channels));
        }
        entry
            .holds
            .extend(self.scalar(path, "reduction", &cell.reduction));
        // The first node that has several ways to take so many of the nodes before it.
        let first = |choose: u64| match cell.distinct {
            true => choose.saturating_add(1).max(cell.inputs),
            false => cell.inputs.max(2),
        };
        if let Some(choose) = cell.choose.filter(|&choose| first(choose) < cell.nodes) {
            let nodes = match (first(choose), cell.nodes - 1) {
                (first, last) if first == last => format!("node {first}"),
                (first, last) => format!("each of the nodes {first} to {last}"),
            };
            let repeated = if cell.distinct {
                ""
            } else {
                " (one may be taken several times)"
            };
            entry.holds.push(Entry {
                name: "node[*].inputs".to_owned(),
                decision: Some(format!("{path}.node[*].inputs")),
                sets: Some(format!(
                    "{choose} of the nodes before it{repeated}, for {nodes}"
                )),
                ..Entry::default()
            });
        }
        let holds = self.body(&format!("{path}.edge[*]"), &cell.edge);
        add_when(entry, "on each edge", holds);
    }

    fn used(&self, entry: &mut Entry, path: &str, used: &Use) {
        let once = if used.shared { ", decided once" } else { "" };
        entry.block = Some(format!("use {}{once}", used.block));
        let given = used.with.iter();
        entry
            .holds
            .extend(given.filter_map(|(name, setting)| self.scalar(path, name, setting)));
        if self.open.contains(used.block.as_str()) {
            entry.uses = Some(used.block.clone());
        }
    }

    fn inputs(&self, entry: &mut Entry, path: &str, inputs: &Inputs) {
        let all = inputs.of.join(", ");
        let sets = match inputs.choose {
            Some(choose) if choose >= inputs.of.len() as u64 => None,
            Some(choose) => Some(format!("{choose} of {all}")),
            None => Some(format!("one or more of {all}")),
        };
        if sets.is_some() {
            entry.decision = Some(format!("{path}.inputs"));
            entry.sets = sets;
        }
        entry.holds.extend(self.scalar(path, "join", &inputs.join));
    }

    /// Whether a name stands for a tie with a decision.
    fn is_tie(&self, name: &str) -> bool {
        let tie = self.space.tie.get(name);
        !self.parameters.iter().any(|parameter| parameter == name)
            && tie.is_some_and(|tie| tie.domain().is_some())
    }

    /// The decisions among the settings of a layer. They are found in its JSON, where each setting says whether it
    /// is fixed, so that a new layer needs no line here.
    fn settings(&self, path: &str, layer: &impl Serialize) -> Vec<Entry> {
        let mut entries = Vec::new();
        let Ok(serde_json::Value::Object(layer)) = serde_json::to_value(layer) else {
            return entries;
        };
        for (word, value) in &layer {
            match value {
                // A layer that is one setting, such as an activation.
                serde_json::Value::Object(fields) if setting(fields).is_some() => {
                    entries.extend(self.found(path, word, value));
                }
                serde_json::Value::Object(fields) => {
                    for (name, value) in fields {
                        entries.extend(self.found(path, name, value));
                    }
                }
                _ => {}
            }
        }
        entries
    }

    /// The decision that a setting in JSON is, or the decisions in it.
    fn found(&self, path: &str, name: &str, value: &serde_json::Value) -> Vec<Entry> {
        let serde_json::Value::Object(fields) = value else {
            return Vec::new();
        };
        match setting(fields) {
            Some(setting) => self.scalar(path, name, &setting).into_iter().collect(),
            None => {
                let inner = fields.iter();
                inner
                    .flat_map(|(inner, value)| self.found(path, &format!("{name}.{inner}"), value))
                    .collect()
            }
        }
    }

    fn scalar<T>(&self, path: &str, name: &str, setting: &Setting<T>) -> Option<Entry> {
        match setting {
            Setting::Fixed(_) => None,
            Setting::Decide(domain) => Some(Entry::decision(path, name, domain)),
            Setting::Named(named) => self.is_tie(named).then(|| Entry {
                name: name.to_owned(),
                named: Some(named.clone()),
                ..Entry::default()
            }),
        }
    }

    /// The hyperparameters that have something to decide.
    fn hyperparameters(&self, path: &str, all: &Hyperparameters) -> Vec<Entry> {
        let entries = all.iter().filter_map(|(name, one)| {
            let inside = format!("{path}.{name}");
            let mut entry = Entry {
                name: name.clone(),
                domain: one.domain(),
                ..Entry::default()
            };
            match one {
                Hyperparameter::Setting(setting) => return self.scalar(path, name, setting),
                Hyperparameter::Group(settings) => {
                    entry.holds = self.hyperparameters(&inside, settings);
                }
                Hyperparameter::Choice(alternatives) => {
                    for one in alternatives {
                        let path = format!("{inside}.{}", one.name);
                        let holds = self.hyperparameters(&path, &one.settings);
                        add_when(&mut entry, &format!("if {}", one.name), holds);
                    }
                    entry.decision = Some(inside);
                }
                Hyperparameter::Optional(settings) => {
                    let path = format!("{inside}.optional");
                    let holds = self.hyperparameters(&path, settings);
                    add_when(&mut entry, "if true", holds);
                    entry.decision = Some(path);
                }
            }
            (!entry.is_empty()).then_some(entry)
        });
        entries.collect()
    }

    fn training(&self, training: &Training) -> Vec<Entry> {
        let path = "training";
        let mut entries: Vec<Entry> = self
            .scalar(path, "batch_size", &training.batch_size)
            .into_iter()
            .chain(self.scalar(path, "label_smoothing", &training.label_smoothing))
            .collect();
        entries.extend(self.one_of(path, "optimizer", &training.optimizer, OptimizerSpace::word));
        entries.extend(self.one_of(path, "schedule", &training.schedule, ScheduleSpace::word));
        entries
    }

    /// One of several parts of the recipe, each with settings of its own; a single one is no decision.
    fn one_of<T: Serialize>(
        &self,
        path: &str,
        name: &str,
        all: &[T],
        word: impl Fn(&T) -> &'static str,
    ) -> Option<Entry> {
        let mut entry = Entry {
            name: name.to_owned(),
            ..Entry::default()
        };
        let settings = |one: &T| self.settings(&format!("{path}.{name}.{}", word(one)), one);
        match all {
            [only] => {
                entry.name = format!("{name}.{}", word(only));
                entry.holds = settings(only);
            }
            several => {
                let values = several.iter().map(|one| Value::Text(word(one).to_owned()));
                entry.decision = Some(format!("{path}.{name}"));
                entry.domain = Some(Domain::Choice(values.collect()));
                for one in several {
                    add_when(&mut entry, &format!("if {}", word(one)), settings(one));
                }
            }
        }
        (!entry.is_empty()).then_some(entry)
    }
}

/// Adds what an entry holds under a condition, when that is something.
fn add_when(entry: &mut Entry, when: &str, holds: Vec<Entry>) {
    if !holds.is_empty() {
        entry.holds.push(Entry {
            when: Some(when.to_owned()),
            holds,
            ..Entry::default()
        });
    }
}

/// The word of a block, as in the spec.
fn word(kind: &BlockKind) -> String {
    let kind = match kind {
        BlockKind::Layer(layer) => serde_json::to_value(layer.as_ref()),
        other => serde_json::to_value(other),
    };
    match kind {
        Ok(serde_json::Value::Object(object)) => object.keys().next().cloned(),
        Ok(serde_json::Value::String(word)) => Some(word),
        _ => None,
    }
    .unwrap_or_default()
}

/// A setting of any type, from its JSON.
fn setting(
    fields: &serde_json::Map<String, serde_json::Value>,
) -> Option<Setting<serde_json::Value>> {
    let value = serde_json::Value::Object(fields.clone());
    serde_json::from_value(value).ok()
}
