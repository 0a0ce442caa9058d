//! Data sets that are kept for workers: pushed, listed, removed, found.

use espalier_common::dataset::{MAX_FILE_NAME, MAX_FILES, is_file_name};
use espalier_common::ids::Digest;
use espalier_proto::{digest_from_wire, v1};
use tonic::{Status, Streaming};
use v1::push_dataset_request::Part;

use super::artifacts::undisturbed;
use super::incoming::Incoming;
use super::searches::SearchApi;
use crate::actors::CallError;
use crate::artifacts::{ArtifactStore, Hold};
use crate::clock::now_ms;
use crate::datasets::{StoredDataset, StoredFile};

/// The longest path and name, in bytes.
const MAX_PATH: usize = 4_096;

/// Takes in a data set, and answers once it is recorded.
pub(super) async fn push(
    api: &SearchApi,
    parts: Streaming<v1::PushDatasetRequest>,
) -> Result<v1::StoredDataset, Status> {
    let mut parts = Incoming::new("push", parts);
    let Some(Part::Header(header)) = parts.next().await?.and_then(|first| first.part) else {
        let message = "the first message of a push is its header".to_owned();
        return Err(CallError::Invalid(message).into());
    };
    let dataset = dataset_from_wire(header)?;
    let held = take_in(&api.artifacts, &dataset, &mut parts).await?;
    let (dispatcher, recorded) = (api.dispatcher.clone(), dataset.clone());
    // The files must be there until it is recorded, also when nobody waits for that any more.
    undisturbed("record data set", async move {
        let _held = held;
        dispatcher.store_dataset(recorded).await
    })
    .await?;
    Ok(dataset_to_wire(dataset))
}

/// Stores the files, which come one after the other.
async fn take_in(
    store: &ArtifactStore,
    dataset: &StoredDataset,
    parts: &mut Incoming<Streaming<v1::PushDatasetRequest>>,
) -> Result<Vec<Hold>, Status> {
    let mut held = Vec::new();
    // What came with the last message and belongs to the next file.
    let mut rest: Vec<u8> = Vec::new();
    for file in &dataset.files {
        let begun = store.begin(file.digest, file.size).await;
        let mut upload = begun.map_err(CallError::from)?;
        let mut left = file.size;
        loop {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let later = rest.split_off(take);
            upload.write(&rest).await.map_err(CallError::from)?;
            left -= rest.len() as u64;
            rest = later;
            if left == 0 {
                break;
            }
            rest = match parts.next().await?.and_then(|part| part.part) {
                Some(Part::Data(data)) => {
                    parts.came(&data)?;
                    data
                }
                Some(Part::Header(_)) => {
                    let message = "after the header, every message of a push is data".to_owned();
                    return Err(CallError::Invalid(message).into());
                }
                // The store says how much is missing.
                None => break,
            };
        }
        held.push(upload.finish().await.map_err(CallError::from)?);
    }
    if !rest.is_empty() || parts.next().await?.is_some() {
        let message = "more came than the header announces".to_owned();
        return Err(CallError::Invalid(message).into());
    }
    Ok(held)
}

/// The one whose fingerprint is this, or begins like this.
pub(super) async fn remove(api: &SearchApi, text: &str) -> Result<v1::StoredDataset, CallError> {
    let mut found = api.datasets.beginning(text);
    let (Some(dataset), true) = (found.pop(), found.is_empty() && !text.is_empty()) else {
        return Err(CallError::UnknownDataset(text.chars().take(80).collect()));
    };
    let fingerprint = dataset.fingerprint;
    api.dispatcher.remove_dataset(fingerprint).await?;
    Ok(dataset_to_wire(dataset))
}

/// What is announced, checked: names end up in the file systems of workers.
fn dataset_from_wire(wire: v1::StoredDataset) -> Result<StoredDataset, CallError> {
    let invalid = |message: String| Err(CallError::Invalid(message));
    if wire.path.is_empty() || wire.path.len() > MAX_PATH {
        return invalid(format!("path: 1 to {MAX_PATH} bytes are taken"));
    }
    if wire.files.is_empty() || wire.files.len() > MAX_FILES {
        return invalid(format!("files: a data set has 1 to {MAX_FILES}"));
    }
    let mut files: Vec<StoredFile> = Vec::new();
    for file in wire.files {
        if !is_file_name(&file.name) || files.iter().any(|other| other.name == file.name) {
            let name: String = file.name.chars().take(80).collect();
            return invalid(format!(
                "files: {name:?} is no name of a file, or there twice; names have 1 to {MAX_FILE_NAME} letters, \
                 digits, `-`, `_` and `.`, and begin with no `.`"
            ));
        }
        files.push(StoredFile {
            digest: digest_from_wire("files.digest", &file.digest)?,
            name: file.name,
            size: file.size,
        });
    }
    Ok(StoredDataset {
        fingerprint: digest_from_wire("fingerprint", &wire.fingerprint)?,
        path: wire.path,
        files,
        stored_ms: now_ms(),
    })
}

/// As it is told.
pub(super) fn dataset_to_wire(dataset: StoredDataset) -> v1::StoredDataset {
    let file = |file: StoredFile| v1::DatasetFile {
        name: file.name,
        digest: file.digest.to_string(),
        size: file.size,
    };
    v1::StoredDataset {
        fingerprint: dataset.fingerprint.to_string(),
        path: dataset.path,
        files: dataset.files.into_iter().map(file).collect(),
        stored_ms: dataset.stored_ms,
    }
}

/// What is asked for.
pub(super) fn fingerprint(text: &str) -> Result<Digest, CallError> {
    Ok(digest_from_wire("fingerprint", text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(names: &[&str]) -> v1::StoredDataset {
        let file = |name: &&str| v1::DatasetFile {
            name: (*name).to_owned(),
            digest: Digest::of(name.as_bytes()).to_string(),
            size: 1,
        };
        v1::StoredDataset {
            fingerprint: Digest::of(b"data").to_string(),
            path: "tiny".to_owned(),
            files: names.iter().map(file).collect(),
            stored_ms: 0,
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        assert!(dataset_from_wire(wire(&["train-images-idx3-ubyte", "a.b_c"])).is_ok());
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/etc/passwd",
            ".hidden",
            "a\0b",
            "ä",
        ] {
            assert!(dataset_from_wire(wire(&[bad])).is_err(), "{bad:?}");
        }
        assert!(dataset_from_wire(wire(&["a", "a"])).is_err());
        assert!(dataset_from_wire(wire(&[])).is_err());
        let many: Vec<String> = (0..=MAX_FILES).map(|number| format!("f{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(dataset_from_wire(wire(&many)).is_err());
    }

    #[test]
    fn whatever_is_announced_is_told_again_as_it_was_and_each_file_lies_right_in_its_folder() {
        let folder = std::path::Path::new("/data/tiny");
        let taken = std::cell::Cell::new(0);
        let names = espalier_fuzzing::text(&espalier_fuzzing::FILE_NAMES);
        let names = proptest::collection::vec(names, 0..4);
        espalier_fuzzing::check(3_000, names, |names| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if let Ok(dataset) = dataset_from_wire(wire(&names)) {
                taken.set(taken.get() + 1);
                for file in &dataset.files {
                    assert_eq!(folder.join(&file.name).parent(), Some(folder), "{names:?}");
                }
                let mut told = dataset_to_wire(dataset);
                told.stored_ms = 0;
                assert_eq!(told, wire(&names));
            }
            Ok(())
        });
        assert!(taken.get() > 100, "{taken:?}");
    }
}
