//! What a coordinator keeps is for its own user alone, whatever the umask is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use espalier_tests::{Process, Secured, command, serve_command, test_folder};

/// Everything below a folder, with itself.
fn all(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(all(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[tokio::test]
async fn the_data_folder_and_all_that_is_in_it_are_readable_by_their_owner_alone() -> Result<()> {
    let folder = test_folder()?;
    let serve = serve_command(folder.path(), "127.0.0.1:0", &["--tls", "on"]);
    let mut open = command("sh");
    open.args(["-c", "umask 0; exec \"$@\"", "sh"]);
    open.arg(serve.get_program()).args(serve.get_args());
    let (coordinator, ready) = Process::serve_by(folder.path(), open)?;
    let cluster = Secured::of(folder, coordinator, ready)?;
    cluster.control("weights", "1000")?;
    cluster.control("prints", "a line")?;
    let _worker = cluster.worker("node", Some(&cluster.token("worker")))?;
    cluster.submit("kept", 2)?;
    cluster.finished("kept").await?;

    let found = all(&cluster.path("coordinator"))?;
    for path in &found {
        let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        ensure!(mode == wanted, "{}: {mode:o}", path.display());
    }
    // All kinds of what there is.
    let has = |name: &str| {
        found
            .iter()
            .any(|path| path.to_string_lossy().contains(name))
    };
    for name in [
        "journal.db-wal",
        "journal.db-shm",
        "journal.lock",
        "/tls/",
        ".jsonl",
    ] {
        ensure!(has(name), "{name} is not there: {found:?}");
    }
    let artifacts = cluster.path("coordinator/artifacts");
    let stored = found
        .iter()
        .filter(|path| path.starts_with(&artifacts) && path.is_file());
    ensure!(stored.count() == 1, "{found:?}");
    Ok(())
}
