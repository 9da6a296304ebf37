//! How a guardian comes to life: started detached by a client (`sys::detach`), or become in place by `up` (PID 1, `up -- CMD`), it
//! starts the daemon as its first child.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::cgroups::Cgroups;
use super::guard::{self, Guard, Speech};
use super::link::GuardianLink;
use super::renewal;
use super::revival::Revival;
use super::sockets::Sockets;
use crate::fault::point;
use crate::sys::spawn::Calls;
use crate::sys::{identity, passing};

/// Hidden verb: `runner __guardian (--log FILE | --console) --keep N --spare N --socket N --given N -- DAEMON-ARGS...`.
pub const VERB: &str = "__guardian";
/// Hidden verb for tests and benches: no daemon; orders come over [`ORDER_DESCRIPTOR`].
pub const BARE_VERB: &str = "__guardian-bare";
/// Where the daemon (and the bare guardian) finds its end of the order socket.
pub const ORDER_DESCRIPTOR: RawFd = 3;

/// Where a guardian and its daemon speak.
#[derive(Clone, Copy, Debug)]
pub enum Voice<'a> {
    /// Its few lines, and whatever the daemon writes to stdout and stderr, are appended there.
    Log(&'a Path),
    /// It keeps the stdout and stderr that it was started with, and its daemon has the same.
    Console,
}

/// The words of [`VERB`].
#[derive(Default)]
struct Beginning {
    log: Option<PathBuf>,
    console: bool,
    /// The inherited descriptors, in order: each daemon gets them as 4, 5, ...
    descriptors: Vec<OwnedFd>,
    /// Only held, until what they belong to is adopted.
    spare: Vec<OwnedFd>,
    sockets: Sockets,
    daemon_args: Vec<OsString>,
}

/// The descriptors with which a guardian is begun, beside 0-2.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed<'a> {
    pub keep: &'a [RawFd],
    pub spare: &'a [RawFd],
    pub sockets: &'a [RawFd],
    pub given: &'a [RawFd],
}

/// The words with which a guardian is begun, behind the name of the program.
pub fn words(voice: Voice, passed: Passed<'_>, daemon: &[&OsStr]) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![VERB.into()];
    match voice {
        Voice::Log(log) => words.extend(["--log".into(), log.into()]),
        Voice::Console => words.push("--console".into()),
    }
    let Passed {
        keep,
        spare,
        sockets,
        given,
    } = passed;
    for (word, numbers) in [
        ("--keep", keep),
        ("--spare", spare),
        ("--socket", sockets),
        ("--given", given),
    ] {
        words.extend(
            numbers
                .iter()
                .flat_map(|number| [word.into(), number.to_string().into()]),
        );
    }
    words.push("--".into());
    words.extend(daemon.iter().map(OsString::from));
    words
}

/// Runs a guardian with its daemon. `args` are the words behind the verb:
///
/// - `--log FILE` or `--console`: as of [`Voice`],
/// - `--keep N`: an inherited descriptor (the lock, say), for it and for each of its daemons,
/// - `--spare N`: an inherited descriptor that is held until the daemon has said what it adopts,
/// - `--socket N`, `--given N`: an inherited socket that is bound for services; the second sort is never closed,
/// - `--`: the words with which `/proc/self/exe` becomes the daemon.
///
/// The daemon gets the order socket as 3 and the kept descriptors as 4, 5, ... in the order of the words.
/// Returns the exit code: the daemon's after `Finish`.
pub fn run_verb(args: impl IntoIterator<Item = OsString>) -> i32 {
    identity::set_name(super::NAME);
    guard::occupy_standard_streams();
    let mut args = args.into_iter().peekable();
    let outcome = match args.next_if(|word| word == "--resume") {
        Some(_) => number(args.next()).and_then(renewal::resume),
        None => parse(args).and_then(begin),
    };
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
    let guard = guard::inherited_link(ORDER_DESCRIPTOR).and_then(|link| {
        let mut guard = Guard::new(link, calls, groups, cgroups)?;
        guard.greet()?;
        Ok(guard)
    });
    match guard {
        Ok(mut guard) => guard.run(),
        Err(error) => {
            eprintln!("could not start the guardian: {error}");
            70
        }
    }
}

fn number(word: Option<OsString>) -> io::Result<RawFd> {
    let number = word.and_then(|word| word.to_str()?.parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidInput.into())
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
        if word == "--console" {
            beginning.console = true;
            continue;
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
            beginning.descriptors.push(descriptor);
        } else if word == "--spare" {
            beginning.spare.push(descriptor);
        } else if word == "--socket" || word == "--given" {
            beginning.sockets.hold(descriptor, word == "--given");
        } else {
            return Err(wrong("a word of the guardian's command line is unknown"));
        }
    }
    Err(wrong("the guardian was not told what its daemon is"))
}

fn begin(beginning: Beginning) -> io::Result<i32> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut guard = Guard::new(GuardianLink::over(ours.into()), Calls::default(), true, Cgroups::find())?;
    guard.voice = match (&beginning.log, beginning.console) {
        (_, true) => Speech::Console,
        (Some(path), _) => Speech::Log(File::options().append(true).create(true).open(path)?),
        (None, _) => Speech::Silent,
    };
    guard.spare = beginning.spare;
    guard.sockets = beginning.sockets;
    guard.revival = Some(Revival::new(beginning.daemon_args, beginning.descriptors));
    guard.greet()?;
    point!("guardian.begun");
    guard.daemon = Some(guard.start_daemon(&theirs)?);
    point!("guardian.daemon-started");
    drop(theirs);
    let code = guard.run();
    // The lock says that we live: the kernel lets it go when we are no more, not earlier.
    std::mem::forget(guard);
    Ok(code)
}
