//! The commands that ask: `list`, `status`, `trials`, `best`. They change nothing.

use std::collections::BTreeMap;

use espalier_proto::v1;

use super::args::{BestArgs, ListArgs, StatusArgs, TrialsArgs};
use super::client::Client;
use super::error::CliError;
use super::output::{stdout, table_width};
use super::render::{
    ClusterView, SearchView, TrialView, best_table, cluster_text, searches_table, status_text,
    trials_table, uuid_text,
};
use super::weights;

/// `espalier list`.
pub(super) async fn list(client: &Client, args: &ListArgs) -> Result<(), CliError> {
    let searches = client.list().await?;
    let mut out = stdout();
    if args.output.json() {
        let views: Vec<_> = searches
            .iter()
            .map(|search| SearchView::new(search, None))
            .collect();
        out.json(&views)?;
    } else {
        out.text(&searches_table(&searches, table_width()))?;
    }
    out.flush()
}

/// `espalier status`.
pub(super) async fn status(client: &Client, args: &StatusArgs) -> Result<(), CliError> {
    match &args.search {
        Some(search) => one_search(client, search, args.output.json()).await,
        None => whole_cluster(client, args.output.json()).await,
    }
}

async fn one_search(client: &Client, search: &str, json: bool) -> Result<(), CliError> {
    let status = client.get(search).await?;
    let waiting = client
        .cluster()
        .await?
        .waiting
        .into_iter()
        .find(|waiting| waiting.search == status.id)
        .map(|waiting| waiting.reason);
    let mut out = stdout();
    if json {
        out.json(&SearchView::new(&status, waiting))?;
    } else {
        out.text(&status_text(&status, waiting.as_deref()))?;
    }
    out.flush()
}

async fn whole_cluster(client: &Client, json: bool) -> Result<(), CliError> {
    let cluster = client.cluster().await?;
    let mut out = stdout();
    if json {
        out.json(&ClusterView::from(&cluster))?;
    } else {
        let names: BTreeMap<Vec<u8>, String> = client
            .list()
            .await?
            .into_iter()
            .map(|search| (search.id, search.name))
            .collect();
        let name = |id: &[u8]| names.get(id).cloned();
        out.text(&cluster_text(&cluster, name, table_width()))?;
    }
    out.flush()
}

/// `espalier trials`: page after page. JSON is written as the pages come; a table needs them all for its
/// widths.
pub(super) async fn trials(client: &Client, args: &TrialsArgs) -> Result<(), CliError> {
    let states: Vec<String> = args
        .state
        .iter()
        .map(|state| state.word().to_owned())
        .collect();
    // By id: a name may come to mean another search between two pages.
    let search = uuid_text(&client.get(&args.search).await?.id);
    let mut left = args.limit.unwrap_or(u32::MAX);
    let mut after = 0;
    let mut all = Vec::new();
    let mut out = stdout();
    let mut separator = "[\n";
    loop {
        let (page, more) = client.trials(&search, after, left, &states).await?;
        let taken = u32::try_from(page.len()).unwrap_or(u32::MAX);
        after = page.last().map_or(after, |trial| trial.number);
        left = left.saturating_sub(taken);
        if args.output.json() {
            for trial in &page {
                out.text(separator)?;
                out.text(&trial_json(trial)?)?;
                separator = ",\n";
            }
        } else {
            all.extend(page);
        }
        if !more || left == 0 {
            break;
        }
    }
    if args.output.json() {
        out.text(if separator == "[\n" { "[]\n" } else { "\n]\n" })?;
    } else {
        out.text(&trials_table(&all, table_width()))?;
    }
    out.flush()
}

fn trial_json(trial: &v1::Trial) -> Result<String, CliError> {
    serde_json::to_string(&TrialView::from(trial))
        .map_err(|error| CliError::Failed(format!("trial {}: {error}", trial.number)))
}

/// `espalier best`.
pub(super) async fn best(client: &Client, args: &BestArgs) -> Result<(), CliError> {
    let status = client.get(&args.search).await?;
    let search = uuid_text(&status.id);
    let trials = client.best(&search, args.count).await?;
    let Some(first) = trials.first() else {
        return Err(CliError::Failed(format!(
            "search {} has no completed trial yet",
            status.name
        )));
    };
    let mut out = stdout();
    if args.output.json() {
        out.json(&trials.iter().map(TrialView::from).collect::<Vec<_>>())?;
    } else {
        out.text(&best_table(&trials, &status.metric, table_width()))?;
    }
    out.flush()?;
    if let Some(folder) = &args.download {
        let saved = weights::save(client, &status, first, None, folder).await?;
        super::error::say(&saved.sentence());
    }
    Ok(())
}
