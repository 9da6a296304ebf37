//! How programs end, and why some can't be started.

use crate::reconcile::fact::ExitStatus;
use crate::reconcile::failure::{Failure, Reason};
use crate::reconcile::sim::dice::Dice;
use crate::spec::Signal;

pub fn status(dice: &mut Dice) -> ExitStatus {
    match dice.below(5) {
        0 | 1 => ExitStatus::Code(0),
        2 => ExitStatus::Code(dice.below(256) as i32),
        3 => ExitStatus::Signal(dice.pick(&[Signal::KILL, Signal::TERM, Signal::QUIT])),
        _ => dice.pick(&[ExitStatus::Code(3), ExitStatus::Unknown, ExitStatus::Code(1)]),
    }
}

pub fn port_in_use() -> Failure {
    Failure {
        reason: Reason::PortInUse,
        message: "port 3000 is in use".to_owned(),
        suggestion: None,
    }
}

pub fn refusal(dice: &mut Dice) -> Failure {
    let reason = dice.pick(&[
        Reason::Busy,
        Reason::Busy,
        Reason::OutOfResources,
        Reason::CommandNotFound,
        Reason::WorkingDirMissing,
        Reason::PortInUse,
    ]);
    Failure {
        reason,
        message: reason.as_str().to_owned(),
        suggestion: None,
    }
}
