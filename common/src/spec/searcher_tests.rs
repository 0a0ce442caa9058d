//! Searchers in a spec: what their settings default to, and what is refused.

use super::{SearcherSpec, read};

fn with(searcher: &str) -> String {
    format!(
        "name: s\nhyperparameters: {{a: {{choice: [1, 2]}}, rate: {{range: [0.0, 1.0]}}, width: {{range: [1, 900]}}}}\n\
         evaluator: mine\nsearcher: {searcher}\nobjectives: [{{maximize: score}}]\nbudget: {{trials: 9}}\n"
    )
}

fn searcher(text: &str) -> SearcherSpec {
    read(&with(text), "s.yaml")
        .unwrap_or_else(|errors| panic!("{errors}"))
        .searcher
}

fn refused(text: &str) -> String {
    read(&with(text), "s.yaml").unwrap_err().to_string()
}

#[test]
fn a_searchers_word_alone_gives_its_defaults() {
    assert_eq!(searcher("random"), SearcherSpec::Random {});
    assert_eq!(searcher("grid"), SearcherSpec::Grid { points: 5 });
    assert_eq!(searcher("local-search"), SearcherSpec::LocalSearch {});
    assert_eq!(searcher("evolution"), SearcherSpec::default());
    let tpe = SearcherSpec::Tpe {
        gamma: 0.1,
        candidates: 24,
        start: 10,
    };
    assert_eq!(searcher("tpe"), tpe);
    assert_eq!(searcher("{tpe: {candidates: 24}}"), tpe);
    for word in [
        "random",
        "grid",
        "local-search",
        "evolution",
        "tpe",
        "reinforce",
        "ppo",
        "bayesian",
    ] {
        assert_eq!(searcher(word).word(), word);
    }
}

#[test]
fn a_grid_that_is_too_large_is_refused_with_its_size() {
    assert!(matches!(
        searcher("{grid: {points: 99}}"),
        SearcherSpec::Grid { points: 99 }
    ));
    let text =
        with("{grid: {points: 100}}").replace("a: {choice: [1, 2]}", "a: {choice: [1, 2, 3]}");
    let errors = read(&text, "s.yaml").unwrap_err().to_string();
    assert!(errors.contains("s.yaml:4:11: searcher: the grid with 100 points for each range has more than 20000 candidates"), "{errors}");
    assert!(
        errors.contains("1 decisions are ranges with any number of values"),
        "{errors}"
    );
}

#[test]
fn evolution_that_could_change_nothing_is_refused() {
    let errors = refused("{evolution: {mutate_choices: 0, mutate_ranges: 0}}");
    assert!(errors.contains("nothing would ever be changed"), "{errors}");
    assert!(refused("{tpe: {gamma: 1.5}}").contains("too large"));
}

/// Evolution as the journals of older versions have it.
#[test]
fn a_search_created_before_mutation_had_rates_is_read() {
    let json = r#"{"evolution": {"population": 9, "tournament": 3, "crossover": 0.5}}"#;
    let read: SearcherSpec = serde_json::from_str(json).unwrap();
    let SearcherSpec::Evolution {
        mutate_choices,
        mutate_ranges,
        ..
    } = read
    else {
        panic!("{read:?}");
    };
    assert_eq!((mutate_choices, mutate_ranges), (1.0, 1.0));
}
