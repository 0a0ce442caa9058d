//! What the workers add up to, for the metrics: written by the dispatcher after every batch and read without
//! asking it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::registry::Registry;

/// Counts of workers, slots and leases. Each is right by itself; a reader may see some of a later batch.
#[derive(Debug, Default)]
pub(crate) struct ClusterTally {
    workers: AtomicU64,
    paused: AtomicU64,
    slots: AtomicU64,
    leases: AtomicU64,
}

impl ClusterTally {
    pub(super) fn update(&self, registry: &Registry, paused: usize, leases: usize) {
        self.workers.store(registry.len() as u64, Ordering::Relaxed);
        self.paused.store(paused as u64, Ordering::Relaxed);
        self.slots.store(registry.slots(), Ordering::Relaxed);
        self.leases.store(leases as u64, Ordering::Relaxed);
    }

    /// Registered workers.
    pub(crate) fn workers(&self) -> u64 {
        self.workers.load(Ordering::Relaxed)
    }

    /// Workers among them that get no jobs for a while, since jobs kept failing on them.
    pub(crate) fn paused(&self) -> u64 {
        self.paused.load(Ordering::Relaxed)
    }

    /// Slots of all workers together.
    pub(crate) fn slots(&self) -> u64 {
        self.slots.load(Ordering::Relaxed)
    }

    /// Leases that are held.
    pub(crate) fn leases(&self) -> u64 {
        self.leases.load(Ordering::Relaxed)
    }
}
