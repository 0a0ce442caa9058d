//! Reads the layers of a network.

use super::reader::{Fields, Reader};
use crate::candidate::Value;
use crate::network::Activation;
use crate::space::{Groups, Layer, Pool, Scalar, Setting};

impl Reader<'_> {
    /// The layer of a word that has settings.
    pub(super) fn settings_layer(&mut self, word: &str, fields: &Fields<'_>) -> Option<Layer> {
        Some(match word {
            "conv" => self.conv(fields),
            "linear" => Layer::Linear {
                features: self.setting(fields, "features")?,
                bias: self.setting_or(fields, "bias", true),
            },
            "max_pool" => Layer::MaxPool(self.pool(fields)),
            "avg_pool" => Layer::AvgPool(self.pool(fields)),
            "dropout" => Layer::Dropout {
                rate: self.setting(fields, "rate")?,
            },
            _ => return None,
        })
    }

    fn conv(&mut self, fields: &Fields<'_>) -> Layer {
        Layer::Conv {
            channels: self.setting(fields, "channels"),
            kernel: self.setting_or(fields, "kernel", 3),
            stride: self.setting_or(fields, "stride", 1),
            padding: self.setting(fields, "padding"),
            groups: self.setting_or(fields, "groups", Groups::Count(1)),
            dilation: self.setting_or(fields, "dilation", 1),
            bias: self.setting(fields, "bias"),
        }
    }

    fn pool(&mut self, fields: &Fields<'_>) -> Pool {
        Pool {
            kernel: self.setting_or(fields, "kernel", 2),
            stride: self.setting(fields, "stride"),
            padding: self.setting(fields, "padding"),
        }
    }
}

/// The layer of a word that has no settings.
pub(super) fn layer_of_word(word: &str) -> Option<Layer> {
    match word {
        "batch_norm" => Some(Layer::BatchNorm),
        "global_avg_pool" => Some(Layer::GlobalAvgPool),
        "flatten" => Some(Layer::Flatten),
        _ => Activation::from_value(&Value::Text(word.to_owned()))
            .map(|activation| Layer::Activation(Setting::Fixed(activation))),
    }
}

/// How a layer that needs settings is written.
pub(super) fn layer_example(word: &str) -> &'static str {
    match word {
        "linear" => "`linear: {features: classes}`",
        "dropout" => "`dropout: {rate: 0.1}`",
        _ => "`activation: {choice: [relu, silu]}`",
    }
}
