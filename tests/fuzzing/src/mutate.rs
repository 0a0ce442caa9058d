//! Bytes and texts: real ones, changed.

use proptest::prelude::*;

use crate::Tape;

/// Pieces that mean something in one of the formats that are read.
const PIECES: &[&[u8]] = &[
    b"\n",
    b"\r\n",
    b"\0",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b",",
    b":",
    b"null",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"NaN",
    b"\xff\xfe",
    b"\xf0\x9f\x98\x80",
    b"../",
];

/// One of `real`, changed in up to six places: bits turned, bytes replaced, pieces cut out, put in, doubled or taken
/// from another one. Sometimes it stays what it was.
///
/// # Panics
/// There is no real one.
pub fn changed(real: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    assert!(!real.is_empty(), "there is nothing to change");
    let which = 0..real.len();
    let turns = prop::collection::vec(any::<[u8; 12]>(), 0..6);
    (which, turns).prop_map(move |(which, turns)| {
        let mut bytes = real[which].clone();
        for turn in &turns {
            change(&mut bytes, &real, &mut Tape::new(turn));
        }
        bytes
    })
}

fn change(bytes: &mut Vec<u8>, real: &[Vec<u8>], tape: &mut Tape<'_>) {
    let what = tape.below(8);
    let from = tape.below(bytes.len());
    // Mostly short pieces: those of a long text would cut it to nothing soon.
    let most = bytes.len() - from;
    let length = match tape.below(4) {
        0 => tape.below(most),
        _ => tape.below(most.min(16)),
    };
    let piece = from..from + length;
    match what {
        0 if !bytes.is_empty() => bytes[from] ^= 1 << tape.below(8),
        1 if !bytes.is_empty() => bytes[from] = tape.byte(),
        2 => drop(bytes.drain(piece)),
        3 => bytes.truncate(from),
        4 => {
            let twin = bytes[piece.clone()].to_vec();
            insert(bytes, piece.end, &twin);
        }
        5 => {
            let other = tape.pick(real);
            let start = tape.below(other.len());
            let end = start + tape.below(other.len() - start);
            let part = other[start..end].to_vec();
            bytes.splice(piece, part);
        }
        6 => insert(bytes, from, tape.take(4)),
        _ => insert(bytes, from, tape.pick::<&[u8]>(PIECES)),
    }
}

fn insert(bytes: &mut Vec<u8>, place: usize, piece: &[u8]) {
    let place = place.min(bytes.len());
    bytes.splice(place..place, piece.iter().copied());
}

/// A text of whatever letters, or one of `real` changed.
pub fn text(real: &[&str]) -> impl Strategy<Value = String> + use<> {
    let bytes = real.iter().map(|text| text.as_bytes().to_vec()).collect();
    let changed = changed(bytes).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    prop_oneof![1 => any::<String>(), 3 => changed]
}
