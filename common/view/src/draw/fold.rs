//! Folding: equal blocks in a row become one block with a number. Imports the network and the tree of blocks.
//!
//! Two blocks are equal when they hold the same operations with the same shapes, wired in the same way, and
//! the second takes the output of the first where the first takes the output of what is before it. Blocks that
//! also take the output of the block before the previous one (the cells of NASNet and DARTS) fold, too.

use std::collections::BTreeMap;

use espalier_common::network::Network;

use super::blocks::{Group, Member};

/// For every node the one that stands for it in the drawing: itself, or its twin in the block that is drawn.
#[derive(Debug)]
pub(super) struct Folded {
    /// The blocks that are drawn.
    pub(super) root: Group,
    /// By node.
    pub(super) drawn_as: Vec<usize>,
}

/// Folds all blocks of a network.
pub(super) fn fold(network: &Network, mut root: Group) -> Folded {
    let mut consumers = vec![Vec::new(); network.nodes.len()];
    for (id, node) in network.nodes.iter().enumerate() {
        for &input in &node.inputs {
            consumers[input].push(id);
        }
    }
    let mut folding = Folding {
        network,
        consumers,
        drawn_as: (0..network.nodes.len()).collect(),
        twins: (0..network.nodes.len()).map(|id| vec![id]).collect(),
    };
    folding.group(&mut root);
    splice(&mut root);
    Folded {
        root,
        drawn_as: folding.drawn_as,
    }
}

struct Folding<'n> {
    network: &'n Network,
    /// By node, those that read it.
    consumers: Vec<Vec<usize>>,
    drawn_as: Vec<usize>,
    /// By node, those that are drawn as it.
    twins: Vec<Vec<usize>>,
}

/// What a node reads from outside of its block, seen from the equal block before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// The output of the block before, at this place in it.
    Previous(usize),
    /// What the block before reads as its previous one.
    BeforePrevious,
}

impl Folding<'_> {
    fn group(&mut self, group: &mut Group) {
        for member in &mut group.members {
            if let Member::Group(inner) = member {
                self.group(inner);
            }
        }
        let mut folded: Vec<Member> = Vec::with_capacity(group.members.len());
        let mut members = std::mem::take(&mut group.members).into_iter().peekable();
        while let Some(member) = members.next() {
            let Member::Group(mut first) = member else {
                folded.push(member);
                continue;
            };
            let mut copies = vec![nodes_of(&first)];
            let mut pattern = None;
            while let Some(Member::Group(next)) = members.peek() {
                let nodes = nodes_of(next);
                let before = &copies[copies.len() - 1];
                let Some(reads) = self.follows(&first, before, next, &nodes) else {
                    break;
                };
                if *pattern.get_or_insert_with(|| reads.clone()) != reads {
                    break;
                }
                if let (Some(rounds), Some(next)) = (&mut first.rounds, next.rounds) {
                    rounds.1 = next.1;
                }
                copies.push(nodes);
                members.next();
            }
            // A block that is a folded one and nothing else: so many times so many, all in a row.
            first.times *= copies.len() as u64;
            self.hide(&copies);
            folded.push(Member::Group(first));
        }
        group.members = folded;
        take_only_member(group);
    }

    /// How `next` reads what is before it, when it equals `first` and follows the equal block `before`.
    fn follows(
        &self,
        first: &Group,
        before: &[usize],
        next: &Group,
        nodes: &[usize],
    ) -> Option<Vec<Reads>> {
        if !alike(first, next) || before.len() != nodes.len() {
            return None;
        }
        let (place_before, place) = (places(before), places(nodes));
        let mut outside = Vec::new();
        for (&a, &b) in before.iter().zip(nodes) {
            let (a, b) = (&self.network.nodes[a], &self.network.nodes[b]);
            if a.op != b.op || a.shape != b.shape || a.inputs.len() != b.inputs.len() {
                return None;
            }
            for (&from_a, &from_b) in a.inputs.iter().zip(&b.inputs) {
                let (from_a, from_b) = (self.drawn_as[from_a], self.drawn_as[from_b]);
                match (place_before.get(&from_a), place.get(&from_b)) {
                    (Some(a), Some(b)) if a == b => {}
                    (None, None) => outside.push((from_a, from_b)),
                    _ => return None,
                }
            }
        }
        let reads = reads(&outside, &place_before)?;
        let two_back = reads.contains(&Reads::BeforePrevious);
        (two_back || self.read_by(before, &place_before, &place)).then_some(reads)
    }

    /// Whether only the block itself and the one after it read its nodes.
    fn read_by(
        &self,
        block: &[usize],
        own: &BTreeMap<usize, usize>,
        next: &BTreeMap<usize, usize>,
    ) -> bool {
        let mut readers = block
            .iter()
            .flat_map(|&node| &self.twins[node])
            .flat_map(|&twin| &self.consumers[twin])
            .map(|&reader| self.drawn_as[reader]);
        let output = self.drawn_as[self.network.output];
        !own.contains_key(&output)
            && readers.all(|reader| own.contains_key(&reader) || next.contains_key(&reader))
    }

    /// Lets the nodes of the first of these equal blocks stand for those of the others.
    fn hide(&mut self, copies: &[Vec<usize>]) {
        let Some((first, others)) = copies.split_first() else {
            return;
        };
        for copy in others {
            for (&node, &shown) in copy.iter().zip(first) {
                for twin in std::mem::take(&mut self.twins[node]) {
                    self.drawn_as[twin] = shown;
                    self.twins[shown].push(twin);
                }
            }
        }
    }
}

/// From what two equal blocks read from outside, place by place, how the second reads the first.
fn reads(outside: &[(usize, usize)], place_before: &BTreeMap<usize, usize>) -> Option<Vec<Reads>> {
    let previous = outside
        .iter()
        .find(|(_, from)| place_before.contains_key(from))
        .map(|&(previous, _)| previous)?;
    outside
        .iter()
        .map(
            |&(from_before, from_next)| match place_before.get(&from_next) {
                Some(&place) if from_before == previous => Some(Reads::Previous(place)),
                None if from_next == previous => Some(Reads::BeforePrevious),
                _ => None,
            },
        )
        .collect()
}

fn places(nodes: &[usize]) -> BTreeMap<usize, usize> {
    nodes
        .iter()
        .enumerate()
        .map(|(place, &node)| (node, place))
        .collect()
}

/// The nodes of a block, those of folded blocks inside it once.
pub(super) fn nodes_of(group: &Group) -> Vec<usize> {
    let mut nodes = Vec::new();
    collect(group, &mut nodes);
    nodes
}

fn collect(group: &Group, nodes: &mut Vec<usize>) {
    for member in &group.members {
        match member {
            Member::Node(id, _) => nodes.push(*id),
            Member::Group(inner) => collect(inner, nodes),
        }
    }
}

/// Whether two blocks look alike, whatever round of a repeat they are; their operations are not compared.
fn alike(a: &Group, b: &Group) -> bool {
    a.title == b.title
        && a.times == b.times
        && a.rounds.is_some() == b.rounds.is_some()
        && a.members.len() == b.members.len()
        && a.members.iter().zip(&b.members).all(|pair| match pair {
            (Member::Node(_, a), Member::Node(_, b)) => a == b,
            (Member::Group(a), Member::Group(b)) => alike(a, b) && a.rounds == b.rounds,
            _ => false,
        })
}

/// A block that is one folded block, and nothing beside it, is that block under its own name.
fn take_only_member(group: &mut Group) {
    let [Member::Group(only)] = &mut group.members[..] else {
        return;
    };
    if only.times > 1 {
        group.times = only.times;
        group.title.append(&mut only.title);
        group.members = std::mem::take(&mut only.members);
    }
}

/// Blocks without a name that stand alone frame nothing: what they hold belongs to the block around them.
fn splice(group: &mut Group) {
    let members = std::mem::take(&mut group.members);
    for member in members {
        match member {
            Member::Group(mut inner) => {
                splice(&mut inner);
                if inner.title.is_empty() && inner.times == 1 && inner.rounds.is_none() {
                    group.members.append(&mut inner.members);
                } else {
                    group.members.push(Member::Group(inner));
                }
            }
            node => group.members.push(node),
        }
    }
}
