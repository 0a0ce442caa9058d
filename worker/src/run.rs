//! A worker's life from start to end: nothing but the order of things. May import everything in this
//! crate.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use espalier_common::evaluator::Ready;
use espalier_common::ids::WorkerId;
use espalier_common::table::TABLE;
use espalier_proto::v1;
use espalier_runtime::Shutdown;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::cache::ArtifactCache;
use crate::client::{Client, keep_certificate};
use crate::config::{Program, WorkerConfig};
use crate::dataset::{Datasets, Places};
use crate::delivery::Delivery;
use crate::error::WorkerError;
use crate::evaluator::{Evaluator, MemoryLimit};
use crate::logs;
use crate::membership::Membership;
use crate::session::{Registration, Session, offer};
use crate::slot::{Broken, Slot};
use crate::spool::Spool;
use crate::transfer::{Transfers, blocking};
use crate::work_dir::WorkDir;

/// Events wait no longer than the session takes for one call's answer; each slot has at most two.
const WAITING_EVENTS: usize = 256;
/// For evaluators to end: a little more than their own steps take together.
const EVALUATORS_END_LIMIT: Duration = Duration::from_secs(4);

/// Runs a worker until `shutdown` is requested, or it idles for `until_idle`.
///
/// # Errors
/// [`WorkerError`] says what is wrong with the configuration, the folders or the evaluators, or why the
/// coordinator does not take this worker. A coordinator that is away is no error: it is waited for.
pub async fn run(config: WorkerConfig, shutdown: Shutdown) -> Result<(), WorkerError> {
    let config = Arc::new(config);
    let work_dir = Arc::new(WorkDir::open(&config.work_dir)?);
    let cache_folder = config.cache_dir.join("artifacts");
    let cache = ArtifactCache::open(cache_folder).map_err(in_folder(&config.cache_dir))?;
    let connecting = tokio::select! {
        connected = connect(&config) => connected?,
        () = shutdown.requested() => return ended(&shutdown),
        () = idle(config.until_idle) => None,
    };
    let Some((client, _certificate)) = connecting else {
        not_reached(&config);
        return ended(&shutdown);
    };
    let places = Places {
        data_root: config.data_root.clone(),
        fetched_dir: config.cache_dir.join("fetched"),
        cache_dir: config.cache_dir.join("data"),
        cache_bytes: config.cache_bytes,
        silence: config.data_silence,
    };
    let datasets = Datasets::start(places, Some(client.clone()));
    let memory = MemoryLimit::prepare(config.limits.memory);
    let worker = WorkerId(uuid::Uuid::new_v4());
    let results = Spool::waiting(&work_dir.spool_root()).map_err(in_folder(&config.work_dir))?;

    let starting = async {
        let (warm, offers) = try_evaluators(&config, &memory).await?;
        let mut registration = Registration::new(
            client.clone(),
            (worker, work_dir.home()),
            &results,
            &config,
            offers,
        );
        let welcome = tokio::select! {
            welcome = registration.register() => welcome?,
            () = idle(config.until_idle) => return Ok(None),
        };
        Ok::<_, WorkerError>(Some((warm, registration, welcome)))
    };
    let started = tokio::select! {
        started = starting => started?,
        () = shutdown.requested() => return ended(&shutdown),
    };
    let Some((warm, registration, welcome)) = started else {
        not_reached(&config);
        return ended(&shutdown);
    };

    let (event_sender, events) = mpsc::channel(WAITING_EVENTS);
    let spool = Spool::open(&work_dir.spool_root(), welcome.cluster, worker)
        .map_err(in_folder(&config.work_dir))?;
    let transfers = Transfers::new(
        client.clone(),
        cache,
        event_sender.clone(),
        welcome.max_artifact_bytes,
    );
    let printed = logs::tap();
    let printed_counts = printed.counts();
    let sending = logs::send(printed, client.clone(), worker);
    let _sender = AbortOnDropHandle::new(espalier_runtime::spawn_named("logs", sending));
    let delivery = Arc::new(Delivery {
        client,
        worker,
        spool,
        transfers,
        events: event_sender,
    });
    let earlier = delivery.spool.clone();
    let earlier = blocking(move || earlier.load()).await;
    let earlier = earlier.map_err(in_folder(&config.work_dir))?;

    let (mut warm, broken) = (Some(warm), Broken::default());
    let (mut jobs, mut slots) = (Vec::new(), Vec::new());
    for index in 0..config.slots {
        let slot = Slot {
            index,
            config: Arc::clone(&config),
            memory: memory.clone(),
            work_dir: Arc::clone(&work_dir),
            datasets: datasets.clone(),
            delivery: Arc::clone(&delivery),
            // The processes that said what they can do serve the first slot.
            evaluators: warm.take().unwrap_or_default(),
            broken: broken.clone(),
            unstarted: None,
        };
        let (sender, task) = slot.start(&shutdown);
        jobs.push(sender);
        slots.push(task);
    }
    let registered = (registration, welcome);
    let mut session = Session::new(config, datasets, delivery, registered, events, jobs);
    session.deliver_earlier(earlier);
    // The session holds the slots' senders: when it ends, they end their evaluators.
    let outcome = session.run(&shutdown).await;
    let all = futures::future::join_all(slots);
    if timeout(EVALUATORS_END_LIMIT, all).await.is_err() {
        tracing::warn!("evaluators did not end in time; they are killed");
    }
    printed_counts.sent().await;
    outcome.and_then(|()| ended(&shutdown))
}

/// The way to the coordinator: of one with TLS a certificate first, and the task that renews it.
async fn connect(
    config: &WorkerConfig,
) -> Result<Option<(Client, Option<AbortOnDropHandle<()>>)>, WorkerError> {
    let unusable = |error: tonic::transport::Error| WorkerError::Refused {
        address: config.join.clone(),
        status: error.to_string(),
        lasting: true,
    };
    let Some(membership) = Membership::of(config)? else {
        let client = Client::new(&config.join, None).map_err(unusable)?;
        return Ok(Some((client, None)));
    };
    let membership = Arc::new(membership);
    let given = membership.join().await?;
    let client = Client::new(&config.join, Some((membership, &given.tls))).map_err(unusable)?;
    let keeping = keep_certificate(client.clone(), given.renew_after);
    let keeper = espalier_runtime::spawn_named("certificate", keeping);
    Ok(Some((client, Some(AbortOnDropHandle::new(keeper)))))
}

fn not_reached(config: &WorkerConfig) {
    tracing::warn!(
        worker = config.name,
        coordinator = config.join,
        "the coordinator was not reached within the time given with --until-idle; ending"
    );
}

/// Ends when a worker without a job has waited for as long as it may.
async fn idle(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

fn ended(shutdown: &Shutdown) -> Result<(), WorkerError> {
    match shutdown.failure() {
        None => Ok(()),
        Some(reason) => Err(WorkerError::Broken(reason.to_owned())),
    }
}

fn in_folder(path: &Path) -> impl FnOnce(io::Error) -> WorkerError {
    let path = path.to_owned();
    |source| WorkerError::Folder { path, source }
}

/// Starts every evaluator once, so that the offer is what they said themselves, and a program that does
/// not run is found by whoever starts the worker and not by a search.
async fn try_evaluators(
    config: &WorkerConfig,
    memory: &MemoryLimit,
) -> Result<(BTreeMap<String, Evaluator>, Vec<v1::EvaluatorOffer>), WorkerError> {
    if config.evaluators.is_empty() && !config.tables_suffice {
        return Err(WorkerError::NoEvaluator);
    }
    let (mut warm, mut offers) = (BTreeMap::new(), Vec::new());
    let starts = config
        .evaluators
        .iter()
        .map(|program| Evaluator::start(config, memory, program, 0));
    let started = futures::future::join_all(starts).await;
    for (program, started) in config.evaluators.iter().zip(started) {
        let evaluator = started.map_err(|failure| WorkerError::Evaluator {
            message: failure.message,
            log_tail: failure.log_tail,
        })?;
        check_device(program, &evaluator.ready().devices, &config.device)?;
        offers.push(offer(&program.name, evaluator.ready()));
        warm.insert(program.name.clone(), evaluator);
    }
    offers.push(tables_offer());
    Ok((warm, offers))
}

/// Every worker looks results up; it needs no program for that.
fn tables_offer() -> v1::EvaluatorOffer {
    let ready = Ready {
        description: "tables of results".to_owned(),
        ..Ready::default()
    };
    offer(TABLE, &ready)
}

fn check_device(program: &Program, can: &[String], wanted: &str) -> Result<(), WorkerError> {
    // A program that says nothing about devices is taken at its word only where it matters: the trainer
    // always says.
    if can.iter().any(|device| device == wanted) || (can.is_empty() && !program.is_trainer()) {
        return Ok(());
    }
    Err(WorkerError::Device {
        name: program.name.clone(),
        device: wanted.to_owned(),
        can: if can.is_empty() {
            "nothing that it names".to_owned()
        } else {
            can.join(", ")
        },
    })
}
