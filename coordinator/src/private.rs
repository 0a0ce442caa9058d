//! Folders and files that only their owner may enter or read, whatever the umask is: the data folder holds keys, tokens'
//! hashes, specs and weights. What is there already keeps its mode, which its owner may have chosen. May import std.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;

/// Makes a folder, and those above it, where they are not there.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// How to open a file that is made where it is not there.
pub(crate) fn options() -> OpenOptions {
    let mut options = File::options();
    options.create(true).mode(FILE);
    options
}
