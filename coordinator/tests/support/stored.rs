//! What lies in a coordinator's folder of artifacts.
// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use espalier_common::ids::Digest;

/// Every artifact that is stored.
pub fn stored(data_dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(data_dir.join("artifacts")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.ends_with("tmp") {
            let files = fs::read_dir(folder).unwrap();
            all.extend(files.map(|file| file.unwrap().path()));
        }
    }
    all.sort();
    all
}

/// Where an artifact with this content lies.
pub fn path(data_dir: &Path, content: &[u8]) -> PathBuf {
    let name = Digest::of(content).to_string();
    data_dir.join("artifacts").join(&name[..2]).join(&name[2..])
}

/// Waits until exactly these are stored: files are removed in the background.
pub async fn until_stored(data_dir: &Path, contents: &[&[u8]]) {
    let mut expected: Vec<_> = contents
        .iter()
        .map(|content| path(data_dir, content))
        .collect();
    expected.sort();
    let waiting = async {
        while stored(data_dir) != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    waited.unwrap_or_else(|_| panic!("{:?} are stored, not {expected:?}", stored(data_dir)));
}
