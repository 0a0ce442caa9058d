//! Names in the count of a space: what they stand for, and how arguments take the place of parameters.

use std::collections::BTreeMap;

use super::Space;
use super::block::CELL_STRIDE;
use super::domain::Domain;
use super::setting::Setting;
use super::size::values_of;
use super::tally::Tally;
use super::ways::{Number, Thing, Touched, touch};
use crate::candidate::Value;

/// The arguments of a use, by parameter.
type Arguments = BTreeMap<String, Setting<Value>>;

/// What names mean in a place.
#[derive(Clone, Copy)]
pub(super) enum Frame<'a> {
    /// In a definition's blocks: its arguments, and ties.
    Use(&'a Arguments),
    /// On an edge of a cell: the stride, and what is around it.
    Edge,
}

/// What a name stands for.
pub(super) enum Meaning<'a> {
    /// A fixed value.
    Fixed(&'a Value),
    /// The decision of a tie.
    Tie(&'a str, &'a Domain),
    /// The decision of an argument.
    Local(&'a Domain),
    /// The stride on an edge of a cell, or nothing at all in a damaged space.
    Other,
}

/// What `name` stands for within `frames`, the innermost first.
pub(super) fn meaning<'a>(
    space: &'a Space,
    frames: impl Iterator<Item = Frame<'a>>,
    name: &'a str,
) -> Meaning<'a> {
    let mut name = name;
    for frame in frames {
        match frame {
            Frame::Edge if name == CELL_STRIDE => return Meaning::Other,
            Frame::Edge => {}
            Frame::Use(with) => match with.get(name) {
                None => break,
                Some(Setting::Fixed(value)) => return Meaning::Fixed(value),
                Some(Setting::Decide(domain)) => return Meaning::Local(domain),
                Some(Setting::Named(outer)) => name = outer,
            },
        }
    }
    match space.tie.get_key_value(name) {
        Some((_, Setting::Fixed(value))) => Meaning::Fixed(value),
        Some((name, Setting::Decide(domain))) => Meaning::Tie(name, domain),
        Some((_, Setting::Named(_))) | None => Meaning::Other,
    }
}

/// A tally outside of an edge, where the stride is no name any more.
pub(super) fn without_stride(mut edge: Tally) -> Tally {
    if edge.names.remove(CELL_STRIDE).is_some() {
        let stride = Thing::Name(CELL_STRIDE.into());
        edge.ways = edge.ways.renamed(|touched| {
            let mut touched = touched.clone();
            touched.remove(&stride);
            Some((touched, Number::ONE))
        });
    }
    edge
}

/// The tally of a definition's blocks where they are used: arguments in the place of parameters.
pub(super) fn substituted(mut inside: Tally, with: &Arguments) -> Tally {
    if inside.ways.spent {
        // The one number may touch every parameter.
        let read = inside.names.keys().filter_map(|name| with.get(&**name));
        let factor =
            (read.filter_map(Setting::domain).map(values_of)).fold(Number::ONE, Number::times);
        inside.ways = inside.ways.times(factor);
    } else if !inside.names.is_empty() {
        inside.ways = (inside.ways).renamed(|touched| ways_with(touched, with));
    }
    for (name, steers) in std::mem::take(&mut inside.names) {
        match with.get(&*name) {
            None | Some(Setting::Fixed(_)) => {}
            Some(Setting::Named(outer)) => {
                *inside.names.entry(outer.as_str().into()).or_default() |= steers;
            }
            Some(Setting::Decide(domain)) => add_decision(&mut inside, domain),
        }
    }
    inside
}

/// What is touched with arguments in the place of parameters, and how often because of them.
fn ways_with(touched: &Touched, with: &Arguments) -> Option<(Touched, Number)> {
    let (mut renamed, mut factor) = (Touched::new(), Number::ONE);
    for (thing, value) in touched {
        let argument = match thing {
            Thing::Name(name) => with.get(&**name),
            Thing::Shared(_) => None,
        };
        match argument {
            None => touch(&mut renamed, thing.clone(), *value)?,
            Some(Setting::Fixed(_)) => {}
            Some(Setting::Named(outer)) => {
                touch(&mut renamed, Thing::Name(outer.as_str().into()), *value)?;
            }
            // Counted once for each value where the value matters, else for all of them here.
            Some(Setting::Decide(_)) if value.is_some() => {}
            Some(Setting::Decide(domain)) => factor = factor.times(values_of(domain)),
        }
    }
    Some((renamed, factor))
}

pub(super) fn add_decision(tally: &mut Tally, domain: &Domain) {
    tally.decisions = tally.decisions.saturating_add(1);
    let continuous = u64::from(domain.count().is_none());
    tally.continuous = tally.continuous.saturating_add(continuous);
}
