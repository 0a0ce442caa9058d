//! Hyperparameters that hold others: what there is to decide in each case, and what is said of mistakes.

use super::read;
use super::schema_tests::accepted;
use super::tests::{CONDITIONAL, space};
use crate::candidate::Candidate;
use crate::space::Space;

/// A spec of these hyperparameters.
fn spec(hyperparameters: &str) -> String {
    format!(
        "name: x\nevaluator: mine\nobjectives: [{{minimize: loss}}]\nbudget: {{trials: 1}}\nhyperparameters: {hyperparameters}\n"
    )
}

fn shown(candidate: &Candidate) -> String {
    let decisions = candidate.0.iter();
    let all: Vec<_> = decisions
        .map(|(path, value)| format!("{}={value}", path.0.trim_start_matches("hyperparameters.")))
        .collect();
    all.join(" ")
}

#[test]
fn what_belongs_to_an_alternative_exists_only_where_it_is_taken() {
    let space = space(&spec(
        "{opt: {choice: {sgd: {momentum: {choice: [0, 0.9]}, rate: 0.1}, adam: {}}}, more: {optional: {n: {range: [1, 2]}}}}",
    ));
    let all = space.enumerate(100).unwrap();
    assert_eq!(space.size().candidates, Some(all.len() as u128));
    assert_eq!(space.count().decisions, 4);
    insta::assert_snapshot!(all.iter().map(shown).collect::<Vec<_>>().join("\n"), @r#"
        more.optional=false opt=sgd opt.sgd.momentum=0
        more.optional=false opt=sgd opt.sgd.momentum=0.9
        more.optional=false opt=adam
        more.optional=true more.optional.n=1 opt=sgd opt.sgd.momentum=0
        more.optional=true more.optional.n=1 opt=sgd opt.sgd.momentum=0.9
        more.optional=true more.optional.n=1 opt=adam
        more.optional=true more.optional.n=2 opt=sgd opt.sgd.momentum=0
        more.optional=true more.optional.n=2 opt=sgd opt.sgd.momentum=0.9
        more.optional=true more.optional.n=2 opt=adam
        "#);
    let resolved = space.resolve(&all[1]).unwrap();
    insta::assert_snapshot!(serde_json::to_string(&resolved.hyperparameters).unwrap(), @r#"
        {"more.optional":false,"opt":"sgd","opt.sgd.momentum":0.9,"opt.sgd.rate":0.1}
        "#);
}

#[test]
fn two_candidates_are_one_only_with_the_same_alternative() {
    let space = space(&spec("{opt: {choice: {a: {x: 1}, b: {x: 1}, c: {}}}}"));
    let all = space.enumerate(100).unwrap();
    let ids: std::collections::BTreeSet<_> = all
        .iter()
        .map(|candidate| space.build(candidate, None).unwrap().candidate_id)
        .collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_tie_is_decided_only_where_an_active_hyperparameter_uses_it() {
    let text = spec("{opt: {choice: {a: {x: $w}, b: {y: $w, z: $w}, c: {}}}}")
        + "tie: {w: {choice: [1, 2]}}\n";
    let space = space(&text);
    let all = space.enumerate(100).unwrap();
    assert_eq!(space.size().candidates, Some(5));
    insta::assert_snapshot!(all.iter().map(shown).collect::<Vec<_>>().join("\n"), @r#"
        opt=a tie.w=1
        opt=a tie.w=2
        opt=b tie.w=1
        opt=b tie.w=2
        opt=c
        "#);
}

#[test]
fn hyperparameters_of_an_older_journal_are_read() {
    let json = r#"{"a":{"fixed":3},"b":{"decide":{"choice":[1,2]}},"c":{"named":"w"}}"#;
    let old: crate::space::Hyperparameters = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&old).unwrap(), json);
    let space = space(CONDITIONAL);
    let json = serde_json::to_string(&space).unwrap();
    assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
}

/// Mistakes of structure.
const MISTAKES: [&str; 17] = [
    "{opt: {choice: {}}}",
    "{opt: {choice: {a b: {}}}}",
    "{opt: {choice: {a: 3}}}",
    "{opt: {choice: {a: [1, 2]}}}",
    "{opt: {choice: {a: {choice: [1, 2]}, b: {}}}}",
    "{opt: {choice: {a: {rate: {range: [1]}}, b: {}}}}",
    "{opt: {choice: {a: {rate: [1, 2]}, b: {}}}}",
    "{opt: {choice: [none, {sgd: {rate: 1}}]}}",
    "{opt: {choice: {a: {}, b: {}}, weights: [1, 2]}}",
    "{opt: {choice: {a: {}, b: {}}, weights: {a: -1}}}",
    "{opt: {choice: {a: {}, b: {}}, scale: log}}",
    "{opt: {optional: 3}}",
    "{opt: {optional: {rate: 1}, more: 2}}",
    "{opt: {chioce: [1, 2]}}",
    "{opt: {}}",
    "{opt: {inner: {}}}",
    "{opt: {inner: {a: null}}}",
];

#[test]
fn a_mistake_in_hyperparameters_is_told_with_its_place_and_the_schema_refuses_it() {
    let all = MISTAKES.map(|hyperparameters| {
        let text = spec(hyperparameters);
        assert!(!accepted(&text), "the schema takes {text}");
        read(&text, "x.yaml").expect_err(&text).to_string()
    });
    insta::assert_snapshot!(all.join("\n"), @r#"
        x.yaml:5:33: hyperparameters.opt.choice: a choice has 1 to 1000 alternatives, this one 0
        x.yaml:5:34: hyperparameters.opt.choice.a b: "a b" is not a name: 1 to 64 letters, digits, `_` or `-`
        x.yaml:5:37: hyperparameters.opt.choice.a: an alternative holds settings with their names, as {rate: {choice: [1, 2]}, steps: 3}, or nothing: {}
        x.yaml:5:37: hyperparameters.opt.choice.a: an alternative holds settings with their names, as {rate: {choice: [1, 2]}, steps: 3}, or nothing: {}
        x.yaml:5:37: hyperparameters.opt.choice.a: an alternative holds settings with their names, as {rate: {choice: [1, 2]}, steps: 3}, or nothing: {}
        x.yaml:5:52: hyperparameters.opt.choice.a.rate.range: a range has two ends, as [1, 3]
        x.yaml:5:44: hyperparameters.opt.choice.a.rate: one value is expected here, not a list or a map
        x.yaml:5:40: hyperparameters.opt.choice[1]: alternatives with settings of their own stand in a map, by their names, as {choice: {sgd: {momentum: 0.9}, adam: {}}}
        x.yaml:5:58: hyperparameters.opt.weights: a weight for each alternative is expected here, as {wide: 3, none: 1}
        x.yaml:5:62: hyperparameters.opt.weights.a: -1 is too small; it must be more than 0
        x.yaml:5:49: hyperparameters.opt.scale: unknown key; `choice` or `weights` can stand here
        x.yaml:5:35: hyperparameters.opt.optional: what is optional holds settings with their names, as {rate: {choice: [1, 2]}, steps: 3}, or nothing: {}
        x.yaml:5:24: hyperparameters.opt: `optional` stands alone in its map
        x.yaml:5:25: hyperparameters.opt.chioce: a value is expected here, a decision, as {choice: [...]} or {range: [low, high]}, or settings with their names; did you mean "choice"?
        x.yaml:5:24: hyperparameters.opt: 1 to 1000 named entries are expected here, as {width: {choice: [64, 128]}}
        x.yaml:5:32: hyperparameters.opt.inner: 1 to 1000 named entries are expected here, as {width: {choice: [64, 128]}}
        x.yaml:5:36: hyperparameters.opt.inner.a: a value is missing here
        "#);
    // These are of a meaning that no schema knows.
    let all = [
        "{opt: {choice: {a: {}, b: {}}, weights: {c: 1}}}",
        "{opt: {choice: {a: {rate: $nothere}, b: {}}}}",
    ]
    .map(|hyperparameters| {
        read(&spec(hyperparameters), "x.yaml")
            .unwrap_err()
            .to_string()
    });
    insta::assert_snapshot!(all.join("\n"), @r#"
        x.yaml:5:59: hyperparameters.opt.weights.c: this choice has no such alternative; did you mean "a"?
        x.yaml:5:44: hyperparameters.opt.choice.a.rate: no tie has the name "nothere"
        "#);
}
