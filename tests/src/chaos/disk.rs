//! A small disk that can be filled: a tmpfs where mounting is permitted. Elsewhere the file size limit of the
//! process stands in for it, so that its writes fail all the same. May import std and nix.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Takes the journal of a run many times over, and is filled in a moment.
const SIZE: &str = "size=48m";
/// Where mounting is permitted, this makes the suite do without: for the test of the other way.
const NO_MOUNT: &str = "ESPALIER_CHAOS_NO_MOUNT";

/// A folder whose room can be taken away.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    mounted: bool,
}

impl Disk {
    /// Makes the folder, on a tmpfs of its own if that is permitted.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let mounted = std::env::var_os(NO_MOUNT).is_none()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", SIZE, "espalier-chaos"])
                .arg(&folder)
                .output()
                .is_ok_and(|output| output.status.success());
        Ok(Self { folder, mounted })
    }

    /// The folder.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// Whether it is a disk of its own.
    #[must_use]
    pub(super) fn is_mounted(&self) -> bool {
        self.mounted
    }

    /// Takes all room away from `process`; once more, the room that files left which were removed since.
    ///
    /// # Errors
    /// It is not full afterwards.
    pub(super) fn fill(&self, process: u32) -> Result<()> {
        if !self.mounted {
            return limit(process, "0:");
        }
        let path = self.ballast();
        let mut ballast = File::options().create(true).append(true).open(&path)?;
        // Large pieces first, then what is left of the last page.
        for size in [1 << 20, 4096, 1] {
            let piece = vec![7_u8; size];
            loop {
                match ballast.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("filling the disk"),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// It was not taken.
    pub(super) fn free(&self, process: Option<u32>) -> Result<()> {
        if self.mounted {
            return std::fs::remove_file(self.ballast()).context("freeing the disk");
        }
        process.map_or(Ok(()), |process| limit(process, "unlimited:"))
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: a process that is about to end may still have a file open.
            let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
        }
    }
}

/// The soft limit only, so that it can be taken back without privileges.
fn limit(process: u32, value: &str) -> Result<()> {
    let output = Command::new("prlimit")
        .args(["--pid", &process.to_string(), &format!("--fsize={value}")])
        .output()
        .context("prlimit (util-linux) stands in where no disk can be mounted")?;
    if !output.status.success() {
        bail!("prlimit: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Whether there is a way to fill a disk here; else why not.
///
/// # Errors
/// The reason.
pub(super) fn can_fill(disk: &Disk) -> Result<(), &'static str> {
    if disk.is_mounted() || Command::new("prlimit").arg("--version").output().is_ok() {
        Ok(())
    } else {
        Err("no tmpfs can be mounted here, and prlimit (util-linux) is not installed")
    }
}

/// A command that starts `program` such that a write beyond the file size limit fails, as on a full disk, and
/// does not kill it.
#[must_use]
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(program);
    command
}
