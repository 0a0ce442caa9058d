//! The size of a layer: the decisions among its settings.

use super::layer::{Layer, Pool};
use super::size::{of_optional, of_setting};
use super::ways::Tally;

pub(super) fn of_layer(layer: &Layer) -> Tally {
    match layer {
        Layer::Conv {
            channels,
            kernel,
            stride,
            padding,
            groups,
            dilation,
            bias,
        } => of_optional(channels.as_ref())
            .and(of_setting(kernel))
            .and(of_setting(stride))
            .and(of_optional(padding.as_ref()))
            .and(of_setting(groups))
            .and(of_setting(dilation))
            .and(of_optional(bias.as_ref())),
        Layer::Linear { features, bias } => of_setting(features).and(of_setting(bias)),
        Layer::Activation(activation) => of_setting(activation),
        Layer::MaxPool(pool) | Layer::AvgPool(pool) => of_pool(pool),
        Layer::Dropout { rate } => of_setting(rate),
        Layer::BatchNorm | Layer::GlobalAvgPool | Layer::Flatten => Tally::default(),
    }
}

fn of_pool(pool: &Pool) -> Tally {
    of_setting(&pool.kernel)
        .and(of_optional(pool.stride.as_ref()))
        .and(of_optional(pool.padding.as_ref()))
}
