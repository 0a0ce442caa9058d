//! The layers of a process's subscriber: the lines of its log, the sink of every line, and spans. May import
//! tracing-subscriber.

use opentelemetry_sdk::trace::BatchSpanProcessor;
use tracing::Subscriber;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields};
use tracing_subscriber::fmt::{Layer, MakeWriter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry};

use super::{Counting, Tap};
use crate::traces::{SpanLayer, WithTrace};

/// Makes spans of lines.
pub(super) type Spans = SpanLayer<BatchSpanProcessor>;

/// What takes in all that is told.
pub(super) type Lines<S> = Box<dyn tracing_subscriber::Layer<S> + Send + Sync>;

pub(super) fn subscriber<W>(
    json: bool,
    colours: bool,
    filter: EnvFilter,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let registry = Registry::default().with(filter);
    let registry = registry.with(lines(json, colours, false, Counting(writer)));
    Box::new(registry.with(lines(true, false, false, || Tap)))
}

/// The same where lines become spans too, whatever `RUST_LOG` has shown of them.
pub(super) fn traced<W>(
    json: bool,
    colours: bool,
    [shown, tapped]: [EnvFilter; 2],
    spans: Spans,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines_shown = lines(json, colours, true, Counting(writer)).with_filter(shown);
    let registry = Registry::default().with(lines_shown);
    let registry = registry.with(lines(true, false, true, || Tap).with_filter(tapped));
    let ends = filter_fn(Spans::reads);
    Box::new(registry.with(spans.with_filter(ends)))
}

/// A layer that writes lines: of JSON, with the fields beside the message and not below it (shorter, and easier for
/// log stores), or for people.
pub(super) fn lines<S, W>(json: bool, colours: bool, traced: bool, writer: W) -> Lines<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = Layer::default()
        .with_ansi(colours)
        // A line that cannot be written (the disk of the log is full, its reader is gone) is lost. It would
        // otherwise be told on stderr, by a macro that panics when that fails too, as it does then.
        .log_internal_errors(false)
        .with_writer(writer);
    if json {
        let inner: Format<Json> = Format::default()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false);
        lines
            .fmt_fields(JsonFields::new())
            .event_format(WithTrace {
                inner,
                json,
                traced,
            })
            .boxed()
    } else {
        lines
            .event_format(WithTrace {
                inner: Format::default().with_ansi(colours),
                json,
                traced,
            })
            .boxed()
    }
}
