//! Many synthetic workers of one coordinator, each with a connection of its own, and a search for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use espalier_proto::v1;
use espalier_proto::v1::access_service_client::AccessServiceClient;
use espalier_proto::v1::search_service_client::SearchServiceClient;
use espalier_runtime::tls::{ClientTls, Identity, JoinToken, KeyRequest};
use futures::StreamExt as _;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::process::Coordinator;
use crate::worker::{Tally, Work, Worker};

/// Workers that join at one time.
const JOINING: usize = 64;
/// Trials of a page of a listing.
const PAGE: u32 = 1_000;
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// As of `espalier-worker`.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Workers at work; they end with it.
pub(crate) struct Fleet {
    pub(crate) tally: Arc<Tally>,
    _tasks: JoinSet<()>,
}

impl Fleet {
    /// Joins so many workers, with certificates of their own where there is TLS, and sets them to work.
    pub(crate) async fn join(
        coordinator: &Coordinator,
        workers: usize,
        slots: u32,
        work: Work,
    ) -> Self {
        let tally = Arc::new(Tally::default());
        let names = (0..workers).map(|number| format!("synthetic-{number}"));
        let joined = futures::stream::iter(names).map(|name| async move {
            let channel = connect(coordinator, &name).await;
            let worker = Worker::register(channel, &name, slots).await;
            worker.expect("registered")
        });
        let joined: Vec<Worker> = joined.buffer_unordered(JOINING).collect().await;
        let mut tasks = JoinSet::new();
        for worker in joined {
            tasks.spawn(worker.work(work, Arc::clone(&tally)));
        }
        Self {
            tally,
            _tasks: tasks,
        }
    }
}

async fn connect(coordinator: &Coordinator, name: &str) -> Channel {
    let endpoint = Endpoint::from_shared(coordinator.url.clone())
        .expect("an address")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let Some((token, tls)) = coordinator.token("worker") else {
        return endpoint.connect().await.expect("it listens");
    };
    let identity = enrol(&endpoint, &token, &tls, name).await;
    let tls = ClientTls::new(token.authority, Some(&identity)).expect("what is built is fixed");
    let connected = endpoint.connect_with_connector(tls.connector()).await;
    connected.expect("it listens")
}

async fn enrol(endpoint: &Endpoint, token: &JoinToken, tls: &ClientTls, name: &str) -> Identity {
    let connected = endpoint.connect_with_connector(tls.connector()).await;
    let mut access = AccessServiceClient::new(connected.expect("it listens"));
    let key = KeyRequest::new().expect("a key");
    let request = v1::EnrolRequest {
        name: name.to_owned(),
        request: key.request().to_vec(),
    };
    let reply = access.enrol(with(Some(token), request)).await;
    let reply = reply.expect("a certificate").into_inner();
    let identity = key.with_certificate(&reply.certificate);
    identity.expect("of this key")
}

/// How long a call takes in which the coordinator does nothing, asked again and again: what the machine, TLS and
/// gRPC take of it while the coordinator is busy.
#[derive(Debug)]
pub(crate) struct Probe {
    times: Arc<Mutex<Vec<Duration>>>,
    task: JoinHandle<()>,
}

impl Probe {
    pub(crate) async fn start(coordinator: &Coordinator) -> Self {
        let channel = connect(coordinator, "probe").await;
        let mut client = HealthClient::new(channel);
        let times: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let noted = Arc::clone(&times);
        let task = tokio::spawn(async move {
            loop {
                sleep(PROBE_EVERY).await;
                let start = Instant::now();
                let checked = client.check(HealthCheckRequest::default()).await;
                checked.expect("it serves");
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                noted.push(start.elapsed());
            }
        });
        Self { times, task }
    }

    pub(crate) fn stop(self) -> Vec<Duration> {
        self.task.abort();
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.clone()
    }
}

fn with<T>(token: Option<&JoinToken>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let bearer = format!("Bearer {}", token.reveal());
        let bearer = bearer.parse().expect("a token is plain text");
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}

/// Six categorical decisions of five values, and a real one so that the space has no end.
pub(crate) fn spec(name: &str, trials: u32, more: &str) -> String {
    let choices: String = (0..6)
        .map(|index| format!("  c{index}: {{choice: [0, 1, 2, 3, 4]}}\n"))
        .collect();
    format!(
        "name: {name}\nhyperparameters:\n{choices}  r: {{range: [0.0, 1.0]}}\nevaluator: null-objective\n\
         searcher: random\nobjectives: [{{maximize: score}}]\nbudget: {{trials: {trials}}}\nseed: 1\n{more}"
    )
}

/// A search of a coordinator.
pub(crate) struct Search {
    name: String,
    token: Option<JoinToken>,
    client: SearchServiceClient<Channel>,
}

impl Search {
    /// Creates one of so many trials; `more` is added to its spec.
    pub(crate) async fn create(
        coordinator: &Coordinator,
        name: &str,
        trials: u32,
        more: &str,
    ) -> Self {
        let endpoint = Endpoint::from_shared(coordinator.url.clone()).expect("an address");
        let (token, connected) = match coordinator.token("admin") {
            Some((token, tls)) => {
                let connected = endpoint.connect_with_connector(tls.connector()).await;
                (Some(token), connected)
            }
            None => (None, endpoint.connect().await),
        };
        let mut search = Self {
            name: name.to_owned(),
            token,
            client: SearchServiceClient::new(connected.expect("it listens")),
        };
        let create = v1::CreateRequest {
            spec: spec(name, trials, more),
            file: "load.yaml".to_owned(),
            ..v1::CreateRequest::default()
        };
        let create = search.request(create);
        search.client.create(create).await.expect("a search");
        search
    }

    fn request<T>(&self, message: T) -> Request<T> {
        with(self.token.as_ref(), message)
    }

    /// Where it is.
    pub(crate) async fn status(&mut self) -> v1::SearchStatus {
        let get = v1::GetRequest {
            search: self.name.clone(),
        };
        let get = self.request(get);
        self.client.get(get).await.expect("a status").into_inner()
    }

    /// Follows its log as `espalier logs --follow` does, to its end; answers with the lines that came and the gaps
    /// among them. Nothing is made of the lines: that is the reader's own time, as a rule on another machine.
    pub(crate) async fn follow(&self) -> JoinHandle<(u64, u64)> {
        let logs = v1::LogsRequest {
            search: self.name.clone(),
            follow: true,
            ..v1::LogsRequest::default()
        };
        let (logs, mut client) = (self.request(logs), self.client.clone());
        let mut pieces = client.logs(logs).await.expect("its log").into_inner();
        tokio::spawn(async move {
            let (mut lines, mut gaps) = (0, 0);
            while let Some(piece) = pieces.message().await.expect("the log goes on") {
                let gap = |line: &&String| line.contains("lines are left out here");
                gaps += piece.lines.iter().filter(gap).count() as u64;
                lines += piece.lines.len() as u64;
            }
            (lines, gaps)
        })
    }

    /// Says how the trials differ from "each completed, once, at the first attempt"; empty when they do not.
    pub(crate) async fn differences(&mut self, trials: u32) -> String {
        let status = self.status().await;
        let counts = status.counts.unwrap_or_default();
        let phase = status.phase;
        let counted = (counts.leased, counts.completed, counts.attempts);
        if phase != "finished" || counted != (trials, trials, trials) {
            return format!("{phase}, leased, completed, attempts: {counted:?}");
        }
        let mut next = 1;
        loop {
            let list = v1::ListTrialsRequest {
                search: self.name.clone(),
                after: next - 1,
                page_size: PAGE,
                states: Vec::new(),
            };
            let list = self.request(list);
            let page = self.client.list_trials(list).await.expect("a page");
            let page = page.into_inner();
            for trial in page.trials {
                let is = (trial.number, trial.state.as_str(), trial.attempts);
                if is != (next, "completed", 1) {
                    return format!("{is:?} stands where trial {next} should");
                }
                next += 1;
            }
            if !page.more {
                break;
            }
        }
        if next - 1 == trials {
            return String::new();
        }
        format!("{} trials are listed", next - 1)
    }
}
