//! What daemon and guardian say to each other: `Order` down, `Report` up.
//!
//! Both ends are always the same build (the guardian starts the daemon from its own executable, and `upgrade`
//! replaces both), so the encoding is postcard: a `u32` length in little endian, then the value. Descriptors travel
//! beside the bytes by SCM_RIGHTS and are claimed in order by the messages that name them.

use serde::{Deserialize, Serialize};

use crate::reconcile::ExitStatus;
use crate::sys::sockets::BoundTo;

/// One forked thing (a service's run, an exec probe, a stop command), chosen by the daemon, unique for the
/// boot. The guardian tells in `Hello` from where to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(pub u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Fork, set up, record, open the gate, execute.
    Spawn(Box<Launch>),
    /// To the main process or to its group. Never fails loudly: what is gone needs no signal. `wakes`: SIGCONT follows,
    /// except after SIGKILL, so that what is stopped hears of it.
    Signal {
        ticket: Ticket,
        signal: i32,
        target: Target,
        wakes: bool,
    },
    /// SIGKILL. With `sweep`, also every descendant that left the group, until nothing is left.
    Kill {
        ticket: Ticket,
        target: Target,
        sweep: bool,
    },
    /// From now on this descendant of the ticket's tree is its main process (`MAINPID=`, a PID file). The trust rule of
    /// `faults.md` (PF) is checked by the guardian; answered by `Followed` or `NotFollowed`.
    Follow { ticket: Ticket, pid: u32 },
    /// Take over a process that something else has started; answered by `TakenOver` or `NotTakenOver`.
    TakeOver(Box<Adoption>),
    /// The end was taken into account: forget the ticket, close its descriptors, remove its record.
    Release { ticket: Ticket },
    /// Hold the bound socket that came with this order, for launches and for the next daemon.
    HoldSocket,
    /// Close it, unless it was there before us.
    CloseSocket(BoundTo),
    /// Hold what another guardian has launched, and what it has left. Answered by `Held` for what is there, or of which it is
    /// known how it has ended, then `HeldAll`; the record of everything else is removed.
    Adopt(Vec<Orphan>),
    /// The daemon is about to end: become this program, which holds everything as we did and starts a daemon of its own.
    Renew { program: Vec<u8> },
    /// The daemon is about to end because everything is over: end too, and with it what is only run beside services.
    Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    Process,
    Group,
}

/// All that a fork needs, resolved by the daemon (user names to numbers, PATH to candidates), so that the child has
/// nothing to look up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    pub ticket: Ticket,
    /// Service name, for the record.
    pub label: String,
    pub run: u32,
    /// Tried in this order like execvp(3): absolute paths, or paths relative to `working_dir`.
    pub programs: Vec<Vec<u8>>,
    pub argv: Vec<Vec<u8>>,
    /// `KEY=value`, complete: only `LISTEN_PID` is added where there are `sockets`.
    pub env: Vec<Vec<u8>>,
    pub working_dir: Vec<u8>,
    pub credentials: Option<Credentials>,
    pub umask: u32,
    pub nice: Option<i32>,
    /// (RLIMIT_ number, soft, hard).
    pub limits: Vec<(u32, u64, u64)>,
    /// Descriptors 0, 1, 2.
    pub stdio: [Stdio; 3],
    /// Descriptors 3, 4, ...: of the sockets that the guardian holds.
    pub sockets: Vec<BoundTo>,
    /// Written (temporary file, rename) before the gate opens: a JSON object to which the guardian adds the identity.
    pub record: Option<Record>,
    /// `PROJECT.runner/NAME`: the control group that it is born into where groups can be made; else its process group and
    /// a sweep have to do.
    pub cgroup: Option<String>,
    /// Its service has a PID file: it is expected to leave a daemon, which is to be found.
    pub pid_file: bool,
    /// Descriptor 0, which is a terminal, controls its session.
    pub terminal: bool,
    /// Report `Exited` only; this thing's descendants are killed with it at once (exec probes, stop commands).
    pub reap_tree: bool,
    /// So many more descriptors came with this order, which the guardian holds for the next daemon until `Release`.
    pub keeps: u8,
}

/// All that is needed to take over a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adoption {
    pub ticket: Ticket,
    pub pid: u32,
    /// The user that it has to run as.
    pub uid: u32,
    pub label: String,
    pub run: u32,
    /// Device and inode of the executable that it has to run.
    pub program: (u64, u64),
    pub record: Option<Record>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stdio {
    /// /dev/null.
    Null,
    /// A FIFO of this path, opened read-write; the guardian holds it open as well until `Release`.
    Fifo(Vec<u8>),
    /// The next descriptor that came with this order.
    Passed,
    /// The guardian's own of this number. Who has it as 0 stays in the guardian's session, in a group of its own, which
    /// gets the terminal.
    Inherited,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub path: Vec<u8>,
    /// JSON object, without secrets.
    pub body: String,
}

/// Which process this is, beyond its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// Inode of its pidfd where the kernel has pidfs (unique per boot), else 0.
    pub pidfd_inode: u64,
    /// Field 22 of /proc/PID/stat in clock ticks, 0 when it could not be read.
    pub start_ticks: u64,
}

/// The step of a launch that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    Fork,
    Record,
    Session,
    Limits,
    Nice,
    Stdio,
    Groups,
    Group,
    User,
    WorkingDir,
    Exec,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// First message on a new connection. `before`: there was another daemon; a `Held` for each thing that it has left
    /// follows, then `HeldAll`.
    /// So many `Socket` come right behind it.
    Hello {
        next_ticket: u64,
        pid: u32,
        sockets: u32,
        before: Option<Before>,
    },
    /// A socket that is held comes with it. `given`: whoever started runner has bound it, and it is never closed.
    Socket {
        given: bool,
    },
    /// Its descriptors (`keeps` of the launch) come with it.
    Held(Box<Holding>),
    HeldAll,
    /// Forked and recorded; the gate is open.
    Spawned {
        ticket: Ticket,
        identity: Identity,
    },
    /// The close-on-exec pipe ended without a word.
    Executed {
        ticket: Ticket,
    },
    /// Nothing of it is left, it was reaped, its ticket is forgotten. `index` = which program (Exec) or limit (Limits).
    SpawnFailed {
        ticket: Ticket,
        stage: Stage,
        errno: i32,
        index: u32,
    },
    /// The main process ended. `left`: others of its tree are still there (then `Emptied` follows once they are not).
    Exited {
        ticket: Ticket,
        status: ExitStatus,
        left: bool,
    },
    Emptied {
        ticket: Ticket,
    },
    /// After `Kill` with nothing more to try for now: `pid (name, state)` of what is still there.
    KillFailed {
        ticket: Ticket,
        leftovers: Vec<String>,
    },
    Followed {
        ticket: Ticket,
        identity: Identity,
    },
    NotFollowed {
        ticket: Ticket,
        pid: u32,
        why: String,
    },
    TakenOver {
        ticket: Ticket,
        identity: Identity,
    },
    /// Nothing of the ticket is known afterwards.
    NotTakenOver {
        ticket: Ticket,
        pid: u32,
        why: String,
    },
}

/// How the daemon before this one ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    pub status: ExitStatus,
    /// Deaths within the last minute, this one included.
    pub deaths: u32,
    /// Somebody asked the guardian to end (SIGTERM, SIGINT) while there was no daemon to be told.
    pub asked_to_end: bool,
    /// It made way for another version.
    pub upgraded: bool,
}

/// One launch as the guardian holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holding {
    pub ticket: Ticket,
    pub label: String,
    pub run: u32,
    /// What was forked.
    pub launched: u32,
    pub main: Identity,
    /// Its program was executed, or it has ended.
    pub executed: bool,
    /// The latest signal of a `Signal` order to it.
    pub signalled: Option<i32>,
    pub end: Option<End>,
    pub keeps: u8,
}

/// A launch of a guardian that is no more, as its record tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Orphan {
    pub ticket: Ticket,
    pub label: String,
    pub run: u32,
    pub identity: Identity,
    pub uid: u32,
    /// What its processes carry in [`super::MARK`].
    pub mark: Vec<u8>,
    /// As of [`Launch`].
    pub pid_file: bool,
    pub fifos: Vec<Vec<u8>>,
    /// The control group that it was born in, by name, if there was one.
    pub cgroup: Option<String>,
    pub record: Vec<u8>,
}

/// The end of a main process whose ticket was not released.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    pub status: ExitStatus,
    /// Others of its tree are still there.
    pub left: bool,
}

impl From<Identity> for crate::sys::identity::Identity {
    fn from(known: Identity) -> Self {
        crate::sys::identity::Identity {
            pid: known.pid,
            pidfd_inode: known.pidfd_inode,
            start_ticks: known.start_ticks,
        }
    }
}

impl From<crate::sys::identity::Identity> for Identity {
    fn from(found: crate::sys::identity::Identity) -> Self {
        Identity {
            pid: found.pid,
            pidfd_inode: found.pidfd_inode,
            start_ticks: found.start_ticks,
        }
    }
}

impl From<crate::sys::users::Ids> for Credentials {
    fn from(ids: crate::sys::users::Ids) -> Self {
        Credentials {
            uid: ids.uid,
            gid: ids.gid,
            groups: ids.groups,
        }
    }
}

impl From<Credentials> for crate::sys::users::Ids {
    fn from(credentials: Credentials) -> Self {
        crate::sys::users::Ids {
            uid: credentials.uid,
            gid: credentials.gid,
            groups: credentials.groups,
        }
    }
}

macro_rules! same_stages {
    ($($stage:ident),*) => {
        impl From<crate::sys::spawn::Stage> for Stage {
            fn from(stage: crate::sys::spawn::Stage) -> Self {
                match stage { $(crate::sys::spawn::Stage::$stage => Stage::$stage),* }
            }
        }

        impl From<Stage> for crate::sys::spawn::Stage {
            fn from(stage: Stage) -> Self {
                match stage { $(Stage::$stage => crate::sys::spawn::Stage::$stage),* }
            }
        }
    };
}

same_stages!(
    Fork, Record, Session, Limits, Nice, Stdio, Groups, Group, User, WorkingDir, Exec
);
