//! The file of weights, or the checkpoint, that an evaluator leaves. May import common.

use std::path::{Path, PathBuf};

use espalier_common::failure::{Failure, FailureDomain, FailureKind};

/// The file an evaluator named as its `what`, if it lies in its scratch folder and is not too large: what a
/// program writes must not make the worker send other files of this machine.
pub(crate) fn of_job(
    scratch: &Path,
    (what, named): (&str, &str),
    max_bytes: u64,
) -> Result<PathBuf, Failure> {
    let wrong = |reason: String| {
        Failure::new(
            FailureDomain::User,
            FailureKind::Evaluator,
            format!("the evaluator named {named:?} as its {what}: {reason}"),
        )
    };
    let inside = || {
        let root = scratch.canonicalize()?;
        let path = root.join(named).canonicalize()?;
        let metadata = path.metadata()?;
        std::io::Result::Ok((path.starts_with(&root), metadata, path))
    };
    let (is_inside, metadata, path) = inside().map_err(|error| wrong(error.to_string()))?;
    if !is_inside || !metadata.is_file() {
        return Err(wrong(
            "it must be a file in the scratch folder of the job".to_owned(),
        ));
    }
    if metadata.len() > max_bytes {
        return Err(wrong(format!(
            "it has {} bytes; the coordinator takes at most {max_bytes}",
            metadata.len()
        )));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_outside_of_the_scratch_folder_are_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = folder.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        std::fs::write(scratch.join("w"), "weights").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), scratch.join("link")).unwrap();
        assert!(of_job(&scratch, ("weights", "w"), 100).is_ok());
        let whole = scratch.join("w");
        assert!(of_job(&scratch, ("weights", whole.to_str().unwrap()), 100).is_ok());
        for (name, part) in [
            ("../secret", "scratch folder"),
            ("link", "scratch folder"),
            ("/etc/hostname", "scratch folder"),
            (".", "scratch folder"),
            ("nothing", "No such file"),
        ] {
            let failure = of_job(&scratch, ("weights", name), 100).unwrap_err();
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        let failure = of_job(&scratch, ("weights", "w"), 3).unwrap_err();
        assert!(failure.message.contains("7 bytes"), "{}", failure.message);
    }

    #[test]
    fn whatever_an_evaluator_names_what_is_sent_lies_in_its_scratch_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let scratch = root.join("scratch");
        std::fs::create_dir_all(scratch.join("a/b")).unwrap();
        for file in [
            "secret",
            "scratch2",
            "scratch/w",
            "scratch/a/w",
            "scratch/a/b/ä",
        ] {
            std::fs::write(root.join(file), "x").unwrap();
        }
        for (link, target) in [("l", "../secret"), ("up", ".."), ("a/in", "../w")] {
            std::os::unix::fs::symlink(target, scratch.join(link)).unwrap();
        }
        let whole = scratch.join("w");
        let real = [
            "w",
            "a/w",
            "a/../w",
            "./a/b/ä",
            "up/secret",
            "l",
            "../secret",
            "../scratch2",
            "up/scratch/w",
        ];
        let real = [&real[..], &["a/in", "a//w", whole.to_str().unwrap()]].concat();
        let taken = std::cell::Cell::new(0);
        espalier_fuzzing::check(3_000, espalier_fuzzing::text(&real), |name| {
            if let Ok(path) = of_job(&scratch, ("weights", &name), 100) {
                taken.set(taken.get() + 1);
                assert!(
                    path.canonicalize().unwrap().starts_with(&scratch),
                    "{name:?}"
                );
                assert_eq!(std::fs::read(&path).unwrap(), b"x");
            }
            Ok(())
        });
        assert!(taken.get() > 100, "{taken:?}");
    }
}
