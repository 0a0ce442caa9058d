//! The id of the trace in every log line about a trial, so that one leads to the other. May import
//! tracing-subscriber.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields::Fields;
use super::ids;

/// Lines of another format, with `trace_id` at their end when they are about a trial and traces are sent.
#[derive(Debug)]
pub(crate) struct WithTrace<F> {
    pub(crate) inner: F,
    /// Whether a line is a JSON object.
    pub(crate) json: bool,
    /// Whether traces are sent.
    pub(crate) traced: bool,
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        if self.traced && event.metadata().fields().field("trial").is_some() {
            event.record(&mut fields);
        }
        let (Some(search), Some(trial)) = (fields.search, fields.trial) else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        // Colours are the inner format's own affair.
        self.inner
            .format_event(context, Writer::new(&mut line), event)?;
        let trace = ids::trace_id(&search, trial);
        let line = line.trim_end();
        match line.strip_suffix('}').filter(|_| self.json) {
            Some(object) => writeln!(writer, "{object},\"trace_id\":\"{trace}\"}}"),
            None => writeln!(writer, "{line} trace_id={trace}"),
        }
    }
}
