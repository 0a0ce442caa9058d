//! What is written in a node: the operation with its settings, and what kind it is. Reads an operation
//! through its JSON, which evaluators get too, so that a new operation is drawn with all its settings
//! without a line here. Imports the network and serde_json.

use espalier_common::network::{Op, Shape};
use serde_json::{Map, Value};

/// Kinds of operations; each has a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// What goes in and what comes out.
    Ends,
    /// Holds the weights: convolutions, affine maps, embeddings.
    Weights,
    /// Looks at a whole sequence.
    Sequence,
    /// Normalisation.
    Norm,
    /// Functions element by element.
    Activation,
    /// Makes the shape smaller or another one.
    Shape,
    /// Brings several inputs together.
    Join,
    /// Does nothing when the network is used: regularisation, identity, zeros.
    Quiet,
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// The operation.
    pub(super) title: String,
    /// Its settings.
    pub(super) settings: String,
    /// Its kind.
    pub(super) kind: Kind,
}

/// The words for an operation.
pub(super) fn words(op: &Op) -> Words {
    let name = op.name();
    let settings = match serde_json::to_value(op) {
        Ok(Value::Object(mut object)) => object.remove(name).unwrap_or(Value::Null),
        _ => Value::Null,
    };
    let (title, settings) = match settings {
        Value::Object(fields) => with_settings(name, &Fields(&fields)),
        Value::Null => (plain(name), Vec::new()),
        // A single word: the function of an activation.
        Value::String(word) => (plain(&word), Vec::new()),
        other => (plain(name), vec![text(&other)]),
    };
    Words {
        title,
        settings: settings.join(", "),
        kind: kind(name),
    }
}

/// A shape as short as it is clear: `16×28×28`.
pub(super) fn shape(shape: &Shape) -> String {
    let lengths: Vec<String> = shape
        .0
        .iter()
        .map(|(_, length)| length.to_string())
        .collect();
    lengths.join("×")
}

fn kind(name: &str) -> Kind {
    match name {
        "input" => Kind::Ends,
        "attention" | "lstm" | "gru" | "positional_encoding" => Kind::Sequence,
        "add" | "concat" | "multiply" => Kind::Join,
        "dropout" | "drop_path" | "zero" | "zeros" | "identity" => Kind::Quiet,
        "activation" | "prelu" => Kind::Activation,
        "flatten" | "to_sequence" => Kind::Shape,
        _ if name.ends_with("_norm") => Kind::Norm,
        _ if name.contains("pool") => Kind::Shape,
        _ => Kind::Weights,
    }
}

/// The settings of an operation, by name.
struct Fields<'f>(&'f Map<String, Value>);

impl Fields<'_> {
    fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// `name value`, unless the value is the usual one.
    fn unless(&self, usual: u64, name: &str) -> Option<String> {
        let value = self.number(name);
        (value != usual).then(|| format!("{} {value}", plain(name)))
    }

    /// What goes in and what comes out, once if it is the same.
    fn through(&self, from: &str, to: &str) -> String {
        let (from, to) = (self.number(from), self.number(to));
        if from == to {
            to.to_string()
        } else {
            format!("{from} → {to}")
        }
    }
}

fn with_settings(name: &str, fields: &Fields<'_>) -> (String, Vec<String>) {
    match name {
        "conv1d" | "conv2d" => convolution(name, fields),
        "max_pool1d" | "max_pool2d" | "avg_pool1d" | "avg_pool2d" => pool(name, fields),
        "linear" => {
            let mut settings = vec![fields.through("in_features", "out_features")];
            settings.extend((!fields.flag("bias")).then(|| "no bias".to_owned()));
            (plain(name), settings)
        }
        // The number of channels is in the shape beside it.
        "batch_norm" | "layer_norm" | "prelu" => (plain(name), Vec::new()),
        "group_norm" => (
            plain(name),
            fields.unless(0, "groups").into_iter().collect(),
        ),
        "embedding" => (plain(name), vec![fields.through("vocabulary", "features")]),
        "positional_encoding" => {
            let kind = fields.0.get("kind").map(text);
            (plain(name), kind.into_iter().collect())
        }
        "squeeze_excite" => {
            let squeezed = fields.number("squeezed");
            (plain(name), vec![format!("to {squeezed} channels")])
        }
        "lstm" | "gru" => recurrent(name, fields),
        "attention" => {
            let heads = fields.number("heads");
            let mut settings = vec![format!("{heads} head{}", if heads == 1 { "" } else { "s" })];
            let rate = fields.0.get("dropout").and_then(Value::as_f64);
            settings.extend(
                rate.filter(|rate| *rate > 0.0)
                    .map(|rate| format!("dropout {rate}")),
            );
            settings.extend((!fields.flag("qkv_bias")).then(|| "no qkv bias".to_owned()));
            (plain(name), settings)
        }
        _ => {
            let settings = fields.0.iter();
            let settings = settings.map(|(name, value)| match value {
                Value::Bool(true) => plain(name),
                Value::Bool(false) => format!("no {}", plain(name)),
                value => format!("{} {}", plain(name), text(value)),
            });
            (plain(name), settings.collect())
        }
    }
}

/// `3×3` of a window over images, `3` of one over time.
fn window(name: &str, side: u64) -> String {
    if name.ends_with("1d") {
        side.to_string()
    } else {
        format!("{side}×{side}")
    }
}

fn convolution(name: &str, fields: &Fields<'_>) -> (String, Vec<String>) {
    let (kernel, groups) = (fields.number("kernel"), fields.number("groups"));
    let depthwise = groups > 1 && groups == fields.number("in_channels");
    let word = if depthwise { "depthwise conv" } else { "conv" };
    let mut settings = vec![fields.through("in_channels", "out_channels")];
    settings.extend(fields.unless(1, "stride"));
    settings.extend(fields.unless(1, "dilation"));
    if !depthwise {
        settings.extend(fields.unless(1, "groups"));
    }
    let kept = fields
        .number("dilation")
        .saturating_mul(kernel.saturating_sub(1))
        / 2;
    settings.extend(fields.unless(kept, "padding"));
    settings.extend(fields.flag("bias").then(|| "bias".to_owned()));
    (format!("{word} {}", window(name, kernel)), settings)
}

fn pool(name: &str, fields: &Fields<'_>) -> (String, Vec<String>) {
    let (kernel, stride) = (fields.number("kernel"), fields.number("stride"));
    let word = if name.starts_with("max") {
        "max pool"
    } else {
        "avg pool"
    };
    let usual = if stride < kernel {
        kernel.saturating_sub(1) / 2
    } else {
        0
    };
    let mut settings = vec![format!("stride {stride}")];
    settings.extend(fields.unless(usual, "padding"));
    (format!("{word} {}", window(name, kernel)), settings)
}

fn recurrent(name: &str, fields: &Fields<'_>) -> (String, Vec<String>) {
    let mut settings = vec![fields.through("in_features", "hidden")];
    settings.extend(fields.unless(1, "layers"));
    settings.extend(
        fields
            .flag("bidirectional")
            .then(|| "bidirectional".to_owned()),
    );
    let output = fields.0.get("output").map(text);
    settings.extend(output.map(|output| format!("gives {output}")));
    (plain(name), settings)
}

/// A word of the language as people write it.
fn plain(word: &str) -> String {
    word.replace('_', " ")
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> String {
        let op: Op = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let words = words(&op);
        format!("{:?}: {} | {}", words.kind, words.title, words.settings)
    }

    #[test]
    fn an_operation_says_what_it_is_and_only_what_is_not_usual() {
        let conv = |more: &str| {
            said(&format!(
                r#"{{"conv2d": {{"in_channels": 16, "kernel": 3, "padding": 1, {more}}}}}"#
            ))
        };
        assert_eq!(
            conv(r#""out_channels": 32, "stride": 2, "dilation": 1, "groups": 1, "bias": false"#),
            "Weights: conv 3×3 | 16 → 32, stride 2"
        );
        assert_eq!(
            conv(r#""out_channels": 16, "stride": 1, "dilation": 2, "groups": 16, "bias": true"#),
            "Weights: depthwise conv 3×3 | 16, dilation 2, padding 1, bias"
        );
        assert_eq!(
            said(r#"{"max_pool2d": {"kernel": 3, "stride": 2, "padding": 1}}"#),
            "Shape: max pool 3×3 | stride 2"
        );
        assert_eq!(
            said(r#"{"batch_norm": {"channels": 8}}"#),
            "Norm: batch norm | "
        );
        assert_eq!(
            said(r#"{"activation": "hard_swish"}"#),
            "Activation: hard swish | "
        );
        assert_eq!(said(r#""add""#), "Join: add | ");
        assert_eq!(
            said(r#"{"dropout": {"rate": 0.25}}"#),
            "Quiet: dropout | rate 0.25"
        );
        assert_eq!(
            said(
                r#"{"attention": {"features": 64, "heads": 1, "dropout": 0.1, "qkv_bias": false}}"#
            ),
            "Sequence: attention | 1 head, dropout 0.1, no qkv bias"
        );
        assert_eq!(
            said(
                r#"{"lstm": {"in_features": 32, "hidden": 16, "layers": 2, "bidirectional": true, "output": "last"}}"#
            ),
            "Sequence: lstm | 32 → 16, layers 2, bidirectional, gives last"
        );
        assert_eq!(
            said(r#"{"embedding": {"vocabulary": 20000, "features": 64}}"#),
            "Weights: embedding | 20000 → 64"
        );
    }
}
