//! The fields of a log line that traces read. May import tracing.

use std::fmt;

use tracing::field::{Field, Visit};

/// The longest text that becomes an attribute, in bytes.
const MAX_TEXT: usize = 1_024;

/// What an event says.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) search: Option<String>,
    pub(super) trial: Option<u64>,
    pub(super) attempt: Option<u64>,
    pub(super) step: Option<u64>,
    pub(super) span: Option<String>,
    pub(super) duration_ms: Option<u64>,
    pub(super) trial_ms: Option<u64>,
    pub(super) ended_ms_ago: Option<u64>,
    /// Everything, in the order of the line.
    pub(super) all: Vec<(&'static str, FieldValue)>,
}

/// A value.
#[derive(Debug)]
pub(super) enum FieldValue {
    Text(String),
    Integer(i64),
    Real(f64),
    Truth(bool),
}

impl Fields {
    fn text(&mut self, field: &Field, mut text: String) {
        match field.name() {
            "search" => self.search = Some(text.clone()),
            "span" => self.span = Some(text.clone()),
            _ => {}
        }
        if text.len() > MAX_TEXT {
            let end = (0..=MAX_TEXT).rev().find(|&at| text.is_char_boundary(at));
            text.truncate(end.unwrap_or(0));
        }
        self.all.push((field.name(), FieldValue::Text(text)));
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        let place = match field.name() {
            "trial" => Some(&mut self.trial),
            "attempt" => Some(&mut self.attempt),
            "step" => Some(&mut self.step),
            "duration_ms" => Some(&mut self.duration_ms),
            "trial_ms" => Some(&mut self.trial_ms),
            "ended_ms_ago" => Some(&mut self.ended_ms_ago),
            _ => None,
        };
        if let Some(place) = place {
            *place = Some(value);
        }
        // Attributes are signed.
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.all.push((field.name(), FieldValue::Integer(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            self.record_u64(field, value);
        } else {
            self.all.push((field.name(), FieldValue::Integer(value)));
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.all.push((field.name(), FieldValue::Real(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.all.push((field.name(), FieldValue::Truth(value)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }
}
