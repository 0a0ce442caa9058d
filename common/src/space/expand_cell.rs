//! The part of the traversal that is about cells: which nodes each node takes, and the blocks between them.

use super::block::{Cell, CellOutput};
use super::combinations::{combinations, multisets, numbers_of, text_of};
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
    /// Where it stands, e.g. `network[1].edge[0-2]`, and the second one between the two nodes
    /// `network[1].edge[0-2:2]`.
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
                ResolvedNode {
                    name,
                    edges: self.edges(cell, &taken, to, reduction),
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

    /// The nodes that node `to` takes, in rising order.
    fn taken(&mut self, cell: &Cell, to: u64) -> Vec<u64> {
        let Some(choose) = decided(cell, to) else {
            return match cell.choose {
                // There is one node only, taken over and over.
                Some(choose) if !cell.distinct => vec![0; choose.min(MAX_CELL_NODES) as usize],
                _ => (0..to).collect(),
            };
        };
        let made = self.within(&[Word(".node["), Number(to), Word("]")], |e| {
            e.decide_with("inputs", |_| {
                let sets = if cell.distinct {
                    combinations
                } else {
                    multisets
                };
                let text = |set: &Vec<u64>| text_of(set.iter().map(u64::to_string));
                Domain::Choice(sets(to, choose).iter().map(text).collect())
            })
        });
        let mut taken = numbers_of(&made, |number| number.parse().ok());
        taken.retain(|&from| from < to);
        taken
    }

    /// The edges into node `to`. The second one from the same node is `edge[0-2:2]`.
    fn edges(
        &mut self,
        cell: &'a Cell,
        taken: &[u64],
        to: u64,
        reduction: bool,
    ) -> Vec<ResolvedEdge> {
        let mut edges: Vec<ResolvedEdge> = Vec::with_capacity(taken.len());
        for &from in taken {
            let before = edges.iter().filter(|edge| edge.from == from).count() as u64;
            let halves = reduction && from < inputs_of(cell);
            edges.push(self.edge(cell, [from, to], before + 1, halves));
        }
        edges
    }

    fn edge(
        &mut self,
        cell: &'a Cell,
        [from, to]: [u64; 2],
        copy: u64,
        halves: bool,
    ) -> ResolvedEdge {
        let (edge, from_node, to_node) = (Word(".edge["), Number(from), Number(to));
        let first = [edge, from_node, Word("-"), to_node, Word("]")];
        let further = [
            edge,
            from_node,
            Word("-"),
            to_node,
            Word(":"),
            Number(copy),
            Word("]"),
        ];
        let step: &[_] = if copy == 1 { &first } else { &further };
        self.within(step, |e| {
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

/// How many nodes node `to` chooses among those before it; `None` when there is one way only.
pub(super) fn decided(cell: &Cell, to: u64) -> Option<u64> {
    let is_open = |choose: &u64| if cell.distinct { *choose < to } else { to > 1 };
    (cell.choose.map(|choose| choose.min(MAX_CELL_NODES))).filter(is_open)
}

/// The inputs of a cell: one or two, whatever a damaged space says.
pub(super) fn inputs_of(cell: &Cell) -> u64 {
    cell.inputs.clamp(1, 2)
}

/// The nodes of a cell, within their bound.
pub(super) fn nodes_of(cell: &Cell) -> u64 {
    cell.nodes.min(MAX_CELL_NODES)
}
