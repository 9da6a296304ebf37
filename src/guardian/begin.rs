//! How a guardian comes to life: started detached by a client (`sys::detach`), it starts the daemon as its first child.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::cgroups::Cgroups;
use super::guard::{self, Guard};
use super::link::GuardianLink;
use crate::sys::spawn::{Calls, Image, Progress};
use crate::sys::{detach, identity, passing};

/// Hidden verb: `runner __guardian --log FILE --pass N --keep N -- DAEMON-ARGS...`.
pub const VERB: &str = "__guardian";
/// Hidden verb for tests and benches: no daemon; orders come over [`ORDER_DESCRIPTOR`].
pub const BARE_VERB: &str = "__guardian-bare";
/// Where the daemon (and the bare guardian) finds its end of the order socket.
pub const ORDER_DESCRIPTOR: RawFd = 3;

/// The words of [`VERB`].
#[derive(Default)]
struct Beginning {
    log: Option<PathBuf>,
    /// The inherited descriptors, in order: the daemon gets them as 4, 5, ...
    descriptors: Vec<OwnedFd>,
    /// Those that we hold as well, for as long as we live (the lock).
    kept: Vec<RawFd>,
    daemon_args: Vec<OsString>,
}

/// Runs a guardian with its daemon. `args` are the words behind the verb:
///
/// - `--log FILE`: its few lines, and whatever the daemon writes to stdout and stderr, are appended there,
/// - `--pass N`: an inherited descriptor for the daemon only (the ready pipe),
/// - `--keep N`: an inherited descriptor that the guardian holds as well (the lock),
/// - `--`: the words with which `/proc/self/exe` becomes the daemon.
///
/// The daemon gets the order socket as 3 and the passed and kept descriptors as 4, 5, ... in the order of the words.
/// Returns the exit code: the daemon's after `Finish`, else 70.
pub fn run_verb(args: impl IntoIterator<Item = OsString>) -> i32 {
    identity::set_name(c"runner-guardian");
    guard::occupy_standard_streams();
    let outcome = parse(args).and_then(begin);
    outcome.unwrap_or_else(|error| {
        eprintln!("could not start the guardian: {error}");
        70
    })
}

/// Runs a guardian without a daemon until its order socket ends (then it stops what it holds) or `Finish` comes.
/// `without` names what it is not to use of the kernel: `clone3`, `pidfd`, `close_range`, `groups`, `cgroup`,
/// `cgroup.kill`.
pub fn run_bare(without: impl IntoIterator<Item = OsString>) -> i32 {
    guard::occupy_standard_streams();
    let mut calls = Calls::default();
    let mut groups = true;
    let mut cgroups = Cgroups::find();
    for word in without {
        match word.to_str() {
            Some("clone3") => calls.clone3 = false,
            Some("pidfd") => calls.pidfd = false,
            Some("close_range") => calls.close_range = false,
            Some("groups") => groups = false,
            Some("cgroup") => cgroups = Cgroups::none(),
            Some("cgroup.kill") => cgroups = cgroups.without_kill(),
            _ => {}
        }
    }
    let guard = guard::inherited_link(ORDER_DESCRIPTOR).and_then(|link| Guard::new(link, calls, groups, cgroups));
    match guard {
        Ok(mut guard) => {
            guard.greet();
            guard.run()
        }
        Err(error) => {
            eprintln!("could not start the guardian: {error}");
            70
        }
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> io::Result<Beginning> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let mut beginning = Beginning::default();
    let mut args = args.into_iter();
    while let Some(word) = args.next() {
        if word == "--" {
            beginning.daemon_args = args.collect();
            return Ok(beginning);
        }
        let value = args
            .next()
            .ok_or_else(|| wrong("a word of the guardian's command line has no value"))?;
        if word == "--log" {
            beginning.log = Some(value.into());
            continue;
        }
        let number = value
            .to_str()
            .and_then(|text| text.parse::<RawFd>().ok())
            .filter(|number| *number > 2);
        let descriptor = number.and_then(passing::inherited);
        let descriptor = descriptor.ok_or_else(|| wrong("a descriptor for the daemon is not there"))?;
        if word == "--keep" {
            beginning.kept.push(descriptor.as_raw_fd());
        } else if word != "--pass" {
            return Err(wrong("a word of the guardian's command line is unknown"));
        }
        beginning.descriptors.push(descriptor);
    }
    Err(wrong("the guardian was not told what its daemon is"))
}

fn begin(mut beginning: Beginning) -> io::Result<i32> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut guard = Guard::new(GuardianLink::over(ours.into()), Calls::default(), true, Cgroups::find())?;
    guard.log = match &beginning.log {
        Some(path) => Some(File::options().append(true).create(true).open(path)?),
        None => None,
    };
    guard.greet();
    let daemon = start_daemon(&mut guard, &beginning, &theirs)?;
    guard.daemon = Some(daemon);
    drop(theirs);
    beginning
        .descriptors
        .retain(|descriptor| beginning.kept.contains(&descriptor.as_raw_fd()));
    let code = guard.run();
    // The lock says that we live: the kernel lets it go when we are no more, not earlier.
    std::mem::forget(beginning);
    Ok(code)
}

fn start_daemon(guard: &mut Guard, beginning: &Beginning, orders: &UnixStream) -> io::Result<u32> {
    let output = guard.log.as_ref().unwrap_or(&guard.null).as_raw_fd();
    let mut descriptors = vec![guard.null.as_raw_fd(), output, output, orders.as_raw_fd()];
    descriptors.extend(beginning.descriptors.iter().map(AsRawFd::as_raw_fd));
    let word = |text: &OsString| CString::new(text.as_bytes()).map_err(io::Error::from);
    let mut argv = vec![c"runner".to_owned()];
    for arg in &beginning.daemon_args {
        argv.push(word(arg)?);
    }
    let image = Image {
        programs: vec![c"/proc/self/exe".to_owned()],
        argv,
        env: detach::environment(&[super::MARK]),
        working_dir: c"/".to_owned(),
        credentials: None,
        umask: 0o077,
        nice: None,
        limits: Vec::new(),
        descriptors,
        gate_is_open: true,
        cgroup: None,
    };
    let failed = |errno| io::Error::from_raw_os_error(errno);
    let forked = guard.forker.fork(&image).map_err(|refusal| failed(refusal.errno))?;
    guard.forker.settle(&forked);
    match forked.channel.wait() {
        Progress::Refused(refusal) => Err(failed(refusal.errno)),
        Progress::Executed | Progress::Underway => Ok(forked.pid),
    }
}
