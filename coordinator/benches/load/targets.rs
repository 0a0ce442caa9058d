//! What a coordinator under load must keep to, and what of it was missed. The benchmark and its short form in the
//! tests ask for the same, with bounds of their own.

use std::time::Duration;

/// What must be kept to, beside what has no bound: no lease expires, no call is refused, every trial is counted once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    /// Nearly all Renew calls (99 %) are answered sooner.
    pub(crate) renew_p99: Duration,
    /// The memory at the end is at most so many times that of when the coordinator was warm.
    pub(crate) growth: f64,
}

/// What was seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The longest of the quickest 99 % of Renew calls, and how many there were.
    pub(crate) renew_p99: Duration,
    pub(crate) renewals: usize,
    /// Resident memory when the coordinator was warm, and the most of any time after, in bytes.
    pub(crate) warm: u64,
    pub(crate) most: u64,
    /// Leases that expired, though all workers sent heartbeats.
    pub(crate) expired: usize,
    /// Calls refused or not answered, and what the first was told.
    pub(crate) failed: (u64, String),
    /// How the trials differ from each completed once; empty when they do not.
    pub(crate) differences: String,
}

impl Targets {
    /// Says what was missed, a sentence each.
    pub(crate) fn missed(&self, seen: &Seen) -> Vec<String> {
        let mut missed = Vec::new();
        if seen.expired > 0 {
            let expired = seen.expired;
            missed.push(format!(
                "{expired} leases expired while their workers sent heartbeats"
            ));
        }
        if !seen.differences.is_empty() {
            let differences = &seen.differences;
            missed.push(format!("trials are not each completed once: {differences}"));
        }
        if seen.failed.0 > 0 {
            let (failed, first) = &seen.failed;
            missed.push(format!(
                "{failed} calls were refused or not answered; the first: {first}"
            ));
        }
        if seen.renewals == 0 {
            missed.push("no Renew call was made".to_owned());
        }
        if seen.renew_p99 >= self.renew_p99 {
            let (p99, target) = (seen.renew_p99, self.renew_p99);
            missed.push(format!("p99 of Renew is {p99:.1?}, not under {target:?}"));
        }
        let growth = seen.most as f64 / seen.warm as f64;
        // Memory that could not be read is no memory that stayed.
        if seen.warm == 0 || growth > self.growth {
            let (warm, most, target) = (seen.warm, seen.most, self.growth);
            missed.push(format!(
                "memory is not flat: {warm} bytes when warm, up to {most} later, more than x {target}"
            ));
        }
        missed
    }
}

/// So many of the times are shorter.
pub(crate) fn at(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    let place = (part * times.len() as f64) as usize;
    let place = place.min(times.len().saturating_sub(1));
    times.get(place).copied().unwrap_or_default()
}
