//! All services of one project, and the one loop that brings them to what is wanted.
//!
//! Law: level-triggered. A fact changes what is known or wished and marks its service and that one's neighbours;
//! then wishes settle over the graph, and only then marked services act. Nobody else is looked at.

mod alarms;
mod bonds;
mod configure;
mod ending;
#[cfg(test)]
mod full;
mod goal;
mod hooks;
mod neighbours;
mod outputs;
mod ports;
mod recall;
mod request;
mod rollout;
mod sums;
mod view;
mod why;

pub use goal::{Goal, Progress};
pub use recall::{Recalled, Recollection, Remembered};
pub use why::{Link, Why};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::action::{Action, Purpose};
use super::exit::{Ends, Policy};
use super::fact::{Fact, Incarnation, Now, ServiceId};
use super::machine::{Adopted, Exit, Machine, Permit, Step};
use super::restart::Rng;
use super::timers::Timers;
use super::wish::Wish;
use crate::spec::{Condition, Fingerprint, Scaled, ServiceName};
use ports::{PortKey, PortUse, claims};
use rollout::Crew;
use sums::{Share, Tally};

/// All services, their graph and what people asked for.
///
/// A clone is another world: `plan` tries out in one what a step would do.
#[derive(Clone, Debug)]
pub struct World {
    /// By [`ServiceId`]; `None` once a removed service is gone.
    nodes: Vec<Option<Box<Node>>>,
    by_name: BTreeMap<ServiceName, ServiceId>,
    /// In the file's order.
    order: Vec<ServiceId>,
    generation: u64,
    /// Of the step under way (monotonic).
    now: u64,
    selection: Selection,
    /// What was asked for by hand of services that the file does not hold now: it may come back with the next save.
    absent: BTreeMap<ServiceName, Wish>,
    /// How many replicas were asked for by hand.
    scales: BTreeMap<ServiceName, Scaled>,
    /// The groups of the definition in force, and of which it is to be told that their rollout is halted.
    crews: BTreeMap<String, Crew>,
    halts: BTreeSet<String>,
    policy: Policy,
    ending: Option<Ends>,
    over: bool,
    /// Who declares and who holds a port.
    ports: BTreeMap<PortKey, PortUse>,
    timers: Timers,
    /// The same by the wall clock, and by how much that was ahead of the monotonic one.
    alarms: BTreeSet<(i64, ServiceId)>,
    ahead_ns: i64,
    rng: Rng,
    /// Whose wish has to be looked at again: dependents before dependencies.
    wishes: BTreeSet<(Reverse<u32>, ServiceId)>,
    /// Whose restraint (held, going) has to be looked at again: dependencies before dependents.
    restraints: BTreeSet<(u32, ServiceId)>,
    /// Who has to be compared again: dependencies before dependents.
    dirty: BTreeSet<(u32, ServiceId)>,
    /// Who may start as soon as everything else is compared.
    starts: BTreeSet<(u32, ServiceId)>,
    /// Some living incarnation began with a dependency that the definition in force no longer has.
    has_old_bonds: bool,
    tally: Tally,
    /// What an earlier daemon knew, until there is a definition to make services of it.
    recalled: Option<BTreeMap<ServiceName, Recalled>>,
    /// It was just made services of.
    resumed: bool,
    /// What is recalled has lived on without guardian and daemon.
    cold: bool,
    /// Whose memory is another one than was told last, and who was forgotten since.
    changed: BTreeSet<ServiceId>,
    forgotten: Vec<ServiceName>,
    /// The definition whose coming to rest was published; `None` while something moves.
    settled: Option<u64>,
}

/// Which services people asked for, beside those asked for by name.
#[derive(Clone, Debug, Default)]
struct Selection {
    /// Somebody has asked for anything yet.
    any: bool,
    /// Everything that starts by itself.
    all: bool,
    profiles: BTreeSet<String>,
}

/// A service and its place among the others.
#[derive(Clone, Debug)]
struct Node {
    machine: Machine,
    /// Distance from the services that depend on nothing, in the graph of the definition in force.
    rank: u32,
    /// The graph of the definition in force: what starts wait for.
    dependencies: Vec<Edge>,
    dependents: BTreeSet<ServiceId>,
    /// The graph of the living incarnation: what stops wait for.
    bonds: Vec<Bond>,
    /// Whose living incarnation began with this one as a dependency.
    bonded: BTreeSet<ServiceId>,
    /// The run whose ports and bonds are entered in the World's books.
    booked: Option<u32>,
    claims: Vec<(PortKey, bool)>,
    armed: Option<u64>,
    alarm: Option<i64>,
    share: Share,
    /// No longer in the file; forgotten once nothing of it is left.
    removed: bool,
    /// Those that came as it left and do the same: it under another name.
    heirs: Vec<ServiceId>,
    /// Whose heir it is.
    heir_of: Option<ServiceId>,
    /// Of a process that an earlier daemon started: with what.
    started_with: Option<Fingerprint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edge {
    on: ServiceId,
    condition: Condition,
    restart: bool,
    required: bool,
}

/// A dependency that an incarnation began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bond {
    edge: Edge,
    /// Run and turn of the dependency at that time.
    run: u32,
    turn: u32,
}

impl World {
    /// `seed`: of the jitter of restart delays.
    pub fn new(seed: u64) -> World {
        World {
            nodes: Vec::new(),
            by_name: BTreeMap::new(),
            order: Vec::new(),
            generation: 0,
            now: 0,
            selection: Selection::default(),
            absent: BTreeMap::new(),
            scales: BTreeMap::new(),
            crews: BTreeMap::new(),
            halts: BTreeSet::new(),
            policy: Policy::default(),
            ending: None,
            over: false,
            ports: BTreeMap::new(),
            timers: Timers::default(),
            alarms: BTreeSet::new(),
            ahead_ns: 0,
            rng: Rng::new(seed),
            wishes: BTreeSet::new(),
            restraints: BTreeSet::new(),
            dirty: BTreeSet::new(),
            starts: BTreeSet::new(),
            has_old_bonds: false,
            tally: Tally::default(),
            recalled: None,
            resumed: false,
            cold: false,
            changed: BTreeSet::new(),
            forgotten: Vec::new(),
            settled: None,
        }
    }

    /// Takes one fact and says what follows from it.
    pub fn step(&mut self, now: Now, fact: Fact, out: &mut Vec<Action>) {
        if self.over {
            return;
        }
        self.now = now.mono_ns;
        let mut ended = Vec::new();
        self.take(now, fact, out, &mut ended);
        for &id in &ended {
            self.keep_books(id);
        }
        self.end_if_due(out, &mut ended);
        let reached: Vec<ServiceId> = self.timers.reached(now.mono_ns).chain(self.alarmed(now)).collect();
        for id in reached {
            self.mark_dirty(id);
        }
        self.note_clock(now);
        self.run(now, out, &mut ended);
        self.tell_halts(out);
        self.conclude(out);
    }

    /// The next instant (monotonic nanoseconds) at which time alone changes something.
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.next()
    }

    /// [`Action::End`] was given: nothing lives and no fact changes anything any more.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The name of a service, also of a removed one of which something is left.
    pub fn name_of(&self, id: ServiceId) -> Option<&ServiceName> {
        self.node(id).map(|node| node.machine.name())
    }

    fn node(&self, id: ServiceId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)?.as_deref()
    }

    fn node_mut(&mut self, id: ServiceId) -> Option<&mut Node> {
        self.nodes.get_mut(id.0 as usize)?.as_deref_mut()
    }

    fn machine(&self, id: ServiceId) -> Option<&Machine> {
        self.node(id).map(|node| &node.machine)
    }

    /// All services that exist, in order of their identity.
    fn ids(&self) -> Vec<ServiceId> {
        self.nodes.iter().flatten().map(|node| node.machine.id).collect()
    }

    fn take(&mut self, now: Now, fact: Fact, out: &mut Vec<Action>, ended: &mut Vec<ServiceId>) {
        match fact {
            Fact::Configured {
                project,
                exit,
                exit_code_from,
                cause,
                request,
            } => {
                self.policy.exit = exit;
                self.policy.code_from = exit_code_from;
                self.configure(now, &project, cause, request, out);
            }
            Fact::Asked { request, cause } => self.ask(now, request, cause, out),
            Fact::Spawned { id, pid } => self.tell(now, id, out, ended, |m, step| m.on_spawned(pid, step)),
            Fact::Executed { id } => self.tell(now, id, out, ended, Machine::on_executed),
            Fact::Adopted {
                id,
                pid,
                executed,
                signalled,
                ended: has_ended,
            } => {
                let found = Adopted {
                    pid,
                    executed,
                    signalled,
                    ended: has_ended,
                };
                self.tell(now, id, out, ended, |m, step| m.on_adopted(&found, step));
                if let Some(node) = self.node_mut(id.service).filter(|node| node.machine.is_current(id)) {
                    node.machine.awaited = has_ended;
                }
            }
            Fact::Vanished { id } => self.tell(now, id, out, ended, Machine::on_vanished),
            Fact::SpawnFailed { id, failure } => {
                self.tell(now, id, out, ended, |m, step| m.on_spawn_failed(failure, step));
            }
            Fact::Exited {
                id,
                status,
                left,
                out_of_memory,
            } => {
                let exit = Exit {
                    status,
                    left,
                    out_of_memory,
                };
                self.tell(now, id, out, ended, |m, step| m.on_exited(exit, step));
            }
            Fact::Emptied { id } => self.tell(now, id, out, ended, Machine::on_emptied),
            Fact::KillFailed { id, leftovers } => {
                self.tell(now, id, out, ended, |m, step| m.on_kill_failed(&leftovers, step));
            }
            Fact::Probed {
                id,
                kind,
                attempt,
                outcome,
            } => {
                self.tell(now, id, out, ended, |m, step| {
                    m.on_probed(kind, attempt, &outcome, step)
                });
            }
            Fact::Nudged { id } => self.tell(now, id, out, ended, |m, _| m.on_nudged()),
            Fact::StatusTold { id, text } => self.tell(now, id, out, ended, |m, _| m.on_status_told(text)),
            Fact::MainPidTold { id, pid } => self.tell(now, id, out, ended, |m, step| m.on_main_pid_told(pid, step)),
            Fact::PidFileDoubted { id, why } => self.tell(now, id, out, ended, |m, _| m.on_pid_file_doubted(why)),
            Fact::GateProbed { id, attempt, outcome } => {
                self.tell(now, id, out, ended, |m, step| m.on_gate_probed(attempt, &outcome, step));
            }
            Fact::CommandEnded { id, purpose, result } => {
                if purpose == Purpose::OnFailure {
                    return self.tell_of_alarm(now, id, &result, out, ended);
                }
                self.tell(now, id, out, ended, |m, step| match purpose {
                    Purpose::Stop => m.on_command_ended(&result, step),
                    Purpose::Reload => m.on_reload_ended(&result, step),
                    _ => m.on_hook_ended(purpose, &result, step),
                });
            }
            Fact::OutputFound { id, name, value } => {
                // What it printed before says nothing of whether it is there.
                let awaited = self.machine(id.service).is_some_and(|machine| machine.awaited);
                self.tell(now, id, out, ended, |m, step| m.on_output_found(name, value, step));
                if let Some(node) = self.node_mut(id.service) {
                    node.machine.awaited = awaited;
                }
            }
            Fact::MemoryUsed { id, bytes } => self.tell(now, id, out, ended, |m, step| m.on_memory_used(bytes, step)),
            Fact::Preparing { id, what } => self.tell(now, id, out, ended, |m, step| m.on_preparing(what, step)),
            Fact::Prepared { id, result } => self.tell(now, id, out, ended, |m, step| m.on_prepared(result, step)),
            Fact::Rewritten { id, result } => self.tell(now, id, out, ended, |m, step| m.on_rewritten(result, step)),
            Fact::PortTaken { id, taken } => self.tell(now, id, out, ended, |m, step| m.on_port_taken(taken, step)),
            Fact::PortsMoved { id, actual, words } => {
                self.tell(now, id, out, ended, |m, step| m.on_ports_moved(actual, words, step));
            }
            Fact::Evicted { id, result } => self.tell(now, id, out, ended, |m, step| m.on_evicted(result, step)),
            // Nothing of that run is left; it is about what the service waits for.
            Fact::HolderEnded { id } => {
                if let Some(node) = self.node_mut(id.service) {
                    node.machine.on_holder_ended(id.run, now.mono_ns);
                    self.mark_dirty(id.service);
                }
            }
            Fact::TimePassed => {}
        }
    }

    /// Hands a fact to the machine it is about; one from another life is dropped here.
    fn tell(
        &mut self,
        now: Now,
        id: Incarnation,
        out: &mut Vec<Action>,
        ended: &mut Vec<ServiceId>,
        fact: impl FnOnce(&mut Machine, &mut Step),
    ) {
        let hasten = self.is_hastened();
        let Some(node) = self.nodes.get_mut(id.service.0 as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        if !node.machine.is_current(id) {
            return;
        }
        let before = node.machine.moves;
        fact(
            &mut node.machine,
            &mut Step {
                now,
                out,
                rng: &mut self.rng,
                hasten,
                ended,
            },
        );
        // Whatever is said of it, it was found.
        let was_awaited = std::mem::take(&mut node.machine.awaited);
        if node.machine.moves != before {
            self.after_move(id.service);
        } else if was_awaited {
            self.mark_crew(id.service);
        }
        self.mark_dirty(id.service);
    }

    /// Lets wishes settle, then compares who is marked, until nobody is. Starts come last: what ended in the same
    /// step may have ended the project.
    fn run(&mut self, now: Now, out: &mut Vec<Action>, ended: &mut Vec<ServiceId>) {
        loop {
            self.settle();
            if let Some((rank, id)) = self.dirty.pop_first() {
                if self.may_start(id) {
                    self.starts.insert((rank, id));
                    self.keep_books(id);
                } else {
                    self.compare(now, id, out, ended);
                }
            } else if !self.end_if_due(out, ended) {
                let Some((_, id)) = self.starts.pop_first() else { return };
                self.compare(now, id, out, ended);
            }
        }
    }

    /// Wishes and restraints come to rest; nobody has acted on them yet.
    pub(in crate::reconcile) fn settle(&mut self) {
        loop {
            if let Some((_, id)) = self.wishes.pop_first() {
                self.settle_wish(id);
            } else if let Some((_, id)) = self.restraints.pop_first() {
                self.settle_restraint(id);
            } else {
                return;
            }
        }
    }

    /// One round of comparing for one service.
    fn compare(&mut self, now: Now, id: ServiceId, out: &mut Vec<Action>, ended: &mut Vec<ServiceId>) {
        let Some(permit) = self.permit(id) else { return };
        let hasten = self.is_hastened();
        if matches!(permit, Permit::Free) {
            self.give_outputs(id);
        }
        let Some(node) = self.nodes.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let before = node.machine.moves;
        let more = node.machine.pursue(
            permit,
            &mut Step {
                now,
                out,
                rng: &mut self.rng,
                hasten,
                ended,
            },
        );
        if more {
            self.dirty.insert((node.rank, id));
        }
        if node.machine.moves != before {
            self.after_move(id);
        }
        self.keep_books(id);
    }

    /// Deadline, sums, and whether it can be forgotten.
    fn keep_books(&mut self, id: ServiceId) {
        let share = self.share(id);
        let Some(node) = self.nodes.get_mut(id.0 as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        self.timers.set(id, &mut node.armed, node.machine.deadline());
        alarms::set(&mut self.alarms, id, &mut node.alarm, node.machine.alarm());
        self.tally.change(node.share, share);
        node.share = share;
        if node.removed && node.machine.is_at_rest() && node.booked.is_none() {
            self.forget(id);
        }
    }

    /// The life of a service became another one: the graph's books follow, and its neighbours are marked.
    fn after_move(&mut self, id: ServiceId) {
        self.changed.insert(id);
        let Some(node) = self.node(id) else { return };
        let living = node.machine.life.is_living().then_some(node.machine.run);
        if node.booked != living {
            if node.booked.is_some() {
                self.let_go(id);
            }
            if let Some(run) = living {
                self.take_hold(id, run);
            }
        }
        let Some(node) = self.node(id) else { return };
        let stuck = node.machine.life.is_stuck();
        self.mark_restraint(id);
        self.mark_dependents(id);
        self.ask_again_after(id);
        self.mark_crew(id);
        if stuck {
            // Nobody waits for it any more.
            self.mark_dependencies(id);
        }
    }
}
