//! The loop: wait for one thing, name it as a fact, step the World, let the hands perform, sleep until the next deadline.

mod acting;
mod answers;
mod definition;
mod door;
mod farewell;
mod in_place;
mod recover;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::mpsc;

use super::alarm::{AlarmClock, instant, sleep};
use super::book::{Book, Session};
use super::hands::{Hands, Inbox};
use super::launch::Captured;
use super::link::Link;
use super::rebirth::{Estate, Held};
use super::showing::Showing;
use super::store::Store;
use super::story::Story;
use super::upward::Upward;
use super::waiting::Waiting;
use super::{present, reading};
use crate::api::boot::{Boot, for_daemon};
use crate::api::server::Call;
use crate::api::wire;
use crate::guardian;
use crate::guardian::orders::Report;
use crate::logs::Pump;
use crate::reconcile::{Action, Author, Cause, Ending, Event, EventKind, Fact, Request, StateName, World};
use crate::spec::{ExitPolicy, ServiceName};
use crate::sys;
use crate::sys::places::{loss, nameless};
use definition::{Definition, News};
use door::{Door, name_guardian};

/// The daemon from start to end; the exit code is the project's.
pub(super) async fn live(boot: Boot) -> u8 {
    match Daemon::start(boot).await {
        Ok((daemon, inputs)) => daemon.run(inputs).await,
        Err(error) => {
            tracing::error!(%error, "could not start");
            1
        }
    }
}

struct Daemon {
    boot: Boot,
    world: World,
    hands: Hands,
    story: Story,
    store: Store,
    waiting: Waiting,
    meter: present::Meter,
    upward: Upward,
    definition: Definition,
    /// The project is ours as long as the lock is open here or in the guardian.
    estate: Estate,
    door: Door,
    /// What `up` said about the end, over what the file says.
    exit: Option<ExitPolicy>,
    exit_code_from: Option<ServiceName>,
    ending: Option<Ending>,
    stop_asked: bool,
    book: Book,
    session: Session,
    /// The book can't be written: said once, until it can again.
    forgetful: bool,
    /// What an earlier daemon left waits for the definition: nobody is answered before.
    recovering: bool,
    /// The program that is to take our place.
    renewal: Option<PathBuf>,
    /// There is no guardian, and no way to get one.
    lost: bool,
    /// Somebody wanted runner to end while there was no daemon.
    asked_meanwhile: bool,
    /// Nobody stays with the project: the owner's end is no reason to stop.
    released: bool,
    /// In place: what shows everything.
    showing: Option<Showing>,
}

/// Everything that the loop waits for.
struct Inputs {
    inbox: mpsc::UnboundedReceiver<Inbox>,
    news: mpsc::UnboundedReceiver<News>,
    calls: mpsc::Receiver<Call>,
    alarm: AlarmClock,
    owner: Option<pipe::Receiver>,
    signals: Signals,
}

struct Signals {
    terminate: SignalStream,
    interrupt: SignalStream,
    quit: SignalStream,
    hangup: SignalStream,
}

/// One thing that has happened.
enum Happened {
    Guardian(io::Result<Vec<Report>>),
    Inbox(Inbox),
    News(News),
    Call(Call),
    Signal(&'static str),
    /// SIGHUP: read the file anew.
    Hangup,
    OwnerGone,
    Deadline,
}

impl Daemon {
    async fn start(boot: Boot) -> io::Result<(Daemon, Inputs)> {
        let mut guardian = Link::over(inherited(guardian::ORDER_DESCRIPTOR)?)?;
        let lock = inherited(for_daemon::LOCK)?;
        name_guardian(&lock, &boot)?;
        crate::fault::point!("daemon.begun");
        let estate = Estate {
            lock,
            listener: door::reachable(inherited(for_daemon::LISTENER)?, &boot)?,
            owner: inherited(for_daemon::OWNER)?,
        };
        let owner = pipe::Receiver::from_owned_fd(Estate::copy(&estate.owner)?)?;
        let greeting = match guardian.greeting().await {
            Ok(greeting) => greeting,
            Err(error) => return Err(recover::without_guardian(&boot, &estate, &Held::default(), error)),
        };
        if !nameless::is_nowhere(&boot.runtime_dir) {
            sys::places::private_dir(&guardian::records::folder(&boot.runtime_dir))?;
        }
        let (sink, inbox) = mpsc::unbounded_channel();
        let for_pump = sink.clone();
        let pump = Pump::start(move |fact| {
            // After the loop has ended nobody needs to know.
            let _ = for_pump.send(Inbox::Log(fact));
        })?;
        let (call_sink, calls) = mpsc::channel(16);
        let mut door = Door::new(call_sink);
        door.open(&estate.listener)?;
        let (book, past, unreadable) = Book::open(&boot.runtime_dir);
        let now = sys::clock::now();
        let mut session = past.session.clone().unwrap_or_else(|| Session::new(now.wall_ns));
        if past.session.is_none() || greeting.before.is_none() && !boot.goes_on {
            // Whoever starts it now says how it ends, or has said it where nothing could be written.
            session = session.begun_anew(!boot.foreground);
        }
        session.stop_asked |= boot.ends;
        let next_ticket = greeting.next_ticket;
        let hands = Hands::new(
            guardian,
            pump,
            next_ticket,
            sink,
            Captured::now(),
            &boot,
            session.salt.clone(),
        );
        let (news_sink, news) = mpsc::unbounded_channel();
        let (store, mut complaints) = Store::open(&boot.state_dir);
        complaints.extend(unreadable);
        if greeting.before.is_none() && !boot.goes_on {
            let is_init = boot.console.as_ref().is_some_and(|console| console.init);
            complaints.extend(loss::of(&boot.state_dir, &boot.runtime_dir, is_init));
        }
        let (upward, complaint) = Upward::new(&boot, now.mono_ns);
        complaints.extend(complaint);
        let mut world = World::new(now.wall_ns as u64);
        let mut wishes = session.settle_wishes(store.found()).clone();
        // What was asked for could be written nowhere: then everything was, as `up` means it.
        wishes.all |= past.session.is_none() && (greeting.before.is_some() || boot.goes_on) && store.found().is_none();
        world.restore(wishes);
        let mut daemon = Daemon {
            released: session.released,
            definition: Definition::new(news_sink, &boot.state_dir, &mut complaints),
            story: Story::open(&boot.state_dir),
            boot,
            estate,
            door,
            world,
            hands,
            store,
            waiting: Waiting::default(),
            meter: present::Meter::default(),
            upward,
            exit: session.exit,
            exit_code_from: session.exit_code_from.clone(),
            ending: None,
            stop_asked: session.stop_asked,
            book,
            session,
            forgetful: false,
            recovering: false,
            renewal: None,
            lost: false,
            asked_meanwhile: false,
            showing: None,
        };
        daemon.show();
        daemon.definition.reload = daemon.session.reload;
        for complaint in complaints {
            daemon.warn(complaint);
        }
        if let Err(error) = daemon.recover(greeting, past).await {
            let held = Held {
                spare: Vec::new(),
                sockets: daemon.hands.held_sockets(),
            };
            return Err(recover::without_guardian(&daemon.boot, &daemon.estate, &held, error));
        }
        daemon.begin_in_place();
        let owner = daemon.boot.console.is_none().then_some(owner);
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        };
        sys::signals::let_through();
        Ok((
            daemon,
            Inputs {
                inbox,
                news,
                calls,
                alarm: AlarmClock::default(),
                owner,
                signals,
            },
        ))
    }

    async fn run(mut self, mut inputs: Inputs) -> u8 {
        while self.ending.is_none() {
            let happened = self.wait(&mut inputs).await;
            self.handle(happened, &mut inputs);
            if self.lost {
                return 1;
            }
            if let Some(program) = self.renewal.take() {
                return self.make_way(program, inputs).await;
            }
            while let Ok(item) = inputs.inbox.try_recv() {
                self.hands.take(item);
            }
            self.digest();
            self.conclude();
            if let Err(error) = self.hands.guardian().flush() {
                self.be_reborn(&error);
                return 1;
            }
        }
        self.say_farewell(inputs).await
    }

    async fn wait(&mut self, inputs: &mut Inputs) -> Happened {
        let deadlines = [
            self.world.next_deadline(),
            self.waiting.deadline(),
            self.definition.deadline(),
            self.upward.deadline(),
            inputs.alarm.set(self.world.next_alarm()),
        ];
        let deadline = deadlines.into_iter().flatten().min().map(instant);
        let Inputs {
            inbox,
            news,
            calls,
            alarm,
            owner,
            signals,
        } = inputs;
        let answers = !self.recovering;
        if self.hands.guardian().is_waiting() {
            // A guardian that reads slowly (stopped, say) must be fed, and is not waited for.
            tokio::select! {
                () = self.hands.guardian().sent() => return Happened::Deadline,
                Some(call) = calls.recv(), if answers => return Happened::Call(call),
            }
        }
        tokio::select! {
            reports = self.hands.guardian().reports() => Happened::Guardian(reports),
            Some(item) = inbox.recv() => Happened::Inbox(item),
            Some(item) = news.recv() => Happened::News(item),
            Some(call) = calls.recv(), if answers => Happened::Call(call),
            Some(()) = signals.terminate.recv() => Happened::Signal("SIGTERM"),
            Some(()) = signals.interrupt.recv() => Happened::Signal("SIGINT"),
            Some(()) = signals.quit.recv() => Happened::Signal("SIGQUIT"),
            Some(()) = signals.hangup.recv() => Happened::Hangup,
            () = end_of(owner) => Happened::OwnerGone,
            () = sleep(deadline) => Happened::Deadline,
            () = alarm.rung() => Happened::Deadline,
        }
    }

    fn handle(&mut self, happened: Happened, inputs: &mut Inputs) {
        match happened {
            Happened::Guardian(Ok(reports)) => {
                for report in reports {
                    self.hands.take_report(report);
                }
            }
            // What was to be told to it is seen to have failed right after this.
            Happened::Guardian(Err(error)) => self.be_reborn(&error),
            Happened::Inbox(item) => self.hands.take(item),
            Happened::News(news) => self.hear(news),
            Happened::Call(call) => self.ask(call),
            Happened::Signal(name) => self.stop(Cause::new(Author::Signal, name)),
            Happened::Hangup => self.hang_up(),
            Happened::OwnerGone => {
                inputs.owner = None;
                // It may vanish after its Ctrl-C: that is no second one.
                if !self.released && !self.stop_asked {
                    self.stop(Cause::new(Author::Signal, "the terminal of `runner up` is gone"));
                }
            }
            Happened::Deadline => {
                self.read_what_is_quiet();
                self.step(Fact::TimePassed);
            }
        }
    }

    /// Everything is being stopped, whoever wanted it: a person or how `up` ends by itself.
    fn is_ending(&self) -> bool {
        self.stop_asked || self.world.is_ending()
    }

    /// A first stop is graceful, any further one is not.
    fn stop(&mut self, cause: Cause) {
        if self.definition.project.is_none() && self.world.is_void() {
            self.ending = Some(Ending {
                by: cause.by,
                code: 0,
                because: cause.detail,
            });
            return;
        }
        let request = if self.stop_asked {
            Request::Hasten
        } else {
            Request::Down { timeout: None }
        };
        self.stop_asked = true;
        self.step(Fact::Asked { request, cause });
    }

    /// Steps with everything that is known, and with every deadline that has been reached, until nothing is left to do.
    fn digest(&mut self) {
        for (service, message) in std::mem::take(&mut self.hands.troubles) {
            tracing::warn!(%service, %message);
            let cause = Cause::new(Author::Runner, "log");
            let kind = wire::EventKind::Warned { message };
            let now = sys::clock::now().wall_ns;
            self.story.tell_kind(now, Some(service.to_string()), 0, kind, cause);
        }
        loop {
            if let Some(fact) = self.hands.known.pop_front() {
                self.step(fact);
            } else if self.is_due() {
                self.step(Fact::TimePassed);
            } else {
                return;
            }
        }
    }

    fn is_due(&self) -> bool {
        let now = sys::clock::now();
        let deadline = self.world.next_deadline().is_some_and(|at| at <= now.mono_ns);
        deadline || self.world.next_alarm().is_some_and(|at| at <= now.wall_ns)
    }

    /// After everything that one turn of the loop has brought: what people wish is kept, what happened is told, and who
    /// waited for it is answered.
    fn conclude(&mut self) {
        if self.session.unkept {
            self.keep_wishes();
        }
        self.tell_story();
        self.keep_book();
        let now = sys::clock::now().mono_ns;
        // Before the answer to `up -d`, which ends then.
        if let Some(complaint) = self.upward.speak(now) {
            self.warn(complaint);
        }
        for (waiter, outcome) in self.waiting.over(now, &self.world) {
            let answer = match outcome {
                Some(outcome) => self.acted(waiter.names.as_deref(), outcome),
                None => Err(wire::Refusal::ending()),
            };
            drop(waiter.reply.send(answer));
        }
    }

    /// Writes and tells what has happened so far.
    fn tell_story(&mut self) {
        if let Some(words) = self.story.flush() {
            self.warn(words);
            // Its trouble was just told.
            self.story.flush();
        }
    }

    /// Something that people should hear of, though no service is concerned.
    fn warn(&mut self, message: String) {
        tracing::warn!(%message);
        let kind = wire::EventKind::Warned { message };
        let cause = Cause::new(Author::Runner, "note");
        self.story.tell_kind(sys::clock::now().wall_ns, None, 0, kind, cause);
    }

    fn step(&mut self, fact: Fact) {
        let by_hand = matches!(fact, Fact::Asked { .. } | Fact::Configured { .. });
        let now = sys::clock::now();
        let mut actions = Vec::new();
        let mut rests = Vec::new();
        self.world.step(now, fact, &mut actions);
        for action in actions {
            match action {
                Action::Publish(event) => {
                    if matches!(event.kind, EventKind::Settled { .. }) {
                        sys::memory::give_back();
                    }
                    self.waiting.hear(&event);
                    rests.extend(self.whose_sockets_may_rest(&event));
                    self.upward.hear(&event.kind, now.mono_ns, || self.world.snapshot());
                    let lines = reading::last_lines(
                        self.hands.pump(),
                        self.definition.project.as_deref(),
                        event.service.as_ref(),
                        event.run,
                        self.session.began_ns,
                    );
                    self.story.tell(now.wall_ns, event, lines);
                }
                Action::End(ending) => self.ending = Some(ending),
                Action::Renumber { service, port } => self.renumber(service, port),
                other => self.hands.perform(other),
            }
        }
        self.close_sockets_at_rest(rests);
        if by_hand {
            self.keep_wishes();
        }
    }

    /// Services with sockets that such an event may have brought to rest.
    fn whose_sockets_may_rest(&self, event: &Event) -> Vec<ServiceName> {
        let owners = || self.hands.socket_owners();
        match event.kind {
            EventKind::Settled { .. } => owners(),
            EventKind::Stopped | EventKind::Completed { .. } | EventKind::Failed { .. } => owners()
                .into_iter()
                .filter(|owner| event.service.as_ref() == Some(owner))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Who is to be started again, or waits for something else, keeps its sockets: its clients queue.
    fn close_sockets_at_rest(&mut self, services: Vec<ServiceName>) {
        use StateName::{Completed, Failed, Stopped};
        for name in services {
            let state = self.world.service(&name).map(|service| service.state);
            if state.is_none_or(|state| matches!(state, Stopped | Completed | Failed)) {
                self.hands.close_sockets_of(&name);
            }
        }
    }
}

fn inherited(number: i32) -> io::Result<OwnedFd> {
    sys::passing::inherited(number).ok_or_else(|| io::Error::other(format!("descriptor {number} was not passed")))
}

/// Until the other end of the owner's pipe is closed; for ever where nobody stays.
async fn end_of(owner: &mut Option<pipe::Receiver>) {
    use tokio::io::AsyncReadExt;
    let Some(owner) = owner else {
        return std::future::pending().await;
    };
    let mut byte = [0];
    while matches!(owner.read(&mut byte).await, Ok(count) if count > 0) {}
}
