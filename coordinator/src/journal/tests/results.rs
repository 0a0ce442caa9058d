//! Results that other searches may reuse: which one is found, and with which weights.

use espalier_core::search::result_key;

use super::*;

/// The key of a trial's candidate, as the projection makes it.
fn key(trial: u32) -> Digest {
    let Event::SearchCreated { definition } = created() else {
        panic!("the first event");
    };
    let circumstances = definition.circumstances().unwrap();
    result_key(&circumstances, &Digest::of(&trial.to_le_bytes()))
}

fn finished(trial: u32, score: f64) -> Vec<Event> {
    let end = completed(trial, 1, vec![measurement(3, score)], score);
    vec![proposed(trial), leased(trial, 1), end]
}

#[tokio::test]
async fn the_last_trained_result_of_a_candidate_is_found_in_whichever_search_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap().start().unwrap();
    let reader = journal.reader().clone();
    let mut first = vec![created(), proposed(1), leased(1, 1)];
    journal.commit(batch(STREAM, 1, &first)).await.unwrap();
    assert_eq!(
        reader.result(&key(1)).unwrap(),
        None,
        "it has no result yet"
    );
    first = vec![
        completed(1, 1, vec![measurement(3, 0.5)], 0.5),
        proposed(2),
        failed(2, 1),
    ];
    journal.commit(batch(STREAM, 2, &first)).await.unwrap();
    let found = reader.result(&key(1)).unwrap().unwrap();
    assert_eq!(
        (found.from.search, found.from.trial),
        (SEARCH, TrialNumber(1))
    );
    assert_eq!(found.measurement, measurement(3, 0.5));
    assert_eq!(found.weights, Some(Digest::of(b"weights")));
    assert_eq!(
        reader.result(&key(2)).unwrap(),
        None,
        "failures are no results"
    );

    // Reused by another search it stays the first one's; trained there, it is the later one.
    let other = StreamId::Search(OTHER);
    let events = [created(), proposed(1), reused(1)];
    journal.commit(batch(other, 3, &events)).await.unwrap();
    assert_eq!(reader.result(&key(1)).unwrap().unwrap().from.search, SEARCH);
    let third = SearchId(Uuid::from_u128(9));
    let mut events = vec![created()];
    events.extend(finished(1, 0.25));
    journal
        .commit(batch(StreamId::Search(third), 4, &events))
        .await
        .unwrap();
    let found = reader.result(&key(1)).unwrap().unwrap();
    assert_eq!(
        (found.from.search, found.measurement),
        (third, measurement(3, 0.25))
    );

    // It was the best, and trained once more: its weights are the new ones.
    let weights = Digest::of(b"again");
    let stored = Event::WeightsStored {
        trial: TrialNumber(1),
        attempt: AttemptNumber(2),
        weights,
    };
    let of_the_third = batch(StreamId::Search(third), 5, std::slice::from_ref(&stored));
    journal.commit(of_the_third).await.unwrap();
    // An older result's are not the newest one's.
    let mut older = stored;
    if let Event::WeightsStored { weights, .. } = &mut older {
        *weights = Digest::of(b"older");
    }
    journal.commit(batch(STREAM, 6, &[older])).await.unwrap();
    let found = reader.result(&key(1)).unwrap().unwrap();
    assert_eq!((found.from.search, found.weights), (third, Some(weights)));
    journal.close().await;
    let mut journal = Journal::open(folder.path()).unwrap();
    journal.rebuild_projections().unwrap();
    assert_eq!(journal.reader().result(&key(1)).unwrap(), Some(found));
}
