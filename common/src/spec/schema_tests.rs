//! The schema and the reader agree: what the reader takes, the schema takes, and the mistakes of
//! structure are refused by both. Checked by a small validator that knows the schema words in use and
//! fails on any other.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::bad_specs::structure;
use super::scalar::{Kind, is_null};
use super::tests::{change, changes, corpus};
use super::yaml::{self, Node};
use super::{read, schema};
use crate::candidate::Value;

/// What an editor sees of a YAML text.
fn json_of(text: &str) -> Json {
    fn convert(node: &Node<'_>) -> Json {
        match &node.kind {
            yaml::Kind::List(items) => items.iter().map(convert).collect(),
            yaml::Kind::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, node)| (key.text.to_string(), convert(node)));
                Json::Object(entries.collect::<Map<_, _>>())
            }
            yaml::Kind::Scalar { text, plain } => match Kind::Any.read(text, *plain) {
                Ok(Value::Boolean(flag)) => json!(flag),
                Ok(Value::Integer(number)) => json!(number),
                Ok(Value::Real(number)) => json!(number),
                Ok(Value::Text(text)) => json!(text),
                Err(_) if *plain && is_null(text) => Json::Null,
                // A size, say: no number to an editor.
                Err(_) => json!(text),
            },
        }
    }
    convert(&yaml::parse(text, yaml::Text::Spec).unwrap())
}

/// Whether `value` fits `schema`, by the rules of JSON Schema 2020-12.
fn fits(value: &Json, schema: &Json, root: &Json) -> bool {
    let schema = schema.as_object().expect("a schema is an object");
    schema.iter().all(|(word, argument)| match word.as_str() {
        "$schema" | "$defs" | "title" | "description" => true,
        "$ref" => {
            let name = argument.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
            let definition = root["$defs"].get(name);
            fits(
                value,
                definition.unwrap_or_else(|| panic!("no definition {name}")),
                root,
            )
        }
        "anyOf" => argument
            .as_array()
            .unwrap()
            .iter()
            .any(|form| fits(value, form, root)),
        "allOf" => argument
            .as_array()
            .unwrap()
            .iter()
            .all(|form| fits(value, form, root)),
        "not" => !fits(value, argument, root),
        "enum" => argument.as_array().unwrap().contains(value),
        "const" => argument == value,
        "type" => match argument {
            Json::Array(types) => types.iter().any(|name| is_type(value, name)),
            name => is_type(value, name),
        },
        _ => match value {
            Json::Number(number) => number_fits(number.as_f64().unwrap(), word, argument),
            Json::String(text) => text_fits(text, word, argument),
            Json::Array(items) => list_fits(items, word, argument, root),
            Json::Object(entries) => map_fits(entries, word, argument, schema, root),
            Json::Null | Json::Bool(_) => known_word(word),
        },
    })
}

/// A word about values of another type does not apply; an unknown one is a gap of this validator.
fn known_word(word: &str) -> bool {
    const KNOWN: [&str; 17] = [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "pattern",
        "minLength",
        "maxLength",
        "items",
        "minItems",
        "maxItems",
        "uniqueItems",
        "properties",
        "required",
        "additionalProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
    ];
    assert!(
        KNOWN.contains(&word),
        "the validator does not know {word:?}"
    );
    true
}

fn is_type(value: &Json, name: &Json) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("no type {other}"),
    }
}

fn number_fits(number: f64, word: &str, argument: &Json) -> bool {
    let bound = || argument.as_f64().unwrap();
    match word {
        "minimum" => number >= bound(),
        "maximum" => number <= bound(),
        "exclusiveMinimum" => number > bound(),
        "exclusiveMaximum" => number < bound(),
        _ => known_word(word),
    }
}

fn text_fits(text: &str, word: &str, argument: &Json) -> bool {
    match word {
        "pattern" => regex::Regex::new(argument.as_str().unwrap())
            .unwrap()
            .is_match(text),
        "minLength" => text.chars().count() as u64 >= argument.as_u64().unwrap(),
        "maxLength" => text.chars().count() as u64 <= argument.as_u64().unwrap(),
        _ => known_word(word),
    }
}

fn list_fits(items: &[Json], word: &str, argument: &Json, root: &Json) -> bool {
    match word {
        "items" => items.iter().all(|item| fits(item, argument, root)),
        "minItems" => items.len() as u64 >= argument.as_u64().unwrap(),
        "maxItems" => items.len() as u64 <= argument.as_u64().unwrap(),
        "uniqueItems" => items
            .iter()
            .enumerate()
            .all(|(index, item)| !items[..index].contains(item)),
        _ => known_word(word),
    }
}

fn map_fits(
    entries: &Map<String, Json>,
    word: &str,
    argument: &Json,
    schema: &Map<String, Json>,
    root: &Json,
) -> bool {
    match word {
        "properties" => argument.as_object().unwrap().iter().all(|(key, property)| {
            entries
                .get(key)
                .is_none_or(|value| fits(value, property, root))
        }),
        "required" => argument
            .as_array()
            .unwrap()
            .iter()
            .all(|key| entries.contains_key(key.as_str().unwrap())),
        "additionalProperties" => entries
            .iter()
            .filter(|(key, _)| {
                schema
                    .get("properties")
                    .is_none_or(|known| known.get(key).is_none())
            })
            .all(|(_, value)| match argument {
                Json::Bool(allowed) => *allowed,
                other => fits(value, other, root),
            }),
        "propertyNames" => entries.keys().all(|key| fits(&json!(key), argument, root)),
        "minProperties" => entries.len() as u64 >= argument.as_u64().unwrap(),
        "maxProperties" => entries.len() as u64 <= argument.as_u64().unwrap(),
        _ => known_word(word),
    }
}

pub(super) fn accepted(text: &str) -> bool {
    let root = schema();
    fits(&json_of(text), &root, &root)
}

#[test]
fn the_schema_takes_what_the_reader_takes() {
    for text in corpus() {
        assert!(accepted(&text), "{text}");
    }
}

#[test]
fn the_schema_refuses_mistakes_of_structure() {
    for text in structure() {
        assert!(!accepted(&text), "{text}");
    }
}

#[test]
fn every_definition_is_used_and_described() {
    let root = schema();
    let text = root.to_string();
    for (name, definition) in root["$defs"].as_object().unwrap() {
        assert!(
            text.contains(&format!("\"#/$defs/{name}\"")),
            "{name} is used nowhere"
        );
        let described =
            definition.get("description").is_some() || definition.get("properties").is_none();
        assert!(described, "{name} has no description");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_changed_spec_that_the_reader_takes_is_taken_by_the_schema(which: prop::sample::Index, changes in changes()) {
        let corpus = corpus();
        let text = change(&corpus[which.index(corpus.len())], &changes);
        if read(&text, "x.yaml").is_ok() {
            prop_assert!(accepted(&text), "{text}");
        }
    }
}
