//! Lowers blocks that stand in several places. On inputs of one shape they make the same nodes, so those of the
//! first place are copied to the others, under names of their own.

use std::ops::Range;
use std::sync::Arc;

use super::build::Infeasible;
use super::expand::ResolvedBlock;
use super::lower::{Id, Lowering, whole_name};

/// What shared blocks made in a place.
pub(super) struct Made {
    input: Id,
    nodes: Range<Id>,
    output: Id,
    /// The length of what all names start with.
    place: usize,
    /// What the last cell among them took, if there was one.
    last_cell: Option<Id>,
}

impl Made {
    /// Where the value of a node is in a copy of the nodes that starts at `start` and reads `input`.
    fn copied(&self, id: Id, start: Id, input: Id) -> Id {
        match id {
            id if id == self.input => input,
            id if self.nodes.contains(&id) => id - self.nodes.start + start,
            id => id,
        }
    }
}

impl Lowering {
    /// Adds the nodes of shared blocks and gives the output.
    pub(super) fn shared(
        &mut self,
        name: &str,
        blocks: &Arc<[ResolvedBlock]>,
        input: Id,
    ) -> Result<Id, Infeasible> {
        let around = self.place.len();
        self.place.push_str(name);
        let of_these = self.made.get(&Arc::as_ptr(blocks)).into_iter().flatten();
        let known = of_these
            .enumerate()
            .find(|(_, made)| self.shape_of(made.input) == self.shape_of(input));
        let output = match known {
            Some((known, _)) => self.copy(blocks, known, input),
            None => self.first(blocks, input),
        };
        self.place.truncate(around);
        output
    }

    fn copy(
        &mut self,
        blocks: &Arc<[ResolvedBlock]>,
        known: usize,
        input: Id,
    ) -> Result<Id, Infeasible> {
        let made = &self.made[&Arc::as_ptr(blocks)][known];
        let start = self.builder.nodes().len();
        let name = |name: &str| whole_name(&self.place, &[&name[made.place..]]);
        (self.builder).repeat(made.nodes.clone(), made.input, input, name)?;
        if let Some(last_cell) = made.last_cell {
            self.before_cell = Some(made.copied(last_cell, start, input));
        }
        Ok(made.copied(made.output, start, input))
    }

    /// Lowers blocks, and keeps what they make if it depends on their input alone.
    fn first(&mut self, blocks: &Arc<[ResolvedBlock]>, input: Id) -> Result<Id, Infeasible> {
        let start = self.builder.nodes().len();
        let before = self.before_cell;
        let looks_back = std::mem::replace(&mut self.looks_back, false);
        let shared_from = std::mem::replace(&mut self.shared_from, start);
        let output = self.list(blocks, input)?;
        self.shared_from = shared_from;
        // Where the last cell took what the one before took, it cannot be told whether there was one.
        let is_clear = self.before_cell != before || before != Some(input);
        if is_clear && !self.looks_back && self.is_closed(start, input, output) {
            self.made
                .entry(Arc::as_ptr(blocks))
                .or_default()
                .push(Made {
                    input,
                    nodes: start..self.builder.nodes().len(),
                    output,
                    place: self.place.len(),
                    last_cell: self.before_cell.filter(|_| self.before_cell != before),
                });
        }
        self.looks_back |= looks_back;
        Ok(output)
    }

    /// Whether the nodes from `start` on read only each other and `input`: no named block before them.
    fn is_closed(&self, start: Id, input: Id, output: Id) -> bool {
        let is_inside = |id: Id| id == input || id >= start;
        let added = &self.builder.nodes()[start..];
        is_inside(output) && (added.iter()).all(|node| node.inputs.iter().all(|&id| is_inside(id)))
    }
}
