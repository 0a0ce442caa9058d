//! The decoded file: a header, then images and labels of every split in the order of the split, as
//! unsigned bytes. Made once on a machine, checked and mapped by every evaluator process.
//!
//! ```text
//! 0     magic, version, length of the JSON, BLAKE3 of the JSON
//! 48    JSON: the `DatasetInfo`, where each split lies, mean and deviation, BLAKE3 of the rest
//! 64 Ki images of train, labels of train, images of validation, ... each at a multiple of 4096
//! ```

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use espalier_common::dataset::DatasetInfo;
use espalier_common::ids::Digest;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::mapped::MappedDataset;
use crate::order;
use crate::prune::note_use;
use crate::pulse::Pulse;
use crate::source::{Role, Source, Visitor};

pub(crate) const MAGIC: &[u8; 8] = b"ESPALDAT";
/// Counts changes of this format. A file of another version is made again.
pub(crate) const VERSION: u32 = 1;
/// Where the JSON begins: after magic (8), version (4), length (4) and checksum (32).
pub(crate) const JSON_START: usize = 48;
/// Where the examples begin. The JSON must fit before it: it holds one path of at most 4096 bytes, each
/// of which may become six in JSON.
pub(crate) const PAYLOAD_START: u64 = 64 << 10;
/// How the name of a decoded file starts, and that of one that is being made.
pub(crate) const DECODED_PREFIX: &str = "idx-";
pub(crate) const UNFINISHED_PREFIX: &str = ".making-";
/// A page: sections start on one, so that a tensor over them is aligned.
const ALIGNMENT: u64 = 4096;

/// Where the examples of one split lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    pub(crate) images: u64,
    pub(crate) labels: u64,
    pub(crate) count: u64,
}

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layout {
    pub(crate) train: Section,
    pub(crate) validation: Section,
    pub(crate) test: Section,
    pub(crate) end: u64,
}

impl Layout {
    /// The layout that `info` asks for; `None` when its numbers are beyond what a file can hold.
    pub(crate) fn of(info: &DatasetInfo) -> Option<Self> {
        let size = info.input.elements()?;
        let mut next = PAYLOAD_START;
        let mut take = |bytes: u64| {
            let start = next;
            next = start
                .checked_add(bytes)?
                .checked_next_multiple_of(ALIGNMENT)?;
            Some(start)
        };
        let mut section = |count: u64| {
            Some(Section {
                images: take(count.checked_mul(size)?)?,
                labels: take(count)?,
                count,
            })
        };
        Some(Self {
            train: section(info.train)?,
            validation: section(info.validation)?,
            test: section(info.test)?,
            end: next,
        })
    }
}

/// The JSON of a decoded file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) info: DatasetInfo,
    pub(crate) layout: Layout,
    /// Mean of each channel over the training split, of pixels in [0, 1].
    pub(crate) mean: Vec<f64>,
    /// Standard deviation of each channel over the training split; 1 for a constant channel.
    pub(crate) deviation: Vec<f64>,
    /// BLAKE3 of everything from [`PAYLOAD_START`] on.
    pub(crate) payload: Digest,
}

/// The name of the decoded file of a data set and split.
#[must_use]
pub fn cache_file_name(info: &DatasetInfo) -> String {
    format!(
        "{DECODED_PREFIX}{}-train{}-validation{}-seed{}.v{VERSION}",
        info.fingerprint.short(),
        info.train,
        info.validation,
        info.reference.split_seed
    )
}

/// The decoded file of the data that `info` describes, made in `cache_dir` if it is not there yet or
/// damaged. Safe in several processes at once: each writes a file of its own and renames it.
///
/// # Errors
/// [`DataError`], also when the data below `root` are not the ones that `info` describes.
pub fn prepare(root: &Path, cache_dir: &Path, info: &DatasetInfo) -> Result<PathBuf, DataError> {
    prepare_watched(root, cache_dir, info, &Pulse::default())
}

/// [`prepare`], with a pulse that beats while it makes progress.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_watched(
    root: &Path,
    cache_dir: &Path,
    info: &DatasetInfo,
    pulse: &Pulse,
) -> Result<PathBuf, DataError> {
    let path = cache_dir.join(cache_file_name(info));
    // A damaged file is made again, as is one of another version or of other data under the same name.
    if MappedDataset::open_watched(&path, info, pulse).is_ok() {
        note_use(&path);
        return Ok(path);
    }
    let source = Source::open(root, &info.reference)?;
    let layout = check_info(&source, info)?;
    std::fs::create_dir_all(cache_dir)
        .map_err(|error| DataError::cache("make the folder", cache_dir, error))?;
    let temporary = tempfile::Builder::new()
        .prefix(UNFINISHED_PREFIX)
        .tempfile_in(cache_dir)
        .map_err(|error| DataError::cache("make a file in", cache_dir, error))?;
    let target = (temporary.as_file(), temporary.path());
    write(target, source, info, layout, pulse)?;
    // Read only: the file is mapped, and a program that cuts it short would end the others that map it.
    temporary
        .as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o444))
        .map_err(|error| DataError::cache("protect", temporary.path(), error))?;
    temporary
        .persist(&path)
        .map_err(|error| DataError::cache("rename a finished file to", &path, error.error))?;
    Ok(path)
}

/// `info` comes from outside: what it says must fit the files before anything is allocated by it.
fn check_info(source: &Source, info: &DatasetInfo) -> Result<Layout, DataError> {
    let other = |why: String| DataError::OtherInfo {
        path: source.folder.clone(),
        why,
    };
    let examples = source.train_images.header.examples();
    let fits = info
        .train
        .checked_add(info.validation)
        .is_some_and(|sum| sum <= examples);
    if !fits || info.train == 0 || info.validation == 0 {
        return Err(other(format!(
            "it splits {} examples for training and {} for validation off {examples}",
            info.train, info.validation
        )));
    }
    if info.test != source.test_examples() {
        return Err(other(format!(
            "it has {} test examples, and the files hold {}",
            info.test,
            source.test_examples()
        )));
    }
    if info.input != source.input() {
        return Err(other(format!(
            "its examples are {}, and those of the files {}",
            info.input,
            source.input()
        )));
    }
    Layout::of(info).ok_or_else(|| other("it is too large for a file".to_owned()))
}

fn write(
    (file, path): (&File, &Path),
    source: Source,
    info: &DatasetInfo,
    layout: Layout,
    pulse: &Pulse,
) -> Result<(), DataError> {
    let folder = source.folder.clone();
    // One length for the whole file from the start: the gaps between sections read as zeros.
    file.set_len(layout.end)
        .map_err(|error| DataError::cache("lengthen", path, error))?;
    let examples = source.train_images.header.examples();
    let mut writer = Writer {
        file,
        path,
        layout: &layout,
        slots: slots(info, examples),
        pixels: 0,
        sum: 0,
        sum_of_squares: 0,
    };
    let scan = source.scan(&mut writer, pulse)?;
    let (mean, deviation) = writer.moments();
    if scan.fingerprint != info.fingerprint {
        return Err(DataError::OtherData {
            path: folder,
            expected: info.fingerprint,
            found: scan.fingerprint,
        });
    }
    if scan.classes != info.classes {
        return Err(DataError::OtherInfo {
            path: folder,
            why: format!(
                "it has {} classes, and the labels show {}",
                info.classes, scan.classes
            ),
        });
    }
    let header = Header {
        info: info.clone(),
        mean: vec![mean],
        deviation: vec![deviation],
        payload: hash_payload(file, path, pulse)?,
        layout,
    };
    write_header(file, path, &header)
}

fn hash_payload(mut file: &File, path: &Path, pulse: &Pulse) -> Result<Digest, DataError> {
    let cannot = |error| DataError::cache("read back", path, error);
    file.seek(SeekFrom::Start(PAYLOAD_START)).map_err(cannot)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(cannot)? {
            0 => return Ok(Digest(*hasher.finalize().as_bytes())),
            count => hasher.update(&buffer[..count]),
        };
        pulse.beat();
    }
}

fn write_header(mut file: &File, path: &Path, header: &Header) -> Result<(), DataError> {
    let cannot = |error| DataError::cache("write", path, error);
    let json = serde_json::to_vec(header).map_err(|error| cannot(error.into()))?;
    if JSON_START as u64 + json.len() as u64 > PAYLOAD_START {
        return Err(cannot(std::io::Error::other(
            "the description of the data set is longer than 64 KiB",
        )));
    }
    let mut bytes = Vec::with_capacity(JSON_START + json.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
    bytes.extend_from_slice(blake3::hash(&json).as_bytes());
    bytes.extend_from_slice(&json);
    file.seek(SeekFrom::Start(0)).map_err(cannot)?;
    file.write_all(&bytes).map_err(cannot)
}

/// Where an example of the training files goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Train(u32),
    Validation(u32),
    Unused,
}

/// The place of every example of the training files: validation is drawn first, so that the training
/// split can be made larger or smaller without changing what candidates are compared on.
fn slots(info: &DatasetInfo, examples: u64) -> Vec<Slot> {
    // `check_info` has seen that both fit the examples, of which there are at most MAX_EXAMPLES.
    let (validation, train) = (info.validation as u32, info.train as u32);
    let mut generator = order::generator("split", &[info.reference.split_seed]);
    let drawn = order::permutation(&mut generator, examples as u32);
    let mut slots = vec![Slot::Unused; drawn.len()];
    for (place, &example) in (0_u32..).zip(&drawn) {
        slots[example as usize] = match place.checked_sub(validation) {
            None => Slot::Validation(place),
            Some(place) if place < train => Slot::Train(place),
            Some(_) => Slot::Unused,
        };
    }
    slots
}

/// Puts every example at its place while the files are read from front to back, so that memory stays
/// small however large the data are.
struct Writer<'a> {
    file: &'a File,
    path: &'a Path,
    layout: &'a Layout,
    slots: Vec<Slot>,
    /// Sums over the pixels of the training split. Whole numbers, so that the order does not matter.
    pixels: u64,
    sum: u64,
    sum_of_squares: u64,
}

impl Writer<'_> {
    fn put(&self, start: u64, place: u64, size: usize, bytes: &[u8]) -> Result<(), DataError> {
        self.file
            .write_all_at(bytes, start + place * size as u64)
            .map_err(|error| DataError::cache("write", self.path, error))
    }

    fn put_drawn(&mut self, images: bool, slot: Slot, bytes: &[u8]) -> Result<(), DataError> {
        let (section, place) = match slot {
            Slot::Train(place) => (&self.layout.train, place),
            Slot::Validation(place) => (&self.layout.validation, place),
            Slot::Unused => return Ok(()),
        };
        let start = if images {
            section.images
        } else {
            section.labels
        };
        self.put(start, u64::from(place), bytes.len(), bytes)?;
        if images && matches!(slot, Slot::Train(_)) {
            self.pixels += bytes.len() as u64;
            // At most 16 Gi pixels of 255 squared: fits 64 bits.
            for &pixel in bytes {
                self.sum += u64::from(pixel);
                self.sum_of_squares += u64::from(pixel) * u64::from(pixel);
            }
        }
        Ok(())
    }

    /// Mean and standard deviation of the training split's pixels in [0, 1].
    fn moments(&self) -> (f64, f64) {
        let pixels = self.pixels as f64;
        let mean = self.sum as f64 / pixels / 255.0;
        let variance = self.sum_of_squares as f64 / pixels / (255.0 * 255.0) - mean * mean;
        // A constant channel is left as it is; dividing by its deviation would give infinities.
        let deviation = if variance > 1e-12 {
            variance.sqrt()
        } else {
            1.0
        };
        (mean, deviation)
    }
}

impl Visitor for Writer<'_> {
    fn examples(
        &mut self,
        role: Role,
        first: u64,
        size: usize,
        bytes: &[u8],
    ) -> Result<(), DataError> {
        let images = match role {
            Role::TestImages => return self.put(self.layout.test.images, first, size, bytes),
            Role::TestLabels => return self.put(self.layout.test.labels, first, size, bytes),
            Role::TrainImages => true,
            Role::TrainLabels => false,
        };
        for (number, example) in (first as usize..).zip(bytes.chunks_exact(size)) {
            self.put_drawn(images, self.slots[number], example)?;
        }
        Ok(())
    }
}
