//! What users want of a search beyond going on or not: other limits, candidates of their own, trials once more.
//! May import the actors, the core and the journal's reader.

use espalier_common::candidate::Candidate;
use espalier_common::ids::TrialNumber;
use espalier_common::known::Known;
use espalier_core::search::{Command, LimitsChange, Prepared, Rejection, Reply, Steer, TrialState};
use espalier_core::searcher::prepare;
use espalier_proto::v1;
use tonic::{Request, Response, Status};

use super::caller::said_by;
use super::searches::SearchApi;
use crate::actors::{CallError, SearchHandle};
use crate::journal::{MAX_ROWS, States, TrialRow};

/// The most trials that one call retries.
const MAX_RETRIES: usize = 10_000;
/// The longest candidate that is read, in bytes.
const MAX_CANDIDATE: usize = 1024 * 1024;

impl SearchApi {
    pub(super) async fn change_limits(
        &self,
        request: Request<v1::SetLimitsRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let (by, request) = said_by(request)?;
        let search = self.searches.find(&request.search)?;
        let change = LimitsChange {
            trials: request.trials,
            time_ms: request.time_ms,
            compute_ms: request.compute_ms,
            deadline_ms: request.deadline_ms,
            patience: request.patience,
            target: request.target,
            parallel: request.parallel,
            weight: request.weight,
        };
        self.steer(&search, Steer::Limit(change), by).await
    }

    pub(super) async fn enqueue_candidate(
        &self,
        request: Request<v1::EnqueueRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let (by, request) = said_by(request)?;
        let search = self.searches.find(&request.search)?;
        let proposal = candidate_of(&search, request.candidate_json).await?;
        let first = request.first;
        self.steer(&search, Steer::Enqueue { proposal, first }, by)
            .await
    }

    pub(super) async fn ban_candidate(
        &self,
        request: Request<v1::BanRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let (by, request) = said_by(request)?;
        let search = self.searches.find(&request.search)?;
        let proposal = candidate_of(&search, request.candidate_json).await?;
        self.steer(&search, Steer::Ban { proposal }, by).await
    }

    pub(super) async fn retry_trials(
        &self,
        request: Request<v1::RetryRequest>,
    ) -> Result<Response<v1::RetryReply>, Status> {
        let (by, request) = said_by(request)?;
        let search = self.searches.find(&request.search)?;
        let trials = self.closed_trials(&search, &request).await?;
        let mut numbers: Vec<u32> = trials.iter().map(|(number, _)| number.0).collect();
        let mut banned = Vec::new();
        if !trials.is_empty() {
            let steer = Steer::Retry(trials);
            let reply = search.command(Command::Steer { steer, by }).await?;
            if let Reply::Retried { banned: found } = reply {
                banned = found;
            }
        }
        numbers.retain(|number| banned.iter().all(|(trial, _)| trial.0 != *number));
        // Among others it stays as it is; one that was named and is the only one should say why.
        if let (true, Some((trial, of))) = (numbers.is_empty(), banned.first())
            && !request.trials.is_empty()
        {
            let message = format!("the candidate of trial {trial} was banned since, as trial {of}");
            return Err(CallError::from(Rejection::NotNow(message)).into());
        }
        Ok(Response::new(v1::RetryReply {
            status: Some(self.status(&search).await?.into_inner()),
            trials: numbers,
            banned: banned.iter().map(|(trial, _)| trial.0).collect(),
        }))
    }

    /// The trials that a call wants to be tried again, with their candidates out of the journal.
    async fn closed_trials(
        &self,
        search: &SearchHandle,
        request: &v1::RetryRequest,
    ) -> Result<Vec<(TrialNumber, Box<Prepared>)>, CallError> {
        let id = search.profile().id;
        let states: States = if request.trials.is_empty() {
            States::from(TrialState::Failed)
        } else {
            [TrialState::Failed, TrialState::Cancelled]
                .into_iter()
                .collect()
        };
        let wanted = request.trials.clone();
        let words = request.reason.to_lowercase();
        let is_wanted = move |row: &TrialRow| {
            let named = wanted.is_empty() || wanted.contains(&row.number.0);
            let reason = row.reason.as_deref().unwrap_or_default();
            named && reason.to_lowercase().contains(&words)
        };
        let read = move |reader: &crate::journal::JournalReader| {
            let (mut found, mut after) = (Vec::new(), TrialNumber(0));
            loop {
                let page = reader.trials(id, after, MAX_ROWS, states)?;
                after = page.trials.last().map_or(after, |row| row.number);
                found.extend(page.trials.into_iter().filter(&is_wanted));
                if !page.more || found.len() > MAX_RETRIES {
                    return Ok(found);
                }
            }
        };
        let rows = self.reader.read(read).await?;
        if rows.len() > MAX_RETRIES {
            let message = format!("more than {MAX_RETRIES} trials failed so; name some of them");
            return Err(CallError::TooMany(message));
        }
        let missing = request.trials.iter();
        let mut missing = missing.filter(|trial| !rows.iter().any(|row| row.number.0 == **trial));
        if let Some(&trial) = missing.next() {
            return Err(self.not_closed(search, TrialNumber(trial), request).await?);
        }
        rows.into_iter().map(prepared).collect()
    }

    /// Why a trial cannot be tried again that is not among those that failed or were cancelled.
    async fn not_closed(
        &self,
        search: &SearchHandle,
        trial: TrialNumber,
        request: &v1::RetryRequest,
    ) -> Result<CallError, CallError> {
        search.require_trial(trial).await?;
        let such = match request.reason.as_str() {
            "" => "",
            _ => " for that reason",
        };
        let message = format!("trial {trial} is not one that failed or was cancelled{such}");
        Ok(Rejection::NotNow(message).into())
    }
}

fn prepared(row: TrialRow) -> Result<(TrialNumber, Box<Prepared>), CallError> {
    let candidate_id = row.candidate_id.ok_or_else(|| {
        CallError::Internal(format!(
            "trial {} has no identity in the journal",
            row.number
        ))
    })?;
    let proposal = Prepared {
        candidate: row.candidate,
        candidate_id,
        origin: row.origin,
        memo: row.memo,
        parameters: row.parameters,
        macs: row.macs,
    };
    Ok((row.number, Box::new(proposal)))
}

/// The candidate that a user writes, if it is one of the search's space and may be tried.
async fn candidate_of(search: &SearchHandle, json: String) -> Result<Box<Prepared>, CallError> {
    if json.len() > MAX_CANDIDATE {
        let message = format!("candidate: at most {MAX_CANDIDATE} bytes are read");
        return Err(CallError::Invalid(message));
    }
    let definition = std::sync::Arc::clone(&search.profile().definition);
    let read = move || {
        let wrong = |problem: String| CallError::Invalid(format!("candidate: {problem}"));
        let decisions: Candidate =
            serde_json::from_str(&json).map_err(|error| wrong(error.to_string()))?;
        let known = Known {
            decisions,
            score: None,
        };
        let known = known.of_space(&definition.spec.space);
        let known = known.map_err(|problem| wrong(problem.to_string()))?;
        let prepared = prepare(&definition, known.decisions, Steer::origin());
        prepared.map(Box::new).map_err(wrong)
    };
    // A network of ten thousand nodes takes too long for a task that others wait for.
    let prepared = tokio::task::spawn_blocking(read).await;
    prepared.map_err(|error| CallError::Internal(error.to_string()))?
}
