//! How the memory of evaluators is limited on this machine: decided and said once at the worker's start. May
//! import the guard's memory, tracing.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::io;
#[cfg(target_os = "linux")]
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
#[cfg(target_os = "linux")]
use std::sync::Arc;

#[cfg(target_os = "linux")]
use super::cgroup::{Group, Groups};
#[cfg(target_os = "linux")]
use crate::guard::{MEMORY_SIGNAL, Memory};

/// The limit of every evaluator of this worker. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) enum MemoryLimit {
    /// There is none.
    #[default]
    Unlimited,
    /// So many bytes, watched by each evaluator's guard.
    #[cfg(target_os = "linux")]
    Watched(u64),
    /// Kept by the kernel, in control groups.
    #[cfg(target_os = "linux")]
    Groups(Arc<Groups>),
}

impl MemoryLimit {
    /// The best that this machine permits, with a line in the log.
    #[cfg(target_os = "linux")]
    pub(crate) fn prepare(limit: Option<u64>) -> Self {
        let Some(limit) = limit else {
            return Self::Unlimited;
        };
        match Groups::prepare(limit) {
            Ok(groups) => {
                tracing::info!(limit_bytes = limit, path = %groups.path().display(),
                    "the memory of evaluators is limited by the kernel, in control groups");
                Self::Groups(Arc::new(groups))
            }
            Err(reason) => {
                tracing::info!(
                    limit_bytes = limit,
                    reason,
                    "the memory of evaluators is limited by watching it: no control groups here"
                );
                Self::Watched(limit)
            }
        }
    }

    /// There is no limit: the configuration allows none here.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn prepare(_: Option<u64>) -> Self {
        Self::Unlimited
    }

    /// For one evaluator.
    pub(super) fn for_evaluator(&self, slot: u32) -> io::Result<Limited> {
        match self {
            Self::Unlimited => Ok(Limited::No),
            #[cfg(target_os = "linux")]
            Self::Watched(limit) => Ok(Limited::Watched(*limit)),
            #[cfg(target_os = "linux")]
            Self::Groups(groups) => {
                let group = groups.make(slot).map_err(|error| {
                    let text = format!("no control group for its memory: {error}");
                    io::Error::new(error.kind(), text)
                })?;
                Ok(Limited::Group(group))
            }
        }
    }
}

/// One evaluator's limit.
#[derive(Debug)]
pub(super) enum Limited {
    No,
    #[cfg(target_os = "linux")]
    Watched(u64),
    #[cfg(target_os = "linux")]
    Group(Group),
}

impl Limited {
    /// What its guard is told.
    #[cfg(target_os = "linux")]
    pub(super) fn argument(&self) -> OsString {
        let memory = match self {
            Self::No => Memory::Unlimited,
            Self::Watched(limit) => Memory::Watched(*limit),
            Self::Group(group) => Memory::Group(group.path().to_owned()),
        };
        memory.argument()
    }

    /// The limit, if the evaluator ended because of it.
    pub(super) fn was_exceeded(&self, status: Option<ExitStatus>) -> Option<u64> {
        match self {
            Self::No => None,
            #[cfg(target_os = "linux")]
            Self::Watched(limit) => {
                let signal = status.and_then(|status| status.signal());
                (signal == Some(MEMORY_SIGNAL)).then_some(*limit)
            }
            #[cfg(target_os = "linux")]
            Self::Group(group) => group.has_killed().then_some(group.limit()),
        }
    }

    /// Nothing is left of the evaluator: clears up after it.
    pub(super) fn clear(&mut self) {
        #[cfg(target_os = "linux")]
        if let Self::Group(group) = self {
            group.remove();
        }
    }
}
