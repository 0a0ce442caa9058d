//! `espalier replay`: every proposal of a search derived again from its journal. Reads the journal beside a
//! coordinator that writes it, or without one. May import the journal and the core.

use std::path::{Path, PathBuf};

use espalier_common::ids::SearchId;
use espalier_coordinator::journal::{FILE, JournalError, JournalReader, StreamId};
use espalier_core::search::Event;
use espalier_core::searcher::{AskPlaces, Derived, Difference, Findings, Replay};
use serde::Serialize;

use super::args::ReplayArgs;
use super::error::CliError;
use super::output::stdout;
use super::render::clean;
use super::serve::default_data_dir;

/// Where `espalier run` keeps its journal below its folder.
const OF_A_RUN: &str = "coordinator";
/// Characters of a name from the journal.
const NAME: usize = 80;

/// What is told. Its JSON is what `--output json` prints; keys are a promise to scripts.
#[derive(Debug, Serialize)]
struct Report {
    search: String,
    name: String,
    release: String,
    #[serde(flatten)]
    findings: Findings,
}

/// Why a stream does not begin as one of a search must.
#[derive(Debug, thiserror::Error)]
#[error("the first event of a search must be search_created")]
struct BadStart;

/// `espalier replay`.
pub(super) fn replay(args: &ReplayArgs) -> Result<(), CliError> {
    let folder = folder_of(args.data_dir.as_deref())?;
    let reader = JournalReader::open(&folder).map_err(failed)?;
    let (id, name) = find(&reader, &args.search)?;
    let report = derive(&reader, id, name).map_err(failed)?;
    let mut out = stdout();
    if args.output.json() {
        out.json(&report)?;
    } else {
        out.text(&text(&report)?)?;
    }
    out.flush()?;
    match report.findings.differing {
        0 => Ok(()),
        some => Err(CliError::Failed(format!(
            "{some} of {} proposals differ from the journal",
            report.findings.compared
        ))),
    }
}

fn failed(error: JournalError) -> CliError {
    CliError::Failed(error.to_string())
}

/// The folder that holds the journal: the one that was named, or that of a run's coordinator below it.
pub(super) fn folder_of(named: Option<&Path>) -> Result<PathBuf, CliError> {
    let folder = named.map_or_else(default_data_dir, Path::to_owned);
    let candidates = [folder.clone(), folder.join(OF_A_RUN)];
    let found = candidates
        .into_iter()
        .find(|folder| folder.join(FILE).exists());
    found.ok_or_else(|| {
        CliError::NotFound(format!(
            "there is no journal in {}; name the folder of a coordinator or of a run with --data-dir",
            folder.display()
        ))
    })
}

/// The search that is meant: by its id, a beginning of it, or its name.
fn find(reader: &JournalReader, wanted: &str) -> Result<(SearchId, String), CliError> {
    let mut named = Vec::new();
    let mut begins = Vec::new();
    for stream in reader.streams().map_err(failed)? {
        let StreamId::Search(id) = stream else {
            continue;
        };
        let name = name_of(reader, stream)?;
        let text = id.to_string();
        let prefix = wanted.to_ascii_lowercase();
        let is_begun = text.starts_with(&prefix) || text.replace('-', "").starts_with(&prefix);
        if name == wanted {
            named.push((id, name));
        } else if is_begun && !wanted.is_empty() {
            begins.push((id, name));
        }
    }
    let mut found = if named.is_empty() { begins } else { named };
    let shown = clean(wanted, NAME);
    match found.len() {
        0 => Err(CliError::NotFound(format!(
            "the journal {} has no search {shown:?}",
            reader.path().display()
        ))),
        1 => Ok(found.remove(0)),
        _ => {
            let ids: Vec<String> = found.iter().map(|(id, _)| id.to_string()).collect();
            Err(CliError::NotFound(format!(
                "{shown:?} may mean {}; give more of the id",
                ids.join(", ")
            )))
        }
    }
}

fn name_of(reader: &JournalReader, stream: StreamId) -> Result<String, CliError> {
    let body = reader.first(stream).map_err(failed)?.unwrap_or_default();
    match serde_json::from_str(&body) {
        Ok(Event::SearchCreated { definition }) => Ok(definition.spec.name),
        // A damaged one is told when it is read to be replayed; it is not in the way of the others.
        _ => Ok(String::new()),
    }
}

/// Reads the stream twice, both times to the same record.
fn derive(reader: &JournalReader, id: SearchId, name: String) -> Result<Report, JournalError> {
    let mut places = AskPlaces::default();
    let end = reader.replay(StreamId::Search(id), |_, _, body| {
        places.read(&serde_json::from_str(body)?);
        Ok(())
    })?;
    let mut places = Some(places);
    let mut replay: Option<Replay> = None;
    let mut release = String::new();
    reader.replay(StreamId::Search(id), |sequence, time_ms, body| {
        if sequence > end.sequence {
            return Ok(());
        }
        let event: Event = serde_json::from_str(body)?;
        if let Some(replay) = &mut replay {
            replay.read(&event, time_ms);
        } else if let Some(places) = places.take() {
            if let Event::SearchCreated { definition } = &event {
                release.clone_from(&definition.release);
            }
            replay = Some(Replay::begin(id, &event, time_ms, places).ok_or(BadStart)?);
        }
        Ok(())
    })?;
    Ok(Report {
        search: id.to_string(),
        name,
        release,
        findings: replay.map(Replay::findings).unwrap_or_default(),
    })
}

fn text(report: &Report) -> Result<String, CliError> {
    let findings = &report.findings;
    let mut lines = vec![format!(
        "search {} ({}): {} proposals derived again",
        clean(&report.name, NAME),
        report.search,
        findings.compared
    )];
    if findings.unplaced > 0 {
        lines.push(format!(
            "{} proposals were not: they are of a version that did not record where they were asked for",
            findings.unplaced
        ));
    }
    match &findings.first {
        None if findings.compared > 0 => lines.push("none differs from the journal".to_owned()),
        None => {}
        Some(first) => lines.extend(difference(first, findings.differing, &report.release)?),
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

fn difference(first: &Difference, differing: u64, release: &str) -> Result<Vec<String>, CliError> {
    let trial = first
        .trial
        .map(|trial| format!(" (trial {trial})"))
        .unwrap_or_default();
    let mut lines = vec![format!(
        "{differing} differ; the first is ask {}{trial}",
        first.ask
    )];
    let this = env!("CARGO_PKG_VERSION");
    if !release.is_empty() && release != this {
        lines.push(format!(
            "the search was run by espalier {}, and this is {this}: another version may propose something else",
            clean(release, NAME)
        ));
    }
    for (title, derived) in [
        ("in the journal", &first.recorded),
        ("derived again", &first.derived),
    ] {
        lines.push(format!("{title}:"));
        lines.push(indented(derived)?);
    }
    Ok(lines)
}

fn indented(derived: &Derived) -> Result<String, CliError> {
    let json = serde_json::to_string_pretty(derived)
        .map_err(|error| CliError::Failed(format!("a proposal has no JSON form: {error}")))?;
    let lines: Vec<String> = json.lines().map(|line| format!("  {line}")).collect();
    Ok(lines.join("\n"))
}
