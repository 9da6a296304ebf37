//! Starting a program that is to outlive us and that belongs to nobody.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::spawn::{Calls, Forker, Image, Progress, Session};
use super::{passing, places};

/// Starts `program` in a session of its own, its standard streams on /dev/null, in `/`, with umask 077. It is no child
/// of ours: the process in between ends at once, so whoever adopts orphans becomes its parent.
///
/// `keep`: (descriptor here, number there), the numbers being 3, 4, ... in this order; everything else is closed there.
/// `without`: names of environment variables that it is not to have.
///
/// Returns its pid.
///
/// # Errors
/// It could not be forked or executed.
pub fn start_detached(program: &Path, args: &[&OsStr], keep: &[(RawFd, RawFd)], without: &[&str]) -> io::Result<u32> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let mut descriptors = vec![null.as_raw_fd(); 3];
    for (place, &(ours, theirs)) in keep.iter().enumerate() {
        if usize::try_from(theirs).ok() != Some(place + 3) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "descriptors are kept at 3, 4, ... in order",
            ));
        }
        descriptors.push(ours);
    }
    let word = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
    let mut argv = vec![word(program.as_os_str())?];
    for arg in args {
        argv.push(word(arg)?);
    }
    let image = Image {
        programs: vec![word(program.as_os_str())?],
        argv,
        env: environment(without),
        working_dir: c"/".to_owned(),
        credentials: None,
        umask: 0o077,
        nice: None,
        limits: Vec::new(),
        descriptors,
        listens: false,
        gate_is_open: true,
        cgroup: None,
        session: Session::Own,
        terminal: false,
    };
    through_an_orphan(&image)
}

/// Becomes `program` in our session, with our standard streams, in `/`, with umask 077. `keep` as of [`start_detached`].
/// Comes back only with an error.
pub fn become_detached(program: &Path, args: &[&OsStr], keep: &[(RawFd, RawFd)]) -> io::Error {
    let prepared = || -> io::Result<Vec<CString>> {
        std::env::set_current_dir("/")?;
        places::set_umask(0o077);
        passing::place(keep)?;
        let word = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
        let words = std::iter::once(OsStr::new("runner")).chain(args.iter().copied());
        words.map(word).collect()
    };
    match prepared() {
        Ok(words) => passing::become_program(program, &words),
        Err(error) => error,
    }
}

/// Our environment, ready to execute.
pub fn environment(without: &[&str]) -> Vec<CString> {
    let kept = std::env::vars_os().filter(|(key, _)| !without.iter().any(|name| key == name));
    kept.filter_map(|(key, value)| {
        let mut entry = key.as_bytes().to_vec();
        entry.push(b'=');
        entry.extend_from_slice(value.as_bytes());
        CString::new(entry).ok()
    })
    .collect()
}

/// Forks a child that forks the image and ends. It runs our code between the two forks, so nothing but what
/// `Forker::fork` does happens in it; the caller is a client with one thread or with threads that hold no lock of ours.
#[allow(unsafe_code)]
fn through_an_orphan(image: &Image) -> io::Result<u32> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    // SAFETY: the child calls `in_between`, which ends it. It allocates, which glibc and macOS allow after fork (their
    // malloc is made consistent by fork handlers).
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => in_between(image, &theirs),
        pid => {
            drop(theirs);
            let mut answer = [0u8; 8];
            let read = io::Read::read_exact(&mut &ours, &mut answer);
            let mut status = 0;
            // SAFETY: `status` is valid for the length of the call; the child is ours and ends by itself.
            while unsafe { libc::waitpid(pid, &mut status, 0) } < 0
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
            read?;
            let [a, b, c, d, e, f, g, h] = answer;
            match i32::from_ne_bytes([e, f, g, h]) {
                0 => Ok(u32::from_ne_bytes([a, b, c, d])),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

#[allow(unsafe_code)]
fn in_between(image: &Image, answer: &std::os::unix::net::UnixStream) -> ! {
    let mut forker = Forker::new(Calls::default(), None);
    let result = forker.fork(image).and_then(|forked| {
        forker.settle(&forked);
        match forked.channel.wait() {
            Progress::Refused(refusal) => Err(refusal),
            Progress::Executed | Progress::Underway => Ok(forked.pid),
        }
    });
    let (pid, errno) = match result {
        Ok(pid) => (pid, 0),
        Err(refusal) => (0, refusal.errno.max(1)),
    };
    let mut words = [0u8; 8];
    words[..4].copy_from_slice(&pid.to_ne_bytes());
    words[4..].copy_from_slice(&errno.to_ne_bytes());
    let _ = io::Write::write_all(&mut &*answer, &words);
    // SAFETY: ends this process without running what belongs to the one it was forked from.
    unsafe { libc::_exit(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_nobodys_child_and_speaks_through_what_was_kept() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let script = OsStr::new("ps -o sid= -o pid= -p $$ >&3; echo ${HOME-none} >&3");
        let args = [OsStr::new("-c"), script];
        let pid = start_detached(Path::new("/bin/sh"), &args, &[(theirs.as_raw_fd(), 3)], &["HOME"]).unwrap();
        drop(theirs);
        let mut text = String::new();
        io::Read::read_to_string(&mut &ours, &mut text).unwrap();
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!(words, [&pid.to_string(), &pid.to_string(), "none"]);
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let error = start_detached(Path::new("/nosuch/program"), &[], &[], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
