//! Traces as an OpenTelemetry collector gets them: one for each trial, across coordinator, worker and evaluator.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use espalier_tests::{Cluster, Process, WorkerOptions, wait_until};
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

const LIMIT: Duration = Duration::from_secs(60);

const SPEC: &str = "name: traced
hyperparameters: {x: {range: [0.0, 1.0]}, y: {choice: [1, 2, 3]}}
evaluator: scripted
training: {epochs: 2}
searcher: random
objectives: [{maximize: score}]
budget: {trials: 3}
seed: 7
";

/// A collector that keeps what it gets, with the name of the service it came from.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let service = attributes.into_iter().find(|one| one.key == "service.name");
            let service = service.and_then(|one| one.value).and_then(|one| one.value);
            let Some(Value::StringValue(service)) = service else {
                return Err(Status::invalid_argument("no service.name"));
            };
            for spans in resource.scope_spans {
                let spans = spans.spans.into_iter();
                let mut kept = self.kept();
                kept.extend(spans.map(|span| (service.clone(), span)));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts it on a free port of loopback.
    async fn start() -> Result<(Self, String)> {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        Ok((collector, address))
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(String, Span)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The services and spans that it heard of.
    fn names(&self) -> Vec<(String, String)> {
        let spans = self.kept();
        let names = spans.iter();
        names
            .map(|(of, span)| (of.clone(), span.name.clone()))
            .collect()
    }

    /// What it got, trace by trace.
    fn traces(&self) -> BTreeMap<Vec<u8>, Vec<(String, Span)>> {
        let mut traces: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (service, span) in self.kept().iter() {
            let trace = traces.entry(span.trace_id.clone()).or_default();
            trace.push((service.clone(), span.clone()));
        }
        traces
    }
}

/// A part of a step lies in one: training behind nothing, validation behind the training.
fn within(spans: &[(String, Span)], part: &Span) -> Result<()> {
    let steps = spans.iter().filter(|(_, span)| span.name == "step");
    let mut own = steps.filter(|(_, span)| span.span_id == part.parent_span_id);
    let (_, step) = own.next().with_context(|| format!("no step of {part:?}"))?;
    ensure!(
        step.start_time_unix_nano <= part.start_time_unix_nano,
        "{step:?} {part:?}"
    );
    // Spans are made one right after the other.
    let late = 20_000_000;
    ensure!(
        part.end_time_unix_nano <= step.end_time_unix_nano + late,
        "{step:?} {part:?}"
    );
    let took = part.end_time_unix_nano - part.start_time_unix_nano;
    let said = if part.name == "train" {
        100_000_000
    } else {
        50_000_000
    };
    ensure!(took == said, "{part:?}");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn environment(address: String) -> Vec<(&'static str, String)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", address),
        // Else what has been told is on its way for up to five seconds.
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
    ]
}

// The collector answers while this waits for a process.
#[tokio::test(flavor = "multi_thread")]
async fn every_trial_is_one_trace_from_its_proposal_to_its_end() -> Result<()> {
    let (collector, address) = Collector::start().await?;
    let mut cluster = Cluster::start_with(5_000, environment(address)).await?;
    cluster.control("seconds", "0.2")?;
    cluster.control("parts", r#"{"train": 0.1, "validate": 0.05, "lunch": 1}"#)?;
    let mut worker = cluster.start_worker("one", &WorkerOptions::default())?;
    let searches = cluster.searches()?;
    let search = searches.create(SPEC, String::new()).await?;
    searches.finished(&search, LIMIT).await?;
    worker.signal(Signal::SIGTERM)?;
    worker.wait(LIMIT)?;
    let all_there = || async {
        let spans = collector.kept();
        let ended = spans
            .iter()
            .filter(|(_, span)| span.name == "trial")
            .count();
        let worked = spans.iter().filter(|(_, span)| span.name == "work").count();
        // A job more measures the best network, where there is one.
        Ok((ended == 3 && worked >= 3).then_some(()))
    };
    let there = wait_until("the traces of three trials", LIMIT, all_there).await;
    there.with_context(|| {
        format!(
            "{:?}\n{}",
            collector.names(),
            std::fs::read_to_string(cluster.path("coordinator.log")).unwrap_or_default()
        )
    })?;

    let log = std::fs::read_to_string(cluster.path("one.log"))?;
    let lines = std::fs::read_to_string(cluster.path("coordinator.log"))?;
    for (trace, spans) in collector.traces() {
        let id = |name: &str| -> Result<Vec<u8>> {
            let found = spans.iter().find(|(_, span)| span.name == name);
            let (_, span) = found.with_context(|| format!("no {name} in {spans:?}"))?;
            Ok(span.span_id.clone())
        };
        let from = |service: &str| spans.iter().filter(|(of, _)| of == service).count();
        for (service, span) in &spans {
            let parent = match span.name.as_str() {
                "trial" => Vec::new(),
                "attempt" => id("trial")?,
                "work" => id("attempt")?,
                "step" => id("evaluation")?,
                "train" | "validate" => {
                    within(&spans, span)?;
                    continue;
                }
                _ => id("work")?,
            };
            ensure!(span.parent_span_id == parent, "{service}: {span:?}");
            ensure!(span.start_time_unix_nano <= span.end_time_unix_nano);
        }
        ensure!(from("espalier") >= 2 && from("espalier-worker") >= 5);
        let steps = spans.iter().filter(|(_, span)| span.name == "step").count();
        ensure!(steps >= 2, "{spans:?}");
        let parts = |name: &str| spans.iter().filter(|(_, span)| span.name == name).count();
        ensure!(
            parts("train") == steps && parts("validate") == steps,
            "{spans:?}"
        );
        ensure!(parts("lunch") == 0, "{spans:?}");
        // From the lines to the trace, and from the evaluator's own words.
        let trace = hex(&trace);
        ensure!(
            lines.contains(&format!("\"trace_id\":\"{trace}\"")),
            "{trace}"
        );
        let place = format!("traceparent 00-{trace}-{}-01", hex(&id("evaluation")?));
        ensure!(log.contains(&place), "{place}");
    }
    cluster.kill_coordinator()
}

#[tokio::test]
async fn a_collector_that_is_away_holds_nothing_up() -> Result<()> {
    let nobody = format!("http://{}", espalier_tests::free_address()?);
    let cluster = Cluster::start_with(5_000, environment(nobody)).await?;
    let mut worker = cluster.start_worker("one", &WorkerOptions::default())?;
    let searches = cluster.searches()?;
    let search = searches.create(SPEC, String::new()).await?;
    searches.finished(&search, LIMIT).await?;
    worker.signal(Signal::SIGTERM)?;
    worker.wait(Duration::from_secs(10))?;
    let said = worker.log();
    ensure!(said.matches("traces cannot be sent").count() == 1, "{said}");
    Ok(())
}

#[test]
fn what_is_no_address_of_a_collector_is_refused_at_the_start() -> Result<()> {
    for wrong in [
        "localhost:4317",
        "ftp://127.0.0.1:1",
        "https://127.0.0.1:1",
        "http://",
    ] {
        let folder = tempfile::tempdir()?;
        let mut command = espalier_tests::program("espalier");
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        command
            .arg(folder.path().join("data"))
            .args(["--otlp-endpoint", wrong]);
        let mut process = Process::start("serve", folder.path(), command, false)?;
        let status = process.wait(LIMIT)?;
        let said = std::fs::read_to_string(folder.path().join("serve.log"))?;
        ensure!(status.code() == Some(2), "{wrong}: {status}: {said}");
        ensure!(
            said.contains("--otlp-endpoint") && said.contains("http://127.0.0.1:4317"),
            "{said}"
        );
    }
    Ok(())
}
