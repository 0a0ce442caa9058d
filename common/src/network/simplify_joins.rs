//! The rule of simplification that looks at readers: a join that is read once, by a join of the same kind, is
//! part of it. Imports the network's types only.

use std::hash::BuildHasher as _;
use std::mem::discriminant;

use foldhash::fast::RandomState;

use super::simplify::{Places, Term, Terms};
use super::simplify_rules::sort_unordered;

/// Applies the rule to all joins at once. Says whether one has become equal to another by that: only then is
/// there more to do. What else the rules look at has not changed.
pub(super) fn merge_joins(graph: &mut Terms<'_>) -> bool {
    graph.count_readers();
    let Some(absorbed) = absorbed(graph) else {
        return false;
    };
    for id in 0..graph.terms.len() {
        let absorbs = |&input: &u32| absorbed[input as usize];
        if graph.is_live(id) && !absorbed[id] && graph.terms[id].inputs.iter().any(absorbs) {
            let mut inputs = flattened(&graph.terms[id].inputs, &graph.terms, &absorbed);
            sort_unordered(graph.terms[id].op, &mut inputs);
            graph.terms[id].inputs = inputs;
        }
    }
    // What the absorbed ones read is now read in their place.
    for (readers, _) in (graph.readers.iter_mut().zip(&absorbed)).filter(|(_, gone)| **gone) {
        *readers = 0;
    }
    any_are_equal(graph)
}

/// Which terms become part of their readers; `None` when none does.
fn absorbed(graph: &Terms<'_>) -> Option<Vec<bool>> {
    let mut absorbed = Vec::new();
    for (id, term) in graph.terms.iter().enumerate() {
        if !term.is_join() || !graph.is_live(id) {
            continue;
        }
        for &input in &term.inputs {
            let input = input as usize;
            if graph.readers[input] == 1 && graph.terms[input].op == term.op {
                if absorbed.is_empty() {
                    absorbed = vec![false; graph.terms.len()];
                }
                absorbed[input] = true;
            }
        }
    }
    (!absorbed.is_empty()).then_some(absorbed)
}

/// The inputs of a join, with those of absorbed joins in their places. The outermost join takes all at once:
/// joining step by step would copy a long chain over and over.
fn flattened(inputs: &Places, terms: &[Term<'_>], absorbed: &[bool]) -> Places {
    let mut flat = Places::new();
    let mut waiting: Places = inputs.iter().rev().copied().collect();
    while let Some(input) = waiting.pop() {
        if absorbed[input as usize] {
            waiting.extend(terms[input as usize].inputs.iter().rev().copied());
        } else {
            flat.push(input);
        }
    }
    flat
}

/// Whether two joins of one kind have the same inputs. They are compared by hashes: taking two for equal that
/// are not costs one more turn, which finds nothing.
fn any_are_equal(graph: &Terms<'_>) -> bool {
    let state = RandomState::default();
    let mut hashes: Vec<u64> = (graph.terms.iter().enumerate())
        .filter(|(id, term)| term.is_join() && graph.is_live(*id))
        .map(|(_, term)| state.hash_one((discriminant(term.op), term.inputs.as_slice())))
        .collect();
    hashes.sort_unstable();
    hashes.windows(2).any(|pair| pair[0] == pair[1])
}
