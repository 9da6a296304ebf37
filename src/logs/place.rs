//! Where a log is: in files, or in memory as long as the daemon lives.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::spec::LogTarget;
use crate::sys;

/// The log of one service.
#[derive(Clone, Debug)]
pub enum LogPlace {
    /// The current file; older ones stand beside it.
    Files(PathBuf),
    Memory(Arc<Tail>),
}

impl LogPlace {
    /// Where a log is that outlives its runner.
    pub fn of_files(target: &LogTarget) -> Option<LogPlace> {
        match target {
            LogTarget::File(log) => Some(LogPlace::Files(log.file.clone())),
            LogTarget::Memory(_) | LogTarget::Off | LogTarget::Inherited => None,
        }
    }
}

/// Whether a file is one of those of a log: itself, an older one, or the index of one (`web.log`, `web.log.1`, `web.log.1.idx`).
pub fn is_file_of(log: &Path, path: &Path) -> bool {
    let (Some(own), Some(name)) = (log.file_name(), path.file_name()) else {
        return false;
    };
    let is_number = |rest: &[u8]| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit);
    let of_name = |rest: &[u8]| {
        let rest = rest.strip_suffix(b".idx").unwrap_or(rest);
        rest.is_empty() || rest.strip_prefix(b".").is_some_and(is_number)
    };
    let rest = name.as_encoded_bytes().strip_prefix(own.as_encoded_bytes());
    log.parent() == path.parent() && rest.is_some_and(of_name)
}

impl From<&Path> for LogPlace {
    fn from(file: &Path) -> LogPlace {
        LogPlace::Files(file.to_owned())
    }
}

impl From<&PathBuf> for LogPlace {
    fn from(file: &PathBuf) -> LogPlace {
        LogPlace::Files(file.clone())
    }
}

impl From<&LogPlace> for LogPlace {
    fn from(place: &LogPlace) -> LogPlace {
        place.clone()
    }
}

impl PartialEq for LogPlace {
    fn eq(&self, other: &LogPlace) -> bool {
        match (self, other) {
            (LogPlace::Files(one), LogPlace::Files(other)) => one == other,
            (LogPlace::Memory(one), LogPlace::Memory(other)) => Arc::ptr_eq(one, other),
            (LogPlace::Files(_), LogPlace::Memory(_)) | (LogPlace::Memory(_), LogPlace::Files(_)) => false,
        }
    }
}

impl Eq for LogPlace {}

impl Hash for LogPlace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            LogPlace::Files(file) => file.hash(state),
            LogPlace::Memory(tail) => Arc::as_ptr(tail).hash(state),
        }
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogPlace::Files(file) => file.display().fmt(f),
            LogPlace::Memory(_) => f.write_str("the log in memory"),
        }
    }
}

/// The newest output of one service, in files that have no name (memfd_create(2)): bytes reach them from a FIFO as they reach any
/// other file, and readers hold what they read. When the newest part is full another one is begun and the oldest forgotten, so that
/// the memory is bounded.
#[derive(Debug, Default)]
pub struct Tail {
    /// From old to new.
    parts: Mutex<VecDeque<Part>>,
}

/// A log and its index.
#[derive(Debug)]
pub(super) struct Part {
    pub log: File,
    pub index: File,
}

impl Part {
    fn new() -> io::Result<Part> {
        Ok(Part {
            log: sys::memory::file("runner-log")?,
            index: sys::memory::file("runner-log-index")?,
        })
    }

    fn try_clone(&self) -> io::Result<Part> {
        Ok(Part {
            log: self.log.try_clone()?,
            index: self.index.try_clone()?,
        })
    }
}

impl Tail {
    /// The part that is written.
    pub(super) fn newest(&self) -> io::Result<Part> {
        let mut parts = self.lock();
        if parts.is_empty() {
            parts.push_back(Part::new()?);
        }
        parts.back().expect("just looked").try_clone()
    }

    /// Begins another part; of the older ones only so many are kept that there are `keep` with it.
    pub(super) fn begin(&self, keep: usize) -> io::Result<Part> {
        let part = Part::new()?;
        let ours = part.try_clone()?;
        let mut parts = self.lock();
        parts.push_back(part);
        let gone = parts.len().saturating_sub(keep.max(1));
        parts.drain(..gone);
        Ok(ours)
    }

    /// From old to new.
    pub(super) fn parts(&self) -> io::Result<Vec<Part>> {
        self.lock().iter().map(Part::try_clone).collect()
    }

    /// The part before the one that is written.
    pub(super) fn before(&self) -> Option<Part> {
        let parts = self.lock();
        let before = parts.len().checked_sub(2)?;
        parts[before].try_clone().ok()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Part>> {
        self.parts.lock().expect("no holder of this lock panics")
    }
}
