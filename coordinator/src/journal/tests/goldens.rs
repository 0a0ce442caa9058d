//! Every kind of event stands in a golden journal, so that none can lose its form unnoticed: `tests/cli_golden.rs`
//! replays them. Who adds a kind records a new golden that has it, beside those that are there.

use std::collections::BTreeSet;

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::*;
use crate::actors::ClusterEvent;

/// The goldens, oldest first. They never change.
pub(super) const GOLDENS: [&str; 3] = [
    include_str!("../../../tests/goldens/journal.jsonl"),
    include_str!("../../../tests/goldens/later.jsonl"),
    include_str!("../../../tests/goldens/still.jsonl"),
];

/// Their records, whatever the stream; the first and the last line of an export are none.
pub(super) fn records() -> impl Iterator<Item = Value> {
    let lines = GOLDENS.iter().flat_map(|golden| golden.lines());
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("body").is_some())
}

/// Notes what kinds an enum says that it has when it is read.
struct Kinds<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Kinds<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not an enum"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(Error::custom("its kinds are all that is wanted"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The kinds of an event as they are written.
fn kinds_of<E: DeserializeOwned>() -> BTreeSet<&'static str> {
    let mut kinds: &[&str] = &[];
    assert!(E::deserialize(Kinds(&mut kinds)).is_err());
    kinds.iter().copied().collect()
}

/// The kinds of those records that are of the cluster's stream, or of a search's.
fn recorded(cluster: bool) -> BTreeSet<String> {
    let of_stream = records().filter(|record| (record["stream"] == "cluster") == cluster);
    let kind = |record: Value| match &record["body"] {
        Value::String(kind) => kind.clone(),
        body => body.as_object().unwrap().keys().next().unwrap().clone(),
    };
    of_stream.map(kind).collect()
}

#[test]
fn every_kind_of_event_stands_in_a_golden_journal() {
    for (kinds, recorded) in [
        (kinds_of::<Event>(), recorded(false)),
        (kinds_of::<ClusterEvent>(), recorded(true)),
    ] {
        assert!(kinds.len() > 5, "{kinds:?}");
        let known: BTreeSet<&str> = recorded.iter().map(String::as_str).collect();
        let lacking: Vec<_> = kinds.difference(&known).collect();
        assert!(
            lacking.is_empty(),
            "in no golden journal: {lacking:?}; record one that has them into tests/goldens"
        );
        let unknown: Vec<_> = known.difference(&kinds).collect();
        assert!(unknown.is_empty(), "no events any more: {unknown:?}");
    }
}
