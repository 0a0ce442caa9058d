//! Lowers the blocks of a resolved candidate to a network: wires them, projects where shapes differ, and names
//! every node by its block. What a layer becomes is in `lower_layer`.

use super::block::Join;
use super::build::Infeasible;
use super::expand::{ResolvedBlock, ResolvedKind};
use super::expand_layer::ResolvedLayer;
use super::lower_layer::channels_or_features;
use crate::dataset::DatasetInfo;
use crate::network::{Builder, Network, Op, Shape};

/// The network that `blocks` make on examples of `dataset`, with one output for each class.
pub(super) fn lower(
    blocks: &[ResolvedBlock],
    dataset: &DatasetInfo,
) -> Result<Network, Infeasible> {
    let mut lowering = Lowering {
        builder: Builder::new(dataset.input.clone()),
        classes: u64::from(dataset.classes),
    };
    let output = lowering.list(blocks, 0)?;
    let shape = lowering.shape(output);
    if shape != Shape::features(lowering.classes) {
        return Err(Infeasible {
            block: "network".to_owned(),
            operation: "output".to_owned(),
            problem: format!(
                "the network ends with {shape}, but a data set of {0} classes needs {0} features; end it with `linear: {{features: classes}}`",
                lowering.classes
            ),
        });
    }
    Ok(lowering.builder.finish(output)?)
}

pub(super) struct Lowering {
    pub(super) builder: Builder,
    pub(super) classes: u64,
}

/// A node's id.
pub(super) type Id = usize;

impl Lowering {
    pub(super) fn shape(&self, id: Id) -> Shape {
        // Ids come from this builder, so the node is always there.
        self.builder.shape(id).cloned().unwrap_or(Shape(Vec::new()))
    }

    pub(super) fn push(&mut self, name: String, op: Op, inputs: Vec<Id>) -> Result<Id, Infeasible> {
        Ok(self.builder.push(name, op, inputs)?)
    }

    fn list(&mut self, blocks: &[ResolvedBlock], input: Id) -> Result<Id, Infeasible> {
        let mut last = input;
        for (index, block) in blocks.iter().enumerate() {
            let before_norm = blocks.get(index + 1).is_some_and(|next| {
                matches!(next.kind, ResolvedKind::Layer(ResolvedLayer::BatchNorm))
            });
            last = self.block(block, last, before_norm)?;
        }
        Ok(last)
    }

    fn block(
        &mut self,
        block: &ResolvedBlock,
        input: Id,
        before_norm: bool,
    ) -> Result<Id, Infeasible> {
        match &block.kind {
            ResolvedKind::Layer(layer) => self.layer(&block.name, layer, input, before_norm),
            ResolvedKind::Sequence(blocks) => self.list(blocks, input),
            ResolvedKind::Residual(blocks) => self.residual(&block.name, blocks, input),
            ResolvedKind::Branches(join, of) => self.branches(&block.name, *join, of, input),
        }
    }

    /// Output plus input; the input is projected when the shapes differ. Around nothing, a residual is
    /// nothing, rather than twice its input.
    fn residual(
        &mut self,
        name: &str,
        blocks: &[ResolvedBlock],
        input: Id,
    ) -> Result<Id, Infeasible> {
        let main = self.list(blocks, input)?;
        if main == input {
            return Ok(input);
        }
        let shortcut = self.shortcut(name, input, main)?;
        self.push(format!("{name}.add"), Op::Add, vec![main, shortcut])
    }

    fn shortcut(&mut self, name: &str, input: Id, main: Id) -> Result<Id, Infeasible> {
        let (from, to) = (self.shape(input), self.shape(main));
        if from == to {
            return Ok(input);
        }
        let Some(op) = projection(&from, &to) else {
            return Err(Infeasible {
                block: name.to_owned(),
                operation: "residual".to_owned(),
                problem: format!(
                    "its input is {from} and its blocks give {to}: no 1x1 convolution makes the one into the other"
                ),
            });
        };
        let projected = self.push(format!("{name}.shortcut"), op, vec![input])?;
        let channels = channels_or_features(&self.shape(projected));
        self.push(
            format!("{name}.shortcut.batch_norm"),
            Op::BatchNorm { channels },
            vec![projected],
        )
    }

    fn branches(
        &mut self,
        name: &str,
        join: Join,
        of: &[Vec<ResolvedBlock>],
        input: Id,
    ) -> Result<Id, Infeasible> {
        let mut outputs = Vec::with_capacity(of.len());
        for blocks in of {
            outputs.push(self.list(blocks, input)?);
        }
        let (word, op) = match join {
            Join::Add => ("add", Op::Add),
            Join::Concat => ("concat", Op::Concat),
            Join::Multiply => ("multiply", Op::Multiply),
        };
        self.push(format!("{name}.{word}"), op, outputs)
    }
}

/// What makes `from` into `to`: a strided 1x1 convolution of images, an affine map of vectors. Without a
/// bias, since a batch_norm follows.
fn projection(from: &Shape, to: &Shape) -> Option<Op> {
    if let (Some(from), Some(to)) = (from.as_features(), to.as_features()) {
        return Some(Op::Linear {
            in_features: from,
            out_features: to,
            bias: false,
        });
    }
    let ((in_channels, height, width), (out_channels, rows, columns)) =
        (from.as_image()?, to.as_image()?);
    // The least stride that leaves no more than `rows` of `height`; a larger one is tried for the sake
    // of the other side only.
    let least = |from: u64, to: u64| Some(from.checked_sub(1)?.checked_div(to)? + 1);
    let stride = least(height, rows)?.max(least(width, columns)?);
    let left = |from: u64| (from - 1) / stride + 1;
    (left(height) == rows && left(width) == columns).then_some(Op::Conv2d {
        in_channels,
        out_channels,
        kernel: 1,
        stride,
        padding: 0,
        dilation: 1,
        groups: 1,
        bias: false,
    })
}
