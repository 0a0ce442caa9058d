//! Faults of connections, done by a worker's proxy, which says whether they had an effect. May import this
//! crate's proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::faults::Outcome;
use super::proxy::{Mode, Proxy};
use super::schedule::{Fault, Step};

/// A worker that is down or frozen meanwhile uses no connection; it is waited for. One that cannot reach its
/// coordinator tries again after growing times, at most a minute.
const LIMIT: Duration = Duration::from_secs(120);
/// Far above what a network between machines takes.
const SLOW: Duration = Duration::from_millis(400);
/// More than a worker says in minutes, and less than a file has (see `Cluster::start`).
const HALF_A_FILE: u64 = 500_000;

/// Does one fault, from its beginning to its end.
///
/// # Errors
/// It had no effect.
pub(super) async fn strike(proxies: &[Arc<Proxy>], step: Step) -> Result<Outcome> {
    let proxy: &Proxy = &proxies[step.worker];
    let counters = proxy.counters();
    let effect = match step.fault {
        Fault::ConnectionsCut => {
            let open = &counters.open;
            until_more(open, 0, step).await?;
            cut(proxy, step).await?;
            "connected again"
        }
        Fault::ConnectionsSlow => {
            during(proxy, Mode::Slow(SLOW), &counters.slowed, step).await?;
            delivers(proxy, step).await?;
            proxy.set(Mode::Pass);
            "went on, slowly"
        }
        Fault::ConnectionsHalfOpen => {
            during(proxy, Mode::Hold, &counters.held, step).await?;
            if step.second_way {
                cut(proxy, step).await?;
                "then reset: connected again"
            } else {
                proxy.set(Mode::Pass);
                delivers(proxy, step).await?;
                "then let through: went on with late messages"
            }
        }
        Fault::RepliesLost => {
            during(proxy, Mode::HoldReplies, &counters.held_replies, step).await?;
            cut(proxy, step).await?;
            "connected again, asked again"
        }
        Fault::ConnectionsRefused => {
            let before = counters.refused.load(Ordering::Relaxed);
            proxy.set(Mode::Refuse);
            proxy.cut();
            let fired = until_more(&counters.refused, before, step).await;
            cut(proxy, step).await?;
            fired?;
            "connected when it could"
        }
        Fault::UploadCut => {
            let struck = first_upload_cut(proxies, step).await?;
            delivers(struck, step).await?;
            "connected again"
        }
        other => bail!("{other} is no fault of connections"),
    };
    Ok(Outcome::Fired(effect.to_owned()))
}

/// Cuts the first upload of any worker: only one in a dozen trials has weights that are wanted, and nobody knows whose.
async fn first_upload_cut(proxies: &[Arc<Proxy>], step: Step) -> Result<&Proxy> {
    let cuts = |proxy: &Proxy| proxy.counters().cut_on_the_way.load(Ordering::Relaxed);
    let before: Vec<u64> = proxies.iter().map(|proxy| cuts(proxy)).collect();
    proxies
        .iter()
        .for_each(|proxy| proxy.cut_after(HALF_A_FILE));
    let begin = Instant::now();
    let struck = loop {
        let mut pairs = proxies.iter().zip(&before);
        if let Some((proxy, _)) = pairs.find(|(proxy, before)| cuts(proxy) > **before) {
            break Some(proxy);
        }
        if begin.elapsed() >= LIMIT {
            break None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    proxies.iter().for_each(|proxy| proxy.cut_after(0));
    match struck {
        Some(proxy) => Ok(proxy),
        None => bail!("{}: no worker uploaded a file", step.fault),
    }
}

/// Sets a mode for the step's time, and for longer if it has had no effect by then.
async fn during(proxy: &Proxy, mode: Mode, counter: &AtomicU64, step: Step) -> Result<()> {
    let before = counter.load(Ordering::Relaxed);
    proxy.set(mode);
    let fired = until_more(counter, before, step).await;
    if fired.is_err() {
        proxy.set(Mode::Pass);
    }
    fired
}

/// Resets every connection with what it keeps back, lets new ones pass, and waits for one that carries answers.
async fn cut(proxy: &Proxy, step: Step) -> Result<()> {
    let opened = proxy.counters().opened.load(Ordering::Relaxed);
    proxy.cut();
    proxy.set(Mode::Pass);
    more(&proxy.counters().opened, opened, step).await?;
    delivers(proxy, step).await
}

/// Waits until the worker gets an answer.
async fn delivers(proxy: &Proxy, step: Step) -> Result<()> {
    let delivered = &proxy.counters().delivered;
    more(delivered, delivered.load(Ordering::Relaxed), step).await
}

async fn until_more(counter: &AtomicU64, before: u64, step: Step) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(step.hold_ms)).await;
    more(counter, before, step).await
}

async fn more(counter: &AtomicU64, before: u64, step: Step) -> Result<()> {
    let begin = Instant::now();
    while counter.load(Ordering::Relaxed) <= before {
        ensure!(
            begin.elapsed() < LIMIT,
            "{}: worker {} used no connection",
            step.fault,
            step.worker + 1
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
