//! Makes spans of log lines. May import tracing-subscriber and opentelemetry.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanProcessor};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::fields::{FieldValue, Fields};
use super::ids::{self, TRIAL};

/// Hands a span to `processor` for each line that ends one.
#[derive(Debug)]
pub(crate) struct SpanLayer<P> {
    processor: Arc<P>,
    scope: InstrumentationScope,
}

impl<P: SpanProcessor> SpanLayer<P> {
    pub(crate) fn new(processor: Arc<P>, service: &'static str) -> Self {
        let scope = InstrumentationScope::builder(service);
        Self {
            processor,
            scope: scope.with_version(env!("CARGO_PKG_VERSION")).build(),
        }
    }

    /// Whether a line of this kind can end a span.
    pub(crate) fn reads(line: &Metadata<'_>) -> bool {
        line.is_event()
            && ["span", "trial_ms"]
                .iter()
                .any(|&name| line.fields().field(name).is_some())
    }

    fn end(&self, fields: &Fields, name: &str, duration_ms: u64, failed: bool) {
        let (Some(search), Some(trial)) = (&fields.search, fields.trial) else {
            return;
        };
        let (attempt, step) = (fields.attempt.unwrap_or(0), fields.step.unwrap_or(0));
        let trace = ids::trace_id(search, trial);
        // A step counts what is measured in an evaluation; elsewhere it is but told.
        let id = |span: &str| {
            let step = if ids::is_of_step(span) { step } else { 0 };
            ids::span_id(trace, span, attempt, step)
        };
        let now = SystemTime::now();
        let ago = Duration::from_millis(fields.ended_ms_ago.unwrap_or(0));
        let end_time = now.checked_sub(ago).unwrap_or(now);
        let start_time = end_time.checked_sub(Duration::from_millis(duration_ms));
        let reason = fields.all.iter().find_map(|(name, value)| match value {
            FieldValue::Text(text) if *name == "reason" => Some(text.clone()),
            _ => None,
        });
        self.processor.on_end(SpanData {
            span_context: SpanContext::new(
                trace,
                id(name),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: ids::parent(name).map_or(SpanId::INVALID, id),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.to_owned().into(),
            start_time: start_time.unwrap_or(end_time),
            end_time,
            attributes: fields.all.iter().filter_map(attribute).collect(),
            dropped_attributes_count: 0,
            events: opentelemetry_sdk::trace::SpanEvents::default(),
            links: opentelemetry_sdk::trace::SpanLinks::default(),
            status: match failed {
                true => Status::error(reason.unwrap_or_default()),
                false => Status::Unset,
            },
            instrumentation_scope: self.scope.clone(),
        });
    }
}

/// A field as an attribute. The times are those of the span.
fn attribute((name, value): &(&'static str, FieldValue)) -> Option<KeyValue> {
    if matches!(*name, "span" | "duration_ms" | "trial_ms" | "ended_ms_ago") {
        return None;
    }
    let value: Value = match value {
        FieldValue::Text(text) => text.clone().into(),
        FieldValue::Integer(value) => (*value).into(),
        FieldValue::Real(value) => (*value).into(),
        FieldValue::Truth(value) => (*value).into(),
    };
    let key = if *name == "message" {
        "message".to_owned()
    } else {
        format!("espalier.{name}")
    };
    Some(KeyValue::new(key, value))
}

impl<S: Subscriber, P: SpanProcessor + 'static> Layer<S> for SpanLayer<P> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !Self::reads(event.metadata()) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let failed = *event.metadata().level() <= Level::WARN;
        if let (Some(span), Some(duration_ms)) = (&fields.span, fields.duration_ms) {
            self.end(&fields, span, duration_ms, failed);
        }
        if let Some(duration_ms) = fields.trial_ms {
            self.end(&fields, TRIAL, duration_ms, failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::Span;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<SpanData>>);

    impl SpanProcessor for Kept {
        fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}
        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }
        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }
        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    fn spans(events: impl FnOnce()) -> Vec<SpanData> {
        let kept = Arc::new(Kept::default());
        let layer = SpanLayer::new(Arc::clone(&kept), "test");
        let subscriber = tracing_subscriber::Registry::default().with(layer);
        tracing::subscriber::with_default(subscriber, events);
        std::mem::take(&mut kept.0.lock().unwrap())
    }

    #[test]
    fn a_line_that_ends_something_becomes_a_span_and_another_does_not() {
        let spans = spans(|| {
            tracing::info!(search = "s", trial = 3_u32, attempt = 1_u32, "job leased");
            tracing::info!(
                search = "s",
                trial = 3_u32,
                attempt = 1_u32,
                span = "attempt",
                duration_ms = 500_u64,
                trial_ms = 900_u64,
                score = 0.5,
                "trial completed"
            );
            tracing::warn!(
                search = "s",
                trial = 4_u32,
                attempt = 2_u32,
                span = "attempt",
                duration_ms = 10_u64,
                reason = "no disk",
                "attempt failed"
            );
            // Its attempt began before this process did.
            tracing::info!(
                search = "s",
                trial = 5_u32,
                span = "attempt",
                duration_ms = None::<u64>,
                "trial completed"
            );
        });
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["attempt", "trial", "attempt"]);
        let [attempt, trial, failed] = spans.as_slice() else {
            panic!()
        };
        assert_eq!(attempt.parent_span_id, trial.span_context.span_id());
        assert_eq!(trial.parent_span_id, SpanId::INVALID);
        assert_eq!(
            attempt.span_context.trace_id(),
            trial.span_context.trace_id()
        );
        assert_ne!(
            failed.span_context.trace_id(),
            trial.span_context.trace_id()
        );
        let took = attempt.end_time.duration_since(attempt.start_time).unwrap();
        assert_eq!(took, Duration::from_millis(500));
        assert!(
            attempt
                .attributes
                .contains(&KeyValue::new("espalier.score", 0.5))
        );
        assert!(
            !attempt
                .attributes
                .iter()
                .any(|one| one.key.as_str().ends_with("_ms"))
        );
        assert_eq!(
            (&attempt.status, &failed.status),
            (&Status::Unset, &Status::error("no disk"))
        );
    }

    #[test]
    fn steps_of_one_evaluation_are_spans_of_their_own() {
        let spans = spans(|| {
            for step in 1..=2_u32 {
                tracing::info!(
                    search = "s",
                    trial = 1_u32,
                    attempt = 1_u32,
                    step,
                    span = "step",
                    duration_ms = 1_u64,
                    "measured"
                );
            }
        });
        assert_ne!(
            spans[0].span_context.span_id(),
            spans[1].span_context.span_id()
        );
        assert_eq!(spans[0].parent_span_id, spans[1].parent_span_id);
    }
}
