//! The reference in the docs is kept true: its examples are read, and it names every word and key.

use super::schema::tables;
use super::{read, words};

const REFERENCE: &str = include_str!("../../../docs/spec.md");

/// The YAML examples, with the line each begins at.
fn examples() -> Vec<(usize, String)> {
    let mut examples: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (index, line) in REFERENCE.lines().enumerate() {
        match line {
            "```yaml" => {
                inside = true;
                examples.push((index + 1, String::new()));
            }
            "```" => inside = false,
            _ if inside => {
                if let Some((_, text)) = examples.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
            _ => {}
        }
    }
    examples
}

/// An example made a whole spec: blocks become its network, and keys take the place of a usual one's.
fn whole(example: &str) -> String {
    if example.starts_with("name:") {
        return example.to_owned();
    }
    if example.starts_with("- ") {
        return whole(&format!("network:\n{example}"));
    }
    let mut usual = vec![
        "name: x",
        "objectives: [{maximize: accuracy}]",
        "budget: {trials: 1}",
    ];
    if !example.contains("evaluator:") {
        usual.extend([
            "dataset: {format: idx, path: x, validation: 1}",
            "network: [flatten, {linear: {features: classes}}]",
            "training: {epochs: 1}",
        ]);
    }
    let given = |line: &&str| {
        let key = line.split_once(':').map_or("", |(key, _)| key);
        example
            .lines()
            .any(|line| line.starts_with(&format!("{key}:")))
    };
    usual.retain(|line| !given(line));
    format!("{}\n{example}", usual.join("\n"))
}

#[test]
fn every_example_of_the_reference_is_read() {
    let examples = examples();
    assert!(examples.len() > 10);
    for (line, example) in examples {
        if let Err(errors) = read(&whole(&example), "example") {
            panic!("the example in line {line} of docs/spec.md:\n{errors}");
        }
    }
}

#[test]
fn the_reference_names_every_word_and_key() {
    let keys = tables()
        .chain([&words::SPEC, &words::DEFINITION])
        .flat_map(|table| table.keys)
        .map(|key| key.name);
    let beside = words::BESIDE.into_iter();
    for word in words::block_words().chain(keys).chain(beside) {
        let named = [
            format!("`{word}`"),
            format!("{word}: "),
            format!("`{word}:"),
        ];
        assert!(
            named.iter().any(|form| REFERENCE.contains(form)),
            "docs/spec.md does not name {word:?}"
        );
    }
}
