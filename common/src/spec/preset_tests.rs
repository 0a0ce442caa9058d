//! Presets: every one is a sound space, and a spec can override its parts.

use super::{Spec, read};
use crate::presets;
use crate::space::Size;

/// A spec with a preset and some lines more.
fn spec(preset: &str, more: &str) -> String {
    format!(
        "name: x\npreset: {preset}\ndataset: {{format: idx, path: x, validation: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n{more}"
    )
}

pub(super) fn taken(preset: &str, more: &str) -> Spec {
    read(&spec(preset, more), "x.yaml").unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_preset_is_sound_without_warnings_and_says_what_it_is() {
    for preset in presets::all() {
        let text = spec(preset.name, "");
        let (_, warnings) =
            super::read_warned(&text, "x.yaml").unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(warnings, []);
        assert!(
            preset.about().len() > 40 && preset.about().ends_with('.'),
            "{}",
            preset.about()
        );
        assert_eq!(presets::find(preset.name), Some(preset));
        // What `preset:` takes can also be written out.
        let whole =
            spec(preset.name, preset.text).replace(&format!("preset: {}\n", preset.name), "");
        assert_eq!(read(&whole, "x.yaml").ok(), read(&text, "x.yaml").ok());
    }
}

#[test]
fn the_sizes_of_the_presets_are_those_of_their_papers() {
    let size = |preset: &str| -> Size { taken(preset, "").space.size() };
    // Two cells; in each, nodes with 2 to 5 before them take two, and one of seven operations on both edges.
    let cell = [1_u128, 3, 6, 10]
        .iter()
        .map(|pairs| pairs * 49)
        .product::<u128>();
    assert_eq!(size("darts").candidates, Some(cell * cell));
    assert_eq!(size("darts").continuous, 0);
}

#[test]
fn a_spec_overrides_parts_of_its_preset() {
    let spec = taken(
        "resnet",
        "training: {epochs: 3}\ntie: {inner: 8}\nblocks: {plain: {parameters: [channels, stride], block: [{conv: {channels: $channels, stride: $stride}}]}}",
    );
    assert_eq!(spec.space.training.epochs, 3);
    assert!(
        spec.space.training.optimizer[0].word() == "sgd",
        "the preset's"
    );
    assert_eq!(spec.space.blocks.len(), 3);
    assert_eq!(spec.space.blocks["plain"].body.blocks().len(), 1);
    let own = taken("mlp", "network: [flatten, {linear: {features: classes}}]");
    assert_eq!(own.space.network.map(|blocks| blocks.len()), Some(2));
}

#[test]
fn a_mistake_that_shows_in_a_preset_is_told_with_the_presets_name() {
    let refusal =
        |preset: &str, more: &str| read(&spec(preset, more), "x.yaml").unwrap_err().to_string();
    insta::assert_snapshot!(refusal("resnet", "tie: {inner: 0.5}"), @r#"
        preset resnet:18:30: blocks.bottleneck.block[0].residual[0].conv.channels: `$inner` does not fit here: 0.5 is not a whole number (the tie is in line 6 of x.yaml)
        preset resnet:21:30: blocks.bottleneck.block[0].residual[3].conv.channels: `$inner` does not fit here: 0.5 is not a whole number (the tie is in line 6 of x.yaml)
        "#);
    insta::assert_snapshot!(refusal("resnet", "blocks: {plain: []}"), @r#"
        preset resnet:32:31: blocks.stage.choice.plain[0].with.channels: `plain` has no such parameter
        preset resnet:32:52: blocks.stage.choice.plain[0].with.stride: `plain` has no such parameter
        preset resnet:33:72: blocks.stage.choice.plain[1].repeat.block[0].with.channels: `plain` has no such parameter
        preset resnet:33:93: blocks.stage.choice.plain[1].repeat.block[0].with.stride: `plain` has no such parameter
        "#);
    insta::assert_snapshot!(refusal("resnett", ""), @r#"
        x.yaml:2:9: preset: "resnett" is not one of darts, mlp, resnet; did you mean "resnet"?
        "#);
}
