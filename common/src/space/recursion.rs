//! Which blocks can still be expanded when definitions use themselves: a definition with a `depth` may be
//! used inside itself so many times, and an alternative that would need one more use does not exist.
//! Imports the blocks only.

use std::collections::HashMap;

use super::Space;
use super::block::{Block, BlockKind, Use};
use super::setting::Setting;
use crate::candidate::Value;

/// The deepest nesting of lists of blocks, with uses followed: the functions that walk a space recurse, and
/// the stack is finite.
pub const MAX_NESTING: u64 = 128;

/// How often each definition that is being expanded may still be used inside itself.
pub(super) type Depths<'a> = Vec<(&'a str, u32)>;

/// Enters a definition that a use names: what is left of its depth, or `None` when nothing is.
pub(super) fn left(depth: u32, name: &str, depths: &Depths<'_>) -> Option<u32> {
    match depths.iter().find(|(other, _)| *other == name) {
        None => Some(depth),
        Some((_, left)) => left.checked_sub(1),
    }
}

/// Sets what is left of a definition's depth, and gives what to restore afterwards.
pub(super) fn enter<'a>(depths: &mut Depths<'a>, name: &'a str, left: u32) -> Option<u32> {
    if let Some(entry) = depths.iter_mut().find(|(other, _)| *other == name) {
        return Some(std::mem::replace(&mut entry.1, left));
    }
    depths.push((name, left));
    // One order for one content, so that it can be looked up.
    depths.sort_unstable();
    None
}

/// Takes [`enter`] back.
pub(super) fn leave(depths: &mut Depths<'_>, name: &str, before: Option<u32>) {
    match before {
        None => depths.retain(|(other, _)| *other != name),
        Some(left) => {
            if let Some(entry) = depths.iter_mut().find(|(other, _)| *other == name) {
                entry.1 = left;
            }
        }
    }
}

/// Answers whether blocks can be expanded, and remembers the answers about definitions.
pub(super) struct Possible<'a> {
    space: &'a Space,
    known: HashMap<(&'a str, Depths<'a>), bool>,
    nesting: u64,
    /// Blocks looked at so far.
    pub(super) steps: u64,
}

impl<'a> Possible<'a> {
    pub(super) fn new(space: &'a Space) -> Self {
        Self {
            space,
            known: HashMap::new(),
            nesting: 0,
            steps: 0,
        }
    }

    /// Whether all of `blocks` can be expanded within `depths`.
    pub(super) fn all(&mut self, blocks: &'a [Block], depths: &mut Depths<'a>) -> bool {
        blocks.iter().all(|block| self.block(block, depths))
    }

    fn block(&mut self, block: &'a Block, depths: &mut Depths<'a>) -> bool {
        self.steps = self.steps.saturating_add(1);
        match &block.kind {
            BlockKind::Layer(_)
            | BlockKind::Optional(_)
            | BlockKind::From(_)
            | BlockKind::Inputs(_) => true,
            BlockKind::Choice(alternatives) => alternatives
                .iter()
                .any(|alternative| self.all(&alternative.blocks, depths)),
            BlockKind::Repeat(repeat) => {
                may_be_none(&repeat.times) || self.all(&repeat.block, depths)
            }
            BlockKind::Residual(blocks) | BlockKind::Sequence(blocks) => self.all(blocks, depths),
            BlockKind::Shortcut(both) => {
                self.all(&both.body, depths) && self.all(&both.shortcut, depths)
            }
            BlockKind::Branches(branches) => {
                branches.of.iter().all(|blocks| self.all(blocks, depths))
            }
            BlockKind::Cell(cell) => self.all(cell.edge.blocks(), depths),
            BlockKind::Use(used) => self.definition(&used.block, depths),
        }
    }

    fn definition(&mut self, name: &str, depths: &mut Depths<'a>) -> bool {
        let Some((name, definition)) = self.space.blocks.get_key_value(name) else {
            return false;
        };
        let before = match definition.depth {
            None => None,
            Some(depth) => match left(depth, name, depths) {
                None => return false,
                Some(left) => Some(enter(depths, name, left)),
            },
        };
        let key = (name.as_str(), depths.clone());
        let possible = match self.known.get(&key) {
            Some(known) => *known,
            // Only a damaged space nests deeper: the reader refuses uses that never end.
            None if self.nesting >= MAX_NESTING => false,
            None => {
                self.nesting += 1;
                let possible = self.all(definition.body.blocks(), depths);
                self.nesting -= 1;
                self.known.insert(key, possible);
                possible
            }
        };
        if let Some(before) = before {
            leave(depths, name, before);
        }
        possible
    }
}

impl Space {
    /// Whether the blocks of a definition can be expanded to an end.
    #[must_use]
    pub fn can_end(&self, name: &str) -> bool {
        Possible::new(self).definition(name, &mut Vec::new())
    }
}

/// The uses among blocks and what they hold, in the order of the text.
#[must_use]
pub fn uses_of(blocks: &[Block]) -> Vec<&Use> {
    let mut uses = Vec::new();
    collect_uses(blocks, &mut uses);
    uses
}

fn collect_uses<'b>(blocks: &'b [Block], uses: &mut Vec<&'b Use>) {
    for block in blocks {
        match &block.kind {
            BlockKind::Use(used) => uses.push(used),
            BlockKind::Layer(_) | BlockKind::From(_) | BlockKind::Inputs(_) => {}
            BlockKind::Choice(alternatives) => {
                for alternative in alternatives.iter() {
                    collect_uses(&alternative.blocks, uses);
                }
            }
            BlockKind::Optional(blocks)
            | BlockKind::Residual(blocks)
            | BlockKind::Sequence(blocks) => collect_uses(blocks, uses),
            BlockKind::Repeat(repeat) => collect_uses(&repeat.block, uses),
            BlockKind::Shortcut(both) => {
                collect_uses(&both.body, uses);
                collect_uses(&both.shortcut, uses);
            }
            BlockKind::Branches(branches) => {
                for blocks in &branches.of {
                    collect_uses(blocks, uses);
                }
            }
            BlockKind::Cell(cell) => collect_uses(cell.edge.blocks(), uses),
        }
    }
}

/// Whether a repeat may have no round at all.
pub(super) fn may_be_none(times: &Setting<u64>) -> bool {
    match times {
        Setting::Fixed(times) => *times == 0,
        Setting::Decide(domain) => domain.contains(&none()),
        // The name stands for one value in all its places, which a single place cannot narrow.
        Setting::Named(_) => false,
    }
}

/// No round.
pub(super) fn none() -> Value {
    Value::Integer(0)
}
