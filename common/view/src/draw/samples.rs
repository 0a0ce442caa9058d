//! Networks to draw, with the names that the space gives their nodes.

use espalier_common::network::{Activation, Builder, Convolution, Network, Op, Pooling, Shape};

/// Builds a network.
struct Made {
    builder: Builder,
    last: usize,
}

impl Made {
    fn new(channels: u64, side: u64) -> Self {
        Self {
            builder: Builder::new(Shape::image(channels, side, side)),
            last: 0,
        }
    }

    fn channels(&self, id: usize) -> u64 {
        self.builder.shape(id).unwrap().as_image().unwrap().0
    }

    fn push(&mut self, name: &str, op: Op, inputs: &[usize]) -> usize {
        self.last = self.builder.push(name.to_owned(), op, inputs).unwrap();
        self.last
    }

    fn conv(
        &mut self,
        name: &str,
        input: usize,
        out_channels: u64,
        kernel: u64,
        stride: u64,
    ) -> usize {
        let op = Op::Conv2d(Convolution {
            in_channels: self.channels(input),
            out_channels,
            kernel,
            stride,
            padding: kernel / 2,
            dilation: 1,
            groups: 1,
            bias: false,
        });
        self.push(name, op, &[input])
    }

    fn norm(&mut self, name: &str, input: usize) -> usize {
        let channels = self.channels(input);
        self.push(name, Op::BatchNorm { channels }, &[input])
    }

    fn relu(&mut self, name: &str, input: usize) -> usize {
        self.push(name, Op::Activation(Activation::Relu), &[input])
    }

    fn head(mut self) -> Network {
        let pooled = self.push("network[8]", Op::GlobalAvgPool, &[self.last]);
        let features = self.builder.shape(pooled).unwrap().as_features().unwrap();
        let op = Op::Linear {
            in_features: features,
            out_features: 10,
            bias: true,
        };
        let output = self.push("network[9]", op, &[pooled]);
        self.builder.finish(output).unwrap()
    }
}

/// A cell of NAS-Bench-201 with an operation on every edge.
fn bench_cell(made: &mut Made, name: &str, operations: [&str; 6]) {
    let mut values = vec![made.last];
    let mut operations = operations.into_iter();
    for to in 1..4 {
        let mut sum = Vec::new();
        for (from, &input) in values.iter().enumerate() {
            let at = format!("{name}.edge[{from}-{to}].choice");
            sum.push(match operations.next().unwrap() {
                "skip" => input,
                "zero" => made.push(&format!("{at}.none[0]"), Op::Zero, &[input]),
                "pool" => {
                    let op = Op::AvgPool2d(Pooling {
                        kernel: 3,
                        stride: 1,
                        padding: 1,
                    });
                    made.push(&format!("{at}.avg_pool_3x3[0]"), op, &[input])
                }
                conv => {
                    let kernel = if conv == "nor_conv_3x3" { 3 } else { 1 };
                    let active = made.relu(&format!("{at}.{conv}[0]"), input);
                    let channels = made.channels(input);
                    let conv_id =
                        made.conv(&format!("{at}.{conv}[1]"), active, channels, kernel, 1);
                    made.norm(&format!("{at}.{conv}[2]"), conv_id)
                }
            });
        }
        values.push(match sum[..] {
            [only] => only,
            _ => made.push(&format!("{name}.node[{to}].add"), Op::Add, &sum),
        });
    }
    made.last = values[3];
}

fn residual_down(made: &mut Made, name: &str, channels: u64) {
    let input = made.last;
    let relu = made.relu(&format!("{name}.residual[0]"), input);
    let conv = made.conv(&format!("{name}.residual[1]"), relu, channels, 3, 2);
    let norm = made.norm(&format!("{name}.residual[2]"), conv);
    let short = made.conv(&format!("{name}.shortcut"), input, channels, 1, 2);
    let short = made.norm(&format!("{name}.shortcut.batch_norm"), short);
    made.push(&format!("{name}.add"), Op::Add, &[norm, short]);
}

/// A network of NAS-Bench-201.
pub(super) fn bench_network() -> Network {
    let mut made = Made::new(3, 32);
    made.conv("network[0]", 0, 16, 3, 1);
    made.norm("network[1]", made.last);
    let operations = [
        "nor_conv_3x3",
        "skip",
        "nor_conv_1x1",
        "pool",
        "nor_conv_3x3",
        "zero",
    ];
    for (stage, channels) in [(2, 32), (4, 64), (6, 0)] {
        for round in 1..=5 {
            bench_cell(
                &mut made,
                &format!("network[{stage}]#{round}[0]"),
                operations,
            );
        }
        if channels > 0 {
            residual_down(&mut made, &format!("network[{}][0]", stage + 1), channels);
        }
    }
    made.head()
}

/// Cells that read the two outputs before them, as in DARTS.
pub(super) fn darts_network(cells: usize) -> Network {
    let mut made = Made::new(3, 32);
    let conv = made.conv("network.stem", 0, 48, 3, 1);
    let mut previous = made.norm("network[1]", conv);
    let mut before = previous;
    for round in 1..=cells {
        let name = format!("network.normal#{round}[0]");
        let mut values = Vec::new();
        for (index, source) in [before, previous].into_iter().enumerate() {
            let relu = made.relu(&format!("{name}.input[{index}].relu"), source);
            let conv = made.conv(&format!("{name}.input[{index}]"), relu, 16, 1, 1);
            values.push(made.norm(&format!("{name}.input[{index}].batch_norm"), conv));
        }
        for node in 2..5_usize {
            let mut sum = Vec::new();
            for from in [node - 2, node - 1] {
                let at = format!("{name}.edge[{from}-{node}].choice.sep_conv_3x3");
                let mut value = made.relu(&format!("{at}[0]"), values[from]);
                for (index, kernel) in [(1, 3), (2, 1)] {
                    value = made.conv(&format!("{at}[{index}]"), value, 16, kernel, 1);
                }
                sum.push(made.norm(&format!("{at}[3]"), value));
            }
            values.push(made.push(&format!("{name}.node[{node}].add"), Op::Add, &sum));
        }
        let cell = made.push(&format!("{name}.concat"), Op::Concat, &values[2..]);
        (before, previous) = (previous, cell);
    }
    made.head()
}

/// A chain as long as the names and the nodes of a network allow.
pub(super) fn long_network(nodes: usize) -> Network {
    let mut made = Made::new(1, 8);
    for index in 1..nodes {
        made.relu(&format!("network.x{index}"), made.last);
    }
    let last = made.last;
    made.builder.finish(last).unwrap()
}

/// Every node reads the input and the sum before it: nothing can be stacked or folded.
pub(super) fn wide_network(nodes: usize) -> Network {
    let mut made = Made::new(1, 8);
    for index in 1..nodes {
        made.push(&format!("network[{index}]"), Op::Add, &[0, made.last]);
    }
    let last = made.last;
    made.builder.finish(last).unwrap()
}

/// Residual blocks within residual blocks.
pub(super) fn nested_network(depth: usize) -> Network {
    fn inside(made: &mut Made, name: &str, depth: usize) {
        let input = made.last;
        made.relu(&format!("{name}[0]"), input);
        if depth > 0 {
            inside(made, &format!("{name}[1].residual"), depth - 1);
        }
        let last = made.last;
        made.push(&format!("{name}[2].add"), Op::Add, &[input, last]);
    }
    let mut made = Made::new(4, 8);
    inside(&mut made, "network", depth);
    let last = made.last;
    made.builder.finish(last).unwrap()
}

/// So many blocks of two nodes, one after another, each with a name of its own.
pub(super) fn row_network(blocks: usize) -> Network {
    let mut made = Made::new(4, 8);
    for index in 0..blocks {
        made.relu(&format!("network.block{index}[0]"), made.last);
        made.norm(&format!("network.block{index}[1]"), made.last);
    }
    let last = made.last;
    made.builder.finish(last).unwrap()
}
