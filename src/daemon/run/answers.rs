//! What clients ask to be told.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;

use super::Daemon;
use super::definition::Purpose;
use crate::api::attach::Attached;
use crate::api::boot::SOCKET;
use crate::api::past;
use crate::api::server::{ByteStream, Call};
use crate::api::wire::{self, Outcome, ProjectState, Refusal};
use crate::config;
use crate::daemon::launch::{Role, Setting};
use crate::daemon::{console, events, present, reading};
use crate::guardian::MARK;
use crate::guardian::orders::{Stdio, Ticket};
use crate::logs::Filter;
use crate::reconcile::{Goal, Incarnation, Progress, ServiceId, Snapshot, StateName};
use crate::spec::{Argv, Project, ServiceName};
use crate::sys;
use crate::sys::usage::Usage;

/// What one console may have queued before it misses lines.
const CONSOLE_BUDGET: usize = 4 * 1024 * 1024;

impl Daemon {
    pub(super) fn answer(&mut self, call: Call) {
        // A client that is gone needs no answer.
        match call {
            Call::Project { reply } => drop(reply.send(Ok(self.project()))),
            Call::Ps { reply } => drop(reply.send(self.ps())),
            Call::Inspect { name, reveal, reply } => drop(reply.send(self.inspect(&name, reveal))),
            Call::Why { name, reply } => match self.why(&name) {
                Ok(why) => {
                    self.tell_story();
                    events::add_recent(why, &self.boot.state_dir, reply);
                }
                Err(refusal) => drop(reply.send(Err(refusal))),
            },
            Call::Health { names, reply } => drop(reply.send(self.health(&names))),
            Call::Plan { request, reply } => match self.has_files(&request.files) {
                Ok(()) => self.read(Purpose::Plan { request, reply }),
                Err(refusal) => drop(reply.send(Err(refusal))),
            },
            Call::Act { act, request, reply } => self.act(act, request, reply),
            Call::Scale { name, request, reply } => self.scale(&name, request, reply),
            Call::Wait { request, reply } => self.wait_for(request, reply),
            Call::Run { request, reply } => drop(reply.send(self.one_off(&request))),
            Call::Up { request, reply } => self.up(request, reply),
            Call::Down { request, reply } => drop(reply.send(Ok(self.down(&request)))),
            Call::Upgrade { request, reply } => drop(reply.send(self.upgrade(request))),
            Call::Logs { request, reply } => drop(reply.send(self.logs(request))),
            Call::Attach { name, run, reply } => drop(reply.send(self.attach(&name, run))),
            Call::Events { request, reply } => {
                self.tell_story();
                let stream = events::stream(&self.story, &self.boot.state_dir, request);
                drop(reply.send(Ok(stream)));
            }
        }
    }

    /// The definition in force.
    pub(super) fn in_force(&self) -> Result<Arc<Project>, Refusal> {
        let project = self.definition.project.clone();
        project.ok_or_else(|| match &self.definition.rejected {
            Some(why) => {
                let detail = format!("runner was started again, and what stands in the file now is not valid: {why}");
                let mut refusal = Refusal::new(409, "no definition is in force", detail);
                refusal.suggestion =
                    Some("mend the file: services go on meanwhile, and `runner down` stops them".to_owned());
                refusal
            }
            None => Refusal::new(409, "nothing is up yet", "no file was read"),
        })
    }

    /// The one service that a word names.
    fn one(&self, word: &str) -> Result<(Arc<Project>, ServiceName), Refusal> {
        let project = self.in_force()?;
        let names = checked_names(&project, &[word.to_owned()])?;
        match names.as_slice() {
            [name] => Ok((project, name.clone())),
            names => {
                let detail = format!("`{word}` names {} services", names.len());
                let mut refusal = Refusal::new(400, "one service is expected", detail);
                refusal.suggestion = names.first().map(|first| format!("name one, as in `{first}`"));
                Err(refusal)
            }
        }
    }

    /// Of several that a word names, the one that needs a person most, else the first.
    fn neediest(&self, word: &str) -> Result<(Arc<Project>, ServiceName), Refusal> {
        use StateName::{Backoff, Failed, Ready, Starting, Unhealthy, Waiting};
        let project = self.in_force()?;
        let names = checked_names(&project, &[word.to_owned()])?;
        let need = |name: &ServiceName| match self.world.service(name).map(|service| service.state) {
            Some(Failed) => 0,
            Some(Backoff | Unhealthy) => 1,
            Some(Waiting) => 2,
            Some(Starting) => 3,
            Some(Ready) => 5,
            _ => 4,
        };
        let neediest = names.into_iter().min_by_key(need);
        let gone = || Refusal::new(404, "no such service", format!("{word} is no more"));
        Ok((project, neediest.ok_or_else(gone)?))
    }

    pub(super) fn console(&self) -> ByteStream {
        let filter = Filter {
            console_only: true,
            ..Filter::default()
        };
        let (events, _) = self.story.follow();
        console::open(self.hands.pump().subscribe(filter, CONSOLE_BUDGET), events)
    }

    fn logs(&self, request: wire::LogsRequest) -> Result<ByteStream, Refusal> {
        let project = self.in_force()?;
        let sources = past::sources(&project, &request.services, |name, target| {
            self.hands.pump().place(name, target)
        })
        .map_err(no_such_service)?;
        if sources.is_empty() && !request.services.is_empty() {
            let names = checked_names(&project, &request.services).unwrap_or_default();
            let why = match names.iter().any(|name| project.services[name].is_command_line()) {
                true => past::NOT_CAPTURED,
                false => past::NO_LOG,
            };
            return Err(Refusal::new(409, "no output is kept", why));
        }
        Ok(reading::stream(sources, request, self.hands.pump()))
    }

    fn attach(&self, word: &str, run: Option<u32>) -> Result<Attached, Refusal> {
        let (project, name) = self.one(word)?;
        self.hands.attach(&project.services[&name], run)
    }

    pub(super) fn ps(&mut self) -> Result<wire::Ps, Refusal> {
        let snapshot = self.world.snapshot();
        let project = self.in_force()?;
        let usage = usage_of(&snapshot);
        self.meter.keep_only(&snapshot);
        Ok(self.present(&project, &snapshot, usage))
    }

    fn present(&mut self, project: &Project, snapshot: &Snapshot, usage: HashMap<u32, Usage>) -> wire::Ps {
        let began_ns = self.session.began_ns;
        let pump = self.hands.pump();
        let notes = self.notes_of_watches();
        let sources = present::Sources {
            now: sys::clock::now(),
            project,
            usage,
            last_lines: &|name, run| reading::last_lines(pump, Some(project), Some(name), run, began_ns)(),
            mask: self.story.mask(),
            drift: self.drift(),
            config_error: self.config_error(),
            moved: self.hands.moved(),
            notes: &notes,
        };
        present::ps(snapshot, &sources, &mut self.meter)
    }

    /// The first line of why the file is not in force.
    fn config_error(&self) -> Option<String> {
        let message = self.definition.rejected.as_deref()?;
        message.lines().next().map(str::to_owned)
    }

    /// What an `up` would do about a file that waits for one.
    pub(super) fn drift(&self) -> present::Drift {
        let Some(pending) = &self.definition.pending else {
            return present::Drift::default();
        };
        let cause = crate::reconcile::Cause::new(crate::reconcile::Author::User, "runner up");
        let plan = self.world.plan(sys::clock::now(), pending, None, &cause);
        present::drift(&plan)
    }

    /// How it came out, with the services that it was about; `None`: all. What they use is not looked at: that would
    /// cost as much as there are processes.
    pub(super) fn acted(&mut self, names: Option<&[ServiceName]>, outcome: Outcome) -> Result<wire::Acted, Refusal> {
        let project = self.in_force()?;
        let snapshot = match names {
            None => self.world.snapshot(),
            Some(names) => Snapshot {
                services: names.iter().filter_map(|name| self.world.service(name)).collect(),
                ..self.world.snapshot_of_none()
            },
        };
        let services = self.present(&project, &snapshot, HashMap::new()).services;
        Ok(wire::Acted { outcome, services })
    }

    fn project(&self) -> wire::Project {
        let snapshot = self.world.snapshot();
        let mut services = indexmap::IndexMap::new();
        for service in &snapshot.services {
            *services.entry(service.state).or_insert(0) += 1;
        }
        let location = &self.boot.location;
        let project = self.definition.project.as_deref();
        let files = project.map_or(&location.files, |project| &project.files);
        wire::Project {
            name: project.map_or_else(
                || location.name_override.clone().unwrap_or_default(),
                |p| p.name.clone(),
            ),
            folder: location.dir.display().to_string(),
            files: files.iter().map(|file| file.display().to_string()).collect(),
            socket: self.boot.runtime_dir.join(SOCKET).display().to_string(),
            pid: nix::unistd::getppid().as_raw().unsigned_abs(),
            daemon_pid: nix::unistd::getpid().as_raw().unsigned_abs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: snapshot.generation,
            settled: snapshot.settled,
            state: match self.world.is_settled() {
                _ if self.is_ending() => ProjectState::Ending,
                None => ProjectState::Moving,
                Some(true) => ProjectState::Up,
                Some(false) => ProjectState::Failed,
            },
            reload: self.definition.reload,
            config_error: self.config_error(),
            services,
        }
    }

    fn inspect(&mut self, word: &str, reveal: bool) -> Result<wire::Inspect, Refusal> {
        let (project, name) = self.one(word)?;
        let written = project.services[&name].written();
        let definition = if reveal {
            written
        } else {
            self.story.mask().definition(written)
        };
        let snapshot = Snapshot {
            services: self.world.service(&name).into_iter().collect(),
            ..self.world.snapshot_of_none()
        };
        let usage = usage_of(&snapshot);
        let mut ps = self.present(&project, &snapshot, usage);
        let gone = || Refusal::new(404, "no such service", format!("{name} is no more"));
        Ok(wire::Inspect {
            state: ps.services.pop().ok_or_else(gone)?,
            name: name.to_string(),
            definition,
        })
    }

    fn why(&self, word: &str) -> Result<wire::Why, Refusal> {
        let (project, name) = self.neediest(word)?;
        let gone = || Refusal::new(404, "no such service", format!("{name} is no more"));
        let why = self.world.why(sys::clock::now(), &name).ok_or_else(gone)?;
        let mask = self.story.mask();
        let hidden = |text: &str| mask.text(text).into_owned();
        let link = |link: &crate::reconcile::Link| wire::WhyLink {
            service: link.service.to_string(),
            what: link.what.clone(),
            because: hidden(&link.because),
        };
        let lines = match &why.wrote {
            Some((culprit, run)) => {
                let (pump, since_ns) = (self.hands.pump(), self.session.began_ns);
                let of = |run| reading::last_lines(pump, Some(&project), Some(culprit), run, since_ns)();
                match (of(*run), why.wrote_before) {
                    (lines, Some(before)) if lines.is_empty() => of(before),
                    (lines, _) => lines,
                }
            }
            None => Vec::new(),
        };
        let pending = self.drift().remove(&name).map(|words| wire::WhyLink {
            service: name.to_string(),
            what: format!("{name} is not what the file says"),
            because: words,
        });
        Ok(wire::Why {
            service: why.service.to_string(),
            state: why.state,
            chain: why.chain.iter().map(link).chain(pending).collect(),
            suggestion: why.suggestion.as_deref().map(hidden),
            last_lines: lines.iter().map(|line| hidden(line)).collect(),
            events: Vec::new(),
        })
    }

    fn health(&self, words: &[String]) -> Result<wire::Health, Refusal> {
        let project = self.in_force()?;
        let names = match checked_names(&project, words)? {
            names if names.is_empty() => self.world.selected(),
            names => names,
        };
        let is_well = |name: &ServiceName| self.world.progress(name, Goal::Ready) == Progress::Reached;
        let healthy = !self.is_ending() && names.iter().all(is_well);
        Ok(wire::Health { healthy })
    }

    /// What a command in the service's place needs. The mark is left out: it is the user's own process.
    fn one_off(&self, request: &wire::RunRequest) -> Result<wire::RunAnswer, Refusal> {
        let project = self.in_force()?;
        // Replicas have the same place, and any of them will do.
        let name = match project.groups.get(request.name.as_str()) {
            Some(group) if !group.members.is_empty() => group.members[0].clone(),
            _ => self.one(&request.name)?.1,
        };
        let refused = |failure: crate::reconcile::Failure| Refusal {
            suggestion: failure.suggestion,
            ..Refusal::new(409, failure.reason.as_str(), failure.message)
        };
        // With the ports that there are, and what others have told.
        let service = self.hands.actual(&project.services[&name]).map_err(refused)?;
        let given = self.world.outputs_for(&service).map_err(|output| {
            let detail = format!("{} has not told its output `{}` yet", output.service, output.output);
            Refusal::new(409, "can't be run", detail)
        })?;
        let service = &Arc::new(service.with_outputs(&given));
        let command = match request.command.as_slice() {
            [] => service.command.clone(),
            words => Argv {
                words: words.to_vec(),
                shell: false,
            },
        };
        let nobody = Incarnation {
            service: ServiceId(0),
            run: 0,
        };
        let setting = Setting::of(nobody, service, self.hands.surroundings()).map_err(refused)?;
        let streams = [Stdio::Null, Stdio::Null, Stdio::Null];
        let launch = setting.launch(Ticket(0), &command, streams, Role::Errand);
        let mark = format!("{MARK}=").into_bytes();
        let in_base64 = |bytes: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(bytes);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let env = launch.env.iter().filter(|entry| !entry.starts_with(&mark));
        Ok(wire::RunAnswer {
            programs: launch.programs.into_iter().map(text).collect(),
            argv: launch.argv.into_iter().map(text).collect(),
            env_base64: env.map(in_base64).collect(),
            working_dir: text(launch.working_dir),
            credentials: launch.credentials.map(|ids| (ids.uid, ids.gid, ids.groups)),
            umask: launch.umask,
            nice: launch.nice,
            limits: launch.limits,
        })
    }
}

/// Of the trees of all that run; reads every process of the machine.
fn usage_of(snapshot: &Snapshot) -> HashMap<u32, Usage> {
    let pids: Vec<u32> = snapshot.services.iter().filter_map(|service| service.pid).collect();
    sys::usage::of_trees(&pids)
}

pub(super) fn checked_names(project: &Project, words: &[String]) -> Result<Vec<ServiceName>, Refusal> {
    config::select(project, words).map_err(no_such_service)
}

fn no_such_service(unknown: config::Unknown) -> Refusal {
    let mut refusal = Refusal::new(404, "no such service", unknown.message);
    refusal.suggestion = unknown.suggestion;
    refusal
}
