//! Where a `$name` may stand, and what is said where it may not.

use super::read;

/// The mistakes in a spec of hyperparameters with these parts.
fn mistakes(parts: &str) -> String {
    let text = format!(
        "name: x\nevaluator: mine\nobjectives: [{{minimize: loss}}]\nbudget: {{trials: 1}}\n{parts}\n"
    );
    match read(&text, "x.yaml") {
        Ok(_) => "nothing is wrong".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn a_name_inside_a_decision_is_refused_and_does_not_become_a_text() {
    let tie = "tie: {w: {choice: [1, 2, 3]}, v: 2}\nhyperparameters: {used: $w, other: $v, c: ";
    let all = [
        format!("{tie}{{choice: [x, $w]}}}}"),
        format!("{tie}{{choice: [1, $v], weights: [1, 2]}}}}"),
        format!("{tie}{{range: [0, $v]}}}}"),
        format!("{tie}{{range: [0, 4], step: $v}}}}"),
        "tie: {w: 1, v: {choice: [$w, 3]}}\nhyperparameters: {a: $w, b: $v}".to_owned(),
        "tie: {w: 1, v: {choice: [$nothere, 3]}}\nhyperparameters: {a: $w, b: $v}".to_owned(),
    ];
    insta::assert_snapshot!(all.map(|parts| mistakes(&parts)).join("\n"), @r#"
        x.yaml:6:56: hyperparameters.c.choice[1]: a name cannot stand inside a choice; write the value itself, or "$w" in quotes for the text, or put the whole decision under `tie` and its name in its place
        x.yaml:6:56: hyperparameters.c.choice[1]: a name cannot stand inside a choice; write the value itself, or "$v" in quotes for the text, or put the whole decision under `tie` and its name in its place
        x.yaml:6:55: hyperparameters.c.range[1]: a name cannot stand inside a range; write the value itself, or "$v" in quotes for the text, or put the whole decision under `tie` and its name in its place
        x.yaml:6:65: hyperparameters.c.step: a name cannot stand inside a range; write the value itself, or "$v" in quotes for the text, or put the whole decision under `tie` and its name in its place
        x.yaml:5:26: tie.v.choice[0]: a name cannot stand inside a choice; write the value itself, or "$w" in quotes for the text, or put the whole decision under `tie` and its name in its place
        x.yaml:5:26: tie.v.choice[0]: a name cannot stand inside a choice; write the value itself, or "$nothere" in quotes for the text, or put the whole decision under `tie` and its name in its place
        "#);
    // In quotes it is a text.
    let quoted = format!("{tie}{{choice: [x, \"$w\"]}}}}");
    assert_eq!(mistakes(&quoted), "nothing is wrong");
}

#[test]
fn a_name_that_nothing_has_is_told_with_the_nearest_one_beside_other_mistakes() {
    insta::assert_snapshot!(
        [
            "tie: {somewhere: 3}\nhyperparameters: {a: $somewere, b: $somewhere, c: {choice: []}}",
            "tie: {somewhere: {choice: []}}\nhyperparameters: {a: $somewere, b: $somewhere}",
            "tie: {width: 1, depth: 2}\nhyperparameters: {a: $nothere, b: $width, c: $depth}",
            "hyperparameters: {a: $nothere, b: {range: [1]}}",
        ]
        .map(mistakes)
        .join("\n"),
        @r#"
        x.yaml:6:22: hyperparameters.a: no tie has the name "somewere"; did you mean "$somewhere"?
        x.yaml:6:60: hyperparameters.c.choice: a choice has 1 to 1000 values, this one 0
        x.yaml:5:27: tie.somewhere.choice: a choice has 1 to 1000 values, this one 0
        x.yaml:6:22: hyperparameters.a: no tie has the name "somewere"; did you mean "$somewhere"?
        x.yaml:6:22: hyperparameters.a: no tie has the name "nothere"; known here: `$depth`, `$width`
        x.yaml:5:22: hyperparameters.a: no tie has the name "nothere"
        x.yaml:5:43: hyperparameters.b.range: a range has two ends, as [1, 3]
        "#
    );
}

#[test]
fn a_name_where_every_candidate_has_one_value_is_told_to_be_in_the_wrong_place() {
    let usual = "name: x\ndataset: {format: idx, path: x, validation: 1}\nobjectives: [{maximize: accuracy}]\nbudget: {trials: 1}\ntraining: {epochs: 1}\n";
    let all = [
        "{cell: {nodes: $k, edge: [relu]}}",
        "{cell: {nodes: 4, choose: $k, edge: [relu]}}",
        "{cell: {nodes: 4, output: $k, edge: [relu]}}",
        "{cell: {nodes: 4, choose: 2, distinct: $k, edge: [relu]}}",
        "{inputs: {of: [previous], choose: $k}}",
        "{repeat: {times: 2, shared: $k, block: [relu]}}",
        "{use: unit, shared: $k}",
        "{use: $k}",
        "{from: $k}",
        "{choice: {a: [], b: [relu]}, weights: {a: $k}}",
        "{conv: {kernel: {choice: [1, $k]}}}",
        "{conv: {kernel: {range: [1, $k]}}}",
        "{conv: {kernel: {choice: [1, 3], weights: [1, $k]}}}",
    ];
    let refused = all.map(|block| {
        let text = format!(
            "{usual}tie: {{k: 3}}\nblocks: {{unit: [relu]}}\nnetwork: [{{conv: {{kernel: $k}}}}, {block}, {{use: unit}}, global_avg_pool, {{linear: {{features: classes}}}}]\n"
        );
        read(&text, "x.yaml").expect_err(block).to_string()
    });
    insta::assert_snapshot!(refused.join("\n"), @r#"
        x.yaml:8:48: network[1].cell.nodes: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        x.yaml:8:59: network[1].cell.choose: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        x.yaml:8:59: network[1].cell.output: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        x.yaml:8:72: network[1].cell.distinct: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        x.yaml:8:67: network[1].inputs.choose: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        x.yaml:8:61: network[1].repeat.shared: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        x.yaml:8:53: network[1].shared: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        x.yaml:8:39: network[1].use: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        x.yaml:8:40: network[1].from: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        x.yaml:8:75: network[1].weights.a: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        x.yaml:8:62: network[1].conv.kernel.choice[1]: a name cannot stand inside a choice; write the value itself, or put the whole decision under `tie` and its name in its place
        x.yaml:8:61: network[1].conv.kernel.range[1]: a name cannot stand inside a range; write the value itself, or put the whole decision under `tie` and its name in its place
        x.yaml:8:79: network[1].conv.kernel.weights[1]: `$k` cannot stand here, where every candidate has the same value: what a name stands for may differ between them; write the value itself
        "#);
}
