//! How a program ends that cannot go on: with a code that tells whoever starts programs again (systemd, a script)
//! whether another start is of any use. May import std.

use std::io;

/// What a program ends with when its settings, or what it was given, are wrong: started again as it is, it would end
/// like this again. It is also what clap ends with when a command line is wrong.
pub const WRONG_SETTINGS: u8 = 2;
/// What a program ends with for any other reason: a disk, the network or another program may be well by the next start.
pub const FAILED: u8 = 1;

/// The code for an error that would last, or would not.
#[must_use]
pub fn code(lasting: bool) -> u8 {
    if lasting { WRONG_SETTINGS } else { FAILED }
}

/// Whether what the system says about a file or folder is about how it was named or made, and stays as it is until
/// somebody mends it; a full disk and one that does not answer are no such thing.
#[must_use]
pub fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidFilename
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_may_be_over_and_a_folder_of_somebody_else_stays_one() {
        let of = |number| is_lasting(&io::Error::from_raw_os_error(number));
        for number in [
            libc_number::EACCES,
            libc_number::ENOTDIR,
            libc_number::ENOENT,
        ] {
            assert!(of(number), "{number}");
        }
        for number in [libc_number::ENOSPC, libc_number::EIO, libc_number::EROFS] {
            assert!(!of(number), "{number}");
        }
        assert_eq!((code(true), code(false)), (2, 1));
    }

    /// As Linux numbers them.
    mod libc_number {
        pub(super) const ENOENT: i32 = 2;
        pub(super) const EIO: i32 = 5;
        pub(super) const EACCES: i32 = 13;
        pub(super) const ENOTDIR: i32 = 20;
        pub(super) const ENOSPC: i32 = 28;
        pub(super) const EROFS: i32 = 30;
    }
}
