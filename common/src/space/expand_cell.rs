//! The part of the traversal that is about cells: which nodes each node takes, and the blocks between them.

use super::block::{Cell, CellOutput};
use super::combinations::{combinations, numbers_of, text_of};
use super::domain::Domain;
use super::expand::Part::{Number, Word};
use super::expand::{Expansion, Frame, ResolvedBlock, ResolvedKind};

/// The most nodes of a cell, inputs included.
pub const MAX_CELL_NODES: u64 = 16;

/// A cell without decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedCell {
    /// The first so many nodes are inputs.
    pub inputs: u64,
    /// The channels that every input is brought to.
    pub channels: Option<u64>,
    /// Whether the edges from inputs halve height and width.
    pub reduction: bool,
    /// The nodes that are no inputs.
    pub nodes: Vec<ResolvedNode>,
    /// What the cell gives.
    pub output: CellOutput,
}

/// A node of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedNode {
    /// What its sum is called, e.g. `network[1].node[2].add`.
    pub name: String,
    /// The edges it takes.
    pub edges: Vec<ResolvedEdge>,
}

/// An edge of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedEdge {
    /// The node it comes from.
    pub from: u64,
    /// Where it stands, e.g. `network[1].edge[0-2]`.
    pub name: String,
    /// Its blocks.
    pub blocks: Vec<ResolvedBlock>,
}

impl<'a> Expansion<'a> {
    pub(super) fn cell(&mut self, cell: &'a Cell) -> ResolvedKind {
        let channels = self.optional("channels", cell.channels.as_ref());
        let reduction = self.setting("reduction", &cell.reduction);
        let inputs = inputs_of(cell);
        let nodes = (inputs..nodes_of(cell))
            .map(|to| {
                let taken = self.taken(cell, to);
                let name = match self.is_named() {
                    true => format!("{}.node[{to}].add", self.name()),
                    false => String::new(),
                };
                let edge = |from| self.edge(cell, from, to, reduction && from < inputs);
                ResolvedNode {
                    name,
                    edges: taken.into_iter().map(edge).collect(),
                }
            })
            .collect();
        ResolvedKind::Cell(Box::new(ResolvedCell {
            inputs,
            channels,
            reduction,
            nodes,
            output: cell.output,
        }))
    }

    /// The nodes that node `to` takes.
    fn taken(&mut self, cell: &Cell, to: u64) -> Vec<u64> {
        match cell.choose {
            Some(choose) if choose < to => {
                let made = self.within(&[Word(".node["), Number(to), Word("]")], |e| {
                    e.decide_with("inputs", |_| sets(to, choose))
                });
                let taken = numbers_of(&made, |number| number.parse().ok());
                taken.into_iter().filter(|&from| from < to).collect()
            }
            _ => (0..to).collect(),
        }
    }

    fn edge(&mut self, cell: &'a Cell, from: u64, to: u64, halves: bool) -> ResolvedEdge {
        let step = [
            Word(".edge["),
            Number(from),
            Word("-"),
            Number(to),
            Word("]"),
        ];
        self.within(&step, |e| {
            e.frames.push(Frame::Edge {
                stride: if halves { 2 } else { 1 },
            });
            let blocks = e.body(&cell.edge);
            e.frames.pop();
            ResolvedEdge {
                from,
                name: e.name(),
                blocks,
            }
        })
    }
}

/// The domain of what a node takes.
fn sets(of: u64, choose: u64) -> Domain {
    let text = |set: &Vec<u64>| text_of(set.iter().map(u64::to_string));
    Domain::Choice(combinations(of, choose).iter().map(text).collect())
}

/// The inputs of a cell: one or two, whatever a damaged space says.
pub(super) fn inputs_of(cell: &Cell) -> u64 {
    cell.inputs.clamp(1, 2)
}

/// The nodes of a cell, within their bound.
pub(super) fn nodes_of(cell: &Cell) -> u64 {
    cell.nodes.min(MAX_CELL_NODES)
}
