//! Signals to what runs, through the guardian.

use super::Hands;
use crate::guardian::orders::{Order, Target};
use crate::reconcile::Incarnation;
use crate::spec::{Signal, StopScope};

impl Hands {
    pub(super) fn signal(&mut self, id: Incarnation, signal: Signal, scope: StopScope) {
        let Some(run) = self.runs.get(&id) else { return };
        let target = match scope {
            StopScope::Process => Target::Process,
            StopScope::Tree | StopScope::Group => Target::Group,
        };
        let order = Order::Signal {
            ticket: run.ticket,
            signal: signal.number(),
            target,
            wakes: true,
        };
        self.order(&order, &[]);
    }

    pub(super) fn deliver(&mut self, id: Incarnation, signal: Signal) {
        let Some(run) = self.runs.get(&id) else { return };
        let order = Order::Signal {
            ticket: run.ticket,
            signal: signal.number(),
            target: Target::Process,
            wakes: false,
        };
        self.order(&order, &[]);
    }

    pub(super) fn kill(&mut self, id: Incarnation, scope: StopScope) {
        let Some(run) = self.runs.get(&id) else { return };
        let (target, sweep) = match scope {
            StopScope::Process => (Target::Process, false),
            StopScope::Group => (Target::Group, false),
            StopScope::Tree => (Target::Group, true),
        };
        let order = Order::Kill {
            ticket: run.ticket,
            target,
            sweep,
        };
        self.order(&order, &[]);
    }
}
