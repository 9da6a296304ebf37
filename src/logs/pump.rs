//! The pump as the daemon holds it: orders go in, facts and subscriptions come out.
//!
//! The work is done by one thread of its own (`turn.rs`), because a slow disk must not stall decisions.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};
use regex::bytes::Regex;

use super::journal::Journal;
use super::place::{LogPlace, Tail};
use super::seam::Seam;
use super::sink::{Render, Shows, Sink};
use super::subscribe::{Filter, Queue, Subscription};
use super::{LogFact, OpenRun, turn};
use crate::spec::{LogTarget, ServiceName};

/// Compiled patterns that are kept for the next run; more than this are forgotten together.
const PATTERNS: usize = 512;

/// Moves what services print into their log files.
///
/// Dropping it ends its thread too, but does not wait for it; [`Pump::stop`] does.
#[derive(Debug)]
pub struct Pump {
    orders: Sender<Order>,
    shared: Arc<Shared>,
    patterns: Mutex<HashMap<String, Regex>>,
    thread: Option<JoinHandle<()>>,
}

/// What both sides of the pump touch.
#[derive(Debug)]
pub(super) struct Shared {
    pub wake: EventFd,
    /// How many runs write to each log that the thread holds open. Whoever makes it 1 opens it.
    pub users: Mutex<HashMap<LogPlace, usize>>,
    /// Logs in memory, also of services that have ended.
    tails: Mutex<HashMap<ServiceName, Arc<Tail>>>,
    pub queues: Mutex<Vec<Arc<Queue>>>,
    /// Counts changes of `queues`, so that a stream looks there only after one.
    pub queues_version: AtomicU64,
}

pub(super) enum Order {
    Open(Box<Opening>),
    Drain(ServiceName, u32),
    Close(ServiceName, u32),
    Adjust(ServiceName, LogTarget, LogPlace),
    Expect {
        service: ServiceName,
        run: u32,
        first: usize,
        patterns: Vec<Regex>,
    },
    Look(Box<Look>),
    ShowOn(Arc<dyn Shows>),
    Reopen,
    Stop,
}

pub(super) struct Opening {
    pub run: OpenRun,
    pub place: LogPlace,
    /// `None`: the thread has this log open already.
    pub journal: Option<Journal>,
    pub patterns: Vec<Regex>,
}

/// Where these logs end now; and, with a queue, what comes from there on.
pub(super) struct Look {
    pub logs: Vec<(ServiceName, LogPlace)>,
    pub queue: Option<Arc<Queue>>,
    pub answer: Sender<Vec<Seam>>,
}

impl Shared {
    pub fn add_queue(&self, queue: Arc<Queue>) {
        let mut queues = self.lock_queues();
        queues.retain(|queue| !queue.is_closed());
        queues.push(queue);
        self.queues_version.fetch_add(1, Ordering::Release);
    }

    pub fn lock_users(&self) -> MutexGuard<'_, HashMap<LogPlace, usize>> {
        self.users.lock().expect("no holder of this lock panics")
    }

    pub fn lock_queues(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.queues.lock().expect("no holder of this lock panics")
    }
}

impl Pump {
    /// Starts the thread. `facts` is called from it and must not wait for anything slow.
    pub fn start(facts: impl Fn(LogFact) + Send + 'static) -> io::Result<Pump> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let shared = Arc::new(Shared {
            wake: EventFd::from_value_and_flags(0, flags)?,
            users: Mutex::default(),
            tails: Mutex::default(),
            queues: Mutex::default(),
            queues_version: AtomicU64::new(0),
        });
        let (orders, received): (_, Receiver<Order>) = channel();
        let thread = turn::start(shared.clone(), received, Box::new(facts))?;
        Ok(Pump {
            orders,
            shared,
            patterns: Mutex::default(),
            thread: Some(thread),
        })
    }

    /// Takes over the streams of a run. The log file is opened before this returns, so an error (in words for a person)
    /// is known before the service is executed. `LogTarget::Off` and an invalid pattern are `InvalidInput`.
    pub fn open(&self, run: OpenRun) -> io::Result<()> {
        let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
        let Some(place) = self.place(&run.service, &run.target) else {
            return Err(invalid(format!("{} has no log", run.service)));
        };
        let patterns = self
            .compile(&run.matchers)
            .map_err(|error| invalid(error.to_string()))?;
        // Held until the order is sent: orders arrive in the order in which files were opened.
        let mut users = self.shared.lock_users();
        let count = users.get(&place).copied().unwrap_or(0);
        let journal = (count == 0).then(|| Journal::open(&place, &run.target)).transpose()?;
        users.insert(place.clone(), count + 1);
        self.order(Order::Open(Box::new(Opening {
            run,
            place,
            journal,
            patterns,
        })));
        Ok(())
    }

    /// Takes everything that is readable now, then answers with [`LogFact::Drained`]. While the log can't be
    /// written the answer comes at once: the end of a service is not held up by a full disk, its bytes stay in the FIFO.
    pub fn drain(&self, service: &ServiceName, run: u32) {
        self.order(Order::Drain(service.clone(), run));
    }

    /// Drains once more and forgets the descriptors. What can't be written now is kept until it can.
    pub fn close(&self, service: &ServiceName, run: u32) {
        self.order(Order::Close(service.clone(), run));
    }

    /// A live edit of size, number of files, console or place; holds from the next chunk on. `Off` changes nothing
    /// before the next run.
    pub fn adjust(&self, service: &ServiceName, target: LogTarget) {
        if let Some(place) = self.place(service, &target) {
            self.order(Order::Adjust(service.clone(), target, place));
        }
    }

    /// Where the log of a service is, for readers. `None`: nowhere.
    pub fn place(&self, service: &ServiceName, target: &LogTarget) -> Option<LogPlace> {
        match target {
            LogTarget::Memory(_) => {
                let mut tails = self.shared.tails.lock().expect("no holder of this lock panics");
                Some(LogPlace::Memory(tails.entry(service.clone()).or_default().clone()))
            }
            LogTarget::File(_) | LogTarget::Off | LogTarget::Inherited => LogPlace::of_files(target),
        }
    }

    /// Forgets what is in memory of services that are no more.
    pub fn forget_all_but(&self, is_there: impl Fn(&ServiceName) -> bool) {
        let mut tails = self.shared.tails.lock().expect("no holder of this lock panics");
        tails.retain(|service, _| is_there(service));
    }

    /// A live edit adds patterns, which hold from the next line on; an invalid one never matches. `first`: how many there were.
    pub fn expect(&self, service: &ServiceName, run: u32, first: usize, patterns: &[String]) {
        self.order(Order::Expect {
            service: service.clone(),
            run,
            first,
            patterns: self.compile(patterns).unwrap_or_default(),
        });
    }

    /// After somebody else renamed log files (logrotate): go on in new ones.
    pub fn reopen(&self) {
        self.order(Order::Reopen);
    }

    /// Output from now on. At most `budget_bytes` wait for the reader, what comes beyond is skipped and counted.
    pub fn subscribe(&self, filter: Filter, budget_bytes: usize) -> Subscription {
        let queue = Queue::new(filter, budget_bytes);
        self.shared.add_queue(queue.clone());
        Subscription(queue)
    }

    /// What is on the console goes to this sink from now on, before it goes into the logs: services wait for its reader, and
    /// nothing is lost when we are killed. Once nobody can read it everything goes on without.
    pub fn show_on<R: Render + 'static>(&self, sink: &Arc<Sink<R>>) {
        self.order(Order::ShowOn(sink.clone()));
    }

    /// Where each of these logs ends, in their order, once everything that was written before the question is in them.
    /// Nothing comes when the pump has ended.
    pub fn seams(&self, logs: Vec<(ServiceName, LogPlace)>) -> Receiver<Vec<Seam>> {
        self.look(logs, None)
    }

    /// A subscription that begins exactly where the logs end: what is read up to the seams and what is received after them
    /// is everything, once.
    pub fn follow(
        &self,
        filter: Filter,
        budget_bytes: usize,
        logs: Vec<(ServiceName, LogPlace)>,
    ) -> (Subscription, Receiver<Vec<Seam>>) {
        let queue = Queue::new(filter, budget_bytes);
        let seams = self.look(logs, Some(queue.clone()));
        (Subscription(queue), seams)
    }

    fn look(&self, logs: Vec<(ServiceName, LogPlace)>, queue: Option<Arc<Queue>>) -> Receiver<Vec<Seam>> {
        let (answer, seams) = channel();
        self.order(Order::Look(Box::new(Look { logs, queue, answer })));
        seams
    }

    /// Takes what is readable now from every stream and ends the thread.
    pub fn stop(&mut self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on its own.
            let _ = thread.join();
        }
    }

    fn order(&self, order: Order) {
        // Fails only when the thread has ended, and then nobody is left to be told.
        let _ = self.orders.send(order);
        let _ = self.shared.wake.write(1);
    }

    fn compile(&self, patterns: &[String]) -> Result<Vec<Regex>, regex::Error> {
        let mut known = self.patterns.lock().expect("no holder of this lock panics");
        if known.len() > PATTERNS {
            known.clear();
        }
        let mut compiled = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let regex = match known.get(pattern) {
                Some(regex) => regex.clone(),
                None => Regex::new(pattern)?,
            };
            known.insert(pattern.clone(), regex.clone());
            compiled.push(regex);
        }
        Ok(compiled)
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.order(Order::Stop);
        }
    }
}
