//! Starts: locks, versions, and journals whose coordinator was killed.

use std::fs;

use super::*;
use crate::journal::JournalError;

#[tokio::test]
async fn a_second_coordinator_is_refused_and_told_who_was_first() {
    let folder = tempfile::tempdir().unwrap();
    let first = Journal::open(folder.path()).unwrap();
    let refused = || {
        let error = Journal::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
        let pid = format!("process {}", std::process::id());
        assert!(error.contains(&pid), "{error}");
    };
    refused();
    let handle = first.start().unwrap();
    refused();
    handle.close().await;
    Journal::open(folder.path()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let error = Journal::open(&file.join("data")).unwrap_err();
    assert!(matches!(error, JournalError::Folder { .. }), "{error}");
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[test]
fn a_database_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    sqlite(folder.path())
        .execute("CREATE TABLE theirs (a)", [])
        .unwrap();
    let error = Journal::open(folder.path()).unwrap_err();
    assert!(matches!(error, JournalError::Foreign { .. }), "{error}");

    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join(crate::journal::FILE),
        "no database".repeat(100),
    )
    .unwrap();
    let error = Journal::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("restore it from a backup"), "{error}");
}

#[test]
fn a_file_of_a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(Journal::open(folder.path()).unwrap());
    sqlite(folder.path())
        .execute("UPDATE journal SET format = 2", [])
        .unwrap();
    let error = Journal::open(folder.path()).unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 2, .. }));
}

/// What a killed process leaves: the file and its log, without the shared memory.
fn copy(from: &Path, to: &Path, log_bytes: Option<usize>) {
    let log = format!("{}-wal", crate::journal::FILE);
    fs::copy(
        from.join(crate::journal::FILE),
        to.join(crate::journal::FILE),
    )
    .unwrap();
    let bytes = fs::read(from.join(&log)).unwrap();
    let kept = log_bytes.unwrap_or(bytes.len()).min(bytes.len());
    fs::write(to.join(&log), &bytes[..kept]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_copied_while_it_is_written_has_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    let acknowledged = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let writing = tokio::spawn({
        let (journal, acknowledged) = (journal.clone(), acknowledged.clone());
        async move {
            for number in 1..=400 {
                let three = plain(STREAM, number, &["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
                journal.commit(three).await.unwrap();
                acknowledged.store(number, std::sync::atomic::Ordering::SeqCst);
            }
        }
    });
    let mut last = 0;
    while last < 350 {
        let before = acknowledged.load(std::sync::atomic::Ordering::SeqCst);
        if before < last + 50 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            continue;
        }
        last = before;
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path(), None);
        let found = Journal::open(copied.path()).unwrap();
        let end = found.reader().replay(STREAM, |_, _, _| Ok(())).unwrap();
        assert!(end.sequence >= before * 3, "{end:?} but {before} batches");
        assert_eq!(end.sequence % 3, 0, "half a batch");
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn a_log_cut_off_anywhere_leaves_whole_batches() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    for number in 0..20 {
        let bodies = ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"];
        journal
            .commit(plain(STREAM, number, &bodies))
            .await
            .unwrap();
    }
    let log = folder.path().join(format!("{}-wal", crate::journal::FILE));
    let bytes = fs::metadata(log).unwrap().len() as usize;
    let mut lengths = Vec::new();
    for kept in (bytes / 2..=bytes).step_by(bytes / 37) {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path(), Some(kept));
        let found = Journal::open(copied.path()).unwrap();
        let end = found.reader().replay(STREAM, |_, _, _| Ok(())).unwrap();
        assert_eq!(end.sequence % 3, 0, "half a batch of {kept} bytes");
        // And it goes on from there.
        let goes_on = found.start().unwrap();
        goes_on.commit(plain(STREAM, 99, &["{}"])).await.unwrap();
        let now = records(goes_on.reader(), STREAM).len() as u64;
        assert_eq!(now, end.sequence + 1);
        lengths.push(end.sequence);
    }
    assert!(lengths.is_sorted());
    assert!(lengths[0] < 60, "nothing was cut off: {lengths:?}");
}

#[tokio::test]
async fn the_file_of_a_closed_journal_is_whole_without_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    journal.commit(plain(STREAM, 1, &["{}"])).await.unwrap();
    // A connection that has read, and stays open.
    assert_eq!(records(journal.reader(), STREAM).len(), 1);
    journal.close().await;
    let copied = tempfile::tempdir().unwrap();
    let file = copied.path().join(crate::journal::FILE);
    fs::copy(folder.path().join(crate::journal::FILE), file).unwrap();
    let found = Journal::open(copied.path()).unwrap();
    assert_eq!(records(found.reader(), STREAM).len(), 1);
}
