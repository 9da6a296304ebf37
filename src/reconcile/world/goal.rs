//! Whether what somebody waits for has come, may still come, or will not come by itself.

use serde::{Deserialize, Serialize};

use super::World;
use crate::reconcile::machine::{Life, Machine};
use crate::reconcile::snapshot::StateName;
use crate::spec::ServiceName;

/// What is waited for, of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Ready, or completed for what is expected to end. Given up as soon as it has come to rest elsewhere (`start`,
    /// `restart`, `up -d`).
    Up,
    /// The same for who has more patience (`wait`): given up only when it has failed for good.
    Ready,
    /// Nothing of it is left and nothing is due.
    Stopped,
    Completed,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Pending,
    Reached,
    /// It will not come by itself.
    Missed,
}

impl World {
    /// How far a service is. One that does not exist (any more) is as good as stopped.
    pub fn progress(&self, name: &ServiceName, goal: Goal) -> Progress {
        let present = self.by_name.get(name).and_then(|&id| self.node(id));
        let Some(node) = present else {
            return if goal == Goal::Stopped {
                Progress::Reached
            } else {
                Progress::Missed
            };
        };
        let machine = &node.machine;
        let moving = machine.lot.going || machine.is_due();
        let failed = machine.life.has_failed() && !machine.is_due();
        match goal {
            Goal::Up if is_up(machine) => Progress::Reached,
            Goal::Up if self.has_come_to_rest(machine) => Progress::Missed,
            // One that is to be restarted after others serves meanwhile.
            Goal::Ready if is_up(machine) || machine.lot.turn.is_deferred() => Progress::Reached,
            Goal::Completed if !moving && matches!(machine.life, Life::Completed { .. }) => Progress::Reached,
            Goal::Ready | Goal::Completed if failed => Progress::Missed,
            Goal::Failed if failed || machine.life.is_stuck() => Progress::Reached,
            Goal::Stopped if machine.life.is_stuck() => Progress::Missed,
            Goal::Stopped if has_stopped(machine) => Progress::Reached,
            Goal::Up | Goal::Ready | Goal::Stopped | Goal::Completed | Goal::Failed => Progress::Pending,
        }
    }

    /// `None`: something is in transition. Else whether everything wanted is ready or completed.
    pub fn is_settled(&self) -> Option<bool> {
        let settled = self.generation > 0 && self.selection.any && self.tally.moving == 0;
        settled.then_some(self.tally.unwell == 0)
    }

    /// The services that `up` waits for: those that are wanted.
    pub fn wanted(&self) -> Vec<ServiceName> {
        let wanted = self.machines().filter(|machine| machine.lot.wanted);
        wanted.map(|machine| machine.name().clone()).collect()
    }

    pub fn is_stopped_by_hand(&self, name: &ServiceName) -> bool {
        let node = self.by_name.get(name).and_then(|&id| self.node(id));
        node.is_some_and(|node| node.machine.wish.stopped)
    }

    /// What the file and the selection ask for, also where somebody has stopped it by hand.
    pub fn selected(&self) -> Vec<ServiceName> {
        let selected = self
            .machines()
            .filter(|machine| machine.lot.wanted || machine.wish.stopped);
        selected.map(|machine| machine.name().clone()).collect()
    }

    /// Not where it should be, and nothing under way will bring it there soon: a crash loop counts, as it does for
    /// "settled".
    fn has_come_to_rest(&self, machine: &Machine) -> bool {
        let life = &machine.life;
        let quiet = life.has_failed() && !machine.is_due()
            || life.is_stuck()
            || machine.history.looping && life.name() == StateName::Backoff;
        let waits = matches!(life, Life::Waiting { .. } | Life::Stopped | Life::Unhealthy { .. })
            || machine.lot.turn.is_deferred();
        !machine.lot.wanted && !life.is_living() || quiet || waits && self.tally.moving == 0
    }
}

fn is_up(machine: &Machine) -> bool {
    machine.lot.wanted
        && !machine.lot.going
        && !machine.is_due()
        && (matches!(machine.life, Life::Ready { .. } | Life::Completed { .. }) || machine.rests())
}

fn has_stopped(machine: &Machine) -> bool {
    match &machine.life {
        Life::Stopped => !machine.lot.wanted,
        Life::Completed { .. } | Life::Failed { .. } | Life::Doomed { .. } => !machine.is_due(),
        // What it needs was stopped by hand: it comes back only with that.
        Life::Waiting { .. } => machine.lot.held,
        Life::Gated { .. } | Life::Retrying { .. } | Life::Evicting { .. } | Life::Backoff { .. } => false,
        Life::Preparing { .. } | Life::Spawning { .. } | Life::Executing { .. } | Life::Starting { .. } => false,
        Life::Launching { .. } | Life::Detached { .. } => false,
        Life::Ready { .. } | Life::Unhealthy { .. } | Life::Stopping(_) => false,
    }
}
