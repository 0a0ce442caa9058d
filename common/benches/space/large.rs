//! Networks of the greatest size, of forms that are hard to identify, for `make bench-space` and for the test
//! that they are identified in good time; and specs of the greatest size, of forms that are hard to count, for
//! the first of these.

use espalier_common::network::{Activation, Builder, MAX_NODES, Network, Op, Shape};

/// Features of every node: what is large here is the graph.
const WIDTH: u64 = 8;
const RELU: Op = Op::Activation(Activation::Relu);

/// Each with what it is.
pub(crate) fn networks() -> Vec<(&'static str, Network)> {
    vec![
        ("one chain", chain()),
        ("equal branches of one node", branches(MAX_NODES - 2, 1)),
        ("branches that all differ", different()),
        ("100 equal branches of 99 nodes", branches(100, 99)),
        ("8 equal branches of 4 nodes, 300 times", stages()),
        ("rings of 8 branches", rings()),
        ("a product of every two of 99 branches", pairs()),
    ]
}

struct Large(Builder);

impl Large {
    fn new() -> Self {
        Self(Builder::new(Shape::features(WIDTH)))
    }

    fn push(&mut self, op: Op, inputs: &[usize]) -> usize {
        let name = format!("n{}", self.0.nodes().len());
        (self.0.push(name, op, inputs)).unwrap_or_else(|error| panic!("{error}"))
    }

    fn linear(&mut self, input: usize) -> usize {
        let op = Op::Linear {
            in_features: WIDTH,
            out_features: WIDTH,
            bias: true,
        };
        self.push(op, &[input])
    }

    /// Equal branches of so many nodes on `input`, summed.
    fn branches(&mut self, input: usize, count: usize, length: usize) -> usize {
        let branch = |large: &mut Self| {
            (0..length).fold(input, |at, step| match step % 2 {
                0 => large.linear(at),
                _ => large.push(RELU, &[at]),
            })
        };
        let ends: Vec<usize> = (0..count).map(|_| branch(self)).collect();
        self.push(Op::Add, &ends)
    }

    fn finish(self, output: usize) -> Network {
        (self.0.finish(output)).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn chain() -> Network {
    let mut large = Large::new();
    let last = (2..MAX_NODES).fold(0, |at, _| large.linear(at));
    large.finish(last)
}

fn branches(count: usize, length: usize) -> Network {
    let mut large = Large::new();
    let sum = large.branches(0, count, length);
    large.finish(sum)
}

fn different() -> Network {
    let mut large = Large::new();
    let count = MAX_NODES - 2;
    let rate = |at: usize| (at + 1) as f64 / (count + 2) as f64;
    let ends: Vec<usize> = (0..count)
        .map(|at| large.push(Op::Dropout { rate: rate(at) }, &[0]))
        .collect();
    let sum = large.push(Op::Add, &ends);
    large.finish(sum)
}

fn stages() -> Network {
    let mut large = Large::new();
    let last = (0..300).fold(0, |at, _| large.branches(at, 8, 4));
    large.finish(last)
}

/// Every branch is summed with its neighbour in a ring, so no colour tells one from another.
fn rings() -> Network {
    const RING: usize = 8;
    let mut large = Large::new();
    let mut ends = Vec::new();
    for _ in 0..MAX_NODES / (3 * RING) - 1 {
        let ring: Vec<usize> = (0..RING).map(|_| large.linear(0)).collect();
        for at in 0..RING {
            let sum = large.push(Op::Add, &[ring[at], ring[(at + 1) % RING]]);
            ends.push(large.push(RELU, &[sum]));
        }
    }
    let sum = large.push(Op::Add, &ends);
    large.finish(sum)
}

/// More symmetry than the bound of work allows for: what is told then are the colours.
fn pairs() -> Network {
    let mut large = Large::new();
    let ends: Vec<usize> = (0..99).map(|_| large.linear(0)).collect();
    let mut pairs = Vec::new();
    for (at, &one) in ends.iter().enumerate() {
        for &other in &ends[..at] {
            let product = large.push(Op::Multiply, &[one, other]);
            pairs.push(large.push(RELU, &[product]));
        }
    }
    let sum = large.push(Op::Add, &pairs);
    large.finish(sum)
}

/// Specs of about 10,000 decisions, each with what it is.
#[allow(dead_code, reason = "the test about networks has no use for them")]
pub(crate) fn specs() -> Vec<(&'static str, String)> {
    let each = |count: usize, block: &dyn Fn(usize) -> String| -> String {
        (0..count)
            .map(|at| format!("  - {}\n", block(at)))
            .collect()
    };
    let thousand = |heading: &str, what: &str| -> String {
        let lines = (0..1_000).map(|at| format!("  t{at}: {what}\n"));
        std::iter::once(format!("{heading}:\n"))
            .chain(lines)
            .collect()
    };
    let ties = thousand("tie", "{choice: [1, 3, 5]}");
    let shared = thousand("blocks", "[{conv: {kernel: {choice: [1, 3, 5]}}}]");
    let tie = |at: usize| format!("{{conv: {{kernel: $t{}}}}}", at % 1_000);
    let used = |at: usize| format!("{{use: t{}, shared: true}}", at % 1_000);
    let pair =
        |once: &dyn Fn(usize) -> String, at: usize| format!("[{}, {}]", once(at), once(at * 7));
    let specs = [
        (
            "decisions of their own",
            "",
            each(5_000, &|_| {
                "{conv: {channels: {choice: [8, 16]}, kernel: {choice: [1, 3]}}}".to_owned()
            }),
        ),
        (
            "ties in optional blocks",
            &ties,
            each(9_000, &|at| format!("optional: {}", pair(&tie, at))),
        ),
        (
            "shared blocks in optional blocks",
            &shared,
            each(8_000, &|at| format!("optional: {}", pair(&used, at))),
        ),
        (
            "ties in cells",
            &ties,
            each(1_200, &|at| {
                format!(
                    "cell: {{nodes: 4, edge: {{choice: {{a: {}, b: []}}}}}}",
                    pair(&tie, at)
                )
            }),
        ),
        (
            "ties in repeated blocks",
            &ties,
            each(140, &|at| {
                format!(
                    "repeat: {{times: {{range: [0, 63]}}, block: [{{optional: {}}}]}}",
                    pair(&tie, at)
                )
            }),
        ),
    ];
    let whole = |(form, once, network): (&'static str, &str, String)| {
        let text = format!(
            "name: x\ndataset: {{format: idx, path: x, validation: 1}}\ntraining: {{epochs: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n{once}network:\n{network}  - global_avg_pool\n  - linear: {{features: classes}}\n"
        );
        (form, text)
    };
    specs.map(whole).into()
}
