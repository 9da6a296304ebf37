//! The daemon dies, and another takes its place: services do not notice.
//!
//! What a daemon has to know is with us (what was forked, what it was told, how it ended, the descriptors) and in the
//! runtime folder (`daemon::book`). So nothing is asked of the dying one.

use std::collections::VecDeque;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::closing::code;
use super::guard::{Guard, Speech};
use super::held::Life;
use super::link::GuardianLink;
use super::orders::{Before, Target, Ticket};
use super::renewal::After;
use crate::fault::point;
use crate::reconcile::ExitStatus;
use crate::sys::spawn::{Image, Progress, Session};
use crate::sys::{clock, detach, program};

/// So many deaths within [`WINDOW_NS`] are followed by a new daemon at once; each one more doubles the wait.
#[cfg(not(feature = "fault-points"))]
const AT_ONCE: u32 = 4;
/// Who kills daemons all day to see what becomes of the services learns nothing from waiting.
#[cfg(feature = "fault-points")]
const AT_ONCE: u32 = u32::MAX - 1;
/// What a daemon takes as `down`.
const ENDING: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];
const WINDOW_NS: u64 = 60_000_000_000;
const FIRST_WAIT_NS: u64 = 200_000_000;
const LONGEST_WAIT_NS: u64 = 10_000_000_000;

/// How our daemons are started.
#[derive(Debug)]
pub(super) struct Revival {
    /// The words behind `runner`.
    words: Vec<OsString>,
    /// What each of them gets as 4, 5, ...: the lock above all. Held as long as we live, and longer: the kernel closes
    /// them when we are no more.
    descriptors: Vec<OwnedFd>,
    /// Monotonic instants of the latest deaths.
    pub deaths: VecDeque<u64>,
    due_ns: Option<u64>,
    /// Some daemon has given an order.
    pub has_obeyed: bool,
    /// Somebody wanted us to end while there was no daemon.
    pub asked_to_end: bool,
}

impl Revival {
    pub(super) fn new(words: Vec<OsString>, descriptors: Vec<OwnedFd>) -> Revival {
        Revival {
            words,
            descriptors,
            deaths: VecDeque::new(),
            due_ns: None,
            has_obeyed: false,
            asked_to_end: false,
        }
    }

    pub(super) fn words(&self) -> &[OsString] {
        &self.words
    }

    pub(super) fn descriptors(&self) -> &[OwnedFd] {
        &self.descriptors
    }

    /// Monotonic; set while there is no daemon.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }

    /// Another death; answers for how long nothing is to be started.
    fn note_death(&mut self, now: u64) -> u64 {
        self.deaths.push_back(now);
        self.deaths.retain(|at| now.saturating_sub(*at) < WINDOW_NS);
        wait(self.count())
    }

    fn count(&self) -> u32 {
        u32::try_from(self.deaths.len()).unwrap_or(u32::MAX)
    }
}

/// After so many deaths within the window.
fn wait(deaths: u32) -> u64 {
    match deaths.checked_sub(AT_ONCE + 1) {
        None => 0,
        Some(doublings) => (FIRST_WAIT_NS << doublings.min(16)).min(LONGEST_WAIT_NS),
    }
}

impl Guard {
    /// Our daemon is gone unasked. An exit code is the answer where there is nothing to go on with.
    pub(super) fn revive(&mut self) -> Option<i32> {
        let now = clock::mono_ns();
        let status = self.daemon_ended?;
        if let Some(program) = self.renewal.take() {
            self.end_errands();
            let error = self.renew(&program, After::Upgrade);
            self.note(&format!(
                "could not become another version: {error}; going on as we are"
            ));
        }
        let revival = self.revival.as_mut()?;
        // It was told to end before it listened to that.
        revival.asked_to_end |= matches!(status, ExitStatus::Signal(signal) if ENDING.contains(&signal.number()));
        if self.held.is_empty() && !revival.has_obeyed && matches!(status, ExitStatus::Code(_)) {
            // It could not start, and has said why: another one would say the same.
            return Some(code(status).max(1));
        }
        let due = match revival.due_ns {
            Some(due) => due,
            None => {
                let wait = revival.note_death(now);
                let deaths = revival.count();
                revival.due_ns = Some(now.saturating_add(wait));
                let then = match wait {
                    0 => "starting another one".to_owned(),
                    wait => format!(
                        "that was number {deaths} within a minute, another one follows in {} ms; services go on",
                        wait / 1_000_000
                    ),
                };
                // On a console the next daemon tells it itself.
                if wait > 0 || !matches!(self.voice, Speech::Console) {
                    self.note(&format!("the daemon ended unasked ({status:?}): {then}"));
                }
                self.end_errands();
                now.saturating_add(wait)
            }
        };
        if due <= now
            && let Err(error) = self.start_another(status)
        {
            self.note(&format!("the daemon could not be started again: {error}"));
            let again = now.saturating_add(LONGEST_WAIT_NS);
            if let Some(revival) = &mut self.revival {
                revival.due_ns = Some(again);
            }
        }
        None
    }

    fn start_another(&mut self, status: ExitStatus) -> io::Result<()> {
        let Some(revival) = &self.revival else { return Ok(()) };
        let before = Before {
            status,
            deaths: revival.count(),
            asked_to_end: revival.asked_to_end,
            upgraded: false,
        };
        self.start_after(before)
    }

    /// Starts a daemon that is told what there is.
    pub(super) fn start_after(&mut self, before: Before) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let daemon = self.start_daemon(&theirs)?;
        point!("guardian.revived");
        self.daemon = Some(daemon);
        self.daemon_ended = None;
        if let Some(revival) = &mut self.revival {
            revival.due_ns = None;
            revival.asked_to_end = false;
        }
        // One that has ended already is seen by its end of the socket.
        drop(theirs);
        self.greet_anew(GuardianLink::over(ours.into()), before)
    }

    /// What the daemon had under way beside services (probes, stop commands): nobody waits for it any more.
    pub(super) fn end_errands(&mut self) {
        let errands = self.held.values().filter(|held| held.reap_tree);
        let errands: Vec<Ticket> = errands.map(|held| held.ticket).collect();
        for ticket in errands {
            let Some(held) = self.held.get_mut(&ticket) else {
                continue;
            };
            held.released = true;
            if held.life == Life::Empty {
                self.forget(ticket);
            } else {
                self.kill(ticket, Target::Group, true);
            }
        }
    }

    /// Forks a daemon; `orders` is its end of the order socket.
    pub(super) fn start_daemon(&mut self, orders: &UnixStream) -> io::Result<u32> {
        let revival = self.revival.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let [output, errors] = match &self.voice {
            Speech::Silent => [self.null.as_raw_fd(); 2],
            Speech::Log(log) => [log.as_raw_fd(); 2],
            Speech::Console => [1, 2],
        };
        let mut descriptors = vec![self.null.as_raw_fd(), output, errors, orders.as_raw_fd()];
        descriptors.extend(revival.descriptors.iter().map(AsRawFd::as_raw_fd));
        let word = |text: &OsString| CString::new(text.as_bytes()).map_err(io::Error::from);
        let mut argv = vec![c"runner".to_owned()];
        for text in &revival.words {
            argv.push(word(text)?);
        }
        let image = Image {
            programs: programs()?,
            argv,
            env: detach::environment(&[super::MARK]),
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
        let failed = |errno| io::Error::from_raw_os_error(errno);
        let forked = self.forker.fork(&image).map_err(|refusal| failed(refusal.errno))?;
        self.forker.settle(&forked);
        match forked.channel.wait() {
            Progress::Refused(refusal) => Err(failed(refusal.errno)),
            Progress::Executed | Progress::Underway => Ok(forked.pid),
        }
    }
}

/// Where the program of the daemon is: our own.
fn programs() -> io::Result<Vec<CString>> {
    let word = |path: PathBuf| CString::new(path.into_os_string().into_vec()).map_err(io::Error::from);
    program::candidates().into_iter().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "fault-points"))]
    #[test]
    fn a_few_deaths_are_mended_at_once_and_many_ever_later() {
        let waits: Vec<u64> = (1..=12).map(|deaths| wait(deaths) / 1_000_000).collect();
        assert_eq!(waits, [0, 0, 0, 0, 200, 400, 800, 1600, 3200, 6400, 10000, 10000]);
        assert_eq!(wait(u32::MAX), LONGEST_WAIT_NS);
    }

    #[test]
    fn deaths_long_ago_are_forgotten() {
        let mut revival = Revival::new(Vec::new(), Vec::new());
        for n in 0..100 {
            assert_eq!(revival.note_death(n * WINDOW_NS), 0);
        }
    }
}
