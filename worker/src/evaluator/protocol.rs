//! What a line of an evaluator's stdout means. May import common's protocol types.

use espalier_common::evaluator::{FromEvaluator, Line, PROTOCOL_VERSION};

/// The messages of this version, to tell a later version's message from a wrong one.
const KNOWN_TYPES: [&str; 7] = [
    "ready",
    "progress",
    "measurement",
    "log",
    "checkpoint",
    "done",
    "failed",
];
/// How much of a line stands in an error.
const SHOWN_CHARACTERS: usize = 300;

/// What a line is.
#[derive(Debug, PartialEq)]
pub(super) enum Parsed {
    /// Not of the protocol: log.
    Log,
    /// A message, with the attempt that it names.
    Message(Option<String>, FromEvaluator),
    /// A message of a type that this version does not know; it can be passed over.
    UnknownType(String),
    /// A protocol line that cannot be read; one sentence that says why.
    Bad(String),
    /// A protocol line of another version.
    OtherVersion(u32),
}

/// Reads a line.
pub(super) fn parse(line: &str) -> Parsed {
    match version(line) {
        None => Parsed::Log,
        Some(version) if version != PROTOCOL_VERSION => Parsed::OtherVersion(version),
        Some(_) => parse_message(line),
    }
}

/// The version if this is a protocol line: an object whose first key is `espalier`. Spaces are allowed,
/// since Python's `json.dumps` writes them unless told otherwise.
fn version(line: &str) -> Option<u32> {
    let rest = line.trim_start().strip_prefix('{')?;
    let rest = rest.trim_start().strip_prefix("\"espalier\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn parse_message(line: &str) -> Parsed {
    let first = match serde_json::from_str::<Line<FromEvaluator>>(line) {
        Ok(line) => return Parsed::Message(line.attempt_id, line.message),
        Err(error) => error,
    };
    // Python writes NaN and Infinity, which are not JSON. `null` stands for them.
    let replaced = without_constants(line);
    if let Ok(line) = serde_json::from_str::<Line<FromEvaluator>>(&replaced) {
        return Parsed::Message(line.attempt_id, line.message);
    }
    let kind = serde_json::from_str::<serde_json::Value>(&replaced)
        .ok()
        .and_then(|value| value.get("type")?.as_str().map(str::to_owned));
    match kind {
        Some(kind) if !KNOWN_TYPES.contains(&kind.as_str()) => {
            Parsed::UnknownType(kind.chars().take(40).collect())
        }
        _ => Parsed::Bad(format!(
            "the evaluator wrote a protocol line that cannot be read ({first}); numbers must be finite JSON \
             numbers or null: {}",
            shown(line)
        )),
    }
}

/// The beginning of a line, for an error.
fn shown(line: &str) -> String {
    let mut shown: String = line.chars().take(SHOWN_CHARACTERS).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    shown
}

/// The line with `NaN`, `Infinity` and `-Infinity` outside of strings replaced by `null`.
fn without_constants(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        if in_string && c == '\\' {
            // The escaped character cannot end the string.
            let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if c == '"' {
            in_string = !in_string;
        }
        let constant = ["-Infinity", "Infinity", "NaN"]
            .into_iter()
            .find(|constant| !in_string && rest.starts_with(constant));
        let length = match constant {
            Some(constant) => {
                out.push_str("null");
                constant.len()
            }
            None => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints_is_log() {
        for line in [
            "hello",
            "",
            "{}",
            "{\"loss\": 1}",
            "{\"espalierx\":1}",
            "{\"espalier\":\"1\"}",
        ] {
            assert_eq!(parse(line), Parsed::Log, "{line}");
        }
    }

    #[test]
    fn a_message_is_read_with_and_without_spaces_and_with_the_attempt_it_names() {
        for (line, attempt_id) in [
            (r#"{"espalier":1,"type":"progress","fraction":0.5}"#, None),
            (
                r#"{"espalier": 1, "type": "progress", "fraction": 0.5}"#,
                None,
            ),
            (
                r#"{"espalier":1,"attempt_id":"s/1/2","type":"progress","fraction":0.5}"#,
                Some("s/1/2".to_owned()),
            ),
        ] {
            let message = FromEvaluator::Progress { fraction: 0.5 };
            assert_eq!(parse(line), Parsed::Message(attempt_id, message));
        }
    }

    #[test]
    fn numbers_that_json_does_not_have_count_as_null_and_strings_stay() {
        let line = r#"{"espalier": 1, "type": "measurement", "step": 2, "metrics": {"loss": NaN, "a": -Infinity, "b": Infinity, "NaN \" NaN": 1}}"#;
        let Parsed::Message(None, FromEvaluator::Measurement { step, metrics, .. }) = parse(line)
        else {
            panic!("{:?}", parse(line));
        };
        assert_eq!(step, 2);
        assert_eq!(metrics["loss"], None);
        assert_eq!(metrics["a"], None);
        assert_eq!(metrics["b"], None);
        assert_eq!(metrics["NaN \" NaN"], Some(1.0));
    }

    #[test]
    fn a_later_message_is_passed_over_and_a_wrong_one_is_shown() {
        assert_eq!(
            parse(r#"{"espalier":1,"type":"prune","path":"x"}"#),
            Parsed::UnknownType("prune".to_owned())
        );
        assert_eq!(
            parse(r#"{"espalier":12,"type":"done"}"#),
            Parsed::OtherVersion(12)
        );
        for line in [
            r#"{"espalier":1,"type":"measurement","step":-1,"metrics":{}}"#,
            r#"{"espalier":1,"type":"done""#,
            r#"{"espalier":1}"#,
            r#"{"espalier":1,"type":"measurement","step":1,"metrics":{"a":1e999}}"#,
        ] {
            let Parsed::Bad(reason) = parse(line) else {
                panic!("{:?}", parse(line));
            };
            assert!(reason.contains(line), "{reason}");
        }
    }

    #[test]
    fn cut_lines_and_odd_escapes_do_not_panic() {
        for line in [
            "{\"espalier\":1,\"a\":\"\\",
            "{\"espalier\":1,\"\\é",
            "{\"espalier\":99999999999999",
        ] {
            assert!(!matches!(parse(line), Parsed::Message(..)));
        }
    }
}
