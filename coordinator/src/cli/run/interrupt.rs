//! Signals to a run: the first one ends it in order, the second one at once. May import tokio.

use espalier_runtime::{Shutdown, spawn_named};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::error::{CliError, INTERRUPTED, say};
use super::spawner::Groups;

/// Listens to SIGINT, SIGTERM and SIGHUP (the terminal was closed). `groups` are killed by the second.
pub(super) fn on_signals(groups: Groups) -> Result<Shutdown, CliError> {
    let listen = |kind| {
        signal(kind).map_err(|error| CliError::Failed(format!("cannot handle signals: {error}")))
    };
    let mut signals = [
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    ];
    let shutdown = Shutdown::new();
    let asked = shutdown.clone();
    spawn_named("signals", async move {
        next_of(&mut signals).await;
        say("ending in order: trials under way are handed back; once more ends at once");
        asked.request();
        next_of(&mut signals).await;
        groups.kill();
        std::process::exit(i32::from(INTERRUPTED));
    });
    Ok(shutdown)
}

async fn next_of([first, second, third]: &mut [Signal; 3]) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
        _ = third.recv() => {}
    }
}
