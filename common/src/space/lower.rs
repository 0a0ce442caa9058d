//! Lowers the blocks of a resolved candidate to a network: wires them, projects where shapes differ, and names
//! every node by its block. What a layer becomes is in `lower_layer`, a cell in `lower_cell`.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use super::block::Join;
use super::build::Infeasible;
use super::expand::{ResolvedBlock, ResolvedKind, Source};
use super::layer::ResolvedLayer;
use super::lower_layer::channels_or_features;
use super::lower_shared::Made;
use crate::dataset::DatasetInfo;
use crate::network::{Axes, Axis, Builder, Convolution, Network, Op, Shape};

/// The network that `blocks`, `count` with all they hold, make on examples of `dataset`, with one output for each
/// class.
pub(super) fn lower(
    blocks: &[ResolvedBlock],
    count: u64,
    dataset: &DatasetInfo,
) -> Result<Network, Infeasible> {
    let mut lowering = Lowering {
        place: String::new(),
        builder: Builder::with_room(dataset.input.clone(), count as usize),
        classes: u64::from(dataset.classes),
        vocabulary: dataset.vocabulary,
        marked: Vec::new(),
        before_cell: None,
        looks_back: false,
        shared_from: 0,
        made: HashMap::default(),
    };
    let output = lowering.list(blocks, 0)?;
    let shape = lowering.shape(output);
    if shape != Shape::features(lowering.classes) {
        return Err(Infeasible {
            block: "network".to_owned(),
            operation: "output".to_owned(),
            problem: format!(
                "the network ends with {shape}, but a data set of {0} classes needs {0} features; {1}",
                lowering.classes,
                missing_at_the_end(&shape)
            ),
        });
    }
    Ok(lowering.builder.finish(output)?)
}

/// What to do about a network that ends with this shape.
fn missing_at_the_end(shape: &Shape) -> &'static str {
    match shape.0.as_slice() {
        [(Axis::Time, _), (Axis::Features, _)] => {
            "end it with `global_avg_pool` and `linear: {features: classes}` (or give its last `lstm` or `gru` `output: last`), so that no time is left"
        }
        _ => "end it with `linear: {features: classes}`",
    }
}

pub(super) struct Lowering {
    /// Where the shared blocks stand that are being lowered: the start of all names in them.
    pub(super) place: String,
    pub(super) builder: Builder,
    pub(super) classes: u64,
    /// Number of different tokens, of data that are tokens.
    pub(super) vocabulary: Option<u32>,
    /// The outputs of blocks with a mark.
    marked: Vec<Option<Id>>,
    /// What the cell before this place took.
    pub(super) before_cell: Option<Id>,
    /// Whether that was read, or a named block from before the shared blocks that are being lowered.
    pub(super) looks_back: bool,
    /// The first node of those.
    pub(super) shared_from: Id,
    /// What shared blocks made so far, by where the blocks are: they stay there until all are lowered.
    pub(super) made: HashMap<*const [ResolvedBlock], Vec<Made>, RandomState>,
}

/// A node's id.
pub(super) type Id = usize;

impl Lowering {
    pub(super) fn shape(&self, id: Id) -> Shape {
        // Ids come from this builder, so the node is always there.
        self.builder
            .shape(id)
            .cloned()
            .unwrap_or(Shape(Axes::new()))
    }

    /// The same, to look at.
    pub(super) fn shape_of(&self, id: Id) -> &Shape {
        static NONE: Shape = Shape(Axes::new_const());
        self.builder.shape(id).unwrap_or(&NONE)
    }

    /// Adds a node. Its name is that of a block and what comes after it there.
    pub(super) fn push(&mut self, name: &[&str], op: Op, inputs: &[Id]) -> Result<Id, Infeasible> {
        let name = self.whole_name(name);
        Ok(self.builder.push(name, op, inputs)?)
    }

    /// A name that tells the place in the whole network.
    pub(super) fn whole_name(&self, name: &[&str]) -> String {
        whole_name(&self.place, name)
    }

    /// Adds blocks one after another.
    pub(super) fn list(&mut self, blocks: &[ResolvedBlock], input: Id) -> Result<Id, Infeasible> {
        let mut last = input;
        let mut blocks = blocks.iter().peekable();
        while let Some(block) = blocks.next() {
            let before_norm = blocks.peek().is_some_and(|next| {
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
        let name = block.name.as_str();
        let output = match &block.kind {
            ResolvedKind::Layer(layer) => self.layer(name, layer, input, before_norm)?,
            ResolvedKind::Sequence(blocks) => self.list(blocks, input)?,
            ResolvedKind::Shared(blocks) => self.shared(name, blocks, input)?,
            ResolvedKind::Residual { body, shortcut } => {
                self.residual(name, body, shortcut.as_deref(), input)?
            }
            ResolvedKind::Branches(join, of) => self.branches(name, *join, of, input)?,
            ResolvedKind::Cell(cell) => self.cell(name, cell, input)?,
            ResolvedKind::From(source) => self.source(name, source, input)?,
            ResolvedKind::Inputs(join, sources) => self.inputs(name, *join, sources, input)?,
        };
        if let Some(mark) = block.mark {
            let mark = mark as usize;
            if self.marked.len() <= mark {
                self.marked.resize(mark + 1, None);
            }
            self.marked[mark] = Some(output);
        }
        Ok(output)
    }

    /// Runs `side`, whose cells do not count as those before what comes after it.
    pub(super) fn aside<T>(
        &mut self,
        side: impl FnOnce(&mut Self) -> Result<T, Infeasible>,
    ) -> Result<T, Infeasible> {
        let before = self.before_cell;
        let result = side(self);
        self.before_cell = before;
        result
    }

    /// Output plus input; the input is projected when the shapes differ, unless blocks on its way are given.
    /// Around nothing, a residual is nothing, rather than twice its input.
    fn residual(
        &mut self,
        name: &str,
        body: &[ResolvedBlock],
        shortcut: Option<&[ResolvedBlock]>,
        input: Id,
    ) -> Result<Id, Infeasible> {
        let is_given = shortcut.is_some();
        let main = self.aside(|l| l.list(body, input))?;
        let side = match shortcut {
            Some(blocks) => self.aside(|l| l.list(blocks, input))?,
            None => input,
        };
        if main == input && side == input {
            return Ok(input);
        }
        let side = if is_given {
            side
        } else {
            let target = self.shape(main);
            self.fitted("residual", &[name, ".shortcut"], side, &target)?
        };
        self.push(&[name, ".add"], Op::Add, &[main, side])
    }

    /// `id` in the shape `target`: as it is, or projected by a strided 1x1 convolution (of vectors and of the steps
    /// of a sequence, a linear map) and a batch_norm. `operation` is who needs that.
    pub(super) fn fitted(
        &mut self,
        operation: &str,
        name: &[&str],
        id: Id,
        target: &Shape,
    ) -> Result<Id, Infeasible> {
        let from = self.shape_of(id);
        if from == target {
            return Ok(id);
        }
        let op =
            projection(from, target).ok_or_else(|| self.unfit(operation, name, from, target))?;
        let projected = self.push(name, op, &[id])?;
        self.norm(name, projected)
    }

    /// A batch_norm after `id`.
    pub(super) fn norm(&mut self, name: &[&str], id: Id) -> Result<Id, Infeasible> {
        let channels = channels_or_features(self.shape_of(id));
        let op = Op::BatchNorm { channels };
        self.push(&[&name.concat(), ".batch_norm"], op, &[id])
    }

    /// A shape that nothing here makes into another one.
    pub(super) fn unfit(
        &self,
        operation: &str,
        name: &[&str],
        from: &Shape,
        to: &Shape,
    ) -> Infeasible {
        Infeasible {
            block: self.whole_name(name),
            operation: operation.to_owned(),
            problem: if have_same_axes(from, to) {
                format!(
                    "{from} is to meet {to}: no strided 1x1 convolution makes the one into the other"
                )
            } else {
                format!(
                    "{from} is to meet {to}: they have different axes, and no projection changes those"
                )
            },
        }
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
            outputs.push(self.aside(|l| l.list(blocks, input))?);
        }
        let (word, op) = joined(join);
        self.push(&[name, ".", word], op, &outputs)
    }

    fn source(&mut self, name: &str, source: &Source, input: Id) -> Result<Id, Infeasible> {
        let unknown = match source {
            Source::Previous => return Ok(input),
            Source::Mark(mark) => match self.marked.get(*mark as usize) {
                Some(Some(id)) => {
                    self.looks_back |= *id < self.shared_from;
                    return Ok(*id);
                }
                _ => "its block",
            },
            Source::Unknown(unknown) => unknown,
        };
        Err(Infeasible {
            block: self.whole_name(&[name]),
            operation: "from".to_owned(),
            problem: format!("no earlier block has the name {unknown:?}"),
        })
    }

    /// Earlier outputs in the shape of the one that was computed last, joined.
    fn inputs(
        &mut self,
        name: &str,
        join: Join,
        sources: &[Source],
        input: Id,
    ) -> Result<Id, Infeasible> {
        let ids: Vec<Id> = sources
            .iter()
            .map(|source| self.source(name, source, input))
            .collect::<Result<_, _>>()?;
        let [first, rest @ ..] = ids.as_slice() else {
            return Ok(input);
        };
        if rest.is_empty() {
            return Ok(*first);
        }
        // Ids rise in the order of computing.
        let latest = self.shape(ids.iter().copied().max().unwrap_or(input));
        let mut fitted = Vec::with_capacity(ids.len());
        for (index, &id) in ids.iter().enumerate() {
            let target = match join {
                Join::Concat => with_width(&latest, channels_or_features(&self.shape(id))),
                Join::Add | Join::Multiply => latest.clone(),
            };
            let index = format!(".inputs[{index}]");
            fitted.push(self.fitted("inputs", &[name, &index], id, &target)?);
        }
        let (word, op) = joined(join);
        self.push(&[name, ".", word], op, &fitted)
    }
}

/// The name of what stands at `name` from `place` on.
pub(super) fn whole_name(place: &str, name: &[&str]) -> String {
    let length = name.iter().map(|part| part.len()).sum::<usize>();
    let mut whole = String::with_capacity(place.len() + length);
    whole.push_str(place);
    for part in name {
        whole.push_str(part);
    }
    whole
}

/// The word and the operation of a join.
fn joined(join: Join) -> (&'static str, Op) {
    match join {
        Join::Add => ("add", Op::Add),
        Join::Concat => ("concat", Op::Concat),
        Join::Multiply => ("multiply", Op::Multiply),
    }
}

/// A shape with so many channels or features.
pub(super) fn with_width(shape: &Shape, width: u64) -> Shape {
    let mut shape = shape.clone();
    for (axis, length) in &mut shape.0 {
        if matches!(axis, Axis::Channels | Axis::Features) {
            *length = width;
        }
    }
    shape
}

/// What makes `from` into `to`, of the same axes: a strided 1x1 convolution over their places; an affine map of
/// vectors, and of sequences as long as each other. Without a bias, since a batch_norm follows.
pub(super) fn projection(from: &Shape, to: &Shape) -> Option<Op> {
    let layout = from.layout().filter(|_| have_same_axes(from, to))?;
    let width = |shape: &Shape| shape.0[layout.channels].1;
    let (in_channels, out_channels) = (width(from), width(to));
    let lengths = || {
        let places = layout.places.iter();
        places.map(|&place| (from.0[place].1, to.0[place].1))
    };
    let is_last = layout.channels + 1 == from.0.len();
    if is_last && lengths().all(|(before, after)| before == after) {
        return Some(Op::Linear {
            in_features: in_channels,
            out_features: out_channels,
            bias: false,
        });
    }
    // The least stride that leaves no more than `after` of `before`; a larger one is tried for the sake of the
    // other side only.
    let least = |(before, after): (u64, u64)| Some(before.checked_sub(1)?.checked_div(after)? + 1);
    let stride = lengths().try_fold(1, |stride, length| Some(stride.max(least(length)?)))?;
    if lengths().any(|(before, after)| (before - 1) / stride + 1 != after) {
        return None;
    }
    let convolution = Convolution {
        in_channels,
        out_channels,
        kernel: 1,
        stride,
        padding: 0,
        dilation: 1,
        groups: 1,
        bias: false,
    };
    match layout.places.len() {
        1 => Some(Op::Conv1d(convolution)),
        2 => Some(Op::Conv2d(convolution)),
        _ => None,
    }
}

/// Whether two shapes differ in their lengths alone.
fn have_same_axes(a: &Shape, b: &Shape) -> bool {
    let axes = |shape: &Shape| shape.0.iter().map(|(axis, _)| *axis).collect::<Vec<_>>();
    axes(a) == axes(b)
}
