//! The daemon is lost, and what is there for the next one.

use super::*;

impl Host {
    /// The daemon dies, and what it had under way with it. Numbers of services mean nothing to the next one. What nobody will
    /// claim, because its end was taken into account, is let go of.
    pub fn lose_daemon(&mut self, living: &BTreeSet<(ServiceName, u32)>) {
        let before: Vec<Incarnation> = self.bodies.keys().copied().collect();
        self.bodies.retain(|_, body| {
            let is_claimed = living.contains(&(body.service.name.clone(), body.run));
            is_claimed || !(body.failed || body.may_be_released())
        });
        // Its number will be another's.
        let gone = before.into_iter().filter(|id| !self.bodies.contains_key(id));
        for id in gone.collect::<Vec<_>>() {
            self.queue.retain(|_, coming| !coming.is_about(id));
        }
        for coming in self.queue.values() {
            // The hands had found its port taken: it was never forked.
            if let Coming::Taken(id, _) = coming {
                self.bodies.remove(id);
            }
        }
        // So is what was only prepared.
        for id in std::mem::take(&mut self.preparing).into_keys() {
            self.bodies.remove(&id);
        }
        self.queue.retain(|_, coming| !coming.ends_with_the_daemon());
        self.gates.clear();
        for body in self.bodies.values_mut() {
            (body.probing, body.commanded) = ([false; 2], false);
        }
        let ids: Vec<Incarnation> = self.bodies.keys().copied().collect();
        for id in ids {
            let service = ServiceId(id.service.0 + NOBODYS);
            self.rename(id, Incarnation { service, ..id });
        }
    }

    pub(super) fn rename(&mut self, from: Incarnation, to: Incarnation) {
        if let Some(body) = self.bodies.remove(&from) {
            self.bodies.insert(to, body);
        }
        for coming in self.queue.values_mut() {
            if let Some(of) = coming.of_mut()
                && *of == from
            {
                *of = to;
            }
        }
    }

    /// What is there of a run, for the daemon that takes over.
    pub(super) fn adopt(&mut self, id: Incarnation, service: &Arc<Service>) {
        let mut orphans = self.bodies.iter().filter(|(of, _)| of.service.0 >= NOBODYS);
        let found = orphans.find(|(_, body)| body.service.name == service.name && body.run == id.run);
        let Some(from) = found.map(|(&from, _)| from) else {
            let mut body = Body::new(Arc::clone(service), id.run, &mut Dice::new(0), true);
            (body.stage, body.failed) = (Stage::Ended, true);
            self.bodies.insert(id, body);
            return self.answers.push(Fact::Vanished { id });
        };
        self.rename(from, id);
        let body = self.bodies.get_mut(&id).expect("just renamed");
        if body.failed {
            // The guardian has forgotten it.
            return self.answers.push(Fact::Vanished { id });
        }
        body.service = Arc::clone(service);
        let is_told = body.stage == Stage::Ended && body.exited;
        let (status, left) = (body.status, body.rest != Rest::None);
        let adopted = Fact::Adopted {
            id,
            pid: body.pid,
            executed: matches!(body.stage, Stage::Running | Stage::Ended),
            signalled: body.signalled,
            ended: is_told,
        };
        body.executed |= matches!(body.stage, Stage::Running | Stage::Ended);
        // Before the guardian has forked it, it is in the order that it reads.
        if body.stage != Stage::Ordered {
            self.answers.push(adopted);
        }
        // So is its log.
        if body.told {
            for name in body.service.outputs.keys().cloned() {
                let value = format!("{name} of run {}", id.run);
                self.answers.push(Fact::OutputFound { id, name, value });
            }
        }
        // Its PID file is read again.
        if body.service.followed_pid_file().is_some() && body.stage == Stage::Running {
            match body.launching {
                true => self.plan(0, Coming::Named(id, Name::Launcher)),
                false => {
                    let pid = body.pid;
                    self.answers.push(Fact::MainPidTold { id, pid });
                }
            }
        }
        if is_told {
            let told = Fact::Exited {
                id,
                status,
                left,
                out_of_memory: false,
            };
            self.answers.push(told);
        }
    }
}
