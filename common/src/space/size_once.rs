//! What is decided once for several places, in the count of a space: ties and shared blocks. They are met while
//! the tree is walked, and counted at its end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::Space;
use super::block::Use;
use super::domain::Domain;
use super::recursion::uses_of;
use super::setting::Setting;
use super::size::{Counter, of_setting, times_of, values_of};
use super::size_names::{Meaning, add_decision};
use super::tally::{Names, Tally};
use super::ways::{Given, Number, SharedUse, Thing, Touched, Ways, touch};
use super::work::Work;

/// What was met of it.
#[derive(Debug, Default)]
pub(super) struct Once<'a> {
    /// The ties that something reads.
    ties: BTreeMap<&'a str, &'a Domain>,
    /// The tallies of shared definitions, by the definition.
    shared: BTreeMap<String, BTreeMap<Thing, Tally>>,
    /// The numbers of domains: by where they are, and by what they are.
    places: HashMap<*const Domain, u32>,
    domains: HashMap<String, u32>,
    /// How many values domains have as the times of a repeat, and the largest of them.
    times: HashMap<*const Domain, (u64, u64)>,
}

impl<'a> Once<'a> {
    /// Remembers the ties among names.
    pub(super) fn touch(&mut self, space: &'a Space, names: Names) {
        for name in names.into_keys() {
            if let Some((name, Setting::Decide(domain))) = space.tie.get_key_value(&*name) {
                self.ties.insert(name, domain);
            }
        }
    }

    /// A number that equal domains have alike. Each is written out once: many places may mean one large domain.
    pub(super) fn number(&mut self, domain: &'a Domain) -> u32 {
        let (places, domains) = (&mut self.places, &mut self.domains);
        *places.entry(domain).or_insert_with(|| {
            let next = domains.len() as u32;
            *domains.entry(format!("{domain:?}")).or_insert(next)
        })
    }

    /// How many values a domain has as the times of a repeat, and the largest.
    pub(super) fn most_times(&mut self, domain: &'a Domain) -> (u64, u64) {
        let times = || {
            let all = times_of(domain);
            all.fold((0, 0), |(count, most), times| (count + 1, most.max(times)))
        };
        *self.times.entry(domain).or_insert_with(times)
    }
}

/// The tally of the place of a shared use, whose tally inside is remembered. Its arguments belong to the place;
/// whether their decisions are made hangs on the shared ones where some of those do not use them: then the
/// count is a bound.
pub(super) fn shared<'a>(counter: &mut Counter<'a>, used: &'a Use, inside: Tally) -> Tally {
    let work = counter.work;
    let mut given = Vec::with_capacity(used.with.len());
    let mut place = Tally {
        blocks: inside.blocks,
        nesting: inside.nesting,
        ..Tally::default()
    };
    for (parameter, setting) in &used.with {
        let meaning = match setting {
            Setting::Fixed(value) => Meaning::Fixed(value),
            Setting::Decide(domain) => Meaning::Local(domain),
            Setting::Named(outer) => counter.meaning(outer),
        };
        let steers = inside.names.get(&**parameter).copied();
        let argument = match meaning {
            Meaning::Fixed(value) => Given::Fixed(value.to_string()),
            Meaning::Tie(tie, domain) => {
                if steers.is_some() {
                    counter.once.ties.insert(tie, domain);
                }
                Given::Tie(tie.to_owned())
            }
            Meaning::Other => Given::Local(None),
            Meaning::Local(domain) => {
                if let Some(steers) = steers {
                    place = place.and(of_setting(setting), work);
                    let thing = Thing::Name(parameter.as_str().into());
                    let always =
                        (inside.ways.counts()).all(|(touched, _)| touched.contains_key(&thing));
                    place.ways.at_most |= steers || !always;
                }
                Given::Local((steers == Some(true)).then(|| counter.once.number(domain)))
            }
        };
        given.push((parameter.clone(), argument));
    }
    let thing = Thing::Shared(Rc::new(SharedUse {
        name: used.block.clone(),
        given,
    }));
    let of_name = counter.once.shared.entry(used.block.clone()).or_default();
    of_name.insert(thing.clone(), inside);
    place.ways = place.ways.and(Ways::touching(thing, None), work);
    place
}

/// The tally of the whole space: every shared thing is counted once, for the assignments that touch it.
pub(super) fn closed(counter: Counter<'_>, mut tally: Tally) -> Tally {
    let Counter {
        space,
        work,
        mut once,
        ..
    } = counter;
    once.touch(space, std::mem::take(&mut tally.names));
    for name in users_first(space) {
        if let Some(bodies) = once.shared.remove(name) {
            tally = opened(bodies, tally, work);
        }
    }
    close_ties(&once.ties, tally)
}

/// The definitions, each after those that use it; in a damaged space, where they use each other in a ring, in
/// some order.
fn users_first(space: &Space) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let mut order = Vec::with_capacity(space.blocks.len());
    for start in space.blocks.keys() {
        // Depth first: each is put down when all that it uses have been.
        let mut way = vec![(start.as_str(), false)];
        while let Some((name, left)) = way.pop() {
            if left {
                order.push(name);
                continue;
            }
            let Some((name, definition)) = space.blocks.get_key_value(name) else {
                continue;
            };
            if seen.insert(name.as_str()) {
                way.push((name, true));
                let uses = uses_of(definition.body.blocks());
                way.extend(uses.iter().map(|used| (used.block.as_str(), false)));
            }
        }
    }
    order.reverse();
    order
}

/// The tally with the shared decisions of a definition counted.
fn opened(bodies: BTreeMap<Thing, Tally>, mut tally: Tally, work: &Work) -> Tally {
    let spent = tally.ways.spent || bodies.values().any(|body| body.ways.spent);
    let alike = if spent {
        // Without the ways it is enough to know that arguments change nothing in them.
        !bodies
            .values()
            .any(|body| body.names.values().any(|steers| *steers))
    } else {
        let all: Vec<&Ways> = bodies.values().map(|body| &body.ways).collect();
        all.windows(2).all(|pair| pair[0].same_counts(pair[1]))
    };
    if alike {
        let (things, mut bodies): (Vec<_>, Vec<_>) = bodies.into_iter().unzip();
        return opened_group(&things, bodies.pop().unwrap_or_default(), tally, work);
    }
    // Arguments that change what there is to decide: counted as if each of them had its own decisions.
    tally.ways.at_most = true;
    for (thing, body) in bodies {
        tally = opened_group(&[thing], body, tally, work);
    }
    tally
}

/// Puts the decisions of `body`, made once, in the place of all `things`.
fn opened_group(things: &[Thing], body: Tally, mut tally: Tally, work: &Work) -> Tally {
    tally.decisions = tally.decisions.saturating_add(body.decisions);
    tally.continuous = tally.continuous.saturating_add(body.continuous);
    tally.ways = opened_ways(things, body.ways, tally.ways, work);
    tally
}

fn opened_ways(things: &[Thing], mut body: Ways, mut ways: Ways, work: &Work) -> Ways {
    let bound = |body: &Ways, ways: &Ways| Ways::spent(ways.total().times(body.total()));
    if ways.spent || body.spent {
        return bound(&body, &ways);
    }
    ways.bound(&mut body);
    let mut all = Ways::none();
    all.at_most = ways.at_most || body.at_most;
    let (every, many) = (ways.total(), body.total());
    for (mut rest, number) in ways.into_counts() {
        let here: Vec<&Thing> = (things.iter())
            .filter(|thing| rest.remove(thing).is_some())
            .collect();
        let copies = body
            .counts()
            .map(|(inside, _)| (inside.len() * here.len() + rest.len()) as u64 + 1);
        let copies = if here.is_empty() { 0 } else { copies.sum() };
        if !work.take(copies.saturating_add(things.len() as u64)) {
            return Ways::spent(every.times(many));
        }
        if here.is_empty() {
            all.add(rest, number);
            continue;
        }
        for (inside, count) in body.counts() {
            let mut touched = rest.clone();
            if touch_given(&mut touched, inside, &here).is_some() {
                all.add(touched, number.times(*count));
            }
        }
    }
    all
}

/// Touches what `inside` touches, as it is called outside of each of the shared uses.
fn touch_given(touched: &mut Touched, inside: &Touched, uses: &[&Thing]) -> Option<()> {
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
    let (Thing::Name(name), Thing::Shared(used)) = (thing, used) else {
        return Some(thing.clone());
    };
    match used
        .given
        .iter()
        .find(|(parameter, _)| **parameter == **name)
    {
        None => Some(thing.clone()),
        Some((_, Given::Tie(tie))) => Some(Thing::Name(tie.as_str().into())),
        Some((_, Given::Fixed(_) | Given::Local(_))) => None,
    }
}

/// Counts the values of every tie that is touched.
fn close_ties(ties: &BTreeMap<&str, &Domain>, mut tally: Tally) -> Tally {
    for domain in ties.values() {
        add_decision(&mut tally, domain);
    }
    let values = |thing: &Thing| match thing {
        Thing::Name(name) => ties.get(&**name).copied().map(values_of),
        Thing::Shared(_) => None,
    };
    tally.ways = if tally.ways.spent {
        let every = ties.values().copied().map(values_of);
        tally.ways.times(every.fold(Number::ONE, Number::times))
    } else {
        tally.ways.renamed(|touched| {
            let undecided = touched.iter().filter(|(_, value)| value.is_none());
            let factors = undecided.filter_map(|(thing, _)| values(thing));
            Some((Touched::new(), factors.fold(Number::ONE, Number::times)))
        })
    };
    tally
}
