//! Reads the blocks of a network.

use std::collections::BTreeSet;
use std::fmt;

use super::domains::{MAX_ALTERNATIVES, ONLY_ONE};
use super::layers::{layer_example, layer_of_word};
use super::reader::{At, Fields, Reader};
use super::scalar::{Kind, is_name, shown};
use super::words::{self, Argument};
use super::yaml;
use crate::candidate::Value;
use crate::network::Activation;
use crate::space::{
    Alternative, Block, BlockKind, Body, Branches, Join, Layer, PREVIOUS, Repeat, Setting, Shortcut,
};

/// The most branches side by side.
pub(super) const MAX_BRANCHES: usize = 64;

impl Reader<'_> {
    /// A list of blocks.
    pub(super) fn blocks(&mut self, at: &At<'_>) -> Vec<Block> {
        let Some(items) = at.items() else {
            self.wrong(at, "a list of blocks is expected here ([] for none)");
            return Vec::new();
        };
        let opened = self.names.open_list();
        let mut blocks: Vec<Block> = Vec::with_capacity(items.len());
        let mut names = BTreeSet::new();
        for item in &items {
            let Some(block) = self.block(item) else {
                continue;
            };
            if let Some(name) = &block.name {
                self.names.output(name);
                if !names.insert(name.clone()) {
                    self.wrong(
                        item,
                        format!("two blocks of this list have the name {name:?}"),
                    );
                }
            }
            blocks.push(block);
        }
        self.names.close_list(opened);
        blocks
    }

    /// A list of blocks, or one block in its place.
    pub(super) fn body(&mut self, at: &At<'_>) -> Option<Body> {
        if at.items().is_some() {
            return Some(Body::List(self.blocks(at)));
        }
        self.block(at).map(|block| Body::One(Box::new(block)))
    }

    fn block(&mut self, at: &At<'_>) -> Option<Block> {
        if let Some((word, _)) = at.scalar() {
            return self.bare_block(at, word);
        }
        match at.entries() {
            Some(entries) => self.block_of_entries(at, &entries),
            None => Some(Block {
                name: None,
                kind: BlockKind::Sequence(self.blocks(at)),
            }),
        }
    }

    /// A block that is a map of one word, and of what may stand beside it.
    pub(super) fn block_of_entries<'n>(
        &mut self,
        at: &At<'n>,
        entries: &[(&'n yaml::Key<'n>, At<'n>)],
    ) -> Option<Block> {
        let (beside, others): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|(key, _)| words::BESIDE.contains(&key.text.as_ref()));
        let (word, body) = match others.as_slice() {
            [] => {
                self.wrong(at, "a block has one word, as `conv`; this map has none");
                return None;
            }
            [only] => (&only.0, &only.1),
            [first, second, ..] => {
                let message = format!(
                    "a block has one word, and this one {} and {}; settings of the first belong inside its own map",
                    shown(&first.0.text),
                    shown(&second.0.text)
                );
                self.error(second.0.place, &second.1.path, message);
                return None;
            }
        };
        let Some(argument) = words::argument(&word.text) else {
            self.unknown_block(word.place, &body.path, &word.text);
            return None;
        };
        let beside = self.beside(&word.text, &beside);
        let name = beside.name.as_ref().and_then(|entry| self.name_at(entry));
        let (inner, kind) = self.worded_block(&word.text, argument, body, &beside)?;
        if let (Some(entry), Some(_)) = (&beside.name, &inner) {
            self.wrong(
                entry,
                format!("the name is given twice, here and inside `{}`", word.text),
            );
        }
        Some(Block {
            name: name.or(inner),
            kind,
        })
    }

    /// What stands beside a word, if it may.
    fn beside<'n>(&mut self, word: &str, entries: &[&(&'n yaml::Key<'n>, At<'n>)]) -> Beside<'n> {
        let mut beside = Beside::default();
        for (key, entry) in entries {
            let allowed = words::beside(word).iter().any(|one| one.name == key.text);
            match key.text.as_ref() {
                "name" => beside.name = Some(entry.clone()),
                "weights" if allowed => beside.weights = Some(entry.clone()),
                "with" if allowed => beside.with = Some(entry.clone()),
                "shared" if allowed => beside.shared = Some(entry.clone()),
                other => {
                    let owner = if other == "weights" { "choice" } else { "use" };
                    let message = format!(
                        "`{other}` stands beside `{owner}` only; settings of `{word}` belong inside its own map"
                    );
                    self.error(key.place, &entry.path, message);
                }
            }
        }
        beside
    }

    fn name_at(&mut self, at: &At<'_>) -> Option<String> {
        match self.value(at, Kind::Name)? {
            Value::Text(name) => self.block_name(at, name),
            _ => None,
        }
    }

    /// A name that can be a block's.
    fn block_name(&mut self, at: &At<'_>, name: String) -> Option<String> {
        let meaning = match name.as_str() {
            PREVIOUS => "the output of the block before",
            "with" => "the arguments of a use",
            _ => return Some(name),
        };
        self.wrong(
            at,
            format!("no block can have the name `{name}`, which stands for {meaning}"),
        );
        None
    }

    /// A block that is one word.
    fn bare_block(&mut self, at: &At<'_>, word: &str) -> Option<Block> {
        let Some(argument) = words::argument(word) else {
            self.unknown_block(at.place, &at.path, word);
            return None;
        };
        if !words::is_bare(argument) {
            self.wrong(
                at,
                format!("`{word}` needs settings; write {}", example(word)),
            );
            return None;
        }
        self.worded_block(word, argument, &at.nothing(), &Beside::default())
            .map(|(name, kind)| Block { name, kind })
    }

    fn unknown_block(&mut self, place: yaml::Place, path: impl fmt::Display, word: &str) {
        let suggestion = self.nearest(word, words::block_words());
        let known: Vec<_> = words::block_words().collect();
        let message = match suggestion {
            Some(_) => "unknown block".to_owned(),
            None => format!("unknown block; the blocks are {}", known.join(", ")),
        };
        self.error_near(place, path, message, suggestion);
    }

    /// A block that is a word with what follows it, and the name that is given there.
    fn worded_block(
        &mut self,
        word: &str,
        argument: Argument,
        body: &At<'_>,
        beside: &Beside<'_>,
    ) -> Option<(Option<String>, BlockKind)> {
        match argument {
            Argument::Nothing => {
                if !body.node.is_null()
                    && !matches!(body.entries(), Some(entries) if entries.is_empty())
                {
                    self.wrong(body, format!("`{word}` has no settings"));
                }
                layer_of_word(word).map(|layer| (None, BlockKind::Layer(Box::new(layer))))
            }
            Argument::Scalar(kind) => {
                let setting: Setting<Activation> = self.setting_at(body, kind)?;
                Some((None, BlockKind::Layer(Box::new(Layer::Activation(setting)))))
            }
            Argument::Alternatives => {
                let mut alternatives = self.alternatives(body);
                if let Some(weights) = &beside.weights {
                    let names: Vec<_> = alternatives.iter().map(|one| one.name.clone()).collect();
                    for (index, weight) in self.weights(weights, &names) {
                        alternatives[index].weight = Some(weight);
                    }
                }
                Some((None, BlockKind::Choice(alternatives.into())))
            }
            Argument::Blocks if word == "optional" => {
                Some((None, BlockKind::Optional(self.blocks(body))))
            }
            Argument::Blocks => self.residual(body).map(|kind| (None, kind)),
            Argument::Definition => {
                let (with, shared) = (beside.with.as_ref(), beside.shared.as_ref());
                self.use_of(body, with, shared).map(|kind| (None, kind))
            }
            Argument::Output => self.from(body).map(|kind| (None, kind)),
            Argument::Settings { table, .. } => {
                let fields = self.fields(body, table);
                let name = match (self.text(&fields, "name"), fields.get("name")) {
                    (Some(name), Some(at)) => self.block_name(at, name),
                    _ => None,
                };
                self.settings_block(word, &fields).map(|kind| (name, kind))
            }
        }
    }

    fn settings_block(&mut self, word: &str, fields: &Fields<'_>) -> Option<BlockKind> {
        match word {
            "repeat" => self.repeat(fields),
            "branches" => self.branches(fields),
            "cell" => self.cell(fields),
            "inputs" => self.inputs(fields),
            _ => (self.settings_layer(word, fields)).map(|layer| BlockKind::Layer(Box::new(layer))),
        }
    }

    fn repeat(&mut self, fields: &Fields<'_>) -> Option<BlockKind> {
        let times = self.setting(fields, "times");
        let block = fields.get("block").map(|at| self.blocks(at));
        let shared = self.scalar(fields, "shared").unwrap_or(false);
        Some(BlockKind::Repeat(Repeat {
            times: times?,
            block: block?,
            shared,
        }))
    }

    fn branches(&mut self, fields: &Fields<'_>) -> Option<BlockKind> {
        let join = self.setting_or(fields, "join", Join::Add);
        let at = fields.get("of")?;
        let lists = at.items().unwrap_or_default();
        if lists.len() < 2 || lists.len() > MAX_BRANCHES {
            self.wrong(
                at,
                format!("a list of 2 to {MAX_BRANCHES} lists of blocks is expected here"),
            );
            return None;
        }
        let of = lists.iter().map(|list| self.blocks(list)).collect();
        Some(BlockKind::Branches(Branches { join, of }))
    }

    /// One list: what the input is added to. Two lists: what it is added to, and what it goes through first.
    fn residual(&mut self, at: &At<'_>) -> Option<BlockKind> {
        let items = at.items().unwrap_or_default();
        let lists = items.iter().filter(|item| item.items().is_some()).count();
        match items.as_slice() {
            [body, shortcut] if lists == 2 => Some(BlockKind::Shortcut(Shortcut {
                body: self.blocks(body),
                shortcut: self.blocks(shortcut),
            })),
            [_, _, _, ..] if lists == items.len() => {
                self.wrong(at, "a residual is one list of blocks, or two lists: the blocks, and what the input goes through on its way past them");
                None
            }
            _ => Some(BlockKind::Residual(self.blocks(at))),
        }
    }

    /// `choice:` of a block: named lists of blocks, or a list of words.
    fn alternatives(&mut self, at: &At<'_>) -> Vec<Alternative> {
        if at.len() > MAX_ALTERNATIVES {
            self.too_many(at, "alternatives");
            return Vec::new();
        }
        let alternatives = if let Some(items) = at.items() {
            self.word_alternatives(&items)
        } else if let Some(entries) = at.entries() {
            self.named_alternatives(&entries)
        } else {
            self.wrong(at, "named lists of blocks are expected here, as {wide: [...], none: []}, or a list of words, as [relu, silu]");
            return Vec::new();
        };
        match at.len() {
            0 => self.too_many(at, "alternatives"),
            1 => self.warn(at.place, &at.path, ONLY_ONE),
            _ => {}
        }
        alternatives
    }

    /// `weights:` beside a choice among named alternatives: the weights that are given, by the place of the
    /// alternative.
    pub(super) fn weights(&mut self, at: &At<'_>, names: &[String]) -> Vec<(usize, f64)> {
        let Some(entries) = at.entries() else {
            self.wrong(
                at,
                "a weight for each alternative is expected here, as {wide: 3, none: 1}",
            );
            return Vec::new();
        };
        let mut weights = Vec::with_capacity(entries.len());
        for (key, entry) in entries {
            let weight = self.weight(&entry);
            match names.iter().position(|name| *name == key.text) {
                Some(index) => weights.extend(weight.map(|weight| (index, weight))),
                None => {
                    let suggestion = self.nearest(&key.text, names.iter().map(String::as_str));
                    let message = "this choice has no such alternative";
                    self.error_near(key.place, &entry.path, message, suggestion);
                }
            }
        }
        weights
    }

    fn word_alternatives(&mut self, items: &[At<'_>]) -> Vec<Alternative> {
        let mut alternatives: Vec<Alternative> = Vec::new();
        for item in items {
            let Some((word, _)) = item.scalar() else {
                self.wrong(item, "a list of alternatives holds bare words, as [relu, silu]; give others a name, as {wide: [...]}");
                continue;
            };
            if alternatives.iter().any(|other| other.name == word) {
                self.wrong(
                    item,
                    format!("the alternative {} is given twice", shown(word)),
                );
                continue;
            }
            if let Some(block) = self.bare_block(item, word) {
                alternatives.push(Alternative {
                    name: word.to_owned(),
                    weight: None,
                    blocks: vec![block],
                });
            }
        }
        alternatives
    }

    fn named_alternatives(&mut self, entries: &[(&yaml::Key<'_>, At<'_>)]) -> Vec<Alternative> {
        entries
            .iter()
            .map(|(key, entry)| {
                if let Err(message) = is_name(&key.text) {
                    self.error(key.place, &entry.path, message);
                }
                Alternative {
                    name: key.text.clone().into_owned(),
                    weight: None,
                    blocks: self.blocks(entry),
                }
            })
            .collect()
    }
}

/// What stands beside the word of a block.
#[derive(Default)]
struct Beside<'n> {
    name: Option<At<'n>>,
    weights: Option<At<'n>>,
    with: Option<At<'n>>,
    shared: Option<At<'n>>,
}

fn example(word: &str) -> &'static str {
    match word {
        "choice" => "`choice: {wide: [...], none: []}`",
        "repeat" => "`repeat: {times: 2, block: [...]}`",
        "branches" => "`branches: {of: [[...], [...]]}`",
        "optional" => "`optional: [...]`",
        "residual" => "`residual: [...]`",
        "cell" => "`cell: {nodes: 4, edge: [...]}`",
        "use" => "`use: stage`, the name of a block under `blocks:`",
        "from" => "`from: stem`, the name of an earlier block",
        "inputs" => "`inputs: {of: [stem, previous], choose: 2}`",
        other => layer_example(other),
    }
}
