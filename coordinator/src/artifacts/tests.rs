//! Tests of the artifact store.

use std::fs;

use tokio::io::AsyncReadExt;

use super::*;

const MOST: u64 = 1 << 20;

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push(path),
        }
    }
    all
}

async fn store(
    artifacts: &ArtifactStore,
    announced: Digest,
    size: u64,
    content: &[u8],
) -> Result<Hold, ArtifactError> {
    let mut upload = artifacts.begin(announced, size).await?;
    for piece in content.chunks(1000) {
        upload.write(piece).await?;
    }
    upload.finish().await
}

/// Stores `content` under its digest.
async fn put(artifacts: &ArtifactStore, content: &[u8]) -> (Digest, Hold) {
    let digest = Digest::of(content);
    let stored = store(artifacts, digest, content.len() as u64, content).await;
    (digest, stored.unwrap())
}

/// Waits until an artifact is gone: files are removed in the background.
async fn gone(artifacts: &ArtifactStore, digest: &Digest) {
    let gone = async {
        while artifacts.path(digest).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let limit = std::time::Duration::from_secs(10);
    let gone = tokio::time::timeout(limit, gone).await;
    gone.expect("it was to be removed");
}

#[tokio::test]
async fn an_artifact_is_read_as_it_was_stored_and_gone_when_released() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("artifacts");
    let artifacts = ArtifactStore::open(&root, MOST).unwrap();
    let content: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
    let digest = Digest::of(&content);
    assert!(artifacts.find(&digest).await.unwrap().is_none());
    let missing = artifacts.open_artifact(&digest).await.unwrap_err();
    assert!(matches!(missing, ArtifactError::Missing(found) if found == digest));
    artifacts.want(digest);
    // Twice: an attempt that is repeated leaves the same file.
    for _ in 0..2 {
        drop(put(&artifacts, &content).await);
        assert_eq!(files(&root), [artifacts.path(&digest)]);
    }
    let (mut file, size) = artifacts.open_artifact(&digest).await.unwrap();
    let mut found = Vec::new();
    file.read_to_end(&mut found).await.unwrap();
    assert_eq!((size, &found), (content.len() as u64, &content));
    artifacts.release(&digest);
    gone(&artifacts, &digest).await;
    assert!(artifacts.find(&digest).await.unwrap().is_none());
}

#[tokio::test]
async fn an_artifact_stays_while_anybody_claims_it() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
    let (digest, uploaded) = put(&artifacts, b"abc").await;
    // Two searches with the same weights, and a call that looks them up.
    artifacts.want(digest);
    artifacts.want(digest);
    drop(uploaded);
    let found = artifacts.find(&digest).await.unwrap();
    artifacts.release(&digest);
    artifacts.release(&digest);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(artifacts.path(&digest).exists(), "a call still holds it");
    drop(found);
    gone(&artifacts, &digest).await;
}

#[tokio::test]
async fn at_the_start_what_nobody_claims_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
    let (wanted, first) = put(&artifacts, b"wanted").await;
    let (orphan, second) = put(&artifacts, b"orphan").await;
    // As a coordinator that was killed leaves them: nothing is released.
    std::mem::forget((first, second));
    fs::write(folder.path().join("README"), "a user's").unwrap();
    let stranger = artifacts.path(&wanted).with_file_name("notes.txt");
    fs::write(&stranger, "a user's").unwrap();
    let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
    artifacts.want(wanted);
    artifacts.sweep().await.unwrap();
    let mut left = files(folder.path());
    left.sort();
    let mut expected = vec![
        folder.path().join("README"),
        artifacts.path(&wanted),
        stranger,
    ];
    expected.sort();
    assert_eq!(left, expected);
    assert!(artifacts.find(&orphan).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_not_as_announced_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
    let content = vec![7; 5000];
    let (right, wrong) = (Digest::of(&content), Digest::of(b"other"));
    let refused = store(&artifacts, wrong, 5000, &content).await.unwrap_err();
    assert!(matches!(refused, ArtifactError::WrongDigest { got, .. } if got == right));
    for announced in [4999, 5001, 100, 0] {
        let refused = store(&artifacts, right, announced, &content)
            .await
            .unwrap_err();
        let found = matches!(refused, ArtifactError::WrongSize { announced: said, .. } if said == announced);
        assert!(found, "{refused}");
    }
    let refused = store(&artifacts, right, MOST + 1, &content)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("--max-artifact-bytes"));
    assert_eq!(files(folder.path()), [] as [PathBuf; 0]);
    assert!(artifacts.find(&right).await.unwrap().is_none());
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
    let mut upload = artifacts.begin(Digest::of(b"abc"), 3).await.unwrap();
    upload.write(b"ab").await.unwrap();
    assert_eq!(files(folder.path()).len(), 1);
    drop(upload);
    assert_eq!(files(folder.path()), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn an_empty_artifact_can_be_stored() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
    let digest = Digest::of(b"");
    let _stored = store(&artifacts, digest, 0, b"").await.unwrap();
    assert_eq!(artifacts.open_artifact(&digest).await.unwrap().1, 0);
}

#[tokio::test]
async fn what_a_killed_coordinator_left_is_removed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
    std::mem::forget(put(&artifacts, b"abc").await);
    fs::write(folder.path().join(TEMPORARY).join(".half"), "half").unwrap();
    let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
    let kept = artifacts.path(&Digest::of(b"abc"));
    assert_eq!(files(folder.path()), [kept]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let refused = ArtifactStore::open(&file.join("artifacts"), MOST).unwrap_err();
    assert!(refused.to_string().contains("file/artifacts"), "{refused}");

    // The folder vanishes while the coordinator runs: an error, not a panic.
    let artifacts = ArtifactStore::open(&folder.path().join("artifacts"), MOST).unwrap();
    fs::remove_dir_all(folder.path().join("artifacts")).unwrap();
    let refused = store(&artifacts, Digest::of(b"abc"), 3, b"abc")
        .await
        .unwrap_err();
    assert!(matches!(refused, ArtifactError::Io { .. }), "{refused}");
}

#[tokio::test]
async fn a_full_disk_is_told_apart_from_other_errors() {
    // Writing to /dev/full fails as a full disk does.
    let mut full = File::options().write(true).open("/dev/full").await.unwrap();
    full.write_all(b"abc").await.unwrap();
    let source = full.flush().await.unwrap_err();
    let error = io_error("written", Path::new("/data/artifacts"))(source);
    assert!(matches!(error, ArtifactError::Full { .. }), "{error}");
    assert!(error.to_string().contains("free some space"));
}

#[tokio::test]
async fn whatever_is_asked_for_lies_in_the_folder_and_only_what_lies_there_so_is_an_artifact() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = ArtifactStore::open(folder.path(), MOST).unwrap();
    let real = Digest::of(b"abc").to_string();
    let capitals = real.to_uppercase();
    let odd = [
        &*real,
        &real,
        &capitals,
        &capitals,
        "../../etc/passwd",
        "tmp",
    ];
    let (taken, listed) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    espalier_fuzzing::check(2_000, espalier_fuzzing::text(&odd), |name| {
        if let Ok(digest) = name.parse::<Digest>() {
            taken.set(taken.get() + 1);
            let path = artifacts.path(&digest);
            let inside = path.strip_prefix(folder.path()).unwrap();
            let parts: Vec<&str> = inside.iter().map(|part| part.to_str().unwrap()).collect();
            assert_eq!(parts.concat(), name.to_ascii_lowercase());
            assert_eq!(parts.len(), 2);
        }
        Ok(())
    });
    // Names of files that somebody may have put there.
    let two = 2_usize;
    espalier_fuzzing::check(400, espalier_fuzzing::text(&odd), |name| {
        let name = name.replace(['/', '\0'], "_");
        let cut = name.floor_char_boundary(two.min(name.len()));
        let (start, end) = name.split_at(cut);
        let place = folder.path().join(if start.trim_matches('.').is_empty() {
            "x"
        } else {
            start
        });
        let file = place.join(if end.trim_matches('.').is_empty() {
            "x"
        } else {
            end
        });
        if place.is_file() || fs::create_dir_all(&place).is_err() || fs::write(&file, "x").is_err()
        {
            return Ok(());
        }
        for (digest, path) in claims::stored(folder.path()).unwrap() {
            listed.set(listed.get() + 1);
            assert_eq!(path, artifacts.path(&digest), "{name:?}");
        }
        fs::remove_file(file).unwrap();
        Ok(())
    });
    let counts = (taken.get(), listed.get());
    assert!(counts.0 > 50 && counts.1 > 3, "{counts:?}");
}
