//! Another daemon goes on with a history.

use super::*;

impl History {
    /// The daemon is killed at some instant: of what it heard last it has not thought, or of what it thought nothing has
    /// reached the guardian. Another one takes over.
    pub(super) fn lose_daemon(&mut self) -> Result<(), String> {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:>10.3}s the daemon is killed", self.host.now as f64 / 1e9);
        }
        match self.dice.below(3) {
            0 => drop(self.host.go_on(&mut self.dice)),
            1 => {
                // What a step has brought is written before it is performed.
                let facts = self.host.go_on(&mut self.dice);
                for fact in facts {
                    let mut lost = Vec::new();
                    let now = self.now();
                    self.world.step(now, fact, &mut lost);
                    let snapshot = self.world.snapshot();
                    let view = View {
                        world: &self.world,
                        host: &self.host,
                        project: &self.project,
                        now: &snapshot,
                    };
                    self.laws.ends(&lost, &view)?;
                }
            }
            _ => {}
        }
        let names: Vec<ServiceName> = self.world.snapshot().services.into_iter().map(|s| s.name).collect();
        let numbers = |world: &World| names.iter().map(|name| world.id_of(name)).collect::<Vec<_>>();
        let old = numbers(&self.world);
        let recalled = self.world.remember_all().into_iter().filter_map(|remembered| {
            let (memory, ended) = remembered.memory?;
            let body = self
                .host
                .bodies
                .values()
                .find(|body| body.service.name == memory.service && body.run == memory.run);
            Some(Recalled {
                started_with: match body.filter(|_| memory.is_living()) {
                    Some(body) => Some(body.started.fingerprint("salt")),
                    None => ended.map(|service| service.fingerprint("salt")),
                },
                remnant: body.map(|body| body.started.remnant()),
                memory,
            })
        });
        let recollection = Recollection {
            generation: self.world.generation(),
            ending: self.world.ending().cloned(),
            cold: false,
            services: recalled.collect(),
        };
        let living: BTreeSet<(ServiceName, u32)> = recollection
            .services
            .iter()
            .filter(|recalled| recalled.memory.is_living())
            .map(|recalled| (recalled.memory.service.clone(), recalled.memory.run))
            .collect();
        let mut world = World::new(self.dice.below(1_000));
        world.restore(self.world.wishes());
        world.recall(recollection);
        self.world = world;
        self.host.lose_daemon(&living);
        self.recent.clear();
        if self.dice.once_in(4) && !self.laws.wishes.ending {
            self.draft.edit(&mut self.dice);
            self.project = self.draft.project(&mut self.dice);
            (self.laws.exit, self.laws.code_from) = (Some(self.draft.exit), self.draft.code_from());
            self.laws.wishes.forget_kin();
            self.laws.wishes.settle(&self.project);
        }
        let bonds = self.laws.forget_numbers();
        let project = Arc::clone(&self.project);
        let cause = Cause::new(Author::File, "read again");
        self.step(self.configured(project, cause, None))?;
        let pairs = old.into_iter().zip(numbers(&self.world));
        let numbers = pairs.filter_map(|(old, new)| Some((old?, new?))).collect();
        self.laws.renumber(bonds, &numbers);
        while !self.host.answers.is_empty() {
            let fact = self.host.answers.remove(0);
            for fact in self.host.tell(fact) {
                self.step(fact)?;
            }
        }
        Ok(())
    }
}
