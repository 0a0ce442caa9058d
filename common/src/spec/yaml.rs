//! YAML as a small tree in which everything knows its line and column. Bounded in size and depth;
//! aliases, tags and duplicate keys are refused, so that a document means what it shows.

use std::borrow::Cow;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};

/// The longest spec, in bytes: far more than a person writes.
pub(super) const MAX_TEXT: usize = 1024 * 1024;
/// The deepest nesting of lists and maps: the readers recurse, and the stack is finite.
pub(super) const MAX_DEPTH: usize = 64;

/// The most values, lists, maps and keys of a document: ten times a space of as many decisions as are allowed,
/// and few enough that their tree stays far below 100 MB.
pub(super) const MAX_PARTS: usize = 250_000;

/// A place in a text, line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The text: the spec itself, or a preset.
    pub(super) text: Text,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    /// The beginning of the spec.
    pub(super) const START: Self = Self {
        text: Text::Spec,
        line: 1,
        column: 1,
    };
}

/// Which text a place is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Text {
    /// The spec.
    Spec,
    /// The preset of this index.
    Preset(u8),
}

/// A part of a document.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    pub(super) place: Place,
    pub(super) kind: Kind<'t>,
}

/// What a part is.
#[derive(Clone, Debug)]
pub(super) enum Kind<'t> {
    /// A scalar; `plain` when it is written without quotes, and so may be a number.
    Scalar { text: Cow<'t, str>, plain: bool },
    /// A list.
    List(Vec<Node<'t>>),
    /// A map, in the order of the text.
    Map(Vec<(Key<'t>, Node<'t>)>),
}

/// A key of a map.
#[derive(Clone, Debug)]
pub(super) struct Key<'t> {
    pub(super) text: Cow<'t, str>,
    pub(super) place: Place,
}

/// Why a text is not a document.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) place: Place,
    /// Where in the document, e.g. `network[0].conv`.
    pub(super) path: String,
    pub(super) message: String,
}

impl Trouble {
    /// The same inside a part of a map or list.
    fn within(mut self, step: &str) -> Self {
        let is_key = !self.path.is_empty() && !self.path.starts_with('[');
        self.path.insert_str(0, if is_key { "." } else { "" });
        self.path.insert_str(0, step);
        self
    }
}

impl Node<'_> {
    /// Whether this is nothing: `key:` with no value, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if super::scalar::is_null(text))
    }
}

/// The tree of `text`, whose places are in `from`.
pub(super) fn parse(text: &str, from: Text) -> Result<Node<'_>, Trouble> {
    let start = Place {
        text: from,
        ..Place::START
    };
    if text.len() > MAX_TEXT {
        return trouble(
            start,
            format!(
                "the spec has {} bytes; at most {MAX_TEXT} are read",
                text.len()
            ),
        );
    }
    // A byte order mark is how some editors begin a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut tree = Tree {
        parser: Parser::new_from_str(text),
        from,
        parts: 0,
    };
    loop {
        match tree.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd, _) => return trouble(start, "the spec is empty"),
            (event, place) => {
                let node = tree.node(event, place, 0)?;
                tree.end()?;
                return Ok(node);
            }
        }
    }
}

fn trouble<T>(place: Place, message: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble {
        place,
        path: String::new(),
        message: message.into(),
    })
}

struct Tree<'t> {
    parser: Parser<'t, StrInput<'t>>,
    from: Text,
    parts: usize,
}

impl<'t> Tree<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Place), Trouble> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.place(span.start))),
            Some(Err(error)) => trouble(
                self.place(*error.marker()),
                format!("not YAML: {}", error.info()),
            ),
            None => trouble(Place::START, "the spec ends too early"),
        }
    }

    fn place(&self, marker: Marker) -> Place {
        // A text of at most a million bytes has no more lines and columns than fit.
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place {
            text: self.from,
            line: small(marker.line().max(1)),
            column: small(marker.col() + 1),
        }
    }

    /// After the document: nothing more.
    fn end(&mut self) -> Result<(), Trouble> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentEnd | Event::Nothing, _) => {}
                (_, place) => {
                    return trouble(
                        place,
                        "a second document begins here; a spec is one document",
                    );
                }
            }
        }
    }

    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Node<'t>, Trouble> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return trouble(
                place,
                format!("the spec has more than {MAX_PARTS} values, lists, maps and keys"),
            );
        }
        if depth > MAX_DEPTH {
            return trouble(
                place,
                format!("lists and maps are nested deeper than {MAX_DEPTH}"),
            );
        }
        let kind = match event {
            Event::Alias(_) => {
                return trouble(place, "aliases (*name) are not read; write the part out");
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_extras(place, anchor, tag.is_some())?;
                Kind::Scalar {
                    text,
                    plain: style == ScalarStyle::Plain,
                }
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_extras(place, anchor, tag.is_some())?;
                self.list(depth)?
            }
            Event::MappingStart(anchor, tag) => {
                refuse_extras(place, anchor, tag.is_some())?;
                self.map(depth)?
            }
            _ => return trouble(place, "a value is expected here"),
        };
        Ok(Node { place, kind })
    }

    fn list(&mut self, depth: usize) -> Result<Kind<'t>, Trouble> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                (event, place) => {
                    let item = self.node(event, place, depth + 1);
                    let step = |trouble: Trouble| trouble.within(&format!("[{}]", items.len()));
                    items.push(item.map_err(step)?);
                }
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind<'t>, Trouble> {
        let mut entries: Vec<(Key<'t>, Node<'t>)> = Vec::new();
        // Beside the list, so that a map of many keys is not searched for each of them.
        let mut seen = std::collections::BTreeMap::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Kind::Map(entries));
            }
            let Kind::Scalar { text, .. } = self.node(event, place, depth + 1)?.kind else {
                return trouble(place, "a key is a word, not a list or a map");
            };
            if let Some(line) = seen.insert(text.clone(), place.line) {
                let message = format!(
                    "the key {} is given a second time; the first is in line {line}",
                    super::scalar::shown(&text)
                );
                return trouble(place, message).map_err(|trouble: Trouble| trouble.within(&text));
            }
            let next = self.next().map_err(|trouble| trouble.within(&text));
            let (event, at) = next?;
            let value = self.node(event, at, depth + 1);
            let value = value.map_err(|trouble| trouble.within(&text))?;
            entries.push((Key { text, place }, value));
        }
    }
}

fn refuse_extras(place: Place, anchor: usize, tagged: bool) -> Result<(), Trouble> {
    if anchor != 0 {
        return trouble(
            place,
            "anchors (&name) are not read; write the part out where it is needed",
        );
    }
    if tagged {
        return trouble(place, "tags (!name) are not read; leave the tag out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> Place {
        Place {
            text: Text::Spec,
            line,
            column,
        }
    }

    fn refusal(text: &str) -> String {
        let trouble = parse(text, Text::Spec).unwrap_err();
        format!(
            "{}:{}: {}",
            trouble.place.line, trouble.place.column, trouble.message
        )
    }

    #[test]
    fn every_part_knows_its_place() {
        let root = parse("a: 1\nb:\n  - x\n  - {c: 'y'}\n", Text::Spec).unwrap();
        let Kind::Map(entries) = &root.kind else {
            panic!("{root:?}")
        };
        assert_eq!(entries[1].0.place, at(2, 1));
        let Kind::List(items) = &entries[1].1.kind else {
            panic!("{entries:?}")
        };
        assert_eq!(items[0].place, at(3, 5));
        let Kind::Map(inner) = &items[1].kind else {
            panic!("{items:?}")
        };
        assert_eq!(inner[0].1.place, at(4, 9));
    }

    #[test]
    fn what_makes_a_document_mean_more_than_it_shows_is_refused() {
        let texts = [
            "a: 1\na: 2",
            "a: &x 1",
            "a: *x",
            "a: !!int 1",
            "? [1, 2]\n: 3",
            "a: 1\n---\nb: 2",
            "# only a comment",
            "a: [1, 2",
        ];
        insta::assert_snapshot!(texts.map(refusal).join("\n"), @r#"
        2:1: the key "a" is given a second time; the first is in line 1
        1:4: anchors (&name) are not read; write the part out where it is needed
        1:4: not YAML: while parsing node, found unknown anchor
        1:4: tags (!name) are not read; leave the tag out
        1:3: a key is a word, not a list or a map
        2:1: a second document begins here; a spec is one document
        1:1: the spec is empty
        2:1: not YAML: while parsing a flow sequence, expected ',' or ']'
        "#);
    }

    #[test]
    fn a_bomb_of_brackets_is_refused_early() {
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        assert!(
            parse(&deep, Text::Spec).is_ok(),
            "the last list is at the bound"
        );
        assert!(refusal(&format!("[{deep}]")).contains("nested deeper"));
        // The scanner has a bound of its own, met before the text is read to its end.
        assert!(parse(&"[".repeat(MAX_TEXT), Text::Spec).is_err());
        assert!(refusal(&" ".repeat(MAX_TEXT + 1)).contains("bytes"));
        let many = format!("[{}]", "1,".repeat(MAX_PARTS));
        assert!(refusal(&many).contains("more than 250000 values"));
    }
}
