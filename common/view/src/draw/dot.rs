//! A drawing as DOT, for Graphviz and whatever reads it. Imports the scene.

use std::fmt::Write as _;

use super::Heading;
use super::scene::{Scene, Stack, Unit};

/// Writes a scene.
pub(super) fn write(scene: &Scene, heading: &Heading) -> String {
    let mut dot = Dot {
        scene,
        text: String::new(),
    };
    dot.line(0, "digraph network {");
    dot.line(1, "rankdir=TB; labelloc=t; fontname=\"Helvetica\";");
    let head = [heading.title.as_str(), heading.subtitle.as_str()];
    dot.line(1, &format!("label={};", quoted(head)));
    dot.line(1, "node [shape=box, fontname=\"Helvetica\", fontsize=11];");
    dot.line(1, "edge [fontname=\"Helvetica\", fontsize=9];");
    dot.units(0, 1);
    for edge in &scene.edges {
        let label = match &scene.frames[edge.from.0].units[edge.from.1] {
            Unit::Stack(stack) => stack.gives.as_deref(),
            Unit::Frame(_) => None,
        };
        let label = label.map_or(String::new(), |label| {
            format!(" [label={}]", quoted([label]))
        });
        let line = format!("{} -> {}{label};", name(edge.from), name(edge.to));
        dot.line(1, &line);
    }
    dot.line(0, "}");
    dot.text
}

struct Dot<'s> {
    scene: &'s Scene,
    text: String,
}

impl Dot<'_> {
    fn line(&mut self, depth: usize, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{}{line}", "  ".repeat(depth));
    }

    fn units(&mut self, frame: usize, depth: usize) {
        let scene = self.scene;
        for (index, unit) in scene.frames[frame].units.iter().enumerate() {
            match unit {
                Unit::Stack(stack) => {
                    let line = format!("{} [label={}];", name((frame, index)), label(stack));
                    self.line(depth, &line);
                }
                Unit::Frame(inner) => {
                    self.line(depth, &format!("subgraph cluster_{inner} {{"));
                    let title = quoted([scene.frames[*inner].title.as_str()]);
                    self.line(depth + 1, &format!("label={title}; style=rounded;"));
                    self.units(*inner, depth + 1);
                    self.line(depth, "}");
                }
            }
        }
    }
}

fn name((frame, unit): (usize, usize)) -> String {
    format!("n{frame}_{unit}")
}

/// A line for each node of a box.
fn label(stack: &Stack) -> String {
    let rows = stack.rows.iter().map(|row| {
        let parts = [
            row.words.title.as_str(),
            &row.words.settings,
            &row.name,
            row.shape.as_deref().unwrap_or_default(),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("  ")
    });
    let lines: Vec<String> = std::iter::once(stack.caption.clone()).chain(rows).collect();
    quoted(lines.iter().map(String::as_str))
}

/// Lines as a quoted string of DOT.
fn quoted<'l>(lines: impl IntoIterator<Item = &'l str>) -> String {
    let mut text = String::from("\"");
    let filled = lines.into_iter().filter(|line| !line.is_empty());
    for (index, line) in filled.enumerate() {
        if index > 0 {
            text.push_str("\\n");
        }
        for c in line.chars() {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_control() => text.push(' '),
                c => text.push(c),
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_do_not_end_a_string() {
        assert_eq!(quoted(["a\"b\\", "", "c\nd"]), r#""a\"b\\\nc d""#);
    }
}
