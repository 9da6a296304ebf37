//! Performs what the `World` decided, and turns what comes back into facts.

mod adoption;
mod commands;
mod holders;
mod incoming;
mod memory;
mod moved;
mod notify;
mod origin;
mod output;
mod patterns;
mod pid_files;
mod probing;
mod refusals;
mod signals;
mod sockets;
mod terminals;

pub use commands::named;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::AbortHandle;

use self::holders::Conflict;
use self::notify::uses_notify;
use self::patterns::Patterns;
use self::pid_files::RunFile;
use self::sockets::Sockets;
use self::terminals::RunTerminal;
use super::census::Census;
use super::errand::{End, Errand, Tickets};
use super::launch::{Captured, Role, Setting, Surroundings};
use super::link::Link;
use super::recovery::Finds;
use super::surroundings::Witness;
use super::turns::Turns;
use crate::api::boot::Boot;
use crate::config::{MovedPorts, Recipe};
use crate::fault::point;
use crate::guardian::orders::{Order, Record, Ticket};
use crate::guardian::records::Launched;
use crate::logs::{LogFact, Pump};
use crate::probe::Notification;
use crate::reconcile::{Action, ExitStatus, Fact, Failure, Incarnation, ProbeKind, Purpose, ServiceId};
use crate::spec::{Check, Given, Project, Service, ServiceName};
use crate::sys;
use crate::sys::places::nameless;
use crate::sys::ports::PortTrouble;

/// What reaches the loop from tasks and from the pump.
#[derive(Debug)]
pub enum Inbox {
    Fact(Fact),
    Log(LogFact),
    Errand(Errand),
    KillErrand(Ticket),
    /// It is time to look at the memory of who has a limit.
    MemoryIsDue,
    Notified(Incarnation, Notification),
    /// Its PID file was touched; with `true` a folder on the way to it went away.
    PidFile(Incarnation, bool),
    /// Everything that its main process, which has ended, had printed on its terminal is passed on.
    TerminalRead(Incarnation),
}

/// What a ticket stands for.
enum Claim {
    Service(Incarnation),
    /// `end` is kept until nothing of the errand's tree is left.
    Errand {
        setting: Rc<Setting>,
        command: String,
        done: oneshot::Sender<End>,
        end: Option<ExitStatus>,
    },
}

/// One run of one service, from its spawn to its release.
struct Run {
    ticket: Ticket,
    /// What its processes carry: an adopted run keeps that of the launch.
    mark: String,
    /// With the ports that it really has.
    service: Arc<Service>,
    setting: Rc<Setting>,
    witness: Rc<Witness>,
    /// Removed with the run.
    fifos: Vec<PathBuf>,
    /// What it prints into where there is no place for FIFOs.
    pipes: Vec<OwnedFd>,
    /// The other ends of them, until the guardian has its own.
    readers: Vec<OwnedFd>,
    /// Patterns of log checks, in the order in which the pump numbers them.
    patterns: Patterns,
    /// The outputs of others that it was started with.
    given: Given,
    logged: bool,
    /// Known, but told only once the pump has everything that was written.
    end: Option<Held>,
    notify: Option<AbortHandle>,
    pid_file: Option<RunFile>,
    /// Ends what is done before the spawn.
    preparing: Option<oneshot::Sender<()>>,
    /// Its FIFOs, as long as nobody else may hold them open.
    held: Vec<File>,
    /// Its files are written by one at a time.
    writing: Rc<Mutex<()>>,
    /// It was over: it is here for one command.
    is_reopened: bool,
    terminal: Option<RunTerminal>,
}

impl Run {
    fn new(ticket: Ticket, service: &Arc<Service>, setting: Setting) -> Run {
        Run {
            ticket,
            mark: setting.mark(ticket),
            service: service.clone(),
            setting: Rc::new(setting),
            witness: Rc::default(),
            fifos: Vec::new(),
            pipes: Vec::new(),
            readers: Vec::new(),
            patterns: Patterns::of(service),
            given: Given::new(),
            logged: false,
            end: None,
            notify: None,
            pid_file: None,
            preparing: None,
            held: Vec::new(),
            writing: Rc::default(),
            is_reopened: false,
            terminal: None,
        }
    }
}

struct Held {
    status: ExitStatus,
    left: bool,
    emptied: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Task {
    Probe(ProbeKind),
    Gate,
    Run(Purpose),
}

pub struct Hands {
    guardian: Link,
    pump: Pump,
    tickets: Rc<Tickets>,
    census: Rc<Census>,
    turns: Rc<Turns>,
    claims: HashMap<Ticket, Claim>,
    runs: HashMap<Incarnation, Run>,
    by_name: HashMap<(ServiceName, u32), Incarnation>,
    tasks: HashMap<(Incarnation, Task), AbortHandle>,
    inbox: mpsc::UnboundedSender<Inbox>,
    /// Facts that were known at once.
    pub known: VecDeque<Fact>,
    /// What people should hear of, though nothing follows from it (`LG-05`).
    pub troubles: Vec<(ServiceName, String)>,
    surroundings: Arc<Surroundings>,
    runtime_dir: PathBuf,
    state_dir: PathBuf,
    /// What earlier daemons have left, by service and run.
    finds: Finds,
    /// Of the fingerprints of this session.
    salt: String,
    conflicts: HashMap<ServiceId, Conflict>,
    /// The definition in force, and how it is made again where ports of it may move.
    project: Option<Arc<Project>>,
    recipe: Option<Arc<Recipe>>,
    moved: MovedPorts,
    sockets: Sockets,
    looks_at_memory: bool,
    /// `None` where the kernel does not tell.
    oom_kills: Cell<Option<u64>>,
}

impl Hands {
    pub fn new(
        guardian: Link,
        pump: Pump,
        next_ticket: u64,
        inbox: mpsc::UnboundedSender<Inbox>,
        captured: Captured,
        boot: &Boot,
        salt: String,
    ) -> Hands {
        Hands {
            guardian,
            pump,
            tickets: Rc::new(Tickets::from(next_ticket)),
            census: Rc::default(),
            turns: Rc::default(),
            claims: HashMap::new(),
            runs: HashMap::new(),
            by_name: HashMap::new(),
            tasks: HashMap::new(),
            inbox,
            known: VecDeque::new(),
            troubles: Vec::new(),
            surroundings: Arc::new(Surroundings {
                captured,
                colour: boot.colour,
                instance: boot.location.key.clone(),
            }),
            runtime_dir: boot.runtime_dir.clone(),
            state_dir: boot.state_dir.clone(),
            finds: Finds::new(),
            salt,
            conflicts: HashMap::new(),
            project: None,
            recipe: None,
            moved: MovedPorts::new(),
            sockets: Sockets::default(),
            looks_at_memory: false,
            oom_kills: Cell::new(sys::oom::kills()),
        }
    }

    pub fn next_ticket(&self) -> Ticket {
        self.tickets.take()
    }

    pub fn pump(&self) -> &Pump {
        &self.pump
    }

    pub fn captured(&self) -> &Captured {
        &self.surroundings.captured
    }

    pub fn surroundings(&self) -> &Arc<Surroundings> {
        &self.surroundings
    }

    pub fn guardian(&mut self) -> &mut Link {
        &mut self.guardian
    }

    /// The end of everything: what was written is in the logs then, and told to who follows.
    pub fn stop_pump(&mut self) {
        self.pump.stop();
    }

    pub fn perform(&mut self, action: Action) {
        point!("daemon.acting");
        match action {
            Action::Spawn {
                id,
                service,
                given,
                elsewhere,
            } => {
                if !self.tries_to_adopt(id, &service, &given) {
                    self.start(id, &service, given, elsewhere);
                }
            }
            Action::Adopt { id, service, given } => self.adopt(id, &service, given),
            Action::Evict { id, ladder } => self.evict(id, ladder),
            Action::CancelEviction { id } => drop(self.conflicts.remove(&id.service)),
            Action::Signal { id, signal, scope } => self.signal(id, signal, scope),
            Action::Deliver { id, signal } => self.deliver(id, signal),
            Action::Kill { id, scope } => self.kill(id, scope),
            Action::Release { id } => self.release(id),
            Action::Probe { id, kind, attempt, .. } => self.probe(id, kind, attempt),
            Action::CancelProbes { id } => {
                for task in [
                    Task::Probe(ProbeKind::Ready),
                    Task::Probe(ProbeKind::Health),
                    Task::Gate,
                ] {
                    self.cancel(id, task);
                }
            }
            Action::ProbeGate { id, attempt, service } => self.probe_gates(id, attempt, service),
            Action::Prepare { id, service, given } => self.prepare(id, &service, given),
            Action::CancelPrepare { id } => self.cancel_prepare(id),
            Action::Rewrite { id } => self.rewrite(id),
            Action::Run {
                id,
                purpose,
                service,
                given,
                timeout,
                told,
            } => self.run(id, purpose, &service, given, timeout, told),
            Action::CancelRun { id, purpose } => {
                self.cancel(id, Task::Run(purpose));
                self.command_ended(id);
            }
            Action::Adjust { id, service } => self.adjust(id, &service),
            Action::Renumber { .. } | Action::Publish(_) | Action::End(_) => {
                unreachable!("the loop takes these itself")
            }
        }
    }

    fn start(&mut self, id: Incarnation, service: &Arc<Service>, given: Given, elsewhere: bool) {
        if let Err(failure) = self.spawn(id, service, given, elsewhere) {
            self.forget(id);
            self.known.push_back(Fact::SpawnFailed { id, failure });
        }
    }

    fn spawn(&mut self, id: Incarnation, service: &Arc<Service>, given: Given, elsewhere: bool) -> Result<(), Failure> {
        self.conflicts.remove(&id.service);
        // The declared ones are tried first.
        self.moved.remove(&service.name);
        let words = match elsewhere {
            true => self.move_ports(service)?,
            false => Vec::new(),
        };
        let (declared, service) = (service, &self.actual(service)?);
        match self.secure_ports(service)? {
            None => {}
            Some(PortTrouble::Taken(owner)) => {
                self.forget(id);
                self.port_is_taken(id, service, owner);
                return Ok(());
            }
            Some(trouble @ PortTrouble::Denied { .. }) => return Err(trouble.failure()),
        }
        self.tell_actual(id, declared, service, words);
        let service = &commands::with_outputs(service.clone(), &given);
        let mut setting = Setting::of(id, service, &self.surroundings)?;
        // What was prepared goes on as the same run.
        let prepared = self.runs.remove(&id);
        let ticket = prepared.as_ref().map_or_else(|| self.tickets.take(), |run| run.ticket);
        let mut run = Run::new(ticket, service, setting.clone());
        run.given = given;
        let goes_on = prepared.map(|prepared| run.goes_on_from(prepared)).is_some();
        self.by_name.insert((service.name.clone(), id.run), id);
        self.runs.insert(id, run);
        let pid_file = RunFile::of(service, id, &setting, &self.inbox)?;
        let (mut notify, mut hears) = (None, None);
        if uses_notify(service) {
            let (socket, kept) = self.bind_for_notifications(id, &service.name, &mut setting)?;
            hears = Some(self.hear_notifications(id, socket));
            notify = Some(kept);
        }
        if let Some(run) = self.runs.get_mut(&id) {
            (run.pid_file, run.notify) = (pid_file, hears);
            run.setting = Rc::new(setting.clone());
        }
        let output = match goes_on {
            true => self.output_of_prepared(id, service),
            false => self.open_output(id, service, &setting)?,
        };
        let record = self.record(declared, service, id, ticket, &setting);
        let mut launch = setting.launch(ticket, &service.command, output, Role::Service(record));
        // Where nothing has a name, the next daemon gets what it reads from out of the guardian's hands.
        let readers = self
            .runs
            .get_mut(&id)
            .map_or_else(Vec::new, |run| std::mem::take(&mut run.readers));
        let terminal = self.runs.get(&id).and_then(|run| run.terminal.as_ref());
        launch.keeps = u8::from(notify.is_some()) + readers.len() as u8 + u8::from(terminal.is_some());
        self.hand_over_sockets(service, &mut launch);
        self.claims.insert(ticket, Claim::Service(id));
        let run = self.runs.get(&id);
        let terminal = run.and_then(|run| run.terminal.as_ref());
        let passed = match terminal {
            Some(terminal) => vec![terminal.slave(); 3],
            None => run.map_or(Vec::new(), |run| run.pipes.iter().collect()),
        };
        let master = terminal.map(RunTerminal::master);
        // In the order in which the guardian takes them: what is passed on, then what is kept.
        let kept = notify.iter().chain(&readers).chain(master);
        let beside: Vec<BorrowedFd> = passed.into_iter().chain(kept).map(AsFd::as_fd).collect();
        let order = Order::Spawn(Box::new(launch));
        order_with(&mut self.guardian, &order, &beside);
        point!("daemon.spawn-ordered");
        Ok(())
    }

    /// What the next runner needs to recognise this run as ours. `None`: there is nowhere to write it.
    fn record(
        &self,
        declared: &Service,
        service: &Service,
        id: Incarnation,
        ticket: Ticket,
        setting: &Setting,
    ) -> Option<Record> {
        if nameless::is_nowhere(&self.runtime_dir) {
            return None;
        }
        let instance = &self.surroundings.instance;
        let mut launched = Launched::new(
            declared,
            service,
            id.run,
            ticket,
            instance,
            &self.salt,
            sys::clock::now(),
        );
        launched.moved_ports = self.moved.get(&service.name).cloned();
        if let Some(credentials) = setting.credentials() {
            launched.uid = credentials.uid;
        }
        launched.notify = setting
            .given("NOTIFY_SOCKET")
            .map(|address| String::from_utf8_lossy(address).into_owned());
        launched.fifos = self.runs.get(&id).map_or_else(Vec::new, |run| run.fifos.clone());
        Some(launched.record(&self.runtime_dir))
    }

    fn release(&mut self, id: Incarnation) {
        if let Some(run) = self.runs.get(&id) {
            let order = Order::Release { ticket: run.ticket };
            self.order(&order, &[]);
        }
        point!("daemon.release-ordered");
        self.forget(id);
    }

    fn forget(&mut self, id: Incarnation) {
        let probes = [
            Task::Probe(ProbeKind::Ready),
            Task::Probe(ProbeKind::Health),
            Task::Gate,
        ];
        for task in probes.into_iter().chain(Purpose::ALL.map(Task::Run)) {
            self.cancel(id, task);
        }
        let Some(run) = self.runs.remove(&id) else { return };
        self.forget_moved(&run);
        if let Some(terminal) = &run.terminal {
            terminal.close();
        }
        if run.logged {
            self.pump.close(&run.service.name, id.run);
        }
        for fifo in &run.fifos {
            let _ = std::fs::remove_file(fifo);
        }
        if let Some(task) = run.notify {
            task.abort();
        }
        self.by_name.remove(&(run.service.name.clone(), id.run));
        self.claims.remove(&run.ticket);
    }

    fn start_task(&mut self, id: Incarnation, task: Task, work: impl Future<Output = Fact> + 'static) {
        let inbox = self.inbox.clone();
        let handle = tokio::task::spawn_local(async move {
            let _ = inbox.send(Inbox::Fact(work.await));
        });
        if let Some(before) = self.tasks.insert((id, task), handle.abort_handle()) {
            before.abort();
        }
    }

    fn cancel(&mut self, id: Incarnation, task: Task) {
        if let Some(handle) = self.tasks.remove(&(id, task)) {
            handle.abort();
        }
    }

    fn order(&mut self, order: &Order, descriptors: &[BorrowedFd<'_>]) {
        order_with(&mut self.guardian, order, descriptors);
    }
}

fn order_with(guardian: &mut Link, order: &Order, descriptors: &[BorrowedFd<'_>]) {
    // A guardian that is gone is noticed by the loop, at the reading end.
    if let Err(error) = guardian.queue(order, descriptors) {
        tracing::error!(%error, "could not pass an order to the guardian");
    }
}

fn checks(service: &Service) -> impl Iterator<Item = &Check> {
    service
        .ready
        .iter()
        .chain(&service.health)
        .flat_map(|probe| probe.check.leaves())
}
