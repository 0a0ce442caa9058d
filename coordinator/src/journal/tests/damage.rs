//! A journal cut or changed at every byte of its last records, in its log and in its file: it is refused, or
//! what is read is what was written, as far as is said. Pages are small here, so that every byte can be tried.

use std::fs;

use super::*;
use crate::journal::{FILE, JournalError, LogEnd, end_of_log};

/// The smallest pages that SQLite has.
const PAGE: usize = 512;

type Records = Vec<(StreamId, Vec<(u64, u64, String)>)>;

/// A new journal with small pages.
fn small() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    sqlite(folder.path())
        .execute_batch(&format!("PRAGMA page_size = {PAGE}; VACUUM;"))
        .unwrap();
    folder
}

/// Three streams, a record a commit, the last ones of different streams. Returns what a killed coordinator
/// leaves (file and log) and a closed journal's file.
async fn journals() -> (Files, Files) {
    let folder = small();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    let other = StreamId::Search(OTHER);
    let commit = |one| async { journal.commit(one).await.unwrap() };
    commit(plain(StreamId::Cluster, 1, &["{\"worker\":1}"])).await;
    commit_each(&journal, &history()[..6]).await;
    commit(plain(other, 2, &["{\"search_created\":2}"])).await;
    for event in &history()[6..12] {
        commit(batch(STREAM, 9, std::slice::from_ref(event))).await;
    }
    commit(plain(
        StreamId::Cluster,
        3,
        &["{\"worker\":2}", "{\"worker\":3}"],
    ))
    .await;
    commit(plain(other, 4, &["{\"measured\":0.25}"])).await;
    commit(batch(STREAM, 10, &history()[12..13])).await;
    let killed = Files::read(folder.path());
    journal.close().await;
    let closed = Files::read(folder.path());
    assert!(closed.log.is_empty() && killed.log.len() > 20 * PAGE);
    (killed, closed)
}

/// A folder that costs no disk, where there is one: it is written many thousand times.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// The bytes of a journal.
#[derive(Clone)]
struct Files {
    file: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    fn read(folder: &Path) -> Self {
        let log = fs::read(folder.join(format!("{FILE}-wal")));
        Self {
            file: fs::read(folder.join(FILE)).unwrap(),
            log: log.unwrap_or_default(),
        }
    }

    fn write(&self, folder: &Path) {
        fs::write(folder.join(FILE), &self.file).unwrap();
        let log = folder.join(format!("{FILE}-wal"));
        if self.log.is_empty() {
            let _ = fs::remove_file(log);
        } else {
            fs::write(log, &self.log).unwrap();
        }
        let _ = fs::remove_file(folder.join(format!("{FILE}-shm")));
    }

    /// As a coordinator reads it at its start: how the log ends, and every record.
    fn open(&self, folder: &Path) -> Result<(LogEnd, Records), JournalError> {
        self.write(folder);
        let end = end_of_log(folder)?.unwrap();
        let reader = JournalReader::open(folder)?;
        let mut all = Vec::new();
        for stream in reader.streams()? {
            let mut found = Vec::new();
            reader.replay(stream, |sequence, time_ms, body| {
                found.push((sequence, time_ms, body.to_owned()));
                Ok(())
            })?;
            all.push((stream, found));
        }
        Ok((end, all))
    }

    /// Where each commit of the log ends.
    fn commits(&self) -> Vec<usize> {
        let frame = PAGE + 24;
        let ends = (32..self.log.len()).step_by(frame);
        ends.filter(|at| self.log[at + 4..at + 8] != [0; 4])
            .map(|at| at + frame)
            .collect()
    }
}

fn count(records: &Records) -> usize {
    records.iter().map(|(_, found)| found.len()).sum()
}

/// Whether every stream is a beginning of what was written.
fn is_beginning(found: &Records, written: &Records) -> bool {
    found.iter().all(|(stream, found)| {
        let written = written.iter().find(|(other, _)| other == stream);
        written.is_some_and(|(_, written)| written.starts_with(found))
    })
}

#[tokio::test]
async fn a_log_cut_at_every_byte_of_its_last_commits_is_read_to_the_last_whole_one_and_told() {
    let (killed, _) = journals().await;
    let folder = in_memory();
    let (end, whole) = killed.open(folder.path()).unwrap();
    assert_eq!((end, count(&whole)), (LogEnd::Whole, 18));
    let commits = killed.commits();
    let from = commits[commits.len() - 4];
    let mut told = 0;
    for length in from..killed.log.len() {
        let mut cut = killed.clone();
        cut.log.truncate(length);
        let (end, found) = cut.open(folder.path()).unwrap();
        assert!(is_beginning(&found, &whole), "cut at {length}");
        // The last commits have 2, 1 and 1 records.
        let left = commits.iter().filter(|commit| **commit <= length).count();
        let lost = [0, 1, 2, 4][commits.len() - left];
        assert_eq!(count(&found), 18 - lost, "cut at {length}");
        if commits.contains(&length) {
            assert_eq!(end, LogEnd::Whole, "cut at {length}");
        } else {
            let last = commits[left - 1] as u64;
            assert_eq!(end, LogEnd::Torn(last), "cut at {length}");
            told += 1;
        }
    }
    assert!(told > 3 * PAGE, "{told}");
}

#[tokio::test]
async fn a_log_changed_at_any_byte_of_its_last_commits_loses_the_last_one_at_most_and_tells_it() {
    let (killed, _) = journals().await;
    let folder = in_memory();
    let (_, whole) = killed.open(folder.path()).unwrap();
    let commits = killed.commits();
    let (from, last) = (commits[commits.len() - 4], commits[commits.len() - 2]);
    let (mut refused, mut torn) = (0, 0);
    for place in (0..32).chain(from..killed.log.len()) {
        let mut changed = killed.clone();
        changed.log[place] ^= if place % 2 == 0 { 0x01 } else { 0x80 };
        match changed.open(folder.path()) {
            Err(JournalError::DamagedLog { from, .. }) => {
                assert!(from as usize <= place, "at {place}: said from {from}");
                refused += 1;
            }
            Err(other) => panic!("at {place}: {other}"),
            Ok((end, found)) => {
                assert!(place >= last, "at {place}: commits are gone in silence");
                assert_eq!(end, LogEnd::Torn(last as u64), "at {place}");
                assert!(is_beginning(&found, &whole));
                assert_eq!(count(&found), 17, "at {place}");
                torn += 1;
            }
        }
    }
    assert!(
        refused > 2 * PAGE && torn > PAGE,
        "{refused} refused, {torn} torn"
    );
    // Whoever opens it to write is refused too.
    let mut changed = killed.clone();
    changed.log[from + 100] ^= 1;
    changed.write(folder.path());
    let error = Journal::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is damaged at byte"), "{error}");
    let advice = format!("truncate -s {from} ");
    assert!(error.contains(&advice), "{error}");
    // And what it advises works: the rest is read.
    changed.log.truncate(from);
    changed.write(folder.path());
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(records(journal.reader(), STREAM).len(), 12);
}

/// A log that was begun anew when all of it had been moved into the file: its old frames lie behind the new ones.
async fn begun_anew(commits: usize) -> Files {
    let folder = small();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    commit_each(&journal, &history()).await;
    let before = Files::read(folder.path()).log.len();
    // As the journal does by itself when its log is 32 MiB long.
    let moved = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let (frames, moved) = sqlite(folder.path())
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], moved)
        .unwrap();
    assert_eq!(frames, moved);
    for number in 0..commits {
        let body = format!("{{\"worker\":{number}}}");
        journal
            .commit(plain(StreamId::Cluster, 9, &[&body]))
            .await
            .unwrap();
    }
    let killed = Files::read(folder.path());
    assert_eq!(killed.log.len(), before, "the log was not begun anew");
    journal.close().await;
    killed
}

#[tokio::test]
async fn what_an_earlier_log_has_left_behind_this_one_is_no_damage() {
    let folder = in_memory();
    for commits in [1, 2, 5] {
        let files = begun_anew(commits).await;
        let (end, records) = files.open(folder.path()).unwrap();
        assert_eq!(end, LogEnd::Whole, "{commits} commits");
        assert_eq!(count(&records), history().len() + commits);
    }
}

#[tokio::test]
async fn a_log_that_was_begun_anew_and_is_changed_loses_the_last_commit_at_most_and_tells_it() {
    let folder = in_memory();
    let files = begun_anew(4).await;
    let (_, whole) = files.open(folder.path()).unwrap();
    // The frames of the new log: those with the salts of its header.
    let frame = PAGE + 24;
    let own = (32..files.log.len())
        .step_by(frame)
        .take_while(|at| files.log[at + 8..at + 16] == files.log[16..24])
        .count();
    assert!(own >= 4 && 32 + own * frame < files.log.len());
    for place in (32..32 + own * frame).step_by(7) {
        let mut changed = files.clone();
        changed.log[place] ^= 0x10;
        match changed.open(folder.path()) {
            Ok((LogEnd::Whole, records)) => assert_eq!(records, whole, "byte {place}"),
            Ok((LogEnd::Torn(_), records)) => {
                assert!(count(&records) + 1 >= count(&whole), "byte {place}");
            }
            Ok((LogEnd::Damaged(_), _)) | Err(_) => {}
        }
    }
}

#[tokio::test]
async fn a_file_changed_at_any_byte_is_refused_or_has_every_record_as_it_was_written() {
    let (_, closed) = journals().await;
    let folder = in_memory();
    let (_, whole) = closed.open(folder.path()).unwrap();
    // Every byte of the last records and what is around them, and a third of all others.
    let last: Vec<usize> = [&b"\"measured\":0.25"[..], b"\"worker\":3", b"search_paused"]
        .into_iter()
        .filter_map(|body| {
            closed
                .file
                .windows(body.len())
                .rposition(|piece| piece == body)
        })
        .collect();
    assert_eq!(last.len(), 3);
    let is_tried = |place: usize| {
        place.is_multiple_of(3) || last.iter().any(|body| place.abs_diff(*body) < 150)
    };
    let (mut refused, mut same) = (0, 0);
    for place in (0..closed.file.len()).filter(|place| is_tried(*place)) {
        let mut changed = closed.clone();
        changed.file[place] ^= if place % 2 == 0 { 0x01 } else { 0x80 };
        match changed.open(folder.path()) {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
            Ok((_, found)) => {
                assert!(found == whole, "at {place}: {found:?}");
                same += 1;
            }
        }
    }
    assert!(
        refused > 2 * PAGE && same > PAGE / 2,
        "{refused} refused, {same} the same"
    );
}

#[tokio::test]
async fn a_file_cut_at_any_length_is_refused_or_has_every_record() {
    let (_, closed) = journals().await;
    let folder = in_memory();
    let (_, whole) = closed.open(folder.path()).unwrap();
    let mut refused = 0;
    for length in 1..closed.file.len() {
        let mut cut = closed.clone();
        cut.file.truncate(length);
        match cut.open(folder.path()) {
            Err(_) => refused += 1,
            Ok((_, found)) => assert!(found == whole, "cut at {length}: {found:?}"),
        }
    }
    assert!(refused > 5 * PAGE, "{refused}");
}
