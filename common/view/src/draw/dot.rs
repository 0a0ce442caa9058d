//! A drawing as DOT, for Graphviz and whatever reads it. Imports the scene.

use std::fmt::Write as _;

use super::Heading;
use super::scene::{Scene, Stack, Unit};

/// White boxes on the grey of the frames around them, as in the SVG.
const NODES: &str = "node [shape=box, style=\"rounded,filled\", fillcolor=white, color=\"#64748b\", \
    fontname=\"Helvetica\", fontsize=11, margin=\"0.13,0.07\"];";
const EDGES: &str = "edge [color=\"#64748b\", fontcolor=\"#64748b\", fontname=\"Helvetica\", fontsize=9, \
    arrowsize=0.6];";
const FRAME: &str =
    "style=\"rounded,filled\"; fillcolor=\"#f1f5f9\"; color=\"#cbd5e1\"; fontsize=11;";

/// Writes a scene.
pub(super) fn write(scene: &Scene, heading: &Heading) -> String {
    let mut dot = Dot {
        scene,
        text: String::new(),
    };
    dot.line(0, "digraph network {");
    dot.line(
        1,
        "rankdir=TB; labelloc=t; fontname=\"Helvetica\"; fontsize=13; nodesep=0.3; ranksep=0.35;",
    );
    let head = [heading.title.as_str(), heading.subtitle.as_str()];
    dot.line(1, &format!("label={};", quoted(head)));
    dot.line(1, NODES);
    dot.line(1, EDGES);
    dot.units(0, 1);
    for edge in &scene.edges {
        let label = match &scene.frames[edge.from.0].units[edge.from.1] {
            Unit::Stack(stack) => stack.gives.as_deref(),
            Unit::Frame(_) => None,
        };
        let label = label.map_or(String::new(), |label| {
            // The space keeps the text off the line.
            format!(" [label={}]", quoted([format!(" {label}").as_str()]))
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
                    self.line(depth + 1, &format!("label={title}; {FRAME}"));
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
    let lines: Vec<&str> = (lines.iter().map(String::as_str))
        .filter(|line| !line.is_empty())
        .collect();
    if let [only] = lines[..] {
        return quoted([only]);
    }
    // Lines that begin at the left are easier to read below each other. Each is ended by its mark then.
    let mut text = String::from("\"");
    for line in lines {
        escape(line, &mut text);
        text.push_str("\\l");
    }
    text + "\""
}

/// Lines as a quoted string of DOT, each in the middle.
fn quoted<'l>(lines: impl IntoIterator<Item = &'l str>) -> String {
    let mut text = String::from("\"");
    let filled = lines.into_iter().filter(|line| !line.is_empty());
    for (index, line) in filled.enumerate() {
        if index > 0 {
            text.push_str("\\n");
        }
        escape(line, &mut text);
    }
    text + "\""
}

/// Appends what stands for a line inside quotes.
fn escape(line: &str, text: &mut String) {
    for c in line.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_do_not_end_a_string() {
        assert_eq!(quoted(["a\"b\\", "", "c\nd"]), r#""a\"b\\\nc d""#);
    }
}
