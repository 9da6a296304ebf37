//! The chunks of one service's log, over all rotated files, for readers.
//!
//! The pump may write and rotate meanwhile: what is seen is the log at the instant of [`Chunks::open`], or up to a [`Seam`].

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::Stream;
use super::index::{self, ENTRY, Entry, RunId};
use super::journal::numbered;
use super::place::{LogPlace, Tail};
use super::seam::Seam;

/// Entries that are read from an index at once.
const WINDOW: u64 = 256;
/// Bytes of a log that are read at once.
pub const PIECE: u64 = 64 << 10;

/// Bytes of one run and stream that lie together in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    file: usize,
    offset: u64,
    pub length: u64,
    pub time_ns: i64,
    pub run: RunId,
    pub stream: Stream,
}

/// Open files, from the oldest to the current one.
#[derive(Debug, Default)]
pub struct Chunks {
    files: Vec<LogFile>,
    /// (file, first place, entries) of the window that was read last.
    window: (usize, u64, Vec<Option<Entry>>),
}

#[derive(Debug)]
struct LogFile {
    log: File,
    index: Option<File>,
    length: u64,
    entries: u64,
    /// Bytes behind the index: taken just now, or by a pump that was killed.
    rest: Option<Chunk>,
}

impl LogFile {
    fn count(&self) -> u64 {
        self.entries + u64::from(self.rest.is_some())
    }
}

impl Chunks {
    /// A log that does not exist has no chunks.
    pub fn open(log: &LogPlace, seam: Option<&Seam>) -> io::Result<Chunks> {
        let mut files = match log {
            LogPlace::Files(path) => open_all(path)?,
            LogPlace::Memory(tail) => hold_all(tail)?,
        };
        if let Some(seam) = seam {
            cut(&mut files, seam)?;
        }
        let files: Vec<_> = files.into_iter().map(|(_, _, file)| file).collect();
        let mut chunks = Chunks {
            files,
            window: (0, 0, Vec::new()),
        };
        for file in 0..chunks.files.len() {
            chunks.find_rest(file)?;
        }
        Ok(chunks)
    }

    pub fn count(&self) -> u64 {
        self.files.iter().map(LogFile::count).sum()
    }

    /// The chunk at this place; `None` for an entry that can't be read as one.
    pub fn get(&mut self, mut at: u64) -> io::Result<Option<Chunk>> {
        for file in 0..self.files.len() {
            let count = self.files[file].count();
            if at < count {
                return self.get_in(file, at);
            }
            at -= count;
        }
        Ok(None)
    }

    /// Reads bytes of a chunk, from `skip` on, as many as fit.
    pub fn read(&self, chunk: &Chunk, skip: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        let length = (chunk.length - skip).min(PIECE);
        buffer.resize(length as usize, 0);
        self.files[chunk.file].log.read_exact_at(buffer, chunk.offset + skip)
    }

    pub fn ends_a_line(&self, chunk: &Chunk) -> io::Result<bool> {
        let mut last = Vec::new();
        self.read(chunk, chunk.length - 1, &mut last)?;
        Ok(last == b"\n")
    }

    fn get_in(&mut self, file: usize, at: u64) -> io::Result<Option<Chunk>> {
        let log = &self.files[file];
        if at >= log.entries {
            return Ok(log.rest);
        }
        let length = log.length;
        let entry = self
            .entry(file, at)?
            .filter(|entry| entry.offset < length && entry.length > 0);
        Ok(entry.map(|entry| Chunk {
            file,
            offset: entry.offset,
            length: entry.end().min(length) - entry.offset,
            time_ns: entry.time_ns,
            run: entry.run,
            stream: entry.stream,
        }))
    }

    fn entry(&mut self, file: usize, at: u64) -> io::Result<Option<Entry>> {
        let first = at - at % WINDOW;
        if self.window.0 != file || self.window.1 != first || self.window.2.is_empty() {
            let Some(index) = &self.files[file].index else {
                return Ok(None);
            };
            let count = (self.files[file].entries - first).min(WINDOW) as usize;
            let mut bytes = vec![0; count * ENTRY];
            index.read_exact_at(&mut bytes, first * ENTRY as u64)?;
            let (entries, _) = bytes.as_chunks::<ENTRY>();
            self.window = (file, first, entries.iter().map(Entry::decode).collect());
        }
        Ok(self.window.2.get((at - first) as usize).copied().flatten())
    }

    /// Drops entries behind the end of the log, and makes a chunk of bytes behind the last entry.
    fn find_rest(&mut self, file: usize) -> io::Result<()> {
        let mut last = None;
        while self.files[file].entries > 0 && last.is_none() {
            last = self.get_in(file, self.files[file].entries - 1)?;
            if last.is_none() {
                self.files[file].entries -= 1;
            }
        }
        let before = match (last, file.checked_sub(1)) {
            (None, Some(older)) => self.get_in(older, self.files[older].count().saturating_sub(1))?,
            _ => last,
        };
        let log = &mut self.files[file];
        let offset = last.map_or(0, |last| last.offset + last.length);
        if offset < log.length {
            let metadata = log.log.metadata()?;
            log.rest = Some(Chunk {
                file,
                offset,
                length: log.length - offset,
                time_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
                run: before.map_or(RunId::default(), |before| before.run),
                stream: before.map_or(Stream::Out, |before| before.stream),
            });
        }
        Ok(())
    }
}

/// With number and inode of each, from old to new.
type Numbered = Vec<(u32, u64, LogFile)>;

fn open_all(log: &Path) -> io::Result<Numbered> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    let mut number = 0;
    // From new to old: a rotation meanwhile can show a file twice, but hide none.
    let mut missing = false;
    loop {
        let Some((file, inode)) = open_pair(log, number)? else {
            // One is missing while they are shifted, and stays so if the pump is killed there.
            if std::mem::replace(&mut missing, true) {
                break;
            }
            number += 1;
            continue;
        };
        if seen.insert(inode) {
            files.push((number, inode, file));
        }
        number += 1;
    }
    files.reverse();
    Ok(files)
}

fn hold_all(tail: &Tail) -> io::Result<Numbered> {
    let parts = tail.parts()?.into_iter().rev().zip(0..);
    let mut files = parts
        .map(|(part, number)| {
            let metadata = part.log.metadata()?;
            let file = LogFile {
                length: metadata.len(),
                entries: part.index.metadata()?.len() / ENTRY as u64,
                log: part.log,
                index: Some(part.index),
                rest: None,
            };
            Ok((number, metadata.ino(), file))
        })
        .collect::<io::Result<Numbered>>()?;
    files.reverse();
    Ok(files)
}

/// Leaves out what came after the seam.
fn cut(files: &mut Numbered, seam: &Seam) -> io::Result<()> {
    let Some((last, length)) = &seam.end else {
        // There was no current file: one that is there now is newer.
        files.retain(|(number, ..)| *number > 0);
        return Ok(());
    };
    let inode = last.metadata()?.ino();
    let place = files.iter().position(|(_, other, _)| *other == inode);
    // Not there: everything from before was rotated away meanwhile.
    files.truncate(place.map_or(0, |place| place + 1));
    if let Some((.., file)) = files.last_mut() {
        // Shorter: it was begun again (`max_files = 1`), and holds only what is newer.
        file.length = if file.length < *length { 0 } else { *length };
    }
    Ok(())
}

/// A log and its own index, even if both are renamed while they are opened, or a kill came between their renames.
fn open_pair(log: &Path, number: u32) -> io::Result<Option<(LogFile, u64)>> {
    let (path, next) = (numbered(log, number), numbered(log, number + 1));
    loop {
        let Some(log) = open_if_there(&path)? else {
            return Ok(None);
        };
        let metadata = log.metadata()?;
        let index = match open_if_there(&index::path_of(&path))? {
            // It goes before its log.
            None if open_if_there(&next)?.is_none() => open_if_there(&index::path_of(&next))?,
            found => found,
        };
        let still_there = fs::symlink_metadata(&path).is_ok_and(|now| now.ino() == metadata.ino());
        if !still_there {
            continue;
        }
        let entries = match &index {
            Some(index) => index.metadata()?.len() / ENTRY as u64,
            None => 0,
        };
        let file = LogFile {
            log,
            index,
            length: metadata.len(),
            entries,
            rest: None,
        };
        return Ok(Some((file, metadata.ino())));
    }
}

pub(super) fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}
