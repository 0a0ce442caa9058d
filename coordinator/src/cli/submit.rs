//! `espalier submit`, and `watch`: a search that a coordinator runs.

use espalier_proto::v1;
use espalier_runtime::Shutdown;
use uuid::Uuid;

use super::args::{SubmitArgs, WatchArgs};
use super::client::Client;
use super::contexts::Target;
use super::error::CliError;
use super::follow::{Until, follow};
use super::output::{OutputArgs, stdout, table_width};
use super::progress::Progress;
use super::render::{SearchView, best_table, status_text, uuid_text};
use super::spec_file::SpecFile;

/// The rows of the table at the end of a watched search.
const BEST: u32 = 5;

/// `espalier submit`.
pub(super) async fn submit(target: &Target, args: &SubmitArgs) -> Result<(), CliError> {
    // Before the coordinator is asked anything: a wrong spec is told at once, also without one.
    let file = SpecFile::load(&args.spec, &args.data.data_root)?;
    if file.command().is_some() {
        return Err(CliError::Spec(format!(
            "{}: evaluator.command: a coordinator takes no programs from specs; name one where the workers \
             are started (espalier-worker --evaluator mine='…') and write `evaluator: mine`, or use \
             `espalier run`",
            args.spec.display()
        )));
    }
    let client = Client::connect(target).await?;
    let request = file.request(Uuid::new_v4(), file.text.clone())?;
    let status = client.create(request).await?;
    let id = uuid_text(&status.id);
    let mut out = stdout();
    match (args.output.json(), args.watch) {
        (true, true) => out.json_line(&SearchView::new(&status, None))?,
        (true, false) => out.json(&SearchView::new(&status, None))?,
        (false, _) => out.line(&id)?,
    }
    out.flush()?;
    if args.watch {
        watch_to_end(&client, &id, args.output).await?;
    }
    Ok(())
}

/// `espalier watch`.
pub(super) async fn watch(target: &Target, args: &WatchArgs) -> Result<(), CliError> {
    let client = Client::connect(target).await?;
    // By id from here on: a name may come to mean another search while this one is watched.
    let id = uuid_text(&client.get(&args.search).await?.id);
    watch_to_end(&client, &id, args.output).await
}

async fn watch_to_end(client: &Client, id: &str, output: OutputArgs) -> Result<(), CliError> {
    let shutdown = Shutdown::on_signals()
        .map_err(|error| CliError::Failed(format!("cannot handle signals: {error}")))?;
    let mut progress = if output.json() {
        Progress::for_machines()
    } else {
        Progress::for_people()
    };
    let status = follow(client, id, Until::Finished, &mut progress, &shutdown)
        .await
        .map_err(|error| match error {
            CliError::Interrupted(_) => CliError::Interrupted(format!(
                "interrupted; the search goes on: espalier watch {id}"
            )),
            other => other,
        })?;
    drop(progress);
    if !output.json() {
        print_end(client, id, &status).await?;
    }
    completed_or_failed(&status)
}

async fn print_end(client: &Client, id: &str, status: &v1::SearchStatus) -> Result<(), CliError> {
    let best = client.best(id, BEST).await?;
    let mut out = stdout();
    out.text(&status_text(status, None))?;
    if !best.is_empty() {
        out.line("")?;
        out.text(&best_table(&best, &status.metric, table_width()))?;
    }
    out.flush()
}

/// A search without a completed trial is a failure.
pub(super) fn completed_or_failed(status: &v1::SearchStatus) -> Result<(), CliError> {
    if status.counts.unwrap_or_default().completed > 0 {
        return Ok(());
    }
    Err(CliError::Failed(format!(
        "search {} ended without a completed trial: {}",
        status.name,
        super::render::clean(&status.reason, 500)
    )))
}
