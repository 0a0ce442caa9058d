//! What the readers of every part share: places with their paths, collected mistakes, maps checked
//! against their table, and scalars that may be decisions. A reader that meets a mistake records it and
//! goes on with a stand-in, so that one run finds all of them; nothing read is used once one is recorded.

use super::error::{SpecError, SpecErrors, nearest};
use super::scalar::Kind;
use super::words::{Key, Shape, Table};
use super::yaml::{self, Node, Place};
use crate::candidate::Value;
use crate::space::{Scalar, Setting};

/// The most mistakes that are collected: enough to work on, few enough to read.
const MAX_ERRORS: usize = 50;

/// Collects the mistakes of one document.
pub(super) struct Reader<'f> {
    file: &'f str,
    errors: Vec<SpecError>,
}

/// A part of the document with its path.
#[derive(Clone, Debug)]
pub(super) struct At<'n> {
    pub(super) node: &'n Node,
    pub(super) place: Place,
    pub(super) path: String,
}

impl<'n> At<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        Self {
            node,
            place: node.place,
            path: String::new(),
        }
    }

    pub(super) fn child(&self, node: &'n Node, step: &str) -> Self {
        Self {
            node,
            place: node.place,
            path: join(&self.path, step),
        }
    }

    /// Nothing, in this place: what follows a word that stands alone.
    pub(super) fn nothing(&self) -> At<'static> {
        static NOTHING: Node = Node {
            place: Place { line: 1, column: 1 },
            kind: yaml::Kind::Scalar {
                text: String::new(),
                plain: true,
            },
        };
        At {
            node: &NOTHING,
            place: self.place,
            path: self.path.clone(),
        }
    }

    /// The items of a list; `None` when this is none.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        let yaml::Kind::List(items) = &self.node.kind else {
            return None;
        };
        let item = |(index, node): (usize, &'n Node)| Self {
            node,
            place: node.place,
            path: format!("{}[{index}]", self.path),
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The entries of a map; `None` when this is none.
    pub(super) fn entries(&self) -> Option<Vec<(&'n yaml::Key, Self)>> {
        let yaml::Kind::Map(entries) = &self.node.kind else {
            return None;
        };
        Some(
            entries
                .iter()
                .map(|(key, node)| (key, self.child(node, &key.text)))
                .collect(),
        )
    }

    /// The text of a scalar, and whether it is plain; `None` when this is none.
    pub(super) fn scalar(&self) -> Option<(&'n str, bool)> {
        match &self.node.kind {
            yaml::Kind::Scalar { text, plain } => Some((text, *plain)),
            _ => None,
        }
    }
}

pub(super) fn join(path: &str, step: &str) -> String {
    // Keys are of any length and content; a path stays a line.
    let step: String = step.chars().take(64).flat_map(char::escape_debug).collect();
    if path.is_empty() {
        step
    } else {
        format!("{path}.{step}")
    }
}

/// The entries of a map that follows a table.
pub(super) struct Fields<'n> {
    table: &'static Table,
    place: Place,
    entries: Vec<(&'n yaml::Key, At<'n>)>,
}

impl<'n> Fields<'n> {
    /// The entry `key`, if it is given.
    pub(super) fn get(&self, key: &str) -> Option<&At<'n>> {
        self.entries
            .iter()
            .find_map(|(given, at)| (given.text == key).then_some(at))
    }

    /// Where the map begins.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.table.keys.iter().find(|key| key.name == name)
    }
}

impl<'f> Reader<'f> {
    pub(super) fn new(file: &'f str) -> Self {
        Self {
            file,
            errors: Vec::new(),
        }
    }

    /// The mistakes, in the order of the text.
    pub(super) fn errors(mut self) -> SpecErrors {
        if self.errors.is_empty() {
            // A reader that gives nothing has said why; this keeps the promise of at least one error.
            let place = Place { line: 1, column: 1 };
            self.error(place, "", "this is not a spec");
        }
        self.errors.sort_by_key(|error| (error.line, error.column));
        SpecErrors(self.errors)
    }

    /// How many mistakes are recorded so far.
    pub(super) fn mistakes(&self) -> usize {
        self.errors.len()
    }

    pub(super) fn error(&mut self, place: Place, path: &str, message: impl Into<String>) {
        self.error_near(place, path, message, None);
    }

    /// Records a mistake about the whole of `at`.
    pub(super) fn wrong(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.error_near(at.place, &at.path, message, None);
    }

    pub(super) fn error_near(
        &mut self,
        place: Place,
        path: &str,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(SpecError {
                file: self.file.to_owned(),
                line: place.line,
                column: place.column,
                path: path.to_owned(),
                message: message.into(),
                suggestion,
            });
        }
    }

    /// The entries of the map at `at`, checked against `table`: no unknown key, none missing. Nothing at
    /// all counts as an empty map.
    pub(super) fn fields<'n>(&mut self, at: &At<'n>, table: &'static Table) -> Fields<'n> {
        let entries = match at.entries() {
            Some(entries) => entries,
            None if at.node.is_null() => Vec::new(),
            None => {
                let keys: Vec<_> = table.keys.iter().map(|key| key.name).collect();
                self.wrong(
                    at,
                    format!("a map is expected here, with {}", either(&keys)),
                );
                return Fields {
                    table,
                    place: at.place,
                    entries: Vec::new(),
                };
            }
        };
        // A required key that a misspelt one stands for is not missing as well.
        let mut meant = Vec::new();
        for (key, entry) in &entries {
            let mut known = table.keys.iter().map(|key| key.name);
            if !known.any(|name| name == key.text) {
                let names = table.keys.iter().map(|key| key.name);
                meant.extend(self.unknown(key.place, &entry.path, &key.text, names));
            }
        }
        let fields = Fields {
            table,
            place: at.place,
            entries,
        };
        for key in table.keys.iter().filter(|key| key.required) {
            if fields.get(key.name).is_none() && !meant.iter().any(|name| name == key.name) {
                self.wrong(at, format!("`{}` is missing", key.name));
            }
        }
        fields
    }

    /// Records an unknown key, with the nearest known one (which is given back), or all of them when none
    /// is near.
    pub(super) fn unknown<'w>(
        &mut self,
        place: Place,
        path: &str,
        key: &str,
        known: impl Iterator<Item = &'w str> + Clone,
    ) -> Option<String> {
        let suggestion = nearest(key, known.clone());
        let message = if suggestion.is_some() {
            "unknown key".to_owned()
        } else if key == "fidelity" {
            "`fidelity` is not offered yet: every trial gets the full `epochs`".to_owned()
        } else {
            let known: Vec<_> = known.collect();
            format!("unknown key; {} can stand here", either(&known))
        };
        self.error_near(place, path, message, suggestion.clone());
        suggestion
    }

    /// One scalar of `kind`.
    pub(super) fn value(&mut self, at: &At<'_>, kind: Kind) -> Option<Value> {
        let Some((text, plain)) = at.scalar() else {
            self.wrong(at, "one value is expected here, not a list or a map");
            return None;
        };
        match kind.read(text, plain) {
            Ok(value) => Some(value),
            Err(message) => {
                let suggestion = nearest(text, kind.words());
                self.error_near(at.place, &at.path, message, suggestion);
                None
            }
        }
    }

    /// The scalar of `key`, if it is given and right.
    pub(super) fn scalar<T: Scalar>(&mut self, fields: &Fields<'_>, key: &str) -> Option<T> {
        let at = fields.get(key)?;
        let kind = match fields.key(key)?.value {
            Shape::Scalar(kind) => kind,
            Shape::Decision(_) | Shape::Structure(_) => return None,
        };
        if is_decision(at) {
            self.wrong(at, format!("`{key}` cannot be a decision; give one value"));
            return None;
        }
        self.value(at, kind).and_then(|value| T::from_value(&value))
    }

    /// The text of `key`, if it is given and right.
    pub(super) fn text(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        match self.scalar::<Value>(fields, key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The scalar or decision of `key`, if it is given and right.
    pub(super) fn setting<T: Scalar>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
    ) -> Option<Setting<T>> {
        let at = fields.get(key)?;
        match fields.key(key)?.value {
            Shape::Decision(kind) => self.setting_at(at, kind),
            Shape::Scalar(_) | Shape::Structure(_) => None,
        }
    }

    /// The same, or `default`.
    pub(super) fn setting_or<T: Scalar>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        default: T,
    ) -> Setting<T> {
        self.setting(fields, key).unwrap_or(Setting::Fixed(default))
    }

    /// A scalar of `kind`, or a decision among such.
    pub(super) fn setting_at<T: Scalar>(&mut self, at: &At<'_>, kind: Kind) -> Option<Setting<T>> {
        if at.entries().is_some() {
            return self.domain(at, kind).map(Setting::Decide);
        }
        let value = self.value(at, kind)?;
        T::from_value(&value).map(Setting::Fixed)
    }
}

/// Whether `at` is written as a decision.
pub(super) fn is_decision(at: &At<'_>) -> bool {
    at.entries().is_some_and(|entries| {
        entries
            .iter()
            .any(|(key, _)| key.text == "choice" || key.text == "range")
    })
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn either(words: &[&str]) -> String {
    match words {
        [] => "no key".to_owned(),
        [only] => format!("`{only}`"),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
    }
}
