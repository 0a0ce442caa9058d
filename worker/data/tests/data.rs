//! Data sets from files to mapped splits, on small generated files.
#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use espalier_common::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use espalier_common::failure::{FailureDomain, FailureKind};
use espalier_common::network::Shape;
use espalier_data::{DataError, MappedDataset, Split, inspect, prepare};

const TRAIN: u32 = 60;
const TEST: u32 = 10;

/// A folder with a data set whose image number `i` is filled with `i` and has the label `i % 3`.
struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            root: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(fixture.folder()).unwrap();
        for (prefix, count) in [("train", TRAIN), ("t10k", TEST)] {
            fixture.write(&format!("{prefix}-images-idx3-ubyte"), &images(count));
            fixture.write(&format!("{prefix}-labels-idx1-ubyte"), &labels(count));
        }
        fixture
    }

    fn root(&self) -> &Path {
        self.root.path()
    }

    fn folder(&self) -> PathBuf {
        self.root().join("tiny")
    }

    fn cache(&self) -> PathBuf {
        self.root().join("cache")
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder().join(name), bytes).unwrap();
    }

    fn inspect(&self) -> Result<DatasetInfo, DataError> {
        inspect(self.root(), &reference())
    }

    fn open(&self, info: &DatasetInfo) -> MappedDataset {
        let path = prepare(self.root(), &self.cache(), info).unwrap();
        MappedDataset::open(&path, info).unwrap()
    }
}

fn reference() -> DatasetReference {
    DatasetReference {
        format: DatasetFormat::Idx,
        path: "tiny".to_owned(),
        train: Some(40),
        validation: 15,
        split_seed: 3,
    }
}

fn images(count: u32) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    for size in [count, 4, 5] {
        bytes.extend(size.to_be_bytes());
    }
    for number in 0..count {
        bytes.extend([number as u8; 20]);
    }
    bytes
}

fn labels(count: u32) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 1];
    bytes.extend(count.to_be_bytes());
    bytes.extend((0..count).map(|number| (number % 3) as u8));
    bytes
}

fn message(result: Result<impl Sized, DataError>) -> String {
    match result {
        Ok(_) => panic!("this should have been refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn inspecting_describes_the_data() {
    let info = Fixture::new().inspect().unwrap();
    assert_eq!(info.input, Shape::image(1, 4, 5));
    assert_eq!(
        (info.classes, info.train, info.validation, info.test),
        (3, 40, 15, 10)
    );
}

#[test]
fn splits_are_disjoint_and_every_image_keeps_its_label() {
    let fixture = Fixture::new();
    let data = fixture.open(&fixture.inspect().unwrap());
    let mut seen = BTreeSet::new();
    for (split, count) in [(Split::Train, 40), (Split::Validation, 15)] {
        assert_eq!(data.count(split), count);
        let images = data.images(split).chunks_exact(data.example_bytes());
        assert_eq!(images.len(), count);
        for (image, label) in images.zip(data.labels(split)) {
            assert!(image.iter().all(|pixel| *pixel == image[0]));
            assert_eq!(image[0] % 3, *label);
            assert!(seen.insert(image[0]), "image {} is drawn twice", image[0]);
        }
    }
    let test: Vec<u8> = data
        .images(Split::Test)
        .chunks_exact(20)
        .map(|image| image[0])
        .collect();
    assert_eq!(test, (0..10).collect::<Vec<u8>>());
    assert_eq!(data.labels(Split::Test), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn mean_and_deviation_are_those_of_the_training_split_alone() {
    let fixture = Fixture::new();
    let data = fixture.open(&fixture.inspect().unwrap());
    let pixels: Vec<f64> = data
        .images(Split::Train)
        .iter()
        .map(|&pixel| f64::from(pixel) / 255.0)
        .collect();
    let mean = pixels.iter().sum::<f64>() / pixels.len() as f64;
    let variance = pixels
        .iter()
        .map(|pixel| (pixel - mean).powi(2))
        .sum::<f64>()
        / pixels.len() as f64;
    assert!((data.mean()[0] - mean).abs() < 1e-9);
    assert!((data.deviation()[0] - variance.sqrt()).abs() < 1e-9);
}

#[test]
fn a_constant_training_split_has_the_deviation_one() {
    let fixture = Fixture::new();
    let mut bytes = images(TRAIN);
    bytes[16..].fill(9);
    fixture.write("train-images-idx3-ubyte", &bytes);
    assert_eq!(fixture.open(&fixture.inspect().unwrap()).deviation(), [1.0]);
}

#[test]
fn the_validation_split_does_not_depend_on_the_size_of_the_training_split() {
    let fixture = Fixture::new();
    let open = |train| {
        let asked = DatasetReference {
            train,
            ..reference()
        };
        fixture.open(&inspect(fixture.root(), &asked).unwrap())
    };
    let (small, all) = (open(Some(5)), open(None));
    assert_eq!(all.count(Split::Train), 45);
    assert_eq!(
        small.images(Split::Validation),
        all.images(Split::Validation)
    );
    assert_eq!(small.images(Split::Train), &all.images(Split::Train)[..100]);
}

#[test]
fn another_seed_is_another_split() {
    let fixture = Fixture::new();
    let other = DatasetReference {
        split_seed: 4,
        ..reference()
    };
    let one = fixture.open(&fixture.inspect().unwrap());
    let two = fixture.open(&inspect(fixture.root(), &other).unwrap());
    assert_ne!(one.path(), two.path());
    assert_ne!(one.images(Split::Validation), two.images(Split::Validation));
}

#[test]
fn the_fingerprint_changes_with_any_byte_of_any_file_and_not_with_the_split() {
    let fixture = Fixture::new();
    let before = fixture.inspect().unwrap().fingerprint;
    let other = DatasetReference {
        train: None,
        split_seed: 9,
        ..reference()
    };
    assert_eq!(inspect(fixture.root(), &other).unwrap().fingerprint, before);
    for (name, bytes) in [
        ("train-images-idx3-ubyte", images(TRAIN)),
        ("train-labels-idx1-ubyte", labels(TRAIN)),
        ("t10k-images-idx3-ubyte", images(TEST)),
        ("t10k-labels-idx1-ubyte", labels(TEST)),
    ] {
        let mut changed = bytes.clone();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        fixture.write(name, &changed);
        assert_ne!(fixture.inspect().unwrap().fingerprint, before, "{name}");
        fixture.write(name, &bytes);
    }
    assert_eq!(fixture.inspect().unwrap().fingerprint, before);
}

#[test]
fn bad_files_are_refused_with_their_name_and_the_reason() {
    let cases: [(&str, Vec<u8>, &str); 7] = [
        (
            "train-images-idx3-ubyte",
            images(TRAIN)[..900].to_vec(),
            "promises 1216 bytes, and it has 900",
        ),
        (
            "train-images-idx3-ubyte",
            b"\x89PNG and so on".to_vec(),
            "two zero bytes",
        ),
        ("train-images-idx3-ubyte", labels(TRAIN), "1 dimensions"),
        ("train-labels-idx1-ubyte", labels(TRAIN - 1), "59 labels"),
        (
            "train-labels-idx1-ubyte",
            Vec::new(),
            "header is incomplete",
        ),
        (
            "t10k-images-idx3-ubyte",
            images(TEST + 1),
            "t10k-labels-idx1-ubyte",
        ),
        (
            "t10k-labels-idx1-ubyte",
            [&labels(TEST)[..17], &[7]].concat(),
            "label 7",
        ),
    ];
    for (name, bytes, part) in cases {
        let fixture = Fixture::new();
        fixture.write(name, &bytes);
        let text = message(fixture.inspect());
        assert!(text.contains(part), "{text:?} should contain {part:?}");
        assert!(text.contains("-ubyte"), "{text:?} should name the file");
    }
}

#[test]
fn a_missing_file_says_how_to_get_it() {
    let fixture = Fixture::new();
    std::fs::remove_file(fixture.folder().join("train-labels-idx1-ubyte")).unwrap();
    let text = message(fixture.inspect());
    assert!(
        text.contains("train-labels-idx1-ubyte is not there"),
        "{text}"
    );
    assert!(
        text.contains("deploy/datasets/fetch fashion-mnist"),
        "{text}"
    );
    fixture.write("train-labels-idx1-ubyte.gz", b"");
    assert!(message(fixture.inspect()).contains("gunzip --keep"));
}

#[test]
fn a_data_set_without_test_files_has_an_empty_test_split() {
    let fixture = Fixture::new();
    for name in ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] {
        std::fs::remove_file(fixture.folder().join(name)).unwrap();
    }
    let info = fixture.inspect().unwrap();
    assert_eq!(info.test, 0);
    assert!(fixture.open(&info).images(Split::Test).is_empty());
}

#[test]
fn impossible_splits_are_refused() {
    let fixture = Fixture::new();
    for (train, validation, part) in [
        (
            Some(46),
            15,
            "`train: 46` and `validation: 15` ask for more than the 60",
        ),
        (None, 61, "more than the 60"),
        (None, 60, "would be empty"),
        (None, 0, "leaves nothing to compare"),
        (Some(0), 10, "would be empty"),
        (Some(u64::MAX), 1, "more than the 60"),
    ] {
        let asked = DatasetReference {
            train,
            validation,
            ..reference()
        };
        let text = message(inspect(fixture.root(), &asked));
        assert!(text.contains(part), "{text:?} should contain {part:?}");
    }
}

#[test]
fn paths_stay_below_the_root_unless_they_are_absolute() {
    let fixture = Fixture::new();
    let asked = |path: &str| DatasetReference {
        path: path.to_owned(),
        ..reference()
    };
    for path in ["../tiny", "tiny/../../etc", "", "a\0b"] {
        let result = inspect(fixture.root(), &asked(path));
        assert!(matches!(result, Err(DataError::BadPath { .. })), "{path:?}");
    }
    let absolute = fixture.folder().to_str().unwrap().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(inspect(elsewhere.path(), &asked(&absolute)).is_ok());
}

#[test]
fn a_decoded_file_is_made_once_and_found_again() {
    let fixture = Fixture::new();
    let info = fixture.inspect().unwrap();
    let path = prepare(fixture.root(), &fixture.cache(), &info).unwrap();
    // Gone: a second preparation can only come from the cache.
    std::fs::remove_dir_all(fixture.folder()).unwrap();
    assert_eq!(
        prepare(fixture.root(), &fixture.cache(), &info).unwrap(),
        path
    );
    let names = std::fs::read_dir(fixture.cache()).unwrap().count();
    assert_eq!(names, 1, "no temporary file stays behind");
}

#[test]
fn a_damaged_decoded_file_is_refused_and_made_again() {
    let fixture = Fixture::new();
    let info = fixture.inspect().unwrap();
    let path = prepare(fixture.root(), &fixture.cache(), &info).unwrap();
    let good = std::fs::read(&path).unwrap();
    let end = good.len();
    for (at, part) in [
        (3, "does not start"),
        (8, "version"),
        (20, "header"),
        (60, "header"),
        (70_000, "examples"),
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let text = message(MappedDataset::open(&path, &info));
        assert!(text.contains(part), "{text:?} should contain {part:?}");
        assert_eq!(
            prepare(fixture.root(), &fixture.cache(), &info).unwrap(),
            path
        );
        assert_eq!(std::fs::read(&path).unwrap(), good);
    }
    for length in [0, 10, 47, 5000, end - 1] {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(MappedDataset::open(&path, &info).is_err(), "{length} bytes");
    }
}

#[test]
fn other_data_under_the_same_path_are_refused_and_leave_no_file() {
    let fixture = Fixture::new();
    let info = fixture.inspect().unwrap();
    let mut bytes = images(TRAIN);
    bytes[100] ^= 1;
    fixture.write("train-images-idx3-ubyte", &bytes);
    let error = prepare(fixture.root(), &fixture.cache(), &info).unwrap_err();
    assert!(matches!(error, DataError::OtherData { .. }), "{error}");
    let failure = error.failure();
    assert_eq!(
        (failure.domain, failure.kind),
        (FailureDomain::Worker, FailureKind::Data)
    );
    assert_eq!(std::fs::read_dir(fixture.cache()).unwrap().count(), 0);
}

#[test]
fn a_description_that_does_not_fit_the_files_is_refused() {
    let fixture = Fixture::new();
    let info = fixture.inspect().unwrap();
    let changes: [fn(&mut DatasetInfo); 6] = [
        |info| info.train = u64::MAX,
        |info| info.validation = 1 << 40,
        |info| info.test = 11,
        |info| info.classes = 4,
        |info| info.input = Shape::image(1, u64::MAX, u64::MAX),
        |info| info.train = 0,
    ];
    for change in changes {
        let mut wrong = info.clone();
        change(&mut wrong);
        let error = prepare(fixture.root(), &fixture.cache(), &wrong).unwrap_err();
        assert!(matches!(error, DataError::OtherInfo { .. }), "{error}");
    }
}

#[test]
fn preparing_in_many_threads_at_once_gives_one_good_file() {
    let fixture = Fixture::new();
    let info = fixture.inspect().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(fixture.open(&info).count(Split::Train), 40));
        }
    });
    assert_eq!(std::fs::read_dir(fixture.cache()).unwrap().count(), 1);
}

#[test]
fn a_cache_folder_that_cannot_be_made_is_the_disks_fault() {
    let fixture = Fixture::new();
    let info = fixture.inspect().unwrap();
    let blocked = fixture.folder().join("train-images-idx3-ubyte");
    let failure = prepare(fixture.root(), &blocked, &info)
        .unwrap_err()
        .failure();
    assert_eq!(failure.kind, FailureKind::Disk);
}
