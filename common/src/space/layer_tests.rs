//! What layers become in a network, told by specs.

use super::lower_tests::{END, infeasible, listing, network, spec};
use super::properties::fashion_mnist;
use super::{Layer, Scalar, Setting, Width};
use crate::candidate::Value;
use crate::dataset::DatasetInfo;
use crate::network::{Network, Shape};

fn tokens(vocabulary: Option<u32>) -> DatasetInfo {
    DatasetInfo {
        input: Shape::tokens(20),
        vocabulary,
        ..fashion_mnist()
    }
}

/// The network of the first candidate on other data.
fn network_on(blocks: &str, data: &DatasetInfo) -> Result<Network, String> {
    let space = spec(blocks).space;
    let built = space.build(&space.first(), Some(data));
    built
        .map_err(|error| error.to_string())
        .map(|built| built.network.unwrap())
}

#[test]
fn layers_of_images_take_their_channels_from_what_comes_in() {
    insta::assert_snapshot!(listing(&network(
        "[{conv: {channels: 8}}, {separable_conv: {channels: 16, kernel: 5, stride: 2}}, batch_norm, layer_norm, {group_norm: {groups: 4}}, mish, prelu, squeeze_excite, {drop_path: {rate: 0.2}}, {drop_path: {rate: 0}}, {zero: {channels: {times_input: 0.5}, stride: 2}}, zero, identity, {adaptive_max_pool: {size: 4}}, {adaptive_avg_pool: {size: 2}}, global_max_pool, {linear: {features: {times_input: 0.3}}}, {linear: {features: classes}}]"
    )), @r#"
        input "input" [] -> 1 channels × 28 height × 28 width
        network[0] {"conv2d":{"in_channels":1,"out_channels":8,"kernel":3,"stride":1,"padding":1,"dilation":1,"groups":1,"bias":true}} [0] -> 8 channels × 28 height × 28 width
        network[1].depthwise {"conv2d":{"in_channels":8,"out_channels":8,"kernel":5,"stride":2,"padding":2,"dilation":1,"groups":8,"bias":false}} [1] -> 8 channels × 14 height × 14 width
        network[1].pointwise {"conv2d":{"in_channels":8,"out_channels":16,"kernel":1,"stride":1,"padding":0,"dilation":1,"groups":1,"bias":false}} [2] -> 16 channels × 14 height × 14 width
        network[2] {"batch_norm":{"channels":16}} [3] -> 16 channels × 14 height × 14 width
        network[3] {"layer_norm":{"channels":16}} [4] -> 16 channels × 14 height × 14 width
        network[4] {"group_norm":{"groups":4,"channels":16}} [5] -> 16 channels × 14 height × 14 width
        network[5] {"activation":"mish"} [6] -> 16 channels × 14 height × 14 width
        network[6] {"prelu":{"channels":16}} [7] -> 16 channels × 14 height × 14 width
        network[7] {"squeeze_excite":{"channels":16,"squeezed":4}} [8] -> 16 channels × 14 height × 14 width
        network[8] {"drop_path":{"rate":0.2}} [9] -> 16 channels × 14 height × 14 width
        network[10] {"zeros":{"channels":8,"stride":2}} [10] -> 8 channels × 7 height × 7 width
        network[11] "zero" [11] -> 8 channels × 7 height × 7 width
        network[13] {"adaptive_max_pool":{"size":4}} [12] -> 8 channels × 4 height × 4 width
        network[14] {"adaptive_avg_pool":{"size":2}} [13] -> 8 channels × 2 height × 2 width
        network[15] "global_max_pool" [14] -> 8 features
        network[16] {"linear":{"in_features":8,"out_features":2,"bias":true}} [15] -> 2 features
        network[17] {"linear":{"in_features":2,"out_features":10,"bias":true}} [16] -> 10 features
        "#);
}

#[test]
fn convolutions_and_pooling_follow_the_axes() {
    let blocks = "[{embedding: {features: 6}}, {positional_encoding: {kind: sinusoidal}}, {conv: {kernel: 3, channels: 8}}, {separable_conv: {}}, {max_pool: {}}, {avg_pool: {kernel: 3, stride: 1}}, {attention: {heads: 2}}, {lstm: {hidden: 5, bidirectional: true}}, {gru: {hidden: {times_input: 0.5}, layers: 2, output: last}}, {linear: {features: classes}}]";
    insta::assert_snapshot!(listing(&network_on(blocks, &tokens(Some(50))).unwrap()), @r#"
        input "input" [] -> 20 time
        network[0] {"embedding":{"vocabulary":50,"features":6}} [0] -> 20 time × 6 features
        network[1] {"positional_encoding":{"kind":"sinusoidal","length":20,"features":6}} [1] -> 20 time × 6 features
        network[2] {"conv1d":{"in_channels":6,"out_channels":8,"kernel":3,"stride":1,"padding":1,"dilation":1,"groups":1,"bias":true}} [2] -> 20 time × 8 features
        network[3].depthwise {"conv1d":{"in_channels":8,"out_channels":8,"kernel":3,"stride":1,"padding":1,"dilation":1,"groups":8,"bias":false}} [3] -> 20 time × 8 features
        network[3].pointwise {"conv1d":{"in_channels":8,"out_channels":8,"kernel":1,"stride":1,"padding":0,"dilation":1,"groups":1,"bias":true}} [4] -> 20 time × 8 features
        network[4] {"max_pool1d":{"kernel":2,"stride":2,"padding":0}} [5] -> 10 time × 8 features
        network[5] {"avg_pool1d":{"kernel":3,"stride":1,"padding":1}} [6] -> 10 time × 8 features
        network[6] {"attention":{"features":8,"heads":2,"dropout":0.0,"qkv_bias":true}} [7] -> 10 time × 8 features
        network[7] {"lstm":{"in_features":8,"hidden":5,"layers":1,"bidirectional":true,"output":"sequence"}} [8] -> 10 time × 10 features
        network[8] {"gru":{"in_features":10,"hidden":5,"layers":2,"bidirectional":false,"output":"last"}} [9] -> 5 features
        network[9] {"linear":{"in_features":5,"out_features":10,"bias":true}} [10] -> 10 features
        "#);
}

#[test]
fn patches_make_an_image_a_sequence() {
    insta::assert_snapshot!(listing(&network(&format!(
        "[{{patches: {{size: 7, features: 12}}}}, positional_encoding, {{residual: [layer_norm, {{attention: {{heads: 3, dropout: 0.1, qkv_bias: false}}}}]}}, {END}]"
    ))), @r#"
        input "input" [] -> 1 channels × 28 height × 28 width
        network[0].conv {"conv2d":{"in_channels":1,"out_channels":12,"kernel":7,"stride":7,"padding":0,"dilation":1,"groups":1,"bias":true}} [0] -> 12 channels × 4 height × 4 width
        network[0].to_sequence "to_sequence" [1] -> 16 time × 12 features
        network[1] {"positional_encoding":{"kind":"learned","length":16,"features":12}} [2] -> 16 time × 12 features
        network[2].residual[0] {"layer_norm":{"channels":12}} [3] -> 16 time × 12 features
        network[2].residual[1] {"attention":{"features":12,"heads":3,"dropout":0.1,"qkv_bias":false}} [4] -> 16 time × 12 features
        network[2].add "add" [5, 3] -> 16 time × 12 features
        network[3] "global_avg_pool" [6] -> 12 features
        network[4] {"linear":{"in_features":12,"out_features":10,"bias":true}} [7] -> 10 features
        "#);
    insta::assert_snapshot!(listing(&network(&format!("[to_sequence, {END}]"))), @r#"
        input "input" [] -> 1 channels × 28 height × 28 width
        network[0] "to_sequence" [0] -> 784 time × 1 features
        network[1] "global_avg_pool" [1] -> 1 features
        network[2] {"linear":{"in_features":1,"out_features":10,"bias":true}} [2] -> 10 features
        "#);
}

#[test]
fn an_embedding_needs_a_vocabulary() {
    let blocks = |what: &str| format!("[{{embedding: {{features: 4{what}}}}}, {END}]");
    let size = |network: Network| network.nodes[1].parameters();
    let given = network_on(&blocks(", vocabulary: 30"), &tokens(None));
    assert_eq!(given.map(size), Ok(120));
    let of_data = network_on(&blocks(""), &tokens(Some(7)));
    assert_eq!(of_data.map(size), Ok(28));
    insta::assert_snapshot!(network_on(&blocks(""), &tokens(None)).unwrap_err(), @"network[0] (embedding): the data set has no vocabulary; give a number, as `vocabulary: 10k`");
    insta::assert_snapshot!(infeasible(&blocks(", vocabulary: 30")), @"network[0] (embedding): it takes tokens (time alone), but its input is 1 channels × 28 height × 28 width");
    insta::assert_snapshot!(network_on(&format!("[conv, {END}]"), &tokens(None)).unwrap_err(), @"network[0] (conv1d): its input is 20 time of tokens; put an `embedding` before it");
}

#[test]
fn a_multiple_of_the_input_is_rounded_and_never_zero() {
    let channels = |blocks: &str| {
        let network = network(&format!("[{blocks}, {END}]"));
        network.nodes[network.nodes.len() - 2].shape.clone()
    };
    let times = |x: &str| {
        channels(&format!(
            "{{conv: {{channels: 10}}}}, {{conv: {{channels: {{times_input: {x}}}}}}}"
        ))
    };
    assert_eq!(times("2"), Shape::features(20));
    assert_eq!(times("0.26"), Shape::features(3));
    assert_eq!(times("0.01"), Shape::features(1));
}

#[test]
fn a_decision_about_a_multiple_has_a_path_of_its_own() {
    let space = spec(&format!(
        "[{{conv: {{name: expand, channels: {{times_input: {{choice: [3, 6]}}}}}}}}, {END}]"
    ))
    .space;
    let all = space.enumerate(10).unwrap();
    let paths: Vec<_> = all[0].0.keys().map(ToString::to_string).collect();
    assert_eq!(paths, ["network.expand.channels.times_input"]);
    assert_eq!(all.len(), 2);
    assert_eq!(space.count().decisions, 1);
    let parameters = |index: usize| {
        let built = space.build(&all[index], Some(&fashion_mnist())).unwrap();
        built.network.unwrap().nodes[1].shape.channels()
    };
    assert_eq!((parameters(0), parameters(1)), (Some(3), Some(6)));
}

#[test]
fn a_batch_norm_of_vectors_is_refused_with_a_batch_size_of_one() {
    let mut spec = spec("[flatten, batch_norm, {linear: {features: classes}}]");
    let first = spec.space.first();
    assert!(spec.space.build(&first, Some(&fashion_mnist())).is_ok());
    spec.space.training.batch_size = Setting::Fixed(1);
    let error = spec.space.build(&first, Some(&fashion_mnist()));
    insta::assert_snapshot!(error.unwrap_err(), @"network[1] (batch_norm): of 784 features and with a batch_size of 1 it has a single value to normalise by");
}

#[test]
fn a_network_that_ends_with_time_is_told_how_to_get_rid_of_it() {
    let end = "{linear: {features: classes}}";
    let ends_with = |end: &str| {
        let blocks = format!("[{{embedding: {{features: 4}}}}, {end}]");
        network_on(&blocks, &tokens(Some(50)))
    };
    insta::assert_snapshot!(ends_with(end).unwrap_err(), @"network (output): the network ends with 20 time × 10 features, but a data set of 10 classes needs 10 features; end it with `global_avg_pool` and `linear: {features: classes}` (or give its last `lstm` or `gru` `output: last`), so that no time is left");
    // What the message says is so.
    assert!(ends_with(&format!("global_avg_pool, {end}")).is_ok());
    let last = format!("{{lstm: {{hidden: 4, output: last}}}}, {end}");
    assert!(ends_with(&last).is_ok());
}

#[test]
fn activation_memory_may_be_bounded() {
    let text = "name: x\ndataset: {format: idx, path: x, validation: 1}\nnetwork: [{conv: {channels: 4}}, relu, global_avg_pool, {linear: {features: classes}}]\ntraining: {epochs: 1}\nobjectives: [{maximize: accuracy}]\nbudget: {trials: 1}\nconstraints: [{activation_bytes: {at_most: 15k}}]\n";
    let spec = crate::spec::read(text, "x.yaml").unwrap();
    let built = spec
        .space
        .build(&spec.space.first(), Some(&fashion_mnist()));
    // The input, four channels after the relu, and their means.
    let violation = spec.constraints[0].check(&built.unwrap()).unwrap_err();
    assert_eq!(violation.actual, (784 + 4 * 784 + 4) * 4);
    insta::assert_snapshot!(violation, @"constraints: activation_bytes is 15696, the spec allows at most 15000");
}

#[test]
fn layers_of_older_journals_are_read() {
    let layers: Vec<Layer> = [
        r#"{"conv":{"channels":{"fixed":16},"kernel":{"fixed":3},"stride":{"fixed":1},"padding":null,"groups":{"fixed":{"count":1}},"dilation":{"fixed":1},"bias":null}}"#,
        r#"{"conv":{"channels":{"decide":{"choice":[16]}},"kernel":{"fixed":3},"stride":{"fixed":1},"padding":null,"groups":{"fixed":"depthwise"},"dilation":{"fixed":1},"bias":{"fixed":true}}}"#,
        r#"{"linear":{"features":{"fixed":"classes"},"bias":{"fixed":true}}}"#,
        r#"{"linear":{"features":{"fixed":{"count":64}},"bias":{"fixed":true}}}"#,
        r#"{"max_pool":{"kernel":{"fixed":2},"stride":null,"padding":null}}"#,
        r#"{"activation":{"fixed":"relu"}}"#,
        r#"{"dropout":{"rate":{"fixed":0.5}}}"#,
        r#""batch_norm""#,
        r#""global_avg_pool""#,
        r#""flatten""#,
    ]
    .iter()
    .map(|json| serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}")))
    .collect();
    assert!(matches!(
        &layers[0],
        Layer::Conv {
            channels: Some(Width::Plain(Setting::Fixed(16))),
            ..
        }
    ));
    for layer in layers {
        let json = serde_json::to_string(&layer).unwrap();
        assert_eq!(serde_json::from_str::<Layer>(&json).unwrap(), layer);
    }
}

#[test]
fn the_words_of_scalars_mean_what_they_say() {
    use crate::network::{Activation, Positions, RecurrentOutput};

    let word = |text: &str| Value::Text(text.to_owned());
    assert_eq!(
        Activation::from_value(&word("mish")),
        Some(Activation::Mish)
    );
    assert_eq!(
        Positions::from_value(&word("sinusoidal")),
        Some(Positions::Sinusoidal)
    );
    assert_eq!(
        RecurrentOutput::from_value(&word("last")),
        Some(RecurrentOutput::Last)
    );
    assert_eq!(Positions::from_value(&word("rotary")), None);
    assert_eq!(Activation::from_value(&Value::Integer(1)), None);
}
