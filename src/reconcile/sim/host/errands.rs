//! Probes and commands beside a service: what they answer, and when.

use super::*;

impl Host {
    pub(super) fn outcome(&self, dice: &mut Dice) -> Outcome {
        match dice.below(6) {
            _ if self.kind => Outcome::Success,
            0 => Outcome::Unknown("no descriptors left".to_owned()),
            1 | 2 => Outcome::Failure("refused".to_owned()),
            _ => Outcome::Success,
        }
    }

    pub(super) fn probe(&mut self, id: Incarnation, kind: ProbeKind, attempt: u32, service: &Service, dice: &mut Dice) {
        let mut outcome = self.outcome(dice);
        let probe: Option<&Probe> = match kind {
            ProbeKind::Ready => service.ready.as_ref(),
            ProbeKind::Health => service.health.as_ref(),
        };
        let Some(body) = self.bodies.get_mut(&id) else { return };
        if probe.is_some_and(|probe| probe.check.is_event_driven()) && kind == ProbeKind::Ready {
            outcome = match body.matched {
                true => Outcome::Success,
                false => Outcome::Failure("no line matched yet".to_owned()),
            };
        }
        body.probing[kind as usize] = true;
        let longest = if self.kind { 10 } else { 3_000 };
        self.plan(
            dice.delay(longest),
            Coming::Tell(Fact::Probed {
                id,
                kind,
                attempt,
                outcome,
            }),
        );
    }

    pub(super) fn prepare(&mut self, id: Incarnation, service: &Arc<Service>, dice: &mut Dice) {
        self.bodies
            .insert(id, Body::new(Arc::clone(service), id.run, dice, self.kind));
        self.preparing.insert(id, Preparing::Working);
        let result = match self.kind || !dice.once_in(6) {
            true => Ok(()),
            false => Err(Failure {
                reason: dice.pick(&[Reason::PrepareFailed, Reason::PrepareFailed, Reason::UserUnknown]),
                message: "`npm ci` exited with code 1".to_owned(),
                suggestion: None,
            }),
        };
        let took = dice.delay(3_000);
        let what = "npm ci".to_owned();
        self.plan(took / 2, Coming::Tell(Fact::Preparing { id, what }));
        self.plan(took, Coming::Tell(Fact::Prepared { id, result }));
    }

    /// It ends soon, if it has not come to its end by itself already.
    pub(super) fn cancel_prepare(&mut self, id: Incarnation, dice: &mut Dice) {
        self.preparing.insert(id, Preparing::ToldToEnd);
        if dice.once_in(4) {
            return;
        }
        self.queue
            .retain(|_, coming| !matches!(coming, Coming::Tell(Fact::Prepared { id: of, .. } | Fact::Preparing { id: of, .. }) if *of == id));
        let result = Err(Failure {
            reason: Reason::PrepareFailed,
            message: "`npm ci` was ended".to_owned(),
            suggestion: None,
        });
        self.plan(dice.delay(20), Coming::Tell(Fact::Prepared { id, result }));
    }

    pub(super) fn run(&mut self, id: Incarnation, purpose: Purpose, timeout: u64, dice: &mut Dice) {
        let stops = matches!(purpose, Purpose::Stop | Purpose::PreStop);
        match (self.bodies.get_mut(&id), purpose) {
            (Some(body), _) => body.commanded |= stops,
            // It has a run of its own.
            (None, Purpose::OnFailure) => {}
            (None, _) => return,
        }
        let took = dice.delay(3_000);
        let result = match took <= timeout && !dice.once_in(4) {
            true => Ok(()),
            false => Err("exited with code 1".to_owned()),
        };
        if stops && result.is_ok() && dice.once_in(2) {
            self.plan(took, Coming::Exit(id, ExitStatus::Code(0)));
        }
        self.plan(
            took.min(timeout),
            Coming::Tell(Fact::CommandEnded { id, purpose, result }),
        );
    }
}
