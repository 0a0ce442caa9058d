//! Random spaces for the property tests.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::candidate::Value;

fn named<T>(name: &str) -> Setting<T> {
    Setting::Named(name.to_owned())
}

fn integers(values: &[i64]) -> Domain {
    Domain::Choice(values.iter().copied().map(Value::Integer).collect())
}

fn ties() -> BTreeMap<String, Setting<Value>> {
    let rounds = Domain::Integer {
        low: 0,
        high: 2,
        step: 1,
        scale: Scale::Linear,
    };
    BTreeMap::from([
        ("kernel".to_owned(), Setting::Decide(integers(&[1, 3, 5]))),
        ("rounds".to_owned(), Setting::Decide(rounds)),
        ("width".to_owned(), Setting::Fixed(Value::Integer(4))),
    ])
}

fn plain(kind: BlockKind) -> Block {
    Block { name: None, kind }
}

fn conv(kernel: Setting<u64>) -> Block {
    plain(BlockKind::Layer(Box::new(Layer::Conv {
        channels: Some(Width::Plain(named("width"))),
        kernel,
        stride: Setting::Fixed(1),
        padding: None,
        groups: Setting::Fixed(Groups::Count(1)),
        dilation: Setting::Fixed(1),
        bias: None,
    })))
}

fn use_of(block: &str, with: &[(&str, Setting<Value>)], shared: bool) -> BlockKind {
    BlockKind::Use(Use {
        block: block.to_owned(),
        with: with
            .iter()
            .map(|(name, setting)| ((*name).to_owned(), setting.clone()))
            .collect(),
        shared,
    })
}

fn choice(alternatives: Vec<(&str, Option<f64>, Vec<Block>)>) -> BlockKind {
    let alternative = |(name, weight, blocks): (&str, _, _)| Alternative {
        name: name.to_owned(),
        weight,
        blocks,
    };
    BlockKind::Choice(
        alternatives
            .into_iter()
            .map(alternative)
            .collect::<Vec<_>>()
            .into(),
    )
}

fn definition(parameters: &[&str], depth: Option<u32>, body: Body) -> Definition {
    Definition {
        parameters: parameters.iter().map(|name| (*name).to_owned()).collect(),
        depth,
        body,
    }
}

/// A block whose parameter is used in one alternative only, one that repeats by its parameter, one that uses
/// both of them, and a grammar.
fn definitions() -> BTreeMap<String, Definition> {
    let sometimes = choice(vec![
        ("with", Some(2.0), vec![conv(named("size"))]),
        ("without", None, vec![]),
    ]);
    let rounds = BlockKind::Repeat(Repeat {
        times: named("times"),
        block: vec![plain(BlockKind::Optional(vec![conv(named("kernel"))]))],
        shared: false,
    });
    let both = vec![
        plain(use_of("sometimes", &[("size", named("size"))], true)),
        plain(use_of("sometimes", &[("size", named("kernel"))], false)),
    ];
    let grammar = choice(vec![
        ("stop", None, vec![conv(named("kernel"))]),
        (
            "two",
            None,
            vec![
                plain(use_of("grow", &[], false)),
                plain(use_of("grow", &[], false)),
            ],
        ),
        (
            "more",
            Some(0.5),
            vec![plain(BlockKind::Optional(vec![plain(use_of(
                "grow",
                &[],
                false,
            ))]))],
        ),
    ]);
    BTreeMap::from([
        (
            "sometimes".to_owned(),
            definition(&["size"], None, Body::One(Box::new(plain(sometimes)))),
        ),
        (
            "rounds".to_owned(),
            definition(&["times"], None, Body::List(vec![plain(rounds)])),
        ),
        (
            "both".to_owned(),
            definition(&["size"], None, Body::List(both)),
        ),
        (
            "grow".to_owned(),
            definition(&[], Some(1), Body::One(Box::new(plain(grammar)))),
        ),
    ])
}

/// Uses of the definitions, shared or not, with arguments of all kinds.
fn uses() -> impl Strategy<Value = BlockKind> {
    let argument = prop_oneof![
        Just(Setting::Fixed(Value::Integer(3))),
        Just(Setting::Decide(integers(&[1, 3]))),
        Just(named("kernel")),
    ];
    let times = prop_oneof![
        Just(Setting::Fixed(Value::Integer(2))),
        Just(Setting::Decide(integers(&[0, 2]))),
        Just(named("rounds")),
    ];
    prop_oneof![
        (argument.clone(), any::<bool>()).prop_map(|(size, shared)| use_of(
            "sometimes",
            &[("size", size)],
            shared
        )),
        (times, any::<bool>()).prop_map(|(times, shared)| use_of(
            "rounds",
            &[("times", times)],
            shared
        )),
        (argument, any::<bool>()).prop_map(|(size, shared)| use_of(
            "both",
            &[("size", size)],
            shared
        )),
        any::<bool>().prop_map(|shared| use_of("grow", &[], shared)),
    ]
}

fn cells(block: impl Strategy<Value = BlockKind>) -> impl Strategy<Value = BlockKind> {
    let outputs = prop_oneof![
        Just(CellOutput::Last),
        Just(CellOutput::Concat),
        Just(CellOutput::Loose)
    ];
    (
        block,
        1_u64..3,
        1_u64..3,
        prop::option::of((1_u64..3, any::<bool>())),
        outputs,
        flags(),
    )
        .prop_map(|(edge, inputs, more, choose, output, reduction)| {
            let (choose, distinct) =
                choose.map_or((None, true), |(choose, distinct)| (Some(choose), distinct));
            BlockKind::Cell(Box::new(Cell {
                nodes: inputs + more,
                inputs,
                choose,
                distinct,
                edge: Body::One(Box::new(plain(edge))),
                output,
                channels: (inputs > 1).then(|| named("width")),
                reduction,
            }))
        })
}

fn counts() -> impl Strategy<Value = Setting<u64>> {
    prop_oneof![
        Just(named("kernel")),
        (1_u64..4).prop_map(Setting::Fixed),
        prop::sample::subsequence(vec![1_i64, 3, 5], 1..=3).prop_map(|values| {
            Setting::Decide(Domain::Choice(
                values.into_iter().map(Value::Integer).collect(),
            ))
        }),
        (1_i64..3, 0_i64..3, 1_i64..3, any::<bool>()).prop_map(|(low, steps, step, log)| {
            Setting::Decide(Domain::Integer {
                low,
                high: low + steps * step,
                step,
                scale: if log { Scale::Log } else { Scale::Linear },
            })
        }),
    ]
}

fn times() -> impl Strategy<Value = Setting<u64>> {
    prop_oneof![
        Just(named("rounds")),
        (0_u64..3).prop_map(Setting::Fixed),
        (0_i64..2, 0_i64..3).prop_map(|(low, more)| {
            Setting::Decide(Domain::Integer {
                low,
                high: low + more,
                step: 1,
                scale: Scale::Linear,
            })
        }),
    ]
}

/// Numbers; `continuous` ones cannot be enumerated.
fn numbers(continuous: bool) -> impl Strategy<Value = Setting<f64>> {
    let step = if continuous {
        prop_oneof![Just(None), Just(Some(0.1))].boxed()
    } else {
        Just(Some(0.1)).boxed()
    };
    prop_oneof![
        Just(Setting::Fixed(0.5)),
        (step, any::<bool>()).prop_map(|(step, log)| {
            Setting::Decide(Domain::Real {
                low: 0.1,
                high: 0.3,
                scale: if log { Scale::Log } else { Scale::Linear },
                step,
            })
        }),
    ]
}

fn flags() -> impl Strategy<Value = Setting<bool>> {
    prop_oneof![
        any::<bool>().prop_map(Setting::Fixed),
        Just(Setting::Decide(expand_blocks::flag())),
    ]
}

fn layers(continuous: bool) -> impl Strategy<Value = Layer> {
    let groups = prop_oneof![
        Just(Setting::Fixed(Groups::Count(1))),
        Just(Setting::Fixed(Groups::Depthwise)),
        Just(Setting::Decide(Domain::Choice(vec![
            Value::Integer(1),
            Value::Text("depthwise".to_owned())
        ]))),
    ];
    let conv = (
        prop::option::of(counts()),
        counts(),
        groups,
        prop::option::of(flags()),
    );
    prop_oneof![
        conv.prop_map(|(channels, kernel, groups, bias)| Layer::Conv {
            channels: channels.map(Width::Plain),
            kernel,
            stride: Setting::Fixed(1),
            padding: None,
            groups,
            dilation: Setting::Fixed(1),
            bias,
        }),
        Just(Layer::BatchNorm),
        Just(Layer::Activation(Setting::Decide(expand::words(
            ["relu", "silu"].into_iter()
        )))),
        counts().prop_map(|kernel| Layer::MaxPool {
            kernel,
            stride: Some(Setting::Fixed(1)),
            padding: None
        }),
        numbers(continuous).prop_map(|rate| Layer::Dropout { rate }),
        numbers(continuous).prop_map(|rate| Layer::DropPath { rate }),
        (numbers(continuous), counts()).prop_map(|(times_input, kernel)| {
            Layer::SeparableConv {
                channels: Some(Width::Relative { times_input }),
                kernel,
                stride: Setting::Fixed(1),
                padding: None,
                dilation: Setting::Fixed(1),
                bias: None,
            }
        }),
        (counts(), counts()).prop_map(|(channels, stride)| Layer::Zero {
            channels: Some(Width::Plain(channels)),
            stride,
        }),
        numbers(continuous).prop_map(|ratio| Layer::SqueezeExcite { ratio }),
        counts().prop_map(|size| Layer::AdaptiveAvgPool { size }),
        Just(Layer::Prelu),
        Just(Layer::Identity),
    ]
}

/// Blocks in a list, some of them with names, which later ones of the list take.
fn list(block: impl Strategy<Value = BlockKind>, most: usize) -> impl Strategy<Value = Vec<Block>> {
    let taken = (0_u8..8, prop::option::of(1_u64..3));
    prop::collection::vec((block, any::<bool>(), taken), 0..=most).prop_map(|blocks| {
        let mut names = vec![PREVIOUS.to_owned()];
        let mut list = Vec::new();
        for (index, (kind, named, (take, choose))) in blocks.into_iter().enumerate() {
            let texts = || names.iter().cloned().map(Value::Text).collect();
            match take {
                0 => list.push(plain(BlockKind::From(Setting::Decide(Domain::Choice(
                    texts(),
                ))))),
                1 => list.push(plain(BlockKind::Inputs(Inputs {
                    of: names.clone(),
                    choose,
                    join: Setting::Fixed(Join::Add),
                }))),
                _ => {}
            }
            let name = named.then(|| format!("block{index}"));
            names.extend(name.clone());
            list.push(Block { name, kind });
        }
        list
    })
}

fn block(continuous: bool) -> impl Strategy<Value = BlockKind> {
    let layer = layers(continuous).prop_map(|layer| BlockKind::Layer(Box::new(layer)));
    let leaf = prop_oneof![3 => layer, 2 => uses()];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let cell = cells(inner.clone());
        let blocks = move || list(inner.clone(), 2);
        prop_oneof![
            cell,
            blocks().prop_map(BlockKind::Sequence),
            (blocks(), blocks())
                .prop_map(|(body, shortcut)| { BlockKind::Shortcut(Shortcut { body, shortcut }) }),
            (prop::collection::vec(blocks(), 1..=3), any::<bool>()).prop_map(
                |(lists, weighted)| {
                    let alternatives = lists.into_iter().enumerate();
                    BlockKind::Choice(
                        alternatives
                            .map(|(index, blocks)| Alternative {
                                name: format!("way{index}"),
                                weight: (weighted && index == 0).then_some(2.5),
                                blocks,
                            })
                            .collect::<Vec<_>>()
                            .into(),
                    )
                }
            ),
            blocks().prop_map(BlockKind::Optional),
            (times(), blocks(), any::<bool>()).prop_map(|(times, block, shared)| {
                BlockKind::Repeat(Repeat {
                    times,
                    block,
                    shared,
                })
            }),
            blocks().prop_map(BlockKind::Residual),
            (blocks(), blocks(), any::<bool>()).prop_map(|(a, b, open)| BlockKind::Branches(
                Branches {
                    join: if open {
                        Setting::Decide(expand::words(["add", "concat"].into_iter()))
                    } else {
                        Setting::Fixed(Join::Multiply)
                    },
                    of: vec![a, b],
                }
            )),
        ]
    })
}

fn training(continuous: bool) -> impl Strategy<Value = Training> {
    (counts(), numbers(continuous), any::<bool>(), flags()).prop_map(
        |(batch_size, rate, several, nesterov)| {
            let mut training = Training {
                batch_size,
                ..Training::default()
            };
            if several {
                training.optimizer.push(OptimizerSpace::Sgd {
                    learning_rate: rate,
                    momentum: Setting::Fixed(0.9),
                    nesterov,
                    weight_decay: Setting::Fixed(0.0),
                });
                training.schedule.push(ScheduleSpace::Constant {
                    warmup_epochs: Setting::Fixed(0.0),
                });
            }
            training
        },
    )
}

/// Hyperparameters, some inside others.
fn hyperparameters(continuous: bool) -> impl Strategy<Value = Hyperparameters> {
    let number = numbers(continuous).prop_map(|setting| match setting {
        Setting::Fixed(number) => Setting::Fixed(Value::Real(number)),
        Setting::Decide(domain) => Setting::Decide(domain),
        Setting::Named(name) => Setting::Named(name),
    });
    let leaf = prop_oneof![number, Just(named("kernel"))].prop_map(Hyperparameter::Setting);
    let one = leaf.prop_recursive(2, 4, 2, |inner| {
        let some = || prop::collection::btree_map("[ab]", inner.clone(), 0..=2);
        let weight = prop::option::of(Just(2.0));
        prop_oneof![
            some().prop_map(Hyperparameter::Group),
            some().prop_map(Hyperparameter::Optional),
            (some(), some(), weight).prop_map(|(one, other, weight)| {
                let alternative = |name: &str, weight, settings| HyperparameterAlternative {
                    name: name.to_owned(),
                    weight,
                    settings,
                };
                Hyperparameter::Choice(vec![
                    alternative("one", weight, one),
                    alternative("other", None, other),
                ])
            }),
        ]
    });
    prop::option::of(one)
        .prop_map(|own| own.map(|own| ("own".to_owned(), own)).into_iter().collect())
}

/// Small spaces with every kind of block and decision.
pub(super) fn spaces(continuous: bool) -> impl Strategy<Value = Space> {
    let network = prop::option::weighted(0.9, list(block(continuous), 2));
    (network, training(continuous), hyperparameters(continuous)).prop_map(
        |(network, training, hyperparameters)| Space {
            network,
            blocks: definitions(),
            tie: ties(),
            training,
            hyperparameters,
        },
    )
}
