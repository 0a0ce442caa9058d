//! The steps by which something becomes durable, between any two of which a process may be killed. Tests end it there
//! by `kill -9`: in a debug build `ESPALIER_KILL_AT=NAME` ends it when it comes to a step for the first time,
//! `NAME:3` for the third time. A release has none of this. May import std and nix.

macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident $name:literal)*) => {
        /// A step that has been done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step {
            $($(#[$doc])* $step,)*
        }

        impl Step {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$step),*];

            /// What it is called.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)*
                }
            }
        }
    };
}

steps! {
    /// A start has the folder's lock, and there may be no journal yet.
    OpenLocked "open-locked"
    /// The journal's file is there, and maybe empty.
    OpenConnected "open-connected"
    /// Its tables are there.
    OpenPrepared "open-prepared"
    /// A group of batches is to be written, and nothing of it is.
    CommitBegun "commit-begun"
    /// Its first batch is in the transaction.
    CommitAdded "commit-added"
    /// All of it is in the transaction, which is not committed.
    CommitWritten "commit-written"
    /// It is on the disk, and nobody knows.
    CommitDurable "commit-durable"
    /// The first who waits for it has been told, before anything follows from that.
    CommitAcknowledged "commit-acknowledged"
    /// All have been told.
    CommitTold "commit-told"
    /// The last group is written, and the log is still beside the file.
    CloseWritten "close-written"
    /// The log is moved into the file.
    CloseMoved "close-moved"
    /// The file is closed, and the folder still locked.
    CloseClosed "close-closed"
    /// An artifact has all its bytes in a temporary file.
    ArtifactWritten "artifact-written"
    /// They are on the disk.
    ArtifactSynced "artifact-synced"
    /// The folder for it is there.
    ArtifactFolder "artifact-folder"
    /// It has its name.
    ArtifactNamed "artifact-named"
    /// Its name is on the disk, and the journal does not know it yet.
    ArtifactDurable "artifact-durable"
    /// An artifact that nobody refers to has lost its name.
    ArtifactUnnamed "artifact-unnamed"
    /// It is gone.
    ArtifactRemoved "artifact-removed"
    /// The rows for listings are gone.
    RebuildEmptied "rebuild-emptied"
    /// Those of one more search are made.
    RebuildSearch "rebuild-search"
    /// All are made, and not yet said to be.
    RebuildMade "rebuild-made"
    /// They are said to be.
    RebuildMarked "rebuild-marked"
    /// Compaction has found the journal sound.
    CompactChecked "compact-checked"
    /// The file is written anew, in its log.
    CompactRewritten "compact-rewritten"
    /// The log is moved into it.
    CompactMoved "compact-moved"
    /// A new file (a back-up, an export) has a temporary name.
    FileBegun "file-begun"
    /// It has all that it is to have.
    FileWritten "file-written"
    /// That is on the disk.
    FileSynced "file-synced"
    /// It has its name.
    FileNamed "file-named"
    /// Its name is on the disk.
    FileDurable "file-durable"
    /// An import has an empty journal beside the place for it.
    ImportBegun "import-begun"
    /// One more record is in it.
    ImportAdded "import-added"
    /// All are, durably.
    ImportCommitted "import-committed"
    /// It was checked.
    ImportChecked "import-checked"
    /// It is one file without a log.
    ImportClosed "import-closed"
    /// That is on the disk.
    ImportSynced "import-synced"
    /// It is in its place.
    ImportNamed "import-named"
    /// Its name is on the disk.
    ImportDurable "import-durable"
}

/// A step has been done.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) fn done(_: Step) {}

/// A step has been done, and a test may want the process to end here.
#[cfg(debug_assertions)]
pub(crate) fn done(step: Step) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Where to end, and how many times to come there before.
    static END: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();

    let end = END.get_or_init(|| {
        let wanted = std::env::var("ESPALIER_KILL_AT").ok()?;
        let (name, times) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((name.to_owned(), AtomicU32::new(times.parse().ok()?)))
    });
    let Some((_, left)) = end.as_ref().filter(|(name, _)| name == step.name()) else {
        return;
    };
    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // What was acknowledged too early must have been heard by then, or nobody would miss it.
        std::thread::sleep(std::time::Duration::from_millis(50));
        eprintln!("killed at {}", step.name());
        // As `kill -9` does it: no destructor runs, and nothing is flushed.
        let killed =
            nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        // It ends this thread, too, but maybe not before the call returns.
        loop {
            std::thread::park_timeout(std::time::Duration::from_secs(1));
            assert!(killed.is_ok(), "the process cannot end itself: {killed:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let mut names: Vec<&str> = Step::ALL.iter().map(|step| step.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Step::ALL.len());
    }
}
