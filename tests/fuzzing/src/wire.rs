//! Messages of the wire, made from their descriptions: every field of every message, also of those that are added
//! later, with values that mean something and values that do not.

use std::collections::BTreeMap;

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::Tape;

/// How deep messages lie in messages.
const DEPTH: usize = 5;

/// A method of a service.
#[derive(Clone, Debug)]
pub struct Method {
    /// As it is called: `/espalier.v1.WorkerService/Lease`.
    pub path: String,
    /// The message that it takes, by its full name with a dot before it.
    pub takes: String,
    /// Whether it takes any number of them.
    pub takes_a_stream: bool,
}

/// What there is on a wire.
#[derive(Debug)]
pub struct Schema {
    messages: BTreeMap<String, DescriptorProto>,
    /// Every method.
    pub methods: Vec<Method>,
}

/// Values that mean something to whoever is asked: ids that exist, names, JSON that is taken.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// For fields of text.
    pub texts: Vec<String>,
    /// For fields of bytes.
    pub bytes: Vec<Vec<u8>>,
    /// For fields of text with this name, mostly, and of bytes with this name and `:bytes` behind it.
    pub meant: BTreeMap<&'static str, Vec<Vec<u8>>>,
    /// For fields of numbers with this name, mostly.
    pub numbers: BTreeMap<&'static str, u64>,
}

impl Words {
    fn meant(&self, field: &FieldDescriptorProto, tape: &mut Tape<'_>) -> Option<&[u8]> {
        let name = match field.r#type() {
            Type::Bytes => format!("{}:bytes", field.name()),
            _ => field.name().to_owned(),
        };
        let meant = self.meant.get(name.as_str())?;
        (!meant.is_empty() && !tape.once_in(6)).then(|| tape.pick(meant).as_slice())
    }

    fn number(&self, field: &FieldDescriptorProto, tape: &mut Tape<'_>) -> u64 {
        match self.numbers.get(field.name()) {
            Some(&number) if !tape.once_in(6) => number,
            _ => whole(tape),
        }
    }
}

impl Schema {
    /// Reads an encoded `FileDescriptorSet`.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn read(descriptors: &[u8]) -> Self {
        let files = FileDescriptorSet::decode(descriptors).expect("descriptors can be read");
        let (mut messages, mut methods) = (BTreeMap::new(), Vec::new());
        for file in &files.file {
            let package = format!(".{}", file.package());
            for message in &file.message_type {
                add(&mut messages, &package, message);
            }
            for service in &file.service {
                methods.extend(service.method.iter().map(|method| Method {
                    path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                    takes: method.input_type().to_owned(),
                    takes_a_stream: method.client_streaming(),
                }));
            }
        }
        Self { messages, methods }
    }

    /// The names of all messages but the entries of maps.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let messages = self.messages.iter();
        let of_their_own = messages.filter(|(_, message)| !is_entry(message));
        of_their_own.map(|(name, _)| name.as_str())
    }

    /// The messages that a message holds any number of, by field.
    ///
    /// # Panics
    /// There is no such message.
    #[must_use]
    pub fn repeated(&self, message: &str) -> Vec<u32> {
        let fields = self.messages[message].field.iter();
        let many = fields
            .filter(|field| field.r#type() == Type::Message && field.label() == Label::Repeated);
        many.map(|field| field.number().unsigned_abs()).collect()
    }

    /// A message, encoded; now and then with a field that is not what it should be.
    ///
    /// # Panics
    /// There is no such message.
    #[must_use]
    pub fn message(&self, name: &str, tape: &mut Tape<'_>, words: &Words) -> Vec<u8> {
        self.nested(name, tape, words, 0)
    }

    fn nested(&self, name: &str, tape: &mut Tape<'_>, words: &Words, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for field in &self.messages[name].field {
            let times = match (field.label(), tape.below(8)) {
                (_, 7) => 0,
                (Label::Repeated, many) => many / 2,
                _ => 1,
            };
            for _ in 0..times {
                self.field(field, tape, words, depth, &mut out);
            }
        }
        if tape.once_in(24) {
            let number = 1 + tape.below(40) as u32;
            garbage(number, tape, &mut out);
        }
        out
    }

    fn field(
        &self,
        field: &FieldDescriptorProto,
        tape: &mut Tape<'_>,
        words: &Words,
        depth: usize,
        out: &mut Vec<u8>,
    ) {
        let number = field.number().unsigned_abs();
        if tape.once_in(64) {
            return garbage(number, tape, out);
        }
        match field.r#type() {
            Type::Message if depth < DEPTH => {
                let inner = self.nested(field.type_name(), tape, words, depth + 1);
                delimited(number, &inner, out);
            }
            Type::Message | Type::Group => {}
            Type::String => match words.meant(field, tape) {
                Some(meant) => delimited(number, meant, out),
                None => delimited(number, text(tape, words).as_bytes(), out),
            },
            Type::Bytes => match words.meant(field, tape) {
                Some(meant) => delimited(number, meant, out),
                None => delimited(number, &bytes(tape, words), out),
            },
            Type::Double => {
                encode_key(number, WireType::SixtyFourBit, out);
                out.extend(float(tape).to_le_bytes());
            }
            Type::Fixed64 | Type::Sfixed64 => {
                encode_key(number, WireType::SixtyFourBit, out);
                out.extend(whole(tape).to_le_bytes());
            }
            Type::Float | Type::Fixed32 | Type::Sfixed32 => {
                encode_key(number, WireType::ThirtyTwoBit, out);
                out.extend((whole(tape) as u32).to_le_bytes());
            }
            _ => {
                encode_key(number, WireType::Varint, out);
                encode_varint(words.number(field, tape), out);
            }
        }
    }
}

fn add(messages: &mut BTreeMap<String, DescriptorProto>, within: &str, message: &DescriptorProto) {
    let name = format!("{within}.{}", message.name());
    for nested in &message.nested_type {
        add(messages, &name, nested);
    }
    messages.insert(name, message.clone());
}

fn is_entry(message: &DescriptorProto) -> bool {
    let options = message.options.as_ref();
    options.is_some_and(|options| options.map_entry())
}

/// A field of bytes, a text or a message.
pub fn delimited(number: u32, content: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend(content);
}

fn garbage(number: u32, tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    match tape.below(4) {
        0 => {
            encode_key(number, WireType::Varint, out);
            encode_varint(tape.number(), out);
        }
        1 => {
            let length = tape.below(20);
            delimited(number, tape.take(length), out);
        }
        2 => {
            // Longer than what follows.
            encode_key(number, WireType::LengthDelimited, out);
            encode_varint(tape.number(), out);
        }
        _ => {
            let length = tape.below(6);
            out.extend(tape.take(length));
        }
    }
}

fn text(tape: &mut Tape<'_>, words: &Words) -> String {
    let length = tape.below(4);
    match length {
        0 | 1 if !words.texts.is_empty() => tape.pick(&words.texts).clone(),
        2 => String::from_utf8_lossy(tape.take(12)).into_owned(),
        _ => {
            let odd = [
                "", "train", "..", "/", "\0", "é", "null", "{}", "[]", "0", "-1", "a=b",
            ];
            let times = *if tape.once_in(32) {
                tape.pick(&[70, 300, 5_000])
            } else {
                &1
            };
            tape.pick(&odd).repeat(times)
        }
    }
}

fn bytes(tape: &mut Tape<'_>, words: &Words) -> Vec<u8> {
    match tape.below(4) {
        0 | 1 if !words.bytes.is_empty() => tape.pick(&words.bytes).clone(),
        2 => vec![tape.byte(); *tape.pick(&[16, 0, 1, 15, 17, 64])],
        _ => tape.take(16).to_vec(),
    }
}

fn whole(tape: &mut Tape<'_>) -> u64 {
    match tape.below(12) {
        0..5 => u64::from(tape.byte() % 4),
        5 => u64::from(u32::MAX),
        6 => u64::MAX,
        7 => i64::MAX.unsigned_abs(),
        8 => u64::from(u32::MAX) + 1,
        9 => u64::from(tape.byte()),
        _ => tape.number(),
    }
}

fn float(tape: &mut Tape<'_>) -> f64 {
    let odd = [
        0.5,
        1.0,
        0.0,
        -0.0,
        -1.0,
        f64::NAN,
        f64::INFINITY,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
    ];
    match tape.below(4) {
        3 => f64::from_bits(tape.number()),
        _ => *tape.pick(&odd),
    }
}
