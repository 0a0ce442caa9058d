//! Faults on the wire, by a synthetic worker against a real coordinator process.

use std::time::Duration;

use anyhow::Result;
use espalier_tests::{Cluster, SyntheticWorker};
use tonic::Code;

const SPEC: &str = "name: wire
hyperparameters: {x: {range: [0.0, 1.0]}}
evaluator: scripted
training: {epochs: 1}
searcher: random
objectives: [{maximize: score}]
budget: {trials: 2}
seed: 3
";
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_stale_report_is_refused_and_a_stale_completion_counts_once() -> Result<()> {
    let cluster = Cluster::start(1_000).await?;
    let searches = cluster.searches()?;
    let search = searches.create(SPEC, String::new()).await?;
    let mut slow = SyntheticWorker::register(cluster.address(), "slow", 1).await?;
    let lease = slow.lease(1, 5_000).await?.remove(0);
    let stale = lease.attempt.expect("a lease names its attempt");
    // Not renewed: the lease expires and the trial is leased to another worker.
    let mut quick = SyntheticWorker::register(cluster.address(), "quick", 2).await?;
    let mut newer = None;
    for _ in 0..10 {
        let leases = quick.lease(2, 2_000).await?;
        let attempts = leases.into_iter().filter_map(|lease| lease.attempt);
        newer = newer.or(attempts
            .into_iter()
            .find(|attempt| attempt.trial == stale.trial));
        if newer.is_some() {
            break;
        }
    }
    let newer = newer.expect("the expired trial was leased again");
    assert!(
        newer.attempt > stale.attempt,
        "the fencing number did not grow"
    );

    let refused = slow
        .report(&stale, 1, 0.5)
        .await
        .expect_err("a stale report is refused");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    slow.complete(&stale, 0.5).await?;
    slow.complete(&stale, 0.5).await?; // said twice, counted once
    let dropped = quick.renew(vec![newer.clone()], quick.calls()).await?;
    assert_eq!(
        dropped,
        vec![newer.clone()],
        "the newer attempt was not cancelled"
    );
    let late = quick
        .complete(&newer, 0.9)
        .await
        .expect_err("the trial is closed");
    assert_eq!(late.code(), Code::FailedPrecondition, "{late}");

    let trial = searches
        .trials(&search)
        .await?
        .remove(stale.trial as usize - 1);
    assert_eq!(
        (trial.state.as_str(), trial.score),
        ("completed", Some(0.5))
    );
    let counts = searches.status(&search).await?.counts.unwrap_or_default();
    assert_eq!(counts.completed, 1);
    Ok(())
}

#[tokio::test]
async fn a_lost_lease_reply_returns_to_the_queue_at_once() -> Result<()> {
    // A lease of a minute: only the hand-back explains a second lease within the test's limit.
    let cluster = Cluster::start(60_000).await?;
    let searches = cluster.searches()?;
    let search = searches
        .create(&SPEC.replace("trials: 2", "trials: 1"), String::new())
        .await?;
    let mut worker = SyntheticWorker::register(cluster.address(), "lossy", 1).await?;
    let lost = worker
        .lease(1, 5_000)
        .await?
        .remove(0)
        .attempt
        .expect("a lease names its attempt");
    // As if the reply had never arrived: the call has ended, and nothing is held.
    worker.renew(Vec::new(), worker.calls()).await?;
    let again = worker
        .lease(1, 5_000)
        .await?
        .remove(0)
        .attempt
        .expect("a lease names its attempt");
    assert_eq!(again.trial, lost.trial);
    assert!(again.attempt > lost.attempt);
    worker.complete(&again, 0.4).await?;
    searches.finished(&search, LIMIT).await?;
    let trials = searches.trials(&search).await?;
    assert_eq!(trials.len(), 1);
    assert_eq!(trials[0].score, Some(0.4));
    Ok(())
}

#[tokio::test]
async fn a_worker_started_again_gives_back_what_its_older_instance_held() -> Result<()> {
    let cluster = Cluster::start(60_000).await?;
    let searches = cluster.searches()?;
    searches
        .create(&SPEC.replace("trials: 2", "trials: 1"), String::new())
        .await?;
    let mut older = SyntheticWorker::register(cluster.address(), "same", 1).await?;
    let held = older
        .lease(1, 5_000)
        .await?
        .remove(0)
        .attempt
        .expect("a lease names its attempt");
    let mut newer = SyntheticWorker::register(cluster.address(), "same", 1).await?;
    let again = newer
        .lease(1, 5_000)
        .await?
        .remove(0)
        .attempt
        .expect("a lease names its attempt");
    assert_eq!(again.trial, held.trial);
    assert!(again.attempt > held.attempt);
    Ok(())
}

#[tokio::test]
async fn messages_that_mean_nothing_are_refused_with_a_reason() -> Result<()> {
    let cluster = Cluster::start(5_000).await?;
    let searches = cluster.searches()?;
    let search = searches.create(SPEC, String::new()).await?;
    let mut worker = SyntheticWorker::register(cluster.address(), "odd", 1).await?;
    let attempt = worker
        .lease(1, 5_000)
        .await?
        .remove(0)
        .attempt
        .expect("a lease names its attempt");
    let nan = worker
        .report(&attempt, 1, f64::NAN)
        .await
        .expect_err("NaN is refused");
    assert_eq!(nan.code(), Code::InvalidArgument, "{nan}");
    let mut unknown = attempt.clone();
    unknown.attempt = 99;
    let refused = worker
        .complete(&unknown, 0.1)
        .await
        .expect_err("no such attempt");
    assert!(
        matches!(refused.code(), Code::NotFound | Code::FailedPrecondition),
        "{refused}"
    );
    worker.id.truncate(3);
    let refused = worker
        .report(&attempt, 1, 0.5)
        .await
        .expect_err("an id has 16 bytes");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(searches.status(&search).await?.phase, "running");
    Ok(())
}
