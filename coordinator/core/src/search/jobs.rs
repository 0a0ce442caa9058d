//! Makes the job a lease carries out of the state: everything resolved.

use espalier_common::candidate::DecisionPath;
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptNumber, TrialNumber};
use espalier_common::job::{Job, LeasedJob};
use espalier_common::table::TableJob;

use super::definition::Definition;
use super::event::Prepared;
use super::state::Search;

impl Search {
    /// The job of an attempt, with network, recipe and data resolved.
    ///
    /// # Errors
    /// `Internal` when the candidate cannot be built though it was built before it was accepted, or when
    /// the trial is neither open nor the best.
    pub(super) fn leased_job(
        &self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        job: &Job,
    ) -> Result<LeasedJob, Failure> {
        let internal =
            |message: String| Failure::new(FailureDomain::Internal, FailureKind::Build, message);
        let proposal = self
            .proposal(trial)
            .ok_or_else(|| internal(format!("trial {trial} is neither open nor the best")))?;
        let Definition {
            spec,
            dataset,
            table,
            ..
        } = self.definition.as_ref();
        let built = spec
            .space
            .build(&proposal.candidate, dataset.as_ref())
            .map_err(|error| {
                internal(format!("trial {trial} cannot be built any more: {error}"))
            })?;
        // Fixed hyperparameters are no decisions, yet the evaluator reads them in the same place.
        let mut decisions = proposal.candidate.clone();
        for (name, value) in built.hyperparameters {
            let path = DecisionPath(format!("hyperparameters.{name}"));
            decisions.0.entry(path).or_insert(value);
        }
        let table = spec
            .evaluator
            .table()
            .zip(table.as_ref())
            .map(|(columns, info)| TableJob::of(info, columns, &spec.space, &decisions));
        // The data behind a table are not read again, so no worker needs to have them.
        let dataset = dataset.as_ref().filter(|_| table.is_none());
        Ok(LeasedJob {
            search: self.id,
            search_name: spec.name.clone(),
            trial,
            attempt,
            job: job.clone(),
            evaluator: self.definition.evaluator().to_owned(),
            network: built.network,
            decisions,
            training: built.recipe,
            dataset: dataset.cloned(),
            table,
            objective: spec.objective.clone(),
            seed: trial_seed(spec.seed, trial),
        })
    }

    fn proposal(&self, trial: TrialNumber) -> Option<&Prepared> {
        if let Some(open) = self.open.get(&trial) {
            return Some(&open.proposal);
        }
        let best = self.best.as_ref().filter(|best| best.trial == trial);
        best.map(|best| best.proposal.as_ref())
    }
}

/// The seed of a trial: the same in every attempt, different between trials, and within 53 bits so that it
/// survives a reader that keeps numbers as doubles.
fn trial_seed(search_seed: u64, trial: TrialNumber) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"espalier trial seed");
    hasher.update(&search_seed.to_le_bytes());
    hasher.update(&trial.0.to_le_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes) >> 11
}
