//! Logs go to stderr: coloured lines on a terminal, one JSON object a line elsewhere; or to a file that is put
//! aside when it gets large. `RUST_LOG` says what is shown (default `info`). Lines that end something become
//! spans as well where `--otlp-endpoint` asks for it. May import tracing, tracing-subscriber and clap.

mod filter;
mod layers;
mod rotating;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tracing::Subscriber;
use tracing::field::display;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use crate::ending;
use crate::traces::{self, LastSpans, SpanLayer, TracesError};
use filter::filter;
use layers::{Spans, subscriber, traced};
use rotating::RotatingFile;

/// A duration as whole milliseconds, the form of `duration_ms` in every log line. (`as_millis` has 128 bits,
/// which JSON lines carry as text, and then nothing can be computed from them.)
#[must_use]
pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `pretty` when stderr is a terminal, else `json`.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line, for machines.
    Json,
}

/// The options of logging; flatten them into a command's own.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// How log lines look; RUST_LOG says which are shown (default: info)
    #[arg(
        long,
        env = "ESPALIER_LOG_FORMAT",
        value_enum,
        default_value_t,
        global = true,
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
    /// Write the log to this file and not to stderr; it is put aside (FILE.1, FILE.2, …) when it gets large
    #[arg(long, env = "ESPALIER_LOG_FILE", global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// A log file has at most so many bytes
    #[arg(
        long,
        env = "ESPALIER_LOG_FILE_BYTES",
        global = true,
        value_name = "BYTES",
        default_value_t = 100_000_000,
        value_parser = clap::value_parser!(u64).range(1_000..),
    )]
    pub log_file_bytes: u64,
    /// So many former log files are kept
    #[arg(
        long,
        env = "ESPALIER_LOG_FILES",
        global = true,
        value_name = "NUMBER",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1_000),
    )]
    pub log_files: u32,
    /// Send a trace of every trial to an OpenTelemetry collector at this gRPC address
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        global = true,
        value_name = "URL"
    )]
    pub otlp_endpoint: Option<String>,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RUST_LOG` cannot be read as a filter.
    #[error(
        "RUST_LOG is {value:?}, which is not a filter ({reason}); write a level (error, warn, info, debug, \
         trace) or module=level pairs with commas between, or unset it"
    )]
    BadFilter {
        /// What it holds.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The log file cannot be written.
    #[error("the log file {} cannot be written: {source}; give this user the right to, or leave --log-file out", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// A second call.
    #[error("logging was started before in this process")]
    StartedBefore,
}

impl LoggingError {
    /// Whether another start with the same settings would end like this too.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::BadFilter { .. } | Self::Traces(_) => true,
            Self::File { source, .. } => ending::is_lasting(source),
            Self::StartedBefore => false,
        }
    }
}

/// Lines that could not be written since the start of the process.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines of the log could not be written since the start of the process.
#[must_use]
pub fn lines_lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Counts lines that could not be kept somewhere.
pub fn count_lost(lines: u64) {
    LOST.fetch_add(lines, Ordering::Relaxed);
}

/// What takes in every line.
type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// Read for every line, and written once.
static SINK: RwLock<Option<Sink>> = RwLock::new(None);

/// Has every line of this process from now on, as a JSON object whatever the log looks like, go to `sink` as well,
/// and no longer to an earlier one. `sink` must not log, nor wait.
pub fn tap(sink: impl Fn(&str) + Send + Sync + 'static) {
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(sink));
}

/// The time as lines have it.
#[must_use]
pub fn timestamp() -> String {
    let mut text = String::new();
    // Writing into memory does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// Writes lines into the sink, if there is one.
struct Tap;

impl io::Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
        if let (Some(sink), Ok(line)) = (sink.as_ref(), std::str::from_utf8(bytes)) {
            sink(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts the lines that its writers cannot write. Each line is one call of `write_all`.
struct Counting<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Counting<W> {
    type Writer = Counting<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Counting(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        Counting(self.0.make_writer_for(meta))
    }
}

impl<W: io::Write> io::Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.0.write_all(bytes);
        if written.is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Starts logging to stderr, or to a file, and the sending of traces where the arguments ask for it: then it must be
/// called within a tokio runtime. `service` is the name of this program in traces.
///
/// # Errors
/// See [`LoggingError`].
pub fn init(args: &LogArgs, service: &'static str) -> Result<LastSpans, LoggingError> {
    let processor = match &args.otlp_endpoint {
        Some(endpoint) => Some(Arc::new(traces::processor(endpoint, service)?)),
        None => None,
    };
    let spans = processor
        .clone()
        .map(|processor| SpanLayer::new(processor, service));
    let last = LastSpans(processor);
    let Some(path) = &args.log_file else {
        let (json, colours) = form(args.log_format);
        start(json, colours, spans, io::stderr)?;
        return Ok(last);
    };
    let file = RotatingFile::open(path, args.log_file_bytes, args.log_files);
    let file = file.map_err(|source| LoggingError::File {
        path: path.clone(),
        source,
    })?;
    start(args.log_format != LogFormat::Pretty, false, spans, file)?;
    Ok(last)
}

/// Starts logging to a writer of the caller's, which should end up on stderr: one that draws a progress
/// bar hides the bar around every line.
///
/// # Errors
/// See [`LoggingError`].
pub fn init_with_writer<W>(format: LogFormat, writer: W) -> Result<(), LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (json, colours) = form(format);
    start(json, colours, None, writer)
}

/// Whether lines on stderr are JSON objects, and whether they have colours.
fn form(format: LogFormat) -> (bool, bool) {
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Pretty => false,
        LogFormat::Json => true,
    };
    // https://no-color.org: any value but the empty one turns colours off.
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    (json, colours)
}

fn start<W>(json: bool, colours: bool, spans: Option<Spans>, writer: W) -> Result<(), LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let shown = std::env::var("RUST_LOG").ok();
    let filters = || filter(shown.clone());
    let subscriber: Box<dyn Subscriber + Send + Sync> = match spans {
        None => subscriber(json, colours, filters()?, writer),
        Some(spans) => traced(json, colours, [filters()?, filters()?], spans, writer),
    };
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::StartedBefore)?;
    // Else the text of a panic would stand between the JSON lines.
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let reason = panic.payload_as_str().unwrap_or("no message");
        // Only when RUST_BACKTRACE asks for one.
        let backtrace = Backtrace::capture();
        let backtrace =
            (backtrace.status() == BacktraceStatus::Captured).then(|| display(backtrace));
        tracing::error!(location, backtrace, reason, "panic; this is a bug");
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::layers::{Lines, lines};
    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Buffer {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Buffer {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(json: bool, value: Option<&str>, events: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let filter = filter(value.map(str::to_owned)).unwrap();
        let subscriber = subscriber(json, false, filter, buffer.clone());
        tracing::subscriber::with_default(subscriber, events);
        buffer.text()
    }

    #[test]
    fn json_lines_hold_the_fields_of_an_event() {
        let text = logged(true, None, || {
            tracing::info!(trial = 7, from = "queued", "trial leased")
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["trial"], 7);
        assert_eq!(line["from"], "queued");
        assert_eq!(line["message"], "trial leased");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_line_about_a_trial_names_its_trace_where_traces_are_sent() {
        for json in [true, false] {
            let buffer = Buffer::default();
            let lines: Lines<Registry> = lines(json, false, true, buffer.clone());
            let events = || {
                tracing::info!(search = "s", trial = 7, "trial leased");
                tracing::info!(worker = "w", "worker registered");
            };
            tracing::subscriber::with_default(Registry::default().with(lines), events);
            let text = buffer.text();
            let lines: Vec<&str> = text.lines().collect();
            let trace = traces::ids::trace_id("s", 7).to_string();
            assert!(
                lines[0].contains(&trace) && !lines[1].contains("trace_id"),
                "{text}"
            );
            if json {
                let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
                assert_eq!(
                    (&line["trace_id"], &line["trial"]),
                    (&trace.into(), &7.into())
                );
            }
        }
    }

    #[test]
    fn lines_for_people_hold_no_colour_codes_off_a_terminal() {
        let text = logged(false, None, || tracing::warn!(worker = "a", "gone"));
        assert!(text.contains("WARN") && text.contains("gone"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        let before = lines_lost();
        let full = || {
            std::fs::OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .unwrap()
        };
        let subscriber = subscriber(true, false, filter(None).unwrap(), full);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("one");
            tracing::info!("two");
            tracing::debug!("not shown");
        });
        assert_eq!(lines_lost() - before, 2);
    }

    #[test]
    fn the_default_shows_info_and_not_debug_and_a_filter_changes_that() {
        let events = || {
            tracing::debug!("detail");
            tracing::info!("normal");
        };
        let text = logged(false, None, events);
        assert!(
            text.contains("normal") && !text.contains("detail"),
            "{text}"
        );
        let text = logged(false, Some("debug"), events);
        assert!(text.contains("detail"), "{text}");
    }
}
