//! What the file system under a folder can do, by trying.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::fifo;
use super::lock::Lock;
use super::places::SocketPath;

/// A kind of file system, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Local; whoever changes a file here, the kernel tells.
    Local(&'static str),
    InMemory,
    /// Shared with another machine or program, whose changes are not told.
    Remote(&'static str),
    /// Layers: changes in a lower one, past the mount, are not told.
    Layered,
    Unknown,
}

/// The file system below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub kind: Kind,
    /// Programs on it can't be executed.
    pub noexec: bool,
}

/// `None` where the path is not there or the system does not tell.
#[cfg(target_os = "linux")]
pub fn mount(path: &Path) -> Option<Mount> {
    use nix::sys::statvfs::FsFlags;
    let flags = nix::sys::statvfs::statvfs(path).ok()?.flags();
    let magic = nix::sys::statfs::statfs(path).ok()?.filesystem_type().0;
    Some(Mount {
        kind: kind(magic as u32),
        noexec: flags.contains(FsFlags::ST_NOEXEC),
    })
}

#[cfg(not(target_os = "linux"))]
pub fn mount(_: &Path) -> Option<Mount> {
    None
}

/// By the magic numbers of statfs(2) and linux/magic.h, which have 32 bits whatever the width of the field.
#[cfg(target_os = "linux")]
fn kind(magic: u32) -> Kind {
    match magic {
        0x0102_1994 | 0x8584_58f6 => Kind::InMemory,
        0xef53 => Kind::Local("ext4"),
        0x9123_683e => Kind::Local("btrfs"),
        0x5846_5342 => Kind::Local("xfs"),
        0xf2f5_2010 => Kind::Local("f2fs"),
        0x2fc1_2fc1 => Kind::Local("zfs"),
        0xca45_1a4e => Kind::Local("bcachefs"),
        0x4d44 => Kind::Local("vfat"),
        0x794c_7630 => Kind::Layered,
        0x6969 => Kind::Remote("NFS"),
        0x0102_1997 => Kind::Remote("9p"),
        0x6573_5546 => Kind::Remote("FUSE"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Kind::Remote("SMB"),
        0x786f_4256 => Kind::Remote("a VirtualBox shared folder"),
        0xbacb_acbc => Kind::Remote("a VMware shared folder"),
        0x00c3_6400 => Kind::Remote("Ceph"),
        0x5346_414f => Kind::Remote("AFS"),
        _ => Kind::Unknown,
    }
}

/// What was tried in a folder; each with the error, in words, where it does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// A folder of our own could be made in it, and a file that is then renamed.
    pub write: Result<(), String>,
    /// A lock excludes a second holder.
    pub lock: Result<(), String>,
    /// A FIFO carries bytes.
    pub fifo: Result<(), String>,
    /// The kernel moves bytes from a pipe into a file by itself.
    pub splice: Result<(), String>,
    /// A Unix socket can be bound and connected.
    pub socket: Result<(), String>,
}

/// Tries everything in a folder of a name of our own, which is gone afterwards. A folder that is not there yet is tried in
/// the nearest one above it.
pub fn try_out(wanted: &Path) -> Trial {
    let there = wanted.ancestors().find(|folder| folder.is_dir()).unwrap_or(wanted);
    let bench = match Bench::new(there) {
        Ok(bench) => bench,
        Err(error) => {
            let failed = || Err(error.to_string());
            return Trial {
                write: failed(),
                lock: failed(),
                fifo: failed(),
                splice: failed(),
                socket: failed(),
            };
        }
    };
    let words = |result: io::Result<()>| result.map_err(|error| error.to_string());
    Trial {
        write: words(bench.write()),
        lock: words(bench.lock()),
        fifo: words(bench.fifo()),
        splice: words(bench.splice()),
        socket: words(bench.socket()),
    }
}

/// The folder in which things are tried.
struct Bench(PathBuf);

impl Bench {
    fn new(parent: &Path) -> io::Result<Bench> {
        let path = parent.join(format!(".runner-doctor-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Bench(path))
    }

    fn write(&self) -> io::Result<()> {
        let (draft, file) = (self.0.join("draft"), self.0.join("file"));
        std::fs::write(&draft, b"x")?;
        File::open(&draft)?.sync_all()?;
        std::fs::rename(&draft, &file)
    }

    fn lock(&self) -> io::Result<()> {
        let path = self.0.join("lock");
        let first = Lock::take(&path)?;
        let second = Lock::take(&path)?;
        match (first.is_some(), second.is_some()) {
            (true, false) => Ok(()),
            (true, true) => Err(io::Error::other("a lock that is held was given a second time")),
            (false, _) => Err(io::Error::other("a lock that nobody holds was not given")),
        }
    }

    fn fifo(&self) -> io::Result<()> {
        let path = self.0.join("fifo");
        fifo::make(&path, None)?;
        let mut both = fifo::open_both(&path)?;
        both.write_all(b"x")?;
        let mut byte = [0];
        fifo::open_reader(&path)?.read_exact(&mut byte)
    }

    fn socket(&self) -> io::Result<()> {
        let path = SocketPath::of(&self.0.join("socket"))?;
        let _listener = UnixListener::bind(path.path())?;
        UnixStream::connect(path.path()).map(drop)
    }

    #[cfg(target_os = "linux")]
    fn splice(&self) -> io::Result<()> {
        use nix::fcntl::{SpliceFFlags, splice};
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(b"x")?;
        let file = File::create(self.0.join("log"))?;
        match splice(&reader, None, &file, None, 1, SpliceFFlags::SPLICE_F_NONBLOCK)? {
            1 => Ok(()),
            _ => Err(io::Error::other("nothing was moved")),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn splice(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A folder that can't be removed could hardly be written either, which is told.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn en_07_a_trial_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let trial = try_out(&dir.path().join("not/there/yet"));
        let good = Trial {
            write: Ok(()),
            lock: Ok(()),
            fifo: Ok(()),
            splice: Ok(()),
            socket: Ok(()),
        };
        assert_eq!(trial, good);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_takes_nothing_says_why() {
        let trial = try_out(Path::new("/proc/self"));
        assert!(
            [trial.write, trial.lock, trial.fifo, trial.splice, trial.socket]
                .iter()
                .all(Result::is_err)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn file_systems_are_told_apart() {
        assert_eq!(kind(0x6969), Kind::Remote("NFS"));
        assert_eq!(kind(0xff53_4d42), Kind::Remote("SMB"));
        assert_eq!(kind(1), Kind::Unknown);
        assert!(mount(Path::new("/")).is_some());
        assert_eq!(mount(Path::new("/nosuch/folder")), None);
    }
}
