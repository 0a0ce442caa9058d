//! What the readers of every part share: places with their paths, collected mistakes, maps checked
//! against their table, and scalars that may be decisions. A reader that meets a mistake records it and
//! goes on with a stand-in, so that one run finds all of them; nothing read is used once one is recorded.

use std::fmt;
use std::rc::Rc;

use super::error::{SpecError, SpecErrors, nearest};
use super::names::Names;
use super::scalar::Kind;
use super::words::{Key, SPEC, Shape, Table};
use super::yaml::{self, Node, Place, Text};
use crate::candidate::Value;
use crate::space::{Scalar, Setting};

/// The most mistakes that are collected: enough to work on, few enough to read.
const MAX_ERRORS: usize = 50;
/// The most known words that a wrong one is compared with: it takes a microsecond with each.
pub(super) const MAX_KNOWN: usize = 2_000;

/// The longest message and the longest path of an error, in bytes: what a text quotes may be of any length.
const MAX_MESSAGE: usize = 600;
const MAX_PATH: usize = 300;

/// Collects the mistakes of one document.
pub(super) struct Reader<'f> {
    file: &'f str,
    errors: Vec<SpecError>,
    warnings: Vec<SpecError>,
    /// Whether another searcher takes the place of the spec's: what that one cannot do is then no mistake.
    pub(super) searcher_is_replaced: bool,
    /// What names mean, and where they are used.
    pub(super) names: Names,
}

/// A part of the document with its path.
#[derive(Clone, Debug)]
pub(super) struct At<'n> {
    pub(super) node: &'n Node<'n>,
    pub(super) place: Place,
    pub(super) path: Path<'n>,
}

/// The path of a part: its steps, shared with the parts around it, so that a part costs one step only. Written
/// out for errors alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Path<'n>(Option<Rc<Step<'n>>>);

#[derive(Debug)]
struct Step<'n> {
    before: Path<'n>,
    to: To<'n>,
}

#[derive(Clone, Copy, Debug)]
enum To<'n> {
    Key(&'n str),
    Index(usize),
}

impl<'n> Path<'n> {
    /// The path of an entry of a map.
    pub(super) fn key(&self, key: &'n str) -> Self {
        self.step(To::Key(key))
    }

    fn step(&self, to: To<'n>) -> Self {
        let before = self.clone();
        Self(Some(Rc::new(Step { before, to })))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(step) = &self.0 else {
            return Ok(());
        };
        step.before.fmt(f)?;
        match step.to {
            To::Index(index) => write!(f, "[{index}]"),
            To::Key(key) => {
                if step.before.0.is_some() {
                    f.write_str(".")?;
                }
                // Keys are of any length and content; a path stays a line.
                key.chars()
                    .take(64)
                    .flat_map(char::escape_debug)
                    .try_for_each(|letter| fmt::Write::write_char(f, letter))
            }
        }
    }
}

impl<'n> At<'n> {
    pub(super) fn root(node: &'n Node<'n>) -> Self {
        Self {
            node,
            place: node.place,
            path: Path::default(),
        }
    }

    /// Nothing, in this place: what follows a word that stands alone.
    pub(super) fn nothing(&self) -> Self {
        static NOTHING: Node<'static> = Node {
            place: Place::START,
            kind: yaml::Kind::Scalar {
                text: std::borrow::Cow::Borrowed(""),
                plain: true,
            },
        };
        At {
            node: &NOTHING,
            place: self.place,
            path: self.path.clone(),
        }
    }

    /// How many items or entries a list or map has.
    pub(super) fn len(&self) -> usize {
        match &self.node.kind {
            yaml::Kind::List(items) => items.len(),
            yaml::Kind::Map(entries) => entries.len(),
            yaml::Kind::Scalar { .. } => 0,
        }
    }

    /// The items of a list; `None` when this is none.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        let yaml::Kind::List(items) = &self.node.kind else {
            return None;
        };
        let item = |(index, node): (usize, &'n Node<'n>)| Self {
            node,
            place: node.place,
            path: self.path.step(To::Index(index)),
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The entries of a map; `None` when this is none.
    pub(super) fn entries(&self) -> Option<Vec<(&'n yaml::Key<'n>, Self)>> {
        let yaml::Kind::Map(entries) = &self.node.kind else {
            return None;
        };
        let entry = |(key, node): &'n (yaml::Key<'n>, Node<'n>)| {
            let at = Self {
                node,
                place: node.place,
                path: self.path.key(&key.text),
            };
            (key, at)
        };
        Some(entries.iter().map(entry).collect())
    }

    /// The text of a scalar, and whether it is plain; `None` when this is none.
    pub(super) fn scalar(&self) -> Option<(&'n str, bool)> {
        match &self.node.kind {
            yaml::Kind::Scalar { text, plain } => Some((text, *plain)),
            _ => None,
        }
    }
}

/// The entries of a map that follows a table.
pub(super) struct Fields<'n> {
    table: &'static Table,
    place: Place,
    entries: Vec<(&'n yaml::Key<'n>, At<'n>)>,
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
            warnings: Vec::new(),
            searcher_is_replaced: false,
            names: Names::default(),
        }
    }

    /// The mistakes, in the order of the text.
    pub(super) fn errors(mut self) -> SpecErrors {
        if self.errors.is_empty() {
            // A reader that gives nothing has said why; this keeps the promise of at least one error.
            self.error(Place::START, "", "this is not a spec");
        }
        SpecErrors(in_order(self.errors))
    }

    /// What is right and yet looks like a mistake, in the order of the text.
    pub(super) fn warnings(self) -> Vec<SpecError> {
        in_order(self.warnings)
    }

    /// How many mistakes are recorded so far.
    pub(super) fn mistakes(&self) -> usize {
        self.errors.len()
    }

    pub(super) fn error(
        &mut self,
        place: Place,
        path: impl fmt::Display,
        message: impl Into<String>,
    ) {
        self.error_near(place, path, message, None);
    }

    /// Records a mistake about the whole of `at`.
    pub(super) fn wrong(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.error_near(at.place, &at.path, message, None);
    }

    /// Records what looks like a mistake.
    pub(super) fn warn(
        &mut self,
        place: Place,
        path: impl fmt::Display,
        message: impl Into<String>,
    ) {
        if self.warnings.len() < MAX_ERRORS {
            let warning = self.entry(place, &path, message.into(), None);
            self.warnings.push(warning);
        }
    }

    pub(super) fn error_near(
        &mut self,
        place: Place,
        path: impl fmt::Display,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        if self.errors.len() < MAX_ERRORS {
            let error = self.entry(place, &path, message.into(), suggestion);
            self.errors.push(error);
        }
    }

    /// The known word nearest to `word`; none any more when there are so many errors that this one is not told.
    pub(super) fn nearest<'w>(
        &self,
        word: &str,
        known: impl IntoIterator<Item = &'w str>,
    ) -> Option<String> {
        let is_told = self.errors.len() < MAX_ERRORS;
        nearest(
            word,
            known.into_iter().take(if is_told { MAX_KNOWN } else { 0 }),
        )
    }

    fn file_of(&self, place: Place) -> String {
        match place.text {
            Text::Spec => self.file.to_owned(),
            Text::Preset(index) => crate::presets::file_name(index),
        }
    }

    /// A place as an error about another one shows it.
    pub(super) fn shown_place(&self, place: Place, from: Place) -> String {
        let line = place.line;
        if place.text == from.text {
            format!("line {line}")
        } else {
            format!("line {line} of {}", self.file_of(place))
        }
    }

    fn entry(
        &self,
        place: Place,
        path: &dyn fmt::Display,
        message: String,
        suggestion: Option<String>,
    ) -> SpecError {
        SpecError {
            file: self.file_of(place),
            line: place.line as usize,
            column: place.column as usize,
            path: cut(path.to_string(), MAX_PATH),
            message: cut(message, MAX_MESSAGE),
            suggestion,
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
        let (mut meant, mut unknown) = (Vec::new(), 0);
        for (key, entry) in &entries {
            let mut known = table.keys.iter().map(|key| key.name);
            if !known.any(|name| name == key.text) {
                let names = table.keys.iter().map(|key| key.name);
                unknown += 1;
                meant.extend(self.unknown(key.place, &entry.path, &key.text, names));
            }
        }
        let fields = Fields {
            table,
            place: at.place,
            entries,
        };
        // An unknown key may stand for a missing one. In the map of the whole spec they are told apart: there
        // are many keys, and most are needed.
        let silent = unknown > meant.len() && table.name != SPEC.name;
        for key in table.keys.iter().filter(|key| key.required && !silent) {
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
        path: impl fmt::Display,
        key: &str,
        known: impl Iterator<Item = &'w str> + Clone,
    ) -> Option<String> {
        let suggestion = self.nearest(key, known.clone());
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
        // Where any text may stand, this is one.
        if let Some(name) = named(at).filter(|_| !matches!(kind, Kind::Text | Kind::Any)) {
            let message = format!(
                "`${name}` cannot stand here, where every candidate has the same value: what a name stands for may \
                 differ between them; write the value itself"
            );
            self.wrong(at, message);
            return None;
        }
        match kind.read(text, plain) {
            Ok(value) => Some(value),
            Err(message) => {
                let suggestion = self.nearest(text, kind.words());
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
            Shape::Decision(_) | Shape::Width(_) | Shape::Structure(_) => return None,
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
            Shape::Decision(kind) | Shape::Width(kind) => self.setting_at(at, kind),
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
        if let Some(name) = named(at) {
            return self.named_setting(at, name, kind).map(Setting::Named);
        }
        let value = self.value(at, kind)?;
        T::from_value(&value).map(Setting::Fixed)
    }
}

/// The name in a `$name`.
pub(super) fn named<'n>(at: &At<'n>) -> Option<&'n str> {
    match at.scalar() {
        Some((text, true)) => text.strip_prefix('$'),
        _ => None,
    }
}

fn in_order(mut all: Vec<SpecError>) -> Vec<SpecError> {
    all.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    all
}

/// A text of at most `most` bytes.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
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
