//! What an expansion looks up by name: earlier blocks, and shared uses. Both in the same time, however many
//! there are. Imports nothing but settings.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::mem::discriminant;

use foldhash::quality::RandomState;

use super::setting::Setting;
use crate::candidate::Value;

/// The named blocks of the lists around a place, so far, with their marks.
#[derive(Default)]
pub(super) struct Scope<'a> {
    all: Vec<Named<'a>>,
    /// Where the last block of a name stands.
    last: HashMap<&'a str, usize, RandomState>,
}

struct Named<'a> {
    name: &'a str,
    mark: u32,
    /// Where the one before of the same name stands.
    before: Option<usize>,
}

impl<'a> Scope<'a> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn push(&mut self, name: &'a str, mark: u32) {
        let before = self.last.insert(name, self.all.len());
        self.all.push(Named { name, mark, before });
    }

    pub(super) fn truncate(&mut self, len: usize) {
        while self.all.len() > len {
            match self.all.pop() {
                Some(Named {
                    name,
                    before: Some(before),
                    ..
                }) => self.last.insert(name, before),
                Some(Named { name, .. }) => self.last.remove(name),
                None => None,
            };
        }
    }

    /// The mark of the last block of a name that stands at `visible` or later.
    pub(super) fn mark_of(&self, name: &str, visible: usize) -> Option<u32> {
        let at = *self.last.get(name).filter(|at| **at >= visible)?;
        self.all.get(at).map(|named| named.mark)
    }
}

/// A shared use with fixed arguments, which mean the same wherever they are given: the name of the definition,
/// and the arguments.
#[derive(PartialEq)]
pub(super) struct UseOf<'a> {
    name: &'a str,
    with: &'a BTreeMap<String, Setting<Value>>,
}

impl<'a> UseOf<'a> {
    /// `None` when an argument is not fixed.
    pub(super) fn with_fixed(
        name: &'a str,
        with: &'a BTreeMap<String, Setting<Value>>,
    ) -> Option<Self> {
        let is_fixed = with.values().all(|given| given.fixed().is_some());
        is_fixed.then_some(Self { name, with })
    }
}

/// Real numbers of a space are finite, so that each is equal to itself.
impl Eq for UseOf<'_> {}

impl Hash for UseOf<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        for value in self.with.values().filter_map(Setting::fixed) {
            discriminant(value).hash(state);
            match value {
                Value::Boolean(flag) => flag.hash(state),
                Value::Integer(number) => number.hash(state),
                // 0 and -0 are equal.
                Value::Real(number) => (number + 0.0).to_bits().hash(state),
                Value::Text(text) => text.hash(state),
            }
        }
    }
}
