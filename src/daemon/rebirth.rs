//! The guardian is gone: we become a fresh one, which starts the daemon after us.
//!
//! What holds the project goes with us through execve(2): its lock, its socket, the hold of its owner, an end of every
//! FIFO, so that nothing that a service prints is lost while nobody reads, and a pidfd of every service, by which its end is
//! learned however long nobody looks.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use crate::api::boot::{Boot, DAEMON_VERB, own_log};
use crate::guardian::{self, Passed, Voice};
use crate::sys::passing;
use crate::sys::places::nameless;

/// What goes to the next guardian beside the estate.
#[derive(Default)]
pub struct Held {
    /// Of what runs: what it prints into, and its processes.
    pub spare: Vec<OwnedFd>,
    /// Bound for services: by us, and by whoever started runner.
    pub sockets: (Vec<RawFd>, Vec<RawFd>),
}

/// What belongs to the project and not to who runs it.
pub struct Estate {
    pub lock: OwnedFd,
    pub listener: OwnedFd,
    pub owner: OwnedFd,
}

impl Estate {
    /// A copy of each, for who uses them.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn copy(of: &OwnedFd) -> io::Result<OwnedFd> {
        of.as_fd().try_clone_to_owned()
    }
}

/// Never returns but with an error: then everything is as it was.
pub fn become_guardian(boot: &Boot, estate: &Estate, held: &Held) -> io::Error {
    match prepare(boot, estate, held) {
        Ok(words) => passing::become_again(&words),
        Err(error) => error,
    }
}

fn prepare(boot: &Boot, estate: &Estate, held: &Held) -> io::Result<Vec<CString>> {
    let boot = Boot {
        goes_on: true,
        ..boot.clone()
    };
    let boot_text = serde_json::to_string(&boot)?;
    let kept = [&estate.lock, &estate.listener, &estate.owner].map(AsRawFd::as_raw_fd);
    let spare: Vec<RawFd> = held.spare.iter().map(AsRawFd::as_raw_fd).collect();
    let (sockets, given) = &held.sockets;
    for number in kept.iter().chain(&spare).chain(sockets).chain(given) {
        passing::let_through(*number)?;
    }
    let daemon = [OsStr::new(DAEMON_VERB), OsStr::new(&boot_text)];
    let mut words = vec![OsString::from("runner")];
    let log = nameless::or_nothing(own_log(&boot.state_dir));
    let voice = match boot.console {
        Some(_) => Voice::Console,
        None => Voice::Log(&log),
    };
    let passed = Passed {
        keep: &kept,
        spare: &spare,
        sockets,
        given,
    };
    words.extend(guardian::words(voice, passed, &daemon));
    let word = |text: OsString| CString::new(text.into_vec()).map_err(io::Error::from);
    words.into_iter().map(word).collect()
}
