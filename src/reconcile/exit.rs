//! When a project ends by itself, and with which code.

use serde::{Deserialize, Serialize};

use super::event::{Author, Cause};
use super::fact::{ExitStatus, ServiceId};
use super::failure::{Failure, Reason};
use super::machine::{Life, Machine};
use super::words;
use crate::spec::{ExitPolicy, ServiceName};

#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub exit: ExitPolicy,
    pub code_from: Option<ServiceName>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            exit: ExitPolicy::Never,
            code_from: None,
        }
    }
}

/// Everything is being stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ends {
    pub code: u8,
    pub because: String,
    pub by: Author,
    /// Somebody asked a second time: SIGKILL, without order.
    pub hasten: bool,
}

impl Ends {
    /// Asked for by a person or a signal: a clean end.
    pub fn asked(cause: &Cause) -> Self {
        Ends {
            code: 0,
            because: cause.detail.clone(),
            by: cause.by,
            hasten: false,
        }
    }

    fn by_itself(code: u8, because: String) -> Self {
        Ends {
            code,
            because,
            by: Author::Exit,
            hasten: false,
        }
    }
}

/// The code of a service's end as ours: its own, `128 + n` for a signal, 1 where there was none.
fn code_of(status: Option<ExitStatus>) -> u8 {
    match status {
        Some(ExitStatus::Code(code)) => u8::try_from(code).unwrap_or(1),
        Some(ExitStatus::Signal(signal)) => u8::try_from(128 + signal.number()).unwrap_or(1),
        Some(ExitStatus::Unknown) | None => 1,
    }
}

/// Words and code for a service that has ended with no restart due.
fn end_of(machine: &Machine) -> Option<(u8, String, Option<&Failure>)> {
    match &machine.life {
        Life::Completed { status } => Some((
            code_of(Some(*status)),
            format!("{} completed ({})", machine.name(), words::exit(*status)),
            None,
        )),
        Life::Failed { failure, status, .. } => {
            let code = match code_of(*status) {
                // A run that failed with a code that is no failure elsewhere (left processes behind, say).
                0 => 1,
                code => code,
            };
            Some((
                code,
                format!("{} failed: {}", machine.name(), failure.message),
                Some(failure),
            ))
        }
        Life::Doomed { failure } => Some((
            1,
            format!("{} failed: {}", machine.name(), failure.message),
            Some(failure),
        )),
        // A quiet try to start it again is under way.
        life if life.has_failed() => life.failure().map(|failure| {
            let because = format!("{} failed: {}", machine.name(), failure.message);
            (1, because, Some(failure))
        }),
        _ => None,
    }
}

/// As of a shell: the program is not there; it is, and can't be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

impl super::world::World {
    /// What `up -- CMD` ends with, whatever has ended it: the code of CMD, if that came to be executed at all.
    pub(super) fn code_of_command_line(&self) -> Option<u8> {
        let machine = self.machines().find(|machine| machine.spec.is_command_line())?;
        match (&machine.last_end, machine.life.failure()) {
            (Some(end), _) => Some(code_of(Some(end.status))),
            (None, Some(failure)) if failure.reason == Reason::CommandNotFound => Some(NOT_FOUND),
            (None, Some(failure)) if failure.reason.is_permanent() => Some(NOT_EXECUTABLE),
            (None, _) => None,
        }
    }

    /// Whether the services that ended by themselves in this step end the project.
    pub(super) fn judge_ends(&self, ended: &[ServiceId]) -> Option<Ends> {
        if ended.is_empty() || self.is_ending() {
            return None;
        }
        let policy = self.policy();
        let mut by_policy = None;
        for machine in ended
            .iter()
            .filter_map(|&id| self.machine_of(id))
            .filter(|machine| machine.lot.wanted)
        {
            let Some((code, because, failure)) = end_of(machine) else {
                continue;
            };
            if machine.spec.essential || policy.code_from.as_ref() == Some(machine.name()) {
                return Some(Ends::by_itself(code, because));
            }
            let failed = failure.is_some();
            match policy.exit {
                ExitPolicy::Any => by_policy = by_policy.or(Some(Ends::by_itself(u8::from(failed), because))),
                ExitPolicy::Failure if failed => by_policy = by_policy.or(Some(Ends::by_itself(1, because))),
                ExitPolicy::All | ExitPolicy::Failure | ExitPolicy::Never => {}
            }
        }
        if policy.exit == ExitPolicy::All && by_policy.is_none() && self.has_all_ended() {
            let failed = self
                .machines()
                .find(|machine| machine.lot.wanted && machine.life.has_failed() && machine.spec.schedule.is_none());
            by_policy = Some(match failed.and_then(end_of) {
                Some((_, because, _)) => Ends::by_itself(1, because),
                None => Ends::by_itself(0, "all services have ended".to_owned()),
            });
        }
        by_policy
    }
}
