//! What is in a data folder, while nobody is at work there.

use std::path::Path;

use espalier_common::ids::{Digest, SearchId, TrialNumber};
use espalier_coordinator::journal::{FILE, JournalReader, States, TrialRow};
use espalier_coordinator::maintenance::{Checked, Listings, check};

/// Checks hashes, listings and file of the journal, and that every artifact is whole. `None`: there is no journal yet.
pub(crate) fn sound(folder: &Path) -> Option<Checked> {
    artifacts(folder);
    if !folder.join(FILE).exists() {
        return None;
    }
    // A file of a moment ago may have no tables yet.
    let reader = JournalReader::open(folder).ok()?;
    let checked = check(&reader).unwrap();
    assert!(checked.is_sound(), "{:?}", checked.problems);
    assert!(
        matches!(checked.listings, Listings::Sound | Listings::ToBeMade),
        "{checked:?}"
    );
    Some(checked)
}

/// The trials of a search.
pub(crate) fn trials(folder: &Path, search: SearchId) -> Vec<TrialRow> {
    let reader = JournalReader::open(folder).unwrap();
    let page = reader.trials(search, TrialNumber(0), 1_000, States::ANY);
    page.unwrap().trials
}

/// The artifacts, each of which has the content that its name stands for.
pub(crate) fn artifacts(folder: &Path) -> Vec<Digest> {
    let mut found = Vec::new();
    let Ok(folders) = std::fs::read_dir(folder.join("artifacts")) else {
        return found;
    };
    for folder in folders.map(|entry| entry.unwrap().path()) {
        let start = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if start == "tmp" {
            continue;
        }
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap();
            let name = start.clone() + file.file_name().to_str().unwrap();
            let content = std::fs::read(file.path()).unwrap();
            assert_eq!(name, Digest::of(&content).to_string(), "half an artifact");
            found.push(Digest::of(&content));
        }
    }
    found
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
