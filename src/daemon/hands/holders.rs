//! Who holds a port that a service declares, and the end of those that may be ended.
//!
//! Never ended: process 1, this runner, what it looks after now, another runner and everything below it or started by it, and
//! processes of other users (except what this project itself has left behind).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::origin::{Origin, Seen, Us, origin};
use super::refusals::check;
use super::{Hands, Inbox, Run};
use crate::guardian::MARK;
use crate::guardian::orders::Ticket;
use crate::guardian::records;
use crate::reconcile::{Fact, Failure, Holder, Incarnation, PortTaken, Reason};
use crate::spec::{Port, Rung, Service, Signal};
use crate::sys::identity::{self, Identity};
use crate::sys::ports::{Holders, PortOwner, PortTrouble};
use crate::sys::processes::Stat;
use crate::sys::{pidfd, ports, processes, users};

/// So long a process may take to go after SIGKILL.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// A start that met a port of somebody else, until the next start of the same service.
pub(super) struct Conflict {
    number: u16,
    culprits: Rc<Vec<Culprit>>,
    /// Notices their end, or brings it about.
    task: AbortHandle,
}

impl Drop for Conflict {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A process that holds a port. It is held itself: its number can't become another's unnoticed.
struct Culprit {
    held: OwnedFd,
    /// `node (pid 8123)`.
    words: String,
}

impl Culprit {
    /// Held before it is looked at: what is found out afterwards is true of what is held.
    fn hold(pid: u32) -> io::Result<Culprit> {
        let held = pidfd::open(pid)?;
        let name = processes::stat(pid).map_or_else(|| "a process".to_owned(), |stat| stat.name);
        Ok(Culprit {
            held,
            words: format!("{name} (pid {pid})"),
        })
    }

    /// Returns once it has exited: perhaps not reaped yet, but its sockets are closed.
    async fn end(&self) -> io::Result<()> {
        pidfd::ended(self.held.as_fd()).await
    }
}

async fn all_end(culprits: &[Culprit]) -> io::Result<()> {
    for culprit in culprits {
        culprit.end().await?;
    }
    Ok(())
}

/// What a process is to us.
enum Kind {
    Leftover,
    Stranger,
    Spared(String),
}

impl Hands {
    /// Tells the World who holds the port. From then on it is noticed when they end by themselves.
    pub(super) fn port_is_taken(&mut self, id: Incarnation, service: &Service, owner: PortOwner) {
        let (number, protocol) = (owner.port, owner.protocol);
        let (holder, culprits) = self.holder(&owner.holders, service);
        let port = service
            .ports
            .iter()
            .find(|(_, port)| (port.number, port.protocol) == (number, protocol))
            .map_or_else(String::new, |(name, _)| name.clone());
        let failure = PortTrouble::Taken(owner).failure();
        if !culprits.is_empty() {
            let culprits = Rc::new(culprits);
            let (watched, inbox) = (culprits.clone(), self.inbox.clone());
            let watch = tokio::task::spawn_local(async move {
                if all_end(&watched).await.is_ok() {
                    let _ = inbox.send(Inbox::Fact(Fact::HolderEnded { id }));
                }
            });
            let conflict = Conflict {
                number,
                culprits,
                task: watch.abort_handle(),
            };
            self.conflicts.insert(id.service, conflict);
        }
        let taken = PortTaken { port, holder, failure };
        self.known.push_back(Fact::PortTaken { id, taken });
    }

    /// Why the ports that it binds itself can't be used, if so. One that is shared is not in the way of those that share it.
    pub(super) fn port_trouble(&self, service: &Service) -> Option<PortTrouble> {
        service.own_ports().find_map(|(_, port)| {
            let wanted = check(port);
            if !port.shared {
                return ports::conflict(&[wanted]);
            }
            if ports::can_be_had(wanted) {
                return None;
            }
            let mut holders = ports::holders(wanted);
            let all = holders.pids.len();
            holders.pids.retain(|&pid| !self.shares(pid, port));
            // Nobody listens, and something is in the way all the same: not one of those.
            let is_shared = all > 0 && holders.pids.is_empty() && !holders.hidden;
            (!is_shared).then(|| ports::taken_by(wanted, holders))
        })
    }

    /// Whether a process is of a service of this project that declares the same port and shares it.
    fn shares(&self, pid: u32, port: &Port) -> bool {
        let mark = processes::environment_value(pid, MARK).and_then(|mark| String::from_utf8(mark).ok());
        let run = self.run_of(&processes::lineage(pid), mark.as_deref());
        run.is_some_and(|run| {
            let mut theirs = run.service.ports.values();
            theirs.any(|other| other.shared && (other.number, other.protocol) == (port.number, port.protocol))
        })
    }

    pub(super) fn evict(&mut self, id: Incarnation, ladder: Vec<Rung>) {
        let (number, culprits) = match self.conflicts.remove(&id.service) {
            Some(conflict) => (conflict.number, conflict.culprits.clone()),
            None => (0, Rc::default()),
        };
        let (all, inbox) = (culprits.clone(), self.inbox.clone());
        let task = tokio::task::spawn_local(async move {
            let result = end_all(&all, &ladder, number).await;
            let _ = inbox.send(Inbox::Fact(Fact::Evicted { id, result }));
        });
        let conflict = Conflict {
            number,
            culprits,
            task: task.abort_handle(),
        };
        self.conflicts.insert(id.service, conflict);
    }

    /// Everybody who holds the port (and, of a leftover, all that belongs to it), and what that means.
    fn holder(&self, found: &Holders, service: &Service) -> (Holder, Vec<Culprit>) {
        let (pids, mut culprits) = (&found.pids, Vec::new());
        if pids.is_empty() && !found.hidden {
            let why = "nobody listens there, it is one end of a connection".to_owned();
            return (Holder::Spared(why), culprits);
        }
        let mut spared = found.hidden.then(|| "runner may not look at it".to_owned());
        let mut leftovers = 0;
        for &pid in pids {
            match Culprit::hold(pid) {
                Ok(culprit) => culprits.push(culprit),
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
                Err(error) => spared = Some(format!("it can't be held ({error})")),
            }
            match self.kind_of(pid, service) {
                Kind::Leftover => leftovers += 1,
                Kind::Stranger => {}
                Kind::Spared(why) => spared = Some(why),
            }
        }
        if let Some(why) = spared {
            return (Holder::Spared(why), culprits);
        }
        if culprits.is_empty() || leftovers < culprits.len() {
            return (Holder::Stranger, culprits);
        }
        let kin = self.kin_of(pids, service);
        culprits.extend(kin.into_iter().filter_map(|pid| Culprit::hold(pid).ok()));
        (Holder::Leftover, culprits)
    }

    fn kind_of(&self, pid: u32, service: &Service) -> Kind {
        let spared = |why: &str| Kind::Spared(why.to_owned());
        let number = |pid: nix::unistd::Pid| pid.as_raw().unsigned_abs();
        let (own, guardian) = (number(nix::unistd::getpid()), number(nix::unistd::getppid()));
        if pid <= 1 {
            return spared("it is process 1");
        }
        if pid == own || pid == guardian {
            return spared("it is this runner");
        }
        let pids = |lineage: Vec<Stat>| lineage.into_iter().map(|stat| stat.pid).collect();
        let us = Us {
            guardian,
            above: pids(processes::lineage(guardian)),
            instance: self.surroundings.instance.clone(),
        };
        let lineage = processes::lineage(pid);
        let mark = processes::environment_value(pid, MARK).and_then(|mark| String::from_utf8(mark).ok());
        match origin(&Seen {
            lineage: &lineage,
            mark: mark.as_deref(),
            us: &us,
        }) {
            Origin::Ours | Origin::Earlier => {
                return self
                    .living(&lineage, mark.as_deref())
                    .map_or(Kind::Leftover, Kind::Spared);
            }
            Origin::Other => return spared("it belongs to another runner"),
            Origin::LeftByOther => return spared("another runner has started it"),
            Origin::Unknown => {
                if let Some(words) = self.living(&lineage, None) {
                    return Kind::Spared(words);
                }
                if is_recorded(&lineage, &records::folder(&self.runtime_dir)) {
                    return Kind::Leftover;
                }
            }
        }
        let wanted = users::resolve(service.user.as_deref(), service.group.as_deref()).ok();
        let wanted = wanted.map(|account| account.map_or(nix::unistd::geteuid().as_raw(), |account| account.ids.uid));
        match processes::owner(pid) {
            Some(uid) if Some(uid) == wanted => Kind::Stranger,
            Some(uid) => Kind::Spared(format!("it runs as another user ({})", users::name_of(uid))),
            None => spared("its user is not known"),
        }
    }

    /// Whether a process is of something that lives as it should: of what, in words.
    fn living(&self, lineage: &[Stat], mark: Option<&str>) -> Option<String> {
        let ticket = mark.and_then(|mark| mark.rsplit_once(':')?.1.parse().ok()).map(Ticket);
        if let Some(run) = self.run_of(lineage, mark) {
            return Some(format!("it belongs to `{}` of this project", run.service.name));
        }
        let is_errand = ticket.is_some_and(|ticket| self.claims.contains_key(&ticket));
        is_errand.then(|| "it is a command of this project".to_owned())
    }

    /// The living run that a process belongs to.
    fn run_of(&self, lineage: &[Stat], mark: Option<&str>) -> Option<&Run> {
        let own = lineage.first()?;
        self.runs.values().find(|run| {
            let is_main = |main: u32| own.session == main || lineage.iter().any(|stat| stat.pid == main);
            mark.is_some() && mark == Some(run.mark.as_str()) || run.witness.pid.get().is_some_and(is_main)
        })
    }

    /// The others that were started together with a leftover, by their mark.
    fn kin_of(&self, pids: &[u32], service: &Service) -> Vec<u32> {
        let mark = |pid: u32| processes::environment_value(pid, MARK);
        let marks: Vec<Vec<u8>> = pids.iter().filter_map(|&pid| mark(pid)).collect();
        let all = processes::all().into_iter().map(|stat| stat.pid);
        all.filter(|pid| !pids.contains(pid) && mark(*pid).is_some_and(|mark| marks.contains(&mark)))
            .filter(|&pid| matches!(self.kind_of(pid, service), Kind::Leftover))
            .collect()
    }
}

/// Whether a run that was written down, of this project and by an earlier runner, is this process, above it or leads its session.
fn is_recorded(lineage: &[Stat], records: &Path) -> bool {
    let Some(own) = lineage.first() else { return false };
    let entries = std::fs::read_dir(records).into_iter().flatten().flatten();
    entries.filter_map(|entry| recorded(&entry.path())).any(|recorded| {
        let is_meant = recorded.pid == own.session || lineage.iter().any(|stat| stat.pid == recorded.pid);
        recorded.pid > 1 && is_meant && identity::is_alive(recorded)
    })
}

fn recorded(path: &Path) -> Option<Identity> {
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let number = |key: &str| record.get("identity")?.get(key)?.as_u64();
    Some(Identity {
        pid: u32::try_from(number("pid")?).ok()?,
        pidfd_inode: number("pidfd_inode")?,
        start_ticks: number("start_ticks")?,
    })
}

/// Rung by rung, then SIGKILL, until none of them is left. The answer says who has ended, and of what.
async fn end_all(culprits: &[Culprit], ladder: &[Rung], number: u16) -> Result<String, Failure> {
    let kill = Rung {
        signal: Signal::KILL,
        wait: AFTER_KILL,
    };
    for rung in ladder.iter().chain([&kill]) {
        for culprit in culprits {
            send(culprit, rung.signal)
                .map_err(|error| failure(number, &format!("{} could not be ended: {error}", culprit.words)))?;
        }
        if let Ok(waited) = tokio::time::timeout(rung.wait, all_end(culprits)).await {
            waited.map_err(|error| failure(number, &format!("its end can't be waited for: {error}")))?;
            let names: Vec<&str> = culprits.iter().map(|culprit| culprit.words.as_str()).collect();
            return Ok(match names.as_slice() {
                [] => format!("port {number} is free: who held it has ended"),
                names => format!(
                    "port {number} is free: {} ended after {}",
                    names.join(", "),
                    rung.signal
                ),
            });
        }
    }
    let names: Vec<&str> = culprits.iter().map(|culprit| culprit.words.as_str()).collect();
    Err(failure(
        number,
        &format!("{} did not end after SIGKILL", names.join(", ")),
    ))
}

/// To this very process, whatever has its number. A stopped one hears of it too; one that has ended needs no signal.
fn send(culprit: &Culprit, signal: Signal) -> io::Result<()> {
    let sent = pidfd::signal(culprit.held.as_fd(), signal.number());
    let woken = sent.and_then(|()| pidfd::signal(culprit.held.as_fd(), libc::SIGCONT));
    match woken {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

fn failure(number: u16, what: &str) -> Failure {
    Failure {
        reason: Reason::PortInUse,
        message: format!("port {number} is in use: {what}"),
        suggestion: Some("end it yourself, or give the service another port".to_owned()),
    }
}
