//! The pump's thread: waits for bytes and orders, and gives each stream its turn.
//!
//! It sleeps in epoll_wait(2) without a timeout unless a log is in trouble, so an idle project costs nothing, and an event
//! costs the same with one service as with a thousand.

mod edits;
mod look;
mod showing;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use regex::bytes::Regex;

use super::index::RunId;
use super::journal::Journal;
use super::last::life_of_run;
use super::lines::Matchers;
use super::place::LogPlace;
use super::pump::{Opening, Order, Shared};
use super::tap::{Around, Log, Run, Taken, Tap, Trouble, wall_ns};
use super::{LogFact, Stream};
use crate::spec::ServiceName;
use showing::Showing;

/// The place in epoll of the descriptor that announces orders.
const WAKE: u64 = u64::MAX;
/// Of that by which a sink tells that a batch is written.
const WRITTEN: u64 = u64::MAX - 1;
/// Of all streams that a sink shows.
const READY: u64 = u64::MAX - 2;

/// First and longest wait before a log in trouble is tried again; doubled each time.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Being woken this soon after the last turn for less than [`LITTLE`] bytes means that a service prints line by line and fast.
/// Then one [`NAP`] lets a batch gather, which orders cut short: otherwise each line would cost a wake-up.
const SOON: Duration = Duration::from_micros(200);
const LITTLE: usize = 16 << 10;
const NAP: Duration = Duration::from_micros(150);

pub(super) type Facts = Box<dyn Fn(LogFact) + Send>;

/// The runs of one service that are open (one, or two while an old one still drains) and their places in `taps`.
type Runs = Vec<(u32, [usize; 2])>;

struct Turn {
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    facts: Facts,
    epoll: Epoll,
    taps: Vec<Option<Tap>>,
    free: Vec<usize>,
    runs: HashMap<ServiceName, Runs>,
    logs: HashMap<LogPlace, Rc<RefCell<Log>>>,
    troubled: Vec<Rc<RefCell<Log>>>,
    scratch: Vec<u8>,
    grown: u32,
    life: u32,
    /// Where what is on the console goes before it goes into the logs.
    showing: Option<Showing>,
}

pub(super) fn start(shared: Arc<Shared>, orders: Receiver<Order>, facts: Facts) -> io::Result<JoinHandle<()>> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&shared.wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
    thread::Builder::new().name("log pump".into()).spawn(move || {
        let mut turn = Turn {
            shared,
            orders,
            facts,
            epoll,
            taps: Vec::new(),
            free: Vec::new(),
            runs: HashMap::new(),
            logs: HashMap::new(),
            troubled: Vec::new(),
            scratch: Vec::new(),
            grown: 0,
            life: life(),
            showing: None,
        };
        turn.work();
        for queue in turn.shared.lock_queues().iter() {
            queue.end();
        }
    })
}

impl Turn {
    fn work(&mut self) {
        let mut events = [EpollEvent::empty(); 256];
        loop {
            let slept_at = Instant::now();
            let count = match self.epoll.wait(&mut events, self.timeout(slept_at)) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => panic!("epoll_wait on our own descriptor: {errno}"),
            };
            let soon = slept_at.elapsed() < SOON;
            let mut moved = 0;
            let mut ordered = false;
            for event in &events[..count] {
                match event.data() {
                    WAKE => ordered = true,
                    WRITTEN => self.hear_of_batch(),
                    READY => {}
                    slot => moved += self.serve(slot as usize),
                }
            }
            if ordered {
                let _ = self.shared.wake.read();
                while let Ok(order) = self.orders.try_recv() {
                    if !self.obey(order) {
                        return;
                    }
                }
            }
            self.retry_due();
            moved += self.show();
            if soon && moved > 0 && moved < LITTLE {
                self.nap();
            }
        }
    }

    fn timeout(&self, now: Instant) -> EpollTimeout {
        if self.showing.as_ref().is_some_and(Showing::is_busy) {
            return EpollTimeout::ZERO;
        }
        let due = self
            .troubled
            .iter()
            .filter_map(|log| log.borrow().trouble.as_ref().map(|trouble| trouble.retry_at));
        let showing = self.showing.as_ref().and_then(Showing::deadline);
        match due.chain(showing).min() {
            None => EpollTimeout::NONE,
            Some(at) => {
                let wait = at.saturating_duration_since(now) + Duration::from_millis(1);
                EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
            }
        }
    }

    fn nap(&self) {
        let mut wake = [PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN)];
        let _ = ppoll(&mut wake, Some(TimeSpec::from_duration(NAP)), None);
    }

    /// Returns whether to go on.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Open(opening) => self.open(*opening),
            Order::Drain(service, run) => {
                let mut waits = false;
                for slot in self.slots(&service, run) {
                    self.take(slot);
                    waits |= self.owe(slot);
                }
                match waits {
                    true => self.ask(service, run),
                    false => (self.facts)(LogFact::Drained { service, run }),
                }
            }
            Order::ShowOn(sink) => self.show_on(sink),
            Order::Close(service, run) => self.close(&service, run),
            Order::Look(look) => self.look(*look),
            Order::Adjust(service, target, place) => self.adjust(&service, &target, &place),
            Order::Expect {
                service,
                run,
                first,
                patterns,
            } => self.expect(&service, run, first, patterns),
            Order::Reopen => {
                for log in self.logs.values() {
                    // If it can't be opened, the old file goes on being used; the next rotation tells.
                    let _ = log.borrow_mut().journal.reopen();
                }
            }
            Order::Stop => {
                self.show_the_rest();
                for slot in 0..self.taps.len() {
                    self.take(slot);
                }
                return false;
            }
        }
        true
    }

    fn open(&mut self, opening: Opening) {
        let Opening {
            run,
            place,
            journal,
            patterns,
        } = opening;
        if let Some(journal) = journal {
            self.keep(journal);
        }
        let log = self.logs[&place].clone();
        log.borrow_mut().journal.adjust(&run.target);
        let adopted = run.adopted.then(|| life_of_run(&place, run.run)).flatten();
        let shared_run = Rc::new(Run {
            service: run.service.clone(),
            id: RunId {
                life: adopted.unwrap_or(self.life),
                number: run.run,
            },
            console: Cell::new(run.target.is_on_console()),
            matchers: RefCell::new(Matchers::new(patterns)),
        });
        let out = Tap::new(shared_run.clone(), Stream::Out, run.out, log.clone());
        let err = Tap::new(shared_run, Stream::Err, run.err, log);
        let slots = [self.place(out), self.place(err)];
        self.runs.entry(run.service).or_default().push((run.run, slots));
    }

    fn keep(&mut self, journal: Journal) {
        let log = Log {
            trouble: None,
            suspended: VecDeque::new(),
            journal,
        };
        let place = log.journal.place().clone();
        self.logs.insert(place, Rc::new(RefCell::new(log)));
    }

    fn place(&mut self, tap: Tap) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.taps.push(None);
            self.taps.len() - 1
        });
        self.taps[slot] = Some(tap);
        self.place_on_console(slot);
        self.watch(slot, true);
        slot
    }

    /// Lets epoll look at this stream, or not.
    fn watch(&mut self, slot: usize, wanted: bool) {
        let Some(tap) = self.taps[slot].as_mut().filter(|tap| tap.watched != wanted) else {
            return;
        };
        let (epoll, flags) = match &self.showing {
            Some(showing) if tap.on_console => (&showing.epoll, EpollFlags::EPOLLIN | EpollFlags::EPOLLET),
            _ => (&self.epoll, EpollFlags::EPOLLIN),
        };
        let result = match wanted {
            true => epoll.add(&tap.pipe, EpollEvent::new(flags, slot as u64)),
            false => epoll.delete(&tap.pipe),
        };
        // Only what is no pipe at all, or the lack of kernel memory, can fail here.
        if let Err(errno) = result {
            (self.facts)(LogFact::Trouble {
                service: tap.run.service.clone(),
                problem: Some(format!("its output can't be watched: {errno}")),
            });
        }
        tap.watched = wanted;
    }

    fn slots(&self, service: &ServiceName, run: u32) -> Vec<usize> {
        let runs = self.runs.get(service).into_iter().flatten();
        runs.filter(|(number, _)| *number == run)
            .flat_map(|(_, slots)| *slots)
            .collect()
    }

    /// epoll says that this stream has something.
    fn serve(&mut self, slot: usize) -> usize {
        let (moved, ended) = self.take(slot);
        if ended {
            self.watch(slot, false);
        }
        moved
    }

    /// Takes one turn's worth. Returns how much, and whether nobody can write any more.
    fn take(&mut self, slot: usize) -> (usize, bool) {
        let Some(tap) = self.taps[slot].as_mut().filter(|tap| !tap.on_console) else {
            return (0, false);
        };
        if tap.log.borrow().trouble.is_some() {
            self.suspend(slot);
            return (0, false);
        }
        let mut around = Around {
            shared: &self.shared,
            facts: &self.facts,
            scratch: &mut self.scratch,
            grown: &mut self.grown,
        };
        match tap.take(&mut around) {
            (moved, Taken::All | Taken::Part) => (moved, false),
            (moved, Taken::Ended) => (moved, true),
            (moved, Taken::Failed(error)) => {
                self.begin_trouble(slot, &error);
                (moved, false)
            }
        }
    }

    fn begin_trouble(&mut self, slot: usize, error: &io::Error) {
        let Some(tap) = &self.taps[slot] else { return };
        let service = tap.run.service.clone();
        let log = tap.log.clone();
        (self.facts)(LogFact::Trouble {
            service: service.clone(),
            problem: Some(in_words(log.borrow().journal.place(), error)),
        });
        log.borrow_mut().trouble = Some(Trouble {
            service,
            delay: RETRY.0,
            retry_at: Instant::now() + RETRY.0,
        });
        self.troubled.push(log);
        self.suspend(slot);
    }

    fn suspend(&mut self, slot: usize) {
        self.watch(slot, false);
        if let Some(tap) = &self.taps[slot] {
            let suspended = &mut tap.log.borrow_mut().suspended;
            if !suspended.contains(&slot) {
                suspended.push_back(slot);
            }
        }
    }

    fn retry_due(&mut self) {
        if self.troubled.is_empty() {
            return;
        }
        let now = Instant::now();
        let is_due = |log: &mut Rc<RefCell<Log>>| log.borrow().trouble.as_ref().is_none_or(|t| t.retry_at <= now);
        let due: Vec<_> = self.troubled.extract_if(.., is_due).collect();
        for log in due {
            if !self.retry(&log) {
                self.troubled.push(log);
            }
        }
    }

    /// Tries the streams that wait for this log. Returns whether the trouble is over.
    fn retry(&mut self, log: &Rc<RefCell<Log>>) -> bool {
        let Some(mut trouble) = log.borrow_mut().trouble.take() else {
            return true;
        };
        loop {
            // An earlier run has the word before a later one.
            let Some(slot) = log.borrow_mut().suspended.pop_front() else {
                break;
            };
            let Some(tap) = self.taps[slot].as_mut() else { continue };
            let mut around = Around {
                shared: &self.shared,
                facts: &self.facts,
                scratch: &mut self.scratch,
                grown: &mut self.grown,
            };
            match tap.take(&mut around).1 {
                Taken::Failed(_) => {
                    trouble.delay = (trouble.delay * 2).min(RETRY.1);
                    trouble.retry_at = Instant::now() + trouble.delay;
                    let mut log = log.borrow_mut();
                    log.suspended.push_front(slot);
                    log.trouble = Some(trouble);
                    return false;
                }
                _ if tap.closing && !self.owe(slot) => self.forget(slot),
                _ => self.watch(slot, true),
            }
        }
        (self.facts)(LogFact::Trouble {
            service: trouble.service,
            problem: None,
        });
        true
    }

    fn close(&mut self, service: &ServiceName, run: u32) {
        for slot in self.slots(service, run) {
            self.take(slot);
            let is_owed = self.owe(slot);
            let Some(tap) = self.taps[slot].as_mut() else { continue };
            tap.closing = is_owed || tap.log.borrow().trouble.is_some();
            if !tap.closing {
                self.forget(slot);
            }
        }
        if let Some(runs) = self.runs.get_mut(service) {
            runs.retain(|(number, _)| *number != run);
            if runs.is_empty() {
                self.runs.remove(service);
            }
        }
    }

    fn forget(&mut self, slot: usize) {
        self.watch(slot, false);
        let Some(mut tap) = self.taps[slot].take() else {
            return;
        };
        tap.finish(&self.facts);
        self.grown -= u32::from(tap.grown);
        self.free.push(slot);
        // Each run counts once, by its second stream.
        if Rc::strong_count(&tap.run) == 1 {
            self.tell_end(&tap.run);
            if let Some(showing) = &self.showing {
                showing.end(&tap.run.service, tap.run.id.number);
            }
            let place = tap.log.borrow().journal.place().clone();
            self.let_go(&place);
        }
    }

    fn let_go(&mut self, place: &LogPlace) {
        let mut users = self.shared.lock_users();
        match users.get_mut(place) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                users.remove(place);
                self.logs.remove(place);
            }
        }
    }

    fn expect(&mut self, service: &ServiceName, run: u32, first: usize, patterns: Vec<Regex>) {
        let runs = self.runs.get(service).into_iter().flatten();
        let mut slots = runs.filter(|(number, _)| *number == run).map(|(_, slots)| slots[0]);
        // Both streams share them.
        if let Some(tap) = slots.next_back().and_then(|slot| self.taps[slot].as_ref()) {
            tap.run.matchers.borrow_mut().add(first, patterns);
        }
    }
}

/// Tells this life of the project from others in the logs (`RunId`): the milliseconds of its beginning.
fn life() -> u32 {
    (wall_ns() / 1_000_000) as u32 & 0x00ff_ffff
}

/// For a person: which log, and what the kernel says.
fn in_words(place: &LogPlace, error: &io::Error) -> String {
    let place = place.to_string();
    let text = match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    };
    if text.starts_with(&place) {
        text
    } else {
        format!("{place}: {text}")
    }
}
