//! A new search that begins with what the first trials of another one found. May import the actors, the core and
//! the journal's reader.

use std::sync::Arc;

use espalier_common::ids::{SearchId, TrialNumber};
use espalier_common::known::Known;
use espalier_common::spec::set;
use espalier_core::search::{Definition, Forked, Prepared};
use espalier_proto::v1;
use tonic::{Request, Response, Status};

use super::caller::said_by;
use super::convert::status_to_wire;
use super::searches::{SearchApi, new_id};
use crate::actors::{CallError, NewSearch, banned, earlier};

/// The most settings that one fork changes.
const MAX_SETTINGS: usize = 100;
/// What a fork is called when nobody says otherwise.
const SUFFIX: &str = "-fork";
/// What messages call the text of its spec.
const FILE: &str = "fork.yaml";

impl SearchApi {
    pub(super) async fn fork_search(
        &self,
        request: Request<v1::ForkRequest>,
    ) -> Result<Response<v1::CreateReply>, Status> {
        let (by, request) = said_by(request)?;
        let id = new_id(&request.id)?;
        let from = self.searches.find(&request.search)?.profile().id;
        let source = Arc::clone(&self.searches.require(from)?.profile().definition);
        let at = self.last_of(from, request.at).await?;
        let (reader, inline) = (self.reader.clone(), self.allow_inline_commands);
        let define = move || {
            let new = resubmitted(&source, &request.name, &request.settings)?;
            let mut definition = new.check(inline)?;
            let mut known = earlier(&reader, from, at, &definition, "fork")?;
            // What the other search itself began with is known here, too.
            let before = source.known.iter().filter(|known| known.score.is_some());
            let mut all: Vec<Known> = before.cloned().collect();
            all.append(&mut known);
            definition.known = of_space(all, &definition)?;
            let bans = banned(&reader, from, &definition)?;
            definition.forked = Some(Forked {
                from,
                at,
                by,
                bans: u32::try_from(bans.len()).unwrap_or(u32::MAX),
            });
            Ok::<(Definition, Vec<Prepared>), CallError>((definition, bans))
        };
        let defined = tokio::task::spawn_blocking(define).await;
        let (definition, bans) =
            defined.map_err(|error| CallError::Internal(error.to_string()))??;
        let search = self.searches.create(id, definition, bans).await?;
        let status = search.status().await?;
        Ok(Response::new(v1::CreateReply {
            status: Some(status_to_wire(&status)),
        }))
    }

    /// The last of the trials that a fork begins with; 0: of all there are.
    async fn last_of(&self, from: SearchId, at: u32) -> Result<TrialNumber, CallError> {
        if at == 0 {
            return Ok(TrialNumber(u32::MAX));
        }
        let trial = TrialNumber(at);
        self.searches.require(from)?.require_trial(trial).await?;
        Ok(trial)
    }
}

/// The other search's spec with its settings changed, as if it were submitted.
fn resubmitted(
    source: &Definition,
    name: &str,
    settings: &[v1::Setting],
) -> Result<NewSearch, CallError> {
    if settings.len() > MAX_SETTINGS {
        let message = format!("settings: at most {MAX_SETTINGS} are taken");
        return Err(CallError::Invalid(message));
    }
    let wrong = |error: espalier_common::spec::EditError| CallError::BadSpec(error.to_string());
    let own = format!("{}{SUFFIX}", source.spec.name);
    let name = if name.is_empty() { &own } else { name };
    let mut text = set(&source.text, "name", name).map_err(wrong)?;
    for setting in settings {
        text = set(&text, &setting.key, &setting.value).map_err(wrong)?;
    }
    let json = |value: Result<String, serde_json::Error>| {
        value.map_err(|error| CallError::Internal(error.to_string()))
    };
    let dataset = source
        .dataset
        .as_ref()
        .filter(|_| source.spec.dataset.is_some());
    let csv = matches!(
        source.spec.warm_start,
        Some(espalier_common::spec::WarmStart::Csv(_))
    );
    Ok(NewSearch {
        text,
        file: FILE.to_owned(),
        dataset: match dataset {
            Some(dataset) => json(serde_json::to_string(dataset))?,
            None => String::new(),
        },
        table: match &source.table {
            Some(table) => json(serde_json::to_string(table))?,
            None => String::new(),
        },
        warm_start: if csv {
            json(serde_json::to_string(&source.known))?
        } else {
            String::new()
        },
    })
}

/// Candidates that are still ones of the space, should the settings have changed it.
fn of_space(known: Vec<Known>, definition: &Definition) -> Result<Vec<Known>, CallError> {
    let space = &definition.spec.space;
    let of_space = |known: &Known| {
        known.of_space(space).map_err(|problem| {
            CallError::BadSpec(format!(
                "a candidate of before is none of this space: {problem}"
            ))
        })
    };
    let known: Result<Vec<Known>, CallError> = known.iter().map(of_space).collect();
    crate::actors::bounded(known?)
}
