//! What clients ask to be done: `up`, `down`, `start` and their like, and waiting for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Daemon;
use super::answers::checked_names;
use super::definition::Purpose;
use crate::api::server::{Act, Reply, UpAnswer};
use crate::api::wire::{self, Outcome, Refusal};
use crate::config::{self, Loaded, Problems};
use crate::daemon::story;
use crate::daemon::waiting::{Aim, Waiter, Whom};
use crate::reconcile::{Author, Cause, Ending, Fact, Goal, Request, StateName};
use crate::spec::{Project, ServiceName, Signal};
use crate::sys;

/// Words of a command line that are worth telling later.
const MOST_WORDS: usize = 120;

impl Daemon {
    pub(super) fn up(&mut self, request: wire::UpRequest, reply: Reply<UpAnswer>) {
        if request.resume {
            return drop(reply.send(Ok(UpAnswer::Console(self.console()))));
        }
        if self.is_ending() {
            // Too late to join: who asks waits for the end and starts anew (`TW-10`).
            return drop(reply.send(Err(Refusal::ending())));
        }
        match self.has_files(&request.files) {
            Ok(()) => self.read(Purpose::Up { request, reply }),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// A caller who means other files would be told of another project than his own.
    pub(super) fn has_files(&self, meant: &[PathBuf]) -> Result<(), Refusal> {
        let location = &self.boot.location;
        // By whatever links they were named.
        let real = |files: &[PathBuf]| -> Vec<PathBuf> {
            let real = |file: &PathBuf| file.canonicalize().unwrap_or_else(|_| file.clone());
            files.iter().map(real).collect()
        };
        if meant.is_empty() || *meant == location.files || real(meant) == real(&location.files) {
            return Ok(());
        }
        let shown = |files: &[PathBuf]| {
            let names = files
                .iter()
                .map(|file| file.strip_prefix(&location.dir).unwrap_or(file));
            let names: Vec<String> = names.map(|name| name.display().to_string()).collect();
            match names.is_empty() {
                true => "without a file".to_owned(),
                false => format!("with {}", names.join(", ")),
            }
        };
        let detail = format!(
            "the runner of {} is up {}, and not {}",
            location.dir.display(),
            shown(&location.files),
            shown(meant)
        );
        let mut refusal = Refusal::new(409, "other files", detail);
        refusal.suggestion = Some("`runner down` first; or `-p NAME` for a second project beside it".to_owned());
        Err(refusal)
    }

    /// The files were read for an `up`.
    pub(super) fn up_with(
        &mut self,
        loaded: Result<Loaded, Problems>,
        request: wire::UpRequest,
        reply: Reply<UpAnswer>,
    ) {
        if self.is_ending() {
            return drop(reply.send(Err(Refusal::ending())));
        }
        let answer = self.good(loaded).and_then(|loaded| {
            let asked = up_request(&loaded.project, &request)?;
            let from = checked_names(&loaded.project, request.exit_code_from.as_slice())?;
            if let ([first, _, ..], Some(word)) = (from.as_slice(), &request.exit_code_from) {
                let mut refusal =
                    Refusal::new(422, "one service is expected", format!("`{word}` names {}", from.len()));
                refusal.suggestion = Some(format!("name one, as in `{first}`"));
                return Err(refusal);
            }
            // Before anything happens, so that it shows everything.
            let console = request.console.then(|| self.console());
            self.released |= request.detach;
            self.definition.reload &= !request.no_reload;
            self.exit = request.exit.or(self.exit);
            self.exit_code_from = from.into_iter().next().or(self.exit_code_from.take());
            self.story.hide(loaded.mask);
            let cause = Cause::new(Author::User, typed("up", &request.names));
            self.configure(Arc::new(loaded.project), loaded.recipe, cause, Some(asked));
            self.session.begun = true;
            match console {
                Some(stream) => Ok(UpAnswer::Console(stream)),
                None => self.ps().map(UpAnswer::Ps),
            }
        });
        let refused = answer.is_err();
        drop(reply.send(answer));
        // The file broke between the client's look and ours: there is nothing to stay for.
        if refused && self.definition.project.is_none() && self.world.is_void() {
            self.ending = Some(Ending {
                by: Author::Runner,
                code: 2,
                because: "the first `up` was refused".to_owned(),
            });
        }
    }

    /// What such an `up` would do now.
    pub(super) fn plan(
        &mut self,
        loaded: Result<Loaded, Problems>,
        request: &wire::UpRequest,
    ) -> Result<wire::Plan, Refusal> {
        let project = self.good(loaded)?.project;
        let asked = up_request(&project, request)?;
        let cause = Cause::new(Author::User, typed("up", &request.names));
        let plan = self.world.plan(sys::clock::now(), &project, Some(asked), &cause);
        let mask = self.story.mask();
        Ok(wire::Plan {
            generation: plan.generation,
            steps: plan.steps.into_iter().map(|step| story::step(step, mask)).collect(),
        })
    }

    pub(super) fn down(&mut self, request: &wire::DownRequest) -> wire::DownAnswer {
        let cause = Cause::new(Author::User, request.because.as_deref().unwrap_or("runner down"));
        if !request.hasten && self.definition.project.is_none() && self.world.is_void() {
            self.stop(cause);
        } else {
            self.stop_asked = true;
            let timeout = request.timeout_ms.map(Duration::from_millis);
            let request = match request.hasten {
                true => Request::Hasten,
                false => Request::Down { timeout },
            };
            self.step(Fact::Asked { request, cause });
        }
        wire::DownAnswer {
            lock: self.boot.state_dir.join("lock"),
            guardian: nix::unistd::getppid().as_raw().unsigned_abs(),
        }
    }

    /// `start` and its like.
    pub(super) fn act(&mut self, act: Act, request: wire::ActRequest, reply: Reply<wire::Acted>) {
        match self.acting(act, &request) {
            Err(refusal) => drop(reply.send(Err(refusal))),
            Ok((names, asked, aim)) => {
                let cause = Cause::new(Author::User, typed(word(act), &request.names));
                if matches!(act, Act::Start | Act::Restart) {
                    self.definition.watching.resume(names.as_deref());
                }
                match aim.filter(|_| request.wait) {
                    Some(aim) => {
                        self.hold(names, aim, request.wait_timeout_ms, reply);
                        self.step(Fact::Asked { request: asked, cause });
                    }
                    None => {
                        self.step(Fact::Asked { request: asked, cause });
                        let outcome = if act == Act::Kill {
                            Outcome::Done
                        } else {
                            Outcome::Asked
                        };
                        drop(reply.send(self.acted(names.as_deref(), outcome)));
                    }
                }
            }
        }
    }

    /// Whom a verb is about, what is asked of the World, and what is waited for.
    fn acting(&mut self, act: Act, request: &wire::ActRequest) -> Result<(Whom, Request, Option<Aim>), Refusal> {
        if self.is_ending() {
            return Err(Refusal::ending());
        }
        let project = self.in_force()?;
        let named = checked_names(&project, &request.names)?;
        let of_stop = request.timeout_ms.filter(|_| act != Act::Stop).map(|_| "timeout_ms");
        let of_kill = request.signal.as_ref().filter(|_| act != Act::Kill).map(|_| "signal");
        if let Some(word) = of_stop.or(of_kill) {
            let detail = format!("`{word}` is not for `{}`", crate::daemon::run::acting::word(act));
            return Err(Refusal::new(400, "request not understood", detail));
        }
        let all = named.is_empty();
        Ok(match act {
            Act::Start if all => {
                // Everything, as `up` means it.
                let asked = Request::Up {
                    names: Vec::new(),
                    no_deps: false,
                    profiles: Vec::new(),
                };
                (Some(self.world.selected()), asked, Some(Aim::Settled))
            }
            Act::Start => {
                let aim = Aim::goal(Goal::Up, &named);
                (Some(named.clone()), Request::Start { names: named }, Some(aim))
            }
            Act::Restart => {
                let names = if all { self.world.wanted() } else { named };
                let aim = Aim::goal(Goal::Up, &names);
                (Some(names.clone()), Request::Restart { names }, Some(aim))
            }
            Act::Stop => {
                let names = if all {
                    project.services.keys().cloned().collect()
                } else {
                    named
                };
                let timeout = request.timeout_ms.map(Duration::from_millis);
                let aim = Aim::goal(Goal::Stopped, &names);
                (Some(names.clone()), Request::Stop { names, timeout }, Some(aim))
            }
            Act::Reload => {
                let names = self.reloadable(&project, named)?;
                let left = names.iter().cloned().collect();
                let aim = Aim::Reload { left, failed: false };
                (Some(names.clone()), Request::Reload { names }, Some(aim))
            }
            Act::Kill => {
                let signal = signal_of(request.signal.as_deref())?;
                if all {
                    // Too much to happen by leaving something out.
                    return Err(Refusal::new(400, "request not understood", "`kill` needs a name"));
                }
                if let Some(name) = named.iter().find(|name| !self.runs(name)) {
                    let detail = format!("{name} has no process to signal");
                    return Err(Refusal::new(409, "not running", detail));
                }
                (Some(named.clone()), Request::Signal { names: named, signal }, None)
            }
        })
    }

    /// Those that run and know how to reload; whoever is named and does not is an error.
    fn reloadable(&self, project: &Project, named: Vec<ServiceName>) -> Result<Vec<ServiceName>, Refusal> {
        let knows = |name: &ServiceName| {
            let service = project.services.get(name);
            service.is_some_and(|service| service.reload_signal.is_some() || service.reload_command.is_some())
        };
        if named.is_empty() {
            let running = project.services.keys().filter(|name| knows(name) && self.listens(name));
            let running: Vec<ServiceName> = running.cloned().collect();
            return match running.is_empty() {
                true => Err(Refusal::new(
                    409,
                    "can't be reloaded",
                    "nothing that runs has a `reload_signal` or a `reload_command`",
                )),
                false => Ok(running),
            };
        }
        for name in &named {
            if !knows(name) {
                let detail = format!("{name} has neither `reload_signal` nor `reload_command`");
                let mut refusal = Refusal::new(409, "can't be reloaded", detail);
                refusal.suggestion = Some(format!(
                    "`runner restart {name}`, or say in services.{name} how to reload it"
                ));
                return Err(refusal);
            }
            if !self.listens(name) {
                return Err(Refusal::new(409, "not running", format!("{name} does not run")));
            }
        }
        Ok(named)
    }

    fn runs(&self, name: &ServiceName) -> bool {
        self.world
            .service(name)
            .is_some_and(|service| service.started_mono_ns.is_some())
    }

    /// It runs and is not on its way out: only such a one answers to a reload.
    fn listens(&self, name: &ServiceName) -> bool {
        use StateName::{Ready, Starting, Unhealthy};
        self.runs(name)
            && self
                .world
                .service(name)
                .is_some_and(|service| matches!(service.state, Starting | Ready | Unhealthy))
    }

    pub(super) fn wait_for(&mut self, request: wire::WaitRequest, reply: Reply<wire::Acted>) {
        let names = self
            .in_force()
            .and_then(|project| checked_names(&project, &request.names));
        match names {
            Err(refusal) => drop(reply.send(Err(refusal))),
            Ok(names) if names.is_empty() && request.goal == Goal::Up => {
                self.hold(Some(self.world.wanted()), Aim::Settled, request.timeout_ms, reply);
            }
            Ok(names) => {
                let names = if names.is_empty() { self.world.wanted() } else { names };
                let aim = Aim::goal(request.goal, &names);
                self.hold(Some(names), aim, request.timeout_ms, reply);
            }
        }
    }

    pub(super) fn hold(&mut self, names: Whom, aim: Aim, timeout_ms: Option<u64>, reply: Reply<wire::Acted>) {
        let now = sys::clock::now().mono_ns;
        let deadline = timeout_ms.map(|timeout| now.saturating_add(timeout.saturating_mul(1_000_000)));
        self.waiting.add(Waiter {
            aim,
            names,
            deadline,
            reply,
        });
    }
}

fn up_request(project: &Project, request: &wire::UpRequest) -> Result<Request, Refusal> {
    if let Err(unknown) = config::check_profiles(project, &request.profiles) {
        let mut refusal = Refusal::new(422, "no such profile", unknown.message);
        refusal.suggestion = unknown.suggestion;
        return Err(refusal);
    }
    Ok(Request::Up {
        names: checked_names(project, &request.names)?,
        no_deps: request.no_deps,
        profiles: request.profiles.clone(),
    })
}

fn signal_of(word: Option<&str>) -> Result<Signal, Refusal> {
    let Some(word) = word else { return Ok(Signal::KILL) };
    let number = word.parse().ok().filter(|number| (1..=64).contains(number));
    let known = Signal::from_name(word).or_else(|| number.map(Signal::from_number));
    known.ok_or_else(|| {
        let mut refusal = Refusal::new(400, "request not understood", format!("there is no signal `{word}`"));
        refusal.suggestion = Some("a name such as SIGUSR1 or HUP, or a number".to_owned());
        refusal
    })
}

fn word(act: Act) -> &'static str {
    match act {
        Act::Start => "start",
        Act::Stop => "stop",
        Act::Restart => "restart",
        Act::Reload => "reload",
        Act::Kill => "kill",
    }
}

/// As it was typed, for who asks later who did it.
fn typed(verb: &str, names: &[String]) -> String {
    let mut words = format!("runner {verb}");
    for name in names {
        if words.len() + name.len() > MOST_WORDS {
            words.push_str(" ...");
            break;
        }
        words.push(' ');
        words.push_str(name);
    }
    words
}
