//! Programs that put themselves into the background and say by a PID file who they are.

use super::*;

impl Host {
    /// A service with a PID file begins its work.
    pub(super) fn daemonise(&mut self, id: Incarnation, dice: &mut Dice) {
        let slow = if self.kind { 500 } else { 4_000 };
        if dice.once_in(4) {
            // It stays in front after all.
            return self.plan(dice.delay(slow), Coming::Named(id, Name::Launcher));
        }
        if dice.once_in(6) {
            self.plan(dice.delay(100), Coming::Named(id, Name::Launcher));
        }
        self.plan(dice.delay(500), Coming::Launched(id));
        if dice.once_in(4) {
            let why = "it is empty".to_owned();
            self.plan(dice.delay(500), Coming::Tell(Fact::PidFileDoubted { id, why }));
        }
        if self.kind || !dice.once_in(8) {
            self.plan(dice.delay(slow), Coming::Named(id, Name::Daemon));
        }
    }

    pub(super) fn launched(&mut self, id: Incarnation, dice: &mut Dice) -> Vec<Fact> {
        let Some(body) = self.bodies.get_mut(&id) else {
            return Vec::new();
        };
        if body.stage != Stage::Running || !body.launching {
            return Vec::new();
        }
        body.rest = Rest::Strays;
        let good = body.service.success_exit_codes.first();
        let status = ExitStatus::Code(good.map_or(0, |&code| code.into()));
        self.exit(id, status, dice)
    }

    pub(super) fn named(&mut self, id: Incarnation, name: Name, dice: &mut Dice) -> Vec<Fact> {
        let Some(body) = self.bodies.get_mut(&id) else {
            return Vec::new();
        };
        let left = body.stage == Stage::Ended && body.rest == Rest::Strays && body.killed.is_none() && !body.emptied;
        let lives = body.stage == Stage::Running;
        match name {
            Name::Launcher if lives && body.launching => {}
            Name::Daemon if body.launching && (lives || left) => {
                self.pids += 1;
                let rest = dice.pick(&[Rest::None, Rest::None, Rest::Group, Rest::Strays]);
                body.revive(self.pids, rest);
                self.queue.retain(|_, coming| {
                    !matches!(coming, Coming::TellExit(of, ..) | Coming::Empty(of) | Coming::TellEmpty(of) if *of == id)
                });
            }
            Name::Launcher | Name::Daemon => return Vec::new(),
        }
        let pid = self.bodies[&id].pid;
        vec![Fact::MainPidTold { id, pid }]
    }
}
