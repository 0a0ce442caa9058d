//! The part of the traversal that is about layers: asks for the decisions among a layer's settings.

use super::expand::Expansion;
use super::layer::{Features, Groups, Layer, Pool};
use crate::network::Activation;

/// A layer without decisions; `None` stands for the defaults documented at [`Layer`].
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields are those of `Layer`, documented there"
)]
pub enum ResolvedLayer {
    Conv {
        channels: Option<u64>,
        kernel: u64,
        stride: u64,
        padding: Option<u64>,
        groups: Groups,
        dilation: u64,
        bias: Option<bool>,
    },
    Linear {
        features: Features,
        bias: bool,
    },
    BatchNorm,
    Activation(Activation),
    MaxPool {
        kernel: u64,
        stride: Option<u64>,
        padding: Option<u64>,
    },
    AvgPool {
        kernel: u64,
        stride: Option<u64>,
        padding: Option<u64>,
    },
    GlobalAvgPool,
    Dropout {
        rate: f64,
    },
    Flatten,
}

impl Expansion<'_> {
    pub(super) fn layer(&mut self, layer: &Layer) -> ResolvedLayer {
        match layer {
            Layer::Conv {
                channels,
                kernel,
                stride,
                padding,
                groups,
                dilation,
                bias,
            } => ResolvedLayer::Conv {
                channels: self.optional("channels", channels.as_ref()),
                kernel: self.setting("kernel", kernel),
                stride: self.setting("stride", stride),
                padding: self.optional("padding", padding.as_ref()),
                groups: self.setting("groups", groups),
                dilation: self.setting("dilation", dilation),
                bias: self.optional("bias", bias.as_ref()),
            },
            Layer::Linear { features, bias } => ResolvedLayer::Linear {
                features: self.setting("features", features),
                bias: self.setting("bias", bias),
            },
            Layer::BatchNorm => ResolvedLayer::BatchNorm,
            Layer::Activation(activation) => {
                ResolvedLayer::Activation(self.setting("activation", activation))
            }
            Layer::MaxPool(pool) => {
                let (kernel, stride, padding) = self.pool(pool);
                ResolvedLayer::MaxPool {
                    kernel,
                    stride,
                    padding,
                }
            }
            Layer::AvgPool(pool) => {
                let (kernel, stride, padding) = self.pool(pool);
                ResolvedLayer::AvgPool {
                    kernel,
                    stride,
                    padding,
                }
            }
            Layer::GlobalAvgPool => ResolvedLayer::GlobalAvgPool,
            Layer::Dropout { rate } => ResolvedLayer::Dropout {
                rate: self.setting("rate", rate),
            },
            Layer::Flatten => ResolvedLayer::Flatten,
        }
    }

    fn pool(&mut self, pool: &Pool) -> (u64, Option<u64>, Option<u64>) {
        (
            self.setting("kernel", &pool.kernel),
            self.optional("stride", pool.stride.as_ref()),
            self.optional("padding", pool.padding.as_ref()),
        )
    }
}
