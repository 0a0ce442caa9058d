//! The coordinator's two clocks: Unix time for the journal and for people, which follows the machine's clock but says
//! by how much it jumped (see [`espalier_core::clock`]), and tokio's monotonic `Instant` for lease deadlines. May
//! import core and the standard library.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use espalier_core::clock::{Clock, Reading};

/// So often the clock is read whatever else happens, so that a longer pause is one of the whole process.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Unix time in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    read().unix_ms
}

/// Unix time, and how much of it since the process's start did not pass.
pub(crate) fn read() -> Reading {
    static CLOCK: OnceLock<Mutex<Clock<Instant>>> = OnceLock::new();
    let clock = CLOCK.get_or_init(|| {
        // A thread of the system's: tasks may wait for their turn on a busy runtime, and nothing stands still then.
        // Without it (no thread can be had) a quiet hour is taken for one that did not pass, and nothing worse.
        let reader = std::thread::Builder::new().name("clock".to_owned());
        let _ = reader.spawn(|| {
            loop {
                std::thread::sleep(READ_EVERY);
                read();
            }
        });
        Mutex::new(Clock::new(Instant::now(), machine_ms()))
    });
    // A clock is whole after every step, so one that a panic left is as good as any.
    let mut clock = clock.lock().unwrap_or_else(PoisonError::into_inner);
    clock.read(Instant::now(), machine_ms())
}

fn machine_ms() -> u64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(unix.unwrap_or_default())
}

/// A duration in whole milliseconds; more than `u64` holds is the most it holds.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
