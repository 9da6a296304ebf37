//! Small words that several types of the room share.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of one service: `web`, or `web@1` for one member of a replicated service.
///
/// Checked by `config`: letters, digits, `_`, `-`, `.` (not at the start), at most 64 bytes, with at most
/// one `@`. It is therefore safe as a file name, as a log prefix and in a table.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// Wraps a name that was checked already (by `config`, or because it came out of a checked `Project`).
    pub fn new(checked: impl AsRef<str>) -> Self {
        Self(Arc::from(checked.as_ref()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `web` of `web@1`: the name under which it is declared.
    pub fn base(&self) -> &str {
        self.0.split_once('@').map_or(&self.0, |(base, _)| base)
    }

    /// The same of a member; `None` of a service that is not one of several.
    pub fn group(&self) -> Option<&str> {
        self.0.split_once('@').map(|(base, _)| base)
    }

    /// `web@1`.
    pub fn member(group: &str, instance: &str) -> ServiceName {
        ServiceName::new(format!("{group}@{instance}"))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A command, ready to execute: never empty, no NUL bytes inside.
///
/// When `shell` is set the words are those of `project.shell` followed by the script text, so `words` is
/// always what is executed and `shell` only says how it came about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Argv {
    pub words: Vec<String>,
    pub shell: bool,
}

impl Argv {
    /// What the user would recognise: the script for a shell command, else the words.
    pub fn display(&self) -> String {
        match (self.shell, self.words.last()) {
            (true, Some(script)) => script.clone(),
            _ => self.words.join(" "),
        }
    }
}

/// A signal by its number on this platform; shown by its name.
///
/// Parsing of names is `config`'s, the table of names is here so that code, file, CLI and API agree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(i32);

/// Names and Linux/macOS numbers as `libc` gives them for the platform we are built for.
const SIGNALS: &[(&str, i32)] = &[
    ("SIGHUP", libc::SIGHUP),
    ("SIGINT", libc::SIGINT),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGILL", libc::SIGILL),
    ("SIGTRAP", libc::SIGTRAP),
    ("SIGABRT", libc::SIGABRT),
    ("SIGBUS", libc::SIGBUS),
    ("SIGFPE", libc::SIGFPE),
    ("SIGKILL", libc::SIGKILL),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGSEGV", libc::SIGSEGV),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGPIPE", libc::SIGPIPE),
    ("SIGALRM", libc::SIGALRM),
    ("SIGTERM", libc::SIGTERM),
    ("SIGCHLD", libc::SIGCHLD),
    ("SIGCONT", libc::SIGCONT),
    ("SIGSTOP", libc::SIGSTOP),
    ("SIGTSTP", libc::SIGTSTP),
    ("SIGTTIN", libc::SIGTTIN),
    ("SIGTTOU", libc::SIGTTOU),
    ("SIGURG", libc::SIGURG),
    ("SIGXCPU", libc::SIGXCPU),
    ("SIGXFSZ", libc::SIGXFSZ),
    ("SIGVTALRM", libc::SIGVTALRM),
    ("SIGPROF", libc::SIGPROF),
    ("SIGWINCH", libc::SIGWINCH),
    ("SIGIO", libc::SIGIO),
    ("SIGSYS", libc::SIGSYS),
    #[cfg(target_os = "linux")]
    ("SIGPWR", libc::SIGPWR),
    #[cfg(target_os = "linux")]
    ("SIGSTKFLT", libc::SIGSTKFLT),
];

/// The first and last real-time signal that a program may use under glibc (signal(7)).
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

impl Signal {
    pub const TERM: Signal = Signal(libc::SIGTERM);
    pub const KILL: Signal = Signal(libc::SIGKILL);
    pub const INT: Signal = Signal(libc::SIGINT);
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    pub const HUP: Signal = Signal(libc::SIGHUP);
    pub const CONT: Signal = Signal(libc::SIGCONT);

    /// A signal as the kernel reported it (exit status); any number is shown, unknown ones as `signal N`.
    pub fn from_number(number: i32) -> Self {
        Signal(number)
    }

    /// `SIGTERM`, `TERM`, `term`, `SIGRTMIN+3`; `None` for anything else, numbers included.
    pub fn from_name(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(rest) = bare.strip_prefix("RTMIN") {
            let offset = if rest.is_empty() {
                0
            } else {
                rest.strip_prefix('+')?.parse().ok()?
            };
            let number = REAL_TIME.start().checked_add(offset)?;
            return REAL_TIME.contains(&number).then_some(Signal(number));
        }
        SIGNALS
            .iter()
            .find(|(known, _)| &known[3..] == bare)
            .map(|&(_, number)| Signal(number))
    }

    pub fn number(self) -> i32 {
        self.0
    }

    /// Every name that [`Signal::from_name`] accepts, for suggestions and the schema.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SIGNALS.iter().map(|&(name, _)| name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(&(name, _)) = SIGNALS.iter().find(|&&(_, number)| number == self.0) {
            return f.pad(name);
        }
        if REAL_TIME.contains(&self.0) {
            return f.pad(&format!("SIGRTMIN+{}", self.0 - REAL_TIME.start()));
        }
        f.pad(&format!("signal {}", self.0))
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A size in bytes.
pub type Bytes = u64;
