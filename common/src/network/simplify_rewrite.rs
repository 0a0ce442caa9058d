//! The rules of simplification that look at a node and its inputs, applied in one walk. Imports the network's
//! types only.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;

use super::label::label;
use super::op::Op;
use super::simplify::{Places, Term, Terms, Wanted};
use super::simplify_rules::{has_own_state, maps_zero_to_zero, passes_through, sort_unordered};
use super::{Network, Node};

/// One walk over a graph.
pub(super) struct Rewriter<'a> {
    terms: Vec<Term<'a>>,
    known: Known,
}

impl<'a> Rewriter<'a> {
    fn new(terms: usize) -> Self {
        Self {
            terms: Vec::with_capacity(terms),
            known: Known::new(terms),
        }
    }

    /// The first walk, over the nodes of a network that are alive.
    pub(super) fn rewrite_network(
        network: &'a Network,
        live: &[bool],
        wanted: Wanted,
    ) -> Terms<'a> {
        let mut rewriter = Self::new(network.nodes.len());
        let mut became = vec![None; network.nodes.len()];
        for (id, node) in network.nodes.iter().enumerate() {
            // The input stays even where nothing is read from it: a network has one, and a zero stands on it.
            if live[id] || matches!(node.op, Op::Input) {
                let term = Term {
                    op: &node.op,
                    shape: &node.shape,
                    inputs: inputs_of(node, &became),
                    // Fits: a network has fewer than 2^32 nodes.
                    source: id as u32,
                };
                became[id] = Some(rewriter.place(term));
            }
        }
        Terms {
            output: became[network.output].unwrap_or(0) as usize,
            terms: rewriter.terms,
            readers: Vec::new(),
            of_node: match wanted {
                Wanted::Terms => Vec::new(),
                Wanted::TermsAndNodes => became,
            },
        }
    }

    /// A further walk, over terms of which joins have become equal.
    pub(super) fn rewrite(graph: Terms<'a>) -> Terms<'a> {
        let mut rewriter = Self::new(graph.terms.len());
        let mut became = vec![None; graph.terms.len()];
        for (id, mut term) in graph.terms.into_iter().enumerate() {
            if graph.readers[id] > 0 || matches!(term.op, Op::Input) {
                for input in &mut term.inputs {
                    *input = now(&became, *input as usize);
                }
                became[id] = Some(rewriter.place(term));
            }
        }
        let mut terms = Terms {
            output: became[graph.output].unwrap_or(0) as usize,
            of_node: (graph.of_node.iter())
                .map(|term| term.and_then(|term| became[term as usize]))
                .collect(),
            terms: rewriter.terms,
            readers: graph.readers,
        };
        terms.count_readers();
        terms
    }

    /// The term that `term`, whose inputs are rewritten already, is.
    fn place(&mut self, mut term: Term<'a>) -> u32 {
        if term.is_zero() {
            return self.zero(&term);
        }
        // Few have zeros among their inputs, and the rules about those are many.
        if self.known.has_zeros() && term.inputs.iter().any(|&input| self.at(input).is_zero()) {
            if matches!(term.op, Op::Add) {
                term.inputs.retain(|&mut input| !self.at(input).is_zero());
            }
            if self.is_zero_on(&term) {
                return self.zero(&term);
            }
        }
        if let [input] = term.inputs[..]
            && passes_through(term.op, self.at(input).shape == term.shape)
        {
            return input;
        }
        sort_unordered(term.op, &mut term.inputs);
        if has_own_state(term.op) {
            self.push(term)
        } else {
            self.shared(term)
        }
    }

    fn at(&self, term: u32) -> &Term<'a> {
        &self.terms[term as usize]
    }

    fn push(&mut self, term: Term<'a>) -> u32 {
        self.terms.push(term);
        self.terms.len() as u32 - 1
    }

    /// Whether zeros among its inputs make the term zero.
    fn is_zero_on(&self, term: &Term<'_>) -> bool {
        let mut zeros = term.inputs.iter().map(|&input| self.at(input).is_zero());
        match term.op {
            // Its zeros are dropped already.
            Op::Add => term.inputs.is_empty(),
            Op::Multiply => zeros.any(|zero| zero),
            Op::Concat => zeros.all(|zero| zero),
            _ => maps_zero_to_zero(term.op) && zeros.any(|zero| zero),
        }
    }

    fn zero(&mut self, term: &Term<'a>) -> u32 {
        self.shared(Term {
            op: &Op::Zero,
            inputs: Places::new(),
            ..*term
        })
    }

    /// The term, or the one that is there already and equal to it.
    fn shared(&mut self, term: Term<'a>) -> u32 {
        match self.known.find_or_add(&term, &self.terms) {
            Some(known) => known,
            None => self.push(term),
        }
    }
}

/// The term that an input became. A live term's inputs are live and earlier, so all of them became something.
fn now(became: &[Option<u32>], input: usize) -> u32 {
    became[input].unwrap_or(0)
}

fn inputs_of(node: &Node, became: &[Option<u32>]) -> Places {
    match node.inputs[..] {
        // Most have one, and this needs no loop.
        [only] => Places::from_buf_and_len([now(became, only), 0, 0, 0], 1),
        _ => (node.inputs.iter().map(|&input| now(became, input))).collect(),
    }
}

/// No term.
const NONE: u32 = u32::MAX;
/// So many terms on one first input are compared one by one, which is faster than a table for the few that
/// networks have. More would make the time grow with their square.
const FEW: usize = 8;

/// The terms without parameters, to be found again.
struct Known {
    /// The first one whose first input is this term. At the end, those without inputs: zeros.
    first_on: Vec<u32>,
    /// The next one with the same first input.
    next: Vec<u32>,
    /// Those for which `FEW` others are in the way, by a hash of label and inputs.
    more: HashMap<u64, u32, RandomState>,
    /// The next of those with the same hash, in the rare case that there is one.
    alike: HashMap<u32, u32, RandomState>,
}

impl Known {
    fn new(terms: usize) -> Self {
        Self {
            first_on: vec![NONE; terms + 1],
            next: vec![NONE; terms],
            more: HashMap::default(),
            alike: HashMap::default(),
        }
    }

    fn has_zeros(&self) -> bool {
        self.first_on.last() != Some(&NONE)
    }

    /// The one that equals `term`; `None` when there is none, and then `term` is known as the next of `terms`.
    fn find_or_add(&mut self, term: &Term<'_>, terms: &[Term<'_>]) -> Option<u32> {
        let added = terms.len() as u32;
        let zeros = self.first_on.len() - 1;
        let on = term.inputs.first().map_or(zeros, |&input| input as usize);
        let mut link = &mut self.first_on[on];
        for _ in 0..FEW {
            let known = *link;
            if known == NONE {
                *link = added;
                return None;
            }
            if equals(&terms[known as usize], term) {
                return Some(known);
            }
            link = &mut self.next[known as usize];
        }
        self.find_or_add_more(term, terms)
    }

    #[cold]
    fn find_or_add_more(&mut self, term: &Term<'_>, terms: &[Term<'_>]) -> Option<u32> {
        let added = terms.len() as u32;
        let mut words = Vec::new();
        label(term.op, term.shape, &mut words);
        let hash = (self.more.hasher()).hash_one((words.as_slice(), term.inputs.as_slice()));
        let mut like = *self.more.entry(hash).or_insert(added);
        while like != added {
            if equals(&terms[like as usize], term) {
                return Some(like);
            }
            like = *self.alike.entry(like).or_insert(added);
        }
        None
    }
}

/// Whether two terms compute the same. The shape of a zero is all there is to it; every other follows from
/// operation and inputs.
fn equals(one: &Term<'_>, other: &Term<'_>) -> bool {
    one.op == other.op && one.inputs == other.inputs && (!one.is_zero() || one.shape == other.shape)
}
