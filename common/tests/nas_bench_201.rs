//! Identity on all of NAS-Bench-201: the networks of its 15,625 cells have one id exactly when they are
//! isomorphic. Whether they are is found here in another way: a cell is written as the expression it
//! computes, with a letter for each weight, and the least text over all ways to give the letters out is its
//! form. Cells of this space never read a sum twice, so equal expressions and equal graphs are the same.
//!
//! There are 5,485; the benchmark's own classes, which go by another rule, are 6,466.
//! Batch normalisation of zeros is not zero (its shift is a weight that is trained), so a convolution behind
//! a missing edge leaves a constant. A rule that took it for zero would count 5,260.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::ids::Digest;
use espalier_common::network::{Activation, Builder, Convolution, Network, Op, Pooling, Shape};

/// Where the edges lead, in the order of the digits of a cell's number.
const EDGES: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];
const CELLS: u32 = 15_625;
const CHANNELS: u64 = 4;

/// What an edge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    None,
    Skip,
    Conv1x1,
    Conv3x3,
    Pool,
}

fn cell(number: u32) -> [Operation; 6] {
    use Operation::{Conv1x1, Conv3x3, None, Pool, Skip};
    std::array::from_fn(|edge| {
        let digit = number / 5_u32.pow(edge as u32) % 5;
        [None, Skip, Conv1x1, Conv3x3, Pool][digit as usize]
    })
}

/// The value of a node. Weights are named by their edge.
#[derive(Clone, Debug)]
enum Expression {
    Input,
    Sum(Vec<Expression>),
    Pool(Box<Expression>),
    /// Relu, convolution and normalisation.
    Conv(Operation, usize, Box<Expression>),
    /// Normalisation of zeros: the convolution before it gives zeros for zeros, whatever its weights.
    Constant(usize),
}

/// What batch normalisation makes of zeros.
#[derive(Clone, Copy, Debug)]
enum Zeros {
    /// What it does: its shift.
    Shift,
    /// What some count it for.
    Nothing,
}

impl Zeros {
    fn normalised(self, edge: usize) -> Expression {
        match self {
            Self::Shift => Expression::Constant(edge),
            Self::Nothing => Expression::Sum(Vec::new()),
        }
    }
}

impl Expression {
    /// The sum's terms; none: zero.
    fn terms(self) -> Vec<Self> {
        match self {
            Self::Sum(terms) => terms,
            other => vec![other],
        }
    }

    fn is_zero(&self) -> bool {
        matches!(self, Self::Sum(terms) if terms.is_empty())
    }

    fn after(self, operation: Operation, edge: usize, zeros: Zeros) -> Self {
        match operation {
            Operation::None => Self::Sum(Vec::new()),
            Operation::Skip => self,
            Operation::Pool if self.is_zero() => self,
            Operation::Pool => Self::Pool(Box::new(self)),
            _ if self.is_zero() => zeros.normalised(edge),
            conv => Self::Conv(conv, edge, Box::new(self)),
        }
    }

    fn weights(&self, into: &mut BTreeSet<usize>) {
        match self {
            Self::Input => {}
            Self::Sum(terms) => terms.iter().for_each(|term| term.weights(into)),
            Self::Pool(inner) => inner.weights(into),
            Self::Conv(_, weight, inner) => {
                into.insert(*weight);
                inner.weights(into);
            }
            Self::Constant(weight) => {
                into.insert(*weight);
            }
        }
    }

    fn text(&self, letter: &BTreeMap<usize, usize>) -> String {
        match self {
            Self::Input => "x".to_owned(),
            Self::Sum(terms) => {
                let mut texts: Vec<_> = terms.iter().map(|term| term.text(letter)).collect();
                texts.sort();
                format!("({})", texts.join("+"))
            }
            Self::Pool(inner) => format!("pool{}", inner.text(letter)),
            Self::Conv(kind, weight, inner) => {
                format!("{kind:?}.{}{}", letter[weight], inner.text(letter))
            }
            Self::Constant(weight) => format!("constant.{}", letter[weight]),
        }
    }
}

/// What a cell computes from its input.
fn expression(cell: [Operation; 6], zeros: Zeros) -> Expression {
    let mut nodes = vec![Expression::Input];
    for node in 1..4 {
        let mut terms = Vec::new();
        for (edge, &(from, to)) in EDGES.iter().enumerate() {
            if to == node {
                terms.extend(nodes[from].clone().after(cell[edge], edge, zeros).terms());
            }
        }
        nodes.push(match terms.len() {
            1 => terms.remove(0),
            _ => Expression::Sum(terms),
        });
    }
    nodes.remove(3)
}

/// The least text over all ways to give out the letters.
fn form(expression: &Expression) -> String {
    let mut weights = BTreeSet::new();
    expression.weights(&mut weights);
    let weights: Vec<usize> = weights.into_iter().collect();
    let mut orders = vec![Vec::new()];
    for _ in &weights {
        orders = orders
            .iter()
            .flat_map(|order: &Vec<usize>| {
                let free = (0..weights.len()).filter(|letter| !order.contains(letter));
                free.map(|letter| [order.as_slice(), &[letter]].concat())
            })
            .collect();
    }
    let texts = orders.into_iter().map(|order| {
        let letter = weights.iter().copied().zip(order).collect();
        expression.text(&letter)
    });
    texts.min().unwrap_or_default()
}

/// Adds a cell behind `input`; gives the node of its output.
fn add_cell(builder: &mut Builder, input: usize, cell: [Operation; 6]) -> usize {
    let mut nodes = vec![input];
    for node in 1..4 {
        let mut inputs = Vec::new();
        for (edge, &(from, to)) in EDGES.iter().enumerate() {
            if to == node {
                inputs.push(add_edge(builder, nodes[from], cell[edge]));
            }
        }
        nodes.push(push(builder, Op::Add, inputs));
    }
    nodes[3]
}

fn add_edge(builder: &mut Builder, from: usize, operation: Operation) -> usize {
    let conv = |builder: &mut Builder, kernel: u64| {
        let relu = push(builder, Op::Activation(Activation::Relu), vec![from]);
        let conv = Op::Conv2d(Convolution {
            in_channels: CHANNELS,
            out_channels: CHANNELS,
            kernel,
            stride: 1,
            padding: kernel / 2,
            dilation: 1,
            groups: 1,
            bias: false,
        });
        let conv = push(builder, conv, vec![relu]);
        push(builder, Op::BatchNorm { channels: CHANNELS }, vec![conv])
    };
    match operation {
        Operation::None => push(builder, Op::Zero, vec![from]),
        Operation::Skip => push(builder, Op::Identity, vec![from]),
        Operation::Conv1x1 => conv(builder, 1),
        Operation::Conv3x3 => conv(builder, 3),
        Operation::Pool => {
            let pool = Op::AvgPool2d(Pooling {
                kernel: 3,
                stride: 1,
                padding: 1,
            });
            push(builder, pool, vec![from])
        }
    }
}

fn push(builder: &mut Builder, op: Op, inputs: Vec<usize>) -> usize {
    let name = format!("n{}", builder.nodes().len());
    builder
        .push(name, op, inputs)
        .expect("a cell keeps its shape")
}

/// A network of `cells` equal cells, one after another.
fn network(cell: [Operation; 6], cells: usize) -> Network {
    let mut builder = Builder::new(Shape::image(CHANNELS, 8, 8));
    let output = (0..cells).fold(0, |node, _| add_cell(&mut builder, node, cell));
    builder.finish(output).expect("every node has its name")
}

#[test]
fn the_cells_have_as_many_ids_as_there_are_networks_that_differ() {
    let (mut id_of, mut form_of) = (BTreeMap::new(), BTreeMap::<Digest, String>::new());
    for number in 0..CELLS {
        let cell = cell(number);
        let id = network(cell, 1).network_id();
        let form = form(&expression(cell, Zeros::Shift));
        let known = id_of.entry(form.clone()).or_insert(id);
        assert_eq!(*known, id, "two ids for one network: {cell:?}, {form}");
        let known = form_of.entry(id).or_insert_with(|| form.clone());
        assert_eq!(*known, form, "one id for two networks: {cell:?}");
    }
    assert_eq!((form_of.len(), id_of.len()), (5_485, 5_485));
}

#[test]
fn two_cells_in_a_row_are_told_apart_as_one_is() {
    // A step that shares no factor with 5 visits cells of every kind.
    for number in (0..CELLS).step_by(13) {
        let (a, b) = (cell(number), cell((number + 6_007) % CELLS));
        let alike = network(a, 1).network_id() == network(b, 1).network_id();
        let twice = network(a, 2).network_id() == network(b, 2).network_id();
        assert_eq!(alike, twice, "{a:?} and {b:?}");
    }
}

#[test]
fn a_rule_that_takes_normalised_zeros_for_zeros_would_tell_fewer_apart() {
    let forms: BTreeSet<String> = (0..CELLS)
        .map(|number| form(&expression(cell(number), Zeros::Nothing)))
        .collect();
    assert_eq!(forms.len(), 5_260);
}
