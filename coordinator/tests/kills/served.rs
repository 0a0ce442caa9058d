//! A coordinator that is killed over and over while a worker works for it, as a worker does: what was not
//! acknowledged is said again, and nothing else is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use espalier_common::ids::{Digest, SearchId};
use espalier_common::job::LeasedJob;
use espalier_coordinator::steps::Step;
use espalier_core::search::TrialState;
use espalier_proto::v1;
use espalier_proto::v1::search_service_client::SearchServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::cli_support::espalier;
use crate::folder;
use crate::life::{Life, assert_killed};
use crate::steps;
use crate::support::{LIMIT, TestWorker, spec};

/// Each is better than the one before, so that each has weights to be stored and others to be removed.
const TRIALS: u32 = 5;
const ID: Uuid = Uuid::from_u128(7);

/// What the coordinator has said that it has.
#[derive(Debug, Default)]
struct Acknowledged {
    created: bool,
    /// The highest attempt of each trial.
    leased: BTreeMap<u32, u32>,
    measured: BTreeMap<u32, u32>,
    completed: BTreeMap<u32, f64>,
    /// The trials whose weights are stored.
    stored: Vec<u32>,
}

/// A result that was not acknowledged yet.
struct Delivery {
    job: LeasedJob,
    completed: bool,
}

struct Client {
    data_dir: PathBuf,
    worker: Option<TestWorker>,
    undelivered: Option<Delivery>,
    acknowledged: Acknowledged,
}

fn weights(trial: u32) -> Vec<u8> {
    format!("the weights of trial {trial}").into_bytes()
}

/// Whether a call failed since the coordinator is gone, which is all that may be.
fn gone(status: &Status) -> bool {
    let transport = std::error::Error::source(status).is_some();
    transport || matches!(status.code(), Code::Unavailable | Code::Cancelled)
}

impl Client {
    fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            worker: None,
            undelivered: None,
            acknowledged: Acknowledged::default(),
        }
    }

    /// Works until the search is over (true) or the coordinator gone (false).
    async fn work(&mut self, life: &Life) -> bool {
        let Some(address) = life.address.clone() else {
            return false;
        };
        let endpoint = Channel::from_shared(address).unwrap();
        let Ok(channel) = endpoint.connect().await else {
            return false;
        };
        let worked = tokio::time::timeout(LIMIT, self.try_work(channel)).await;
        match worked.expect("the search does not go on") {
            Ok(()) => true,
            Err(status) if gone(&status) => false,
            Err(status) => panic!("{status:?}; acknowledged: {:?}", self.acknowledged),
        }
    }

    async fn try_work(&mut self, channel: Channel) -> Result<(), Status> {
        let mut searches = SearchServiceClient::new(channel.clone());
        let create = v1::CreateRequest {
            spec: spec("kills", TRIALS).replace("seed: 7", "seed: 7\nattempts: 100"),
            file: "spec.yaml".to_owned(),
            id: ID.as_bytes().to_vec(),
            ..v1::CreateRequest::default()
        };
        searches.create(create).await?;
        self.acknowledged.created = true;
        let mut worker = match self.worker.take() {
            Some(mut worker) => {
                worker.reconnect(channel);
                worker
            }
            None => TestWorker::unregistered(channel, "one", 1),
        };
        let worked = self.jobs(&mut worker, &mut searches).await;
        self.worker = Some(worker);
        worked
    }

    async fn jobs(
        &mut self,
        worker: &mut TestWorker,
        searches: &mut SearchServiceClient<Channel>,
    ) -> Result<(), Status> {
        worker.register_again().await?;
        loop {
            let held: Vec<&LeasedJob> = self.undelivered.iter().map(|one| &one.job).collect();
            let call = worker.call;
            worker.try_renew(&held, call).await?;
            if self.undelivered.is_none() {
                let jobs = worker.lease(1, 100).await?;
                if let Some(job) = jobs.into_iter().next() {
                    self.acknowledged.leased.insert(job.trial.0, job.attempt.0);
                    self.undelivered = Some(Delivery {
                        job,
                        completed: false,
                    });
                }
            }
            if self.undelivered.is_some() {
                self.deliver(worker).await?;
                continue;
            }
            let search = ID.to_string();
            let status = searches.get(v1::GetRequest { search }).await?.into_inner();
            if status.phase == "finished" {
                return Ok(());
            }
        }
    }

    async fn deliver(&mut self, worker: &mut TestWorker) -> Result<(), Status> {
        let Some(result) = &mut self.undelivered else {
            return Ok(());
        };
        let (job, trial) = (&result.job, result.job.trial.0);
        if !result.completed {
            match worker.report(job, 1, 0.5).await {
                Ok(_) => drop(self.acknowledged.measured.insert(trial, 1)),
                Err(status) if gone(&status) => return Err(status),
                // Not this attempt's any more, or reported before; its result is taken all the same.
                Err(_) => {}
            }
        }
        let content = weights(trial);
        let digest = Digest::of(&content).to_string();
        let wanted = worker
            .complete_at(job, 2, f64::from(trial), &digest)
            .await?;
        result.completed = true;
        self.acknowledged.completed.insert(trial, f64::from(trial));
        if wanted == v1::WeightsDecision::Upload {
            worker.upload(job, &digest, &content).await?;
        }
        if wanted != v1::WeightsDecision::Discard {
            self.acknowledged.stored.push(trial);
        }
        self.undelivered = None;
        Ok(())
    }

    /// All that was acknowledged is in the folder, and nothing half.
    fn inspect(&self) {
        let said = &self.acknowledged;
        let Some(checked) = folder::sound(&self.data_dir) else {
            assert!(!said.created, "there is no journal; acknowledged: {said:?}");
            return;
        };
        if checked.searches.is_empty() {
            assert!(!said.created, "there is no search; acknowledged: {said:?}");
            return;
        }
        let rows = folder::trials(&self.data_dir, SearchId(ID));
        let numbers: Vec<u32> = rows.iter().map(|row| row.number.0).collect();
        assert_eq!(numbers, (1..=rows.len() as u32).collect::<Vec<_>>());
        let row = |trial: &u32| &rows[*trial as usize - 1];
        for (trial, attempt) in &said.leased {
            assert!(row(trial).attempts >= *attempt, "trial {trial}: {said:?}");
        }
        for (trial, step) in &said.measured {
            let measured = row(trial).measured.as_ref().map(|measured| measured.step);
            let newer = row(trial).attempts > said.leased[trial];
            assert!(newer || measured >= Some(*step), "trial {trial}: {said:?}");
        }
        for (trial, score) in &said.completed {
            assert_eq!(
                row(trial).state,
                TrialState::Completed,
                "trial {trial}: {said:?}"
            );
            assert_eq!(row(trial).score, Some(*score));
        }
        // Those of the best that is known to be stored, or of a better one that is on its way.
        let stored = folder::artifacts(&self.data_dir);
        if let Some(newest) = said.stored.last() {
            let better = *newest..=TRIALS;
            let mut there = better.map(|trial| Digest::of(&weights(trial)));
            assert!(
                there.any(|digest| stored.contains(&digest)),
                "{said:?} but {stored:?}"
            );
        }
    }

    /// The search came to its exact end.
    async fn assert_finished(&self) {
        let life = Life::start(&self.data_dir, None);
        let address = life.address.clone().unwrap();
        let channel = Channel::from_shared(address).unwrap();
        let mut searches = SearchServiceClient::new(channel.connect().await.unwrap());
        let search = ID.to_string();
        let status = searches
            .get(v1::GetRequest { search })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(status.phase, "finished");
        let counts = status.counts.unwrap();
        assert_eq!(
            (counts.leased, counts.completed),
            (TRIALS, TRIALS),
            "{counts:?}"
        );
        assert_eq!((counts.running, counts.queued), (0, 0), "{counts:?}");
        assert_eq!(status.best_trial, Some(TRIALS));
        let best = Digest::of(&weights(TRIALS));
        assert_eq!(status.best_weights, best.to_string());
        let (end, log) = life.terminate();
        assert!(end.success(), "{log}");
        self.inspect();
        assert_eq!(
            folder::artifacts(&self.data_dir),
            [best],
            "more than what is kept"
        );
        assert_eq!(self.acknowledged.completed.len(), TRIALS as usize);
        let mut replay = espalier();
        replay
            .args(["replay", &ID.to_string(), "--data-dir"])
            .arg(&self.data_dir);
        let replay = replay.output().unwrap();
        assert!(replay.status.success(), "{replay:?}");
    }
}

/// A search from nothing to its end, by coordinators of which each ends when it has come to the step more often than
/// the one before. Returns how many ended so.
async fn killed_again_and_again(data_dir: &Path, step: Step) -> u32 {
    let mut client = Client::new(data_dir.to_owned());
    let (mut killed, mut times) = (0, 1);
    loop {
        let life = Life::start(data_dir, Some((step, times)));
        if client.work(&life).await {
            drop(life);
            client.assert_finished().await;
            return killed;
        }
        life.ended_at(step);
        client.inspect();
        killed += 1;
        // 1, 2, 3, 5, 7, 10: later ones come far before they end.
        times += 1 + times / 3;
    }
}

async fn at_every_step_of(area: &str, at_least: u32) {
    for step in steps(area) {
        let folder = tempfile::tempdir().unwrap();
        let killed = killed_again_and_again(&folder.path().join("state"), step).await;
        println!("{}: killed {killed} times", step.name());
        assert!(killed >= at_least, "{}: killed {killed} times", step.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_a_start_a_coordinator_starts() {
    at_every_step_of("open", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_a_commit_a_coordinator_loses_nothing_that_it_acknowledged() {
    at_every_step_of("commit", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_storing_or_removing_an_artifact_a_coordinator_has_it_whole_or_not() {
    at_every_step_of("artifact", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_its_end_a_coordinator_has_lost_nothing() {
    for step in steps("close") {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("state");
        let mut client = Client::new(data_dir.clone());
        let life = Life::start(&data_dir, Some((step, 1)));
        assert!(client.work(&life).await);
        let (status, log) = life.terminate();
        assert_killed(status, &log, step);
        client.inspect();
        client.assert_finished().await;
    }
}
