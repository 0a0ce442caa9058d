//! Why a worker cannot start or go on. May import common and tonic's status.

use std::path::PathBuf;

use espalier_common::ids::ClusterId;
use espalier_proto::PROTOCOL_VERSION;
use espalier_runtime::ending;
use tonic::{Code, Status};

use crate::config::ConfigError;

/// Why a worker ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A folder of the worker cannot be used.
    #[error(
        "cannot use {path}: {source}; give --work-dir and --cache-dir folders that can be written"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another worker has the work folder.
    #[error(
        "another worker uses the folder {0}; a second worker on this machine needs a --name of its own \
         (or its own --work-dir)"
    )]
    WorkDirInUse(PathBuf),
    /// There is nothing to run jobs with.
    #[error(
        "this worker has no evaluator: the built-in trainer is neither beside this program nor where \
         --trainer says, and no --evaluator was given; give --trainer PATH or --evaluator NAME='command line' \
         (or `--evaluator table`, to look up results in tables alone)"
    )]
    NoEvaluator,
    /// An evaluator does not start.
    #[error("{message}{}", tail(.log_tail))]
    Evaluator {
        /// Which one, and what is wrong.
        message: String,
        /// The last lines it wrote to stderr.
        log_tail: String,
    },
    /// An evaluator cannot use the device.
    #[error(
        "evaluator {name:?} cannot use the device {device:?}; it can use {can}: change --device"
    )]
    Device {
        /// The evaluator.
        name: String,
        /// The device that was asked for.
        device: String,
        /// What it can use.
        can: String,
    },
    /// The coordinator does not take this worker.
    #[error("the coordinator at {address} refuses this worker: {status}")]
    Refused {
        /// The coordinator.
        address: String,
        /// What it said.
        status: String,
        /// Whether it would say so again: to this token, or to what this worker asks.
        lasting: bool,
    },
    /// Nobody can tell whether the coordinator's certificate is valid, since a clock is wrong.
    #[error("cannot join the coordinator at {address}: {reason}")]
    Clock {
        /// The coordinator.
        address: String,
        /// Which clock, as far as that is known, and what to do.
        reason: String,
    },
    /// The coordinator speaks another version of the wire.
    #[error(
        "the coordinator at {address} is Espalier {} and speaks version {spoken} of the workers' protocol, this \
         worker is {} and speaks version {PROTOCOL_VERSION}: install the coordinator's release on this machine",
        if release.is_empty() { "of unknown release" } else { release }, env!("CARGO_PKG_VERSION")
    )]
    Protocol {
        /// The coordinator.
        address: String,
        /// Its release.
        release: String,
        /// What it speaks.
        spoken: u32,
    },
    /// The coordinator at the address is not the one that this worker joined.
    #[error(
        "the coordinator at {address} now has another journal: this worker joined cluster {before} and \
         meets {now}; check the address, or start the worker again to join the other cluster"
    )]
    OtherCluster {
        /// The coordinator.
        address: String,
        /// The cluster joined at the start.
        before: ClusterId,
        /// The cluster met now.
        now: ClusterId,
    },
    /// Another worker has the name, and keeps it.
    #[error(
        "the coordinator at {address} has had another worker of the name {name:?} at work for {waited_s} s: \
         give this one a --name of its own"
    )]
    NameInUse {
        /// The coordinator.
        address: String,
        /// The name.
        name: String,
        /// For how long it was tried.
        waited_s: u64,
    },
    /// A part of the worker broke.
    #[error("{0}")]
    Broken(String),
}

impl WorkerError {
    /// The coordinator's last word. Its release, its cluster and what it knows of workers may be others by the next
    /// start; a token or a message that it does not take is not.
    pub(crate) fn refused(address: &str, status: &Status) -> Self {
        Self::Refused {
            address: address.to_owned(),
            status: status.message().to_owned(),
            lasting: matches!(
                status.code(),
                Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument
            ),
        }
    }

    /// Whether another start with the same settings would end like this too, so that it is of no use.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Config(_) | Self::NoEvaluator => true,
            Self::Refused { lasting, .. } => *lasting,
            Self::Folder { source, .. } => ending::is_lasting(source),
            // A driver that is not up yet (until then an evaluator has no such device), another worker that ends or
            // whose name is free one day, an upgrade under way, a clock that is set soon.
            Self::Device { .. }
            | Self::WorkDirInUse(_)
            | Self::NameInUse { .. }
            | Self::Evaluator { .. }
            | Self::Protocol { .. }
            | Self::OtherCluster { .. }
            | Self::Clock { .. }
            | Self::Broken(_) => false,
        }
    }
}

fn tail(log: &str) -> String {
    if log.trim().is_empty() {
        String::new()
    } else {
        format!("; it wrote:\n{}", log.trim_end())
    }
}
