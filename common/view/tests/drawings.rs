//! The drawings of the docs: each example of a block in `docs/spec.md` and each preset has one in
//! `docs/drawings`, made from the example or preset itself, and the page shows it. `make drawings` makes them
//! anew.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use espalier_common::dataset::DatasetInfo;
use espalier_common::ids::Digest;
use espalier_common::network::{Network, Shape};
use espalier_common::presets;
use espalier_common::space::Space;
use espalier_common::spec;
use espalier_view::draw::{Heading, svg};
use espalier_view::sample::Stream;

/// Set by `make drawings`.
const REMAKE: &str = "ESPALIER_REMAKE_DRAWINGS";
/// Candidates of an example that are looked at for the one that shows most.
const TRIED: usize = 16;

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// What is drawn.
struct Example {
    /// The file of its drawing.
    name: String,
    heading: String,
    /// A part of a spec.
    text: String,
    /// The shape of its images, if it is not about texts.
    channels: u64,
    side: u64,
    /// Candidates that are looked at for the one that shows most.
    tried: usize,
}

/// One for each preset: its first candidate.
fn of_presets() -> Vec<Example> {
    let presets = presets::all().iter();
    presets
        .map(|preset| Example {
            name: format!("preset-{}.svg", preset.name),
            heading: preset.name.to_owned(),
            text: format!("preset: {}\n", preset.name),
            channels: 3,
            side: 32,
            tried: 1,
        })
        .collect()
}

/// The YAML examples between the heading `Blocks` and what cannot be built.
fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let (mut heading, mut number, mut inside) = (String::new(), 0, false);
    let lines = page.lines();
    let blocks = lines.skip_while(|line| *line != "## Blocks").skip(1);
    for line in
        blocks.take_while(|line| !line.starts_with("## ") && !line.contains("cannot be built"))
    {
        if let Some(text) = line.strip_prefix("### ") {
            heading = text.to_owned();
            number = 0;
        } else if line == "```yaml" {
            number += 1;
            let word: String = heading.to_lowercase().replace(' ', "-");
            examples.push(Example {
                name: format!("{word}-{number}.svg"),
                heading: heading.clone(),
                text: String::new(),
                channels: 1,
                side: 28,
                tried: TRIED,
            });
            inside = true;
        } else if line == "```" {
            inside = false;
        } else if inside && let Some(example) = examples.last_mut() {
            example.text.push_str(line);
            example.text.push('\n');
        }
    }
    examples
}

/// An example made a whole spec, with an end that gives the classes where it has none.
fn whole(example: &str) -> String {
    let usual = "name: example\ndataset: {format: idx, path: x, validation: 1}\ntraining: {epochs: 1}\n\
                 objectives: [{maximize: accuracy}]\nbudget: {trials: 1}\n";
    if example.starts_with("- ") {
        let end = if example.contains("features: classes") {
            ""
        } else {
            "- global_avg_pool\n- linear: {features: classes}\n"
        };
        return format!("{usual}network:\n{example}{end}");
    }
    let usual: Vec<&str> = usual
        .lines()
        .filter(|line| {
            let key = line.split(':').next().unwrap();
            if example.starts_with("preset:") && key == "training" {
                return false;
            }
            !example
                .lines()
                .any(|line| line.starts_with(&format!("{key}:")))
        })
        .collect();
    format!("{}\n{example}", usual.join("\n"))
}

/// The largest network among the first candidates of an example: the one that shows most of its words.
fn network(example: &Example) -> (Space, Network) {
    let spec = spec::read(&whole(&example.text), &example.name)
        .unwrap_or_else(|errors| panic!("{}:\n{errors}", example.heading));
    let text = if example.text.starts_with("preset:") {
        presets::find(&example.heading).unwrap().text
    } else {
        &example.text
    };
    let input = if text.contains("embedding") {
        Shape::tokens(64)
    } else {
        Shape::image(example.channels, example.side, example.side)
    };
    let dataset = DatasetInfo {
        reference: spec.dataset.clone().unwrap(),
        fingerprint: Digest::of(b"example"),
        classes: 10,
        vocabulary: input.as_tokens().map(|_| 20_000),
        input,
        train: 1,
        validation: 1,
        test: 1,
    };
    let mut stream = Stream::new(&spec, Some(&dataset), 0);
    let candidates = (0..example.tried).map(|_| {
        let (_, built) = stream
            .feasible()
            .unwrap_or_else(|error| panic!("{}: {error}", example.heading));
        built.network.unwrap()
    });
    // The first one of several that are as large.
    let network = candidates
        .reduce(|most, next| {
            if next.nodes.len() > most.nodes.len() {
                next
            } else {
                most
            }
        })
        .unwrap();
    (spec.space, network)
}

fn drawing(example: &Example) -> String {
    let (space, network) = network(example);
    let heading = Heading {
        title: example.heading.clone(),
        subtitle: "one network of its space".to_owned(),
    };
    svg(&network, Some(&space), &heading).unwrap()
}

#[test]
fn the_drawings_of_the_docs_are_those_of_its_examples() {
    let folder = docs().join("drawings");
    let page = std::fs::read_to_string(docs().join("spec.md")).unwrap();
    let mut examples = examples(&page);
    let headings: BTreeSet<String> = examples.iter().map(|one| one.heading.clone()).collect();
    assert!(
        headings.len() > 8,
        "examples were found of {headings:?} only"
    );
    examples.extend(of_presets());
    // What the page shows is drawn; every word of the language and every preset is shown once at least.
    examples.retain(|one| page.contains(&format!("(drawings/{})", one.name)));
    let presets = presets::all().iter().map(|preset| preset.name.to_owned());
    for word in headings.into_iter().chain(presets) {
        let shown = examples.iter().any(|one| one.heading == word);
        assert!(shown, "docs/spec.md shows no drawing of {word}");
    }
    let remake = std::env::var_os(REMAKE).is_some();
    let mut stale = Vec::new();
    for example in &examples {
        let path = folder.join(&example.name);
        let now = drawing(example);
        if remake {
            std::fs::write(&path, &now).unwrap();
        } else if std::fs::read_to_string(&path).ok().as_ref() != Some(&now) {
            stale.push(example.name.clone());
        }
    }
    let known: BTreeSet<_> = examples.iter().map(|one| one.name.as_str()).collect();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !known.contains(name.as_str()) && remake {
            std::fs::remove_file(folder.join(&name)).unwrap();
        } else if !known.contains(name.as_str()) {
            stale.push(format!("{name} (shown nowhere)"));
        }
    }
    assert!(
        stale.is_empty(),
        "drawings in docs/drawings are not those of the examples any more; run make drawings: {stale:?}"
    );
}
