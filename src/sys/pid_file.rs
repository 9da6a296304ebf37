//! PID files, which others write and anybody may have tampered with.
//!
//! What is read here is a number and no more: whether the process of that number is the one that is meant is for the
//! guardian to judge. So a file is believed to be a PID file if it is a regular one, belongs to root, to us or to the
//! service's user, is reached without a symlink of the service's user, and holds a number as `parse` wants it.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// The largest number that Linux gives to a process (PID_MAX_LIMIT, proc(5)).
const LARGEST: u32 = 1 << 22;
/// No more than this is ever read.
const MOST_BYTES: usize = 256;
/// Of garbage so much is shown.
const SHOWN: usize = 24;
/// Longer chains of symlinks are loops.
const MOST_LINKS: u32 = 40;

/// Why a file names no process. In words that fit after the file's name and "holds", "is" and the like are part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such file.
    Missing,
    /// It was not read: what it is instead of a file of ours.
    Refused(String),
    /// It was read and holds something else: its first bytes, escaped.
    Invalid(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing => out.write_str("it was not written"),
            Fault::Refused(why) => out.write_str(why),
            Fault::Invalid(shown) if shown.is_empty() => out.write_str("it is empty"),
            Fault::Invalid(shown) => write!(out, "invalid pid file, it holds \"{shown}\""),
        }
    }
}

/// The number that a PID file holds. `user`: of the service, whose files are believed beside root's and our own.
///
/// Never blocks and never reads more than a few hundred bytes, whatever stands there.
///
/// # Errors
/// Why it holds none.
pub fn read(path: &Path, user: Option<u32>) -> Result<u32, Fault> {
    let (folder, name) = open_folder(path)?;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let file = match openat(&folder, name.as_os_str(), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Err(Fault::Missing),
        // O_NOFOLLOW and O_NONBLOCK say it so: open(2).
        Err(Errno::ELOOP) => return refused("it is a symlink"),
        Err(Errno::ENXIO) => return refused("it is a socket"),
        Err(error) => return refused(error.desc()),
    };
    let found = fstat(&file).map_err(|error| Fault::Refused(error.desc().to_owned()))?;
    check(&found, user)?;
    let mut bytes = [0; MOST_BYTES];
    let length = fill(file, &mut bytes).map_err(|error| Fault::Refused(error.to_string()))?;
    parse(&bytes[..length])
}

/// Optional blanks, a decimal number from 2 to 2^22 without sign or leading zero, optional blanks, at most one newline at
/// the end.
fn parse(bytes: &[u8]) -> Result<u32, Fault> {
    let invalid = || {
        Fault::Invalid(
            bytes
                .iter()
                .take(SHOWN)
                .map(|byte| byte.escape_ascii().to_string())
                .collect(),
        )
    };
    if bytes.len() == MOST_BYTES {
        return Err(invalid());
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let first = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    let last = line.iter().rposition(|byte| !blank(byte)).map_or(first, |at| at + 1);
    let digits = &line[first..last];
    if digits.is_empty() || digits[0] == b'0' || !digits.iter().all(u8::is_ascii_digit) {
        return Err(invalid());
    }
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    number
        .filter(|number| (2..=LARGEST).contains(number))
        .ok_or_else(invalid)
}

/// Removes a file that names a process which is no more. Anything else stays: it may be another's, or no PID file at all.
///
/// # Errors
/// As of unlink(2).
pub fn remove_stale(path: &Path, user: Option<u32>) -> io::Result<()> {
    match read(path, user) {
        Ok(pid) if super::processes::stat(pid).is_none_or(|stat| stat.is_zombie()) => remove(path),
        _ => Ok(()),
    }
}

/// A PID file of ours, which goes with the value unless it names somebody else by then.
#[derive(Debug)]
pub struct Written {
    path: PathBuf,
    pid: Option<u32>,
}

impl Written {
    /// One that an earlier daemon wrote, about this process.
    pub fn resumed(path: &Path, pid: u32) -> Written {
        Written {
            path: path.to_owned(),
            pid: Some(pid),
        }
    }

    /// Makes sure that the file can be written, before anybody is there whom it could name.
    ///
    /// # Errors
    /// A missing folder, one that may not be written, or something that is no file in the way.
    pub fn prepare(path: &Path) -> io::Result<Written> {
        let (folder, name) = open_folder(path).map_err(as_error)?;
        match fstatat(&folder, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) if kind(&found) != SFlag::S_IFREG => return Err(io::Error::other("it is no regular file")),
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let fresh = fresh_beside(&name);
        drop(create(folder.as_fd(), &fresh)?);
        unlinkat(&folder, fresh.as_os_str(), UnlinkatFlags::NoRemoveDir)?;
        Ok(Written {
            path: path.to_owned(),
            pid: None,
        })
    }

    /// Writes the number beside the file and renames it there: nobody ever reads half of it.
    ///
    /// # Errors
    /// As of open(2), write(2) and rename(2).
    pub fn name(&mut self, pid: u32) -> io::Result<()> {
        let (folder, name) = open_folder(&self.path).map_err(as_error)?;
        let fresh = fresh_beside(&name);
        let mut file = create(folder.as_fd(), &fresh)?;
        let done = writeln!(file, "{pid}")
            .and_then(|()| renameat(&folder, fresh.as_os_str(), &folder, name.as_os_str()).map_err(io::Error::from));
        if done.is_err() {
            let _ = unlinkat(&folder, fresh.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
        self.pid = Some(pid).filter(|_| done.is_ok()).or(self.pid);
        done
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if self.pid.is_some_and(|pid| read(&self.path, None) == Ok(pid)) {
            // Whoever removed it before was right as well.
            let _ = remove(&self.path);
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let (folder, name) = open_folder(path).map_err(as_error)?;
    Ok(unlinkat(&folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir)?)
}

fn as_error(fault: Fault) -> io::Error {
    match fault {
        Fault::Missing => Errno::ENOENT.into(),
        fault => io::Error::other(fault),
    }
}

/// Exclusively: what stands there under this name is another's.
fn create(folder: BorrowedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(folder, name, flags, Mode::from_bits_truncate(0o644))?.into())
}

/// A name that nobody can foresee and take first.
fn fresh_beside(name: &OsStr) -> OsString {
    let mut fresh = OsString::from(".");
    fresh.push(name);
    fresh.push(format!(".{:x}", super::clock::mono_ns()));
    fresh
}

/// The folder of a file, step by step: a symlink on the way is followed only if root or we have made it. The last step
/// is not looked at.
fn open_folder(path: &Path) -> Result<(OwnedFd, OsString), Fault> {
    let name = path
        .file_name()
        .ok_or_else(|| Fault::Refused("it is no file".to_owned()))?;
    let mut rest = steps(path.parent().unwrap_or(Path::new("/")));
    let mut at = vec![step(None, OsStr::new("/"))?];
    let mut links = 0;
    while let Some(next) = rest.pop() {
        if next == ".." {
            at.truncate((at.len() - 1).max(1));
            continue;
        }
        let here = at.last().map(AsFd::as_fd);
        let found = step(here, &next)?;
        let shape = fstat(&found).map_err(|error| Fault::Refused(error.desc().to_owned()))?;
        if kind(&shape) != SFlag::S_IFLNK {
            at.push(found);
            continue;
        }
        links += 1;
        if !is_trusted(shape.st_uid) {
            let owner = super::users::name_of(shape.st_uid);
            return refused(&format!("`{}` on its way is a symlink of {owner}", next.display()));
        }
        if links > MOST_LINKS {
            return refused(Errno::ELOOP.desc());
        }
        let target = readlinkat(&found, c"").map_err(|error| Fault::Refused(error.desc().to_owned()))?;
        if Path::new(&target).is_absolute() {
            at.truncate(1);
        }
        rest.extend(steps(Path::new(&target)));
    }
    let folder = at.pop().ok_or(Fault::Missing)?;
    Ok((folder, name.to_owned()))
}

/// The components of a path, the first one last.
fn steps(path: &Path) -> Vec<OsString> {
    let named = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut steps: Vec<OsString> = named.collect();
    steps.reverse();
    steps
}

#[cfg(target_os = "linux")]
fn step(here: Option<BorrowedFd>, name: &OsStr) -> Result<OwnedFd, Fault> {
    open_step(here, name, OFlag::O_PATH)
}

/// Without O_PATH a symlink can't be opened: it is refused whoever has made it.
#[cfg(not(target_os = "linux"))]
fn step(here: Option<BorrowedFd>, name: &OsStr) -> Result<OwnedFd, Fault> {
    open_step(here, name, OFlag::O_DIRECTORY)
}

fn open_step(here: Option<BorrowedFd>, name: &OsStr, how: OFlag) -> Result<OwnedFd, Fault> {
    let flags = how | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let name = CString::new(name.as_bytes()).map_err(|error| Fault::Refused(error.to_string()))?;
    let opened = match here {
        Some(here) => openat(here, name.as_c_str(), flags, Mode::empty()),
        None => nix::fcntl::open(name.as_c_str(), flags, Mode::empty()),
    };
    opened.map_err(|error| match error {
        Errno::ENOENT => Fault::Missing,
        error => Fault::Refused(error.desc().to_owned()),
    })
}

/// Root and we may lead wherever they like.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::Uid::effective().as_raw()
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
}

fn check(found: &FileStat, user: Option<u32>) -> Result<(), Fault> {
    let what = match kind(found) {
        SFlag::S_IFREG => None,
        SFlag::S_IFDIR => Some("it is a folder"),
        SFlag::S_IFIFO => Some("it is a FIFO"),
        SFlag::S_IFCHR | SFlag::S_IFBLK => Some("it is a device"),
        _ => Some("it is no regular file"),
    };
    if let Some(what) = what {
        return refused(what);
    }
    if is_trusted(found.st_uid) || user == Some(found.st_uid) {
        return Ok(());
    }
    refused(&format!("it belongs to {}", super::users::name_of(found.st_uid)))
}

fn refused<T>(why: &str) -> Result<T, Fault> {
    Err(Fault::Refused(why.to_owned()))
}

fn fill(mut file: File, into: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < into.len() {
        match file.read(&mut into[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("pid");
        (folder, path)
    }

    fn is_root() -> bool {
        nix::unistd::Uid::effective().is_root()
    }

    /// Some user that is neither root nor we.
    const OTHER: u32 = 54321;

    #[test]
    fn pf_04_only_a_number_is_a_number() {
        let big: &[u8] = &[b'7'; 1 << 20];
        let wrong: [&[u8]; 24] = [
            b"",
            b"\n",
            b" ",
            b"0",
            b"1",
            b"-1",
            b"-123",
            b"+5",
            b"42abc",
            b"0x2a",
            b"052",
            b"4 2",
            b"2147483648",
            b"18446744073709551616",
            big,
            b"\x00\xff\x7f",
            b"\xff\xfe4\x002\x00",
            b"42\n43\n",
            b"42\n\n",
            b"\n42",
            b"4194305",
            b"42\0",
            "４２".as_bytes(),
            b"42.0",
        ];
        let (_folder, path) = place();
        for bytes in wrong {
            std::fs::write(&path, bytes).unwrap();
            let found = read(&path, None);
            assert!(
                matches!(found, Err(Fault::Invalid(_))),
                "{:?} {found:?}",
                &bytes[..bytes.len().min(30)]
            );
        }
        for (bytes, pid) in [
            ("42", 42),
            (" 42 \n", 42),
            ("42\n", 42),
            ("\t2", 2),
            ("4194304\n", 4_194_304),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path, None), Ok(pid), "{bytes:?}");
        }
    }

    #[test]
    fn pf_04_the_first_bytes_are_shown_without_harm() {
        let (_folder, path) = place();
        std::fs::write(&path, format!("\x1b[2Jpw\n{}", "x".repeat(1000))).unwrap();
        let words = read(&path, None).unwrap_err().to_string();
        assert_eq!(words, "invalid pid file, it holds \"\\x1b[2Jpw\\nxxxxxxxxxxxxxxxxx\"");
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(&path, None).unwrap_err().to_string(), "it is empty");
    }

    #[test]
    fn pf_13_of_two_gigabytes_a_few_hundred_bytes_are_read() {
        let (_folder, path) = place();
        File::create(&path).unwrap().set_len(2 << 30).unwrap();
        assert!(matches!(read(&path, None), Err(Fault::Invalid(_))));
    }

    #[test]
    fn pf_10_what_is_no_file_is_refused_without_blocking() {
        let (folder, path) = place();
        assert_eq!(read(&path, None), Err(Fault::Missing));
        assert_eq!(read(&folder.path().join("gone/deep/pid"), None), Err(Fault::Missing));
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        assert_eq!(read(&path, None).unwrap_err().to_string(), "it is a FIFO");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(read(&path, None).unwrap_err().to_string(), "it is a folder");
        std::fs::remove_dir(&path).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(read(&path, None).unwrap_err().to_string(), "it is a socket");
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(folder.path().join("other"), "42\n").unwrap();
        symlink("other", &path).unwrap();
        assert_eq!(read(&path, None).unwrap_err().to_string(), "it is a symlink");
        assert_eq!(
            read(Path::new("/dev/null"), None).unwrap_err().to_string(),
            "it is a device"
        );
        assert_eq!(read(Path::new("/"), None).unwrap_err().to_string(), "it is no file");
    }

    #[test]
    fn pf_10_a_symlink_on_the_way_counts_by_who_made_it() {
        let (folder, _) = place();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/deep")).unwrap();
        std::fs::write(root.join("real/deep/pid"), "42\n").unwrap();
        symlink("real/deep", root.join("way")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(read(&root.join("way/pid"), None), Ok(42));
        assert_eq!(
            read(&root.join("way/../deep/pid"), None),
            Ok(42),
            "`..` is meant as the kernel means it"
        );
        assert!(read(&root.join("loop/pid"), None).is_err());
        if is_root() {
            std::os::unix::fs::lchown(root.join("way"), Some(OTHER), Some(OTHER)).unwrap();
            let words = read(&root.join("way/pid"), Some(OTHER)).unwrap_err().to_string();
            assert_eq!(words, format!("`way` on its way is a symlink of {OTHER}"));
        }
    }

    #[test]
    fn pf_10_a_file_of_somebody_else_is_refused() {
        if !is_root() {
            return;
        }
        let (_folder, path) = place();
        std::fs::write(&path, "42\n").unwrap();
        std::os::unix::fs::chown(&path, Some(OTHER), None).unwrap();
        assert_eq!(
            read(&path, None).unwrap_err().to_string(),
            format!("it belongs to {OTHER}")
        );
        assert_eq!(read(&path, Some(OTHER)), Ok(42), "the service's own user");
    }

    #[test]
    fn pf_01_only_a_file_that_names_the_dead_is_removed() {
        let (_folder, path) = place();
        for kept in [format!("{}\n", std::process::id()), "garbage".to_owned(), String::new()] {
            std::fs::write(&path, kept).unwrap();
            remove_stale(&path, None).unwrap();
            assert!(path.exists());
        }
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        std::fs::write(&path, child.id().to_string()).unwrap();
        remove_stale(&path, None).unwrap();
        assert!(!path.exists());
        remove_stale(&path, None).unwrap();
    }

    #[test]
    fn pf_11_our_own_file_is_whole_and_goes_with_us_unless_it_names_another() {
        let (folder, path) = place();
        std::fs::write(&path, "4194304\n").unwrap();
        let mut ours = Written::prepare(&path).unwrap();
        ours.name(42).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "42\n");
        ours.name(43).unwrap();
        drop(ours);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing is left beside it"
        );
        let mut ours = Written::prepare(&path).unwrap();
        ours.name(42).unwrap();
        std::fs::write(&path, "44\n").unwrap();
        drop(ours);
        assert_eq!(read(&path, None), Ok(44), "another's by now");
        drop(Written::prepare(&path).unwrap());
        assert!(path.exists(), "nothing was written, nothing is removed");
    }

    #[test]
    fn pf_11_a_file_that_can_not_be_written_is_known_before() {
        let (folder, path) = place();
        let words = |path: &Path| Written::prepare(path).unwrap_err().to_string();
        assert!(Written::prepare(&folder.path().join("gone/pid")).is_err());
        std::fs::create_dir(&path).unwrap();
        assert_eq!(words(&path), "it is no regular file");
        assert!(Written::prepare(Path::new("/proc/pid")).is_err());
    }
}
