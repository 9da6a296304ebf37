//! One log file that is being written: its bytes, its index and its rotation.
//!
//! Law: bytes come in only by splice(2), at an offset that is tracked here, so that the kernel moves them from the FIFO
//! to the file in one step: whenever the pump is killed, each byte is in exactly one of the two. The length of the file is
//! the truth; everything else is derived from it when the file is opened.
//!
//! Rotation shifts `NAME.log` to `NAME.log.1`, that to `NAME.log.2` and so on, each index before its log, from the oldest
//! to the newest. It fills the first free number, so a rotation that was cut short by a kill is completed by the
//! next one without moving or dropping anything twice.
//!
//! In memory it is the same, but that a full file is not renamed: another one is begun, and the oldest is forgotten.
//!
//! Someone else's rotation: a rename is safe (logrotate's default; runner writes to the renamed file until it opens
//! the path anew: at the next rotation, the next run, or SIGHUP; see [`Journal::reopen`]). Do not use `copytruncate`: it loses what is
//! written between its copy and its truncation.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{SpliceFFlags, splice};

use super::index::{self, Entry, Index, Source};
use super::place::LogPlace;
use crate::fault::point;
use crate::spec::LogTarget;
use crate::sys::files::is_deleted;

/// A file this near its size limit is rotated as soon as a chunk ends with a line, so that few lines are cut in two.
const NEAR: u64 = 64 << 10;
/// So far above a log is its project: `.runner/logs/NAME.log`.
const DEPTH: usize = 3;
/// Of what is kept in memory this part is forgotten at once.
const MEMORY_PARTS: u64 = 2;

#[derive(Debug)]
pub struct Journal {
    place: LogPlace,
    file: File,
    /// Where the next byte goes.
    offset: u64,
    /// Opened with the first chunk: a service that prints nothing costs one file.
    index: Option<Index>,
    max_size: u64,
    max_files: u32,
    /// The next chunk goes to a new file although this one is not full.
    turn_page: bool,
}

impl Journal {
    /// Opens or creates the log (0600, its folder 0700). A symbolic link, a folder, a FIFO and a device are refused.
    pub fn open(place: &LogPlace, target: &LogTarget) -> io::Result<Journal> {
        let file = match place {
            LogPlace::Files(path) => open_regular(path)?,
            LogPlace::Memory(tail) => tail.newest()?.log,
        };
        let mut journal = Journal {
            place: place.clone(),
            offset: file.metadata()?.len(),
            file,
            index: None,
            max_size: 1,
            max_files: 1,
            turn_page: false,
        };
        journal.adjust(target);
        Ok(journal)
    }

    pub fn place(&self) -> &LogPlace {
        &self.place
    }

    /// A live edit of the limits; holds from the next chunk on.
    pub fn adjust(&mut self, target: &LogTarget) {
        (self.max_size, self.max_files) = match target {
            LogTarget::Off | LogTarget::Inherited => return,
            LogTarget::File(log) => (log.max_size.max(1), log.max_files.max(1)),
            LogTarget::Memory(log) => ((log.max_size / MEMORY_PARTS).max(1), MEMORY_PARTS as u32),
        };
    }

    /// Goes on in the file that has the path now, if that is another one.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let LogPlace::Files(path) = self.place.clone()
            && !self.is_at_its_path()?
        {
            self.start_file(&path)?;
        }
        Ok(())
    }

    /// The next chunk goes to a new file.
    pub fn is_full(&self) -> bool {
        self.offset >= self.max_size || self.turn_page || self.index_is_full()
    }

    /// A service that prints a few bytes now and then would have an index much larger than its log.
    fn index_is_full(&self) -> bool {
        let in_memory = matches!(self.place, LogPlace::Memory(_));
        in_memory && self.index.as_ref().is_some_and(|index| index.length() >= self.max_size)
    }

    /// Somebody has deleted the file; what comes would be nobody's to read. Where the project itself was deleted, it is not made again
    /// for the sake of its logs.
    pub fn is_deleted(&self) -> bool {
        let LogPlace::Files(path) = &self.place else {
            return false;
        };
        is_deleted(&self.file) && path.ancestors().nth(DEPTH).is_none_or(Path::is_dir)
    }

    /// How many bytes the next chunk, which is from `next`, may have: at least 1. Rotates when the file is full.
    pub fn room(&mut self, next: Source) -> io::Result<u64> {
        if self.is_full() {
            self.rotate(next)?;
        }
        Ok(self.max_size.saturating_sub(self.offset).max(1))
    }

    /// Moves at most `length` bytes (not more than [`Journal::room`]) from the pipe into the file. 0: every writer is gone.
    ///
    /// Errors: `WouldBlock` when the pipe is empty; anything else means that the file or its index can't be written now,
    /// and nothing that is still in the pipe was lost.
    pub fn take(&mut self, pipe: impl AsFd, length: usize, source: Source, time_ns: i64) -> io::Result<usize> {
        self.ready_index(source)?.flush()?;
        let mut at = self.offset as libc::loff_t;
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let moved = splice(pipe, None, &self.file, Some(&mut at), length, flags)?;
        if moved > 0 {
            point!("logs.spliced");
            let entry = Entry {
                offset: self.offset,
                time_ns,
                run: source.run,
                length: moved as u32,
                stream: source.stream,
            };
            self.offset += moved as u64;
            self.turn_page =
                self.max_size.saturating_sub(self.offset) < NEAR.min(self.max_size / 8) && self.ends_a_line();
            // An entry that can't be written is kept and tried again before the next chunk, which then says why it fails.
            let _ = self.ready_index(source)?.append(entry);
            point!("logs.indexed");
        }
        Ok(moved)
    }

    /// The last `buffer.len()` bytes that were taken, all from the current file.
    pub fn read_back(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, self.offset - buffer.len() as u64)
    }

    /// The file that is written and how many bytes it has; `None` when somebody renamed it.
    pub fn end(&self) -> Option<(File, u64)> {
        let is_ours = self.is_at_its_path().unwrap_or(false);
        let file = is_ours.then(|| self.file.try_clone().ok())?;
        Some((file?, self.offset))
    }

    fn ends_a_line(&self) -> bool {
        let mut last = [0];
        self.read_back(&mut last).is_ok() && last[0] == b'\n'
    }

    fn ready_index(&mut self, next: Source) -> io::Result<&mut Index> {
        let index = match self.index.take() {
            Some(index) => index,
            None => self.open_index(next)?,
        };
        Ok(self.index.insert(index))
    }

    /// Bytes without an entry, from the time of a kill, are said to come from where those before them came from, be it in
    /// the file before, else from where the next ones will.
    fn open_index(&self, next: Source) -> io::Result<Index> {
        let (index, before) = match &self.place {
            LogPlace::Files(path) => self.index_files(path)?,
            LogPlace::Memory(tail) => (
                tail.newest()?.index,
                tail.before().and_then(|part| index::last_in(&part.index)),
            ),
        };
        let metadata = self.file.metadata()?;
        let modified_ns = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
        let before = before.map(|last| Source {
            run: last.run,
            stream: last.stream,
        });
        Index::open(index, self.offset, modified_ns, before.unwrap_or(next))
    }

    /// The index, and the last entry of the one before it.
    fn index_files(&self, log: &Path) -> io::Result<(File, Option<Entry>)> {
        let path = index::path_of(log);
        let first = numbered(log, 1);
        // A rotation was cut short between the rename of the index and that of the log.
        if self.offset > 0 && !exists(&path)? && !exists(&first)? {
            rename_if_there(&index::path_of(&first), &path)?;
        }
        Ok((open_regular(&path)?, index::last_of(&index::path_of(&first))))
    }

    fn rotate(&mut self, next: Source) -> io::Result<()> {
        self.ready_index(next)?.flush()?;
        point!("logs.rotation-begun");
        match self.place.clone() {
            LogPlace::Memory(tail) => self.start(tail.begin(self.max_files as usize)?.log),
            LogPlace::Files(path) if self.max_files == 1 => self.empty(&path),
            LogPlace::Files(path) => {
                if self.is_at_its_path()? {
                    self.shift(&path)?;
                }
                self.start_file(&path)
            }
        }
    }

    /// With one file only, rotation means to begin it again.
    fn empty(&mut self, log: &Path) -> io::Result<()> {
        remove_beyond(log, 1)?;
        self.index = None;
        self.file.set_len(0)?;
        point!("logs.emptied");
        self.offset = 0;
        self.turn_page = false;
        Ok(())
    }

    /// Renames this file to number 1 and the older ones each to the next, the first free number being the end.
    fn shift(&self, log: &Path) -> io::Result<()> {
        let last = self.max_files - 1;
        remove_beyond(log, self.max_files)?;
        let mut free = 1;
        while free <= last && exists(&numbered(log, free))? {
            free += 1;
        }
        if free > last {
            remove_pair(&numbered(log, last))?;
            point!("logs.oldest-removed");
            free = last;
        }
        for to in (1..=free).rev() {
            let (from, to) = (numbered(log, to - 1), numbered(log, to));
            rename_if_there(&index::path_of(&from), &index::path_of(&to))?;
            point!("logs.index-renamed");
            fs::rename(&from, &to)?;
            point!("logs.log-renamed");
        }
        Ok(())
    }

    fn start_file(&mut self, log: &Path) -> io::Result<()> {
        self.start(open_regular(log)?)
    }

    fn start(&mut self, file: File) -> io::Result<()> {
        self.offset = file.metadata()?.len();
        self.file = file;
        self.index = None;
        self.turn_page = false;
        point!("logs.file-begun");
        Ok(())
    }

    fn is_at_its_path(&self) -> io::Result<bool> {
        let LogPlace::Files(path) = &self.place else {
            return Ok(true);
        };
        let ours = self.file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// `NAME.log` for 0, else `NAME.log.NUMBER`.
pub fn numbered(log: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return log.to_owned();
    }
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn accept_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    accept_missing(fs::rename(from, to))
}

/// The index first: a log without its index is still a log.
fn remove_pair(log: &Path) -> io::Result<()> {
    accept_missing(fs::remove_file(index::path_of(log)))?;
    point!("logs.index-removed");
    accept_missing(fs::remove_file(log))
}

/// After `max_files` was lowered.
fn remove_beyond(log: &Path, first: u32) -> io::Result<()> {
    let mut number = first;
    while exists(&numbered(log, number))? {
        remove_pair(&numbered(log, number))?;
        number += 1;
    }
    Ok(())
}

/// Opens or creates a regular file without following a link and without waiting for a FIFO's reader.
fn open_regular(path: &Path) -> io::Result<File> {
    let refused = |why: &str| {
        let message = format!("{}: {why}", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, message)
    };
    // Opening a device may already do something, so what can be known before is asked before.
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file() && !there.is_symlink()) {
        return Err(refused("is not a regular file"));
    }
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
    };
    let result = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(folder) => fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .and_then(|()| open()),
            None => Err(error),
        },
        other => other,
    };
    let file = result.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => refused("is a symbolic link, and logs are not written through links"),
        Some(libc::EISDIR | libc::ENXIO) => refused("is not a regular file"),
        _ => io::Error::new(error.kind(), format!("{}: {error}", path.display())),
    })?;
    if !file.metadata()?.is_file() {
        return Err(refused("is not a regular file"));
    }
    Ok(file)
}
