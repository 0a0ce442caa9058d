//! Reads the blocks of a network.

use std::collections::BTreeSet;

use super::domains::MAX_ALTERNATIVES;
use super::error::nearest;
use super::layers::{layer_example, layer_of_word};
use super::reader::{At, Fields, Reader};
use super::scalar::is_name;
use super::words::{self, Argument};
use super::yaml;
use crate::candidate::Value;
use crate::network::Activation;
use crate::space::{Alternative, Block, BlockKind, Branches, Join, Layer, Repeat, Setting};

/// The most branches side by side.
pub(super) const MAX_BRANCHES: usize = 64;

impl Reader<'_> {
    /// A list of blocks.
    pub(super) fn blocks(&mut self, at: &At<'_>) -> Vec<Block> {
        let Some(items) = at.items() else {
            self.wrong(at, "a list of blocks is expected here ([] for none)");
            return Vec::new();
        };
        let blocks: Vec<_> = items.iter().filter_map(|item| self.block(item)).collect();
        let mut names = BTreeSet::new();
        for name in blocks.iter().filter_map(|block| block.name.as_ref()) {
            if !names.insert(name) {
                self.wrong(
                    at,
                    format!("two blocks of this list have the name {name:?}"),
                );
            }
        }
        blocks
    }

    fn block(&mut self, at: &At<'_>) -> Option<Block> {
        if let Some((word, _)) = at.scalar() {
            return self.bare_block(at, word);
        }
        let Some(entries) = at.entries() else {
            self.wrong(at, "a block is expected here, not a list; `optional`, `repeat`, `residual` and `branches` hold lists of blocks");
            return None;
        };
        let beside = entries.iter().find(|(key, _)| key.text == "name");
        let others: Vec<_> = entries
            .iter()
            .filter(|(key, _)| key.text != "name")
            .collect();
        let (word, body) = match others.as_slice() {
            [] => {
                self.wrong(at, "a block has one word, as `conv`; this map has none");
                return None;
            }
            [only] => (&only.0, &only.1),
            [first, second, ..] => {
                let message = format!(
                    "a block has one word, and this one `{}` and `{}`; settings of `{0}` belong inside its own map",
                    first.0.text, second.0.text
                );
                self.error(second.0.place, &second.1.path, message);
                return None;
            }
        };
        let name = beside.and_then(|(_, entry)| self.name_at(entry));
        let (inner, kind) = self.worded_block(word, body)?;
        if let (Some((_, entry)), Some(_)) = (beside, &inner) {
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

    fn name_at(&mut self, at: &At<'_>) -> Option<String> {
        match self.value(at, super::scalar::Kind::Name)? {
            Value::Text(name) => Some(name),
            _ => None,
        }
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
        self.worded_block_of(word, argument, &at.nothing())
            .map(|(name, kind)| Block { name, kind })
    }

    /// A block that is a word with what follows it, and the name that is given there.
    fn worded_block(
        &mut self,
        word: &yaml::Key,
        body: &At<'_>,
    ) -> Option<(Option<String>, BlockKind)> {
        let Some(argument) = words::argument(&word.text) else {
            self.unknown_block(word.place, &body.path, &word.text);
            return None;
        };
        self.worded_block_of(&word.text, argument, body)
    }

    fn unknown_block(&mut self, place: yaml::Place, path: &str, word: &str) {
        let suggestion = nearest(word, words::block_words());
        let known: Vec<_> = words::block_words().collect();
        let message = match suggestion {
            Some(_) => "unknown block".to_owned(),
            None => format!("unknown block; the blocks are {}", known.join(", ")),
        };
        self.error_near(place, path, message, suggestion);
    }

    fn worded_block_of(
        &mut self,
        word: &str,
        argument: Argument,
        body: &At<'_>,
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
            Argument::Alternatives => Some((None, BlockKind::Choice(self.alternatives(body)))),
            Argument::Blocks => {
                let blocks = self.blocks(body);
                let kind = match word {
                    "optional" => BlockKind::Optional(blocks),
                    _ => BlockKind::Residual(blocks),
                };
                Some((None, kind))
            }
            Argument::Settings { table, .. } => {
                let fields = self.fields(body, table);
                let name = self.text(&fields, "name");
                self.settings_block(word, &fields).map(|kind| (name, kind))
            }
        }
    }

    fn settings_block(&mut self, word: &str, fields: &Fields<'_>) -> Option<BlockKind> {
        match word {
            "repeat" => self.repeat(fields),
            "branches" => self.branches(fields),
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

    /// `choice:` of a block: named lists of blocks, or a list of words.
    fn alternatives(&mut self, at: &At<'_>) -> Vec<Alternative> {
        let alternatives = if let Some(items) = at.items() {
            self.word_alternatives(&items)
        } else if let Some(entries) = at.entries() {
            self.named_alternatives(&entries)
        } else {
            self.wrong(at, "named lists of blocks are expected here, as {wide: [...], none: []}, or a list of words, as [relu, silu]");
            return Vec::new();
        };
        let given = at.items().map_or(0, |items| items.len())
            + at.entries().map_or(0, |entries| entries.len());
        if given == 0 || given > MAX_ALTERNATIVES {
            self.wrong(
                at,
                format!("a choice has 1 to {MAX_ALTERNATIVES} alternatives, this one {given}"),
            );
        }
        alternatives
    }

    fn word_alternatives(&mut self, items: &[At<'_>]) -> Vec<Alternative> {
        let mut alternatives: Vec<Alternative> = Vec::new();
        for item in items {
            let Some((word, _)) = item.scalar() else {
                self.wrong(item, "a list of alternatives holds bare words, as [relu, silu]; give others a name, as {wide: [...]}");
                continue;
            };
            if alternatives.iter().any(|other| other.name == word) {
                self.wrong(item, format!("the alternative {word:?} is given twice"));
                continue;
            }
            if let Some(block) = self.bare_block(item, word) {
                alternatives.push(Alternative {
                    name: word.to_owned(),
                    blocks: vec![block],
                });
            }
        }
        alternatives
    }

    fn named_alternatives(&mut self, entries: &[(&yaml::Key, At<'_>)]) -> Vec<Alternative> {
        entries
            .iter()
            .map(|(key, entry)| {
                if let Err(message) = is_name(&key.text) {
                    self.error(key.place, &entry.path, message);
                }
                Alternative {
                    name: key.text.clone(),
                    blocks: self.blocks(entry),
                }
            })
            .collect()
    }
}

fn example(word: &str) -> &'static str {
    match word {
        "choice" => "`choice: {wide: [...], none: []}`",
        "repeat" => "`repeat: {times: 2, block: [...]}`",
        "branches" => "`branches: {of: [[...], [...]]}`",
        "optional" => "`optional: [...]`",
        "residual" => "`residual: [...]`",
        other => layer_example(other),
    }
}
