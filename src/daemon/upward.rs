//! What whoever has started runner hears of it: systemd or another runner, by sd_notify(3).
//!
//! It hears that all is up, that an edit is being applied, that the end has begun, how things stand whenever the project has
//! come to rest, and, if it asks for it, a sign of life from the loop. Nothing depends on whether it listens.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::api::boot::Boot;
use crate::reconcile::{EventKind, Snapshot, StateName};

/// The listener's queue is full: so long until the next try, twice as long each time.
const AGAIN_NS: (u64, u64) = (50_000_000, 5_000_000_000);
const MOST_UNSENT: usize = 64;
/// Names of services that have failed; the others are counted.
const MOST_NAMES: usize = 3;

pub struct Upward {
    listener: Option<Listener>,
    told: Told,
    watchdog: Option<Watchdog>,
    /// What is to be said, the oldest first; and when it is tried (again).
    unsent: VecDeque<String>,
    due_ns: Option<u64>,
    wait_ns: u64,
    /// That nobody can be reached was said.
    complained: bool,
}

/// Where `NOTIFY_SOCKET` leads.
struct Listener {
    socket: UnixDatagram,
    address: SocketAddr,
}

struct Watchdog {
    period_ns: u64,
    next_ns: u64,
}

impl Upward {
    /// `Err` inside: why nobody will hear anything, for a person.
    pub fn new(boot: &Boot, now_ns: u64) -> (Upward, Option<String>) {
        let name = std::env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty());
        let (listener, complaint) =
            match name.map(|name| Listener::at(&name).map_err(|error| unreachable_at(&name, &error))) {
                None => (None, None),
                Some(Ok(listener)) => (Some(listener), None),
                Some(Err(complaint)) => (None, Some(complaint)),
            };
        let watchdog = boot.watchdog_us.filter(|_| listener.is_some()).map(|asked| Watchdog {
            // Half of it, as sd_watchdog_enabled(3) advises.
            period_ns: asked.saturating_mul(1000) / 2,
            next_ns: now_ns,
        });
        let told = Told {
            // With `up -d` the process that was started ends, and its guardian is the one that stays.
            main_pid: (!boot.foreground).then(|| nix::unistd::getppid().as_raw()),
            ..Told::default()
        };
        let upward = Upward {
            listener,
            told,
            watchdog,
            unsent: VecDeque::new(),
            due_ns: None,
            wait_ns: AGAIN_NS.0,
            complained: complaint.is_some(),
        };
        (upward, complaint)
    }

    /// Something happened; `look` is how things stand now.
    pub fn hear(&mut self, kind: &EventKind, now_ns: u64, look: impl FnOnce() -> Snapshot) {
        if self.listener.is_none() {
            return;
        }
        if let Some(text) = self.told.words(kind, now_ns, look) {
            enqueue(&mut self.unsent, text);
            self.due_ns.get_or_insert(now_ns);
        }
    }

    /// When [`Upward::speak`] has something to do.
    pub fn deadline(&self) -> Option<u64> {
        let next = self.watchdog.as_ref().map(|watchdog| watchdog.next_ns);
        self.due_ns.into_iter().chain(next).min()
    }

    /// Sends what is due. Never blocks. The answer is for people: nobody can be reached, said once.
    pub fn speak(&mut self, now_ns: u64) -> Option<String> {
        let listener = self.listener.as_ref()?;
        if let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.next_ns <= now_ns) {
            watchdog.next_ns = now_ns.saturating_add(watchdog.period_ns);
            // One that can't be taken now is followed by another one.
            let _ = listener.send("WATCHDOG=1");
        }
        if self.due_ns.is_none_or(|due| now_ns < due) {
            return None;
        }
        self.due_ns = None;
        while let Some(text) = self.unsent.front() {
            match listener.send(text) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.due_ns = Some(now_ns.saturating_add(self.wait_ns));
                    self.wait_ns = (2 * self.wait_ns).min(AGAIN_NS.1);
                    return None;
                }
                sent => {
                    self.unsent.pop_front();
                    self.wait_ns = AGAIN_NS.0;
                    if let Err(error) = sent
                        && !std::mem::replace(&mut self.complained, true)
                    {
                        let name = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
                        return Some(unreachable_at(&name, &error));
                    }
                }
            }
        }
        None
    }
}

/// How things stand says nothing any more once they stand otherwise: so a listener that reads nothing costs no memory.
fn enqueue(unsent: &mut VecDeque<String>, text: String) {
    let is_status = |text: &String| text.starts_with("STATUS=");
    if is_status(&text) && unsent.back().is_some_and(is_status) {
        unsent.pop_back();
    }
    // Edits that nobody has heard of: the oldest are news to nobody.
    if unsent.len() >= MOST_UNSENT {
        unsent.pop_front();
    }
    unsent.push_back(text);
}

impl Listener {
    fn at(name: &str) -> io::Result<Listener> {
        let address = match name.strip_prefix('@') {
            #[cfg(target_os = "linux")]
            Some(name) => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)?,
            #[cfg(not(target_os = "linux"))]
            Some(_) => return Err(io::ErrorKind::Unsupported.into()),
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Listener { socket, address })
    }

    fn send(&self, text: &str) -> io::Result<()> {
        self.socket.send_to_addr(text.as_bytes(), &self.address).map(drop)
    }
}

fn unreachable_at(name: &str, error: &io::Error) -> String {
    format!("who started runner can't be told how it is: NOTIFY_SOCKET={name}: {error}; everything goes on without")
}

/// What was said so far, and what comes next.
#[derive(Default)]
struct Told {
    main_pid: Option<i32>,
    ready: bool,
    reloading: bool,
    status: String,
}

impl Told {
    fn words(&mut self, kind: &EventKind, now_ns: u64, look: impl FnOnce() -> Snapshot) -> Option<String> {
        let mut lines = Vec::new();
        let status = match kind {
            EventKind::ConfigApplied { .. } if self.ready => {
                self.reloading = true;
                lines.push("RELOADING=1".to_owned());
                lines.push(format!("MONOTONIC_USEC={}", now_ns / 1000));
                "applying an edit".to_owned()
            }
            EventKind::Settled { failed, .. } => {
                // Ready once, it stays so: systemd has no way back. The end of a reload is said in the same word.
                if self.reloading || (!self.ready && !failed) {
                    (self.ready, self.reloading) = (true, false);
                    lines.push("READY=1".to_owned());
                    lines.extend(self.main_pid.map(|pid| format!("MAINPID={pid}")));
                }
                standing(&look())
            }
            EventKind::Failed { .. } => standing(&look()),
            EventKind::Ending { because } => {
                lines.push("STOPPING=1".to_owned());
                let because: String = because.chars().filter(|char| !char.is_control()).collect();
                format!("stopping: {because}")
            }
            _ => return None,
        };
        if status != self.status {
            lines.push(format!("STATUS={status}"));
            self.status = status;
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// `3 ready, 1 completed, 2 failed (db, web)`: of what is wanted. No words of services, which may be secret.
fn standing(snapshot: &Snapshot) -> String {
    use StateName::{Backoff, Completed, Failed, Ready};
    let wanted = || snapshot.services.iter().filter(|service| service.wanted);
    let mut parts = Vec::new();
    for state in [Ready, Completed] {
        let count = wanted().filter(|service| service.state == state).count();
        if count > 0 {
            parts.push(format!("{count} {}", state.as_str()));
        }
    }
    let failed: Vec<&str> = wanted()
        .filter(|service| matches!(service.state, Failed | Backoff))
        .map(|service| service.name.as_str())
        .collect();
    if !failed.is_empty() {
        let more = if failed.len() > MOST_NAMES { ", ..." } else { "" };
        let names = failed[..failed.len().min(MOST_NAMES)].join(", ");
        parts.push(format!("{} failed ({names}{more})", failed.len()));
    }
    match parts.is_empty() {
        true => "nothing runs".to_owned(),
        false => parts.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::{Failure, Reason};

    fn nothing() -> Snapshot {
        Snapshot {
            generation: 1,
            settled: true,
            services: Vec::new(),
        }
    }

    fn settled(failed: bool) -> EventKind {
        EventKind::Settled { generation: 1, failed }
    }

    fn applied() -> EventKind {
        EventKind::ConfigApplied {
            generation: 1,
            steps: Vec::new(),
            unchanged: 0,
        }
    }

    #[test]
    fn a_listener_that_never_reads_costs_no_memory() {
        let mut unsent = VecDeque::new();
        for n in 0..1000 {
            enqueue(&mut unsent, format!("STATUS={n}"));
        }
        assert_eq!(unsent, ["STATUS=999"]);
        for n in 0..1000 {
            enqueue(&mut unsent, format!("RELOADING=1\nMONOTONIC_USEC={n}"));
        }
        assert_eq!(unsent.len(), MOST_UNSENT);
        assert_eq!(unsent.back().unwrap(), "RELOADING=1\nMONOTONIC_USEC=999");
    }

    #[test]
    fn ready_comes_once_with_the_first_rest_without_failure() {
        let mut told = Told {
            main_pid: Some(7),
            ..Told::default()
        };
        assert_eq!(
            told.words(&applied(), 0, nothing),
            None,
            "the first definition is no reload"
        );
        assert_eq!(told.words(&settled(true), 0, nothing).unwrap(), "STATUS=nothing runs");
        assert_eq!(told.words(&settled(false), 0, nothing).unwrap(), "READY=1\nMAINPID=7");
        assert_eq!(told.words(&settled(false), 0, nothing), None);
        let failure = Failure {
            reason: Reason::ExitCode,
            message: "secret".into(),
            suggestion: None,
        };
        assert_eq!(
            told.words(&EventKind::Failed { failure }, 0, nothing),
            None,
            "nothing new"
        );
    }

    #[test]
    fn an_edit_is_a_reload_that_ends_however_it_went() {
        let mut told = Told::default();
        told.words(&settled(false), 0, nothing);
        let begun = told.words(&applied(), 5_000_000, nothing).unwrap();
        assert_eq!(begun, "RELOADING=1\nMONOTONIC_USEC=5000\nSTATUS=applying an edit");
        let done = told.words(&settled(true), 0, nothing).unwrap();
        assert_eq!(done, "READY=1\nSTATUS=nothing runs");
    }

    #[test]
    fn the_end_is_one_line_whatever_the_reason_holds() {
        let because = "runner\ndown\u{7}".to_owned();
        let words = Told::default()
            .words(&EventKind::Ending { because }, 0, nothing)
            .unwrap();
        assert_eq!(words, "STOPPING=1\nSTATUS=stopping: runnerdown");
    }

    #[test]
    fn nobody_there_is_said_once() {
        let mut upward = Upward {
            listener: Some(Listener::at("/nosuch/place").unwrap()),
            told: Told::default(),
            watchdog: None,
            unsent: VecDeque::new(),
            wait_ns: AGAIN_NS.0,
            due_ns: None,
            complained: false,
        };
        upward.hear(&settled(false), 1, nothing);
        assert_eq!(upward.deadline(), Some(1));
        assert!(upward.speak(1).unwrap().contains("No such file"));
        upward.hear(&EventKind::Ending { because: String::new() }, 2, nothing);
        assert_eq!(upward.speak(2), None);
        assert_eq!(upward.deadline(), None);
    }

    #[test]
    fn a_full_queue_is_tried_again_in_order_and_a_sign_of_life_comes_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let ears = UnixDatagram::bind(&path).unwrap();
        let mut upward = Upward {
            listener: Some(Listener::at(path.to_str().unwrap()).unwrap()),
            told: Told::default(),
            watchdog: Some(Watchdog {
                period_ns: 1000,
                next_ns: 1,
            }),
            unsent: VecDeque::new(),
            wait_ns: AGAIN_NS.0,
            due_ns: None,
            complained: false,
        };
        let hear = || {
            let mut bytes = [0; 512];
            let count = ears.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..count].to_vec()).unwrap()
        };
        upward.speak(1);
        assert_eq!((hear(), upward.deadline()), ("WATCHDOG=1".to_owned(), Some(1001)));
        let listener = upward.listener.as_ref().unwrap();
        let mut filled = 0;
        while listener.send("full").is_ok() {
            filled += 1;
        }
        upward.hear(&settled(false), 2, nothing);
        upward.hear(&applied(), 2, nothing);
        assert_eq!(upward.speak(2), None);
        for _ in 0..filled {
            assert_eq!(hear(), "full");
        }
        assert_eq!(upward.speak(3), None, "not yet");
        upward.watchdog = None;
        assert_eq!(upward.speak(upward.deadline().unwrap()), None);
        assert!(hear().starts_with("READY=1"));
        assert!(hear().starts_with("RELOADING=1"));
    }
}
