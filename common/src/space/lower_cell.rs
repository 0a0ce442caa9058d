//! Lowers a cell: fits its inputs, adds up what comes over the edges of every node, and joins its output.

use super::block::CellOutput;
use super::build::Infeasible;
use super::expand_cell::{ResolvedCell, ResolvedEdge};
use super::lower::{Id, Lowering, projection, with_width};
use super::lower_layer::channels_or_features;
use crate::network::{Activation, Axis, Op, Pooling, Shape};

impl Lowering {
    /// Adds the nodes of a cell and gives its output.
    pub(super) fn cell(
        &mut self,
        name: &str,
        cell: &ResolvedCell,
        input: Id,
    ) -> Result<Id, Infeasible> {
        let mut taken = vec![false; sources_of(cell) + cell.nodes.len()];
        let before = self.before_cell.unwrap_or(input);
        self.looks_back |= sources_of(cell) == 2;
        let both = [before, input];
        let sources = &both[2 - sources_of(cell)..];
        let size = self.shape(input);
        let mut values = Vec::with_capacity(taken.len());
        for (index, &source) in sources.iter().enumerate() {
            let index = if index == 0 { ".input[0]" } else { ".input[1]" };
            values.push(self.cell_input(&[name, index], cell, source, &size)?);
        }
        for node in &cell.nodes {
            let mut sums = Vec::with_capacity(node.edges.len());
            for edge in &node.edges {
                let from = values.get(edge.from as usize).copied().unwrap_or(input);
                if let Some(taken) = taken.get_mut(edge.from as usize) {
                    *taken = true;
                }
                let halves = cell.reduction && edge.from < cell.inputs;
                sums.push(self.aside(|l| l.edge(edge, from, halves))?);
            }
            values.push(match sums.as_slice() {
                &[only] => only,
                _ => self.push(&[&node.name], Op::Add, &sums)?,
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
            _ => self.push(&[name, ".concat"], Op::Concat, &given),
        }
    }

    /// An input in the height and width, or the time, of the last one, and in the cell's channels if it says some.
    fn cell_input(
        &mut self,
        name: &[&str],
        cell: &ResolvedCell,
        source: Id,
        size: &Shape,
    ) -> Result<Id, Infeasible> {
        let Some(channels) = cell.channels else {
            return self.fitted("cell", name, source, size);
        };
        let target = with_width(size, channels);
        let from = self.shape_of(source);
        let op =
            projection(from, &target).ok_or_else(|| self.unfit("cell", name, from, &target))?;
        let relu = Op::Activation(Activation::Relu);
        let active = self.push(&[&name.concat(), ".relu"], relu, &[source])?;
        let projected = self.push(name, op, &[active])?;
        self.norm(name, projected)
    }

    fn edge(&mut self, edge: &ResolvedEdge, from: Id, halves: bool) -> Result<Id, Infeasible> {
        let output = self.list(&edge.blocks, from)?;
        if !halves {
            return Ok(output);
        }
        let shape = self.shape(output);
        let target = with_width(&halved(&self.shape(from)), channels_or_features(&shape));
        let name = [edge.name.as_str(), ".halved"];
        let is_zero = self
            .builder
            .nodes()
            .get(output)
            .is_some_and(|node| matches!(node.op, Op::Zero));
        if shape != target && is_zero {
            // Nothing stays nothing, which the batch_norm of a projection would not keep.
            let pooling = Pooling {
                kernel: 1,
                stride: 2,
                padding: 0,
            };
            let places = shape.layout().map_or(0, |layout| layout.places.len());
            let op = match places {
                1 => Op::MaxPool1d(pooling),
                _ => Op::MaxPool2d(pooling),
            };
            return self.push(&name, op, &[output]);
        }
        self.fitted("cell", &name, output, &target)
    }
}

/// How many inputs a cell has.
fn sources_of(cell: &ResolvedCell) -> usize {
    if cell.inputs < 2 { 1 } else { 2 }
}

/// The shape with half of its height and width, or of its time, rounded up as a convolution with stride 2 leaves it.
fn halved(shape: &Shape) -> Shape {
    let mut shape = shape.clone();
    for (axis, length) in &mut shape.0 {
        if matches!(axis, Axis::Height | Axis::Width | Axis::Time) {
            *length = length.div_ceil(2);
        }
    }
    shape
}
