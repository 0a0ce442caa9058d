//! The best network on disk: `weights.safetensors` and `candidate.json`, which says what they are the
//! weights of.

use std::path::{Path, PathBuf};

use espalier_proto::{digest_from_wire, v1};
use serde::Serialize;
use serde_json::Value;

use super::client::Client;
use super::error::CliError;
use super::render::{SearchView, TrialView};

/// The file with the weights.
const WEIGHTS: &str = "weights.safetensors";
/// The file with everything else.
const CANDIDATE: &str = "candidate.json";

/// What was written.
#[derive(Debug)]
pub(super) struct Saved {
    /// The candidate.
    pub(super) candidate: PathBuf,
    /// Its weights; absent when the coordinator has none.
    pub(super) weights: Option<PathBuf>,
    pub(super) trial: u32,
}

impl Saved {
    /// Where it lies.
    pub(super) fn sentence(&self) -> String {
        match &self.weights {
            Some(weights) => format!(
                "trial {}: weights in {}, candidate in {}",
                self.trial,
                weights.display(),
                self.candidate.display()
            ),
            None => format!(
                "trial {}: candidate in {}; the coordinator has no weights of it (it keeps those of the \
                 best trial, when the evaluator leaves any)",
                self.trial,
                self.candidate.display()
            ),
        }
    }
}

/// What `candidate.json` holds.
#[derive(Serialize)]
struct CandidateFile<'a> {
    search: SearchView,
    trial: TrialView,
    /// The network and the recipe that the decisions build, when the spec and the data are at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    built: Option<&'a Value>,
}

/// Writes a trial's candidate, and its weights if the coordinator has them, into a folder.
pub(super) async fn save(
    client: &Client,
    status: &v1::SearchStatus,
    trial: &v1::Trial,
    built: Option<&Value>,
    folder: &Path,
) -> Result<Saved, CliError> {
    std::fs::create_dir_all(folder).map_err(|error| CliError::io("make", folder, &error))?;
    let weights = if trial.weights.is_empty() {
        None
    } else {
        let digest = digest_from_wire("weights", &trial.weights)
            .map_err(|error| CliError::Failed(format!("from the coordinator: {error}")))?;
        let path = folder.join(WEIGHTS);
        client.download(&digest, &path).await?;
        Some(path)
    };
    let candidate = folder.join(CANDIDATE);
    let file = CandidateFile {
        search: SearchView::new(status, None),
        trial: TrialView::from(trial),
        built,
    };
    let mut text = serde_json::to_string_pretty(&file)
        .map_err(|error| CliError::Failed(format!("candidate.json: {error}")))?;
    text.push('\n');
    std::fs::write(&candidate, text).map_err(|error| CliError::io("write", &candidate, &error))?;
    Ok(Saved {
        candidate,
        weights,
        trial: trial.number,
    })
}
