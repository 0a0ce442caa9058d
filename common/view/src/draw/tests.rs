//! What holds for every drawing: nothing overlaps, nothing leaves its box, and equal blocks are folded.

use espalier_common::network::Network;

use super::layout::place;
use super::measure::{INSET, SMALL, TITLE_SIZE, parts};
use super::placed::{Placed, PlacedBox};
use super::samples::{
    bench_network, darts_network, long_network, nested_network, row_network, wide_network,
};
use super::scene::Scene;
use super::text::{Weight, width};
use super::*;

/// What rounding may add up to.
const ROUNDING: f64 = 0.6;

fn heading(title: &str) -> Heading {
    Heading {
        title: title.to_owned(),
        subtitle: "below it".to_owned(),
    }
}

fn all() -> Vec<(&'static str, Network)> {
    vec![
        ("bench", bench_network()),
        ("darts", darts_network(6)),
        ("darts of one cell", darts_network(1)),
        ("nested", nested_network(6)),
        ("long", long_network(400)),
        ("wide", wide_network(20)),
    ]
}

/// Left, top, right and bottom.
fn sides(one: &PlacedBox<'_>) -> (f64, f64, f64, f64) {
    (
        one.left,
        one.top,
        one.left + one.width,
        one.top + one.height,
    )
}

#[test]
fn no_two_boxes_of_a_drawing_overlap() {
    for (name, network) in all() {
        let scene = Scene::of(&network, None).unwrap();
        let placed = place(&scene);
        for (index, one) in placed.boxes.iter().enumerate() {
            for other in &placed.boxes[index + 1..] {
                let (a, b) = (sides(one), sides(other));
                let apart = a.2 <= b.0 || b.2 <= a.0 || a.3 <= b.1 || b.3 <= a.1;
                assert!(apart, "{name}: {a:?} and {b:?}");
            }
        }
    }
}

#[test]
fn everything_lies_within_the_drawing_and_frames_within_frames() {
    for (name, network) in all() {
        let scene = Scene::of(&network, None).unwrap();
        let placed = place(&scene);
        for one in &placed.boxes {
            let (left, top, right, bottom) = sides(one);
            assert!(left >= -ROUNDING && top >= -ROUNDING, "{name}");
            let (wide, high) = (placed.width + ROUNDING, placed.height + ROUNDING);
            assert!(right <= wide && bottom <= high, "{name}");
        }
        for (index, frame) in placed.frames.iter().enumerate() {
            for other in &placed.frames[index + 1..] {
                let across =
                    frame.left < other.left + other.width && other.left < frame.left + frame.width;
                let along =
                    frame.top < other.top + other.height && other.top < frame.top + frame.height;
                let inside = frame.left <= other.left
                    && other.left + other.width <= frame.left + frame.width
                    && frame.top <= other.top
                    && other.top + other.height <= frame.top + frame.height;
                assert!(
                    !across || !along || inside,
                    "{name}: {frame:?} and {other:?}"
                );
            }
        }
    }
}

#[test]
fn no_text_is_wider_than_its_box() {
    for (name, network) in all() {
        let scene = Scene::of(&network, None).unwrap();
        for one in &place(&scene).boxes {
            for row in &one.stack.rows {
                let (title, settings, block, shape) = parts(row);
                let texts: f64 = [&settings, &block, &shape]
                    .iter()
                    .map(|text| width(text, SMALL, Weight::Regular))
                    .sum();
                let all = width(&title, TITLE_SIZE, Weight::Bold) + texts + 2.0 * INSET;
                assert!(all <= one.width, "{name}: {row:?}");
            }
        }
    }
}

#[test]
fn wires_run_past_boxes_and_never_through_them() {
    for (name, network) in all() {
        let scene = Scene::of(&network, None).unwrap();
        let placed = place(&scene);
        for wire in &placed.wires {
            for pair in wire.points.windows(2) {
                assert!(pair[1].1 >= pair[0].1 - ROUNDING, "{name}: a wire runs up");
                let through = placed.boxes.iter().any(|one| crosses(pair, one));
                assert!(!through, "{name}: {pair:?}");
            }
        }
    }
}

/// Whether a piece of a wire has a part of its way inside of a box. A curve stays between the heights of its
/// ends, so a box that it could touch lies between them.
fn crosses(pair: &[(f64, f64)], one: &PlacedBox<'_>) -> bool {
    let (left, top, right, bottom) = sides(one);
    let (from, to) = (pair[0], pair[1]);
    let across = from.0.min(to.0) < right - ROUNDING && from.0.max(to.0) > left + ROUNDING;
    let along = from.1.max(top) + ROUNDING < to.1.min(bottom);
    across && along
}

fn rows(placed: &Placed<'_>) -> usize {
    placed.boxes.iter().map(|one| one.stack.rows.len()).sum()
}

#[test]
fn equal_blocks_in_a_row_are_drawn_once_with_their_number() {
    let network = bench_network();
    let scene = Scene::of(&network, None).unwrap();
    let titles: Vec<_> = place(&scene)
        .frames
        .into_iter()
        .map(|frame| frame.title)
        .collect();
    assert_eq!(
        titles.iter().filter(|title| *title == "cell  × 5").count(),
        3,
        "{titles:?}"
    );
    // Cells that read two outputs before them.
    let (few, many) = (darts_network(2), darts_network(9));
    let (few, many) = (
        Scene::of(&few, None).unwrap(),
        Scene::of(&many, None).unwrap(),
    );
    assert_eq!(rows(&place(&few)), rows(&place(&many)));
    let title = &place(&many).frames[0].title;
    assert_eq!(title, "normal  × 9");
}

#[test]
fn blocks_that_differ_in_anything_are_not_folded() {
    let mut network = bench_network();
    let whole = rows(&place(&Scene::of(&network, None).unwrap()));
    // The third of five equal cells gets another window: two, one and two are left.
    let changed = network
        .nodes
        .iter_mut()
        .find(|node| node.name.starts_with("network[2]#3[0].edge[0-3]"))
        .unwrap();
    changed.op = espalier_common::network::Op::MaxPool2d(espalier_common::network::Pooling {
        kernel: 3,
        stride: 1,
        padding: 1,
    });
    let scene = Scene::of(&network, None).unwrap();
    let placed = place(&scene);
    assert!(rows(&placed) > whole);
    let titles: Vec<_> = placed
        .frames
        .iter()
        .map(|frame| frame.title.as_str())
        .collect();
    for title in [
        "rounds 1–2 · cell  × 2",
        "round 3 · cell",
        "rounds 4–5 · cell  × 2",
    ] {
        assert!(titles.contains(&title), "{title}: {titles:?}");
    }
}

#[test]
fn a_chain_is_one_box_and_a_drawing_that_nobody_can_follow_is_refused() {
    let chain = long_network(400);
    let scene = Scene::of(&chain, None).unwrap();
    // The input, the chain and the output.
    assert_eq!(place(&scene).boxes.len(), 3);
    let wide = wide_network(MAX_BOXES + 10);
    let error = svg(&wide, None, &heading("wide")).unwrap_err();
    assert!(error.to_string().contains("2000"), "{error}");
}

#[test]
fn a_damaged_network_is_told_apart_from_a_drawing() {
    let mut network = bench_network();
    network.output = 9_999;
    assert!(matches!(
        svg(&network, None, &heading("x")),
        Err(CannotDraw::Invalid(_))
    ));
    let mut network = bench_network();
    network.nodes[5].inputs = vec![7].into();
    assert!(matches!(
        dot(&network, None, &heading("x")),
        Err(CannotDraw::Invalid(_))
    ));
}

#[test]
fn the_same_network_is_drawn_in_the_same_way() {
    let network = darts_network(3);
    let first = svg(&network, None, &heading("a")).unwrap();
    for _ in 0..3 {
        assert_eq!(svg(&network, None, &heading("a")).unwrap(), first);
    }
}

#[test]
fn whatever_stands_in_names_the_document_stays_one() {
    let mut network = nested_network(1);
    network.nodes[1].name = "network.<script>\u{1}&\"[0]".to_owned();
    let evil = heading("</svg><script>\u{0}");
    let text = svg(&network, None, &evil).unwrap();
    assert!(!text.contains("<script"), "{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    assert_eq!(text.matches("</svg>").count(), 1);
    let dot = dot(&network, None, &heading("a\"]; evil [")).unwrap();
    assert!(dot.contains(r#"label="a\"]; evil ["#), "{dot}");
}

#[test]
fn dot_has_a_cluster_for_each_frame_and_the_wires_between_boxes() {
    insta::assert_snapshot!(dot(&nested_network(1), None, &heading("nested")).unwrap());
}

#[test]
fn wires_beyond_what_anybody_can_follow_are_refused_but_not_in_dot() {
    let network = wide_network(200);
    let error = svg(&network, None, &heading("x")).unwrap_err();
    assert!(matches!(error, CannotDraw::TooTangled { .. }), "{error}");
    assert!(
        dot(&network, None, &heading("x"))
            .unwrap()
            .starts_with("digraph")
    );
}

#[test]
fn as_many_boxes_as_are_allowed_are_laid_out() {
    let network = row_network(MAX_BOXES - 2);
    let text = svg(&network, None, &heading("x")).unwrap();
    assert_eq!(text.matches(">relu</text>").count(), MAX_BOXES - 2);
}

#[test]
fn a_block_without_a_name_has_that_of_the_definition_it_uses() {
    use espalier_common::space::Space;

    let space: Space = espalier_common::spec::read(
        "
name: x
dataset: {format: idx, path: x, validation: 1}
blocks:
  unit: [conv, relu]
  unused: [relu]
  part: {choice: {one: [{use: unit}, relu], two: [relu]}}
network:
  - {use: part, name: given}
  - use: part
  - repeat: {times: 2, block: [{use: unit}]}
  - optional: [{residual: [{use: unit}, {use: unit}]}]
objectives: [{maximize: accuracy}]
training: {epochs: 1}
budget: {trials: 1}
",
        "x.yaml",
    )
    .unwrap()
    .space;
    let names = |path: &str| {
        super::names::definitions(
            &space,
            &super::blocks::steps(path).iter().collect::<Vec<_>>(),
        )
        .join(" ")
    };
    assert_eq!(names("network.given"), "part");
    assert_eq!(names("network[1]"), "part");
    assert_eq!(names("network[1].choice.one[0]"), "unit");
    assert_eq!(names("network[2]#2[0]"), "unit");
    assert_eq!(names("network[3].optional[0].residual[1]"), "unit");
    for none in [
        "network",
        "network[2]",
        "network[1].choice.two[0]",
        "network[9]",
        "elsewhere[1]",
        "",
    ] {
        assert_eq!(names(none), "", "{none}");
    }
}
