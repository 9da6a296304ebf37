//! What is to happen on the simulated machine.

use super::*;

/// What is to happen.
#[derive(Debug)]
pub(super) enum Coming {
    Born(Incarnation, u32),
    Executed(Incarnation),
    Refused(Incarnation, Failure),
    Taken(Incarnation, PortTaken),
    Exit(Incarnation, ExitStatus),
    TellExit(Incarnation, ExitStatus, bool),
    Empty(Incarnation),
    TellEmpty(Incarnation),
    Hopeless(Incarnation),
    Match(Incarnation),
    /// The launcher of a daemon has done its work.
    Launched(Incarnation),
    /// The PID file names the launcher, or the daemon.
    Named(Incarnation, Name),
    Tell(Fact),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Launcher,
    Daemon,
}

/// The run that something is about, by reference or by mutable reference.
macro_rules! run_of {
    ($coming:expr) => {
        match $coming {
            Coming::Born(of, _) | Coming::Executed(of) | Coming::Refused(of, _) | Coming::Exit(of, _) => Some(of),
            Coming::TellExit(of, ..)
            | Coming::TellEmpty(of)
            | Coming::Empty(of)
            | Coming::Hopeless(of)
            | Coming::Match(of) => Some(of),
            Coming::Tell(Fact::Probed { id: of, .. } | Fact::GateProbed { id: of, .. }) => Some(of),
            Coming::Tell(Fact::CommandEnded { id: of, .. } | Fact::Nudged { id: of }) => Some(of),
            Coming::Tell(Fact::StatusTold { id: of, .. } | Fact::MainPidTold { id: of, .. }) => Some(of),
            Coming::Tell(Fact::Adopted { id: of, .. } | Fact::Vanished { id: of }) => Some(of),
            Coming::Tell(Fact::Exited { id: of, .. } | Fact::Evicted { id: of, .. }) => Some(of),
            Coming::Taken(of, _) | Coming::Launched(of) | Coming::Named(of, _) => Some(of),
            Coming::Tell(Fact::Preparing { id: of, .. } | Fact::Prepared { id: of, .. }) => Some(of),
            Coming::Tell(Fact::Rewritten { id: of, .. } | Fact::OutputFound { id: of, .. }) => Some(of),
            Coming::Tell(Fact::MemoryUsed { id: of, .. }) => Some(of),
            Coming::Tell(Fact::PidFileDoubted { id: of, .. }) => Some(of),
            Coming::Tell(_) => None,
        }
    };
}

impl Coming {
    pub(super) fn probe(&self) -> Option<Incarnation> {
        match self {
            Coming::Tell(Fact::Probed { id, .. } | Fact::GateProbed { id, .. }) => Some(*id),
            _ => None,
        }
    }
}

impl Coming {
    pub(super) fn is_about(&self, id: Incarnation) -> bool {
        run_of!(self).is_some_and(|of| *of == id)
    }

    /// Only the daemon that asked for it would have been told.
    pub(super) fn ends_with_the_daemon(&self) -> bool {
        matches!(
            self,
            Coming::Tell(Fact::Probed { .. } | Fact::GateProbed { .. } | Fact::CommandEnded { .. })
                | Coming::Tell(
                    Fact::Evicted { .. } | Fact::Preparing { .. } | Fact::Prepared { .. } | Fact::Rewritten { .. }
                )
                | Coming::Tell(Fact::MemoryUsed { .. })
                | Coming::Taken(..)
        )
    }

    /// The run that it is about, to be renamed.
    pub(super) fn of_mut(&mut self) -> Option<&mut Incarnation> {
        run_of!(self)
    }
}
