//! Data that change, are damaged, hang, or are not there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use espalier_common::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use espalier_data::MappedDataset;

use super::*;

const IMAGES: &str = "train-images-idx3-ubyte";

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(fixture.file("")).unwrap();
        let mut labels = vec![0, 0, 8, 1, 0, 0, 0, 20];
        labels.extend((0..20).map(|number| number % 2));
        fs::write(fixture.file("train-labels-idx1-ubyte"), labels).unwrap();
        fixture.write_images(0);
        fixture
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("tiny").join(name)
    }

    /// 20 images of 2 x 2 pixels, of one length whatever they show.
    fn write_images(&self, first: u8) {
        let mut images = vec![0, 0, 8, 3, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 2];
        images.extend((first..first + 80).collect::<Vec<u8>>());
        fs::write(self.file(IMAGES), images).unwrap();
    }

    fn info(&self) -> DatasetInfo {
        let reference = DatasetReference {
            format: DatasetFormat::Idx,
            path: "tiny".to_owned(),
            train: None,
            validation: 5,
            split_seed: 0,
        };
        espalier_data::inspect(self.folder.path(), &reference).unwrap()
    }

    fn places(&self) -> Places {
        Places {
            data_root: self.folder.path().to_owned(),
            fetched_dir: self.folder.path().join("fetched"),
            cache_dir: self.folder.path().join("cache"),
            cache_bytes: 1 << 30,
            silence: Duration::from_secs(60),
        }
    }

    fn task(&self) -> (task::Task, watch::Receiver<Known>) {
        let (publish, known) = watch::channel(Known::default());
        let places = self.places();
        let pulled = pull::Pulled::new(places.fetched_dir.clone(), places.cache_bytes, None);
        let looker = look::Looker::new(places, Arc::new(pulled));
        (task::Task::new(looker, publish), known)
    }
}

async fn resolve(task: &mut task::Task, info: &DatasetInfo, form: Form) -> Resolved {
    let (answer, resolved) = oneshot::channel();
    let info = info.clone();
    task.request(Request::Resolve { info, form, answer });
    task.settle().await;
    resolved.await.unwrap()
}

async fn look_again(task: &mut task::Task) {
    task.look_again();
    task.settle().await;
}

async fn path(datasets: &Datasets, info: &DatasetInfo, form: Form) -> PathBuf {
    match datasets.resolve(info.clone(), form).await {
        Resolved::Path(path) => path,
        other => panic!("{other:?}"),
    }
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

fn set_modified(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// Changes the last byte in place, as a failing disk does: the file system does not know.
fn rot(path: &Path) {
    let (before, mut bytes) = (modified(path), fs::read(path).unwrap());
    let last = bytes.len() - 5000;
    bytes[last] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    set_modified(path, before);
}

#[tokio::test]
async fn a_damaged_decoded_file_is_made_again() {
    let fixture = Fixture::new();
    let (info, datasets) = (fixture.info(), Datasets::start(fixture.places(), None));
    let decoded = path(&datasets, &info, Form::Decoded).await;
    MappedDataset::open(&decoded, &info).unwrap();

    fs::remove_file(&decoded).unwrap();
    fs::write(&decoded, "cut short").unwrap();
    assert_eq!(path(&datasets, &info, Form::Decoded).await, decoded);
    MappedDataset::open(&decoded, &info).unwrap();

    // Nothing but reading it shows this, and the evaluator reads it.
    rot(&decoded);
    path(&datasets, &info, Form::Decoded).await;
    assert!(MappedDataset::open(&decoded, &info).is_err());
    datasets.doubt(info.clone()).await;
    path(&datasets, &info, Form::Decoded).await;
    MappedDataset::open(&decoded, &info).unwrap();
}

#[tokio::test]
async fn other_data_are_read_again_only_when_they_have_changed() {
    let fixture = Fixture::new();
    let info = fixture.info();
    let (mut task, known) = fixture.task();
    fixture.write_images(100);
    let looked = modified(&fixture.file(IMAGES));
    let missing = resolve(&mut task, &info, Form::Folder).await;
    assert!(matches!(missing, Resolved::Missing));
    assert_eq!(known.borrow().missing, [info.fingerprint]);

    // The right data, but to the file system as they were: were they read, they would be found.
    fixture.write_images(0);
    set_modified(&fixture.file(IMAGES), looked);
    look_again(&mut task).await;
    assert_eq!(known.borrow().missing, [info.fingerprint]);
    let missing = resolve(&mut task, &info, Form::Folder).await;
    assert!(matches!(missing, Resolved::Missing));

    set_modified(&fixture.file(IMAGES), looked + Duration::from_secs(1));
    look_again(&mut task).await;
    assert!(known.borrow().missing.is_empty());
    let present = resolve(&mut task, &info, Form::Folder).await;
    assert!(matches!(present, Resolved::Path(_)), "{present:?}");
}

#[tokio::test]
async fn absent_data_are_found_when_they_come_and_changed_ones_are_verified_again() {
    let fixture = Fixture::new();
    let info = fixture.info();
    let (mut task, known) = fixture.task();
    let elsewhere = fixture.folder.path().join("elsewhere");
    fs::rename(fixture.file(""), &elsewhere).unwrap();
    let missing = resolve(&mut task, &info, Form::Decoded).await;
    assert!(matches!(missing, Resolved::Missing));
    look_again(&mut task).await;
    assert_eq!(known.borrow().missing, [info.fingerprint]);
    fs::rename(&elsewhere, fixture.file("")).unwrap();
    look_again(&mut task).await;
    assert!(known.borrow().missing.is_empty());

    let present = resolve(&mut task, &info, Form::Folder).await;
    assert!(matches!(present, Resolved::Path(_)), "{present:?}");
    fixture.write_images(100);
    let changed = modified(&fixture.file(IMAGES)) + Duration::from_secs(1);
    set_modified(&fixture.file(IMAGES), changed);
    let missing = resolve(&mut task, &info, Form::Folder).await;
    assert!(matches!(missing, Resolved::Missing), "{missing:?}");
}

#[tokio::test]
async fn a_file_system_that_does_not_answer_makes_the_data_absent_here() {
    let fixture = Fixture::new();
    let info = fixture.info();
    fs::remove_file(fixture.file(IMAGES)).unwrap();
    // Opening a pipe that nobody writes to waits, as a dead server does.
    nix::unistd::mkfifo(&fixture.file(IMAGES), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let places = Places {
        silence: Duration::from_millis(100),
        ..fixture.places()
    };
    let datasets = Datasets::start(places, None);
    for _ in 0..2 {
        let missing = datasets.resolve(info.clone(), Form::Folder).await;
        assert!(matches!(missing, Resolved::Missing), "{missing:?}");
    }
    assert_eq!(datasets.known().missing, [info.fingerprint]);
    // Lets the thread go, which the test's runtime waits for.
    File::options()
        .write(true)
        .open(fixture.file(IMAGES))
        .unwrap();
}

#[tokio::test]
async fn the_cache_is_held_to_its_size() {
    let fixture = Fixture::new();
    let info = fixture.info();
    let mut other = info.clone();
    other.reference.split_seed = 1;
    let places = Places {
        cache_bytes: 1,
        ..fixture.places()
    };
    fs::create_dir(&places.cache_dir).unwrap();
    let left = places.cache_dir.join(".making-left");
    fs::write(&left, "half").unwrap();
    set_modified(&left, SystemTime::UNIX_EPOCH);
    let datasets = Datasets::start(places, None);
    let first = path(&datasets, &info, Form::Decoded).await;
    assert!(first.exists() && !left.exists());
    let second = path(&datasets, &other, Form::Decoded).await;
    assert!(second.exists() && !first.exists());
    // What was removed is made again.
    assert_eq!(path(&datasets, &info, Form::Decoded).await, first);
    assert!(first.exists());
}
