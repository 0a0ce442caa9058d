//! The plot: the median regret of each searcher, with a band between its quartiles. May import plotters.

use espalier_core::simulate::quantile;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::render::clean;
use super::Curves;
use super::report::Report;
use super::scale::{Scale, even_ticks};

/// Drawn at twice the size at which it is shown, since plotters counts in whole pixels.
const SIZE: (u32, u32) = (1_680, 1_040);
/// What is around the curves; on the right stand the names.
const LEFT: i32 = 150;
const TOP: i32 = 130;
const BOTTOM: i32 = 110;
/// Between the curves and the names, and the width of a letter.
const BEFORE_NAME: i32 = 100;
const LETTER: i32 = 14;
/// The font that whoever shows the picture has.
const FONT: &str = "sans-serif";
/// Heights of letters: title, axes, ticks and names.
const TITLE: i32 = 36;
const WORDS: i32 = 28;
const NUMBERS: i32 = 25;
/// The least distance of two names.
const BETWEEN_NAMES: i32 = 36;
/// Characters of a name: what leaves more than half of the width to the curves.
const NAME: usize = 44;
/// The most points of a curve: more than the picture has columns of pixels is lost.
const MOST_POINTS: u32 = 800;
/// Okabe and Ito's colours, which people tell apart whatever colours they see, less the yellow that white
/// swallows.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x40, 0x40, 0x40),
];
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Fault = DrawingAreaErrorKind<std::io::Error>;

/// A searcher's curve: after so many evaluations its median and quartiles.
struct Line {
    name: String,
    points: Vec<(f64, [f64; 3])>,
}

/// Draws them all.
pub(super) fn svg(report: &Report, trials: u32, curves: &Curves) -> Result<String, String> {
    let lines = lines(report, trials, curves);
    let all = || lines.iter().flat_map(|line| &line.points);
    let scale = Scale::of(
        all().map(|(_, [_, median, _])| *median),
        all().flat_map(|(_, [lower, _, upper])| [*lower, *upper]),
    );
    let mut drawn = String::new();
    let root = SVGBackend::with_string(&mut drawn, SIZE).into_drawing_area();
    let letters = lines.iter().map(|line| line.name.chars().count()).max();
    let done = Picture {
        root: &root,
        right: BEFORE_NAME + LETTER * letters.unwrap_or(0).max(8) as i32,
        scale,
        last: f64::from(trials.max(2)),
    }
    .draw(report, &lines);
    done.and_then(|()| root.present())
        .map_err(|error| format!("cannot draw the plot: {error}"))?;
    drop(root);
    let (width, height) = SIZE;
    let size = format!("<svg width=\"{width}\" height=\"{height}\"");
    let shown = format!("<svg width=\"{}\" height=\"{}\"", width / 2, height / 2);
    Ok(drawn.replacen(&size, &shown, 1))
}

fn lines(report: &Report, trials: u32, curves: &Curves) -> Vec<Line> {
    let step = trials.div_ceil(MOST_POINTS).max(1);
    let named = report.searchers.iter().zip(curves);
    let line = |name: &str, curves: &[super::Curve]| Line {
        name: clean(name, NAME),
        points: (1..=trials)
            .filter(|at| at % step == 0 || *at == 1 || *at == trials)
            .map(|at| {
                let regrets: Vec<f64> = curves.iter().map(|one| one.after(at).regret).collect();
                let of = |share| quantile(&regrets, share).unwrap_or(f64::INFINITY);
                (f64::from(at), [of(0.25), of(0.5), of(0.75)])
            })
            .filter(|(_, values)| values.iter().all(|value| value.is_finite()))
            .collect(),
    };
    named
        .map(|(one, curves)| line(&one.searcher, curves))
        .collect()
}

struct Picture<'r, 'a> {
    root: &'r Area<'a>,
    /// The margin for the names.
    right: i32,
    scale: Scale,
    /// The last evaluation.
    last: f64,
}

impl Picture<'_, '_> {
    fn draw(&self, report: &Report, lines: &[Line]) -> Result<(), Fault> {
        self.root.fill(&WHITE)?;
        self.frame(report)?;
        let (left, right, top, bottom) = (LEFT, self.right, TOP, BOTTOM);
        let (low, high) = self.scale.ends();
        let mut chart = ChartBuilder::on(self.root)
            .margin_left(left)
            .margin_right(right)
            .margin_top(top)
            .margin_bottom(bottom)
            .build_cartesian_2d(1.0..self.last, low..high)?;
        let at = |regret: f64| self.scale.place(regret).clamp(low, high);
        let alpha = match lines.len() {
            ..=4 => 0.18,
            5..=7 => 0.10,
            _ => 0.06,
        };
        for (place, line) in lines.iter().enumerate() {
            let [lower, upper] = [0, 2].map(|which| steps(line, which, at));
            let edge = colour(place).mix(0.4).stroke_width(1);
            chart.draw_series(
                [lower.clone(), upper.clone()].map(|one| PathElement::new(one, edge)),
            )?;
            let band: Vec<_> = upper.into_iter().chain(lower.into_iter().rev()).collect();
            chart.draw_series([Polygon::new(band, colour(place).mix(alpha))])?;
        }
        for (place, line) in lines.iter().enumerate() {
            let median = steps(line, 1, at);
            let style = colour(place).stroke_width(4);
            if place < COLOURS.len() {
                chart.draw_series(LineSeries::new(median, style))?;
            } else {
                chart.draw_series(DashedLineSeries::new(median, 14, 8, style))?;
            }
        }
        self.names(lines)
    }

    /// The pixel of a place.
    fn pixel(&self, x: f64, regret: f64) -> (i32, i32) {
        let (left, right, top, bottom) = (LEFT, self.right, TOP, BOTTOM);
        let (width, height) = (SIZE.0 as i32 - left - right, SIZE.1 as i32 - top - bottom);
        let (low, high) = self.scale.ends();
        let across = (x - 1.0) / (self.last - 1.0);
        let up = ((self.scale.place(regret) - low) / (high - low)).clamp(0.0, 1.0);
        (
            left + (across * f64::from(width)).round() as i32,
            top + ((1.0 - up) * f64::from(height)).round() as i32,
        )
    }

    /// Title, axes, ticks.
    fn frame(&self, report: &Report) -> Result<(), Fault> {
        let (left, right, top, bottom) = (LEFT, self.right, TOP, BOTTOM);
        let (width, height) = (SIZE.0 as i32, SIZE.1 as i32);
        let thin = GRID.stroke_width(2);
        for tick in self.scale.ticks() {
            let (_, y) = self.pixel(1.0, tick);
            self.line((left, y), (width - right, y), thin)?;
            self.say(
                &number(tick),
                (left - 16, y),
                NUMBERS,
                HPos::Right,
                VPos::Center,
            )?;
        }
        let axis = INK.stroke_width(2);
        let foot = height - bottom;
        self.line((left, foot), (width - right, foot), axis)?;
        let ticks = even_ticks(self.last).into_iter().map(|tick| tick.max(1.0));
        for tick in ticks.filter(|tick| tick.fract() == 0.0) {
            let (x, _) = self.pixel(tick, 0.0);
            self.line((x, foot), (x, foot + 8), axis)?;
            self.say(
                &number(tick),
                (x, foot + 16),
                NUMBERS,
                HPos::Center,
                VPos::Top,
            )?;
        }
        let middle = left + (width - left - right) / 2;
        self.say(
            "evaluations",
            (middle, height - 20),
            WORDS,
            HPos::Center,
            VPos::Bottom,
        )?;
        let below = if report.maximize { "below" } else { "above" };
        let metric = clean(&report.metric, 40);
        let regret = format!("regret ({metric} {below} the best of the table)");
        let style = TextStyle::from((FONT, WORDS).into_font())
            .transform(FontTransform::Rotate270)
            .color(&INK)
            .pos(Pos::new(HPos::Center, VPos::Top));
        let centre = top + (height - top - bottom) / 2;
        self.root.draw_text(&regret, &style, (24, centre))?;
        let title = format!("{}: regret of the best so far", clean(&report.search, 60));
        self.say(&title, (left, 30), TITLE, HPos::Left, VPos::Top)?;
        let workers = report.cluster.workers;
        let many = |count: u32, word: &str| {
            let end = if count == 1 { "" } else { "s" };
            format!("{count} {word}{end}")
        };
        let how = format!(
            "median and quartiles of {}, {}",
            many(report.seeds, "seed"),
            many(workers, "worker")
        );
        self.say(&how, (left, 78), NUMBERS, HPos::Left, VPos::Top)
    }

    /// A name at the end of each curve, spread so that they do not overlap.
    fn names(&self, lines: &[Line]) -> Result<(), Fault> {
        let (right, top, bottom) = (self.right, TOP, BOTTOM);
        let edge = SIZE.0 as i32 - right;
        let mut ends: Vec<(i32, f64, usize)> = Vec::new();
        for (place, line) in lines.iter().enumerate() {
            let Some(&(x, [_, median, _])) = line.points.last() else {
                continue;
            };
            // Of equal ends the curve that came down later stands higher.
            let area: f64 = line.points.iter().map(|(_, [_, median, _])| median).sum();
            ends.push((self.pixel(x, median).1, -area, place));
        }
        ends.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let wanted: Vec<i32> = ends.iter().map(|end| end.0).collect();
        let spread = spread(&wanted, BETWEEN_NAMES, top, SIZE.1 as i32 - bottom);
        for (&(y, _, place), at) in ends.iter().zip(spread) {
            let style = colour(place).stroke_width(4);
            self.line((edge + 4, y), (edge + 28, at), GRID.stroke_width(2))?;
            // In the manner of the curve.
            let dashes: &[(i32, i32)] = if place < COLOURS.len() {
                &[(30, 62)]
            } else {
                &[(30, 44), (50, 62)]
            };
            for (begin, end) in dashes {
                self.line((edge + begin, at), (edge + end, at), style)?;
            }
            let from = (edge + 72, at);
            self.say(&lines[place].name, from, NUMBERS, HPos::Left, VPos::Center)?;
        }
        Ok(())
    }

    fn line(&self, from: (i32, i32), to: (i32, i32), style: ShapeStyle) -> Result<(), Fault> {
        self.root.draw(&PathElement::new(vec![from, to], style))
    }

    fn say(
        &self,
        text: &str,
        at: (i32, i32),
        height: i32,
        across: HPos,
        up: VPos,
    ) -> Result<(), Fault> {
        let style = TextStyle::from((FONT, height).into_font())
            .color(&INK)
            .pos(Pos::new(across, up));
        self.root.draw_text(text, &style, at)
    }
}

/// The best so far stays what it is until a better one comes: a line of steps.
fn steps(line: &Line, which: usize, at: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let mut before = None;
    let mut steps = Vec::with_capacity(2 * line.points.len());
    for (x, values) in &line.points {
        let y = at(values[which]);
        steps.extend(
            before
                .filter(|&before| before != y)
                .map(|before| (*x, before)),
        );
        steps.push((*x, y));
        before = Some(y);
    }
    steps
}

fn colour(place: usize) -> RGBColor {
    COLOURS[place % COLOURS.len()]
}

/// Places in growing order, moved as little as needed to stand `apart`, within `from..=to` if they fit.
fn spread(wanted: &[i32], apart: i32, from: i32, to: i32) -> Vec<i32> {
    let mut places = Vec::with_capacity(wanted.len());
    let mut next = from;
    for &at in wanted {
        let place = at.max(next);
        places.push(place);
        next = place + apart;
    }
    let mut most = to;
    for place in places.iter_mut().rev() {
        *place = (*place).min(most);
        most = *place - apart;
    }
    places
}

fn number(value: f64) -> String {
    // Sums of steps end in long tails.
    let rounded: f64 = format!("{value:.6e}").parse().unwrap_or(value);
    if rounded != 0.0 && !(1e-4..1e7).contains(&rounded) {
        format!("{rounded:e}")
    } else {
        rounded.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spread_and_stay_inside() {
        assert_eq!(spread(&[10, 50, 90], 20, 0, 100), [10, 50, 90]);
        assert_eq!(spread(&[50, 50, 50], 20, 0, 100), [50, 70, 90]);
        assert_eq!(spread(&[95, 96, 97], 20, 0, 100), [60, 80, 100]);
    }

    #[test]
    fn ticks_are_written_short() {
        assert_eq!(number(0.1 + 0.2), "0.3");
        assert_eq!(number(200.0), "200");
        assert_eq!(number(2e-7), "2e-7");
    }
}
