//! How large boxes are, and what is written in them. Imports the scene and the widths of texts.

use super::scene::{Row, Stack};
use super::text::{Weight, fitted, width};

/// Height of a row of a box.
pub(super) const ROW: f64 = 22.0;
/// Height of a caption above the rows.
pub(super) const CAPTION: f64 = 18.0;
/// Size of the titles of rows.
pub(super) const TITLE_SIZE: f64 = 12.0;
/// Size of settings, captions and shapes.
pub(super) const SMALL: f64 = 10.5;
/// Between the border of a box and its text.
pub(super) const INSET: f64 = 10.0;
/// Between the parts of a row.
pub(super) const GAP: f64 = 8.0;
/// The least width of a box with settings, so that most of a drawing's boxes are equally wide.
const LEAST_BOX: f64 = 150.0;
/// The most that one part of a row may take; the rest is cut.
const MOST_PART: f64 = 260.0;

/// The parts of a row as they are written: cut where they are too long.
pub(super) fn parts(row: &Row) -> (String, String, String, String) {
    let cut = |text: &str, size, weight| fitted(text, MOST_PART, size, weight);
    (
        cut(&row.words.title, TITLE_SIZE, Weight::Bold),
        cut(&row.words.settings, SMALL, Weight::Regular),
        cut(&row.name, SMALL, Weight::Regular),
        cut(
            row.shape.as_deref().unwrap_or_default(),
            SMALL,
            Weight::Regular,
        ),
    )
}

/// The caption as it is written.
pub(super) fn caption(stack: &Stack) -> String {
    fitted(&stack.caption, MOST_PART, SMALL, Weight::Bold)
}

/// The width and height of a box.
pub(super) fn box_size(stack: &Stack) -> (f64, f64) {
    let mut wide: f64 = 0.0;
    let mut plain = true;
    for row in &stack.rows {
        let (title, settings, name, shape) = parts(row);
        let mut row_width = width(&title, TITLE_SIZE, Weight::Bold);
        for part in [&settings, &name, &shape] {
            if !part.is_empty() {
                row_width += GAP + width(part, SMALL, Weight::Regular);
            }
        }
        plain &= settings.is_empty();
        wide = wide.max(row_width);
    }
    let mut height = ROW * stack.rows.len() as f64;
    let caption = caption(stack);
    if !caption.is_empty() {
        wide = wide.max(width(&caption, SMALL, Weight::Bold));
        height += CAPTION;
    }
    wide += 2.0 * INSET;
    // A single node without settings (a sum, say) is as small as its word.
    let least = if plain && stack.rows.len() == 1 {
        0.0
    } else {
        LEAST_BOX
    };
    (wide.max(least).ceil(), height)
}
