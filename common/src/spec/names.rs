//! Names in a spec: `$name` for parameters and ties, names of blocks whose output is taken elsewhere, and names
//! of definitions. What a name stands for is held to the bounds of every place that uses it.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::{At, MAX_KNOWN, Reader};
use super::scalar::{Kind, shown};
use super::yaml::Place;
use crate::candidate::Value;
use crate::space::{CELL_STRIDE, Domain, PREVIOUS, Setting};

/// The most known names that a message lists.
const MOST_NAMED: usize = 16;

/// What names mean in the place that is being read, and where they were used.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) ties: BTreeMap<String, Tie>,
    /// Ties that could not be read, which has been told: their uses are not wrong as well.
    pub(super) unreadable: BTreeSet<String>,
    pub(super) definitions: BTreeMap<String, Header>,
    /// Definitions whose depth could not be read, which has been told as well.
    pub(super) misread_depths: BTreeSet<String>,
    /// The definition that is being read.
    pub(super) inside: Option<String>,
    /// Cells around the place that is being read, within its definition.
    pub(super) edges: usize,
    /// Named blocks of the lists around the place that is being read, so far.
    outputs: Vec<String>,
    /// From where on they can be seen.
    visible: usize,
    /// Parameters in places for scalars.
    parameters: Vec<ParameterUse>,
    /// Arguments of uses.
    arguments: Vec<Argument>,
    /// Uses of definitions.
    pub(super) uses: Vec<UseOf>,
}

/// A tie, as far as the readers of other parts need it.
#[derive(Debug)]
pub(super) struct Tie {
    pub(super) place: Place,
    pub(super) setting: Setting<Value>,
    pub(super) used: bool,
}

/// A definition, before its blocks are read.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) parameters: Vec<String>,
}

/// A use of a definition.
#[derive(Debug)]
pub(super) struct UseOf {
    pub(super) block: String,
    pub(super) inside: Option<String>,
    pub(super) shared: bool,
    pub(super) place: Place,
    pub(super) path: String,
}

/// A parameter in the place of a scalar.
#[derive(Debug)]
struct ParameterUse {
    definition: String,
    parameter: String,
    kind: Kind,
    place: Place,
}

/// An argument of a use.
#[derive(Debug)]
struct Argument {
    definition: String,
    parameter: String,
    setting: Setting<Value>,
    inside: Option<String>,
    place: Place,
    path: String,
}

/// What a `$name` means.
enum Meaning {
    Stride,
    Parameter(String),
    Tie,
}

impl Names {
    /// Runs in a list of blocks, whose names are seen in it only.
    pub(super) fn open_list(&self) -> usize {
        self.outputs.len()
    }

    pub(super) fn close_list(&mut self, opened: usize) {
        self.outputs.truncate(opened);
    }

    /// Makes the output of a block known to those after it.
    pub(super) fn output(&mut self, name: &str) {
        self.outputs.push(name.to_owned());
    }

    /// Begins to read a definition, which sees nothing of what is around its uses.
    pub(super) fn enter(&mut self, name: &str) {
        self.inside = Some(name.to_owned());
        self.visible = self.outputs.len();
    }

    pub(super) fn leave(&mut self) {
        self.inside = None;
        self.visible = 0;
    }

    fn parameters_here(&self) -> &[String] {
        let header = self
            .inside
            .as_ref()
            .and_then(|name| self.definitions.get(name));
        header.map_or(&[], |header| &header.parameters)
    }
}

impl Reader<'_> {
    /// A `$name` in the place of a scalar of `kind`.
    pub(super) fn named_setting(&mut self, at: &At<'_>, name: &str, kind: Kind) -> Option<String> {
        match self.meaning(at, name)? {
            Meaning::Stride => {
                let strides =
                    Setting::Decide(Domain::Choice(vec![Value::Integer(1), Value::Integer(2)]));
                self.check_named(at.place, &at.path, "stride", &strides, kind, None);
            }
            Meaning::Parameter(definition) => self.names.parameters.push(ParameterUse {
                definition,
                parameter: name.to_owned(),
                kind,
                place: at.place,
            }),
            Meaning::Tie => {
                if let Some(tie) = self.names.ties.get_mut(name) {
                    tie.used = true;
                    let (setting, place) = (tie.setting.clone(), tie.place);
                    self.check_named(at.place, &at.path, name, &setting, kind, Some(place));
                }
            }
        }
        Some(name.to_owned())
    }

    fn meaning(&mut self, at: &At<'_>, name: &str) -> Option<Meaning> {
        let is_parameter = self.names.parameters_here().iter().any(|one| one == name);
        let is_tie = self.names.ties.contains_key(name);
        if self.names.edges > 0 && name == CELL_STRIDE {
            if is_parameter || is_tie {
                self.wrong(at, "on an edge of a cell, `$stride` is the cell's own; give the parameter or tie of this name another one");
                return None;
            }
            return Some(Meaning::Stride);
        }
        if is_parameter {
            return self.names.inside.clone().map(Meaning::Parameter);
        }
        if is_tie {
            return Some(Meaning::Tie);
        }
        if self.names.unreadable.contains(name) {
            return None;
        }
        let parameters = self.names.parameters_here().iter();
        let stride = (self.names.edges > 0).then_some(CELL_STRIDE);
        let names = (parameters.chain(self.names.ties.keys())).chain(&self.names.unreadable);
        let known = names.map(String::as_str).chain(stride);
        let known: Vec<&str> = known.take(MAX_KNOWN).collect();
        let suggestion = self.nearest(name, known.iter().copied());
        let message = if name == CELL_STRIDE {
            "`$stride` is known on the edges of a `cell` only".to_owned()
        } else {
            let what = match &self.names.inside {
                Some(inside) => format!("no parameter of `{inside}` and no tie"),
                None => "no tie".to_owned(),
            };
            let few = known.iter().take(MOST_NAMED);
            let mut few: Vec<String> = few.map(|name| format!("`${name}`")).collect();
            if known.len() > MOST_NAMED {
                few.push("…".to_owned());
            }
            let known = if suggestion.is_none() && !few.is_empty() {
                format!("; known here: {}", few.join(", "))
            } else {
                String::new()
            };
            format!("{what} has the name {}{known}", shown(name))
        };
        let suggestion = suggestion.map(|name| format!("${name}"));
        self.error_near(at.place, &at.path, message, suggestion);
        None
    }

    /// Holds what a name stands for to the bounds of a place.
    fn check_named(
        &mut self,
        place: Place,
        path: impl std::fmt::Display,
        name: &str,
        setting: &Setting<Value>,
        kind: Kind,
        tie: Option<Place>,
    ) {
        if let Err(message) = admits(kind, setting) {
            let origin = tie.map_or_else(String::new, |tie| {
                format!(" (the tie is in {})", self.shown_place(tie, place))
            });
            self.error(
                place,
                path,
                format!("`${name}` does not fit here: {message}{origin}"),
            );
        }
    }

    /// Records an argument of a use, to be held to the bounds of its parameter when all is read.
    pub(super) fn argument(
        &mut self,
        at: &At<'_>,
        definition: &str,
        parameter: &str,
        setting: &Setting<Value>,
    ) {
        self.names.arguments.push(Argument {
            definition: definition.to_owned(),
            parameter: parameter.to_owned(),
            setting: setting.clone(),
            inside: self.names.inside.clone(),
            place: at.place,
            path: at.path.to_string(),
        });
    }

    /// Holds every argument to the bounds of the places where its parameter is used, in the definition itself
    /// and in those that it hands the parameter on to.
    pub(super) fn check_arguments(&mut self) {
        let arguments = std::mem::take(&mut self.names.arguments);
        let places = std::mem::take(&mut self.names.parameters);
        let mut graph = Parameters::default();
        for place in &places {
            let key = (place.definition.as_str(), place.parameter.as_str());
            graph.places.entry(key).or_default().push(place);
        }
        for argument in &arguments {
            if let (Setting::Named(outer), Some(inside)) = (&argument.setting, &argument.inside) {
                let key = (inside.as_str(), outer.as_str());
                let to = (argument.definition.as_str(), argument.parameter.as_str());
                graph.handed_on.entry(key).or_default().push(to);
            }
        }
        let mut reached = BTreeMap::new();
        for argument in &arguments {
            let ties = &self.names.ties;
            let setting = match &argument.setting {
                Setting::Named(name) => {
                    let parameters = argument
                        .inside
                        .as_ref()
                        .and_then(|inside| self.names.definitions.get(inside))
                        .map_or(&[][..], |header| &header.parameters);
                    match ties.get(name).filter(|_| !parameters.contains(name)) {
                        Some(tie) => &tie.setting,
                        // Its own arguments are checked where they are given.
                        None => continue,
                    }
                }
                setting => setting,
            };
            let key = (argument.definition.as_str(), argument.parameter.as_str());
            let places = reached.entry(key).or_insert_with(|| graph.reached(key));
            let wrong = places
                .iter()
                .find_map(|place| Some((place, admits(place.kind, setting).err()?)));
            if let Some((used, message)) = wrong {
                let message = format!(
                    "this does not fit where `{}` uses `${}`, in {}: {message}",
                    used.definition,
                    used.parameter,
                    self.shown_place(used.place, argument.place)
                );
                self.error(argument.place, &argument.path, message);
            }
        }
        self.warn_of_unused(&graph);
    }

    fn warn_of_unused(&mut self, graph: &Parameters<'_>) {
        let mut unused = Vec::new();
        for (name, header) in &self.names.definitions {
            for parameter in &header.parameters {
                let key = (name.as_str(), parameter.as_str());
                if !graph.places.contains_key(&key) && !graph.handed_on.contains_key(&key) {
                    let message = format!("the parameter `{parameter}` of `{name}` is not used");
                    unused.push((header.place, header.path.clone(), message));
                }
            }
            if !self.names.uses.iter().any(|used| used.block == *name) {
                let message = format!("nothing uses the block `{name}`");
                unused.push((header.place, header.path.clone(), message));
            }
        }
        for (name, tie) in self.names.ties.iter().filter(|(_, tie)| !tie.used) {
            let message = format!("nothing uses `${name}`");
            unused.push((tie.place, format!("tie.{name}"), message));
        }
        for (place, path, message) in unused {
            self.warn(place, path, message);
        }
    }

    /// The name of an earlier block whose output is taken.
    pub(super) fn output_name(&mut self, at: &At<'_>) -> Option<String> {
        let Some(Value::Text(name)) = self.value(at, Kind::Name) else {
            return None;
        };
        let seen = &self.names.outputs[self.names.visible..];
        if name == PREVIOUS || seen.contains(&name) {
            return Some(name);
        }
        let known = seen.iter().map(String::as_str).chain([PREVIOUS]);
        let suggestion = self.nearest(&name, known);
        let message = format!(
            "no earlier block that can be seen from here has the name {name:?} (those of this list and of the lists around it, within one definition)"
        );
        self.error_near(at.place, &at.path, message, suggestion);
        None
    }
}

/// Where parameters go, by definition and parameter.
#[derive(Default)]
struct Parameters<'a> {
    places: BTreeMap<(&'a str, &'a str), Vec<&'a ParameterUse>>,
    handed_on: BTreeMap<(&'a str, &'a str), Vec<(&'a str, &'a str)>>,
}

impl<'a> Parameters<'a> {
    /// The places that a parameter reaches, the first of each kind.
    fn reached<'k>(&self, from: (&'k str, &'k str)) -> Vec<&'a ParameterUse>
    where
        'a: 'k,
    {
        let mut seen = BTreeSet::from([from]);
        let mut waiting = vec![from];
        let mut reached: Vec<&ParameterUse> = Vec::new();
        while let Some(key) = waiting.pop() {
            for &place in self.places.get(&key).into_iter().flatten() {
                if reached.iter().all(|other| other.kind != place.kind) {
                    reached.push(place);
                }
            }
            for &next in self.handed_on.get(&key).into_iter().flatten() {
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        reached
    }
}

/// A value as it would be read if it stood alone.
fn as_written(value: &Value) -> Value {
    match *value {
        Value::Real(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Value::Integer(number as i64)
        }
        _ => value.clone(),
    }
}

/// Whether every value of a setting can stand in a place of `kind`.
fn admits(kind: Kind, setting: &Setting<Value>) -> Result<(), String> {
    match setting {
        Setting::Fixed(value) => kind.admits(value),
        Setting::Decide(domain) => match domain {
            Domain::Choice(values) | Domain::Weighted { values, .. } => {
                let refused = |value: &Value| kind.admits(value).err();
                // Whole numbers among others are read as others are, and are not to blame for it.
                let by_itself = |value: &Value| refused(&as_written(value));
                let first = values.iter().find_map(by_itself);
                first
                    .or_else(|| values.iter().find_map(refused))
                    .map_or(Ok(()), Err)
            }
            &Domain::Integer { low, high, .. } => {
                kind.admits(&Value::Integer(low))?;
                kind.admits(&Value::Integer(high))
            }
            &Domain::Real { low, high, .. } => {
                kind.admits(&Value::Real(low))?;
                kind.admits(&Value::Real(high))
            }
        },
        Setting::Named(_) => Ok(()),
    }
}
