//! Scalars of a spec: the kinds there are, with their bounds, and how each is written.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::candidate::Value;

/// The longest time: ten years, so that milliseconds and sums of them fit everywhere.
pub(super) const MAX_TIME_MS: u64 = 10 * 366 * 24 * 3600 * 1000;
/// The longest name of anything, in bytes.
pub(super) const MAX_NAME: usize = 64;
/// The longest text (a path, an argument of a command), in bytes.
pub(super) const MAX_TEXT_VALUE: usize = 4096;

/// What a scalar may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A whole number from `min` to `max`; sizes may be written `300k`.
    Count { min: u64, max: u64 },
    /// As `Count`, or this word.
    CountOr {
        min: u64,
        max: u64,
        word: &'static str,
    },
    /// A number from `min` to `max`, the ends left out where open.
    Number { min: End, max: End },
    /// `true` or `false`.
    Flag,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Letters, digits, `_` and `-`: a name that can be part of a path.
    Name,
    /// Any text.
    Text,
    /// A number with a unit of time.
    Time,
    /// A point in time, with its offset from UTC.
    Moment,
    /// Any scalar but null.
    Any,
}

/// The end of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// The number itself belongs to it.
    Closed(f64),
    /// The number itself does not.
    Open(f64),
}

/// The units of time, with their milliseconds.
pub(super) const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

impl Kind {
    /// The value that a scalar means, as a member of this kind.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub(super) fn read(self, text: &str, plain: bool) -> Result<Value, String> {
        match self {
            Self::Count { min, max } => count_value(text, plain, min, max),
            Self::CountOr { word, .. } if text == word => Ok(Value::Text(word.to_owned())),
            Self::CountOr { min, max, word } => count_value(text, plain, min, max)
                .map_err(|message| format!("{message} (or the word {word:?})")),
            Self::Number { min, max } => number(text, plain)
                .ok_or_else(|| format!("{} is not a number", shown(text)))
                .and_then(|number| within(number, min, max))
                .map(Value::Real),
            Self::Flag => flag(text)
                .filter(|_| plain)
                .map(Value::Boolean)
                .ok_or_else(|| format!("{} is not true or false", shown(text))),
            Self::Word(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::Word(words) => Err(format!(
                "{} is not one of {}",
                shown(text),
                words.join(", ")
            )),
            Self::Name => name(text, plain),
            Self::Text => plain_text(text, plain),
            Self::Time => time(text, plain).map(|ms| Value::Integer(ms.cast_signed())),
            Self::Moment => moment_ms(text).map(|ms| Value::Integer(ms.cast_signed())),
            Self::Any => any(text, plain),
        }
    }

    /// Whether a value that is given by name can stand here.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub(super) fn admits(self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Self::Count { .. } | Self::CountOr { .. }, Value::Real(number)) => {
                Err(format!("{number:?} is not a whole number"))
            }
            (_, Value::Text(text)) => self.read(text, false),
            // As it would be written. A number is shown in a form that is read back as the same.
            (_, other) => self.read(&other.to_string(), true),
        }
        .map(|_| ())
    }

    /// The words among which a misspelt one may be found.
    pub(super) fn words(self) -> Vec<&'static str> {
        match self {
            Self::Word(words) => words.to_vec(),
            Self::CountOr { word, .. } => vec![word],
            _ => Vec::new(),
        }
    }
}

/// A text as an error shows it, cut to a length that fits a line.
pub(super) fn shown(text: &str) -> String {
    if text.chars().count() > 40 {
        format!("{:?}…", text.chars().take(40).collect::<String>())
    } else {
        format!("{text:?}")
    }
}

fn count_value(text: &str, plain: bool, min: u64, max: u64) -> Result<Value, String> {
    let Some(count) = count(text, plain) else {
        return Err(format!(
            "{} is not a whole number of at least {min} (sizes may be written 300k, 2M, 1.5G)",
            shown(text)
        ));
    };
    if count < min {
        return Err(format!("{text} is too small; it must be at least {min}"));
    }
    match i64::try_from(count) {
        Ok(number) if count <= max => Ok(Value::Integer(number)),
        _ => Err(format!("{text} is too large; it must be at most {max}")),
    }
}

/// A whole number: digits, a size with a suffix, or a float without a fraction.
pub(super) fn count(text: &str, plain: bool) -> Option<u64> {
    if !plain || !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    if let Some(number) = based(text) {
        return Some(number);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Twenty digits or more do not fit, and are too large whatever they are.
        return Some(text.parse().unwrap_or(u64::MAX));
    }
    let suffixed = [("k", 1_000_u64), ("M", 1_000_000), ("G", 1_000_000_000)]
        .into_iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)));
    match suffixed {
        Some((digits, factor)) => scaled(digits, factor),
        None => number(text, true)
            .filter(|number| number.fract() == 0.0 && *number <= (1_u64 << 53) as f64)
            // Not negative, since it starts with a digit.
            .map(|number| number as u64),
    }
}

/// `digits` (with a decimal point or not) times `factor`, if that is whole. Exact, unlike floats.
fn scaled(digits: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| {
        !part.is_empty() && part.len() <= 18 && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let unit = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = whole.parse::<u128>().ok()? * unit + fraction.parse::<u128>().ok()?;
    let total = parts * u128::from(factor);
    (total % unit == 0).then(|| u64::try_from(total / unit).unwrap_or(u64::MAX))
}

/// A finite number.
pub(super) fn number(text: &str, plain: bool) -> Option<f64> {
    // Rust also reads `inf` and `nan`; a number of a spec starts with a digit, a sign or a point.
    let starts = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    if !plain || !starts || !digits {
        return None;
    }
    if let Some(number) = based(text) {
        return Some(number as f64);
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn within(number: f64, min: End, max: End) -> Result<f64, String> {
    let low = match min {
        End::Closed(end) if number < end => Some(format!("at least {end}")),
        End::Open(end) if number <= end => Some(format!("more than {end}")),
        _ => None,
    };
    let high = match max {
        End::Closed(end) if number > end => Some(format!("at most {end}")),
        End::Open(end) if number >= end => Some(format!("less than {end}")),
        _ => None,
    };
    match (low, high) {
        (Some(bound), _) => Err(format!("{number} is too small; it must be {bound}")),
        (_, Some(bound)) => Err(format!("{number} is too large; it must be {bound}")),
        _ => Ok(number),
    }
}

fn name(text: &str, plain: bool) -> Result<Value, String> {
    is_name(text)?;
    plain_text(text, plain)
}

/// Whether `text` can be part of a path.
pub(super) fn is_name(text: &str) -> Result<(), String> {
    let fits = !text.is_empty()
        && text.len() <= MAX_NAME
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if fits {
        return Ok(());
    }
    Err(format!(
        "{} is not a name: 1 to {MAX_NAME} letters, digits, `_` or `-`",
        shown(text)
    ))
}

fn plain_text(text: &str, plain: bool) -> Result<Value, String> {
    if text.is_empty() || text.len() > MAX_TEXT_VALUE || text.contains('\0') {
        return Err(format!(
            "a text of 1 to {MAX_TEXT_VALUE} bytes is expected here"
        ));
    }
    match any(text, plain) {
        Ok(Value::Text(text)) => Ok(Value::Text(text)),
        _ => Err(format!(
            "a text is expected here; write {} in quotes",
            shown(text)
        )),
    }
}

/// A time as specs and commands write it, `30m` or `1.5h`, in milliseconds.
///
/// # Errors
/// A sentence that says what is expected.
pub fn time_ms(text: &str) -> Result<u64, String> {
    time(text, true)
}

fn time(text: &str, plain: bool) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{} is not a time: a number with a unit, as 500ms, 10s, 30m, 12h or 2d",
            shown(text)
        )
    };
    let (digits, factor) = UNITS
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .filter(|_| plain)
        .ok_or_else(wrong)?;
    match scaled(digits, factor).ok_or_else(wrong)? {
        0 => Err(format!("{text} is too short; at least 1ms")),
        ms if ms > MAX_TIME_MS => Err(format!("{text} is too long; at most 3660d")),
        ms => Ok(ms),
    }
}

/// A point in time as RFC 3339 has it, in Unix milliseconds.
///
/// # Errors
/// A sentence that says what is expected.
pub fn moment_ms(text: &str) -> Result<u64, String> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
    let ms = parsed.map(|moment| moment.unix_timestamp_nanos() / 1_000_000);
    ms.and_then(|ms| u64::try_from(ms).ok()).ok_or_else(|| {
        format!(
            "{} is not a point in time: date, time and offset, as 2030-01-31T18:00:00Z or \
             2030-01-31T18:00:00+02:00",
            shown(text)
        )
    })
}

/// A point in time of Unix milliseconds, as it is read.
#[must_use]
pub fn moment_text(ms: u64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    let text = moment.and_then(|moment| moment.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{ms} ms"))
}

/// What a scalar is by itself, as YAML's core schema has it. What that leaves a text but reads as a number or
/// as nothing elsewhere in a spec is refused, so that a slip does not become a text.
fn any(text: &str, plain: bool) -> Result<Value, String> {
    if plain {
        if is_null(text) {
            return Err("a value is missing here".to_owned());
        }
        if let Some(flag) = flag(text) {
            return Ok(Value::Boolean(flag));
        }
        if let Ok(number) = text.parse::<i64>() {
            return Ok(Value::Integer(number));
        }
        if let Some(number) = based(text) {
            return i64::try_from(number)
                .map(Value::Integer)
                .map_err(|_| format!("{} is too large", shown(text)));
        }
        if let Some(number) = number(text, plain) {
            return Ok(Value::Real(number));
        }
        if let Some(size) = count(text, plain) {
            return Err(format!(
                "write {size} for the number, or \"{text}\" in quotes for the text"
            ));
        }
        let unsigned = text.trim_start_matches(['+', '-']);
        if [".inf", ".nan"].contains(&unsigned.to_ascii_lowercase().as_str()) {
            return Err(format!("{} is no finite number", shown(text)));
        }
    }
    if text.len() > MAX_TEXT_VALUE {
        return Err(format!(
            "a text of at most {MAX_TEXT_VALUE} bytes is expected here"
        ));
    }
    Ok(Value::Text(text.to_owned()))
}

/// Whether a plain scalar is nothing, as YAML's core schema has it.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A plain truth value, as YAML's core schema has it.
fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A whole number in base 16 or 8, as YAML's core schema has it. One that does not fit is too large whatever
/// it is.
fn based(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text.strip_prefix("0o")?, 8),
    };
    let fits = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    fits.then(|| u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        for (text, expected) in [
            ("300k", Some(300_000)),
            ("1.5G", Some(1_500_000_000)),
            ("2M", Some(2_000_000)),
            ("0.001k", Some(1)),
            ("1e3", Some(1000)),
            ("12", Some(12)),
            ("1.0005k", None),
            ("1.5", None),
            ("-3", None),
            ("k", None),
            ("1_000", None),
            ("99999999999999999999999", Some(u64::MAX)),
            ("0x10", Some(16)),
            ("0o17", Some(15)),
            ("0x", None),
            ("0xg", None),
        ] {
            assert_eq!(count(text, true), expected, "{text}");
        }
        assert_eq!(count("12", false), None, "a quoted number is a text");
    }

    #[test]
    fn a_scalar_by_itself_is_what_yaml_says_and_no_slip_becomes_a_text() {
        for (text, expected) in [
            ("True", Some(Value::Boolean(true))),
            ("FALSE", Some(Value::Boolean(false))),
            ("0x10", Some(Value::Integer(16))),
            ("-3", Some(Value::Integer(-3))),
            ("1e3", Some(Value::Real(1000.0))),
            ("yes", Some(Value::Text("yes".to_owned()))),
            ("resnet50", Some(Value::Text("resnet50".to_owned()))),
            ("Null", None),
            ("~", None),
            ("300k", None),
            ("-.inf", None),
            (".NaN", None),
        ] {
            assert_eq!(any(text, true).ok(), expected, "{text}");
        }
        assert_eq!(any("300k", false), Ok(Value::Text("300k".to_owned())));
        assert_eq!(any("null", false), Ok(Value::Text("null".to_owned())));
    }

    #[test]
    fn a_value_by_name_is_held_to_the_same_bounds() {
        let kernel = Kind::Count { min: 1, max: 31 };
        assert!(kernel.admits(&Value::Integer(5)).is_ok());
        for wrong in [
            Value::Integer(32),
            Value::Integer(-1),
            Value::Real(2.5),
            Value::Text("5".to_owned()),
            Value::Boolean(true),
        ] {
            assert!(kernel.admits(&wrong).is_err(), "{wrong:?}");
        }
        assert!(
            Kind::Word(&["add"])
                .admits(&Value::Text("add".to_owned()))
                .is_ok()
        );
        assert!(Kind::Flag.admits(&Value::Boolean(true)).is_ok());
        assert!(Kind::Any.admits(&Value::Real(1e300)).is_ok());
    }

    #[test]
    fn times_have_a_unit() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("30m", Some(1_800_000)),
            ("1.5h", Some(5_400_000)),
            ("2d", Some(172_800_000)),
            ("10", None),
            ("0s", None),
            ("1e3s", None),
            ("4000d", None),
        ] {
            assert_eq!(time(text, true).ok(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_finite() {
        for text in ["inf", ".inf", "nan", "1e999", "-", "+", ".", "e5", ""] {
            assert_eq!(number(text, true), None, "{text}");
        }
        assert_eq!(number("5e-4", true), Some(5e-4));
        assert_eq!(number(".5", true), Some(0.5));
    }
}
