//! A data set where it lies: finds the IDX files of the MNIST family, checks them, and reads them once
//! from front to back while hashing.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use espalier_common::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use espalier_common::ids::Digest;
use espalier_common::network::Shape;

use crate::error::DataError;
use crate::idx::{IdxHeader, MAX_FILE_BYTES};
use crate::pulse::Pulse;
use crate::stamp::Stamp;

/// Longer paths are refused; Linux takes none longer either.
const MAX_PATH_BYTES: usize = 4096;
/// How much is read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A file of the data set by what it is for. The order is the order of the fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    TrainImages,
    TrainLabels,
    TestImages,
    TestLabels,
}

const ROLES: [Role; 4] = [
    Role::TrainImages,
    Role::TrainLabels,
    Role::TestImages,
    Role::TestLabels,
];

impl Role {
    fn file_name(self) -> &'static str {
        match self {
            Self::TrainImages => "train-images-idx3-ubyte",
            Self::TrainLabels => "train-labels-idx1-ubyte",
            Self::TestImages => "t10k-images-idx3-ubyte",
            Self::TestLabels => "t10k-labels-idx1-ubyte",
        }
    }

    fn dimensions_of_an_example(self) -> usize {
        match self {
            Self::TrainImages | Self::TestImages => 2,
            Self::TrainLabels | Self::TestLabels => 0,
        }
    }
}

/// One opened file whose header and length have been checked.
pub(crate) struct SourceFile {
    role: Role,
    path: PathBuf,
    file: File,
    pub(crate) header: IdxHeader,
}

/// The opened files of a data set; images and labels are equal in number, and the images of one size.
pub(crate) struct Source {
    pub(crate) folder: PathBuf,
    pub(crate) train_images: SourceFile,
    pub(crate) train_labels: SourceFile,
    /// Images and labels of the test files; a data set may have none.
    pub(crate) test: Option<(SourceFile, SourceFile)>,
}

/// The folder of a data set: its path below `root`, or the path itself where that is absolute.
///
/// # Errors
/// [`DataError::BadPath`] for an empty or overlong path and for one with `..` in it.
pub fn locate(root: &Path, reference: &DatasetReference) -> Result<PathBuf, DataError> {
    check_path("data set", &reference.path)?;
    Ok(root.join(&reference.path))
}

/// Whether a path of a spec may be looked for; `what` is what is there.
pub(crate) fn check_path(what: &'static str, given: &str) -> Result<(), DataError> {
    let bad = |why| DataError::BadPath {
        what,
        path: given.chars().take(200).collect(),
        why,
    };
    if given.is_empty() {
        return Err(bad("is empty; name a place below the data root"));
    }
    if given.len() > MAX_PATH_BYTES {
        return Err(bad("is longer than 4096 bytes"));
    }
    if given.contains('\0') {
        return Err(bad("has a zero byte in it"));
    }
    if Path::new(given)
        .components()
        .any(|part| part == Component::ParentDir)
    {
        return Err(bad(
            "has `..` in it; name a place below the data root, or an absolute path",
        ));
    }
    Ok(())
}

/// Looks at a data set where it lies: reads every file once, checks it, and describes it.
///
/// # Errors
/// [`DataError`] names the file and what to do.
pub fn inspect(root: &Path, reference: &DatasetReference) -> Result<DatasetInfo, DataError> {
    inspect_watched(root, reference, &Pulse::default())
}

/// Whether the data lie anywhere at all.
fn on_disk(root: &Path, reference: &DatasetReference) -> Result<(), DataError> {
    match reference.format {
        DatasetFormat::Idx => Ok(()),
        DatasetFormat::Described => Err(DataError::BadSplit {
            path: root.join(&reference.path),
            why: "only shapes are known of these data, and there is nothing to read".to_owned(),
        }),
    }
}

/// What [`inspect`] would look at, as the file system describes it: while that stays the same, so does what
/// [`inspect`] says.
///
/// # Errors
/// [`DataError::BadPath`] as [`locate`].
pub fn stamp(root: &Path, reference: &DatasetReference) -> Result<Stamp, DataError> {
    on_disk(root, reference)?;
    let folder = locate(root, reference)?;
    Ok(Stamp::of_files(
        ROLES.map(|role| folder.join(role.file_name())),
    ))
}

/// The files of a data set that are there, in the order of the fingerprint.
///
/// # Errors
/// [`DataError::BadPath`] as [`locate`].
pub fn files(root: &Path, reference: &DatasetReference) -> Result<Vec<PathBuf>, DataError> {
    on_disk(root, reference)?;
    let folder = locate(root, reference)?;
    let there = |role: Role| Some(folder.join(role.file_name())).filter(|path| path.is_file());
    Ok(ROLES.into_iter().filter_map(there).collect())
}

/// [`inspect`], with a pulse that beats while it makes progress.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_watched(
    root: &Path,
    reference: &DatasetReference,
    pulse: &Pulse,
) -> Result<DatasetInfo, DataError> {
    let source = Source::open(root, reference)?;
    let examples = source.train_images.header.examples();
    let (train, validation) = split_sizes(&source.folder, examples, reference)?;
    let input = source.input();
    let test = source.test_examples();
    let folder = source.folder.clone();
    let scan = source.scan(&mut NoVisitor, pulse)?;
    if scan.classes < 2 {
        return Err(DataError::BadFile {
            path: folder,
            why: "every label is 0, and classification needs at least two classes".to_owned(),
        });
    }
    Ok(DatasetInfo {
        reference: reference.clone(),
        fingerprint: scan.fingerprint,
        input,
        classes: scan.classes,
        vocabulary: None,
        train,
        validation,
        test,
    })
}

fn split_sizes(
    folder: &Path,
    examples: u64,
    reference: &DatasetReference,
) -> Result<(u64, u64), DataError> {
    let bad = |why: String| DataError::BadSplit {
        path: folder.to_owned(),
        why,
    };
    let validation = reference.validation;
    if validation == 0 {
        return Err(bad(
            "`validation: 0` leaves nothing to compare candidates on; ask for at least one example"
                .to_owned(),
        ));
    }
    let left = examples.checked_sub(validation).ok_or_else(|| {
        bad(format!(
            "`validation: {validation}` asks for more than the {examples} examples of the training files"
        ))
    })?;
    let train = reference.train.unwrap_or(left);
    if train == 0 {
        return Err(bad(format!(
            "the training split would be empty; the training files hold {examples} examples, and \
             validation takes {validation}"
        )));
    }
    if train > left {
        return Err(bad(format!(
            "`train: {train}` and `validation: {validation}` ask for more than the {examples} examples of \
             the training files"
        )));
    }
    Ok((train, validation))
}

/// Gets the examples of a scan as they are read.
pub(crate) trait Visitor {
    /// Whole examples of one file; `first` is the number of the first.
    fn examples(
        &mut self,
        role: Role,
        first: u64,
        size: usize,
        bytes: &[u8],
    ) -> Result<(), DataError>;
}

/// Lets the pulse beat with every piece that is read.
struct Beating<'a, V>(&'a mut V, &'a Pulse);

impl<V: Visitor> Visitor for Beating<'_, V> {
    fn examples(
        &mut self,
        role: Role,
        first: u64,
        size: usize,
        bytes: &[u8],
    ) -> Result<(), DataError> {
        self.1.beat();
        self.0.examples(role, first, size, bytes)
    }
}

struct NoVisitor;

impl Visitor for NoVisitor {
    fn examples(&mut self, _: Role, _: u64, _: usize, _: &[u8]) -> Result<(), DataError> {
        Ok(())
    }
}

/// What one pass over the files found out.
pub(crate) struct Scan {
    pub(crate) fingerprint: Digest,
    /// The greatest label of the training files, plus one.
    pub(crate) classes: u32,
}

impl Source {
    pub(crate) fn open(root: &Path, reference: &DatasetReference) -> Result<Self, DataError> {
        on_disk(root, reference)?;
        let folder = locate(root, reference)?;
        let required = |role| {
            SourceFile::open(&folder, role)?.ok_or_else(|| DataError::Missing {
                path: folder.join(Role::file_name(role)),
            })
        };
        let train_images = required(Role::TrainImages)?;
        let train_labels = required(Role::TrainLabels)?;
        let test = match SourceFile::open(&folder, Role::TestImages)? {
            Some(images) => Some((images, required(Role::TestLabels)?)),
            None => None,
        };
        let source = Self {
            folder,
            train_images,
            train_labels,
            test,
        };
        source.check().map(|()| source)
    }

    fn check(&self) -> Result<(), DataError> {
        same_number(&self.train_images, &self.train_labels)?;
        if let Some((images, labels)) = &self.test {
            same_number(images, labels)?;
            let (ours, theirs) = (
                images.header.example_shape(),
                self.train_images.header.example_shape(),
            );
            if ours != theirs {
                return Err(images.bad(format!(
                    "its images are {ours:?} and those of the training files {theirs:?}"
                )));
            }
        }
        Ok(())
    }

    /// Shape of one example: IDX images have one channel.
    pub(crate) fn input(&self) -> Shape {
        let shape = self.train_images.header.example_shape();
        Shape::image(1, shape[0], shape[1])
    }

    pub(crate) fn test_examples(&self) -> u64 {
        self.test
            .as_ref()
            .map_or(0, |(images, _)| images.header.examples())
    }

    /// Reads every file once in the order of the fingerprint.
    pub(crate) fn scan(self, visitor: &mut impl Visitor, pulse: &Pulse) -> Result<Scan, DataError> {
        let visitor = &mut Beating(visitor, pulse);
        let mut hasher = blake3::Hasher::new_derive_key("espalier idx data set, version 1");
        self.train_images.read(&mut hasher, visitor)?;
        let classes = 1 + u32::from(self.train_labels.read_labels(&mut hasher, visitor)?);
        if let Some((images, labels)) = self.test {
            let path = labels.path.clone();
            images.read(&mut hasher, visitor)?;
            let greatest = labels.read_labels(&mut hasher, visitor)?;
            if u32::from(greatest) >= classes {
                return Err(DataError::BadFile {
                    path,
                    why: format!(
                        "it has the label {greatest}, and those of the training files end at {}",
                        classes - 1
                    ),
                });
            }
        }
        Ok(Scan {
            fingerprint: Digest(*hasher.finalize().as_bytes()),
            classes,
        })
    }
}

fn same_number(images: &SourceFile, labels: &SourceFile) -> Result<(), DataError> {
    let (ours, theirs) = (labels.header.examples(), images.header.examples());
    if ours == theirs {
        return Ok(());
    }
    Err(labels.bad(format!(
        "it holds {ours} labels, and {} holds {theirs} images",
        images.path.display()
    )))
}

impl SourceFile {
    /// Opens the file; `None` when it is not there in any form.
    fn open(folder: &Path, role: Role) -> Result<Option<Self>, DataError> {
        let path = folder.join(role.file_name());
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let compressed = folder.join(format!("{}.gz", role.file_name()));
                if compressed.exists() {
                    return Err(DataError::Compressed { path: compressed });
                }
                return Ok(None);
            }
            Err(error) => return Err(DataError::source("open", &path, error)),
        };
        let metadata = file
            .metadata()
            .map_err(|error| DataError::source("look at", &path, error))?;
        let bad = |why: String| DataError::BadFile {
            path: path.clone(),
            why,
        };
        // A pipe or a device has no length to check, and reading it may never end.
        if !metadata.is_file() {
            return Err(bad("it is not a plain file".to_owned()));
        }
        if metadata.len() > MAX_FILE_BYTES {
            return Err(bad(format!(
                "it has {} bytes; at most {MAX_FILE_BYTES} are read",
                metadata.len()
            )));
        }
        let header = IdxHeader::read(&mut file).map_err(bad)?;
        if header.example_shape().len() != role.dimensions_of_an_example() {
            return Err(bad(format!(
                "it has {} dimensions, and this file should have {}",
                header.example_shape().len() + 1,
                role.dimensions_of_an_example() + 1
            )));
        }
        if header.file_bytes() != metadata.len() {
            return Err(bad(format!(
                "its header promises {} bytes, and it has {}",
                header.file_bytes(),
                metadata.len()
            )));
        }
        Ok(Some(Self {
            role,
            path,
            file,
            header,
        }))
    }

    fn bad(&self, why: String) -> DataError {
        DataError::BadFile {
            path: self.path.clone(),
            why,
        }
    }

    /// Reads everything after the header. The name, the length and the header go into the hash too.
    fn read(
        mut self,
        hasher: &mut blake3::Hasher,
        visitor: &mut impl Visitor,
    ) -> Result<(), DataError> {
        hasher.update(self.role.file_name().as_bytes());
        hasher.update(&[0]);
        hasher.update(&self.header.file_bytes().to_le_bytes());
        hasher.update(self.header.as_bytes());
        // At most MAX_EXAMPLE_BYTES, so it fits.
        let size = self.header.example_bytes() as usize;
        let at_once = (CHUNK_BYTES / size).max(1) as u64;
        let mut buffer = Vec::new();
        let mut first = 0;
        while first < self.header.examples() {
            let count = at_once.min(self.header.examples() - first);
            buffer.resize(count as usize * size, 0);
            self.file.read_exact(&mut buffer).map_err(|error| {
                // Also when the file became shorter after its length was checked.
                DataError::source("read to the end of", &self.path, error)
            })?;
            hasher.update(&buffer);
            visitor.examples(self.role, first, size, &buffer)?;
            first += count;
        }
        Ok(())
    }

    /// Reads labels and returns the greatest.
    fn read_labels(
        self,
        hasher: &mut blake3::Hasher,
        visitor: &mut impl Visitor,
    ) -> Result<u8, DataError> {
        struct Greatest<'a, V>(u8, &'a mut V);
        impl<V: Visitor> Visitor for Greatest<'_, V> {
            fn examples(
                &mut self,
                role: Role,
                first: u64,
                size: usize,
                bytes: &[u8],
            ) -> Result<(), DataError> {
                self.0 = bytes.iter().copied().fold(self.0, u8::max);
                self.1.examples(role, first, size, bytes)
            }
        }
        let mut greatest = Greatest(0, visitor);
        self.read(hasher, &mut greatest)?;
        Ok(greatest.0)
    }
}
