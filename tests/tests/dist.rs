//! Releases: what `make dist` packs runs from any folder, with the repository out of reach. Here with this
//! profile's programs and without the tarballs; `make test-dist` does it with those.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use espalier_tests::{binary, not_tested, program, repository};

fn ok(mut command: Command) -> Result<String> {
    let output: Output = command.output()?;
    ensure!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn libtorch() -> PathBuf {
    std::env::var_os("LIBTORCH").map_or_else(|| repository().join(".libtorch"), PathBuf::from)
}

/// The newest 2.N among the versions of glibc's symbols that the files of a release ask for.
fn newest_symbol(release: &Path) -> Result<u32> {
    let mut command = Command::new("objdump");
    command.arg("--dynamic-syms");
    for folder in ["bin", "lib"] {
        for file in std::fs::read_dir(release.join(folder))? {
            command.arg(file?.path());
        }
    }
    let symbols = ok(command)?;
    let minors = symbols.split("GLIBC_2.").skip(1).filter_map(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        rest[..digits.unwrap_or(rest.len())].parse().ok()
    });
    minors.max().context("the programs ask for glibc")
}

#[test]
fn a_packed_release_searches_from_another_folder_with_the_repository_out_of_reach() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let programs = binary("espalier");
    let programs = programs.parent().context("the programs' folder")?;
    let mut pack = Command::new(repository().join("deploy/dist/pack"));
    pack.arg("--binaries").arg(programs);
    pack.arg("--libtorch").arg(libtorch());
    pack.arg("--out").arg(folder.path()).arg("--stage-only");
    ok(pack)?;
    let release = folder
        .path()
        .join("stage")
        .join(concat!("espalier-", env!("CARGO_PKG_VERSION")));
    let readme = std::fs::read_to_string(release.join("README"))?;
    let floor = readme.lines().find(|line| line.starts_with("glibc "));
    let floor = floor.context("README states the glibc floor")?;
    ensure!(
        floor == format!("glibc 2.{} or newer", newest_symbol(&release)?),
        "{floor}"
    );
    let mut attempt = Command::new(repository().join("deploy/dist/try"));
    attempt.arg(&release).arg("--hide").arg(repository());
    attempt.arg("--hide").arg(libtorch());
    let output = attempt.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}{errors}");
    ensure!(said.contains("2 trials were trained"), "{said}");
    if said.contains("out of reach: nothing") {
        not_tested("a release with the repository out of reach", errors.trim());
    }
    Ok(())
}

#[test]
fn a_libtorch_that_the_trainer_was_not_linked_with_is_not_packed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let other = folder.path().join("libtorch");
    std::fs::create_dir_all(other.join("lib"))?;
    std::fs::write(other.join("lib/libtorch_cpu.so"), "")?;
    std::fs::write(other.join("build-version"), "1.0.0+cu999\n")?;
    let programs = binary("espalier");
    let programs = programs.parent().context("the programs' folder")?;
    let output = Command::new(repository().join("deploy/dist/pack"))
        .arg("--binaries")
        .arg(programs)
        .arg("--libtorch")
        .arg(&other)
        .arg("--out")
        .arg(folder.path().join("out"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && said.contains("is libtorch 1.0.0+cu999"),
        "{said}"
    );
    Ok(())
}

#[test]
fn every_program_tells_the_commit_it_was_made_of() -> Result<()> {
    for name in ["espalier", "espalier-worker", "espalier-trainer"] {
        let mut command = program(name);
        command.arg("--version");
        let text = ok(command)?;
        let first = format!("{name} {}\ncommit ", env!("CARGO_PKG_VERSION"));
        ensure!(text.starts_with(&first), "{text}");
    }
    Ok(())
}

#[test]
fn what_a_build_is_told_names_the_day_of_source_date_epoch() -> Result<()> {
    let mut command = Command::new(repository().join("deploy/dist/build-info"));
    command.env("SOURCE_DATE_EPOCH", "1700000000");
    let text = ok(command)?;
    ensure!(text.contains("ESPALIER_BUILD_DATE=2023-11-14\n"), "{text}");
    Ok(())
}
