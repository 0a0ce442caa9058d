//! What a test could not show on this machine, said where whoever runs the tests sees it. May import std.

use std::io::Write as _;

/// Says what was not tested here, and why. Not by `eprintln!`, which cargo shows of tests that fail only.
pub fn not_tested(what: &str, why: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stderr(), "not tested here: {what}: {why}");
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::not_tested;

    const INNER: &str = "ESPALIER_TEST_OF_NOTICES";

    #[test]
    fn a_notice_is_seen_though_its_test_passes() {
        if std::env::var_os(INNER).is_some() {
            eprintln!("this is not seen");
            not_tested("a thing", "it is not there");
            return;
        }
        let own = std::env::current_exe().expect("a test knows its own path");
        let name = "notice::tests::a_notice_is_seen_though_its_test_passes";
        let output = Command::new(own)
            .args(["--exact", name])
            .env(INNER, "1")
            .output()
            .expect("a test can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(said, "not tested here: a thing: it is not there\n");
    }
}
