//! Group commit: what is acknowledged, when, and what happens when a commit fails.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::journal::JournalError;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_many_tasks_are_acknowledged_in_order_and_only_when_durable() {
    const TASKS: u32 = 16;
    const BATCHES: u32 = 50;
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    let order = Arc::new(Mutex::new(vec![Vec::new(); TASKS as usize]));
    let early = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (journal, order, early) = (journal.clone(), order.clone(), early.clone());
        let stream = StreamId::Search(SearchId(Uuid::from_u128(1000 + u128::from(task))));
        tasks.push(tokio::spawn(async move {
            for number in 0..BATCHES {
                let (order, early) = (order.clone(), early.clone());
                let reader = journal.reader().clone();
                let mut batch = plain(stream, u64::from(number), &["{\"a\":1}", "{\"b\":2}"]);
                batch.after = Some(Box::new(move || {
                    // Another connection sees only what is committed.
                    let durable = reader.replay(stream, |_, _, _| Ok(())).unwrap().sequence;
                    if durable < u64::from(number + 1) * 2 {
                        early.fetch_add(1, Ordering::Relaxed);
                    }
                    order.lock().unwrap()[task as usize].push(number);
                }));
                journal.append(batch).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    journal.close().await;
    assert_eq!(early.load(Ordering::Relaxed), 0);
    let expected: Vec<u32> = (0..BATCHES).collect();
    for acknowledged in order.lock().unwrap().iter() {
        assert_eq!(*acknowledged, expected);
    }
}

#[tokio::test]
async fn a_batch_without_records_waits_for_those_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    journal.append(plain(STREAM, 1, &["{}"])).await.unwrap();
    journal.commit(plain(STREAM, 2, &[])).await.unwrap();
    assert_eq!(records(journal.reader(), STREAM).len(), 1);
}

#[tokio::test]
async fn a_closed_journal_has_everything_queued_before_and_takes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    for time_ms in 0..500 {
        journal
            .append(plain(STREAM, time_ms, &["{}"]))
            .await
            .unwrap();
    }
    journal.close().await;
    let refused = journal.append(plain(STREAM, 1, &["{}"])).await;
    assert!(matches!(refused, Err(JournalError::Closed)), "{refused:?}");
    assert!(!journal.failed().is_cancelled());
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(records(journal.reader(), STREAM).len(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_journal_before_anything_more_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    journal.limit_pages(60);
    let journal = journal.start().unwrap();
    let failed = journal.failed();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let body = format!("\"{}\"", "x".repeat(2000));
    for _ in 0..5 {
        journal.commit(plain(STREAM, 1, &[&body])).await.unwrap();
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    let mut queued = 5;
    let error = loop {
        assert!(queued < 10_000, "the disk never filled");
        let mut batch = plain(STREAM, 1, &[&body]);
        let count = acknowledged.clone();
        batch.after = Some(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        match journal.append(batch).await {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
    };
    tokio::time::timeout(Duration::from_secs(10), failed.cancelled())
        .await
        .unwrap();
    let message = error.to_string();
    assert!(matches!(error, JournalError::Failed(_)), "{message}");
    assert!(message.contains("free some space"), "{message}");
    let path = folder.path().to_str().unwrap();
    assert!(message.contains(path), "{message}");
    assert!(journal.failure().unwrap().contains("is full"));
    let commit = journal.commit(plain(STREAM, 1, &["{}"])).await;
    assert!(matches!(commit, Err(JournalError::Failed(_))), "{commit:?}");
    journal.close().await;

    // With space again: exactly what was acknowledged is there, and the journal goes on.
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    assert!((5..queued).contains(&acknowledged));
    let journal = Journal::open(folder.path()).unwrap();
    assert_eq!(records(journal.reader(), STREAM).len(), acknowledged);
    let journal = journal.start().unwrap();
    journal.commit(plain(STREAM, 2, &["{}"])).await.unwrap();
    assert_eq!(records(journal.reader(), STREAM).len(), acknowledged + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_on_the_writers_thread_is_a_failure_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    let mut batch = plain(STREAM, 1, &["{}"]);
    batch.after = Some(Box::new(|| panic!("a continuation that panics")));
    journal.append(batch).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), journal.failed().cancelled())
        .await
        .unwrap();
    let refused = journal.append(plain(STREAM, 1, &["{}"])).await;
    assert!(
        matches!(refused, Err(JournalError::Failed(_))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_queues_more_than_the_queue_holds_waits_for_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let body = |mib: usize| format!("\"{}\"", "x".repeat(mib << 20));
    // Keeps most of the queue's room until it is let go.
    let mut first = plain(STREAM, 1, &[&body(12)]);
    first.after = Some(Box::new(move || {
        let _ = held.recv();
    }));
    journal.append(first).await.unwrap();
    journal.append(plain(STREAM, 2, &["{}"])).await.unwrap();
    // Larger than the whole queue: queued alone.
    let third = plain(STREAM, 3, &[&body(20)]);
    let third = journal.append(third);
    let mut third = std::pin::pin!(third);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut third).await;
    assert!(early.is_err(), "a full queue took more");
    drop(hold);
    third.await.unwrap();
    journal.close().await;
    assert_eq!(records(journal.reader(), STREAM).len(), 3);
}
