//! What is written can be read, and what is changed is found.

use super::*;
use crate::journal::JournalError;

/// Replays the search's stream of the journal in `folder` after `change`, which must be found.
async fn damage(change: &str) -> (StreamId, u64, String) {
    let folder = written(&history()).await;
    let changed = sqlite(folder.path()).execute(change, []).unwrap();
    assert!(changed > 0, "nothing was changed by {change}");
    let journal = Journal::open(folder.path()).unwrap();
    match journal.reader().replay(STREAM, |_, _, _| Ok(())) {
        Err(JournalError::Broken {
            stream,
            sequence,
            what,
        }) => (stream, sequence, what),
        other => panic!("after {change}: {other:?}"),
    }
}

#[tokio::test]
async fn a_stream_is_read_as_it_was_written() {
    let folder = written(&history()).await;
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(journal.reader().streams().unwrap(), [STREAM]);
    let found = records(journal.reader(), STREAM);
    let events: Vec<Event> = found
        .iter()
        .map(|(_, _, body)| serde_json::from_str(body).unwrap())
        .collect();
    assert_eq!(events, history());
    for (index, (sequence, time_ms, _)) in found.iter().enumerate() {
        assert_eq!(*sequence, index as u64 + 1);
        assert_eq!(*time_ms, 1000 + index as u64);
    }
}

#[tokio::test]
async fn a_reopened_journal_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = None;
    for start in 0..3 {
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(*cluster.get_or_insert(journal.cluster()), journal.cluster());
        let journal = journal.start().unwrap();
        let one = plain(StreamId::Cluster, start, &["{\"a\":1}", "{\"b\":2}"]);
        journal.commit(one).await.unwrap();
        let other = StreamId::Search(SearchId(Uuid::from_u128(100 + u128::from(start))));
        journal.commit(plain(other, start, &["{}"])).await.unwrap();
        journal.close().await;
    }
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(records(journal.reader(), StreamId::Cluster).len(), 6);
    assert_eq!(journal.reader().streams().unwrap().len(), 4);
}

#[tokio::test]
async fn a_changed_byte_is_found_in_any_column_of_any_record() {
    let last = history().len() as u64;
    for sequence in [1, 2, last / 2, last] {
        for change in [
            "body = replace(body, 'a', 'b')",
            "body = body || ' '",
            "time_ms = time_ms + 1",
            "schema = schema + 1",
            "hash = zeroblob(32)",
            "hash = zeroblob(5)",
            "body = zeroblob(9)",
        ] {
            let (stream, found, what) = damage(&format!(
                "UPDATE record SET {change} WHERE row % (1 << 40) = {sequence}"
            ))
            .await;
            assert_eq!((stream, found), (STREAM, sequence), "{change}: {what}");
        }
    }
}

#[tokio::test]
async fn a_removed_record_is_found_wherever_it_was() {
    let last = history().len() as u64;
    for sequence in [1, 9, last] {
        let change = format!("DELETE FROM record WHERE row % (1 << 40) = {sequence}");
        let (_, found, what) = damage(&change).await;
        assert_eq!((found, what.as_str()), (sequence, "it is missing"));
    }
}

#[tokio::test]
async fn a_record_put_at_the_end_behind_the_journals_back_is_found() {
    let last = history().len() as u64;
    let change = format!(
        "INSERT INTO record SELECT row + 1, time_ms, schema, hash, body FROM record
         WHERE row % (1 << 40) = {last}"
    );
    let (_, found, _) = damage(&change).await;
    assert_eq!(found, last + 1);
}

#[tokio::test]
async fn a_changed_end_of_a_stream_is_found() {
    let last = history().len() as u64;
    let (_, found, _) = damage("UPDATE stream SET sequence = sequence - 1").await;
    assert_eq!(found, last);
    let (_, found, _) = damage("UPDATE stream SET hash = zeroblob(32)").await;
    assert_eq!(found, last);
}

#[tokio::test]
async fn a_record_moved_from_another_journal_is_found() {
    let (from, to) = (written(&history()).await, written(&history()).await);
    let connection = sqlite(to.path());
    let other = from.path().join(crate::journal::FILE);
    connection
        .execute("ATTACH ?1 AS other", [other.to_str().unwrap()])
        .unwrap();
    connection
        .execute_batch(
            "DELETE FROM record; INSERT INTO record SELECT * FROM other.record;
             DELETE FROM stream; INSERT INTO stream SELECT * FROM other.stream;",
        )
        .unwrap();
    drop(connection);
    let journal = Journal::open(to.path()).unwrap();
    let error = journal.reader().replay(STREAM, |_, _, _| Ok(()));
    let message = error.unwrap_err().to_string();
    assert!(message.contains("record 1 of stream"), "{message}");
}

#[tokio::test]
async fn a_newer_record_is_refused_by_name_and_a_refused_one_too() {
    let folder = written(&history()).await;
    let journal = Journal::open(folder.path()).unwrap();
    let refusing = |sequence, _, _: &str| match sequence {
        5 => Err("no such event".into()),
        _ => Ok(()),
    };
    let message = journal
        .reader()
        .replay(STREAM, refusing)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains(&format!("record 5 of stream {STREAM}")),
        "{message}"
    );
    assert!(message.contains("no such event"), "{message}");

    // A record that a later version wrote: its hash is right, its schema unknown.
    let connection = sqlite(folder.path());
    let (row, time_ms, body): (i64, i64, String) = connection
        .query_row("SELECT row, time_ms, body FROM record", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    let start = crate::journal::stream::genesis(journal.cluster());
    let hash =
        crate::journal::stream::record_hash(&start, STREAM, 1, time_ms as u64, 2, body.as_bytes());
    connection
        .execute(
            "UPDATE record SET schema = 2, hash = ?2 WHERE row = ?1",
            rusqlite::params![row, hash],
        )
        .unwrap();
    let error = journal.reader().replay(STREAM, |_, _, _| Ok(()));
    assert!(matches!(
        error,
        Err(JournalError::NewerRecord {
            sequence: 1,
            found: 2,
            ..
        })
    ));
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let message = journal
        .reader()
        .replay(STREAM, |_, _, _| Ok(()))
        .unwrap_err()
        .to_string();
    assert_eq!(message, format!("the journal has no stream {SEARCH}"));
}
