//! Bodies of records that are not what was written: with their hashes right, so that nothing but their reader stands
//! between them and the state. Each is refused by its place, or is an event like another.

use std::cell::Cell;
use std::collections::BTreeMap;

use espalier_core::search::Search;
use espalier_core::searcher::Proposer;
use espalier_fuzzing::{changed, changed_json, check};
use proptest::prelude::*;

use super::goldens::records;
use super::*;
use crate::actors::{ClusterEvent, Learned, recover};
use crate::journal::JournalError;

/// The bodies of real streams: those of journals that were written once, and every kind of event there is.
fn streams() -> Vec<Vec<String>> {
    let mut streams: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in records().filter(|record| record["stream"] != "cluster") {
        let stream = record["stream"].as_str().unwrap();
        let bodies = streams.entry(stream.to_owned()).or_default();
        bodies.push(record["body"].to_string());
    }
    let body = |event: &Event| serde_json::to_string(event).unwrap();
    let every_kind = history().iter().map(body).collect();
    streams.into_values().chain([every_kind]).collect()
}

/// A text like these, damaged as text or as JSON.
fn damaged(real: &[String]) -> impl Strategy<Value = String> + use<> {
    let bytes = real.iter().map(|body| body.clone().into_bytes()).collect();
    let values = real.iter().map(|body| serde_json::from_str(body).unwrap());
    prop_oneof![
        1 => changed(bytes).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        3 => changed_json(values.collect()).prop_map(|value| value.to_string()),
    ]
}

/// A change of a stream: which one, the place of a record, another body for it, and when that says it happened.
type Change = (usize, usize, String, u64);

fn changes(streams: &[Vec<String>]) -> impl Strategy<Value = Change> + use<> {
    let of_one = |(which, bodies): (usize, &Vec<String>)| {
        let time = prop_oneof![3 => Just(1_000), 1 => any::<u64>()];
        (Just(which), 0..bodies.len(), damaged(bodies), time).boxed()
    };
    prop::strategy::Union::new(streams.iter().enumerate().map(of_one))
}

/// The stream after a change.
fn with(streams: &[Vec<String>], (which, place, body, _): &Change) -> Vec<String> {
    let mut bodies = streams[*which].clone();
    bodies[*place].clone_from(body);
    bodies
}

/// What a coordinator makes of events when it starts; `None`: they do not begin as a search must.
fn replayed(events: &[Event], place: usize, time_ms: u64) -> Option<Search> {
    let mut search = Search::from_first_event(SEARCH, events.first()?, 1_000)?;
    let mut proposer = Proposer::new(search.definition());
    let mut listing = Listing::of(search.definition());
    for (number, event) in events.iter().enumerate() {
        if let Event::SearchCreated { definition } = event {
            listing = Listing::of(definition);
        }
        let _ = rows(&listing, event);
        if number > 0 {
            let time_ms = if number == place { time_ms } else { 1_000 };
            let effects = search.apply(event, time_ms);
            proposer.read(event, &effects);
        }
    }
    Some(search)
}

#[test]
fn a_damaged_event_is_refused_or_replays_to_one_state_whenever_it_is_read() {
    let streams = streams();
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    check(300, changes(&streams), |change| {
        let (bodies, place, time_ms) = (with(&streams, &change), change.1, change.3);
        let events: Result<Vec<Event>, _> = bodies
            .iter()
            .map(|body| serde_json::from_str(body))
            .collect();
        let Ok(events) = events else {
            refused.set(refused.get() + 1);
            return Ok(());
        };
        taken.set(taken.get() + 1);
        let again = serde_json::to_string(&events[place]).unwrap();
        let again: Event = serde_json::from_str(&again).unwrap();
        prop_assert_eq!(&again, &events[place]);
        let state = replayed(&events, place, time_ms);
        let mut events = events;
        events[place] = again;
        prop_assert!(
            state == replayed(&events, place, time_ms),
            "two states of one journal"
        );
        Ok(())
    });
    let counts = (taken.get(), refused.get());
    assert!(counts.0 > 50 && counts.1 > 50, "{counts:?}");
}

#[test]
fn a_damaged_event_of_the_cluster_is_refused_or_learned() {
    let cluster = records().filter(|record| record["stream"] == "cluster");
    let real: Vec<String> = cluster.map(|record| record["body"].to_string()).collect();
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    check(1_000, damaged(&real), |body| {
        let Ok(event) = serde_json::from_str::<ClusterEvent>(&body) else {
            refused.set(refused.get() + 1);
            return Ok(());
        };
        taken.set(taken.get() + 1);
        Learned::default().learn(&event);
        let again = serde_json::to_string(&event).unwrap();
        let again = serde_json::from_str::<ClusterEvent>(&again).unwrap();
        prop_assert_eq!(format!("{again:?}"), format!("{event:?}"));
        Ok(())
    });
    let counts = (taken.get(), refused.get());
    assert!(counts.0 > 50 && counts.1 > 50, "{counts:?}");
}

#[test]
fn a_journal_with_a_damaged_body_is_refused_by_its_place_or_opens_with_its_listings() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let streams = streams();
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    check(60, changes(&streams), |change| {
        let (bodies, place, time_ms) = (with(&streams, &change), change.1, change.3);
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap().start().unwrap();
        runtime.block_on(async {
            let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
            let (before, rest) = bodies.split_at(place);
            let (changed, after) = rest.split_at(1);
            for (time_ms, bodies) in [(1_000, before), (time_ms, changed), (1_000, after)] {
                journal
                    .commit(plain(STREAM, time_ms, bodies))
                    .await
                    .unwrap();
            }
            journal.close().await;
        });
        let mut journal = Journal::open(folder.path()).unwrap();
        let is_event = serde_json::from_str::<Event>(&bodies[place]).is_ok();
        for read in [
            recover(journal.reader(), &Learned::default()).map(drop),
            journal.rebuild_projections(),
        ] {
            match read {
                Ok(()) => {
                    prop_assert!(is_event);
                    taken.set(taken.get() + 1);
                }
                Err(error @ JournalError::Refused { .. }) => {
                    let place = if is_event { 1 } else { place + 1 };
                    let expected = format!("record {place} of stream {SEARCH}");
                    prop_assert!(
                        error.to_string().contains(&expected),
                        "{error}, not {expected}"
                    );
                    refused.set(refused.get() + 1);
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
        Ok(())
    });
    let counts = (taken.get(), refused.get());
    assert!(counts.0 > 5 && counts.1 > 5, "{counts:?}");
}
