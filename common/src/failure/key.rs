//! What makes two failures the same one: a line of text without what differs from run to run.

/// The longest key: what says the same thing differs earlier, and keys are kept.
const MAX_KEY: usize = 512;
/// Stands for what was taken out.
const MARK: char = '#';
/// A word of at least so many hexadecimal digits, one of them a numeral, is an id: `added` is a word,
/// `1f3a` an id.
const LEAST_HEX: usize = 4;
/// Letters and numerals take turns more often than in `conv2d` only in an id of another base.
const LONGEST_NAME_RUNS: usize = 3;
/// Folders in which every name is a temporary one.
const TEMPORARY: [&str; 5] = [
    "/tmp/",
    "/var/tmp/",
    "/dev/shm/",
    "/run/user/",
    "/var/folders/",
];

/// The line with everything volatile replaced by `#`: numbers (times of day, dates and sizes are numbers),
/// hexadecimal words and ids, and the names of temporary files and folders. Progress bars and runs of
/// spaces become one space.
pub(super) fn without_volatile_parts(line: &str) -> String {
    let mut key = String::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        if key.len() >= MAX_KEY {
            break;
        }
        rest = if let Some(after) = after_temporary(rest) {
            // The name after the folder is the volatile part; what it holds is not.
            let name = after.find(is_name_end).unwrap_or(after.len());
            key.push_str(&rest[..rest.len() - after.len()]);
            key.push(MARK);
            &after[name..]
        } else if first.is_alphanumeric() {
            let end = rest
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            push_word(&mut key, word);
            after
        } else {
            push_other(&mut key, first);
            &rest[first.len_utf8()..]
        };
    }
    key.truncate(key.floor_char_boundary(MAX_KEY));
    key.truncate(key.trim_end().len());
    key
}

/// What follows the name of a temporary folder, or the usual beginning of a temporary file's name.
fn after_temporary(text: &str) -> Option<&str> {
    let folder = TEMPORARY
        .iter()
        .find_map(|folder| text.strip_prefix(folder));
    // As Python's and Rust's tempfile name them elsewhere; `/tmpl/` is no such name.
    let file = ["/tmp", "/.tmp"].iter().find_map(|start| {
        let after = text.strip_prefix(start)?;
        let name = &after[..after.find(is_name_end).unwrap_or(after.len())];
        (name.len() >= 6).then_some(after)
    });
    folder.or(file)
}

fn is_name_end(c: char) -> bool {
    !(c.is_alphanumeric() || matches!(c, '_' | '-'))
}

/// A word is kept but for the numbers in it, unless it is an id as a whole.
fn push_word(key: &mut String, word: &str) {
    let numerals = word.chars().filter(|c| c.is_numeric()).count();
    let hex = word
        .strip_prefix("0x")
        .filter(|digits| !digits.is_empty())
        .unwrap_or(word);
    let is_hex = hex.chars().all(|c| c.is_ascii_hexdigit());
    let whole = numerals > 0 && is_hex && (word.len() >= LEAST_HEX || hex.len() < word.len());
    if numerals == 0 {
        key.push_str(word);
    } else if whole || runs(word) > LONGEST_NAME_RUNS {
        push_mark(key);
    } else {
        for c in word.chars() {
            if c.is_numeric() {
                push_mark(key);
            } else {
                key.push(c);
            }
        }
        join_exponent(key);
    }
}

/// How often a word changes from letters to numerals or back, plus one.
fn runs(word: &str) -> usize {
    let kinds: Vec<bool> = word.chars().map(char::is_numeric).collect();
    1 + kinds.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// One mark for a whole number: `1.5`, `1,000` and `07:11:43` have points in them, `-3` a sign.
fn push_mark(key: &mut String) {
    if key.ends_with(MARK) {
        return;
    }
    if key.ends_with(['.', ',', ':', '-', '+']) {
        let joins = key[..key.len() - 1].ends_with(MARK);
        let signs = key.ends_with(['-', '+'])
            && !key[..key.len() - 1].ends_with(|c: char| c.is_alphanumeric());
        if joins || signs {
            key.pop();
        }
    }
    if !key.ends_with(MARK) {
        key.push(MARK);
    }
}

/// `1e` of `1e-05` is the beginning of a number.
fn join_exponent(key: &mut String) {
    if key.ends_with("#e") || key.ends_with("#E") {
        key.pop();
    }
}

/// Everything between words: spaces and the blocks of progress bars become one space.
fn push_other(key: &mut String, c: char) {
    let blank = c.is_whitespace() || matches!(c, '\u{2580}'..='\u{259f}') || c.is_control();
    if !blank {
        key.push(c);
    } else if !key.ends_with(' ') && !key.is_empty() {
        key.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::without_volatile_parts as key;

    #[test]
    fn lines_that_differ_in_what_is_volatile_have_one_key() {
        for (one, other) in [
            ("loss 0.25 at step 12", "loss 13 at step 7"),
            ("rate 1.5e-05 is bad", "rate 0.002 is bad"),
            ("rate 1e-05 is bad", "rate 3 is bad"),
            ("at -3 degrees", "at 12 degrees"),
            (
                "2026-11-24T07:11:43.120Z ERROR no module",
                "2027-01-02T17:01:03.9Z ERROR no module",
            ),
            ("[07:11:43] no module", "[23:59:01] no module"),
            (
                "<Net object at 0x7f3a9c00e010> failed",
                "<Net object at 0x55d1beef> failed",
            ),
            (
                "run 550e8400-e29b-41d4-a716-446655440000 failed",
                "run 6ba7b810-9dad-11d1-80b4-00c04fd430c8 failed",
            ),
            ("run a3f9c2 failed", "run 9bb01d failed"),
            ("job x8k2p9 failed", "job q1w7z3 failed"),
            (
                "cannot open /tmp/tmpab_3x9kq/data.bin",
                "cannot open /tmp/tmpzz_aqwer/data.bin",
            ),
            (
                "cannot open /scratch/me/tmpk3j2h1gf/data.bin",
                "cannot open /scratch/me/tmpqwertyui/data.bin",
            ),
            (
                "cannot open /work/w1/scratch/0ffac1de-5-1/x",
                "cannot open /work/w1/scratch/0ffac1de-12-3/x",
            ),
            (
                " 57%|█████▋    | 12/21 [00:03<00:02,  4.10it/s]",
                "100%|██████████| 21/21 [00:05<00:00,  3.97it/s]",
            ),
            ("Killed process 4711", "Killed process 12"),
            ("took 1,000,000 ns", "took 12 ns"),
        ] {
            assert_eq!(key(one), key(other), "{one:?} and {other:?}");
        }
    }

    #[test]
    fn lines_that_say_different_things_have_different_keys() {
        let lines = [
            "ModuleNotFoundError: No module named 'torch'",
            "ModuleNotFoundError: No module named 'numpy'",
            "FileNotFoundError: 'data/train.csv'",
            "FileNotFoundError: 'data/test.csv'",
            "RuntimeError: shape '[2, 3]' is invalid",
            "ValueError: added facade decade",
            "ValueError: added facade",
            "cannot open /srv/tmpl/base.html",
            "cannot open /srv/tmpl/head.html",
            "cannot open /tmp/tmpabcdefgh/one.bin",
            "cannot open /tmp/tmpabcdefgh/two.bin",
        ];
        let keys: std::collections::BTreeSet<String> = lines.iter().map(|line| key(line)).collect();
        assert_eq!(keys.len(), lines.len(), "{keys:?}");
    }

    #[test]
    fn words_are_kept_and_keys_are_bounded() {
        assert_eq!(key("  conv2d:   a b  "), "conv#d: a b");
        assert_eq!(key(""), "");
        assert!(key(&"é1 ".repeat(10_000)).len() <= super::MAX_KEY);
        assert!(key(&"é".repeat(10_000)).len() <= super::MAX_KEY);
    }
}
