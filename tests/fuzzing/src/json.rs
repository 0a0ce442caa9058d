//! JSON that stays JSON: real values with numbers, names and parts exchanged, so that what reads them comes further
//! than to the parser.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::Tape;

/// One of `real`, changed in up to four places: values replaced by odd ones or by values from elsewhere, members and
/// items removed, doubled, renamed. Sometimes it stays what it was.
///
/// # Panics
/// There is no real one.
pub fn changed_json(real: Vec<Value>) -> impl Strategy<Value = Value> {
    assert!(!real.is_empty(), "there is nothing to change");
    let which = 0..real.len();
    let turns = prop::collection::vec(any::<[u8; 40]>(), 0..4);
    (which, turns).prop_map(move |(which, turns)| {
        let mut value = real[which].clone();
        for turn in &turns {
            let mut tape = Tape::new(turn);
            let other = part(tape.pick(&real), &mut tape).clone();
            change(&mut value, other, &mut tape);
        }
        value
    })
}

/// A part of a value, however deep.
fn part<'v>(mut value: &'v Value, tape: &mut Tape<'_>) -> &'v Value {
    while !tape.once_in(4) {
        value = match value {
            Value::Array(items) if !items.is_empty() => tape.pick(items),
            Value::Object(members) if !members.is_empty() => {
                let chosen = tape.below(members.len());
                match members.values().nth(chosen) {
                    Some(member) => member,
                    None => return value,
                }
            }
            _ => return value,
        };
    }
    value
}

fn change(value: &mut Value, other: Value, tape: &mut Tape<'_>) {
    let deeper = !tape.once_in(5);
    match value {
        Value::Array(items) if deeper && !items.is_empty() => {
            let chosen = tape.below(items.len());
            change(&mut items[chosen], other, tape);
        }
        Value::Object(members) if deeper && !members.is_empty() => {
            let chosen = tape.below(members.len());
            if let Some(member) = members.values_mut().nth(chosen) {
                change(member, other, tape);
            }
        }
        _ => *value = instead(std::mem::take(value), other, tape),
    }
}

/// What stands where a value stood.
fn instead(value: Value, other: Value, tape: &mut Tape<'_>) -> Value {
    match (value, tape.below(5)) {
        (_, 0) => other,
        (Value::Array(items), 1..) => array(items, other, tape),
        (Value::Object(members), 1..) => Value::Object(object(members, other, tape)),
        (Value::String(text), 1) => Value::String(text + &text_of(tape)),
        (Value::String(_), 2..) => Value::String(text_of(tape)),
        (Value::Number(number), 1..3) => near(&number, tape),
        _ => odd(tape),
    }
}

fn array(mut items: Vec<Value>, other: Value, tape: &mut Tape<'_>) -> Value {
    let place = tape.below(items.len() + 1);
    match tape.below(4) {
        0 if place < items.len() => drop(items.remove(place)),
        1 if place < items.len() => items.insert(place, items[place].clone()),
        2 => items.clear(),
        _ => items.insert(place, other),
    }
    Value::Array(items)
}

fn object(
    mut members: Map<String, Value>,
    other: Value,
    tape: &mut Tape<'_>,
) -> Map<String, Value> {
    let chosen = tape.below(members.len());
    let name = members.keys().nth(chosen).cloned().unwrap_or_default();
    match tape.below(3) {
        0 => drop(members.remove(&name)),
        1 => {
            if let Some(member) = members.remove(&name) {
                members.insert(text_of(tape), member);
            }
        }
        _ => drop(members.insert(name, other)),
    }
    members
}

fn near(number: &serde_json::Number, tape: &mut Tape<'_>) -> Value {
    match (number.as_u64(), number.as_f64()) {
        (Some(whole), _) if tape.once_in(2) => json!(whole.wrapping_sub(1)),
        (Some(whole), _) => json!(whole.wrapping_add(1)),
        (None, Some(number)) => json!(-number),
        (None, None) => Value::Null,
    }
}

fn text_of(tape: &mut Tape<'_>) -> String {
    let texts = [
        "", "a", "..", "/", "NaN", "0", "é\u{0}", "x#1", "train", "😀", "[0]", "a.b",
    ];
    (*tape.pick(&texts)).to_owned()
}

/// Values that few expect.
fn odd(tape: &mut Tape<'_>) -> Value {
    match tape.below(16) {
        0 => json!(0),
        1 => json!(1),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(i64::MIN),
        5 => json!(u32::MAX),
        6 => json!(1e308),
        7 => json!(-0.0),
        8 => json!(5e-324),
        9 => json!(0.1),
        10 => json!([]),
        11 => json!({}),
        12 => Value::Null,
        13 => json!(true),
        14 => json!(tape.number()),
        _ => json!(text_of(tape)),
    }
}
