//! Names in the count of a space: what they stand for, how arguments take the place of parameters, and how
//! shared things are counted once at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Space;
use super::block::{CELL_STRIDE, Use};
use super::domain::Domain;
use super::recursion::uses_of;
use super::setting::Setting;
use super::size::{Counter, of_setting, values_of};
use super::ways::{Given, Number, Tally, Thing, Touched, Ways, touch};
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
    let stride = Thing::Name(CELL_STRIDE.to_owned());
    if edge.touched.remove(&stride) {
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
    let argument = |thing: &Thing| match thing {
        Thing::Name(name) => with.get(name),
        Thing::Shared(..) => None,
    };
    inside.ways = inside.ways.renamed(|touched| {
        let (mut renamed, mut factor) = (Touched::new(), Number::ONE);
        for (thing, value) in touched {
            match argument(thing) {
                None => touch(&mut renamed, thing.clone(), *value)?,
                Some(Setting::Fixed(_)) => {}
                Some(Setting::Named(outer)) => {
                    touch(&mut renamed, Thing::Name(outer.clone()), *value)?;
                }
                // Counted once for each value where the value matters, else for all of them here.
                Some(Setting::Decide(_)) if value.is_some() => {}
                Some(Setting::Decide(domain)) => factor = factor.times(values_of(domain)),
            }
        }
        Some((renamed, factor))
    });
    let mut touched = BTreeSet::new();
    for thing in std::mem::take(&mut inside.touched) {
        match argument(&thing) {
            None => {
                touched.insert(thing);
            }
            Some(Setting::Fixed(_)) => {}
            Some(Setting::Named(outer)) => {
                touched.insert(Thing::Name(outer.clone()));
            }
            Some(Setting::Decide(domain)) => add_decision(&mut inside, domain),
        }
    }
    inside.touched = touched;
    inside
}

fn add_decision(tally: &mut Tally, domain: &Domain) {
    tally.decisions = tally.decisions.saturating_add(1);
    let continuous = u64::from(domain.count().is_none());
    tally.continuous = tally.continuous.saturating_add(continuous);
}

/// A shared use: the thing that it touches, and the tally of its place. Its arguments belong to the place;
/// whether their decisions are made hangs on the shared ones where some of those do not use them: then the
/// count is a bound.
pub(super) fn shared(counter: &Counter<'_>, used: &Use, inside: &Tally) -> (Thing, Tally) {
    let mut given = Vec::with_capacity(used.with.len());
    let mut place = Tally::default();
    for (parameter, setting) in &used.with {
        let thing = Thing::Name(parameter.clone());
        let values = || inside.ways.counts().map(|(touched, _)| touched.get(&thing));
        let meaning = match setting {
            Setting::Fixed(value) => Meaning::Fixed(value),
            Setting::Decide(domain) => Meaning::Local(domain),
            Setting::Named(outer) => counter.meaning(outer),
        };
        given.push((
            parameter.clone(),
            match meaning {
                Meaning::Fixed(value) => Given::Fixed(value.to_string()),
                Meaning::Tie(tie, _) => Given::Tie(tie.to_owned()),
                Meaning::Other => Given::Local(String::new()),
                Meaning::Local(domain) => {
                    let matters = values().any(|value| matches!(value, Some(Some(_))));
                    if inside.touched.contains(&thing) {
                        place = place.and(of_setting(setting));
                        let always = values().all(|value| value.is_some());
                        place.ways.at_most |= matters || !always;
                    }
                    Given::Local(if matters {
                        format!("{domain:?}")
                    } else {
                        String::new()
                    })
                }
            },
        ));
    }
    let thing = Thing::Shared(used.block.clone(), given);
    let place = place.and(Tally {
        ways: Ways::touching(thing.clone(), None),
        touched: [thing.clone()].into(),
        blocks: inside.blocks,
        nesting: inside.nesting,
        ..Tally::default()
    });
    (thing, place)
}

/// The tally of the whole space: every shared thing is counted once, for the assignments that touch it.
pub(super) fn closed(space: &Space, known: &HashMap<Thing, Tally>, mut tally: Tally) -> Tally {
    // Each definition is counted at most once, even in a damaged space where they use each other in a ring.
    for _ in 0..=space.blocks.len() {
        let pending: BTreeSet<String> = tally.touched.iter().filter_map(shared_name).collect();
        let inside_another = |name: &&String| {
            let mut others = pending.iter().filter(|other| other != name);
            others.any(|other| reaches(space, other, name))
        };
        let Some(next) = pending.iter().find(|name| !inside_another(name)) else {
            break;
        };
        tally = opened(next, known, tally);
    }
    close_ties(space, tally)
}

fn shared_name(thing: &Thing) -> Option<String> {
    match thing {
        Thing::Shared(name, _) => Some(name.clone()),
        Thing::Name(_) => None,
    }
}

/// Whether the blocks of definition `from` use definition `to`, directly or not.
fn reaches(space: &Space, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(name) = waiting.pop() {
        let Some(definition) = space.blocks.get(name).filter(|_| seen.insert(name)) else {
            continue;
        };
        for used in uses_of(definition.body.blocks()) {
            if used.block == to {
                return true;
            }
            waiting.push(&used.block);
        }
    }
    false
}

/// The tally with the shared decisions of definition `name` counted.
fn opened(name: &str, known: &HashMap<Thing, Tally>, mut tally: Tally) -> Tally {
    let of_name: Vec<Thing> = tally
        .touched
        .iter()
        .filter(|thing| matches!(thing, Thing::Shared(other, _) if other == name))
        .cloned()
        .collect();
    let bodies: Vec<&Tally> = of_name
        .iter()
        .filter_map(|thing| known.get(thing))
        .collect();
    let alike = bodies
        .windows(2)
        .all(|pair| pair[0].ways.same_counts(&pair[1].ways));
    if alike {
        let body = bodies.first().map(|body| (*body).clone());
        return opened_group(&of_name, body.unwrap_or_default(), tally);
    }
    // Arguments that change what there is to decide: counted as if each of them had its own decisions.
    tally.ways.at_most = true;
    for (thing, body) in of_name.iter().zip(bodies) {
        tally = opened_group(std::slice::from_ref(thing), body.clone(), tally);
    }
    tally
}

/// Puts the decisions of `body`, made once, in the place of all `things`.
fn opened_group(things: &[Thing], mut body: Tally, mut tally: Tally) -> Tally {
    tally.ways.bound(&mut body.ways);
    let mut ways = Ways::none();
    ways.at_most = tally.ways.at_most || body.ways.at_most;
    for (touched, number) in tally.ways.counts() {
        let (here, rest): (Touched, Touched) = touched
            .clone()
            .into_iter()
            .partition(|(thing, _)| things.contains(thing));
        if here.is_empty() {
            ways.add(rest, *number);
            continue;
        }
        for (inside, count) in body.ways.counts() {
            let mut all = rest.clone();
            if touch_given(&mut all, inside, here.keys()).is_some() {
                ways.add(all, number.times(*count));
            }
        }
    }
    tally.ways = ways;
    tally.decisions = tally.decisions.saturating_add(body.decisions);
    tally.continuous = tally.continuous.saturating_add(body.continuous);
    for thing in things {
        tally.touched.remove(thing);
        tally.touched.extend(
            body.touched
                .iter()
                .filter_map(|touched| outside(touched, thing)),
        );
    }
    tally
}

/// Touches what `inside` touches, as it is called outside of each of the shared uses.
fn touch_given<'t>(
    touched: &mut Touched,
    inside: &Touched,
    uses: impl Iterator<Item = &'t Thing>,
) -> Option<()> {
    for used in uses {
        for (thing, value) in inside {
            if let Some(thing) = outside(thing, used) {
                touch(touched, thing, *value)?;
            }
        }
    }
    Some(())
}

/// What a thing inside a shared definition is outside of one of its uses; `None` for what is no decision of
/// its own there.
fn outside(thing: &Thing, used: &Thing) -> Option<Thing> {
    let (Thing::Name(name), Thing::Shared(_, arguments)) = (thing, used) else {
        return Some(thing.clone());
    };
    match arguments.iter().find(|(parameter, _)| parameter == name) {
        None => Some(thing.clone()),
        Some((_, Given::Tie(tie))) => Some(Thing::Name(tie.clone())),
        Some((_, Given::Fixed(_) | Given::Local(_))) => None,
    }
}

/// Counts the values of every tie that is touched.
fn close_ties(space: &Space, mut tally: Tally) -> Tally {
    let domain = |thing: &Thing| match thing {
        Thing::Name(name) => space.tie.get(name).and_then(Setting::domain),
        Thing::Shared(..) => None,
    };
    for thing in std::mem::take(&mut tally.touched) {
        if let Some(domain) = domain(&thing) {
            add_decision(&mut tally, domain);
        }
    }
    tally.ways = tally.ways.renamed(|touched| {
        let undecided = touched.iter().filter(|(_, value)| value.is_none());
        let factor = undecided
            .filter_map(|(thing, _)| domain(thing))
            .fold(Number::ONE, |factor, domain| {
                factor.times(values_of(domain))
            });
        Some((Touched::new(), factor))
    });
    tally
}
