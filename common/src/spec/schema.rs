//! The JSON Schema of the spec, made from the tables that the readers follow. It knows every word, kind
//! and bound; what only shows when parts are put together (shapes, counts, names that must differ) is
//! the reader's alone.

use serde_json::{Map, Value as Json, json};

use super::blocks::MAX_BRANCHES;
use super::domains::MAX_ALTERNATIVES;
use super::hyperparameters::DECISION_WORDS;
use super::scalar::{End, Kind, MAX_NAME, MAX_TEXT_VALUE, UNITS};
use super::search::MAX_ITEMS;
use super::words::{
    self, ACTIVATION_WORDS, Argument, OPTIMIZERS, SCHEDULES, SEARCHERS, Shape, Table,
};
use crate::known::MAX_KNOWN;
use crate::labels::MAX_LABELS;

/// The JSON Schema (2020-12) of a spec, for editors.
#[must_use]
pub fn schema() -> Json {
    let mut definitions = Map::new();
    for table in tables() {
        definitions.insert(table.name.to_owned(), of_table(table));
    }
    for (name, definition) in structures() {
        definitions.insert(name.to_owned(), definition);
    }
    let mut schema = of_table(&words::SPEC);
    if let Some(root) = schema.as_object_mut() {
        root.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        root.insert("title".to_owned(), json!("Espalier search spec"));
        root.insert("$defs".to_owned(), Json::Object(definitions));
    }
    schema
}

/// Every table but the root's.
pub(super) fn tables() -> impl Iterator<Item = &'static Table> {
    (TABLES.iter())
        .chain(words::LAYER_TABLES)
        .chain(words::BLOCK_TABLES)
        .copied()
}

static TABLES: [&Table; 18] = [
    &words::DATASET,
    &words::TRAINING,
    &words::SGD,
    &words::ADAMW,
    &words::SCHEDULE,
    &words::EVALUATOR,
    &words::TABLE,
    &words::TABLE_DECISION,
    &words::TABLE_COST,
    &words::RANDOM,
    &words::EVOLUTION,
    &words::OBJECTIVE,
    &words::CONSTRAINT,
    &words::BOUNDS,
    &words::BUDGET,
    &words::WORKER,
    &words::WARM_START,
    &words::WARM_CANDIDATE,
];

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn of_table(table: &Table) -> Json {
    let mut properties = Map::new();
    for key in table.keys {
        properties.insert(key.name.to_owned(), of_key(key));
    }
    let required: Vec<_> = table
        .keys
        .iter()
        .filter(|key| key.required)
        .map(|key| key.name)
        .collect();
    json!({
        "description": table.about,
        "type": if required.is_empty() { json!(["object", "null"]) } else { json!("object") },
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn of_key(key: &words::Key) -> Json {
    let mut property = match key.value {
        Shape::Scalar(kind) => of_kind(kind),
        Shape::Decision(kind) => or_decision(kind),
        Shape::Width(kind) => or_relative(kind),
        Shape::Structure(name) => reference(name),
    };
    if let Some(property) = property.as_object_mut() {
        property.insert("description".to_owned(), json!(key.about));
    }
    property
}

fn of_kind(kind: Kind) -> Json {
    match kind {
        Kind::Count { min, max } => json!({ "anyOf": counts(min, max) }),
        Kind::CountOr { min, max, word } => {
            let mut forms = counts(min, max);
            forms.push(json!({ "const": word }));
            json!({ "anyOf": forms })
        }
        Kind::Number { min, max } => {
            let mut number = json!({ "type": "number" });
            if let Some(number) = number.as_object_mut() {
                let (word, end) = match min {
                    End::Closed(end) => ("minimum", end),
                    End::Open(end) => ("exclusiveMinimum", end),
                };
                number.insert(word.to_owned(), json!(end));
                let (word, end) = match max {
                    End::Closed(end) => ("maximum", end),
                    End::Open(end) => ("exclusiveMaximum", end),
                };
                number.insert(word.to_owned(), json!(end));
            }
            number
        }
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Name => json!({ "type": "string", "pattern": name_pattern() }),
        Kind::Text => json!({ "type": "string", "minLength": 1, "maxLength": MAX_TEXT_VALUE }),
        Kind::Time => json!({ "type": "string", "pattern": time_pattern() }),
        Kind::Moment => {
            json!({ "type": "string", "format": "date-time", "pattern": MOMENT_PATTERN })
        }
        Kind::Any => json!({ "type": ["boolean", "number", "string"] }),
    }
}

/// A whole number, or a size with a suffix.
fn counts(min: u64, max: u64) -> Vec<Json> {
    vec![
        json!({ "type": "integer", "minimum": min, "maximum": max }),
        json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?[kMG]$" }),
    ]
}

/// As in [`crate::labels`].
const LABEL_PATTERN: &str = "^[A-Za-z0-9._/-]{1,64}$";
/// As in RFC 3339; which days a month has, only the reader knows.
const MOMENT_PATTERN: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$";

fn name_pattern() -> String {
    format!("^[A-Za-z0-9_-]{{1,{MAX_NAME}}}$")
}

fn time_pattern() -> String {
    let units: Vec<_> = UNITS.iter().map(|(unit, _)| *unit).collect();
    format!("^[0-9]+(\\.[0-9]+)?({})$", units.join("|"))
}

/// A scalar of `kind`, or a decision among such.
fn or_decision(kind: Kind) -> Json {
    decision(kind, true)
}

/// The same; `named` when a `$name` may stand for it.
fn decision(kind: Kind, named: bool) -> Json {
    let scalar = of_kind(kind);
    let mut forms = vec![
        scalar.clone(),
        json!({
            "type": "object",
            "properties": { "choice": {
                "description": "One of these.",
                "type": "array",
                "items": scalar,
                "minItems": 1,
                "maxItems": MAX_ALTERNATIVES,
                "uniqueItems": true,
            },
            "weights": {
                "description": "How likely each is to be sampled, compared with the others.",
                "type": "array",
                "items": of_kind(words::WEIGHT),
                "minItems": 1,
                "maxItems": MAX_ALTERNATIVES,
            } },
            "required": ["choice"],
            "additionalProperties": false,
        }),
    ];
    if named {
        forms.push(
            json!({ "type": "string", "pattern": format!("^\\$[A-Za-z0-9_-]{{1,{MAX_NAME}}}$") }),
        );
    }
    if let Some((ends, step)) = super::domains::range_kinds(kind) {
        forms.push(json!({
            "type": "object",
            "properties": {
                "range": {
                    "description": "From the first to the second, both included.",
                    "type": "array",
                    "items": number_of(ends),
                    "minItems": 2,
                    "maxItems": 2,
                },
                "scale": of_kind(words::SCALES),
                "step": number_of(step),
            },
            "required": ["range"],
            "additionalProperties": false,
        }));
    }
    json!({ "anyOf": forms })
}

/// A scalar of `kind`, a decision among such, or a multiple of what the input has.
fn or_relative(kind: Kind) -> Json {
    json!({ "anyOf": [or_decision(kind), {
        "type": "object",
        "properties": { "times_input": or_decision(words::TIMES_INPUT) },
        "required": ["times_input"],
        "additionalProperties": false,
    }] })
}

/// The end or step of a range: `Any` is any number there.
fn number_of(kind: Kind) -> Json {
    match kind {
        Kind::Any => json!({ "type": "number" }),
        other => of_kind(other),
    }
}

/// What has a reader of its own.
fn structures() -> impl Iterator<Item = (&'static str, Json)> {
    structures_of_networks()
        .into_iter()
        .chain(structures_of_searches())
}

/// A map of names.
fn named(values: Json) -> Json {
    json!({
        "type": "object",
        "propertyNames": { "pattern": name_pattern() },
        "additionalProperties": values,
        "minProperties": 1,
        "maxProperties": MAX_ITEMS,
    })
}

fn structures_of_networks() -> Vec<(&'static str, Json)> {
    vec![
        (
            "blocks",
            json!({ "type": "array", "items": reference("block") }),
        ),
        (
            "branch_lists",
            json!({ "type": "array", "items": reference("blocks"), "minItems": 2, "maxItems": MAX_BRANCHES }),
        ),
        ("block", json!({ "anyOf": block_forms(&[]) })),
        (
            "body",
            json!({ "anyOf": [reference("blocks"), reference("block")] }),
        ),
        ("definitions", named(definition())),
        (
            "parameters",
            json!({ "type": "array", "items": of_kind(Kind::Name), "maxItems": MAX_ITEMS, "uniqueItems": true }),
        ),
        (
            "arguments",
            json!({
                "type": "object",
                "propertyNames": { "pattern": name_pattern() },
                "additionalProperties": or_decision(Kind::Any),
            }),
        ),
        (
            "weights",
            json!({ "type": "object", "additionalProperties": of_kind(words::WEIGHT) }),
        ),
        (
            "output_names",
            json!({ "type": "array", "items": of_kind(Kind::Name), "minItems": 1, "maxItems": MAX_BRANCHES, "uniqueItems": true }),
        ),
        ("alternatives", alternatives(named(reference("blocks")))),
        ("ties", named(or_decision(Kind::Any))),
        ("hyperparameters", named(reference("hyperparameter"))),
        ("hyperparameter", hyperparameter()),
        ("settings", settings(0, &["object", "null"])),
    ]
}

/// A hyperparameter: a scalar or decision, or one that holds others.
fn hyperparameter() -> Json {
    let mut named = named(reference("settings"));
    if let Some(named) = named.as_object_mut() {
        named.insert("maxProperties".to_owned(), json!(MAX_ALTERNATIVES));
    }
    json!({ "anyOf": [
        or_decision(Kind::Any),
        {
            "description": "One of several alternatives, each with the settings that exist when it is taken.",
            "type": "object",
            "properties": { "choice": named, "weights": reference("weights") },
            "required": ["choice"],
            "additionalProperties": false,
        },
        {
            "description": "These settings, or none of them.",
            "type": "object",
            "properties": { "optional": reference("settings") },
            "required": ["optional"],
            "additionalProperties": false,
        },
        settings(1, &["object"]),
    ] })
}

/// Hyperparameters inside another one: none has the name of a decision.
fn settings(least: usize, types: &[&str]) -> Json {
    json!({
        "type": types,
        "propertyNames": { "pattern": name_pattern(), "not": { "enum": DECISION_WORDS } },
        "additionalProperties": reference("hyperparameter"),
        "minProperties": least,
        "maxProperties": MAX_ITEMS,
    })
}

fn structures_of_searches() -> Vec<(&'static str, Json)> {
    vec![
        ("optimizer", one_or_several(&OPTIMIZERS)),
        ("schedule", one_or_several(&SCHEDULES)),
        ("searcher", json!({ "anyOf": worded(&SEARCHERS) })),
        (
            "evaluator",
            json!({ "anyOf": [of_kind(Kind::Name), reference("evaluator_settings")] }),
        ),
        (
            "table_decisions",
            by_column(json!({ "anyOf": [of_kind(Kind::Text), reference("table_decision")] })),
        ),
        ("table_values", by_column(of_kind(Kind::Any))),
        (
            "table_metrics",
            by_column(json!({ "anyOf": [of_kind(Kind::Text), reference("table_columns")] })),
        ),
        ("table_columns", by_column(of_kind(Kind::Text))),
        (
            "table_input",
            json!({ "type": "array", "items": of_kind(words::LENGTH), "minItems": 1, "maxItems": 3 }),
        ),
        (
            "command",
            json!({ "type": "array", "items": of_kind(Kind::Text), "minItems": 1, "maxItems": MAX_ITEMS }),
        ),
        (
            "objectives",
            json!({
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": { "allOf": [reference("objective"), { "type": "object", "minProperties": 1, "maxProperties": 1 }] },
            }),
        ),
        (
            "constraints",
            json!({
                "type": "array",
                "maxItems": MAX_ITEMS,
                "items": { "allOf": [reference("constraint"), { "type": "object", "minProperties": 1, "maxProperties": 1 }] },
            }),
        ),
        (
            "warm_candidates",
            json!({ "type": "array", "minItems": 1, "maxItems": MAX_KNOWN, "items": reference("warm_candidate") }),
        ),
        (
            "warm_decisions",
            json!({ "type": "object", "additionalProperties": of_kind(Kind::Any) }),
        ),
        (
            "labels",
            json!({
                "type": "object",
                "propertyNames": { "pattern": LABEL_PATTERN },
                "additionalProperties": { "anyOf": [
                    { "type": "string", "pattern": LABEL_PATTERN },
                    { "type": ["boolean", "number"] },
                ] },
                "maxProperties": MAX_LABELS,
            }),
        ),
        (
            "target",
            json!({ "type": "object", "additionalProperties": of_kind(words::TARGET), "minProperties": 1, "maxProperties": 1 }),
        ),
    ]
}

/// A map whose keys are columns, or what stands in them.
fn by_column(values: Json) -> Json {
    json!({
        "type": "object",
        "additionalProperties": values,
        "minProperties": 1,
        "maxProperties": MAX_ITEMS,
    })
}

/// The forms of a block: a bare word, a list, or a map of one word with what may stand beside it, and
/// with `more`.
fn block_forms(more: &[words::Key]) -> Vec<Json> {
    let activations = ACTIVATION_WORDS.map(|word| (word, Argument::Nothing));
    let mut forms = vec![json!({ "enum": bare_words() }), reference("blocks")];
    for (word, argument) in words::worded_blocks().chain(activations) {
        let body = match argument {
            Argument::Nothing => json!({ "type": ["null", "object"], "maxProperties": 0 }),
            Argument::Settings { table, .. } => reference(table.name),
            Argument::Scalar(kind) => or_decision(kind),
            Argument::Alternatives => reference("alternatives"),
            Argument::Blocks => reference("blocks"),
            Argument::Definition => of_kind(Kind::Name),
            Argument::Output => decision(Kind::Name, false),
        };
        let mut properties = Map::from_iter([
            (word.to_owned(), body),
            ("name".to_owned(), of_kind(Kind::Name)),
        ]);
        for key in words::beside(word).iter().chain(more) {
            properties.insert(key.name.to_owned(), of_key(key));
        }
        forms.push(json!({
            "type": "object",
            "properties": properties,
            "required": [word],
            "additionalProperties": false,
        }));
    }
    forms
}

/// A definition: a list of blocks, or one block or `block: [...]` with parameters and depth beside it.
fn definition() -> Json {
    let mut forms = block_forms(words::DEFINITION.keys);
    // A bare word is no definition.
    forms.remove(0);
    let own = of_table(&words::DEFINITION);
    forms.push(json!({ "allOf": [own, { "type": "object", "required": ["block"] }] }));
    json!({ "anyOf": forms })
}

fn bare_words() -> Vec<&'static str> {
    words::block_words()
        .filter(|word| words::argument(word).is_some_and(words::is_bare))
        .collect()
}

fn alternatives(named: Json) -> Json {
    let mut named = named;
    if let Some(named) = named.as_object_mut() {
        named.insert("maxProperties".to_owned(), json!(MAX_ALTERNATIVES));
    }
    json!({ "anyOf": [
        named,
        { "type": "array", "items": { "enum": bare_words() }, "minItems": 1, "maxItems": MAX_ALTERNATIVES, "uniqueItems": true },
    ] })
}

/// The forms of a word that may have settings.
fn worded(known: &[(&'static str, &'static Table)]) -> Vec<Json> {
    let mut forms = vec![json!({ "enum": bare(known) })];
    for (word, table) in known {
        forms.push(json!({
            "type": "object",
            "properties": { *word: reference(table.name) },
            "required": [word],
            "additionalProperties": false,
        }));
    }
    forms
}

/// The words that may stand without settings.
fn bare(known: &[(&'static str, &'static Table)]) -> Vec<&'static str> {
    known
        .iter()
        .filter(|(_, table)| !table.keys.iter().any(|key| key.required))
        .map(|(word, _)| *word)
        .collect()
}

fn one_or_several(known: &[(&'static str, &'static Table)]) -> Json {
    let mut forms = worded(known);
    let properties: Map<_, _> = known
        .iter()
        .map(|(word, table)| ((*word).to_owned(), reference(table.name)))
        .collect();
    let one = worded(known);
    forms.push(json!({
        "type": "object",
        "properties": { "choice": { "anyOf": [
            { "type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1 },
            { "type": "array", "items": { "anyOf": one }, "minItems": 1 },
        ] } },
        "required": ["choice"],
        "additionalProperties": false,
    }));
    json!({ "anyOf": forms })
}
