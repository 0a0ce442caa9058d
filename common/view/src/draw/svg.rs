//! A drawing as SVG. May import the layout.
//!
//! The document brings its own white card, so it is readable on light and dark pages alike, and no
//! stylesheet, so every viewer shows it in the same way.

use std::fmt::Write as _;

use super::Heading;
use super::layout::LABEL_ROOM;
use super::measure::{CAPTION, GAP, INSET, ROW, SMALL, TITLE_SIZE, caption, parts};
use super::placed::{Placed, PlacedBox, PlacedFrame, PlacedWire};
use super::scene::Row;
use super::text::{Weight, fitted, width};
use super::words::Kind;

/// Around everything.
const MARGIN: f64 = 28.0;
/// Height of the heading.
const HEADING: f64 = 44.0;
/// Size of the heading's title.
const HEADING_SIZE: f64 = 16.0;
/// The least width of a drawing, so that a heading has room.
const LEAST_WIDTH: f64 = 320.0;
/// Fonts with the widths of Helvetica, or wider by no more than the measured ones are.
const FONTS: &str = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif";

const INK: &str = "#1f2933";
const MUTED: &str = "#5f6c7b";
const FRAME_LINE: &str = "#c3ccd6";
const WIRE: &str = "#7b8794";

/// Fill and accent of a kind of operation.
fn colours(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Ends => ("#eef1f4", "#52606d"),
        Kind::Weights => ("#e3eefb", "#2f6fb7"),
        Kind::Sequence => ("#ebe6fa", "#6b4fbb"),
        Kind::Norm => ("#f1f5f4", "#7f9c96"),
        Kind::Activation => ("#fdf1e0", "#d08a24"),
        Kind::Shape => ("#e4f4ec", "#2f8f63"),
        Kind::Join => ("#fbe6ea", "#b8405e"),
        Kind::Quiet => ("#f4f4f5", "#a1a1aa"),
    }
}

/// Writes a drawing.
pub(super) fn write(placed: &Placed<'_>, heading: &Heading) -> String {
    let title = fitted(&heading.title, 600.0, HEADING_SIZE, Weight::Bold);
    let subtitle = fitted(&heading.subtitle, 700.0, SMALL, Weight::Regular);
    let text_width =
        width(&title, HEADING_SIZE, Weight::Bold).max(width(&subtitle, SMALL, Weight::Regular));
    let content = placed.width.max(text_width).max(LEAST_WIDTH);
    let (wide, high) = (
        content + 2.0 * MARGIN,
        placed.height + HEADING + 2.0 * MARGIN,
    );
    let mut svg = Svg(String::new());
    svg.line(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" font-family="{FONTS}">"#,
        Number(wide.ceil()),
        Number(high.ceil())
    ));
    svg.line(format_args!("<title>{}</title>", Text(&heading.title)));
    svg.line(format_args!(
        r##"<rect x="0.5" y="0.5" width="{}" height="{}" rx="10" fill="#ffffff" stroke="#d5dbe1"/>"##,
        Number(wide.ceil() - 1.0),
        Number(high.ceil() - 1.0)
    ));
    svg.heading(&title, &subtitle);
    svg.line(format_args!(
        r#"<g transform="translate({} {})">"#,
        Number((wide - placed.width) / 2.0),
        Number(MARGIN + HEADING)
    ));
    for frame in &placed.frames {
        svg.frame(frame);
    }
    for wire in &placed.wires {
        svg.wire(wire);
    }
    for frame in &placed.frames {
        svg.frame_title(frame);
    }
    for one in &placed.boxes {
        svg.stack(one);
    }
    for wire in &placed.wires {
        svg.wire_label(wire);
    }
    svg.line(format_args!("</g>"));
    svg.line(format_args!("</svg>"));
    svg.0
}

struct Svg(String);

impl Svg {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(line);
        self.0.push('\n');
    }

    fn text(&mut self, x: f64, y: f64, size: f64, weight: Weight, colour: &str, text: &str) {
        self.anchored(x, y, size, weight, colour, text, "");
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "they are the attributes of one element"
    )]
    fn anchored(
        &mut self,
        x: f64,
        y: f64,
        size: f64,
        weight: Weight,
        colour: &str,
        text: &str,
        more: &str,
    ) {
        if text.is_empty() {
            return;
        }
        let bold = match weight {
            Weight::Regular => "",
            Weight::Bold => r#" font-weight="bold""#,
        };
        self.line(format_args!(
            r#"<text x="{}" y="{}" font-size="{size}"{bold} fill="{colour}"{more}>{}</text>"#,
            Number(x),
            Number(y),
            Text(text)
        ));
    }

    fn frame(&mut self, frame: &PlacedFrame) {
        // Every level is a little darker than the one around it, up to the fourth.
        let fill = ["#f8fafc", "#f1f5f9", "#e9eef4", "#e2e8f0"][frame.depth.min(3)];
        self.line(format_args!(
            r#"<rect x="{}" y="{}" width="{}" height="{}" rx="8" fill="{fill}" stroke="{FRAME_LINE}"/>"#,
            Number(frame.left),
            Number(frame.top),
            Number(frame.width),
            Number(frame.height)
        ));
    }

    fn frame_title(&mut self, frame: &PlacedFrame) {
        let title = fitted(&frame.title, frame.width - 2.0 * INSET, SMALL, Weight::Bold);
        let wide = width(&title, SMALL, Weight::Bold);
        let free = |from: f64| {
            let clear = |&x: &f64| x < from - 4.0 || from + wide + 4.0 < x;
            from + wide + INSET <= frame.width && frame.crossings.iter().all(clear)
        };
        // At the left, or where that is not free, beside a wire that comes in.
        let beside = frame
            .crossings
            .iter()
            .map(|x| x + INSET)
            .find(|&from| free(from));
        let from = if free(INSET) {
            INSET
        } else {
            beside.unwrap_or(INSET)
        };
        self.anchored(
            frame.left + from,
            frame.top + 14.0,
            SMALL,
            Weight::Bold,
            MUTED,
            &title,
            HALO,
        );
    }

    fn heading(&mut self, title: &str, subtitle: &str) {
        let bold = Weight::Bold;
        self.text(MARGIN, MARGIN + 10.0, HEADING_SIZE, bold, INK, title);
        let regular = Weight::Regular;
        self.text(MARGIN, MARGIN + 28.0, SMALL, regular, MUTED, subtitle);
    }

    fn stack(&mut self, one: &PlacedBox<'_>) {
        let (left, mut top) = (one.left, one.top);
        let caption = caption(one.stack);
        self.line(format_args!(
            r##"<rect x="{}" y="{}" width="{}" height="{}" rx="5" fill="#ffffff" stroke="{FRAME_LINE}"/>"##,
            Number(left),
            Number(top),
            Number(one.width),
            Number(one.height)
        ));
        if !caption.is_empty() {
            self.text(
                left + INSET,
                top + 12.5,
                SMALL,
                Weight::Bold,
                MUTED,
                &caption,
            );
            top += CAPTION;
        }
        for row in &one.stack.rows {
            self.row(one, row, top);
            top += ROW;
        }
    }

    fn row(&mut self, one: &PlacedBox<'_>, row: &Row, top: f64) {
        let (left, right) = (one.left, one.left + one.width);
        let (fill, accent) = colours(row.words.kind);
        self.line(format_args!(
            r#"<rect x="{}" y="{}" width="{}" height="{}" rx="4" fill="{fill}"/>"#,
            Number(left + 1.0),
            Number(top + 1.0),
            Number(one.width - 2.0),
            Number(ROW - 2.0)
        ));
        self.line(format_args!(
            r#"<rect x="{}" y="{}" width="3" height="{}" rx="1.5" fill="{accent}"/>"#,
            Number(left + 2.0),
            Number(top + 3.0),
            Number(ROW - 6.0)
        ));
        let (title, settings, name, shape) = parts(row);
        let base = top + ROW / 2.0 + 4.0;
        self.text(left + INSET, base, TITLE_SIZE, Weight::Bold, INK, &title);
        let mut x = left + INSET + width(&title, TITLE_SIZE, Weight::Bold) + GAP;
        self.text(x, base, SMALL, Weight::Regular, INK, &settings);
        if !settings.is_empty() {
            x += width(&settings, SMALL, Weight::Regular) + GAP;
        }
        self.anchored(
            x,
            base,
            SMALL,
            Weight::Regular,
            accent,
            &name,
            r#" font-style="italic""#,
        );
        self.anchored(
            right - INSET,
            base,
            SMALL,
            Weight::Regular,
            MUTED,
            &shape,
            r#" text-anchor="end""#,
        );
    }

    fn wire(&mut self, wire: &PlacedWire) {
        let Some((&(x, y), rest)) = wire.points.split_first() else {
            return;
        };
        let mut path = format!("M{} {}", Number(x), Number(y));
        let (mut x, mut y) = (x, y);
        for &(to_x, to_y) in rest {
            let _ = if (to_x - x).abs() < 0.05 {
                write!(path, "V{}", Number(to_y))
            } else {
                let middle = (y + to_y) / 2.0;
                write!(
                    path,
                    "C{} {} {} {} {} {}",
                    Number(x),
                    Number(middle),
                    Number(to_x),
                    Number(middle),
                    Number(to_x),
                    Number(to_y)
                )
            };
            (x, y) = (to_x, to_y);
        }
        self.line(format_args!(
            r#"<path d="{path}" fill="none" stroke="{WIRE}" stroke-width="1.3"/>"#
        ));
        if wire.arrow {
            self.line(format_args!(
                r#"<path d="M{} {}l-3.5 -6h7z" fill="{WIRE}"/>"#,
                Number(x),
                Number(y)
            ));
        }
    }

    fn wire_label(&mut self, wire: &PlacedWire) {
        let (Some(&(x, y)), Some(label)) = (wire.points.first(), &wire.label) else {
            return;
        };
        let straight = wire
            .points
            .iter()
            .take_while(|point| (point.0 - x).abs() < 0.05);
        if straight.last().is_none_or(|end| end.1 - y < LABEL_ROOM) {
            return;
        }
        self.anchored(x + 6.0, y + 12.0, 9.5, Weight::Regular, MUTED, label, HALO);
    }
}

/// White around the letters, where they stand on a wire.
const HALO: &str = r##" stroke="#ffffff" stroke-width="3" paint-order="stroke""##;

/// A coordinate with one decimal at most.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round() as i64;
        if tenths % 10 == 0 {
            write!(f, "{}", tenths / 10)
        } else {
            write!(f, "{:.1}", tenths as f64 / 10.0)
        }
    }
}

/// Text as XML wants it.
struct Text<'t>(&'t str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                // XML has no way to write most control characters.
                c if c.is_control() => f.write_str(" ")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}
