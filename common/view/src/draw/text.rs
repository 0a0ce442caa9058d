//! How wide a text is, so that it fits its box whatever font shows it. Imports nothing.
//!
//! The widths are those of DejaVu Sans, the widest font that a viewer is likely to take for `sans-serif`
//! (Verdana is as wide, Arial and Helvetica are narrower), so a box may be a little too wide, never too
//! narrow.

/// Thousandths of the font's size for the characters from space to `~`.
const REGULAR: [u16; 95] = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, //
    636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, //
    1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787, //
    603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, //
    500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, //
    635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
];

/// The same of the bold weight.
const BOLD: [u16; 95] = [
    348, 456, 521, 838, 696, 1002, 872, 306, 457, 457, 523, 838, 380, 415, 380, 365, //
    696, 696, 696, 696, 696, 696, 696, 696, 696, 696, 400, 400, 838, 838, 838, 580, //
    1000, 774, 762, 734, 830, 683, 683, 821, 837, 372, 372, 775, 637, 995, 837, 850, //
    733, 850, 770, 720, 682, 812, 774, 1103, 771, 724, 725, 457, 365, 457, 838, 500, //
    500, 675, 716, 593, 716, 678, 435, 716, 712, 343, 343, 665, 343, 1042, 712, 687, //
    716, 716, 493, 595, 478, 712, 652, 924, 645, 652, 582, 712, 365, 712, 838,
];

/// What any other character takes: as much as the widest.
const OTHER: u16 = 1103;

/// The weight of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// As running text.
    Regular,
    /// As titles.
    Bold,
}

/// The width of a text in pixels, at a size in pixels.
pub(super) fn width(text: &str, size: f64, weight: Weight) -> f64 {
    let table = match weight {
        Weight::Regular => &REGULAR,
        Weight::Bold => &BOLD,
    };
    let units: u64 = text
        .chars()
        .map(|c| {
            let index = (c as usize).checked_sub(32);
            let known = index.and_then(|index| table.get(index));
            u64::from(known.copied().unwrap_or(match c {
                '×' | '→' | '−' => 838,
                '–' => 500,
                '·' => 380,
                _ => OTHER,
            }))
        })
        .sum();
    units as f64 * size / 1_000.0
}

/// The text, cut so that it is at most so wide, and without characters that no viewer shows.
pub(super) fn fitted(text: &str, most: f64, size: f64, weight: Weight) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if width(&clean, size, weight) <= most {
        return clean;
    }
    let mut cut = String::new();
    let mut left = most - width("…", size, weight);
    for c in clean.chars() {
        left -= width(c.encode_utf8(&mut [0; 4]), size, weight);
        if left < 0.0 {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_fits_stays_and_one_that_does_not_is_cut() {
        assert_eq!(fitted("conv 3×3", 200.0, 12.0, Weight::Bold), "conv 3×3");
        let long = "m".repeat(500);
        let cut = fitted(&long, 100.0, 12.0, Weight::Regular);
        assert!(cut.ends_with('…') && cut.len() < 20, "{cut}");
        assert!(width(&cut, 12.0, Weight::Regular) <= 100.0);
    }

    #[test]
    fn characters_beyond_the_table_count_as_wide() {
        assert!(width("漢", 10.0, Weight::Regular) >= width("W", 10.0, Weight::Bold));
        assert_eq!(fitted("a\u{7}b", 99.0, 12.0, Weight::Regular), "a b");
    }
}
