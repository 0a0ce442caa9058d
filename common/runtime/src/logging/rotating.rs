//! A log file that is put aside when it gets large: `log`, then `log.1` (the one before) and so on. Written by
//! hand, since what there is rotates by the hour or the day, which bounds no disk. May import tracing-subscriber.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// A log file with a bound.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    most_bytes: u64,
    /// How many former files are kept.
    keep: u32,
    /// Held for the write of a line.
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl RotatingFile {
    /// Opens a log file, to go on where it ends. When a line would make it larger than `most_bytes` it is put
    /// aside first; `keep` former files are kept.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn open(path: impl Into<PathBuf>, most_bytes: u64, keep: u32) -> io::Result<Self> {
        let path = path.into();
        let open = Open::at(&path)?;
        Ok(Self {
            path,
            most_bytes,
            keep,
            open: Mutex::new(Some(open)),
        })
    }

    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        // A panic while it was held leaves a file that is opened again at worst.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current = match open.take() {
            Some(current) => current,
            // After a line that could not be written: the folder may have been replaced.
            None => Open::at(&self.path)?,
        };
        if current.bytes > 0 && current.bytes.saturating_add(line.len() as u64) > self.most_bytes {
            drop(current);
            self.put_aside()?;
            current = Open::at(&self.path)?;
        }
        if let Err(error) = current.file.write_all(line) {
            // Half a line would spoil the next one.
            let _ = current.file.set_len(current.bytes);
            return Err(error);
        }
        current.bytes += line.len() as u64;
        *open = Some(current);
        Ok(())
    }

    /// Every former file gets the next number; the last one is overwritten.
    fn put_aside(&self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            match std::fs::rename(self.former(number), self.former(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.former(1))
    }

    fn former(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

/// One line on its way into the file.
#[derive(Debug)]
pub(super) struct Line<'a>(&'a RotatingFile);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_line(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RotatingFile {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_file_that_gets_too_large_is_put_aside_and_the_oldest_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = RotatingFile::open(&path, 20, 2).unwrap();
        for number in 0..7 {
            writeln!(file.make_writer(), "line {number}.").unwrap(); // 8 bytes
        }
        assert_eq!(read(&path), "line 6.\n");
        assert_eq!(read(&folder.path().join("log.1")), "line 4.\nline 5.\n");
        assert_eq!(read(&folder.path().join("log.2")), "line 2.\nline 3.\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        // A new start goes on in the same file.
        let again = RotatingFile::open(&path, 20, 2).unwrap();
        writeln!(again.make_writer(), "line 7.").unwrap();
        assert_eq!(read(&path), "line 6.\nline 7.\n");
    }

    #[test]
    fn a_line_larger_than_the_bound_is_written_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = RotatingFile::open(&path, 4, 1).unwrap();
        writeln!(file.make_writer(), "a long line").unwrap();
        writeln!(file.make_writer(), "another").unwrap();
        assert_eq!(read(&path), "another\n");
        assert_eq!(read(&folder.path().join("log.1")), "a long line\n");
    }

    #[test]
    fn a_folder_that_was_taken_away_costs_lines_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let file = RotatingFile::open(logs.join("log"), 4, 1).unwrap();
        writeln!(file.make_writer(), "one line").unwrap();
        std::fs::remove_dir_all(&logs).unwrap();
        assert!(file.make_writer().write(b"lost\n").is_err());
        std::fs::create_dir(&logs).unwrap();
        writeln!(file.make_writer(), "back").unwrap();
        assert_eq!(read(&logs.join("log")), "back\n");
    }
}
