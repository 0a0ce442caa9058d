//! How many files this process may have open, which bounds how many workers can be connected: each of them is a
//! socket. May import nix.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Besides connections: the journal, the log, artifacts on their way, and some.
const OTHERS: u64 = 256;

/// The limit on open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// As it was found.
    pub before: u64,
    /// As it is now.
    pub now: u64,
}

impl OpenFiles {
    /// So many connections fit into it.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.now.saturating_sub(OTHERS)
    }
}

/// Raises this process's limit to the most that it may have. Shells set a lower one (1,024 is usual) for the sake of
/// programs that use `select`, which this one does not; programs that it starts inherit it.
///
/// # Errors
/// The system does not say, or does not take it.
pub fn raise_open_files() -> Result<OpenFiles, Errno> {
    let (before, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if before < most {
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    }
    Ok(OpenFiles { before, now: most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_the_most_that_is_allowed() {
        let (before, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let lower = most.min(512);
        setrlimit(Resource::RLIMIT_NOFILE, lower, most).unwrap();
        let raised = raise_open_files().unwrap();
        assert_eq!((raised.before, raised.now), (lower, most));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (most, most));
        let few = OpenFiles {
            before: 0,
            now: 1_024,
        };
        assert_eq!(few.connections(), 768);
        setrlimit(Resource::RLIMIT_NOFILE, before, most).unwrap();
    }
}
