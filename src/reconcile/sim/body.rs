//! The processes of one incarnation, as the machine knows them.

use std::sync::Arc;

use indexmap::IndexMap;

use super::dice::Dice;
use crate::reconcile::fact::ExitStatus;
use crate::spec::{Dependency, Service, ServiceName, Signal, StopScope};

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Ordered,
    Born,
    Running,
    /// The main process is gone, known to the World or not.
    Ended,
}

/// What the main process leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    None,
    /// In its process group.
    Group,
    /// In a session of their own.
    Strays,
}

/// All processes of one incarnation.
pub struct Body {
    pub service: Arc<Service>,
    /// The definition that it was started with; live edits do not reach it.
    pub started: Arc<Service>,
    pub run: u32,
    pub pid: u32,
    pub status: ExitStatus,
    /// The signal that was ordered last.
    pub signalled: Option<Signal>,
    /// What it began with; an edit counts at the next start.
    pub bonds: IndexMap<ServiceName, Dependency>,
    pub stage: Stage,
    /// Its PID file has not named another than the launcher yet.
    pub launching: bool,
    pub rest: Rest,
    /// Stop signals that it does not listen to.
    pub deaf: u64,
    /// SIGKILL does not help before.
    pub stuck_until: u64,
    pub killed: Option<StopScope>,
    pub matched: bool,
    /// Its log has told its outputs.
    pub told: bool,
    /// What the World was told.
    pub executed: bool,
    pub exited: bool,
    pub left: bool,
    pub emptied: bool,
    pub failed: bool,
    pub kill_failed: bool,
    pub probing: [bool; 2],
    pub commanded: bool,
}

impl Body {
    pub fn new(service: Arc<Service>, run: u32, dice: &mut Dice, kind: bool) -> Body {
        let harsh = !kind;
        Body {
            bonds: service.depends_on.clone(),
            started: Arc::clone(&service),
            launching: service.followed_pid_file().is_some(),
            service,
            run,
            pid: 0,
            status: ExitStatus::Unknown,
            signalled: None,
            stage: Stage::Ordered,
            rest: if harsh {
                dice.pick(&[Rest::None, Rest::None, Rest::None, Rest::Group, Rest::Strays])
            } else {
                Rest::None
            },
            deaf: if harsh && dice.once_in(4) { 1 + dice.below(3) } else { 0 },
            stuck_until: 0,
            killed: None,
            matched: false,
            told: false,
            executed: false,
            exited: false,
            left: false,
            emptied: false,
            failed: false,
            kill_failed: false,
            probing: [false; 2],
            commanded: false,
        }
    }

    /// The daemon that a launcher has left is the main process from now on.
    pub fn revive(&mut self, pid: u32, rest: Rest) {
        (self.stage, self.rest) = (Stage::Running, rest);
        (self.exited, self.left, self.launching) = (false, false, false);
        self.pid = pid;
    }

    /// What is left counts as the service's own: there may be the main process among it.
    pub fn answers_for_rest(&self) -> bool {
        self.service.stop_scope != StopScope::Process || self.launching
    }

    pub fn is_alive(&self) -> bool {
        self.stage != Stage::Ended
    }

    /// The World was told that nothing at all is left.
    pub fn is_known_to_be_gone(&self) -> bool {
        self.failed || self.exited && (self.emptied || !self.left)
    }

    /// Nothing that runner answers for is left, and the World was told.
    pub fn may_be_released(&self) -> bool {
        let outside = match self.service.stop_scope {
            StopScope::Process => true,
            StopScope::Group => self.rest != Rest::Group,
            StopScope::Tree => false,
        };
        self.is_known_to_be_gone() || self.exited && outside
    }
}
