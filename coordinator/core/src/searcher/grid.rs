//! Grid search: every member of a small space's grid once, in an order drawn from the seed, so that a grid
//! that is cut short has covered all of the space. May import `espalier-common`.

use std::collections::BTreeSet;
use std::sync::Arc;

use espalier_common::candidate::Candidate;
use espalier_common::ids::Digest;
use espalier_common::observation::{Observation, Origin, Proposal};
use espalier_common::space::{GridMember, Space};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::book::assignment_id;
use super::{AskContext, Searcher, rng_for};

const NAME: &str = "grid";
/// One of so many next members is proposed. More than one, because a proposal may be refused without a
/// trace (it builds the same network as one that is on its way), and asking again must lead on.
const NEXT: usize = 8;

/// Grid search.
#[derive(Clone, Debug)]
pub struct Grid {
    space: Arc<Space>,
    points: u32,
    /// Members of the grid in the order in which they are proposed.
    members: Vec<GridMember>,
    /// Where the members begin that were not all told of.
    begin: usize,
    told: BTreeSet<Digest>,
}

impl Grid {
    /// The grid of a space with at most `points` values of each range, in an order that `seed` draws. The
    /// spec is refused where the grid would be too large; made without that check, it is empty then.
    #[must_use]
    pub fn new(space: Arc<Space>, points: u32, seed: u64) -> Self {
        let mut members = space.grid(points).unwrap_or_default();
        // Asks are numbered from 1, so number 0 is free for this.
        let mut rng = rng_for(seed, 0, 0);
        for index in (1..members.len()).rev() {
            members.swap(index, rng.random_range(0..=index));
        }
        Self {
            space,
            points,
            members,
            begin: 0,
            told: BTreeSet::new(),
        }
    }

    fn candidate(&self, member: &GridMember) -> (Candidate, Digest) {
        let candidate = self.space.grid_candidate(self.points, member);
        let assignment = assignment_id(&candidate);
        (candidate, assignment)
    }

    /// The next members that are neither told, pending nor refused, at most `most` of them.
    fn next(&self, context: &AskContext<'_>, most: usize) -> Vec<Candidate> {
        let refused = context.refused.iter().map(|refused| &refused.candidate);
        let pending = context.pending.iter().copied();
        let out: BTreeSet<Digest> = pending.chain(refused).map(assignment_id).collect();
        self.members[self.begin..]
            .iter()
            .map(|member| self.candidate(member))
            .filter(|(_, assignment)| !self.told.contains(assignment) && !out.contains(assignment))
            .map(|(candidate, _)| candidate)
            .take(most)
            .collect()
    }
}

impl Searcher for Grid {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tell(&mut self, observation: &Observation) {
        self.told.insert(assignment_id(&observation.candidate));
        while let Some(member) = self.members.get(self.begin) {
            if !self.told.contains(&self.candidate(member).1) {
                break;
            }
            self.begin += 1;
        }
    }

    fn ask(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Proposal {
        let mut next = self.next(context, NEXT);
        let candidate = if next.is_empty() {
            // Nobody asks then, see `exhausted`; a duplicate is the answer that does no harm.
            self.space.first()
        } else {
            next.swap_remove(rng.random_range(0..next.len()))
        };
        Proposal {
            candidate,
            origin: Origin::new(NAME, NAME),
            memo: None,
        }
    }

    fn exhausted(&self, context: &AskContext<'_>) -> Option<String> {
        self.next(context, 1).is_empty().then(|| {
            format!(
                "all {} candidates of the grid have been proposed",
                self.members.len()
            )
        })
    }

    fn proposes_alone(&self) -> bool {
        true
    }
}
