//! The sidecar of a log file: which bytes came when, from which run, on which stream.
//!
//! `NAME.log.idx` holds one entry of [`ENTRY`] bytes per chunk, in the order of the bytes of `NAME.log`. The log is
//! the truth and the index follows it: an entry is written after its bytes, so a pump that is killed in between
//! leaves a log that is longer than its index, and [`Index::open`] closes that gap.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Stream;

/// Size of one entry on disk.
pub const ENTRY: usize = 32;

/// Chunks of one stream that arrive within this time are one entry: a service that prints line by line would
/// otherwise get an index as large as its log.
const MERGE_NS: i64 = 1_000_000;
/// An entry does not grow beyond this by merging.
const MERGE_LENGTH: u32 = 1 << 20;

/// One run among all in a log: each life of a project counts its runs from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunId {
    /// Another number in each life, of 24 bits; 0 in a log that was written before there were any.
    pub life: u32,
    pub number: u32,
}

/// Whose bytes a chunk holds.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub run: RunId,
    pub stream: Stream,
}

/// One chunk of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub offset: u64,
    /// Wall clock, ns since 1970, when the chunk was taken. Order is that of entries, never that of times.
    pub time_ns: i64,
    pub run: RunId,
    /// In bytes, never 0.
    pub length: u32,
    pub stream: Stream,
}

impl Entry {
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.length)
    }

    /// Little endian: offset 8, time 8, run 4, length 4, stream 1, life 3, check 4.
    pub fn encode(&self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[0..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time_ns.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.run.number.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24] = self.stream as u8;
        bytes[25..28].copy_from_slice(&self.run.life.to_le_bytes()[..3]);
        let check = check(&bytes);
        bytes[28..32].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// `None` for bytes that no [`Entry::encode`] made (a block that was lost with the power, say).
    pub fn decode(bytes: &[u8; ENTRY]) -> Option<Entry> {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if word(28) != check(bytes) {
            return None;
        }
        let stream = match bytes[24] {
            0 => Stream::Out,
            1 => Stream::Err,
            _ => return None,
        };
        Some(Entry {
            offset: long(0),
            time_ns: long(8) as i64,
            run: RunId {
                life: word(24) >> 8,
                number: word(16),
            },
            length: word(20),
            stream,
        })
    }
}

/// FNV-1a over all but the check itself: finds zeroed and foreign blocks, is no protection against malice.
fn check(bytes: &[u8; ENTRY]) -> u32 {
    bytes[..28].iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The index that belongs to this log file.
pub fn path_of(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".idx");
    name.into()
}

/// The index of the file that is being written. One writer.
#[derive(Debug)]
pub struct Index {
    file: File,
    /// Entries before `last`, all of them written.
    before: u64,
    last: Option<Entry>,
    /// `last` is not yet on disk as it is here.
    dirty: bool,
}

impl Index {
    /// Takes over an index file and makes it fit a log of `log_length` bytes: drops a torn entry and what lies beyond the
    /// log, and adds an entry for bytes that have none (from where the entry before them came, else from `source`).
    pub fn open(file: File, log_length: u64, log_time_ns: i64, source: Source) -> io::Result<Index> {
        let whole = file.metadata()?.len() / ENTRY as u64;
        let mut index = Index {
            before: whole,
            last: None,
            dirty: false,
            file,
        };
        while index.before > 0 {
            index.before -= 1;
            let entry = read(&index.file, index.before)?;
            if let Some(mut entry) = entry.filter(|entry| entry.offset < log_length && entry.length > 0) {
                if entry.end() > log_length {
                    entry.length = (log_length - entry.offset) as u32;
                    index.dirty = true;
                }
                index.last = Some(entry);
                break;
            }
        }
        index
            .file
            .set_len((index.before + u64::from(index.last.is_some())) * ENTRY as u64)?;
        index.flush()?;
        index.cover(log_length, log_time_ns, source)?;
        Ok(index)
    }

    /// Entries for the bytes between the end of the index and the end of the log.
    fn cover(&mut self, log_length: u64, time_ns: i64, source: Source) -> io::Result<()> {
        let mut offset = self.last.map_or(0, |last| last.end());
        let (run, stream) = self
            .last
            .map_or((source.run, source.stream), |last| (last.run, last.stream));
        while offset < log_length {
            let length = (log_length - offset).min(u64::from(u32::MAX)) as u32;
            let entry = Entry {
                offset,
                time_ns,
                run,
                length,
                stream,
            };
            self.append(entry)?;
            offset = entry.end();
        }
        Ok(())
    }

    /// In bytes.
    pub fn length(&self) -> u64 {
        (self.before + u64::from(self.last.is_some())) * ENTRY as u64
    }

    /// Adds one entry, or lets the last one grow. On an error the entry is kept and [`Index::flush`] tries again.
    pub fn append(&mut self, entry: Entry) -> io::Result<()> {
        self.flush()?;
        match &mut self.last {
            Some(last) if continues(last, &entry) => last.length += entry.length,
            last => {
                self.before += u64::from(last.is_some());
                *last = Some(entry);
            }
        }
        self.dirty = true;
        self.flush()
    }

    /// Writes what could not be written before. Nothing to do in almost all cases.
    pub fn flush(&mut self) -> io::Result<()> {
        if let (true, Some(last)) = (self.dirty, &self.last) {
            self.file.write_all_at(&last.encode(), self.before * ENTRY as u64)?;
            crate::fault::point!("logs.index-written");
            self.dirty = false;
        }
        Ok(())
    }
}

fn continues(last: &Entry, next: &Entry) -> bool {
    last.run == next.run
        && last.stream == next.stream
        && last.end() == next.offset
        && (0..MERGE_NS).contains(&next.time_ns.saturating_sub(last.time_ns))
        && last.length.saturating_add(next.length) <= MERGE_LENGTH
}

/// The entry at this place; `None` when it is not a valid one.
pub fn read(file: &File, at: u64) -> io::Result<Option<Entry>> {
    let mut bytes = [0; ENTRY];
    file.read_exact_at(&mut bytes, at * ENTRY as u64)?;
    Ok(Entry::decode(&bytes))
}

/// The last entry of an index that is not written any more; `None` when there is none to be read.
pub fn last_of(index: &Path) -> Option<Entry> {
    last_in(&File::open(index).ok()?)
}

/// The same, of one that is open.
pub fn last_in(index: &File) -> Option<Entry> {
    let count = index.metadata().ok()?.len() / ENTRY as u64;
    read(index, count.checked_sub(1)?).ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: RunId = RunId {
        life: 0x00ab_cdef,
        number: 3,
    };
    const SOURCE: Source = Source {
        run: RUN,
        stream: Stream::Err,
    };

    fn entry(offset: u64, length: u32, time_ns: i64) -> Entry {
        Entry {
            offset,
            time_ns,
            run: RUN,
            length,
            stream: Stream::Err,
        }
    }

    fn all(file: &File) -> Vec<Entry> {
        let count = file.metadata().expect("metadata").len() / ENTRY as u64;
        (0..count)
            .map(|at| read(file, at).expect("read").expect("valid"))
            .collect()
    }

    #[test]
    fn an_entry_survives_its_encoding_and_garbage_does_not() {
        let one = entry(7, 9, -5);
        assert_eq!(Entry::decode(&one.encode()), Some(one));
        assert_eq!(Entry::decode(&[0; ENTRY]), None);
        let mut bent = one.encode();
        bent[2] ^= 1;
        assert_eq!(Entry::decode(&bent), None);
    }

    #[test]
    fn chunks_of_one_moment_are_one_entry() {
        let file = tempfile::tempfile().expect("file");
        let mut index = Index::open(file.try_clone().expect("clone"), 0, 0, SOURCE).expect("open");
        index.append(entry(0, 10, 0)).expect("append");
        index.append(entry(10, 5, MERGE_NS - 1)).expect("append");
        index.append(entry(15, 5, MERGE_NS)).expect("append");
        assert_eq!(all(&file), [entry(0, 15, 0), entry(15, 5, MERGE_NS)]);
    }

    #[test]
    fn lg_07_an_index_is_made_to_fit_its_log() {
        let file = tempfile::tempfile().expect("file");
        let opened = |length| Index::open(file.try_clone().expect("clone"), length, 77, SOURCE).expect("open");
        let mut index = opened(0);
        index.append(entry(0, 10, 0)).expect("append");
        index.append(entry(10, 10, MERGE_NS)).expect("append");
        // Killed between the bytes and their entry.
        opened(25);
        assert_eq!(all(&file), [entry(0, 10, 0), entry(10, 10, MERGE_NS), entry(20, 5, 77)]);
        // Killed within an entry.
        file.set_len(2 * ENTRY as u64 + 9).expect("set_len");
        opened(20);
        assert_eq!(all(&file), [entry(0, 10, 0), entry(10, 10, MERGE_NS)]);
        // The log was cut.
        opened(14);
        assert_eq!(all(&file), [entry(0, 10, 0), entry(10, 4, MERGE_NS)]);
        opened(0);
        assert_eq!(all(&file), []);
    }
}
