//! Files that only their owner may read. May import std.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::TlsError;

/// Keys, certificates and tokens are far smaller.
const MAX_BYTES: u64 = 1024 * 1024;

fn failed(path: &Path) -> impl Fn(std::io::Error) -> TlsError {
    let path = path.display().to_string();
    move |source| TlsError::File {
        path: path.clone(),
        source,
    }
}

/// Makes a folder that only its owner may enter, if it is not there.
pub(super) fn private_folder(path: &Path) -> Result<(), TlsError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(failed(path))
}

/// Writes a file that only its owner may read, whole or not at all, and onto the disk.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<(), TlsError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    if !folder.as_os_str().is_empty() {
        private_folder(folder)?;
    }
    let part = path.with_extension("part");
    // One left by a crash may have other permissions.
    let _ = std::fs::remove_file(&part);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, path)?;
        if !folder.as_os_str().is_empty() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    })();
    written.map_err(failed(path))
}

/// Reads a small file that only its owner should be able to read; `None` when it is not there. One that
/// others can read too is used, and said.
///
/// # Errors
/// It cannot be read, or is no text of a sensible size.
pub fn read_private(path: &Path) -> Result<Option<String>, TlsError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let metadata = file.metadata().map_err(failed(path))?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others on this machine can read this file with a secret; chmod 600 it");
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed(path))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(TlsError::BadFile {
            path: path.display().to_string(),
            what: format!("it has more than {MAX_BYTES} bytes"),
        });
    }
    Ok(Some(text))
}

/// Reads a file that must be there.
pub(super) fn read(path: &Path) -> Result<String, TlsError> {
    match std::fs::metadata(path) {
        Ok(_) => {}
        Err(error) => return Err(failed(path)(error)),
    }
    let mut text = String::new();
    let file = File::open(path).map_err(failed(path))?;
    file.take(MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(failed(path))?;
    Ok(text)
}
