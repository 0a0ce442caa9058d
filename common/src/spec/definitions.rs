//! Reads `tie:` and `blocks:`, and checks how definitions use each other: a use that would never end is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{Header, Tie};
use super::reader::{At, Reader};
use super::scalar::{Kind, is_name};
use super::search::MAX_ITEMS;
use super::words;
use super::yaml;
use crate::candidate::Value;
use crate::space::{
    Body, Definition, MAX_BLOCKS, MAX_DECISIONS, MAX_NESTING, MOST_STEPS, Setting, Space, uses_of,
};

/// The most states of recursion: for each definition with a depth, the depths that may be left, multiplied.
const MAX_STATES: u64 = 10_000;

impl Reader<'_> {
    /// `tie:`.
    pub(super) fn ties(&mut self, at: &At<'_>) -> BTreeMap<String, Setting<Value>> {
        let mut ties = BTreeMap::new();
        for (key, entry) in self.named_entries(at, "{width: {choice: [16, 32]}}") {
            if super::reader::named(&entry).is_some() {
                self.wrong(&entry, "a tie is a value or a decision, not another name");
                (self.names.unreadable).insert(key.text.clone().into_owned());
                continue;
            }
            let Some(setting) = self.setting_at::<Value>(&entry, Kind::Any) else {
                (self.names.unreadable).insert(key.text.clone().into_owned());
                continue;
            };
            let tie = Tie {
                place: key.place,
                setting: setting.clone(),
                used: false,
            };
            self.names.ties.insert(key.text.clone().into_owned(), tie);
            ties.insert(key.text.clone().into_owned(), setting);
        }
        ties
    }

    /// `blocks:`. All names and parameters are read before any blocks, which may use each other in any order.
    pub(super) fn definitions(&mut self, at: &At<'_>) -> BTreeMap<String, Definition> {
        let entries = self.named_entries(at, "{stage: [conv, batch_norm, relu]}");
        for (key, entry) in &entries {
            let parameters = self.parameters(entry);
            let header = Header {
                place: key.place,
                path: entry.path.to_string(),
                parameters,
            };
            self.names
                .definitions
                .insert(key.text.clone().into_owned(), header);
        }
        let mut definitions = BTreeMap::new();
        for (key, entry) in &entries {
            self.names.enter(&key.text);
            if let Some(definition) = self.definition(&key.text, entry) {
                definitions.insert(key.text.clone().into_owned(), definition);
            }
            self.names.leave();
        }
        definitions
    }

    /// The entries of a map that must have some, but not too many; `expected` says so when it does not.
    pub(super) fn some_entries<'n>(
        &mut self,
        at: &At<'n>,
        expected: &str,
    ) -> Vec<(&'n yaml::Key<'n>, At<'n>)> {
        let entries = at.entries().unwrap_or_default();
        if (1..=MAX_ITEMS).contains(&entries.len()) {
            return entries;
        }
        self.wrong(at, format!("1 to {MAX_ITEMS} {expected}"));
        Vec::new()
    }

    /// The entries of a map of names.
    pub(super) fn named_entries<'n>(
        &mut self,
        at: &At<'n>,
        example: &str,
    ) -> Vec<(&'n yaml::Key<'n>, At<'n>)> {
        let entries = self.some_entries(
            at,
            &format!("named entries are expected here, as {example}"),
        );
        let mut named = Vec::with_capacity(entries.len());
        for (key, entry) in entries {
            match is_name(&key.text) {
                Ok(()) => named.push((key, entry)),
                Err(message) => self.error(key.place, &entry.path, message),
            }
        }
        named
    }

    fn parameters(&mut self, at: &At<'_>) -> Vec<String> {
        let entries = at.entries().unwrap_or_default();
        let Some((_, list)) = entries.iter().find(|(key, _)| key.text == "parameters") else {
            return Vec::new();
        };
        let Some(items) = list.items().filter(|items| items.len() <= MAX_ITEMS) else {
            self.wrong(
                list,
                "a list of names is expected here, as [channels, stride]",
            );
            return Vec::new();
        };
        let mut parameters: Vec<String> = Vec::with_capacity(items.len());
        for item in &items {
            let Some(Value::Text(name)) = self.value(item, Kind::Name) else {
                continue;
            };
            if parameters.contains(&name) {
                self.wrong(item, format!("the parameter `{name}` is given twice"));
            } else if let Some(tie) = self.names.ties.get_mut(&name) {
                // What is refused for its name is not told to be unused as well.
                tie.used = true;
                let line = tie.place.line;
                self.wrong(item, format!("`{name}` is a tie already, in line {line}; `${name}` can mean one of them only"));
                parameters.push(name);
            } else {
                parameters.push(name);
            }
        }
        parameters
    }

    fn definition(&mut self, name: &str, at: &At<'_>) -> Option<Definition> {
        if at.items().is_some() {
            return Some(Definition {
                parameters: Vec::new(),
                depth: None,
                body: Body::List(self.blocks(at)),
            });
        }
        let Some(entries) = at.entries() else {
            self.wrong(at, "a list of blocks is expected here, or a map of one block with `parameters` and `depth` beside it");
            return None;
        };
        let depth = entries
            .iter()
            .find(|(key, _)| key.text == "depth")
            .and_then(|(_, entry)| self.value(entry, words::DEPTH))
            .and_then(|depth| match depth {
                Value::Integer(depth) => u32::try_from(depth).ok(),
                _ => None,
            });
        let own = |key: &str| key == "parameters" || key == "depth";
        let block: Vec<_> = entries
            .into_iter()
            .filter(|(key, _)| !own(&key.text))
            .collect();
        let body = match block.as_slice() {
            [(key, entry)] if key.text == "block" => Body::List(self.blocks(entry)),
            _ => Body::One(Box::new(self.block_of_entries(at, &block)?)),
        };
        let header = self.names.definitions.get(name);
        Some(Definition {
            parameters: header
                .map(|header| header.parameters.clone())
                .unwrap_or_default(),
            depth,
            body,
        })
    }

    /// How definitions use each other.
    pub(super) fn check_recursion(&mut self, space: &Space) {
        let graph = Graph::new(space);
        if let Some(cycle) = graph.endless_cycle(space) {
            let header = self.names.definitions.get(cycle[0]);
            let (place, path) = header.map_or((yaml::Place::START, String::new()), |header| {
                (header.place, header.path.clone())
            });
            let ring = [cycle.as_slice(), &cycle[..1]].concat().join(" -> ");
            self.error(place, path, format!("this block uses itself without end ({ring}); give it a `depth`, and a choice with an alternative that does not use it"));
            return;
        }
        let mut states = 1_u64;
        for (name, definition) in &space.blocks {
            let recursive = graph.reaches(name, name);
            let message = match definition.depth {
                Some(_) if !recursive => Some(format!(
                    "`{name}` does not use itself, so its `depth` would mean nothing; leave it out"
                )),
                Some(depth) => {
                    states = states.saturating_mul(u64::from(depth) + 1);
                    (!space.can_end(name)).then(|| format!("at depth 0 nothing is left of `{name}`: it needs a choice with an alternative that does not use it"))
                }
                None => None,
            };
            if let (Some(message), Some(header)) = (message, self.names.definitions.get(name)) {
                let (place, path) = (header.place, header.path.clone());
                self.error(place, path, message);
            }
        }
        if states > MAX_STATES {
            self.error(yaml::Place::START, "blocks", format!("the depths of the blocks multiply to {states} states of recursion; at most {MAX_STATES} are allowed"));
        }
        self.check_shared(&graph);
    }

    /// A shared use has one set of decisions, but what there is to decide changes with the depth that is left.
    fn check_shared(&mut self, graph: &Graph<'_>) {
        let uses = std::mem::take(&mut self.names.uses);
        for used in uses.iter().filter(|used| used.shared) {
            let back =
                |inside: &String| used.block == *inside || graph.reaches(&used.block, inside);
            if used.inside.as_ref().is_some_and(back) {
                let message = format!(
                    "`{}` is used inside itself here, where a use cannot be `shared`: other alternatives are left in each",
                    used.block
                );
                self.error(used.place, &used.path, message);
            }
        }
        self.names.uses = uses;
    }

    /// The bounds of a whole space.
    pub(super) fn check_size(&mut self, place: yaml::Place, space: &Space) {
        let count = space.count();
        let message = if count.cut && count.decisions <= MAX_DECISIONS {
            format!(
                "the blocks with a name are used with so many different arguments, or at so many depths, that going through the space takes more than {MOST_STEPS} steps"
            )
        } else if count.nesting > MAX_NESTING {
            format!("lists of blocks are nested deeper than {MAX_NESTING}, uses followed")
        } else if count.decisions > MAX_DECISIONS {
            format!(
                "the space has {}{} decisions, every alternative counted and every repeat at its maximum; at most {MAX_DECISIONS} are allowed",
                if count.cut { "at least " } else { "" },
                count.decisions
            )
        } else if count.blocks > MAX_BLOCKS {
            format!(
                "a network of this space may have {} blocks, every repeat at its maximum; at most {MAX_BLOCKS} are allowed",
                count.blocks
            )
        } else {
            return;
        };
        self.error(place, "network", message);
    }
}

/// Which definition uses which.
struct Graph<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Graph<'a> {
    fn new(space: &'a Space) -> Self {
        let uses = |definition: &'a Definition| {
            let uses = uses_of(definition.body.blocks());
            uses.into_iter().map(|used| used.block.as_str()).collect()
        };
        let all = space.blocks.iter();
        Self(
            all.map(|(name, definition)| (name.as_str(), uses(definition)))
                .collect(),
        )
    }

    /// Whether `from` uses `to`, directly or not.
    fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<&str> = vec![from];
        while let Some(name) = waiting.pop() {
            for &next in self.0.get(name).into_iter().flatten() {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        false
    }

    /// A ring of definitions without a depth.
    fn endless_cycle(&self, space: &Space) -> Option<Vec<&'a str>> {
        let bounded = |name: &str| {
            space
                .blocks
                .get(name)
                .is_some_and(|one| one.depth.is_some())
        };
        let mut done = BTreeSet::new();
        for &start in self.0.keys() {
            // Depth first, with the way here and what is left to look at in each step of it.
            let mut way: Vec<(&'a str, Vec<&'a str>)> = Vec::new();
            let mut next = Some(start);
            while next.is_some() || !way.is_empty() {
                if let Some(name) = next.take() {
                    if let Some(at) = way.iter().position(|(step, _)| *step == name) {
                        return Some(way[at..].iter().map(|(step, _)| *step).collect());
                    }
                    if !bounded(name) && done.insert(name) {
                        let uses = self.0.get(name).into_iter().flatten().copied();
                        way.push((name, uses.collect()));
                    }
                } else if let Some((_, left)) = way.last_mut() {
                    next = left.pop();
                    if next.is_none() {
                        way.pop();
                    }
                }
            }
        }
        None
    }
}
