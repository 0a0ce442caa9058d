//! Ids of traces and spans, made from what they are about. Pure.

use opentelemetry::trace::{SpanId, TraceId};
use ring::digest::{Context, SHA256};

/// The span of a trial as a whole.
pub(super) const TRIAL: &str = "trial";
/// The span of an attempt, from lease to end, on the coordinator's clock.
const ATTEMPT: &str = "attempt";
/// The span of an attempt on its worker.
const WORK: &str = "work";
/// The span of an attempt in its evaluator.
pub(super) const EVALUATION: &str = "evaluation";

/// The span from one measurement to the next.
const STEP: &str = "step";

/// Whether there is a span of this name for each step of an evaluation.
pub(super) fn is_of_step(span: &str) -> bool {
    span == STEP || parent(span) == Some(STEP)
}

/// The span that a span is part of; `None` for a trial's, which is the root. What a worker does for an attempt and
/// has no line here is part of its work.
pub(super) fn parent(span: &str) -> Option<&'static str> {
    match span {
        TRIAL => None,
        ATTEMPT => Some(TRIAL),
        WORK => Some(ATTEMPT),
        STEP => Some(EVALUATION),
        "load" | "train" | "validate" => Some(STEP),
        _ => Some(WORK),
    }
}

/// The trace of a trial.
#[must_use]
pub fn trace_id(search: &str, trial: u64) -> TraceId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest(&["trace", search, &trial.to_string()])[..16]);
    TraceId::from_bytes(bytes)
}

/// A span of it; `step` tells spans of one name in one attempt apart.
#[must_use]
pub fn span_id(trace: TraceId, span: &str, attempt: u64, step: u64) -> SpanId {
    // Attempts are parts of one trial.
    let attempt = if span == TRIAL { 0 } else { attempt };
    let parts = [
        &trace.to_string(),
        span,
        &attempt.to_string(),
        &step.to_string(),
    ];
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest(&parts)[..8]);
    SpanId::from_bytes(bytes)
}

/// An attempt's evaluation as a `traceparent` of the W3C, for the evaluator's own spans.
pub(super) fn traceparent(search: &str, trial: u64, attempt: u64) -> String {
    let trace = trace_id(search, trial);
    let span = span_id(trace, EVALUATION, attempt, 0);
    format!("00-{trace}-{span}-01")
}

fn digest(parts: &[&str]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn ids_depend_on_everything_they_are_about_and_on_nothing_else() {
        let trace = trace_id(SEARCH, 7);
        assert_eq!(trace, trace_id(SEARCH, 7));
        assert_ne!(trace, trace_id(SEARCH, 8));
        let of = |span, attempt, step| span_id(trace, span, attempt, step);
        let all = [
            of("trial", 0, 0),
            of("attempt", 1, 0),
            of("attempt", 2, 0),
            of("work", 1, 0),
            of("step", 1, 1),
            of("step", 1, 2),
        ];
        for (place, id) in all.iter().enumerate() {
            assert!(!all[..place].contains(id), "{place}");
            assert_ne!(*id, SpanId::INVALID);
        }
        assert_eq!(of("trial", 1, 0), of("trial", 2, 0));
    }

    #[test]
    fn an_evaluator_is_told_its_place_in_the_form_of_the_w3c() {
        let text = traceparent(SEARCH, 7, 1);
        let parts: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(
            (lengths, parts[0], parts[3]),
            (vec![2, 32, 16, 2], "00", "01")
        );
        assert!(parts.iter().all(|part| {
            part.chars()
                .all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase())
        }));
    }

    #[test]
    fn every_span_is_part_of_the_trial() {
        for span in ["step", "evaluation", "data", "work", "attempt"] {
            let (mut at, mut steps) = (span, 0);
            while let Some(next) = parent(at) {
                (at, steps) = (next, steps + 1);
                assert!(steps < 10);
            }
            assert_eq!(at, TRIAL);
        }
    }
}
