//! Random spaces for the property tests.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::candidate::Value;

fn counts() -> impl Strategy<Value = Setting<u64>> {
    prop_oneof![
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
        Just(Setting::Decide(expand::flag())),
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
            channels,
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
        counts().prop_map(|kernel| Layer::MaxPool(Pool {
            kernel,
            stride: Some(Setting::Fixed(1)),
            padding: None
        })),
        numbers(continuous).prop_map(|rate| Layer::Dropout { rate }),
    ]
}

/// Blocks in a list, some of them with names.
fn list(block: impl Strategy<Value = BlockKind>, most: usize) -> impl Strategy<Value = Vec<Block>> {
    prop::collection::vec((block, any::<bool>()), 0..=most).prop_map(|blocks| {
        blocks
            .into_iter()
            .enumerate()
            .map(|(index, (kind, named))| Block {
                name: named.then(|| format!("block{index}")),
                kind,
            })
            .collect()
    })
}

fn block(continuous: bool) -> impl Strategy<Value = BlockKind> {
    let leaf = layers(continuous).prop_map(|layer| BlockKind::Layer(Box::new(layer)));
    leaf.prop_recursive(3, 12, 3, |inner| {
        let blocks = move || list(inner.clone(), 2);
        prop_oneof![
            prop::collection::vec(blocks(), 1..=3).prop_map(|lists| BlockKind::Choice(
                lists
                    .into_iter()
                    .enumerate()
                    .map(|(index, blocks)| Alternative {
                        name: format!("way{index}"),
                        blocks
                    })
                    .collect()
            )),
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

/// Small spaces with every kind of block and decision.
pub(super) fn spaces(continuous: bool) -> impl Strategy<Value = Space> {
    let network = prop::option::weighted(0.9, list(block(continuous), 2));
    let own = prop::option::of(numbers(continuous));
    (network, training(continuous), own).prop_map(|(network, training, own)| Space {
        network,
        training,
        hyperparameters: own
            .map(|setting| {
                let setting = match setting {
                    Setting::Fixed(number) => Setting::Fixed(Value::Real(number)),
                    Setting::Decide(domain) => Setting::Decide(domain),
                };
                BTreeMap::from([("own".to_owned(), setting)])
            })
            .unwrap_or_default(),
    })
}
