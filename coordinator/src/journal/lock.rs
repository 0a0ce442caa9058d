//! One coordinator per data folder: a lock that the operating system gives back when its process ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::error::JournalError;
use crate::private;

/// The locked file's name. It stays behind: a file that is removed while another process opens it would
/// let two of them hold "the" lock.
const FILE: &str = "journal.lock";

/// The right to write in a data folder, until it is dropped.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock of `folder`, or says who has it.
    pub(super) fn take(folder: &Path) -> Result<Self, JournalError> {
        let unusable = |source| JournalError::Folder {
            folder: folder.to_owned(),
            source,
        };
        let mut file = private::options()
            .read(true)
            .write(true)
            .truncate(false)
            .open(folder.join(FILE))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::InUse {
                    folder: folder.to_owned(),
                    pid: holder(&file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        file.set_len(0).map_err(unusable)?;
        file.rewind().map_err(unusable)?;
        writeln!(file, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

/// Whether somebody has the lock of `folder` at this moment.
pub(super) fn is_held(folder: &Path) -> bool {
    // Where there is no lock, nobody has it; a folder that cannot be read is told by whoever reads it.
    let Ok(file) = File::open(folder.join(FILE)) else {
        return false;
    };
    // Not kept: a coordinator that starts must find it free.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The process id in the lock's file; absent while its holder is about to write it.
fn holder(file: &File) -> Option<u32> {
    let mut text = String::new();
    // A process id has at most ten digits; whatever else the file may hold is not read.
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
