//! What people ask for becomes wishes: levels, to be met whenever they can be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::World;
use crate::reconcile::action::Action;
use crate::reconcile::event::Cause;
use crate::reconcile::exit::Ends;
use crate::reconcile::fact::{Now, Request, ServiceId};
use crate::reconcile::machine::{Life, Machine, Step};
use crate::reconcile::wish::{ByHand, Wish, Wishes};
use crate::spec::{ServiceName, WatchAction};

impl World {
    pub(in crate::reconcile) fn ask(&mut self, now: Now, request: Request, cause: Cause, out: &mut Vec<Action>) {
        match request {
            Request::Down { timeout } => self.ask_down(now, timeout, cause, out),
            Request::Hasten => self.ask_hasten(),
            // Once everything is being stopped, only the end is left to be asked for.
            Request::Up { .. } | Request::Start { .. } | Request::Stop { .. } if self.ending.is_some() => {}
            Request::Restart { .. } | Request::Reload { .. } | Request::Watched { .. } if self.ending.is_some() => {}
            Request::Up {
                names,
                no_deps,
                profiles,
            } => self.ask_up(&names, no_deps, profiles, &cause),
            Request::Start { names } => {
                for id in self.named(&names) {
                    self.wish_for(id, false, &cause);
                    self.try_again(id, true, &cause);
                }
            }
            Request::Stop { names, timeout } => {
                for id in self.named(&names) {
                    let Some(node) = self.node_mut(id) else { continue };
                    let wish = &mut node.machine.wish;
                    wish.patience = timeout;
                    if !std::mem::replace(&mut wish.stopped, true) || timeout.is_some() {
                        wish.asked(&cause, now.mono_ns);
                    }
                    self.remark(id);
                }
            }
            Request::Restart { names } => {
                self.settled = None;
                let alone = self.alone_of_their_group(&names);
                for id in self.named(&names) {
                    let needed = self.with_needs(id);
                    let goes_on = |machine: &Machine| machine.lot.wanted && !machine.wish.alone;
                    let stopped = |&on: &ServiceId| self.machine(on).is_some_and(|on| on.wish.stopped);
                    if self.machine(id).is_some_and(goes_on) && !needed.iter().any(stopped) {
                        // What is up anyway is wished for as it was.
                        for on in needed {
                            self.try_again(on, false, &cause);
                        }
                    } else {
                        self.wish_for(id, false, &cause);
                    }
                    if let Some(node) = self.node_mut(id) {
                        let wish = &mut node.machine.wish;
                        wish.turn_again();
                        wish.at_once = alone.contains(&id).then_some(wish.turn).or(wish.at_once);
                        wish.asked(&cause, now.mono_ns);
                    }
                    self.remark(id);
                }
            }
            Request::Reload { names } => {
                self.for_each(now, &names, out, |machine, step| machine.reload(&cause, step));
            }
            Request::Watched { service, action } => self.watched(now, service, action, &cause, out),
            Request::Signal { names, signal } => {
                self.for_each(now, &names, out, |machine, step| machine.deliver(signal, &cause, step));
            }
        }
    }

    fn watched(&mut self, now: Now, service: ServiceName, action: WatchAction, cause: &Cause, out: &mut Vec<Action>) {
        let names = [service];
        match action {
            WatchAction::Restart => {
                for id in self.named(&names) {
                    // What is stopped by hand, or not wanted, or waits for something else, has no use for it yet.
                    let Some(node) = self.node_mut(id).filter(|node| node.machine.lot.wanted) else {
                        continue;
                    };
                    node.machine.wish.turn_again();
                    node.machine.wish.asked(cause, now.mono_ns);
                    self.settled = None;
                    self.remark(id);
                }
            }
            WatchAction::Reload => self.for_each(now, &names, out, |machine, step| machine.reload(cause, step)),
            WatchAction::Signal(signal) => {
                self.for_each(now, &names, out, |machine, step| machine.deliver(signal, cause, step));
            }
        }
    }

    fn for_each(
        &mut self,
        now: Now,
        names: &[ServiceName],
        out: &mut Vec<Action>,
        mut act: impl FnMut(&mut Machine, &mut Step),
    ) {
        for id in self.named(names) {
            self.changed.insert(id);
            let Some(node) = self.nodes.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
                continue;
            };
            let mut step = Step {
                now,
                out,
                rng: &mut self.rng,
                hasten: false,
                ended: &mut Vec::new(),
            };
            act(&mut node.machine, &mut step);
        }
    }

    fn ask_up(&mut self, names: &[ServiceName], no_deps: bool, profiles: Vec<String>, cause: &Cause) {
        self.selection.any = true;
        self.settled = None;
        let now = self.now;
        if names.is_empty() {
            self.selection.all = true;
            let leaving = self.nodes.iter_mut().flatten().filter(|node| node.removed);
            let leaving = leaving.map(|node| &mut node.machine.wish);
            for wish in self.absent.values_mut().chain(leaving) {
                (wish.stopped, wish.alone) = (false, false);
            }
        }
        if !profiles.is_empty() {
            self.selection.profiles.extend(profiles);
            for id in self.order.clone() {
                self.mark_wish(id);
            }
        }
        for id in self.named(names) {
            if names.is_empty() {
                if let Some(node) = self.node_mut(id) {
                    let wish = &mut node.machine.wish;
                    if std::mem::take(&mut wish.stopped) || !node.machine.lot.wanted {
                        wish.asked(cause, now);
                    }
                    wish.patience = None;
                }
                self.set_alone(id, false);
                self.remark(id);
            } else {
                self.wish_for(id, no_deps, cause);
            }
            self.try_again(id, false, cause);
        }
    }

    fn ask_down(&mut self, now: Now, timeout: Option<Duration>, cause: Cause, out: &mut Vec<Action>) {
        // What no definition has claimed is stopped as well.
        self.resume(now, None, out);
        for id in self.ids() {
            if let Some(node) = self.node_mut(id).filter(|_| timeout.is_some()) {
                node.machine.wish.patience = timeout;
            }
            self.mark_dirty(id);
        }
        if self.ending.is_none() {
            self.begin_ending(Ends::asked(&cause), out);
        }
    }

    fn ask_hasten(&mut self) {
        if let Some(ends) = &mut self.ending {
            ends.hasten = true;
            for id in self.ids() {
                self.mark_dirty(id);
            }
        }
    }

    /// Wanted by name, with all that it needs; stops by hand in the way are taken back.
    fn wish_for(&mut self, id: ServiceId, alone: bool, cause: &Cause) {
        self.selection.any = true;
        self.settled = None;
        let now = self.now;
        if let Some(node) = self.node_mut(id) {
            node.machine.wish.named = true;
        }
        self.set_alone(id, alone);
        let needed = if alone { vec![id] } else { self.with_needs(id) };
        for &id in &needed {
            let Some(node) = self.node_mut(id) else { continue };
            let wish = &mut node.machine.wish;
            let was_stopped = std::mem::take(&mut wish.stopped);
            wish.patience = None;
            if was_stopped || !node.machine.lot.wanted {
                node.machine.wish.asked(cause, now);
            }
            self.remark(id);
        }
        if !alone {
            for id in needed {
                self.try_again(id, false, cause);
            }
        }
    }

    /// It and everything that it needs, at whatever distance.
    fn with_needs(&self, id: ServiceId) -> Vec<ServiceId> {
        let mut seen = BTreeSet::from([id]);
        let mut found = vec![id];
        let mut at = 0;
        while let Some(node) = found.get(at).map(|&id| self.node(id)) {
            at += 1;
            let on = node.iter().flat_map(|node| &node.dependencies).map(|edge| edge.on);
            found.extend(on.filter(|&on| seen.insert(on)));
        }
        found
    }

    /// Asked for without its dependencies, or with them. What it needed so far stays wanted: no `up` stops anything.
    fn set_alone(&mut self, id: ServiceId, alone: bool) {
        let Some(node) = self.node_mut(id) else { return };
        if std::mem::replace(&mut node.machine.wish.alone, alone) == alone {
            return;
        }
        let on: Vec<ServiceId> = node.dependencies.iter().map(|edge| edge.on).collect();
        self.renew_bonds(id);
        for on in on {
            if let Some(dependency) = self.node_mut(on).filter(|_| alone) {
                dependency.machine.wish.named |= dependency.machine.lot.desired;
            }
            self.mark_wish(on);
        }
    }

    /// A failed service is tried again; `now`: also one that completed, or whose restart is not due yet.
    fn try_again(&mut self, id: ServiceId, now: bool, cause: &Cause) {
        let at = self.now;
        let Some(node) = self.node_mut(id) else { return };
        let machine = &mut node.machine;
        let again = match &machine.life {
            Life::Failed { .. } => now || machine.spec.schedule.is_none(),
            Life::Completed { .. } | Life::Backoff { .. } | Life::Retrying { .. } | Life::Evicting { .. } => now,
            Life::Stopped => now && machine.is_startable(),
            Life::Waiting { .. } | Life::Gated { .. } | Life::Doomed { .. } => false,
            Life::Preparing { .. } | Life::Spawning { .. } | Life::Executing { .. } | Life::Starting { .. } => false,
            Life::Launching { .. } | Life::Detached { .. } => false,
            Life::Ready { .. } | Life::Unhealthy { .. } | Life::Stopping(_) => false,
        };
        // A turn that is due already covers this one.
        if again && machine.wish.turn == machine.served {
            machine.wish.turn_again();
            machine.wish.asked(cause, at);
        }
        self.remark(id);
    }

    /// Who is named without another replica of the same: it does not wait for those.
    fn alone_of_their_group(&self, names: &[ServiceName]) -> BTreeSet<ServiceId> {
        let mut groups: BTreeMap<&str, Vec<&ServiceName>> = BTreeMap::new();
        for name in names {
            if let Some(group) = name.group() {
                groups.entry(group).or_default().push(name);
            }
        }
        let alone = groups.into_values().filter(|members| members.len() == 1).flatten();
        alone.filter_map(|name| self.by_name.get(name).copied()).collect()
    }

    fn remark(&mut self, id: ServiceId) {
        self.changed.insert(id);
        self.mark_wish(id);
        self.mark_restraint(id);
        self.mark_dependents(id);
    }

    /// The services of these names; all of the file if none is named.
    fn named(&self, names: &[ServiceName]) -> Vec<ServiceId> {
        if names.is_empty() {
            return self.order.clone();
        }
        names
            .iter()
            .filter_map(|name| self.by_name.get(name).copied())
            .collect()
    }

    /// What people asked for by hand. Costs a walk over all services.
    pub fn wishes(&self) -> Wishes {
        let present = self.nodes.iter().flatten().map(|node| &node.machine);
        let present = present.map(|machine| (machine.name(), machine.wish.by_hand()));
        let absent = self.absent.iter().map(|(name, wish)| (name, wish.by_hand()));
        let by_hand = absent.chain(present).filter(|(_, by_hand)| by_hand.is_any());
        Wishes {
            all: self.selection.all,
            profiles: self.selection.profiles.clone(),
            services: by_hand.map(|(name, by_hand)| (name.clone(), by_hand)).collect(),
            scales: self.scales.clone(),
        }
    }

    /// Takes over what was asked for of an earlier runner of this project; before the first definition.
    pub fn restore(&mut self, wishes: Wishes) {
        let Wishes {
            all,
            profiles,
            services,
            scales,
        } = wishes;
        self.scales = scales;
        self.selection.all |= all;
        self.selection.any |= all || services.values().any(|by_hand| by_hand.named);
        self.selection.profiles.extend(profiles);
        for (name, ByHand { named, stopped, alone }) in services {
            let wish = Wish {
                named,
                stopped,
                alone,
                ..Wish::new(self.now)
            };
            self.absent.insert(name, wish);
        }
    }
}
