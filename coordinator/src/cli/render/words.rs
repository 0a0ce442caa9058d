//! Numbers, times and texts as people read them.

use espalier_proto::v1;

/// A count with a unit letter and three digits: 84,213 is `84.2k`.
pub(in crate::cli) fn quantity(count: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1_000, "k"),
    ];
    // 999,950 would be written `1000.0k`: from half a last digit below a unit on, the unit is used.
    let unit = UNITS
        .into_iter()
        .find(|&(unit, _)| count >= unit - unit / 2_000);
    match unit {
        None => count.to_string(),
        Some((unit, letter)) => {
            let value = count as f64 / unit as f64;
            let digits = match value {
                ..9.995 => 2,
                ..99.95 => 1,
                _ => 0,
            };
            format!("{value:.digits$}{letter}")
        }
    }
}

/// A metric's value: four decimals, or powers of ten where those would show nothing.
pub(in crate::cli) fn metric_value(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        format!("{value:.3e}")
    } else {
        format!("{value:.4}")
    }
}

/// The best score with its metric: `accuracy 0.9012 (trial 7)`.
pub(in crate::cli) fn best_score(status: &v1::SearchStatus) -> Option<String> {
    let score = status.best_score?;
    let trial = status
        .best_trial
        .map(|trial| format!(" (trial {trial})"))
        .unwrap_or_default();
    Some(format!("{} {}{trial}", status.metric, metric_value(score)))
}

/// Milliseconds in the two largest units: `1h 2m`, `3m 12s`, `12.3s`.
pub(in crate::cli) fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{}.{}s", seconds, ms % 1_000 / 100),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Seconds as a duration; what is not a time is `-`.
pub(in crate::cli) fn seconds(seconds: f64) -> String {
    if seconds.is_finite() && (0.0..1e12).contains(&seconds) {
        duration((seconds * 1_000.0).round() as u64)
    } else {
        "-".to_owned()
    }
}

/// Unix milliseconds as UTC to the minute: `2026-11-24 03:12`.
pub(in crate::cli) fn utc(ms: u64) -> String {
    let minutes = ms / 60_000;
    let (days, minute) = (minutes / 1_440, minutes % 1_440);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        minute / 60,
        minute % 60
    )
}

/// Year, month and day of a day since 1970-01-01, by Howard Hinnant's `civil_from_days`: years begin in
/// March, so that a leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let shifted = days + 719_468;
    let era = shifted / DAYS_OF_400_YEARS;
    let day_of_era = shifted % DAYS_OF_400_YEARS;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// One line without control characters, at most `most` characters long: texts from workers and specs
/// must neither break a table nor command the terminal.
pub(in crate::cli) fn clean(text: &str, most: usize) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most + 1)
        .collect();
    if line.chars().count() > most {
        line = line.chars().take(most.saturating_sub(1)).collect();
        line.push('…');
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_three_digits_and_a_unit() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1.00k"),
            (84_213, "84.2k"),
            (299_900, "300k"),
            (999_499, "999k"),
            (999_999, "1.00M"),
            (3_141_592, "3.14M"),
            (12_345_678_901, "12.3G"),
        ];
        for (count, text) in cases {
            assert_eq!(quantity(count), text);
        }
    }

    #[test]
    fn durations_are_in_two_units() {
        let cases = [
            (0, "0.0s"),
            (12_345, "12.3s"),
            (192_000, "3m 12s"),
            (3_720_000, "1h 2m"),
            (90_000_000, "1d 1h"),
        ];
        for (ms, text) in cases {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(seconds(f64::NAN), "-");
        assert_eq!(seconds(-1.0), "-");
        assert_eq!(seconds(59.99), "59.9s".to_owned());
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00");
        assert_eq!(utc(1_795_490_573_000), "2026-11-24 03:22");
    }

    #[test]
    fn very_small_and_very_large_metrics_keep_their_digits() {
        assert_eq!(metric_value(0.90123), "0.9012");
        assert_eq!(metric_value(0.0), "0.0000");
        assert_eq!(metric_value(0.000_012_3), "1.230e-5");
        assert_eq!(metric_value(-12_345_678.0), "-1.235e7");
    }

    #[test]
    fn texts_are_cleaned_and_cut() {
        assert_eq!(clean("a\nb\u{1b}[31m", 20), "a b [31m");
        assert_eq!(clean("abcdef", 4), "abc…");
        assert_eq!(clean("abcd", 4), "abcd");
    }
}
