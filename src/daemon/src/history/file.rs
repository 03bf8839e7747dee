//! The file of the history, `history.log`: lines are appended, and now and then the newest are written anew.
//!
//! Whatever is found in it, the entries that are whole are kept. What a power cut left of the last line is dropped; any
//! other damage is put aside for a person. A new file is written beside the old one, fsynced and renamed over it. This
//! module waits for the root disk, so it runs on a thread of its own.

use super::line::Entry;
use mirrorkeeper_core::time::Wall;
use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the file.
const NAME: &str = "history.log";

/// Entries that are kept (contract).
pub const MOST: usize = 10_000;

/// How long an entry is shown, in microseconds: 90 days (contract). Shown, not kept: a clock that jumps ahead for a moment
/// must not wipe anything.
pub const AGE: u64 = 90 * 24 * 3600 * 1_000_000;

/// Written anew when it has this many entries more than are kept, so that not every entry costs a new file.
const SLACK: usize = MOST / 10;

/// Written anew when longer than this. Entries have some 300 bytes; this is for ones that tell a tool's life story.
const MOST_BYTES: u64 = 8 << 20;

/// The open file.
pub struct Book {
    dir: PathBuf,
    file: File,
    entries: usize,
    bytes: u64,
}

/// What was wrong with a file, for the journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Lines that are no entries.
    pub lines: usize,
    /// Where they were put.
    pub aside: PathBuf,
}

impl Book {
    /// Opens or makes the file in `dir`. What is damaged is put aside under a name with the seconds of `now`.
    ///
    /// # Errors
    /// When it cannot be read, mended or opened for writing.
    pub fn open(dir: &Path, now: Wall) -> io::Result<(Self, Option<Damage>)> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let text = read(&dir.join(NAME))?;
        let (good, bad) = sort(&text);
        let damage = match bad.damaged.is_empty() {
            true => None,
            false => {
                let aside = dir.join(format!("{NAME}.damaged-{}", now.0 / 1_000_000));
                append(&aside)?.write_all(&bad.damaged.concat())?;
                Some(Damage { lines: bad.damaged.len(), aside })
            }
        };
        let keep = newest(&good);
        if damage.is_some() || bad.torn || keep.len() < good.len() {
            replace(dir, keep)?;
        }
        let (entries, bytes) = (keep.len(), keep.iter().map(|line| line.len() as u64).sum());
        Ok((Self { dir: dir.to_owned(), file: append(&dir.join(NAME))?, entries, bytes }, damage))
    }

    /// Puts entries on disk, in order. Now and then that shows damage.
    ///
    /// # Errors
    /// When not all of them are there now. The file may end in half a line then, and has to be opened anew.
    pub fn append(&mut self, entries: &[Entry], now: Wall) -> io::Result<Option<Damage>> {
        if entries.is_empty() {
            return Ok(None);
        }
        let lines: String = entries.iter().map(Entry::to_line).collect();
        self.file.write_all(lines.as_bytes())?;
        self.file.sync_data()?;
        self.entries += entries.len();
        self.bytes += lines.len() as u64;
        if self.entries <= MOST + SLACK && self.bytes <= MOST_BYTES {
            return Ok(None);
        }
        let (book, damage) = Self::open(&self.dir, now)?;
        *self = book;
        Ok(damage)
    }
}

/// The newest `limit` entries of the last 90 days, at `since` or later, oldest first.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn select(dir: &Path, now: Wall, since: u64, limit: usize) -> io::Result<Vec<Entry>> {
    let since = since.max(now.0.saturating_sub(AGE));
    let mut found = VecDeque::new();
    let file = match File::open(dir.join(NAME)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    for line in BufReader::new(file.take(2 * MOST_BYTES)).split(b'\n') {
        let Some(entry) = Entry::from_line(&line?).filter(|entry| entry.at >= since) else { continue };
        if found.len() == limit.min(MOST) {
            found.pop_front();
        }
        found.push_back(entry);
    }
    Ok(found.into())
}

/// Lines that are no entries.
#[derive(Default)]
struct Bad<'t> {
    /// Ended lines.
    damaged: Vec<&'t [u8]>,
    /// The last line has no end: it was being written.
    torn: bool,
}

/// All lines with their newlines, by whether they are entries.
fn sort(text: &[u8]) -> (Vec<&[u8]>, Bad<'_>) {
    let (mut good, mut bad) = (Vec::new(), Bad::default());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(entry) if Entry::from_line(entry).is_some() => good.push(line),
            Some(_) => bad.damaged.push(line),
            None => bad.torn = true,
        }
    }
    (good, bad)
}

/// The newest lines that fit; half of the bytes, so that the next new file is not due at once.
fn newest<'l, 't>(lines: &'l [&'t [u8]]) -> &'l [&'t [u8]] {
    let lines = &lines[lines.len().saturating_sub(MOST)..];
    let mut room = MOST_BYTES / 2;
    let fits = |line: &&&[u8]| {
        let fits = line.len() as u64 <= room;
        room = room.saturating_sub(line.len() as u64);
        fits
    };
    &lines[lines.len() - lines.iter().rev().take_while(fits).count()..]
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => drop(opened?.take(2 * MOST_BYTES).read_to_end(&mut text)?),
    }
    Ok(text)
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn replace(dir: &Path, lines: &[&[u8]]) -> io::Result<()> {
    let (path, new) = (dir.join(NAME), dir.join(format!("{NAME}.new")));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&lines.concat())?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
