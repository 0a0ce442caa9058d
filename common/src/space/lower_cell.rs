//! Lowers a cell: fits its inputs, adds up what comes over the edges of every node, and joins its output.

use super::block::CellOutput;
use super::build::Infeasible;
use super::expand_cell::{ResolvedCell, ResolvedEdge};
use super::lower::{Id, Lowering, projection, unfit, with_width};
use super::lower_layer::channels_or_features;
use crate::network::{Activation, Axis, Op, Pooling, Shape};

impl Lowering {
    /// Adds the nodes of a cell and gives its output.
    pub(super) fn cell(
        &mut self,
        name: &str,
        mut cell: ResolvedCell,
        input: Id,
    ) -> Result<Id, Infeasible> {
        let edges_of = std::mem::take(&mut cell.nodes);
        let mut taken = vec![false; sources_of(&cell) + edges_of.len()];
        let before = self.before_cell.unwrap_or(input);
        let both = [before, input];
        let sources = &both[2 - sources_of(&cell)..];
        let size = self.shape(input);
        let mut values = Vec::with_capacity(taken.len());
        for (index, &source) in sources.iter().enumerate() {
            let name = format!("{name}.input[{index}]");
            values.push(self.cell_input(&name, &cell, source, &size)?);
        }
        for (index, edges) in edges_of.into_iter().enumerate() {
            let node = index + sources.len();
            let mut sums = Vec::with_capacity(edges.len());
            for edge in edges {
                let from = values.get(edge.from as usize).copied().unwrap_or(input);
                if let Some(taken) = taken.get_mut(edge.from as usize) {
                    *taken = true;
                }
                let halves = cell.reduction && edge.from < cell.inputs;
                sums.push(self.aside(|l| l.edge(edge, from, halves))?);
            }
            values.push(match sums.as_slice() {
                &[only] => only,
                _ => self.push(format!("{name}.node[{node}].add"), Op::Add, sums)?,
            });
        }
        self.before_cell = Some(input);
        let inputs = sources.len();
        let given: Vec<Id> = match cell.output {
            CellOutput::Last => values.last().copied().into_iter().collect(),
            CellOutput::Concat => values.iter().skip(inputs).copied().collect(),
            CellOutput::Loose => (inputs..values.len())
                .filter(|&node| !taken[node])
                .map(|node| values[node])
                .collect(),
        };
        match given.as_slice() {
            &[only] => Ok(only),
            _ => self.push(format!("{name}.concat"), Op::Concat, given),
        }
    }

    /// An input in the height and width of the last one, and in the cell's channels if it says some.
    fn cell_input(
        &mut self,
        name: &str,
        cell: &ResolvedCell,
        source: Id,
        size: &Shape,
    ) -> Result<Id, Infeasible> {
        let Some(channels) = cell.channels else {
            return self.fitted("cell", name, source, size);
        };
        let target = with_width(size, channels);
        let from = self.shape(source);
        let op = projection(&from, &target).ok_or_else(|| unfit("cell", name, &from, &target))?;
        let relu = Op::Activation(Activation::Relu);
        let active = self.push(format!("{name}.relu"), relu, vec![source])?;
        let projected = self.push(name.to_owned(), op, vec![active])?;
        self.norm(name, projected)
    }

    fn edge(&mut self, edge: ResolvedEdge, from: Id, halves: bool) -> Result<Id, Infeasible> {
        let output = self.list(edge.blocks, from)?;
        if !halves {
            return Ok(output);
        }
        let shape = self.shape(output);
        let target = with_width(&halved(&self.shape(from)), channels_or_features(&shape));
        let name = format!("{}.halved", edge.name);
        let is_zero = self
            .builder
            .nodes()
            .get(output)
            .is_some_and(|node| matches!(node.op, Op::Zero));
        if shape != target && is_zero {
            // Nothing stays nothing, which the batch_norm of a projection would not keep.
            let op = Op::MaxPool2d(Pooling {
                kernel: 1,
                stride: 2,
                padding: 0,
            });
            return self.push(name, op, vec![output]);
        }
        self.fitted("cell", &name, output, &target)
    }
}

/// How many inputs a cell has.
fn sources_of(cell: &ResolvedCell) -> usize {
    if cell.inputs < 2 { 1 } else { 2 }
}

/// The shape with half of its height and width, rounded up as a convolution with stride 2 leaves it.
fn halved(shape: &Shape) -> Shape {
    let mut shape = shape.clone();
    for (axis, length) in &mut shape.0 {
        if matches!(axis, Axis::Height | Axis::Width | Axis::Time) {
            *length = length.div_ceil(2);
        }
    }
    shape
}
