//! The thread that a search's proposer runs on, behind a queue: a slow ask never blocks the search's actor
//! or a heartbeat. Messages are taken in the order of the journal, so ask n sees exactly what was told
//! before it. May import the core and tokio's channels.

use std::sync::mpsc;
use std::time::Instant;

use espalier_common::ids::SearchId;
use espalier_common::observation::Observation;
use espalier_core::search::Event;
use espalier_core::searcher::Proposer;
use espalier_runtime::Shutdown;
use tokio::sync::mpsc as async_mpsc;

use super::reuse::{Proposed, Results};
use super::search::Request;
use crate::metrics::AskTimes;

/// What the proposer is to do.
#[derive(Debug)]
pub(super) enum ToSearcher {
    /// What became of a trial.
    Tell(Observation),
    /// An event about proposals that the search has come to.
    Recorded(Box<Event>),
    /// Propose something; the answer goes to the search's mailbox.
    Ask(u64),
}

/// The way to a search's proposer. Its queue has no bound of its own, for the search's actor must not
/// wait; what is in it is bounded by the asks under way, and by the trials of the search.
#[derive(Debug)]
pub(super) struct SearcherThread {
    queue: mpsc::Sender<ToSearcher>,
}

impl SearcherThread {
    /// Starts the thread; with `results`, earlier ones are looked for. It ends when this handle or the mailbox's receiver is dropped, after the ask it
    /// is at.
    pub(super) fn start(
        search: SearchId,
        mut proposer: Proposer,
        results: Option<Results>,
        times: &AskTimes,
        mailbox: async_mpsc::WeakSender<Request>,
        shutdown: Shutdown,
    ) -> std::io::Result<Self> {
        let (queue, messages) = mpsc::channel();
        let took = times.of(proposer.searcher());
        let work = move || {
            let _alarm = Alarm { search, shutdown };
            for message in messages {
                match message {
                    ToSearcher::Tell(observation) => proposer.tell(&observation),
                    ToSearcher::Recorded(event) => proposer.recorded(&event),
                    ToSearcher::Ask(number) => {
                        let begun = Instant::now();
                        let answer = proposer.ask(number);
                        took.observe(begun.elapsed().as_secs_f64());
                        let proposal = answer.outcome.as_ref().ok();
                        let found = proposal
                            .zip(results.as_ref())
                            .and_then(|(proposal, results)| results.find(proposal));
                        let proposed = Proposed { answer, found };
                        // Nobody is left to answer to when the coordinator stops.
                        let Some(mailbox) = mailbox.upgrade() else {
                            return;
                        };
                        if mailbox.blocking_send(Request::Proposed(proposed)).is_err() {
                            return;
                        }
                    }
                }
            }
        };
        // Names of threads are cut to 15 bytes by Linux: enough of the id to tell searches apart.
        let name = format!("ask-{}", &search.to_string()[..8]);
        std::thread::Builder::new().name(name).spawn(work)?;
        Ok(Self { queue })
    }

    pub(super) fn send(&self, message: ToSearcher) {
        // The thread ends before its queue only when the coordinator stops.
        let _ = self.queue.send(message);
    }
}

/// Stops the coordinator should the proposer panic: a search that silently proposes nothing more is worse
/// than a restart, which reads everything again.
struct Alarm {
    search: SearchId,
    shutdown: Shutdown,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let search = self.search;
            self.shutdown.fail(format!(
                "the searcher of search {search} panicked; this is a bug"
            ));
        }
    }
}
