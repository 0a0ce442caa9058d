//! Layers in specs: what is read, and what each mistake is answered; the schema agrees.

use super::read;
use super::schema_tests::accepted;

/// A spec with these blocks.
fn spec(blocks: &str) -> String {
    format!(
        "name: x\ndataset: {{format: idx, path: x, validation: 1}}\nnetwork:\n{blocks}\ntraining: {{epochs: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n"
    )
}

const GOOD: [&str; 30] = [
    "conv",
    "conv: {channels: {times_input: 2}}",
    "conv: {channels: {times_input: {choice: [0.5, 2]}}, groups: depthwise}",
    "conv: {channels: {times_input: {range: [1, 6], scale: log}}}",
    "separable_conv",
    "separable_conv: {channels: {choice: [8, 16]}, kernel: 5, stride: 2, padding: 0, dilation: 2, bias: true}",
    "linear: {features: {times_input: 4}}",
    "layer_norm",
    "group_norm: {groups: {choice: [1, 4]}}",
    "prelu",
    "activation: {choice: [mish, softplus, selu, hard_sigmoid]}",
    "adaptive_max_pool: {size: 2}",
    "adaptive_avg_pool: {size: {range: [1, 4]}}",
    "global_max_pool",
    "drop_path: {rate: {range: [0.0, 0.5]}}",
    "squeeze_excite",
    "squeeze_excite: {ratio: 0.5}",
    "to_sequence",
    "patches: {size: 4, features: 32}",
    "embedding: {features: 8}",
    "embedding: {features: 8, vocabulary: 30k}",
    "positional_encoding",
    "positional_encoding: {kind: {choice: [learned, sinusoidal]}}",
    "attention: {heads: 4, dropout: 0.1, qkv_bias: false}",
    "lstm: {hidden: 32, layers: 2, bidirectional: true, output: last}",
    "gru: {hidden: {times_input: 2}, output: {choice: [sequence, last]}}",
    "zero",
    "zero: {channels: {times_input: 2}, stride: 2}",
    "identity",
    "hard_sigmoid",
];

const BAD: [&str; 18] = [
    "conv: {channels: {times_input: 0}}",
    "conv: {channels: {times_input: {choice: []}}}",
    "conv: {channels: {times_input: 2, step: 1}}",
    "conv: {channels: {times_imput: 2}}",
    "conv: {kernel: {times_input: 2}}",
    "linear: {features: {times_input: classes}}",
    "group_norm",
    "adaptive_avg_pool: {size: 0}",
    "global_max_pool: {size: 1}",
    "drop_path: {rate: 1}",
    "squeeze_excite: {ratio: 1.5}",
    "patches: {size: 4}",
    "embedding: {features: 8, vocabulary: date}",
    "positional_encoding: {kind: rotary}",
    "attention: {head: 4}",
    "lstm: {hidden: 8, output: first}",
    "gru: {hidden: 8, layers: 17}",
    "atention: {heads: 4}",
];

#[test]
fn every_layer_is_read_and_fits_the_schema() {
    for layer in GOOD {
        let text = spec(&format!("  - {layer}"));
        if let Err(errors) = read(&text, "x.yaml") {
            panic!("{layer}: {errors}");
        }
        assert!(accepted(&text), "{layer}");
        let spec = read(&text, "x.yaml").unwrap();
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<super::Spec>(&json).unwrap(), spec);
    }
}

#[test]
fn a_mistake_in_a_layer_is_told_with_its_place_and_refused_by_the_schema() {
    let answers: Vec<_> = BAD
        .iter()
        .map(|layer| {
            let text = spec(&format!("  - {layer}"));
            assert!(!accepted(&text), "{layer}");
            match read(&text, "x.yaml") {
                Ok(_) => format!("nothing is wrong with {layer}"),
                Err(errors) => errors.to_string(),
            }
        })
        .collect();
    insta::assert_snapshot!(answers.join("\n"), @r#"
        x.yaml:4:36: network[0].conv.channels.times_input: 0 is too small; it must be more than 0
        x.yaml:4:45: network[0].conv.channels.times_input.choice: a choice has 1 to 1000 values, this one 0
        x.yaml:4:39: network[0].conv.channels.step: unknown key; `times_input` can stand here
        x.yaml:4:23: network[0].conv.channels.times_imput: unknown key; did you mean "times_input"?
        x.yaml:4:20: network[0].conv.kernel: a value is expected here, or a decision: {choice: [...]} or {range: [low, high]}
        x.yaml:4:38: network[0].linear.features.times_input: "classes" is not a number
        x.yaml:4:5: network[0]: `group_norm` needs settings; write `group_norm: {groups: 8}`
        x.yaml:4:31: network[0].adaptive_avg_pool.size: 0 is too small; it must be at least 1
        x.yaml:4:22: network[0].global_max_pool: `global_max_pool` has no settings
        x.yaml:4:23: network[0].drop_path.rate: 1 is too large; it must be less than 1
        x.yaml:4:29: network[0].squeeze_excite.ratio: 1.5 is too large; it must be at most 1
        x.yaml:4:14: network[0].patches: `features` is missing
        x.yaml:4:42: network[0].embedding.vocabulary: "date" is not a whole number of at least 1 (sizes may be written 300k, 2M, 1.5G) (or the word "data"); did you mean "data"?
        x.yaml:4:33: network[0].positional_encoding.kind: "rotary" is not one of learned, sinusoidal
        x.yaml:4:17: network[0].attention.head: unknown key; did you mean "heads"?
        x.yaml:4:31: network[0].lstm.output: "first" is not one of sequence, last
        x.yaml:4:30: network[0].gru.layers: 17 is too large; it must be at most 16
        x.yaml:4:5: network[0].atention: unknown block; did you mean "attention"?
        "#);
}
