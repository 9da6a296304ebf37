//! Performs what the `World` decided, and turns what comes back into facts.

mod incoming;
mod patterns;
mod pid_files;
mod refusals;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use self::pid_files::RunFile;
use self::refusals::{output_refused, port_trouble};
use super::errand::{self, End, Errand, Tickets, Underway};
use super::launch::{self, Captured, Setting, Surroundings};
use super::link::Link;
use super::surroundings::{RunSurroundings, Witness};
use crate::api::boot::Boot;
use crate::guardian::orders::{Order, Record, Stdio, Target, Ticket};
use crate::logs::{LogFact, OpenRun, Pump};
use crate::probe::{self, Notification, NotifySocket};
use crate::reconcile::{Action, ExitStatus, Fact, Failure, Incarnation, ProbeKind, Purpose, Reason};
use crate::spec::{Check, LogTarget, Service, ServiceName, Signal, StopScope};
use crate::sys;

/// One attempt at all gates of `wait_for`.
const GATE_TIMEOUT: Duration = Duration::from_secs(3);

/// What reaches the loop from tasks and from the pump.
#[derive(Debug)]
pub enum Inbox {
    Fact(Fact),
    Log(LogFact),
    Errand(Errand),
    KillErrand(Ticket),
    Notified(Incarnation, Notification),
    /// Its PID file was touched; with `true` a folder on the way to it went away.
    PidFile(Incarnation, bool),
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
    service: Arc<Service>,
    setting: Rc<Setting>,
    witness: Rc<Witness>,
    /// Removed with the run.
    fifos: Vec<PathBuf>,
    /// Patterns of log checks, in the order in which the pump numbers them.
    patterns: Vec<String>,
    logged: bool,
    /// Known, but told only once the pump has everything that was written.
    end: Option<Held>,
    notify: Option<AbortHandle>,
    pid_file: Option<RunFile>,
}

impl Run {
    fn new(ticket: Ticket, service: &Arc<Service>, setting: Setting) -> Run {
        Run {
            ticket,
            service: service.clone(),
            setting: Rc::new(setting),
            witness: Rc::default(),
            fifos: Vec::new(),
            patterns: patterns::of(service),
            logged: false,
            end: None,
            notify: None,
            pid_file: None,
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
    ) -> Hands {
        Hands {
            guardian,
            pump,
            tickets: Rc::new(Tickets::from(next_ticket)),
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
            oom_kills: Cell::new(sys::oom::kills()),
        }
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

    /// The end of everything: the pump takes what is left.
    /// Everything that was written is in the logs then, and told to who follows.
    pub fn stop_pump(&mut self) {
        self.pump.stop();
    }

    pub fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { id, service } => {
                if !self.tries_to_adopt(id, &service) {
                    self.start(id, &service);
                }
            }
            Action::Signal { id, signal, scope } => self.signal(id, signal, scope),
            Action::Deliver { id, signal } => self.deliver(id, signal),
            Action::Kill { id, scope } => self.kill(id, scope),
            Action::Release { id } => self.release(id),
            Action::Probe {
                id,
                kind,
                attempt,
                service,
            } => self.probe(id, kind, attempt, &service),
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
            Action::Run {
                id,
                purpose,
                service,
                timeout,
            } => {
                let command = match purpose {
                    Purpose::Stop => &service.stop_command,
                    Purpose::Reload => &service.reload_command,
                };
                let Some(command) = command else { return };
                let underway = Underway::start(self.tickets.take(), id, command, None, &self.inbox);
                self.start_task(id, Task::Run(purpose), async move {
                    Fact::CommandEnded {
                        id,
                        purpose,
                        result: errand::run(underway, timeout).await,
                    }
                });
            }
            Action::CancelRun { id, purpose } => self.cancel(id, Task::Run(purpose)),
            Action::Adjust { id, service } => {
                self.expect_patterns(id, &service);
                self.pump.adjust(&service.name, service.log.clone());
                if let Some(run) = self.runs.get_mut(&id) {
                    run.service = service;
                }
            }
            Action::Publish(_) | Action::End(_) => unreachable!("the loop takes these itself"),
        }
    }

    fn start(&mut self, id: Incarnation, service: &Arc<Service>) {
        if let Err(failure) = self.spawn(id, service) {
            self.forget(id);
            self.known.push_back(Fact::SpawnFailed { id, failure });
        }
    }

    fn spawn(&mut self, id: Incarnation, service: &Arc<Service>) -> Result<(), Failure> {
        if let Some(failure) = port_trouble(service) {
            return Err(failure);
        }
        let mut setting = Setting::of(id, service, &self.surroundings)?;
        let ticket = self.tickets.take();
        let mut run = Run::new(ticket, service, setting.clone());
        run.pid_file = RunFile::of(service, id, &setting, &self.inbox)?;
        if uses_notify(service) {
            run.notify = Some(self.listen_for_notifications(id, &service.name, &mut setting)?);
            run.setting = Rc::new(setting.clone());
        }
        self.by_name.insert((service.name.clone(), id.run), id);
        self.runs.insert(id, run);
        let output = self.open_output(id, service, &setting)?;
        let record = self.record(service, id, ticket);
        let launch = setting.launch(ticket, &service.command, output, Some(record));
        self.claims.insert(ticket, Claim::Service(id));
        self.order(&Order::Spawn(Box::new(launch)), &[]);
        Ok(())
    }

    /// FIFOs for both streams, read by the pump; or nowhere with `log = false`.
    fn open_output(&mut self, id: Incarnation, service: &Service, setting: &Setting) -> Result<[Stdio; 3], Failure> {
        if service.log == LogTarget::Off {
            return Ok([Stdio::Null, Stdio::Null, Stdio::Null]);
        }
        let owner = setting
            .credentials()
            .map(|credentials| (credentials.uid, credentials.gid));
        let run = self.runs.get_mut(&id).expect("just inserted");
        let refused = |error: io::Error| output_refused(service, &error);
        let mut open = |stream: &str| {
            let path = self.runtime_dir.join(format!("{}.{}.{stream}", service.name, id.run));
            run.fifos.push(path.clone());
            let made = sys::fifo::make(&path, owner).and_then(|()| sys::fifo::open_reader(&path));
            made.map(|reader| (path, OwnedFd::from(reader))).map_err(refused)
        };
        let (out_path, out) = open("out")?;
        let (err_path, err) = open("err")?;
        let opened = OpenRun {
            service: service.name.clone(),
            run: id.run,
            adopted: false,
            out,
            err,
            target: service.log.clone(),
            matchers: run.patterns.clone(),
        };
        self.pump.open(opened).map_err(refused)?;
        run.logged = true;
        let fifo = |path: PathBuf| Stdio::Fifo(path.as_os_str().as_bytes().to_vec());
        Ok([Stdio::Null, fifo(out_path), fifo(err_path)])
    }

    fn listen_for_notifications(
        &self,
        id: Incarnation,
        label: &ServiceName,
        setting: &mut Setting,
    ) -> Result<AbortHandle, Failure> {
        let name = format!("{label}.{}.notify", id.run);
        let socket = match setting.credentials() {
            None => NotifySocket::bind(&self.runtime_dir.join(name)),
            // Abstract names have no owner: one that can't be known beforehand can't be taken beforehand.
            Some(_) => {
                let unforeseen = sys::clock::now().mono_ns;
                NotifySocket::bind_abstract(&format!("runner/{}/{name}.{unforeseen}", self.surroundings.instance))
            }
        };
        let socket = socket.map_err(|error| Failure {
            reason: Reason::OutOfResources,
            message: format!("no notify socket: {error}"),
            suggestion: None,
        })?;
        setting.give("NOTIFY_SOCKET", socket.address());
        let inbox = self.inbox.clone();
        let task = tokio::task::spawn_local(async move {
            while let Ok(notification) = socket.next().await {
                if inbox.send(Inbox::Notified(id, notification)).is_err() {
                    return;
                }
            }
        });
        Ok(task.abort_handle())
    }

    /// What the next runner needs to recognise this run as ours.
    fn record(&self, service: &Service, id: Incarnation, ticket: Ticket) -> Record {
        let path = launch::records(&self.runtime_dir).join(format!("{}.json", service.name));
        let body = serde_json::json!({
            "service": service.name.as_str(),
            "run": id.run,
            "ticket": ticket.0,
            "mark": launch::mark(&self.surroundings.instance, ticket),
            "boot_id": sys::identity::boot_id(),
            "pid_namespace": sys::identity::pid_namespace(),
        });
        Record {
            path: path.as_os_str().as_bytes().to_vec(),
            body: body.to_string(),
        }
    }

    fn signal(&mut self, id: Incarnation, signal: Signal, scope: StopScope) {
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

    fn deliver(&mut self, id: Incarnation, signal: Signal) {
        let Some(run) = self.runs.get(&id) else { return };
        let order = Order::Signal {
            ticket: run.ticket,
            signal: signal.number(),
            target: Target::Process,
            wakes: false,
        };
        self.order(&order, &[]);
    }

    fn kill(&mut self, id: Incarnation, scope: StopScope) {
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

    fn release(&mut self, id: Incarnation) {
        if let Some(run) = self.runs.get(&id) {
            let order = Order::Release { ticket: run.ticket };
            self.order(&order, &[]);
        }
        self.forget(id);
    }

    fn forget(&mut self, id: Incarnation) {
        for task in [
            Task::Probe(ProbeKind::Ready),
            Task::Probe(ProbeKind::Health),
            Task::Gate,
            Task::Run(Purpose::Stop),
            Task::Run(Purpose::Reload),
        ] {
            self.cancel(id, task);
        }
        let Some(run) = self.runs.remove(&id) else { return };
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

    fn probe(&mut self, id: Incarnation, kind: ProbeKind, attempt: u32, service: &Arc<Service>) {
        let Some(run) = self.runs.get(&id) else { return };
        let probe = match kind {
            ProbeKind::Ready => &service.ready,
            ProbeKind::Health => &service.health,
        };
        let Some(probe) = probe.clone() else { return };
        let surroundings = RunSurroundings {
            id,
            witness: run.witness.clone(),
            tickets: self.tickets.clone(),
            inbox: self.inbox.clone(),
        };
        self.start_task(id, Task::Probe(kind), async move {
            let outcome = probe::attempt(&probe.check, kind, probe.timeout, probe.interval, &surroundings).await;
            Fact::Probed {
                id,
                kind,
                attempt,
                outcome,
            }
        });
    }

    fn probe_gates(&mut self, id: Incarnation, attempt: u32, service: Arc<Service>) {
        self.start_task(id, Task::Gate, async move {
            let outcome = probe::attempt_gates(&service.wait_for, GATE_TIMEOUT).await;
            Fact::GateProbed { id, attempt, outcome }
        });
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
        // A guardian that is gone is noticed by the loop, at the reading end.
        if let Err(error) = self.guardian.queue(order, descriptors) {
            tracing::error!(%error, "could not pass an order to the guardian");
        }
    }
}

fn checks(service: &Service) -> impl Iterator<Item = &Check> {
    service
        .ready
        .iter()
        .chain(&service.health)
        .flat_map(|probe| probe.check.leaves())
}

fn uses_notify(service: &Service) -> bool {
    checks(service).any(|check| matches!(check, Check::Notify))
}
