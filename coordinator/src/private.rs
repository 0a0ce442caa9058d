//! Folders and files that only their owner may enter or read, whatever the umask is: the data folder holds keys, tokens'
//! hashes, specs and weights. What is there already keeps its mode, which its owner may have chosen. May import std.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;

/// Makes the data folder where it is not there. Those above it are not the coordinator's own, and as the umask says.
pub(crate) fn make_data_folder(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above)?;
    }
    make_folder(path)
}

/// Makes a folder within the data folder, and those between, where they are not there.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// How to open a file that is made where it is not there.
pub(crate) fn options() -> OpenOptions {
    let mut options = File::options();
    options.create(true).mode(FILE);
    options
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folders_above_the_data_folder_are_as_others_are() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let usual = folder.path().join("usual");
        std::fs::create_dir(&usual).unwrap();
        let data = folder.path().join("srv/espalier/data");
        make_data_folder(&data).unwrap();
        make_data_folder(&data).unwrap();
        assert_eq!(mode(&data), FOLDER);
        assert_eq!(mode(data.parent().unwrap()), mode(&usual));
    }
}
