//! The places in a source that log, found among its tokens: also within other macros, whose syntax is their own.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::LitStr;

use super::Site;

const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// Every place of a source that logs, but for those in its tests.
///
/// # Errors
/// The source is no Rust, or a place is written in another way than a catalogue can be made from: with text that
/// is put together, or with a field `message`, which is what the text of a line is called.
pub fn sites_of(source: &str) -> Result<Vec<Site>> {
    let tokens: TokenStream = source.parse().map_err(|error| anyhow!("{error}"))?;
    let mut found = Vec::new();
    find(tokens, &mut found);
    let found = found.into_iter();
    found.map(|(level, tokens)| site(level, tokens)).collect()
}

/// Looks for `tracing::LEVEL!(…)`, at any depth.
fn find(tokens: TokenStream, found: &mut Vec<(&'static str, TokenStream)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut rest = tokens.as_slice();
    while let Some(first) = rest.first() {
        if let Some(after) = tests(rest) {
            rest = after;
            continue;
        }
        if let Some(call) = call(rest) {
            found.push(call);
        }
        if let TokenTree::Group(group) = first {
            find(group.stream(), found);
        }
        rest = &rest[1..];
    }
}

/// The level and the arguments of a call that begins here.
fn call(tokens: &[TokenTree]) -> Option<(&'static str, TokenStream)> {
    let [
        TokenTree::Ident(first),
        colon,
        other,
        TokenTree::Ident(level),
        bang,
        TokenTree::Group(group),
        ..,
    ] = tokens
    else {
        return None;
    };
    let is =
        |token: &TokenTree, mark: char| matches!(token, TokenTree::Punct(p) if p.as_char() == mark);
    let path = first == "tracing" && is(colon, ':') && is(other, ':') && is(bang, '!');
    let level = LEVELS.iter().find(|known| level == *known)?;
    path.then(|| (*level, group.stream()))
}

/// What comes behind a module of tests that begins here.
fn tests(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    let [
        TokenTree::Punct(hash),
        TokenTree::Group(attribute),
        TokenTree::Ident(word),
        TokenTree::Ident(_),
        TokenTree::Group(body),
        rest @ ..,
    ] = tokens
    else {
        return None;
    };
    let test =
        hash.as_char() == '#' && attribute.stream().to_string().replace(' ', "") == "cfg(test)";
    (test && word == "mod" && body.delimiter() == Delimiter::Brace).then_some(rest)
}

fn site(level: &str, tokens: TokenStream) -> Result<Site> {
    let shown = tokens.to_string();
    let mut site = Site {
        level: level.to_uppercase(),
        target: None,
        message: String::new(),
        fields: BTreeSet::new(),
    };
    for argument in arguments(tokens) {
        let argument = argument.as_slice();
        match argument {
            [TokenTree::Literal(literal)] => {
                let text: LitStr = syn::parse_str(&literal.to_string())?;
                // As the compiler has it: a line that goes on with a backslash has no break.
                site.message = text.value();
            }
            [
                TokenTree::Ident(name),
                TokenTree::Punct(colon),
                TokenTree::Literal(target),
            ] if name == "target" && colon.as_char() == ':' => {
                let text: LitStr = syn::parse_str(&target.to_string())?;
                site.target = Some(text.value());
            }
            _ => {
                let field = field(argument).with_context(|| shown.clone())?;
                ensure!(field != "message", "a field `message`: {shown}");
                site.fields.insert(field);
            }
        }
    }
    let free = site.target.is_some();
    ensure!(!site.message.is_empty(), "no text: {shown}");
    ensure!(
        free || !site.message.contains('{'),
        "its text is put together; what changes is for a field: {shown}"
    );
    Ok(site)
}

/// What stands between commas.
fn arguments(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut arguments = vec![Vec::new()];
    for token in tokens {
        match (&token, arguments.last_mut()) {
            (TokenTree::Punct(mark), _) if mark.as_char() == ',' => arguments.push(Vec::new()),
            (_, Some(argument)) => argument.push(token),
            (_, None) => {}
        }
    }
    arguments.retain(|argument| !argument.is_empty());
    arguments
}

/// The name of a field: `name = value`, `name`, `%name`, `?name`, each also with dots.
fn field(argument: &[TokenTree]) -> Result<String> {
    let argument = match argument {
        [TokenTree::Punct(mark), rest @ ..] if "%?".contains(mark.as_char()) => rest,
        whole => whole,
    };
    let mut name = String::new();
    for token in argument {
        match token {
            TokenTree::Ident(part) => name.push_str(&part.to_string()),
            TokenTree::Punct(dot) if dot.as_char() == '.' => name.push('.'),
            TokenTree::Punct(equals) if equals.as_char() == '=' => break,
            _ => bail!("a field of an unknown form"),
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_log_are_found_with_their_fields_and_those_of_tests_are_not() {
        let source = r#"
            fn work(id: u8, job: Job) {
                tracing::info!(search = %id, trial = job.trial.0, ?id, done = f(1, 2), "one \
                    line");
                if id > 0 { tracing::warn!(target: "evaluator", id, "{id}") }
            }
            fn other() { select! { x = y => tracing::debug!("within a macro"), } }
            #[cfg(test)]
            mod tests { fn test() { tracing::info!("not this one") } }
        "#;
        let sites = sites_of(source).unwrap();
        assert_eq!(sites.len(), 3, "{sites:?}");
        assert_eq!(sites[0].message, "one line");
        let fields: Vec<&str> = sites[0].fields.iter().map(String::as_str).collect();
        assert_eq!(fields, ["done", "id", "search", "trial"]);
        assert_eq!(sites[1].target.as_deref(), Some("evaluator"));
    }

    #[test]
    fn a_text_that_is_put_together_and_a_field_called_message_are_refused() {
        let of = |call: &str| sites_of(&format!("fn f() {{ {call} }}")).map(|sites| sites.len());
        assert_eq!(of("tracing::info!(x, \"fine\")").unwrap(), 1);
        assert!(of("tracing::info!(\"value {x}\")").is_err());
        assert!(of("tracing::info!(message = x, \"twice\")").is_err());
        assert!(of("tracing::info!(x)").is_err());
    }
}
