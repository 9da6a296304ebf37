//! `upgrade`: we become another version of ourselves and stay the same process, so that our children stay ours. After a panic
//! (`rescue`) it is the same version.
//!
//! Everything that is open goes through execve(2) at its number; what those numbers mean is written into a file without a
//! name that goes with them. What can be found out again (whose orphans there are, who is in which group) is left out.

use std::collections::VecDeque;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::begin::VERB;
use super::cgroups::Cgroups;
use super::guard::{Guard, Speech};
use super::held::{Held, Launcher, Life};
use super::link::GuardianLink;
use super::orders::{Before, Identity, Ticket};
use super::record;
use super::revival::Revival;
use crate::reconcile::ExitStatus;
use crate::sys::passing;
use crate::sys::spawn::Calls;

/// Of what is written here. A version that reads another one can't take over from us.
pub const VERSION: u32 = 1;

/// Why we become what we become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum After {
    #[default]
    Upgrade,
    /// In the middle of a round. It counts as the death of the daemon, which had to die of it.
    Panic,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    next_ticket: u64,
    log: Option<RawFd>,
    #[serde(default)]
    console: bool,
    words: Vec<Vec<u8>>,
    descriptors: Vec<RawFd>,
    /// What we raised our own limit of descriptors from.
    raised: Option<(u64, u64)>,
    held: Vec<SavedLaunch>,
    /// With whether they were given.
    #[serde(default)]
    sockets: Vec<(RawFd, bool)>,
    asked_to_end: bool,
    #[serde(default)]
    after: After,
    /// Ends that were not told yet.
    #[serde(default)]
    batch: VecDeque<(Ticket, ExitStatus)>,
    #[serde(default)]
    spare: Vec<RawFd>,
    #[serde(default)]
    deaths: VecDeque<u64>,
}

#[derive(Serialize, Deserialize)]
struct SavedLaunch {
    ticket: Ticket,
    label: String,
    run: u32,
    uid: u32,
    leader: u32,
    leader_reaped: bool,
    pidfd: Option<RawFd>,
    identity: Identity,
    followed: Option<RawFd>,
    /// Its main process has ended; how, where that is known.
    ended: Option<ExitStatus>,
    left: bool,
    signalled: Option<i32>,
    kept: Vec<RawFd>,
    mark: Option<Vec<u8>>,
    fifos: Vec<RawFd>,
    sessions: Vec<u32>,
    record: Option<PathBuf>,
    cgroup: Option<String>,
    adopted: bool,
    launcher: Launcher,
    #[serde(default)]
    on_terminal: bool,
}

impl Guard {
    /// Becomes this program; the daemon has ended. Comes back only where that fails. What is between fork and exec
    /// meanwhile is as good as executed: should that fail, it is an end like any other.
    pub(super) fn renew(&mut self, program: &[u8], after: After) -> io::Error {
        match self.save(after) {
            Ok((file, passed)) => {
                let number = file.as_raw_fd().to_string();
                let mut words: Vec<_> = ["runner", VERB, "--resume", &number, "--"].map(word).into();
                // For who asks ps(1) whose guardian this is.
                let daemon = self.revival.iter().flat_map(Revival::words);
                words.extend(daemon.filter_map(|text| CString::new(text.as_bytes()).ok()));
                let path = PathBuf::from(OsString::from_vec(program.to_vec()));
                let error = passing::become_program(&path, &words);
                for number in passed {
                    passing::close_on_exec(number);
                }
                error
            }
            Err(error) => error,
        }
    }

    fn save(&self, after: After) -> io::Result<(File, Vec<RawFd>)> {
        let revival = self.revival.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let saved = Saved {
            version: VERSION,
            next_ticket: self.next_ticket,
            log: match &self.voice {
                Speech::Log(log) => Some(log.as_raw_fd()),
                Speech::Silent | Speech::Console => None,
            },
            console: matches!(self.voice, Speech::Console),
            words: revival.words().iter().map(|word| word.as_bytes().to_vec()).collect(),
            descriptors: revival.descriptors().iter().map(AsRawFd::as_raw_fd).collect(),
            raised: self.forker.descriptor_limit(),
            held: self.held.values().filter(|held| !held.reap_tree).map(saved).collect(),
            sockets: self.sockets.numbers().collect(),
            asked_to_end: revival.asked_to_end,
            after,
            batch: self.batch.clone(),
            spare: self.spare.iter().map(AsRawFd::as_raw_fd).collect(),
            deaths: revival.deaths.clone(),
        };
        let mut file = passing::nameless_file(c"runner-guardian")?;
        file.write_all(&serde_json::to_vec(&saved)?)?;
        file.rewind()?;
        let mut passed = vec![file.as_raw_fd()];
        passed.extend(saved.log);
        passed.extend(saved.descriptors.iter().chain(&saved.spare));
        passed.extend(saved.sockets.iter().map(|(number, _)| number));
        for launch in &saved.held {
            passed.extend(launch.pidfd.iter().chain(&launch.followed));
            passed.extend(launch.kept.iter().chain(&launch.fifos));
        }
        for number in &passed {
            passing::let_through(*number)?;
        }
        Ok((file, passed))
    }
}

fn word(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn saved(held: &Held) -> SavedLaunch {
    let number = |descriptor: &Option<OwnedFd>| descriptor.as_ref().map(AsRawFd::as_raw_fd);
    SavedLaunch {
        ticket: held.ticket,
        label: held.label.clone(),
        run: held.run,
        uid: held.uid,
        leader: held.leader,
        leader_reaped: held.leader_reaped,
        pidfd: number(&held.pidfd),
        identity: held.identity.clone(),
        followed: number(&held.followed),
        ended: held.ended.filter(|_| held.life != Life::Alive),
        left: held.life == Life::Left,
        signalled: held.signalled,
        kept: held.kept.iter().map(AsRawFd::as_raw_fd).collect(),
        mark: held.mark.clone(),
        fifos: held.fifos.iter().map(|(file, _)| file.as_raw_fd()).collect(),
        sessions: held.sessions.clone(),
        record: held.record.as_ref().map(|written| written.path().to_owned()),
        cgroup: held.cgroup.as_ref().map(crate::sys::cgroup::Group::name),
        adopted: held.adopted,
        launcher: held.launcher.clone(),
        on_terminal: held.on_terminal,
    }
}

/// The other version: goes on with what the one before has passed at this number. Its exit code.
///
/// # Errors
/// What was passed makes no sense. Then nobody looks after the services any more.
pub(super) fn resume(number: RawFd) -> io::Result<i32> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "what the guardian before was is not there");
    let mut text = Vec::new();
    File::from(passing::inherited(number).ok_or_else(missing)?).read_to_end(&mut text)?;
    let saved: Saved = serde_json::from_slice(&text)?;
    if saved.version != VERSION {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "another version of the guardian's state",
        ));
    }
    // A link that is at its end: the first thing that is done is to start a daemon.
    let (ours, _) = std::os::unix::net::UnixStream::pair()?;
    let mut guard = Guard::new(GuardianLink::over(ours.into()), Calls::default(), true, Cgroups::find())?;
    guard.forker.restore_limit(saved.raised);
    guard.voice = match saved.log.and_then(passing::inherited) {
        _ if saved.console => Speech::Console,
        Some(log) => Speech::Log(log.into()),
        None => Speech::Silent,
    };
    let words = saved.words.into_iter().map(OsString::from_vec).collect();
    let descriptors = saved.descriptors.into_iter().filter_map(passing::inherited).collect();
    guard.spare = saved.spare.into_iter().filter_map(passing::inherited).collect();
    let mut revival = Revival::new(words, descriptors);
    revival.deaths = saved.deaths;
    revival.asked_to_end = saved.asked_to_end;
    guard.revival = Some(revival);
    guard.next_ticket = saved.next_ticket;
    for (number, given) in saved.sockets {
        if let Some(socket) = passing::inherited(number) {
            guard.sockets.hold(socket, given);
        }
    }
    for launch in saved.held {
        guard.hold_saved(launch);
    }
    for (ticket, status) in saved.batch {
        guard.was_reaped(ticket, status);
    }
    guard.reap();
    guard.reaped = true;
    // What has ended meanwhile is told as such from the beginning.
    guard.settle();
    let started = match saved.after {
        After::Panic => Ok(()),
        After::Upgrade => guard.start_after(Before {
            status: ExitStatus::Code(0),
            deaths: 0,
            asked_to_end: saved.asked_to_end,
            upgraded: true,
        }),
    };
    if let Err(error) = &started {
        guard.note(&format!("the daemon could not be started: {error}"));
    }
    if saved.after == After::Panic || started.is_err() {
        // The first round finds the link at its end, and starts one as after any death: we hold what nobody else can.
        guard.daemon_ended = Some(ExitStatus::Unknown);
        if let Some(revival) = &mut guard.revival {
            revival.has_obeyed = true;
        }
    }
    let code = guard.run();
    std::mem::forget(guard);
    Ok(code)
}

impl Guard {
    /// The main process of this one has ended, and nobody was told.
    fn was_reaped(&mut self, ticket: Ticket, status: ExitStatus) {
        if let Some(held) = self.held.get(&ticket).filter(|held| held.life == Life::Alive) {
            self.mains.remove(&held.main);
            self.batch.push_back((ticket, status));
        }
    }

    fn hold_saved(&mut self, launch: SavedLaunch) {
        let files = launch.fifos.into_iter().filter_map(passing::inherited).map(File::from);
        let placed = files.filter_map(|file| {
            let found = file.metadata().ok()?;
            Some((file, (found.dev(), found.ino())))
        });
        let held = Held {
            label: launch.label,
            run: launch.run,
            leader: launch.leader,
            leader_reaped: launch.leader_reaped,
            pidfd: launch.pidfd.and_then(passing::inherited),
            followed: launch.followed.and_then(passing::inherited),
            life: match (launch.ended, launch.left) {
                (None, _) => Life::Alive,
                (Some(_), true) => Life::Left,
                (Some(_), false) => Life::Empty,
            },
            ended: launch.ended,
            signalled: launch.signalled,
            kept: launch.kept.into_iter().filter_map(passing::inherited).collect(),
            mark: launch.mark,
            fifos: placed.collect(),
            sessions: launch.sessions,
            record: launch.record.as_deref().and_then(record::existing),
            cgroup: launch.cgroup.and_then(|name| self.cgroups.known(&name)),
            adopted: launch.adopted,
            launcher: launch.launcher,
            on_terminal: launch.on_terminal,
            ..Held::new(launch.ticket, launch.identity, launch.uid)
        };
        let (ticket, life) = (held.ticket, held.life);
        self.hold(held);
        if let Some(followed) = self.held.get(&ticket).and_then(|held| held.followed.as_ref()) {
            self.watch_followed(followed, ticket);
        }
        if life == Life::Left {
            self.left.push(ticket);
            self.await_emptiness(ticket);
        }
    }
}
