//! From a project's place to a connection: finds its running daemon, or starts guardian and daemon.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::Result;
use super::call::{PATIENCE, silent};
use super::clean::{LOCK, START_LOCK};
use super::outcome::Outcome;
use super::{elsewhere, nowhere, orphans, terminal};
use crate::api::boot::{Boot, Console, DAEMON_VERB, for_guardian, watchdog_us};
pub use crate::api::boot::{SOCKET, own_log};
use crate::api::client::Client;
use crate::config::find::Location;
use crate::fault::point;
use crate::guardian::{self, Passed, Voice};
use crate::sys::detach::{become_detached, start_detached};
use crate::sys::lock::{Lock, LockText};
use crate::sys::places::{self, Place, loss, nameless, state};
use crate::sys::{self};

/// Where sockets live when no better place can be written.
pub use crate::config::find::STATE_DIR;

/// A connection, and what holding on to it means.
pub enum Reached {
    /// It was running before.
    Joined(UnixStream),
    /// We started it. As long as `owner` is open, somebody stays with it.
    Started { stream: UnixStream, owner: OwnedFd },
}

/// A running daemon, if there is one. A daemon that was just started or is being replaced is waited for: the kernel queues the
/// connection at the socket, which the guardian holds open.
pub fn running(location: &Location) -> Result<Option<UnixStream>> {
    for runtime_dir in places::runtime_candidates(&location.key, &location.dir.join(STATE_DIR)) {
        match connect(&runtime_dir.join(SOCKET)) {
            Ok(stream) => return Ok(Some(stream)),
            Err(error) if is_nobody(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(silent(location)),
            // Whoever has taken the name is nobody of ours.
            Err(_) if nameless::is_nowhere(&runtime_dir) => {}
            Err(error) => {
                return Err(Outcome::io(format_args!(
                    "reach the runner of {}",
                    location.dir.display()
                ))(error));
            }
        }
    }
    Ok(None)
}

/// Gives up after [`PATIENCE`], with `WouldBlock`: in front of a runner that was stopped the queue may be full.
pub fn connect(socket: &Path) -> io::Result<UnixStream> {
    places::connect(socket, PATIENCE)
}

/// The running daemon or exit code 4.
pub fn require((location, stream): (Location, Option<UnixStream>)) -> Result<UnixStream> {
    stream.ok_or_else(|| orphans::nobody(&location))
}

/// Whether nobody listens at a socket.
pub fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// What starting a project needs to know beyond its place.
pub struct Start<'a> {
    pub location: &'a Location,
    pub state_dir: &'a Path,
    pub foreground: bool,
    pub colour: bool,
    /// Only to stop what is left of a runner that was killed.
    pub ends: bool,
    /// Sockets that whoever started us has bound for services (sd_listen_fds(3)).
    pub given: &'a [OwnedFd],
    /// In place: this process becomes the guardian, and its daemon shows what there is to see.
    pub console: Option<Console>,
}

impl<'a> Start<'a> {
    /// In the background, with nobody who stays with it.
    pub fn background(location: &'a Location, state_dir: &'a Path) -> Start<'a> {
        Start {
            location,
            state_dir,
            foreground: false,
            colour: false,
            ends: false,
            given: &[],
            console: None,
        }
    }
}

/// We are the first process of a container.
pub fn is_init() -> bool {
    std::process::id() == 1
}

/// Joins the running daemon or starts one. Of any number of callers at the same instant exactly one starts it: all pass
/// through the start lock, one gets the project's lock and leaves with the socket bound.
pub fn or_start(start: &Start<'_>) -> Result<Reached> {
    places::keep_own_access();
    if nameless::is_nowhere(start.state_dir) {
        return nowhere::or_start(start);
    }
    state::make(start.state_dir).map_err(Outcome::io(format_args!(
        "make the state folder {}",
        start.state_dir.display()
    )))?;
    loop {
        let turn = Lock::wait(&start.state_dir.join(START_LOCK)).map_err(Outcome::io("take the start lock"))?;
        let project_lock = start.state_dir.join(LOCK);
        let Some(held) = Lock::take(&project_lock).map_err(Outcome::io("take the project's lock"))? else {
            let holder = Holder::of(&project_lock);
            if let Some(stream) = running(start.location)? {
                return Ok(Reached::Joined(stream));
            }
            if let Some(outcome) = elsewhere::user_of(start.location, start.state_dir) {
                return Err(outcome);
            }
            // It holds the lock and no longer answers: it is on its way out. Its end frees the lock.
            drop(turn);
            holder.wait();
            continue;
        };
        // `TW-04`: somebody has deleted the state folder of a runner that lives. Its socket still answers; a runner that ended
        // has removed its own before it let go of the lock.
        if let Some(stream) = running(start.location)? {
            return Ok(Reached::Joined(stream));
        }
        // Made only now: a runner that ends removes its own, and has ended when the lock is ours.
        let runtime_dir = runtime_dir(start.location).unwrap_or_else(|_| nameless::place(&start.location.key));
        let reached = launch(start, &runtime_dir, held)?;
        say_loss(start, &runtime_dir);
        return Ok(reached);
    }
}

/// Whoever starts the project hears it; everybody else by `events`.
pub fn say_loss(start: &Start<'_>, runtime_dir: &Path) {
    if let Some(words) = loss::of(start.state_dir, runtime_dir, is_init()) {
        terminal::say(format_args!("runner  {words}"));
    }
}

/// What a runner that was killed has left stays where it is, also if there is a better place by now.
fn runtime_dir(location: &Location) -> io::Result<PathBuf> {
    let spare = location.dir.join(STATE_DIR);
    let candidates = places::runtime_candidates(&location.key, &spare);
    match candidates.into_iter().find(|folder| Place::read(folder).is_some()) {
        Some(left) => places::private_dir(&left).map(|()| left),
        None => places::runtime_dir(&location.key, &spare),
    }
}

/// Says in the lock and in the runtime folder whose they are, and listens there.
fn settle_in(start: &Start<'_>, runtime_dir: &Path, held: &Lock) -> Result<OwnedFd> {
    if nameless::is_nowhere(start.state_dir) {
        // What listens is the lock.
        let copy = held.as_fd().try_clone_to_owned();
        return copy.map_err(Outcome::io("keep the socket"));
    }
    let text = LockText::new(runtime_dir, None);
    text.write(held.file())
        .map_err(Outcome::io("write the project's lock"))?;
    point!("client.lock-taken");
    let place = Place {
        dir: start.location.dir.clone(),
        name_override: start.location.name_override.clone(),
        state_dir: start.state_dir.to_owned(),
    };
    place
        .write(runtime_dir)
        .map_err(Outcome::io("write whose runtime folder it is"))?;
    let socket = runtime_dir.join(SOCKET);
    let listener = places::listen(&socket).map_err(Outcome::io(format_args!("listen at {}", socket.display())))?;
    Ok(listener.into())
}

pub(super) fn launch(start: &Start<'_>, runtime_dir: &Path, held: Lock) -> Result<Reached> {
    let listener = settle_in(start, runtime_dir, &held)?;
    point!("client.socket-bound");
    let (owner_end, owner) = std::io::pipe().map_err(Outcome::io("make a pipe"))?;
    let boot = Boot {
        location: start.location.clone(),
        runtime_dir: runtime_dir.to_owned(),
        state_dir: start.state_dir.to_owned(),
        foreground: start.foreground,
        colour: start.colour,
        goes_on: false,
        ends: start.ends,
        console: start.console.clone(),
        watchdog_us: watchdog_us(),
    };
    let boot = serde_json::to_string(&boot).map_err(|error| Outcome::failed(error.to_string()))?;
    let kept = [for_guardian::LOCK, for_guardian::LISTENER, for_guardian::OWNER];
    let daemon = [OsStr::new(DAEMON_VERB), OsStr::new(&boot)];
    let log = nameless::or_nothing(own_log(start.state_dir));
    let voice = match start.console {
        Some(_) => Voice::Console,
        None => Voice::Log(&log),
    };
    let given: Vec<i32> = (for_guardian::SOCKETS..).take(start.given.len()).collect();
    let passed = Passed {
        keep: &kept,
        given: &given,
        ..Passed::default()
    };
    let words = guardian::words(voice, passed, &daemon);
    let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
    let mut descriptors = vec![
        (held.as_fd().as_raw_fd(), for_guardian::LOCK),
        (listener.as_raw_fd(), for_guardian::LISTENER),
        (owner_end.as_raw_fd(), for_guardian::OWNER),
    ];
    descriptors.extend(start.given.iter().map(AsRawFd::as_raw_fd).zip(given));
    let program = sys::program::own().map_err(Outcome::io("find runner's own program file"))?;
    if start.console.is_some() {
        let error = become_detached(&program, &words, &descriptors);
        return Err(Outcome::io("become the guardian")(error));
    }
    // `TW-10`: in its queue before it begins, as somebody who is quicker may end it and with it the socket's name.
    let stream = connect(&runtime_dir.join(SOCKET)).map_err(Outcome::io("reach the runner that is being started"))?;
    start_detached(&program, &words, &descriptors, &[guardian::MARK])
        .map_err(Outcome::io("start runner in the background"))?;
    point!("client.guardian-started");
    Ok(Reached::Started {
        stream,
        owner: owner.into(),
    })
}

/// Who holds a project's lock at some moment, to wait for exactly that runner's end: waiting for the lock could last as long
/// as the next runner of the project, which may be quicker to take it.
pub enum Holder {
    Nobody,
    Guardian(OwnedFd),
    /// Of a project that can write nowhere.
    Nameless(String),
    /// One that has not said yet who it is, or can't be held.
    Somebody(PathBuf),
}

impl Holder {
    pub fn of(lock: &Path) -> Holder {
        if let Some(name) = nameless::name_of(lock) {
            return Holder::Nameless(name.to_owned());
        }
        let before = LockText::read(lock);
        if !Lock::is_held(lock) {
            return Holder::Nobody;
        }
        let here = before
            .as_ref()
            .filter(|text| text.pid_namespace == sys::identity::pid_namespace());
        let guardian = here.and_then(|text| sys::pidfd::open(text.guardian?).ok());
        // The number is believed only if whoever wrote it still held the lock when we had its process.
        match guardian {
            Some(guardian) if Lock::is_held(lock) && LockText::read(lock) == before => Holder::Guardian(guardian),
            _ => Holder::Somebody(lock.to_owned()),
        }
    }

    /// The runner whose guardian this is: once another one, or nobody, stands in the lock, it has ended.
    pub fn named(lock: &Path, guardian: u32) -> Holder {
        let holder = Holder::of(lock);
        if matches!(holder, Holder::Nameless(_)) {
            return holder;
        }
        let names_it =
            |text: &LockText| text.guardian == Some(guardian) || text.pid_namespace != sys::identity::pid_namespace();
        match LockText::read(lock).is_some_and(|text| names_it(&text)) {
            true => holder,
            false => Holder::Nobody,
        }
    }

    /// Until it has ended altogether.
    pub fn wait(self) {
        match self {
            Holder::Nobody => {}
            Holder::Nameless(name) => nameless::wait_for_end(&name),
            Holder::Guardian(guardian) => sys::pidfd::wait_for_exit(guardian.as_fd()),
            // Nothing to wait for when the lock can't be read.
            Holder::Somebody(lock) => drop(Lock::wait(&lock)),
        }
    }
}

/// Runs a conversation with a daemon to its end.
pub fn converse<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Outcome::io("start the event loop"))?;
    let outcome = tokio::task::LocalSet::new().block_on(&runtime, work);
    runtime.shutdown_background();
    outcome
}

pub async fn client(stream: UnixStream) -> Result<Client> {
    stream.set_nonblocking(true).map_err(Outcome::io("talk to runner"))?;
    let stream = tokio::net::UnixStream::from_std(stream).map_err(Outcome::io("talk to runner"))?;
    Ok(Client::over(stream).await?)
}

/// The guardian of a project, by what stands in its lock.
pub fn holder_of(state_dir: &Path) -> Option<u32> {
    LockText::read(&state_dir.join("lock"))?.guardian
}
