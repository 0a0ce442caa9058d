//! Reads the layers of a network.

use super::reader::{Fields, Reader, is_decision};
use super::words::TIMES_INPUT;
use crate::candidate::Value;
use crate::network::{Activation, Positions, RecurrentOutput};
use crate::space::{Groups, Layer, Scalar, Setting, Vocabulary, Width};

/// Channels in the middle of a `squeeze_excite`, as MobileNetV3 and EfficientNet have them.
const SQUEEZE_RATIO: f64 = 0.25;

impl Reader<'_> {
    /// The layer of a word that has settings.
    pub(super) fn settings_layer(&mut self, word: &str, fields: &Fields<'_>) -> Option<Layer> {
        Some(match word {
            "conv" => self.conv(fields),
            "separable_conv" => self.separable_conv(fields),
            "linear" => Layer::Linear {
                features: self.width(fields, "features")?,
                bias: self.setting_or(fields, "bias", true),
            },
            "group_norm" => Layer::GroupNorm {
                groups: self.setting(fields, "groups")?,
            },
            "max_pool" => Layer::MaxPool {
                kernel: self.setting_or(fields, "kernel", 2),
                stride: self.setting(fields, "stride"),
                padding: self.setting(fields, "padding"),
            },
            "avg_pool" => Layer::AvgPool {
                kernel: self.setting_or(fields, "kernel", 2),
                stride: self.setting(fields, "stride"),
                padding: self.setting(fields, "padding"),
            },
            "adaptive_max_pool" => Layer::AdaptiveMaxPool {
                size: self.setting(fields, "size")?,
            },
            "adaptive_avg_pool" => Layer::AdaptiveAvgPool {
                size: self.setting(fields, "size")?,
            },
            "dropout" => Layer::Dropout {
                rate: self.setting(fields, "rate")?,
            },
            "drop_path" => Layer::DropPath {
                rate: self.setting(fields, "rate")?,
            },
            "squeeze_excite" => Layer::SqueezeExcite {
                ratio: self.setting_or(fields, "ratio", SQUEEZE_RATIO),
            },
            "zero" => Layer::Zero {
                channels: self.width(fields, "channels"),
                stride: self.setting_or(fields, "stride", 1),
            },
            _ => return self.sequence_layer(word, fields),
        })
    }

    /// A layer that makes a sequence, or works on one.
    fn sequence_layer(&mut self, word: &str, fields: &Fields<'_>) -> Option<Layer> {
        Some(match word {
            "patches" => Layer::Patches {
                size: self.setting(fields, "size")?,
                features: self.setting(fields, "features")?,
            },
            "embedding" => Layer::Embedding {
                features: self.setting(fields, "features")?,
                vocabulary: self.setting_or(fields, "vocabulary", Vocabulary::Data),
            },
            "positional_encoding" => Layer::PositionalEncoding {
                kind: self.setting_or(fields, "kind", Positions::Learned),
            },
            "attention" => Layer::Attention {
                heads: self.setting(fields, "heads")?,
                dropout: self.setting_or(fields, "dropout", 0.0),
                qkv_bias: self.setting_or(fields, "qkv_bias", true),
            },
            "lstm" => Layer::Lstm {
                hidden: self.width(fields, "hidden")?,
                layers: self.setting_or(fields, "layers", 1),
                bidirectional: self.setting_or(fields, "bidirectional", false),
                output: self.setting_or(fields, "output", RecurrentOutput::Sequence),
            },
            "gru" => Layer::Gru {
                hidden: self.width(fields, "hidden")?,
                layers: self.setting_or(fields, "layers", 1),
                bidirectional: self.setting_or(fields, "bidirectional", false),
                output: self.setting_or(fields, "output", RecurrentOutput::Sequence),
            },
            _ => return None,
        })
    }

    fn conv(&mut self, fields: &Fields<'_>) -> Layer {
        Layer::Conv {
            channels: self.width(fields, "channels"),
            kernel: self.setting_or(fields, "kernel", 3),
            stride: self.setting_or(fields, "stride", 1),
            padding: self.setting(fields, "padding"),
            groups: self.setting_or(fields, "groups", Groups::Count(1)),
            dilation: self.setting_or(fields, "dilation", 1),
            bias: self.setting(fields, "bias"),
        }
    }

    fn separable_conv(&mut self, fields: &Fields<'_>) -> Layer {
        Layer::SeparableConv {
            channels: self.width(fields, "channels"),
            kernel: self.setting_or(fields, "kernel", 3),
            stride: self.setting_or(fields, "stride", 1),
            padding: self.setting(fields, "padding"),
            dilation: self.setting_or(fields, "dilation", 1),
            bias: self.setting(fields, "bias"),
        }
    }

    /// The width of `key`, if it is given and right: a scalar, a decision, or `{times_input: ...}`.
    fn width<T: Scalar>(&mut self, fields: &Fields<'_>, key: &str) -> Option<Width<T>> {
        let at = fields.get(key)?;
        let entries = at.entries().unwrap_or_default();
        let Some((_, times)) = entries.iter().find(|(key, _)| key.text == "times_input") else {
            if let ([(word, entry), ..], false) = (entries.as_slice(), is_decision(at)) {
                let known = ["times_input", "choice", "range"];
                self.unknown(word.place, &entry.path, &word.text, known.into_iter());
                return None;
            }
            return self.setting(fields, key).map(Width::Plain);
        };
        for (other, entry) in entries.iter().filter(|(key, _)| key.text != "times_input") {
            self.unknown(
                other.place,
                &entry.path,
                &other.text,
                ["times_input"].into_iter(),
            );
        }
        let times_input = self.setting_at(times, TIMES_INPUT)?;
        Some(Width::Relative { times_input })
    }
}

/// The layer of a word that has no settings.
pub(super) fn layer_of_word(word: &str) -> Option<Layer> {
    match word {
        "batch_norm" => Some(Layer::BatchNorm),
        "layer_norm" => Some(Layer::LayerNorm),
        "prelu" => Some(Layer::Prelu),
        "global_max_pool" => Some(Layer::GlobalMaxPool),
        "global_avg_pool" => Some(Layer::GlobalAvgPool),
        "flatten" => Some(Layer::Flatten),
        "to_sequence" => Some(Layer::ToSequence),
        "identity" => Some(Layer::Identity),
        _ => Activation::from_value(&Value::Text(word.to_owned()))
            .map(|activation| Layer::Activation(Setting::Fixed(activation))),
    }
}

/// How a layer that needs settings is written.
pub(super) fn layer_example(word: &str) -> &'static str {
    match word {
        "linear" => "`linear: {features: classes}`",
        "group_norm" => "`group_norm: {groups: 8}`",
        "adaptive_max_pool" => "`adaptive_max_pool: {size: 4}`",
        "adaptive_avg_pool" => "`adaptive_avg_pool: {size: 4}`",
        "dropout" => "`dropout: {rate: 0.1}`",
        "drop_path" => "`drop_path: {rate: 0.1}`",
        "patches" => "`patches: {size: 4, features: 64}`",
        "embedding" => "`embedding: {features: 64}`",
        "attention" => "`attention: {heads: 4}`",
        "lstm" => "`lstm: {hidden: 64}`",
        "gru" => "`gru: {hidden: 64}`",
        _ => "`activation: {choice: [relu, silu]}`",
    }
}
