//! Whether a candidate may be trained at all, and whether a spec has any that may: the one place that says so,
//! for who validates a spec, for who creates a search, and for who proposes. May import the spec and the space.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Spec, Violation};
use crate::candidate::Candidate;
use crate::dataset::DatasetInfo;
use crate::space::{Built, Infeasible};

/// Candidates that are tried: enough to find one in a hundred, and as many as a searcher is refused in a row
/// before it gives up.
const TRIES: u64 = 1_000;
/// Blocks and decisions that are expanded at the most, over all of them: bounds the time to about a second.
const TRIED_BLOCKS: u64 = 500_000;

/// Why a candidate may not be trained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be built.
    #[error(transparent)]
    Infeasible(#[from] Infeasible),
    /// It breaks a constraint.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// A spec without a candidate that may be trained, as far as a trial shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("none of {which} can be built and keeps the constraints; the first one: {first}")]
pub struct NoneFeasible {
    /// How many were tried, in words.
    which: String,
    /// Why the first one is refused.
    pub first: Refusal,
}

impl Spec {
    /// Builds a candidate and checks it against the constraints.
    ///
    /// # Errors
    /// [`Refusal`] when its shapes do not fit, it is not of this space, or it breaks a constraint.
    pub fn check(
        &self,
        candidate: &Candidate,
        dataset: Option<&DatasetInfo>,
    ) -> Result<Built, Refusal> {
        let built = self.space.build(candidate, dataset)?;
        for constraint in &self.constraints {
            constraint.check(&built)?;
        }
        Ok(built)
    }

    /// A candidate that may be trained, so that a spec without one is refused before a search starts. Looks
    /// among all of a small space, else at the first candidate and at some drawn at random, always the same.
    ///
    /// # Errors
    /// [`NoneFeasible`] when none of up to 1,000 candidates may.
    pub fn first_feasible(&self, dataset: Option<&DatasetInfo>) -> Result<Candidate, NoneFeasible> {
        let candidate = self.space.first();
        let first = match self.check(&candidate, dataset) {
            Ok(_) => return Ok(candidate),
            Err(refusal) => refusal,
        };
        let count = self.space.count();
        let each = count.blocks.saturating_add(count.decisions).max(1);
        let tries = (TRIED_BLOCKS / each).clamp(1, TRIES);
        let feasible = |candidate: &Candidate| self.check(candidate, dataset).is_ok();
        // Fits: at most 1,000.
        let (found, which) = if let Some(all) = self.space.enumerate(tries as usize) {
            let which = match all.len() {
                1 => "the one candidate of this space".to_owned(),
                count => format!("all {count} candidates of this space"),
            };
            (all.into_iter().find(feasible), which)
        } else {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            let mut drawn = (0..tries).map(|_| self.space.sample(&mut rng));
            (
                drawn.find(feasible),
                format!("{tries} candidates drawn at random"),
            )
        };
        found.ok_or(NoneFeasible { which, first })
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::candidate::{DecisionPath, Value};
    use crate::space::fashion_mnist;

    const END: &str = "global_avg_pool, {linear: {features: classes}}";

    fn spec(network: &str, constraints: &str) -> Spec {
        let text = format!(
            "name: x\ndataset: {{format: idx, path: x, validation: 1}}\nnetwork: {network}\nconstraints: {constraints}\ntraining: {{epochs: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n"
        );
        read(&text, "x.yaml").unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn a_spec_is_feasible_when_one_of_many_candidates_is() {
        let spec = spec(
            &format!(
                "[{{choice: {{no: [], too: [flatten, relu], large: [{{conv: {{channels: 512}}}}, {END}], yes: [{END}]}}}}]"
            ),
            "[{parameters: {at_most: 100}}]",
        );
        let found = spec.first_feasible(Some(&fashion_mnist())).unwrap();
        assert_eq!(
            found.get(&DecisionPath("network[0].choice".to_owned())),
            Some(&Value::Text("yes".to_owned()))
        );
        let none = spec.first_feasible(None).unwrap_err();
        assert!(none.to_string().contains("no data set"), "{none}");
    }

    #[test]
    fn a_spec_without_a_feasible_candidate_says_how_many_were_tried_and_why_the_first_is_none() {
        let refusal = |network: &str| {
            let spec = spec(
                &format!("[{network}, {END}]"),
                "[{parameters: {at_most: 100}}]",
            );
            let none = spec.first_feasible(Some(&fashion_mnist()));
            none.unwrap_err().to_string()
        };
        insta::assert_snapshot!(refusal("{conv: {channels: 64}}"), @"none of the one candidate of this space can be built and keeps the constraints; the first one: parameters is 1290, the spec allows at most 100");
        insta::assert_snapshot!(refusal("{conv: {channels: {choice: [64, 128]}}}"), @"none of all 2 candidates of this space can be built and keeps the constraints; the first one: parameters is 1290, the spec allows at most 100");
        insta::assert_snapshot!(refusal("{conv: {channels: {range: [64, 10000]}}}"), @"none of 1000 candidates drawn at random can be built and keeps the constraints; the first one: parameters is 1290, the spec allows at most 100");
    }
}
