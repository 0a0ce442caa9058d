//! The end of SQLite's write-ahead log, before SQLite reads it. Where the log is damaged SQLite takes what comes
//! before for all there is, and says nothing: of what was acknowledged, a part would be gone in silence. A frame
//! holds a checksum over itself and all before it, so what follows the damage shows that it is damage and no
//! commit that was cut off. The format is SQLite's own (https://www.sqlite.org/fileformat2.html#walformat).

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The first bytes of a log whose checksums are over little-endian words; one more for big-endian ones.
const MAGIC: u32 = 0x377f_0682;
/// Sizes of pages that SQLite knows.
const PAGES: std::ops::RangeInclusive<u32> = 512..=65_536;

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// With a whole commit, or there is none.
    Whole,
    /// With a commit that is not whole, which SQLite leaves out: from this byte on.
    Torn(u64),
    /// A commit is damaged behind which others were made: from this byte on.
    Damaged(u64),
}

/// The log beside a journal's file.
pub(super) fn log_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Bytes of a journal's file and of the log beside it, which SQLite moves into it.
///
/// # Errors
/// The file cannot be looked at.
pub(crate) fn bytes(file: &Path) -> io::Result<u64> {
    let log = std::fs::metadata(log_of(file)).map_or(0, |log| log.len());
    Ok(std::fs::metadata(file)?.len() + log)
}

/// Reads the log beside a journal's file, which nobody may be writing.
///
/// # Errors
/// It cannot be read.
pub(super) fn end_of_log(file: &Path) -> io::Result<LogEnd> {
    match File::open(log_of(file)) {
        Ok(log) => scan(&mut BufReader::with_capacity(1 << 20, log)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(LogEnd::Whole),
        Err(error) => Err(error),
    }
}

fn scan(log: &mut impl Read) -> io::Result<LogEnd> {
    let mut header = [0; HEADER];
    match fill(log, &mut header)? {
        0 => return Ok(LogEnd::Whole),
        HEADER => {}
        _ => return Ok(LogEnd::Torn(0)),
    }
    // It is synced before the first frame is written.
    let Some(mut frames) = Frames::new(&header) else {
        return Ok(LogEnd::Damaged(0));
    };
    let mut frame = vec![0; frames.size];
    loop {
        let length = fill(log, &mut frame)?;
        if length == frame.len() {
            frames.next(&frame);
            if let Some(place) = frames.damage {
                return Ok(LogEnd::Damaged(place));
            }
            continue;
        }
        return Ok(frames.end(length));
    }
}

/// Reads until `buffer` is full or nothing is left.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

type Sums = [u32; 2];

/// The frames of a log, as far as they were read.
struct Frames {
    little: bool,
    salts: [u8; 8],
    size: usize,
    /// As the frame before, or the header, has it.
    stored: Sums,
    /// How many frames were read.
    count: u64,
    /// The frames of whole commits.
    committed: u64,
    /// The first frame that is not what was written.
    broken: Option<u64>,
    /// Whether a frame of this log, whole or not, follows the commits.
    begun: bool,
    /// Whether a commit has ended since the broken frame.
    ended: bool,
    /// Where the damage is, once that is certain.
    damage: Option<u64>,
}

impl Frames {
    fn new(header: &[u8; HEADER]) -> Option<Self> {
        let magic = word(header, 0);
        let little = magic == MAGIC;
        if !little && magic != MAGIC + 1 {
            return None;
        }
        let stored = [word(header, 24), word(header, 28)];
        if sums([0, 0], &header[..24], little) != stored {
            return None;
        }
        let page = word(header, 8);
        if !PAGES.contains(&page) || !page.is_power_of_two() {
            return None;
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        Some(Self {
            little,
            salts,
            size: FRAME_HEADER + page as usize,
            stored,
            count: 0,
            committed: 0,
            broken: None,
            begun: false,
            ended: false,
            damage: None,
        })
    }

    fn place(&self, frame: u64) -> u64 {
        HEADER as u64 + frame * self.size as u64
    }

    fn next(&mut self, frame: &[u8]) {
        let number = self.count;
        self.count += 1;
        let computed = sums(self.stored, &frame[..8], self.little);
        let computed = sums(computed, &frame[FRAME_HEADER..], self.little);
        self.stored = [word(frame, 16), word(frame, 20)];
        let is_ours = frame[8..16] == self.salts;
        let is_whole = computed == self.stored;
        let commits = word(frame, 4) != 0;
        match (is_ours, is_whole) {
            // The salts are not summed: a frame of this log whose salts were changed.
            (false, true) if self.broken.is_none() => self.damage = Some(self.place(number)),
            // What an earlier log left in the file: SQLite begins a log anew at its start, and the frames behind
            // follow one another as they did. Or a frame whose checksum follows a damaged one.
            (false, _) => self.broken = self.broken.or(Some(number)),
            (true, false) => {
                self.begun = true;
                self.ended |= commits;
                self.broken = self.broken.or(Some(number));
            }
            (true, true) => match self.broken {
                None if commits => {
                    self.committed = self.count;
                    self.begun = false;
                }
                None => self.begun = true,
                // A commit is synced before the next one is begun.
                Some(broken) if self.ended => self.damage = Some(self.place(broken)),
                Some(_) => {
                    self.begun = true;
                    self.ended |= commits;
                }
            },
        }
    }

    /// The end of the file, with so many bytes of a frame before it.
    fn end(&self, rest: usize) -> LogEnd {
        let cut_off = rest > 0 && self.broken.is_none();
        if self.begun || cut_off {
            LogEnd::Torn(self.place(self.committed))
        } else {
            LogEnd::Whole
        }
    }
}

fn word(bytes: &[u8], place: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[place..place + 4]);
    u32::from_be_bytes(word)
}

/// SQLite's checksum, going on from one.
fn sums([mut first, mut second]: Sums, bytes: &[u8], little: bool) -> Sums {
    for pair in bytes.chunks_exact(8) {
        let [mut a, mut b] = [word(pair, 0), word(pair, 4)];
        if little {
            (a, b) = (a.swap_bytes(), b.swap_bytes());
        }
        first = first.wrapping_add(a).wrapping_add(second);
        second = second.wrapping_add(b).wrapping_add(first);
    }
    [first, second]
}
