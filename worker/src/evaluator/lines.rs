//! Lines of a pipe, each of bounded length, without trust in what writes them. May import tokio.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The text; what is not UTF-8 is replaced.
    pub(super) text: String,
    /// Whether the line was longer than the bound, and its rest was thrown away.
    pub(super) cut: bool,
}

/// Splits a pipe at line feeds, and at carriage returns too: progress bars write nothing else for
/// minutes, and no JSON text holds a bare one.
#[derive(Debug)]
pub(super) struct Lines<R> {
    pipe: R,
    max: usize,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(pipe: R, max: usize) -> Self {
        Self { pipe, max }
    }

    /// The next line that is not empty; `None` at the end, also when the pipe breaks.
    pub(super) async fn next(&mut self) -> Option<Line> {
        let mut bytes = Vec::new();
        let mut cut = false;
        loop {
            let Ok(available) = self.pipe.fill_buf().await else {
                return None;
            };
            if available.is_empty() {
                return (!bytes.is_empty()).then(|| line(&bytes, cut));
            }
            let end = available
                .iter()
                .position(|&byte| matches!(byte, b'\n' | b'\r'));
            let piece = &available[..end.unwrap_or(available.len())];
            let room = self.max - bytes.len();
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
            cut |= piece.len() > room;
            let used = piece.len() + usize::from(end.is_some());
            self.pipe.consume(used);
            if end.is_some() && !bytes.is_empty() {
                return Some(line(&bytes, cut));
            }
        }
    }
}

fn line(bytes: &[u8], cut: bool) -> Line {
    Line {
        text: String::from_utf8_lossy(bytes).into_owned(),
        cut,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn lines(bytes: &[u8], max: usize) -> Vec<(String, bool)> {
        // A small buffer, so that lines span several reads.
        let mut lines = Lines::new(BufReader::with_capacity(3, bytes), max);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push((line.text, line.cut));
        }
        all
    }

    #[tokio::test]
    async fn lines_end_at_line_feeds_and_carriage_returns() {
        let all = lines(b"one\r\n\ntwo 10%\rtwo 20%\rlast", 100).await;
        let texts: Vec<&str> = all.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["one", "two 10%", "two 20%", "last"]);
        assert!(all.iter().all(|(_, cut)| !cut));
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let all = lines(b"0123456789\nabcde\nabcdef\n", 5).await;
        let expected = [("01234", true), ("abcde", false), ("abcde", true)];
        assert_eq!(all, expected.map(|(text, cut)| (text.to_owned(), cut)));
    }

    #[tokio::test]
    async fn bytes_that_are_not_text_do_no_harm() {
        let all = lines(b"\xff\xfe\nok\n", 10).await;
        assert_eq!(all[1].0, "ok");
    }
}
