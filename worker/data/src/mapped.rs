//! A decoded data set mapped into memory: many processes on a machine share the pages.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use espalier_common::dataset::DatasetInfo;
use espalier_common::ids::Digest;
use memmap2::Mmap;

use crate::cache::{Header, JSON_START, Layout, MAGIC, PAYLOAD_START, Section, VERSION};
use crate::error::DataError;
use crate::pulse::Pulse;

/// Large enough for the hash function to be fast, and a small part of a second's work.
const HASHED_AT_ONCE: usize = 4 << 20;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What candidates are trained on.
    Train,
    /// What candidates are compared on.
    Validation,
    /// What the best candidate is measured on at the end; `test` jobs alone touch it.
    Test,
}

/// A decoded data set, mapped read only.
pub struct MappedDataset {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl MappedDataset {
    /// Maps a decoded file after checking that it is whole and holds the data that `info` describes.
    ///
    /// # Errors
    /// [`DataError`] says what does not fit.
    pub fn open(path: &Path, info: &DatasetInfo) -> Result<Self, DataError> {
        Self::open_watched(path, info, &Pulse::default())
    }

    pub(crate) fn open_watched(
        path: &Path,
        info: &DatasetInfo,
        pulse: &Pulse,
    ) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|error| DataError::cache("open", path, error))?;
        let map = map(&file).map_err(|error| DataError::cache("map", path, error))?;
        let bad = |why: String| DataError::BadCache {
            path: path.to_owned(),
            why,
        };
        let header = read_header(&map).map_err(bad)?;
        if let Some(why) = difference(&header.info, info) {
            return Err(DataError::OtherInfo {
                path: path.to_owned(),
                why,
            });
        }
        check(&header, &map, pulse).map_err(bad)?;
        Ok(Self {
            path: path.to_owned(),
            map,
            header,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the data are.
    #[must_use]
    pub fn info(&self) -> &DatasetInfo {
        &self.header.info
    }

    /// Whether a job that asks for `info` can use this file: the same data and the same split, however the
    /// search spelled them (another path to the same files, sizes left out or given).
    #[must_use]
    pub fn serves(&self, info: &DatasetInfo) -> bool {
        difference(self.info(), info).is_none()
    }

    /// Mean of each channel over the training split, of pixels in [0, 1].
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.header.mean
    }

    /// Standard deviation of each channel over the training split, of pixels in [0, 1]; 1 for a channel
    /// that is constant.
    #[must_use]
    pub fn deviation(&self) -> &[f64] {
        &self.header.deviation
    }

    /// Number of examples of a split.
    #[must_use]
    pub fn count(&self, split: Split) -> usize {
        // The file is mapped, so what lies in it fits the address space.
        self.section(split).count as usize
    }

    /// Bytes of one example.
    #[must_use]
    pub fn example_bytes(&self) -> usize {
        self.info().input.elements().unwrap_or(0) as usize
    }

    /// The images of a split, one after another, channels outermost.
    #[must_use]
    pub fn images(&self, split: Split) -> &[u8] {
        let size = self.count(split) * self.example_bytes();
        &self.map[range(self.section(split).images, size)]
    }

    /// The labels of a split.
    #[must_use]
    pub fn labels(&self, split: Split) -> &[u8] {
        &self.map[range(self.section(split).labels, self.count(split))]
    }

    fn section(&self, split: Split) -> &Section {
        match split {
            Split::Train => &self.header.layout.train,
            Split::Validation => &self.header.layout.validation,
            Split::Test => &self.header.layout.test,
        }
    }
}

fn range(start: u64, size: usize) -> Range<usize> {
    // `check` has compared the layout with the length of the map.
    let start = start as usize;
    start..start + size
}

#[allow(unsafe_code)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is only read. A decoded file is never written after it got its name, and is made
    // read only then; whoever overwrites it all the same breaks a rule that the crate documents.
    unsafe { Mmap::map(file) }
}

fn read_header(bytes: &[u8]) -> Result<Header, String> {
    let start = bytes
        .get(..JSON_START)
        .ok_or("it is too short for a header")?;
    if &start[..8] != MAGIC {
        return Err("it does not start as a decoded data set does".to_owned());
    }
    let number =
        |at: usize| u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
    if number(8) != VERSION {
        return Err(format!(
            "it has version {}, and this program reads {VERSION}",
            number(8)
        ));
    }
    let json = bytes
        .get(JSON_START..JSON_START + number(12) as usize)
        .filter(|json| JSON_START + json.len() <= PAYLOAD_START as usize)
        .ok_or("its header has an impossible length")?;
    if blake3::hash(json).as_bytes() != &start[16..JSON_START] {
        return Err("the checksum of its header does not fit".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| format!("its header cannot be read: {error}"))
}

/// The first thing in which two descriptions mean other data or another split. The path is left out:
/// it differs between machines.
fn difference(ours: &DatasetInfo, asked: &DatasetInfo) -> Option<String> {
    let pairs = [
        (
            "fingerprint",
            ours.fingerprint.to_string(),
            asked.fingerprint.to_string(),
        ),
        ("input", ours.input.to_string(), asked.input.to_string()),
        (
            "classes",
            ours.classes.to_string(),
            asked.classes.to_string(),
        ),
        ("train", ours.train.to_string(), asked.train.to_string()),
        (
            "validation",
            ours.validation.to_string(),
            asked.validation.to_string(),
        ),
        ("test", ours.test.to_string(), asked.test.to_string()),
        (
            "split_seed",
            ours.reference.split_seed.to_string(),
            asked.reference.split_seed.to_string(),
        ),
    ];
    pairs
        .into_iter()
        .find(|(_, ours, asked)| ours != asked)
        .map(|(name, ours, asked)| format!("{name} is {ours} in the file and {asked} in the job"))
}

fn check(header: &Header, bytes: &[u8], pulse: &Pulse) -> Result<(), String> {
    let layout = Layout::of(&header.info).ok_or("its sizes are impossible")?;
    if layout != header.layout {
        return Err("its sections do not lie where they should".to_owned());
    }
    if layout.end != bytes.len() as u64 {
        return Err(format!(
            "it has {} bytes and should have {}",
            bytes.len(),
            layout.end
        ));
    }
    let channels = header
        .info
        .input
        .as_image()
        .map_or(0, |(channels, ..)| channels);
    let fitted = header.mean.len() as u64 == channels
        && header.deviation.len() as u64 == channels
        && header.mean.iter().all(|mean| mean.is_finite())
        && header
            .deviation
            .iter()
            .all(|deviation| *deviation > 0.0 && deviation.is_finite());
    if !fitted {
        return Err("mean and deviation do not fit its channels".to_owned());
    }
    let mut hasher = blake3::Hasher::new();
    for piece in bytes[PAYLOAD_START as usize..].chunks(HASHED_AT_ONCE) {
        hasher.update(piece);
        pulse.beat();
    }
    if Digest(*hasher.finalize().as_bytes()) != header.payload {
        return Err("the checksum of its examples does not fit".to_owned());
    }
    Ok(())
}
