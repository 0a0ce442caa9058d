//! Files that are written whole or not at all.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::super::error::CliError;
use super::folder_of;

/// Whether a file can be written there: told before the work, not after it.
pub(super) fn check(path: &Path) -> Result<(), CliError> {
    if path.is_dir() {
        return Err(CliError::Usage(format!(
            "cannot write {}: it is a folder; name a file",
            path.display()
        )));
    }
    tempfile::tempfile_in(folder_of(path))
        .map(drop)
        .map_err(|error| CliError::io("write", path, &error))
}

/// Whether two paths name one file, as far as it shows before they are written.
pub(super) fn same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        // A file is replaced where its name stands, whatever a link there points to.
        let folder = folder_of(path).canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    one == other || place(one).is_some_and(|one| Some(one) == place(other))
}

/// Writes beside the file and renames it, so that nobody ever reads half of it.
pub(super) fn write(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), CliError> {
    let wrong = |error: std::io::Error| CliError::io("write", path, &error);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".espalier-").suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any file that a program writes; the process's mask takes from it.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder_of(path)).map_err(wrong)?;
    let mut buffered = BufWriter::new(file.as_file_mut());
    content(&mut buffered).map_err(wrong)?;
    buffered.flush().map_err(wrong)?;
    drop(buffered);
    file.persist(path)
        .map(drop)
        .map_err(|refused| wrong(refused.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_in_the_middle_leaves_the_old_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        write(&path, |to| to.write_all(b"old")).unwrap();
        let failed = write(&path, |to| {
            to.write_all(b"half of the new")?;
            Err(std::io::Error::other("the disk is full"))
        });
        let text = failed.unwrap_err().to_string();
        assert!(
            text.contains("a.csv") && text.contains("disk is full"),
            "{text}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_file_is_known_by_whatever_way_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("below")).unwrap();
        let file = folder.path().join("a.csv");
        assert!(same(&file, &file));
        assert!(same(&file, &folder.path().join("below/../a.csv")));
        assert!(!same(&file, &folder.path().join("below/a.csv")));
        assert!(!same(&file, &folder.path().join("b.csv")));
        assert!(same(Path::new("a.csv"), Path::new("./a.csv")));
        assert!(!same(
            Path::new("no/such/a.csv"),
            Path::new("nor/this/a.csv")
        ));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_refused_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let text = check(folder.path()).unwrap_err().to_string();
        assert!(text.contains("is a folder"), "{text}");
        let nowhere = folder.path().join("no/such/a.csv");
        let text = check(&nowhere).unwrap_err().to_string();
        assert!(text.contains("no/such/a.csv"), "{text}");
        assert!(check(&folder.path().join("a.csv")).is_ok());
    }
}
