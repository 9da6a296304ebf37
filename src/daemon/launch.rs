//! From a checked service to everything that a fork needs: environment, program candidates, numbers for names.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use crate::guardian::orders::{Credentials, Launch, Record, Stdio, Ticket};
use crate::guardian::records::{cgroup, mark};
use crate::guardian::{MARK, errands};
use crate::reconcile::{Failure, Incarnation, Reason};
use crate::spec::{Argv, Service};
use crate::sys;
use crate::sys::search::{DEFAULT_PATH, candidates};
use crate::sys::users::{Account, Ids};

/// Of services that say nothing else.
pub const DEFAULT_UMASK: u32 = 0o022;

/// Variables of runner's own surroundings that mean something only there.
const PRIVATE: &[&str] = &[
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    MARK,
];

/// The environment as it was when the project was started. Taken once and used for every later start.
#[derive(Debug)]
pub struct Captured(Vec<(OsString, OsString)>);

impl Captured {
    pub fn now() -> Captured {
        Captured(
            std::env::vars_os()
                .filter(|(key, _)| !PRIVATE.iter().any(|private| key == private))
                .collect(),
        )
    }

    pub fn variables(&self) -> &[(OsString, OsString)] {
        &self.0
    }
}

/// What the processes of one run have in common: the service itself, its probes, its stop command. A project may have a
/// thousand of them, so what can be worked out again is not kept.
#[derive(Clone, Debug)]
pub struct Setting {
    pub id: Incarnation,
    service: Arc<Service>,
    surroundings: Arc<Surroundings>,
    account: Option<Account>,
    /// `NOTIFY_SOCKET` and its like.
    given: Vec<(&'static str, Vec<u8>)>,
}

/// What a process is in its run.
#[derive(Debug)]
pub enum Role {
    /// The service itself, with its record where there is a place for it.
    Service(Option<Record>),
    /// A probe, a stop command.
    Errand,
}

/// What all runs of a project have in common.
#[derive(Debug)]
pub struct Surroundings {
    pub captured: Captured,
    /// The console shows colours.
    pub colour: bool,
    /// Ours in the mark of every process: two projects may count the same tickets.
    pub instance: String,
}

impl Setting {
    /// Looks up users and limits; a failure is one of the typed reasons.
    pub fn of(id: Incarnation, service: &Arc<Service>, surroundings: &Arc<Surroundings>) -> Result<Setting, Failure> {
        let account = sys::users::resolve(service.user.as_deref(), service.group.as_deref())?;
        if let Some((message, what)) = account.as_ref().and_then(sys::users::obstacle) {
            return Err(Failure {
                reason: Reason::PermissionDenied,
                message,
                suggestion: Some(format!("{what}, or take `user` away from services.{}", service.name)),
            });
        }
        Ok(Setting {
            account,
            ..Setting::without_account(id, service, surroundings)
        })
    }

    /// Of a service that runs as we do.
    pub fn without_account(id: Incarnation, service: &Arc<Service>, surroundings: &Arc<Surroundings>) -> Setting {
        Setting {
            id,
            service: service.clone(),
            surroundings: surroundings.clone(),
            account: None,
            given: Vec::new(),
        }
    }

    /// Sets a variable that nothing in the file can change.
    pub fn give(&mut self, key: &'static str, value: Vec<u8>) {
        self.given.push((key, value));
    }

    /// What a process of this ticket carries.
    pub fn mark(&self, ticket: Ticket) -> String {
        mark(&self.surroundings.instance, ticket)
    }

    pub fn given(&self, key: &str) -> Option<&[u8]> {
        let mut given = self.given.iter().filter(|(name, _)| *name == key);
        given.next().map(|(_, value)| value.as_slice())
    }

    pub fn credentials(&self) -> Option<Credentials> {
        let Ids { uid, gid, groups } = self.account.as_ref()?.ids.clone();
        Some(Credentials { uid, gid, groups })
    }

    /// Later wins: the captured environment, the user's own, the service's, what runner gives; defaults where nothing
    /// is set.
    fn environment(&self) -> BTreeMap<&[u8], &[u8]> {
        let mut env = BTreeMap::<&[u8], &[u8]>::new();
        if !self.service.clear_env {
            for (key, value) in self.surroundings.captured.variables() {
                env.insert(bytes(key), bytes(value));
            }
        }
        if let Some(account) = &self.account {
            // As systemd's User= does.
            for key in ["USER", "LOGNAME"] {
                env.insert(bytes(key), bytes(&account.name));
            }
            env.insert(b"HOME", bytes(&account.home));
            if let Some(shell) = &account.shell {
                env.insert(b"SHELL", bytes(shell));
            }
        }
        for (key, value) in &self.service.env {
            env.insert(bytes(key), bytes(value));
        }
        for (key, value) in &self.given {
            env.insert(key.as_bytes(), value);
        }
        env.entry(b"PATH").or_insert(DEFAULT_PATH.as_bytes());
        if self.service.tty {
            env.entry(b"TERM").or_insert(b"xterm");
        }
        env.entry(b"PYTHONUNBUFFERED").or_insert(b"1");
        if self.surroundings.colour {
            env.entry(b"FORCE_COLOR").or_insert(b"1");
        }
        env
    }

    pub fn path(&self) -> OsString {
        let path = self
            .environment()
            .get(&b"PATH"[..])
            .map_or(Vec::new(), |path| path.to_vec());
        OsString::from_vec(path)
    }

    pub fn working_dir(&self) -> &Path {
        &self.service.working_dir
    }

    /// Who it runs as; `None`: as we do.
    pub fn ids(&self) -> Option<Ids> {
        self.account.as_ref().map(|account| account.ids.clone())
    }

    /// As written in the file.
    pub fn user(&self) -> Option<&str> {
        self.service.user.as_deref()
    }

    pub fn limits(&self) -> Vec<(u32, u64, u64)> {
        self.service
            .limits
            .iter()
            .map(|(&resource, &limit)| sys::limits::triple(resource, limit))
            .collect()
    }

    /// A process of this run.
    pub fn launch(&self, ticket: Ticket, command: &Argv, stdio: [Stdio; 3], role: Role) -> Launch {
        let (is_service, record) = match role {
            Role::Service(record) => (true, record),
            Role::Errand => (false, None),
        };
        let environment = self.environment();
        let path = environment
            .get(&b"PATH"[..])
            .map_or(OsStr::new(""), |path| OsStr::from_bytes(path));
        let programs = candidates(OsStr::new(&command.words[0]), path);
        let instance = &self.surroundings.instance;
        let mark = match is_service {
            true => self.mark(ticket),
            false => errands::mark(instance, ticket),
        };
        let mark = format!("{MARK}={mark}");
        let mut env: Vec<Vec<u8>> = environment
            .iter()
            .map(|(key, value)| [key, &b"="[..], value].concat())
            .collect();
        env.push(mark.into_bytes());
        Launch {
            ticket,
            label: self.service.name.to_string(),
            run: self.id.run,
            programs,
            argv: command.words.iter().map(|word| word.clone().into_bytes()).collect(),
            env,
            working_dir: self.working_dir().as_os_str().as_bytes().to_vec(),
            credentials: self.credentials(),
            umask: self.service.umask.unwrap_or(DEFAULT_UMASK),
            nice: self.service.nice,
            limits: self.limits(),
            stdio,
            sockets: Vec::new(),
            cgroup: is_service.then(|| cgroup(instance, self.service.name.as_str(), self.id.run)),
            pid_file: is_service && self.service.followed_pid_file().is_some(),
            terminal: is_service && self.service.tty,
            reap_tree: !is_service,
            record,
            keeps: 0,
        }
    }
}

impl Launch {
    /// Variables that one process gets besides; they win.
    pub fn tell(&mut self, variables: &[(&'static str, String)]) {
        for (key, value) in variables {
            let begin = format!("{key}=").into_bytes();
            self.env.retain(|variable| !variable.starts_with(&begin));
            self.env.push([&begin[..], value.as_bytes()].concat());
        }
    }
}

fn bytes<T: AsRef<OsStr> + ?Sized>(text: &T) -> &[u8] {
    text.as_ref().as_bytes()
}
