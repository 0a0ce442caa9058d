//! What an earlier search found, for one that begins with it. May import the core and the journal.

use std::collections::BTreeMap;

use espalier_common::ids::{Digest, SearchId, TrialNumber};
use espalier_common::known::{Known, MAX_KNOWN};
use espalier_core::search::{Definition, Prepared, Steer, TrialState};
use espalier_core::searcher::prepare;

use super::create::bounded;
use super::error::CallError;
use crate::journal::{JournalReader, MAX_ROWS, States, TrialRow};

/// The completed trials of a search up to a number, the first ones if there are very many, with the metric that the
/// new search is about. `wanted` is what messages call the wish. Blocks.
///
/// # Errors
/// One is no candidate of the new search's space, none has the metric, or the journal cannot be read.
pub(crate) fn earlier(
    reader: &JournalReader,
    from: SearchId,
    until: TrialNumber,
    definition: &Definition,
    wanted: &str,
) -> Result<Vec<Known>, CallError> {
    let mut known = Vec::new();
    let mut after = TrialNumber(0);
    loop {
        let states = States::from(TrialState::Completed);
        let page = reader.trials(from, after, MAX_ROWS, states)?;
        after = page.trials.last().map_or(after, |trial| trial.number);
        for trial in page.trials.iter().filter(|trial| trial.number <= until) {
            if known.len() < MAX_KNOWN {
                known.extend(known_of(trial, from, definition, wanted)?);
            }
        }
        if !page.more || after >= until || known.len() >= MAX_KNOWN {
            break;
        }
    }
    if known.is_empty() {
        let metric = &definition.spec.objective.metric;
        return Err(CallError::BadSpec(format!(
            "{wanted}: search {from} has no completed trial with the metric {metric}"
        )));
    }
    bounded(known)
}

/// The candidates that users have banned in a search and that the new one could propose. Blocks.
///
/// # Errors
/// There are too many, or the journal cannot be read.
pub(crate) fn banned(
    reader: &JournalReader,
    from: SearchId,
    definition: &Definition,
) -> Result<Vec<Prepared>, CallError> {
    let mut banned: BTreeMap<Digest, Prepared> = BTreeMap::new();
    let mut after = TrialNumber(0);
    loop {
        let states = States::from(TrialState::Infeasible);
        let page = reader.trials(from, after, MAX_ROWS, states)?;
        after = page.trials.last().map_or(after, |trial| trial.number);
        // What a searcher proposed is infeasible by itself; users can only ban.
        let bans = page.trials.into_iter();
        for ban in bans.filter(|trial| trial.origin == Steer::origin()) {
            let known = Known {
                decisions: ban.candidate,
                score: None,
            };
            // What is none of the new space, or cannot be built there, is not proposed either.
            let known = known.of_space(&definition.spec.space).ok();
            let prepared =
                known.and_then(|known| prepare(definition, known.decisions, Steer::origin()).ok());
            banned.extend(prepared.map(|one| (one.candidate_id, one)));
        }
        if banned.len() > MAX_KNOWN {
            let message = format!("more than {MAX_KNOWN} candidates are banned there");
            return Err(CallError::TooMany(message));
        }
        if !page.more {
            return Ok(banned.into_values().collect());
        }
    }
}

fn known_of(
    trial: &TrialRow,
    from: SearchId,
    definition: &Definition,
    wanted: &str,
) -> Result<Option<Known>, CallError> {
    let metric = &definition.spec.objective.metric;
    let measured = trial.measured.as_ref();
    let Some(score) = measured.and_then(|measured| measured.metrics.get(metric)) else {
        return Ok(None);
    };
    let known = Known {
        decisions: trial.candidate.clone(),
        score: Some(score),
    };
    let of_space = known.of_space(&definition.spec.space).map_err(|problem| {
        CallError::BadSpec(format!(
            "{wanted}: trial {} of search {from} is no candidate of this space: {problem}",
            trial.number
        ))
    });
    of_space.map(Some)
}
