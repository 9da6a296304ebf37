//! `up`: starts the project or joins it, and shows what happens until it is over.

mod arrival;
#[cfg(feature = "shell")]
pub mod background;
mod given;
pub mod in_place;
mod later;
mod lost;
mod screen;
mod signals;

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at};

use super::args::{Global, Up, UpFormat};
use super::outcome::Outcome;
use super::progress::Watcher;
use super::reach::{Holder, Reached, Start};
use super::{Result, call, plan, project, reach, shell, terminal};
use crate::api::client::{self, Frames};
use crate::api::frames::Frame;
use crate::api::wire::{self, DownAnswer, DownRequest, EventKind, UpRequest};
use crate::config;
use crate::config::find::Location;
use crate::logs::{Origin, Stream};
use crate::reconcile::Author;
use crate::sys;
use crate::view::{json, words};
use arrival::{Arrival, arrival, arrived};
use given::Given;
use screen::Screen;
use signals::Signals;

/// How often the block of what is being waited for is drawn again.
const REDRAW: Duration = Duration::from_millis(250);
/// Where there is no terminal for a block: how often `up -d` says what it still waits for.
const WORD: Duration = Duration::from_secs(30);

pub fn up(global: &Global, args: &Up) -> Result<u8> {
    // Before anything is opened that could have their numbers.
    let given = Given::take();
    later::refuse(args)?;
    if args.dry_run {
        let request = UpRequest {
            names: args.names.clone(),
            no_deps: args.no_deps,
            profiles: global.profiles.clone(),
            ..UpRequest::default()
        };
        return plan::dry_run(global, &request, args.json);
    }
    if in_place::is_meant(args) {
        return in_place::up(global, args, given);
    }
    if args.detach && reach::is_init() {
        return Err(Outcome::Usage {
            message: "as the first process of a container `-d` would end it at once".to_owned(),
            suggestion: Some("leave out `-d`: `docker run -d` is what goes to the background".to_owned()),
        });
    }
    if !args.command.is_empty() {
        return Err(Outcome::Usage {
            message: "a command behind `--` needs this terminal: `-d` has none for it".to_owned(),
            suggestion: Some("declare it in services.toml, or leave out `-d`".to_owned()),
        });
    }
    let loaded = project::load_for_up(global, &args.names)?;
    // Said before anything is started.
    for words in [&args.names[..], args.exit_code_from.as_slice()] {
        config::select(&loaded.project, words)?;
    }
    project::check_profiles(global, &loaded.project)?;
    let given = given.for_services(&loaded.project);
    let style = terminal::for_stdout(global);
    let start = Start {
        location: &loaded.location,
        state_dir: &loaded.project.state_dir,
        foreground: !args.detach,
        colour: style.color,
        ends: false,
        given: &given,
        console: None,
    };
    let given = given.len();
    let names: Vec<String> = loaded.project.services.keys().map(ToString::to_string).collect();
    let mut screen = Screen::new(args.log_format.into(), style, names, !args.detach, global.quiet);
    let request = UpRequest {
        names: args.names.clone(),
        no_deps: args.no_deps,
        profiles: global.profiles.clone(),
        exit: args.exit.map(Into::into),
        exit_code_from: args.exit_code_from.clone(),
        detach: args.detach,
        console: !args.no_wait,
        no_reload: args.no_reload,
        files: loaded.location.files.clone(),
        resume: false,
    };
    reach::converse(async {
        let Asked { frames, owner, holder } = ask(&start, &request).await?;
        shell::is_by_hand(&loaded.location);
        if owner.is_none() && given > 0 {
            let words = "runner is up already, and the sockets that were passed to this `up` are not used";
            say(args.log_format, format_args!("warning: {words}"));
        }
        // As JSON the events say it.
        if !global.quiet && args.log_format == UpFormat::Text {
            let verb = if owner.is_some() { "" } else { "joined " };
            let leaves = match owner.is_none() && !args.detach {
                true => "; Ctrl-C leaves it running",
                false => "",
            };
            let files = file_names(&loaded.location);
            let services = words::count(loaded.project.services.len() as u64, "service");
            terminal::say(format_args!(
                "runner  {verb}{}: {services} from {files}{leaves}",
                loaded.project.name
            ));
        }
        let Some(frames) = frames else { return Ok(0) };
        screen.joins = owner.is_none();
        let session = Session {
            location: &loaded.location,
            state_dir: &loaded.project.state_dir,
            owner,
            holder,
            deadline: args.wait_timeout.map(|timeout| Instant::now() + timeout),
            names: &args.names,
            arrival: match args.detach {
                true => Some(arrival(loaded.location.clone(), &args.names)),
                false => None,
            },
            asked_to_stop: false,
            format: args.log_format,
            watcher: Watcher::default(),
            diagnose: &|| project::diagnosis(global),
        };
        session.follow(frames, &mut screen).await
    })
}

/// A daemon that has taken our `up`.
struct Asked {
    /// What it streams, if that is wanted.
    frames: Option<Frames>,
    /// The hold on what we started.
    owner: Option<OwnedFd>,
    holder: Holder,
}

/// Finds or starts the daemon and asks it for `up`.
async fn ask(start: &Start<'_>, request: &UpRequest) -> Result<Asked> {
    let mut started = 0;
    loop {
        let (stream, owner) = match reach::or_start(start)? {
            Reached::Joined(stream) => (stream, None),
            Reached::Started { stream, owner } => (stream, Some(owner)),
        };
        started += u32::from(owner.is_some());
        let mut client = reach::client(stream).await?;
        let answer = async {
            if request.console {
                client.frames("/v1/up", request).await.map(Some)
            } else {
                client.post("/v1/up", request).await.map(|_: wire::Ps| None)
            }
        };
        let answer = call::unless_stopped(start.location, answer).await?;
        match answer {
            // `TW-10`: it is being stopped, perhaps before it has heard of us, who started it. After its end there is a new one.
            Err(client::Error::Refused(refusal)) if refusal.is_ending() => client.until_closed().await,
            // It ended between our call and its answer. One that ends each time that we start it can't be started.
            Err(client::Error::Lost(_)) if owner.is_none() || started < 2 => {}
            other => {
                let frames = other?;
                // Only now: a runner that was just started has not said before who it is.
                let holder = Holder::of(&start.state_dir.join("lock"));
                return Ok(Asked { frames, owner, holder });
            }
        }
    }
}

/// Words of our own, beside what the events tell.
fn say(format: UpFormat, words: impl std::fmt::Display) {
    match format {
        UpFormat::Text => terminal::say(words),
        UpFormat::Json => terminal::say_raw(&json::note(&words.to_string(), sys::clock::wall_ns())),
    }
}

fn file_names(location: &Location) -> String {
    let names: Vec<_> = location
        .files
        .iter()
        .chain(location.local.iter().filter(|local| local.exists()))
        .map(|file| {
            file.file_name()
                .unwrap_or(file.as_os_str())
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.join(", ")
}

/// One `up` that follows a project.
struct Session<'a> {
    location: &'a Location,
    state_dir: &'a std::path::Path,
    /// Open while we stay with a project that we started.
    owner: Option<OwnedFd>,
    /// Whose end is the end of the project.
    holder: Holder,
    deadline: Option<Instant>,
    names: &'a [String],
    /// `-d`: whether all that was asked for is up, once that is known.
    arrival: Option<Arrival>,
    asked_to_stop: bool,
    format: UpFormat,
    watcher: Watcher,
    /// Looks at the files that were rejected.
    diagnose: &'a dyn Fn() -> Option<String>,
}

/// What ends the following.
enum End {
    /// The project is over: its code, and why.
    Project {
        code: u8,
        because: String,
        by: Author,
    },
    /// `-d`: all is as it should be, or settled with a failure.
    Settled(wire::Acted),
    Detached,
    TimedOut,
    /// The stream broke without a last word.
    Lost,
}

impl Session<'_> {
    fn say(&self, words: impl std::fmt::Display) {
        match self.format {
            UpFormat::Text => terminal::say(format_args!("runner  {words}")),
            UpFormat::Json => say(self.format, words),
        }
    }

    async fn follow(mut self, mut frames: Frames, screen: &mut Screen) -> Result<u8> {
        // Heard all the time: a Ctrl-C at the instant in which the daemon dies is one as well.
        let mut signals = Signals::listen()?;
        let end = loop {
            match self.watch(&mut frames, screen, &mut signals).await? {
                End::Lost => match self.resume().await {
                    Some(again) => frames = again,
                    None => break End::Lost,
                },
                end => break end,
            }
        };
        screen.finish().await;
        match end {
            End::Project { code, because, by } => {
                self.holder.wait();
                let code = match self.arrival {
                    Some(_) => arrival::code_of_an_end(code, by, self.asked_to_stop),
                    None => code,
                };
                screen.last_words(code, &because);
                Ok(code)
            }
            End::Settled(acted) => {
                let failed = acted.outcome != wire::Outcome::Done;
                if failed {
                    screen.troubles(&acted);
                } else if !screen.is_quiet() {
                    self.say(arrival::words(&acted));
                }
                Ok(u8::from(failed))
            }
            End::Detached if self.arrival.is_some() => Err(Outcome::Interrupted),
            End::Detached => {
                self.say("detached: the project goes on; `runner down` stops it");
                Ok(0)
            }
            End::TimedOut => Err(self.timed_out(screen).await),
            End::Lost => {
                // A daemon that has replaced a killed one, and was at its end before it could be asked.
                let is_over = self.is_over(&mut signals).await?;
                if is_over && self.asked_to_stop {
                    screen.last_words(0, "everything has stopped; a daemon was killed over it");
                    return Ok(0);
                }
                Err(lost::outcome(is_over, self.state_dir))
            }
        }
    }

    /// The stream broke without a last word: the daemon was killed, and its guardian has started another one, which is asked
    /// to go on. `None`: there is none.
    async fn resume(&mut self) -> Option<Frames> {
        let request = UpRequest {
            console: true,
            resume: true,
            ..UpRequest::default()
        };
        let frames = loop {
            let stream = reach::running(self.location).ok()??;
            let mut client = reach::client(stream).await.ok()?;
            match call::unless_stopped(self.location, client.frames("/v1/up", &request))
                .await
                .ok()?
            {
                Ok(frames) => break frames,
                // That one is gone as well.
                Err(client::Error::Lost(_)) => {}
                Err(_) => return None,
            }
        };
        self.say("another daemon has taken over; what was printed meanwhile is in the logs");
        self.watcher = Watcher::default();
        // It may be the guardian that is another one.
        self.holder = Holder::of(&self.state_dir.join("lock"));
        if self.arrival.is_some() {
            self.arrival = Some(arrival(self.location.clone(), self.names));
        }
        Some(frames)
    }

    /// Says who was not there in time, and what each waits for.
    async fn timed_out(&mut self, screen: &Screen) -> Outcome {
        let ps = self.watcher.look(self.location).await;
        let waiting = ps.map_or_else(Vec::new, |ps| screen.waiting(&ps));
        let mut message = "not everything was ready in time; the project stays up".to_owned();
        for line in waiting {
            message.push('\n');
            message.push_str(&line);
        }
        Outcome::TimedOut { message }
    }

    async fn watch(&mut self, frames: &mut Frames, screen: &mut Screen, signals: &mut Signals) -> Result<End> {
        let Signals {
            interrupt,
            terminate,
            hangup,
        } = signals;
        let mut redraw = redraws();
        let mut word = interval_at(Instant::now() + WORD, WORD);
        let writer = screen.writer();
        let unread = screen.unread();
        loop {
            tokio::select! {
                biased;
                Some(()) = interrupt.recv() => if self.stop("Ctrl-C").await? { return Ok(End::Detached) },
                Some(()) = terminate.recv() => if self.stop("SIGTERM to `runner up`").await? { return Ok(End::Detached) },
                // The terminal closed after Ctrl-C is no second Ctrl-C (`SG-02`).
                Some(()) = hangup.recv(), if !self.asked_to_stop => if self.stop("the terminal is closed").await? { return Ok(End::Detached) },
                // (`| head -1`): as with a closed terminal, the project stops gracefully.
                () = unread.notified(), if !self.asked_to_stop => {
                    if self.stop("nobody reads the output").await? {
                        return Ok(End::Detached);
                    }
                }
                () = at(self.deadline) => return Ok(End::TimedOut),
                acted = arrived(&mut self.arrival), if screen.has_room() => return Ok(End::Settled(acted?)),
                _ = redraw.tick(), if screen.shows_progress() => self.draw(screen).await,
                _ = word.tick(), if self.arrival.is_some() && screen.waits_in_words() => self.say_what_is_waited_for(screen).await,
                frame = frames.next(), if screen.has_room() => match frame {
                    // A killed daemon ends its stream wherever it was.
                    Ok(None) | Err(client::Error::Lost(_)) => return Ok(End::Lost),
                    Err(error) => return Err(error.into()),
                    Ok(Some(frame)) => {
                        if let Some(end) = self.show(frame, screen) {
                            return Ok(end);
                        }
                        while screen.has_room() && let Some(frame) = frames.take_ready()? {
                            if let Some(end) = self.show(frame, screen) {
                                return Ok(end);
                            }
                        }
                    }
                },
                Ok(place) = writer.reserve(), if screen.has_text() => place.send(screen.take_text()),
            }
        }
    }

    fn show(&self, frame: Frame, screen: &mut Screen) -> Option<End> {
        match frame {
            Frame::Output {
                service,
                run,
                stream,
                time_ns,
                bytes,
            } => screen.output(&origin(&service, run, stream, time_ns), &bytes),
            Frame::Skipped {
                service,
                run,
                stream,
                time_ns,
                lines,
            } => screen.skipped(&origin(&service, run, stream, time_ns), lines),
            Frame::Missed(events) => screen.missed(events),
            Frame::Event(event) => {
                match &event.kind {
                    EventKind::ConfigRejected { problems, .. } => screen.rejected(&event, problems, self.diagnose),
                    _ => screen.event(&event),
                }
                if let EventKind::Ended { code, because } = event.kind {
                    let by = event.cause.by;
                    return Some(End::Project { code, because, by });
                }
            }
        }
        None
    }

    /// A project that we started is stopped, and at the second time killed; one that we joined is left alone (`true`).
    async fn stop(&mut self, why: &str) -> Result<bool> {
        if self.owner.is_none() {
            return Ok(true);
        }
        if self.asked_to_stop {
            self.say(format_args!("{why} again: killing everything"));
        } else {
            self.say(format_args!("{why}: stopping everything; once more to kill"));
        }
        let request = DownRequest {
            timeout_ms: None,
            hasten: self.asked_to_stop,
            because: Some(why.to_owned()),
        };
        let again = std::mem::replace(&mut self.asked_to_stop, true);
        match self.ask_to_stop(&request).await {
            // It may be on its way out: its last word, or the end of its stream, says so.
            Err(_) if again => Ok(false),
            asked => asked.map(|()| false),
        }
    }

    async fn ask_to_stop(&self, request: &DownRequest) -> Result<()> {
        while let Some(stream) = reach::running(self.location)? {
            let Ok(mut client) = reach::client(stream).await else {
                continue;
            };
            let answer = call::unless_stopped(self.location, client.post::<DownAnswer>("/v1/down", request)).await?;
            match answer {
                // It died over it: the next one is asked.
                Err(client::Error::Lost(_)) => {}
                Err(client::Error::Refused(refusal)) if refusal.is_ending() => return Ok(()),
                answer => return answer.map(drop).map_err(Into::into),
            }
        }
        Ok(())
    }

    async fn say_what_is_waited_for(&mut self, screen: &Screen) {
        if let Some(ps) = self.watcher.look(self.location).await {
            for line in screen.waiting(&ps) {
                self.say(format_args!("still waiting: {line}"));
            }
        }
    }

    async fn draw(&mut self, screen: &mut Screen) {
        if let Some(ps) = self.watcher.look(self.location).await {
            screen.progress(&ps);
        }
    }
}

fn origin(service: &str, run: u32, stream: Stream, time_ns: i64) -> Origin<'_> {
    Origin {
        service,
        run,
        stream,
        time_ns,
    }
}

fn redraws() -> Interval {
    let mut redraws = interval(REDRAW);
    redraws.set_missed_tick_behavior(MissedTickBehavior::Delay);
    redraws
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
