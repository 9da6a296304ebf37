//! One history: a project, people, a machine, and the World between them.

mod losses;

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use super::dice::Dice;
use super::drafts::Draft;
use super::host::Host;
use super::laws::Laws;
use super::sight::View;
use super::text::{shown, told, words};
use crate::reconcile::action::{Action, Purpose};
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::fact::{Fact, Now, Request};
use crate::reconcile::plan::{Intent, Plan, Step};
use crate::reconcile::snapshot::{ServiceSnapshot, Snapshot, StateName};
use crate::reconcile::world::{Recalled, Recollection, World};
use crate::spec::{Project, ServiceName, Signal, WatchAction};

const SEC: u64 = 1_000_000_000;
/// Long enough for every wait that a draft can hold.
const QUIET: u64 = 120 * SEC;
const END: u64 = 600 * SEC;
/// Steps at one instant that bring nothing but time: more is a loop that would hang the daemon.
const SPINS: u32 = 20;

pub struct History {
    dice: Dice,
    world: World,
    host: Host,
    laws: Laws,
    draft: Draft,
    project: Arc<Project>,
    /// Facts that may come once more.
    recent: VecDeque<Fact>,
    /// What has happened, where somebody wants to read it.
    pub trace: Option<String>,
    spins: u32,
    /// By how much the wall clock is ahead of the monotonic one.
    ahead: i64,
    /// Whether each step is compared with a full comparison.
    thorough: bool,
}

impl History {
    /// `grouped`: with replicas.
    pub fn new(seed: u64, traced: bool, grouped: bool) -> History {
        let mut dice = Dice::new(seed);
        let draft = Draft::new(&mut dice, grouped);
        let project = draft.project(&mut dice);
        History {
            world: World::new(seed),
            host: Host::default(),
            laws: Laws::default(),
            recent: VecDeque::new(),
            trace: traced.then(String::new),
            spins: 0,
            ahead: 1_700_000_000_000_000_000,
            thorough: dice.once_in(8),
            draft,
            project,
            dice,
        }
    }

    /// From the first `up` to the end; the error says which law was broken.
    pub fn live(&mut self) -> Result<(), String> {
        self.configure()?;
        let first = self.up();
        self.ask(first)?;
        for _ in 0..10 + self.dice.below(60) {
            if self.world.is_over() {
                break;
            }
            match self.dice.below(100) {
                0..60 => self.forward()?,
                60..72 => {
                    let request = self.order();
                    self.ask(request)?;
                }
                72..79 => {
                    self.draft.edit(&mut self.dice);
                    self.configure()?;
                }
                79..86 => self.repeat()?,
                86..90 => self.host.strike(&mut self.dice),
                90..92 => self.host.whisper(&mut self.dice),
                92..93 => self.lose_daemon()?,
                93..94 => self.set_clock()?,
                _ => self.pass_time()?,
            }
        }
        self.rest()?;
        self.end()
    }

    /// Nothing goes wrong any more, and nothing has a time of its own: everything comes to where it should be.
    fn rest(&mut self) -> Result<(), String> {
        self.host.calm(&mut self.dice);
        self.draft.timeless = true;
        self.configure()?;
        let until = self.host.now + QUIET;
        while !self.world.is_over() && self.next().is_some_and(|at| at <= until) {
            self.forward()?;
        }
        if self.world.is_over() {
            return Ok(());
        }
        let snapshot = self.world.snapshot();
        self.laws.at_rest(&View {
            world: &self.world,
            host: &self.host,
            project: &self.project,
            now: &snapshot,
        })?;
        self.plan_is_empty()?;
        self.plans_are_true()
    }

    /// `plan` says "nothing to do" exactly when the same file and another `up` do nothing.
    fn plan_is_empty(&mut self) -> Result<(), String> {
        let project = Arc::clone(&self.project);
        let cause = Cause::new(Author::User, "runner up");
        let plan = self.world.plan(self.now(), &project, Some(everything()), &cause);
        if !plan.is_empty() || self.laws.wishes.ending {
            return Ok(());
        }
        self.laws.wishes.ask(&everything(), &self.project);
        let actions = self.perform(self.configured(project, cause, Some(everything())))?;
        match actions.iter().find(|action| !matches!(action, Action::Publish(_))) {
            Some(action) => Err(format!("the plan was to do nothing, and `up` did {}", shown(action))),
            None => Ok(()),
        }
    }

    /// What `plan` says of an edit is what is told when it comes into force, and what then happens.
    fn plans_are_true(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            if self.world.is_over() || self.laws.wishes.ending {
                return Ok(());
            }
            self.draft.edit(&mut self.dice);
            let project = self.draft.project(&mut self.dice);
            let request = self.dice.once_in(2).then(everything);
            let cause = Cause::new(Author::File, "services.toml");
            let plan = self.world.plan(self.now(), &project, request.clone(), &cause);
            let before = self.world.snapshot();
            self.project = Arc::clone(&project);
            (self.laws.exit, self.laws.code_from) = (Some(self.draft.exit), self.draft.code_from());
            self.laws.wishes.settle(&project);
            if let Some(request) = &request {
                self.laws.wishes.ask(request, &project);
            }
            let actions = self.perform(self.configured(project, cause, request))?;
            is_told(&plan, &actions)?;
            let until = self.host.now + QUIET;
            while !self.world.is_over() && self.next().is_some_and(|at| at <= until) {
                self.forward()?;
            }
            if !self.world.is_over() {
                has_happened(&plan, &before, &self.world.snapshot())?;
            }
        }
        Ok(())
    }

    fn configured(&self, project: Arc<Project>, cause: Cause, request: Option<Request>) -> Fact {
        Fact::Configured {
            project,
            exit: self.draft.exit,
            exit_code_from: self.draft.code_from(),
            cause,
            request,
        }
    }

    fn end(&mut self) -> Result<(), String> {
        if !self.world.is_over() {
            self.ask(Request::Down { timeout: None })?;
        }
        let until = self.host.now + END;
        while !self.world.is_over() {
            if self.next().is_none_or(|at| at > until) {
                return Err("it is not over after `down`".to_owned());
            }
            self.forward()?;
        }
        if let Some(id) = self.host.bodies.keys().next() {
            return Err(format!("over, and {} was not released", words(*id)));
        }
        Ok(())
    }

    fn now(&self) -> Now {
        let mono_ns = self.host.now;
        Now {
            mono_ns,
            wall_ns: self.ahead + mono_ns as i64,
        }
    }

    /// When time alone changes something, by either clock.
    fn next_deadline(&self) -> Option<u64> {
        let alarm = self.world.next_alarm();
        let alarm = alarm.map(|at| u64::try_from(at - self.ahead).unwrap_or(0));
        self.world.next_deadline().into_iter().chain(alarm).min()
    }

    /// Somebody sets the wall clock.
    fn set_clock(&mut self) -> Result<(), String> {
        let by = self.dice.pick(&[-14_400, -3_600, -30, -1, 1, 30, 3_600, 1_000_000]);
        self.ahead += by * SEC as i64;
        self.step(Fact::TimePassed)
    }

    fn next(&self) -> Option<u64> {
        [self.host.next(), self.next_deadline()].into_iter().flatten().min()
    }

    /// The next thing that is due happens.
    fn forward(&mut self) -> Result<(), String> {
        let (host, deadline) = (self.host.next(), self.next_deadline());
        let Some(at) = self.next() else { return Ok(()) };
        if at > self.host.now {
            (self.host.now, self.spins) = (at, 0);
        }
        let time_first = deadline.is_some_and(|deadline| deadline <= at) && (host != Some(at) || self.dice.once_in(2));
        if time_first {
            self.spins += 1;
            if self.spins > SPINS {
                return Err("a deadline that is reached changes nothing and stays reached".to_owned());
            }
            return self.step(Fact::TimePassed);
        }
        for fact in self.host.go_on(&mut self.dice) {
            self.recent.push_back(fact.clone());
            if self.recent.len() > 12 {
                self.recent.pop_front();
            }
            self.step(fact)?;
        }
        Ok(())
    }

    fn pass_time(&mut self) -> Result<(), String> {
        let limit = self.next().unwrap_or(u64::MAX);
        let at = self
            .host
            .now
            .saturating_add(self.dice.delay(3_000))
            .min(limit)
            .max(self.host.now);
        (self.host.now, self.spins) = (at, 0);
        self.step(Fact::TimePassed)
    }

    /// A fact comes twice, or from an older life.
    fn repeat(&mut self) -> Result<(), String> {
        if self.recent.is_empty() {
            return Ok(());
        }
        let fact = self.recent[self.dice.index(self.recent.len())].clone();
        let is_news = match fact {
            // Files that have changed once more are read once more.
            Fact::Nudged { .. } | Fact::Rewritten { .. } | Fact::MemoryUsed { .. } => true,
            Fact::Exited { id, .. } => self.host.follows(id),
            // Another number is another main process again.
            Fact::MainPidTold { id, pid } => self.host.follows(id) || !self.host.is_main(id, pid),
            _ => false,
        };
        if is_news {
            return Ok(());
        }
        let quiet = self.next_deadline().is_none_or(|at| at > self.host.now);
        let before = self.world.snapshot();
        if let Some(trace) = &mut self.trace {
            trace.push_str("once more:\n");
        }
        let actions = self.perform(fact.clone())?;
        let same = matches!(
            fact,
            Fact::StatusTold { .. } | Fact::MainPidTold { .. } | Fact::PidFileDoubted { .. }
        ) || self.world.snapshot() == before;
        // The end of a reload and of such a hook is nothing but told.
        let is_told = matches!(
            fact,
            Fact::CommandEnded {
                purpose: Purpose::Reload | Purpose::PostReady,
                ..
            }
        ) && matches!(actions[..], [Action::Publish(_)]);
        if quiet && !((actions.is_empty() || is_told) && same) {
            return Err(format!("a fact that came again had an effect: {}", told(&fact)));
        }
        Ok(())
    }

    fn configure(&mut self) -> Result<(), String> {
        if !self.laws.wishes.ending {
            self.project = self.draft.project(&mut self.dice);
        }
        if !self.laws.wishes.ending {
            (self.laws.exit, self.laws.code_from) = (Some(self.draft.exit), self.draft.code_from());
        }
        let project = Arc::clone(&self.project);
        self.laws.wishes.settle(&project);
        self.step(self.configured(project, Cause::new(Author::File, "services.toml"), None))
    }

    fn ask(&mut self, request: Request) -> Result<(), String> {
        self.laws.ask(&request, &self.project);
        self.step(Fact::Asked {
            request,
            cause: Cause::new(Author::User, "somebody"),
        })
    }

    fn up(&mut self) -> Request {
        let profiles = if self.dice.once_in(4) {
            vec!["dev".to_owned()]
        } else {
            Vec::new()
        };
        let names = if self.dice.once_in(3) {
            vec![self.draft.name(&mut self.dice)]
        } else {
            Vec::new()
        };
        Request::Up {
            names,
            no_deps: self.dice.once_in(6),
            profiles,
        }
    }

    fn order(&mut self) -> Request {
        let names = match self.dice.below(4) {
            0 if !self.laws.wishes.ending => Vec::new(),
            1 => vec![self.name(), self.name()],
            _ => vec![self.name()],
        };
        let timeout = self.dice.once_in(3).then(|| self.dice.wait(&[0, 100, 15_000]));
        match self.dice.below(18) {
            0..5 => Request::Stop { names, timeout },
            5..8 => Request::Start { names },
            8..11 if timeout.is_some() && names.len() == 1 => Request::Watched {
                service: names[0].clone(),
                action: WatchAction::Restart,
            },
            8..11 => Request::Restart { names },
            11..14 => self.up(),
            14 if self.dice.once_in(2) => Request::Down { timeout },
            15..18 if self.dice.once_in(3) => Request::Reload { names },
            15..18 if self.dice.once_in(2) => Request::Signal {
                names,
                signal: self.dice.pick(&[Signal::KILL, Signal::INT]),
            },
            _ => Request::Hasten,
        }
    }

    fn name(&mut self) -> crate::spec::ServiceName {
        let at = self.dice.index(self.project.services.len());
        self.project.services[at].name.clone()
    }

    fn step(&mut self, fact: Fact) -> Result<(), String> {
        self.perform(fact).map(drop)
    }

    fn perform(&mut self, fact: Fact) -> Result<Vec<Action>, String> {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{:>10.3}s {}", self.host.now as f64 / 1e9, told(&fact));
        }
        let mut actions = Vec::new();
        let at = self.now();
        self.world.step(at, fact, &mut actions);
        let snapshot = self.world.snapshot();
        self.laws.ends(
            &actions,
            &View {
                world: &self.world,
                host: &self.host,
                project: &self.project,
                now: &snapshot,
            },
        )?;
        for action in &actions {
            if let Some(trace) = &mut self.trace {
                let _ = writeln!(trace, "             -> {}", shown(action));
            }
            let view = View {
                world: &self.world,
                host: &self.host,
                project: &self.project,
                now: &snapshot,
            };
            self.laws.before(action, &view)?;
            self.host.perform(action, &mut self.dice);
        }
        self.laws.after(&View {
            world: &self.world,
            host: &self.host,
            project: &self.project,
            now: &snapshot,
        })?;
        if self.thorough && !self.world.is_over() {
            let mut more = Vec::new();
            self.world.compare_all(at, &mut more);
            if let Some(action) = more.first() {
                return Err(format!("the full comparison does more: {}", shown(action)));
            }
            if self.world.snapshot() != snapshot {
                return Err("the full comparison changes the picture".to_owned());
            }
        }
        Ok(actions)
    }
}

/// `up` with nothing named.
fn everything() -> Request {
    Request::Up {
        names: Vec::new(),
        no_deps: false,
        profiles: Vec::new(),
    }
}

/// The steps of the plan are those that the World tells before it acts.
fn is_told(plan: &Plan, actions: &[Action]) -> Result<(), String> {
    let told = actions.iter().find_map(|action| match action {
        Action::Publish(event) => match &event.kind {
            EventKind::ConfigApplied { steps, generation, .. } => Some((steps, *generation)),
            _ => None,
        },
        _ => None,
    });
    let planned: Vec<&Step> = plan.steps.iter().filter(|step| step.intent != Intent::Keep).collect();
    match told {
        Some((steps, generation)) if steps.iter().collect::<Vec<_>>() == planned && generation == plan.generation => {
            Ok(())
        }
        other => Err(format!("planned {planned:?}, told {other:?}")),
    }
}

fn goes_with_what_waited(service: &ServiceSnapshot, before: &Snapshot) -> bool {
    let culprit = service.cause.detail.split(' ').next().unwrap_or_default();
    let waited = |other: &ServiceSnapshot| other.name.as_str() == culprit && other.state == StateName::Waiting;
    service.cause.by == Author::Dependency && before.services.iter().any(waited)
}

/// What was at rest before went the way that the plan said.
fn has_happened(plan: &Plan, before: &Snapshot, after: &Snapshot) -> Result<(), String> {
    fn find<'s>(snapshot: &'s Snapshot, step: &Step) -> Option<&'s ServiceSnapshot> {
        snapshot.services.iter().find(|service| service.name == step.service)
    }
    // A rollout that was halted may go on, and take others along.
    let rolls = before.services.iter().any(|service| service.deferred.is_some());
    for step in &plan.steps {
        let (was, is) = (find(before, step), find(after, step));
        let at_rest = was.is_none_or(|was| {
            let retries = was.state == StateName::Failed && was.next_try_at_ns.is_some();
            matches!(
                was.state,
                StateName::Ready | StateName::Stopped | StateName::Completed | StateName::Failed
            ) && !retries
        });
        let stuck = was
            .and_then(|was| was.failure.as_ref())
            .is_some_and(|f| f.reason.as_str() == "stop_failed");
        if !at_rest || stuck {
            continue;
        }
        let (ran, runs) = (was.map_or(0, |was| was.run), is.map_or(0, |is| is.run));
        let lives = is.is_some_and(|is| is.pid.is_some());
        // Something that it needs may never come.
        let waits = is.is_some_and(|is| matches!(is.state, StateName::Waiting | StateName::Failed));
        let fine = match step.intent {
            // It goes with another one, once that is there; which is not sure.
            Intent::Restart if step.because.ends_with("comes back") => true,
            // Another one goes first, and may fail.
            Intent::Restart if step.because.starts_with("after ") => true,
            Intent::Start | Intent::Restart => runs > ran || waits,
            // What was waiting before is not foretold, nor who goes with it once it comes.
            Intent::Keep | Intent::Live if rolls => true,
            Intent::Keep | Intent::Live => runs == ran || is.is_some_and(|is| goes_with_what_waited(is, before)),
            Intent::Stop => !lives,
        };
        if !fine {
            return Err(format!("the plan said {step:?}; it was {was:?} and is {is:?}"));
        }
    }
    Ok(())
}
