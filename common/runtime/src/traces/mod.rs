//! One trace for each trial, sent to an OpenTelemetry collector: every log line that ends something that took
//! time becomes a span. May import tracing, tracing-subscriber, opentelemetry and ring.
//!
//! A line ends a span when it has the field `span`, which names it, beside `search`, `trial` and `duration_ms`; a
//! line with `trial_ms` ends that of the trial as a whole. The ids come from what the span is about (see [`ids`]),
//! so the coordinator, the workers and evaluators agree on them without telling each other, also when one of them
//! is started again.

mod fields;
pub mod ids;
mod layer;
mod lines;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanData;

use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor as _};

pub(crate) use layer::SpanLayer;
pub(crate) use lines::WithTrace;

/// Spans that wait are sent at the end, for so long at most.
const LAST_SENDING: Duration = Duration::from_secs(2);

/// Whether this process sends traces.
static ON: AtomicBool = AtomicBool::new(false);

/// The place of an attempt's evaluation in the trial's trace, as a header of the W3C says it
/// (<https://www.w3.org/TR/trace-context/>); `None` when this process sends no traces.
#[must_use]
pub fn traceparent(search: &str, trial: u64, attempt: u64) -> Option<String> {
    ON.load(Ordering::Relaxed)
        .then(|| ids::traceparent(search, trial, attempt))
}

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error(
    "--otlp-endpoint {endpoint:?}: {reason}; write the collector's gRPC address, for example http://127.0.0.1:4317"
)]
pub struct TracesError {
    /// What was given.
    endpoint: String,
    /// What is wrong with it.
    reason: String,
}

/// Sends spans in the background.
///
/// # Errors
/// For what is no address. A collector that is not there is none: it may come later; until then spans are dropped.
pub(crate) fn processor(
    endpoint: &str,
    service: &'static str,
) -> Result<BatchSpanProcessor, TracesError> {
    let wrong = |reason: String| TracesError {
        endpoint: endpoint.to_owned(),
        reason,
    };
    let uri: http::Uri = endpoint
        .parse()
        .map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
    if uri.scheme_str() == Some("https") {
        return Err(wrong(
            "TLS to a collector is not spoken; run one on this machine that sends on with TLS"
                .to_owned(),
        ));
    }
    if uri.scheme_str() != Some("http") {
        return Err(wrong("it does not begin with http://".to_owned()));
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let mut processor = BatchSpanProcessor::builder(Told::new(exporter)).build();
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before.
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(service);
    }
    processor.set_resource(&resource.build());
    ON.store(true, Ordering::Relaxed);
    Ok(processor)
}

/// An exporter whose failures are told: once, until it works again.
#[derive(Debug)]
struct Told<E> {
    inner: E,
    failed: AtomicBool,
}

impl<E> Told<E> {
    fn new(inner: E) -> Self {
        Self {
            inner,
            failed: AtomicBool::new(false),
        }
    }
}

impl<E: opentelemetry_sdk::trace::SpanExporter> opentelemetry_sdk::trace::SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        let failed_before = self.failed.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !failed_before => tracing::warn!(%error,
                "traces cannot be sent: spans are dropped until they can; see to the collector at --otlp-endpoint"),
            Ok(()) if failed_before => tracing::info!("traces can be sent again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// What is done when a process ends: sends the spans that wait.
#[derive(Debug)]
#[must_use = "spans that wait are sent when this is dropped"]
pub struct LastSpans(pub(crate) Option<std::sync::Arc<BatchSpanProcessor>>);

impl Drop for LastSpans {
    fn drop(&mut self) {
        if let Some(processor) = &self.0 {
            // A collector that is away is not waited for; nothing can be done about what is lost.
            let _ = processor.shutdown_with_timeout(LAST_SENDING);
        }
    }
}
