//! `espalier dataset`: data sets and tables of results that the coordinator keeps for workers without them. May import
//! the reader of both.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use espalier_common::dataset::{DatasetFormat, DatasetReference, is_file_name};
use espalier_common::ids::Digest;
use espalier_proto::{ARTIFACT_PIECE_BYTES, v1};
use futures::Stream;
use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use v1::push_dataset_request::Part;

use super::args::{DatasetCommand, DatasetListArgs, DatasetPushArgs, DatasetRemoveArgs};
use super::client::Client;
use super::error::CliError;
use super::output::stdout;
use super::output::table_width;
use super::render::{clean, finish, table, utc};

/// A data set, for machines. Its keys are stable.
#[derive(Serialize)]
struct DatasetView<'a> {
    fingerprint: &'a str,
    path: &'a str,
    bytes: u64,
    stored_ms: u64,
}

impl<'a> DatasetView<'a> {
    fn new(dataset: &'a v1::StoredDataset) -> Self {
        Self {
            fingerprint: &dataset.fingerprint,
            path: &dataset.path,
            bytes: bytes(dataset),
            stored_ms: dataset.stored_ms,
        }
    }
}

fn bytes(dataset: &v1::StoredDataset) -> u64 {
    dataset
        .files
        .iter()
        .fold(0, |all, file| all.saturating_add(file.size))
}

/// `espalier dataset`.
pub(super) async fn dataset(client: &Client, command: &DatasetCommand) -> Result<(), CliError> {
    match command {
        DatasetCommand::Push(args) => push(client, args).await,
        DatasetCommand::List(args) => list(client, args).await,
        DatasetCommand::Remove(args) => remove(client, args).await,
    }
}

async fn push(client: &Client, args: &DatasetPushArgs) -> Result<(), CliError> {
    let (root, path) = (args.data.data_root.clone(), args.path.clone());
    let look = tokio::task::spawn_blocking(move || look(&root, &path));
    let looked = look
        .await
        .map_err(|error| CliError::Failed(error.to_string()))?;
    let (header, files) = looked?;
    let size = bytes(&header);
    let stored = client.push_dataset(messages(header, files), size).await?;
    tell(
        &stored,
        args.output.json(),
        "is kept; workers without it fetch it",
    )
}

async fn remove(client: &Client, args: &DatasetRemoveArgs) -> Result<(), CliError> {
    let removed = client.remove_dataset(&args.fingerprint).await?;
    tell(&removed, args.output.json(), "is kept no more")
}

fn tell(dataset: &v1::StoredDataset, json: bool, what: &str) -> Result<(), CliError> {
    let mut out = stdout();
    if json {
        out.json(&DatasetView::new(dataset))?;
    } else {
        let path = clean(&dataset.path, 200);
        out.line(&format!("{path} ({}) {what}", dataset.fingerprint))?;
    }
    out.flush()
}

async fn list(client: &Client, args: &DatasetListArgs) -> Result<(), CliError> {
    let datasets = client.list_datasets().await?;
    let mut out = stdout();
    if args.output.json() {
        let views: Vec<DatasetView> = datasets.iter().map(DatasetView::new).collect();
        out.json(&views)?;
    } else {
        let header = ["fingerprint", "bytes", "stored", "path"];
        let mut rows = table(table_width(), &header, &[1]);
        for dataset in &datasets {
            rows.add_row([
                dataset.fingerprint.chars().take(12).collect(),
                bytes(dataset).to_string(),
                utc(dataset.stored_ms),
                clean(&dataset.path, 200),
            ]);
        }
        out.text(&finish(&rows))?;
    }
    out.flush()
}

/// What lies there: described as the coordinator wants it, and the files in that order. A folder is a data set, a file
/// a table of results.
fn look(root: &Path, path: &str) -> Result<(v1::StoredDataset, Vec<PathBuf>), CliError> {
    let wrong = |error: espalier_data::DataError| CliError::Spec(format!("espalier: {error}"));
    let (fingerprint, paths) = if root.join(path).is_file() {
        let (file, fingerprint) = espalier_data::identify_table(root, path).map_err(wrong)?;
        (fingerprint, vec![file])
    } else {
        let reference = DatasetReference {
            format: DatasetFormat::Idx,
            path: path.to_owned(),
            train: None,
            // Any will do: the fingerprint is that of the files.
            validation: 1,
            split_seed: 0,
        };
        let info = espalier_data::inspect(root, &reference).map_err(wrong)?;
        let paths = espalier_data::files(root, &reference).map_err(wrong)?;
        (info.fingerprint, paths)
    };
    let files: Result<Vec<_>, _> = paths.iter().map(|path| describe(path)).collect();
    let header = v1::StoredDataset {
        fingerprint: fingerprint.to_string(),
        path: path.to_owned(),
        files: files?,
        stored_ms: 0,
    };
    Ok((header, paths))
}

fn describe(path: &Path) -> Result<v1::DatasetFile, CliError> {
    let unreadable = |error: std::io::Error| CliError::io("read", path, &error);
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(File::open(path).map_err(unreadable)?)
        .map_err(unreadable)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Names of tables are their users' own; what one is called on workers plays no part.
    let name = if is_file_name(&name) { &*name } else { "table" };
    Ok(v1::DatasetFile {
        name: name.to_owned(),
        digest: Digest(*hasher.finalize().as_bytes()).to_string(),
        size: std::fs::metadata(path).map_err(unreadable)?.len(),
    })
}

/// The messages of a push. A file that cannot be read ends them early, and what is too short is refused.
fn messages(
    header: v1::StoredDataset,
    files: Vec<PathBuf>,
) -> impl Stream<Item = v1::PushDatasetRequest> + Send + 'static {
    let message = |part| v1::PushDatasetRequest { part: Some(part) };
    async_stream::stream! {
        yield message(Part::Header(header));
        for path in files {
            let Ok(mut file) = tokio::fs::File::open(&path).await else { return };
            loop {
                let mut piece = Vec::with_capacity(ARTIFACT_PIECE_BYTES);
                let mut limited = (&mut file).take(ARTIFACT_PIECE_BYTES as u64);
                match limited.read_to_end(&mut piece).await {
                    Ok(0) => break,
                    Ok(_) => yield message(Part::Data(piece)),
                    Err(_) => return,
                }
            }
        }
    }
}

/// How long a push may take: a network slower than 64 KiB a second is not put up with.
pub(super) fn push_limit(bytes: u64) -> Duration {
    Duration::from_secs(60 + bytes / (64 * 1024))
}
