//! What clients ask, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use super::Daemon;
use crate::api::past;
use crate::api::server::{ByteStream, Call, Reply, UpAnswer};
use crate::api::wire::{self, Refusal};
use crate::config;
use crate::daemon::{console, present, reading};
use crate::logs::Filter;
use crate::reconcile::{Author, Cause, Fact, Request};
use crate::spec::{ExitPolicy, Project, Service, ServiceName};
use crate::sys;

/// What one console may have queued before it misses lines.
const CONSOLE_BUDGET: usize = 4 * 1024 * 1024;

impl Daemon {
    pub(super) fn answer(&mut self, call: Call) {
        match call {
            // A client that is gone needs no answer.
            Call::Ps { reply } => drop(reply.send(self.ps())),
            Call::Up { request, reply } => self.up(request, reply),
            Call::Down { request, reply } => {
                let cause = Cause::new(Author::User, request.because.as_deref().unwrap_or("runner down"));
                if request.hasten {
                    self.stop_asked = true;
                    self.step(Fact::Asked {
                        request: Request::Hasten,
                        cause,
                    });
                } else if self.project.is_none() {
                    self.stop(cause);
                } else {
                    self.stop_asked = true;
                    let timeout = request.timeout_ms.map(Duration::from_millis);
                    self.step(Fact::Asked {
                        request: Request::Down { timeout },
                        cause,
                    });
                }
                drop(reply.send(Ok(wire::DownAnswer {
                    lock: self.boot.state_dir.join("lock"),
                })));
            }
            Call::Logs { request, reply } => drop(reply.send(self.logs(request))),
        }
    }

    fn up(&mut self, request: wire::UpRequest, reply: Reply<UpAnswer>) {
        if self.stop_asked {
            // Too late to join: who asks waits for the end and starts anew (`TW-10`).
            return drop(reply.send(Err(Refusal::ending())));
        }
        let loaded = match self.load() {
            Ok(project) => project,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let named = checked_names(&loaded, &request.names)
            .and_then(|names| Ok((names, checked_names(&loaded, request.exit_code_from.as_slice())?)));
        let (names, exit_code_from) = match named {
            Ok(named) => named,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let console = request.console.then(|| self.console());
        self.released |= request.detach;
        self.exit = request.exit.or(self.exit);
        self.exit_code_from = exit_code_from.into_iter().next().or(self.exit_code_from.take());
        self.configure(loaded, Cause::new(Author::User, "runner up"));
        let asked = Request::Up {
            names,
            no_deps: request.no_deps,
            profiles: request.profiles,
        };
        self.step(Fact::Asked {
            request: asked,
            cause: Cause::new(Author::User, "runner up"),
        });
        let answer = match console {
            Some(stream) => Ok(UpAnswer::Console(stream)),
            None => self.ps().map(UpAnswer::Ps),
        };
        drop(reply.send(answer));
    }

    /// Reads the file anew. The last good definition stays in force when it is broken.
    pub(super) fn load(&self) -> Result<Arc<Project>, Refusal> {
        let inputs = config::Inputs {
            env: self.hands.captured().variables().to_vec(),
            euid: nix::unistd::geteuid().as_raw(),
        };
        // A number that our own service holds is as good as free.
        let ours: Vec<u16> = self
            .project
            .iter()
            .flat_map(|project| project.services.values())
            .flat_map(ports)
            .collect();
        let is_free = |port| ours.contains(&port) || sys::ports::is_free(port);
        let mut allocator = config::HashedPorts::new(&self.boot.location.key, is_free);
        match config::load(&self.boot.location, &inputs, &mut allocator) {
            Ok(loaded) => Ok(Arc::new(loaded.project)),
            Err(problems) => Err(Refusal::new(422, "the file is not valid", problems.to_string())),
        }
    }

    pub(super) fn configure(&mut self, project: Arc<Project>, cause: Cause) {
        let place = if self.released {
            ExitPolicy::Never
        } else {
            ExitPolicy::All
        };
        let exit = self.exit.or(project.exit).unwrap_or(place);
        let exit_code_from = self.exit_code_from.clone().or_else(|| project.exit_code_from.clone());
        let ends = (exit, exit_code_from.clone());
        if self.project.as_ref() == Some(&project) && self.ends.as_ref() == Some(&ends) {
            return;
        }
        self.project = Some(project.clone());
        self.ends = Some(ends);
        self.step(Fact::Configured {
            project,
            exit,
            exit_code_from,
            cause,
        });
    }

    fn console(&self) -> ByteStream {
        let filter = Filter {
            console_only: true,
            ..Filter::default()
        };
        console::open(self.hands.pump().subscribe(filter, CONSOLE_BUDGET), self.story.follow())
    }

    fn logs(&self, request: wire::LogsRequest) -> Result<ByteStream, Refusal> {
        let project = self
            .project
            .as_ref()
            .ok_or_else(|| Refusal::new(409, "nothing is up yet", "no file was read"))?;
        let sources = past::sources(project, &request.services).map_err(no_such_service)?;
        if sources.is_empty() && !request.services.is_empty() {
            return Err(Refusal::new(409, "no output is kept", past::NO_LOG));
        }
        Ok(reading::stream(sources, request, self.hands.pump()))
    }

    fn ps(&mut self) -> Result<wire::Ps, Refusal> {
        let project = self
            .project
            .clone()
            .ok_or_else(|| Refusal::new(409, "nothing is up yet", "no file was read"))?;
        let snapshot = self.world.snapshot();
        let pids: Vec<u32> = snapshot.services.iter().filter_map(|service| service.pid).collect();
        let began_ns = self.began_ns;
        let sources = present::Sources {
            now: sys::clock::now(),
            project: &project,
            usage: sys::usage::of_trees(&pids),
            last_lines: &|name, run| reading::last_lines(Some(&project), Some(name), run, began_ns)(),
        };
        Ok(present::ps(&snapshot, &sources, &mut self.meter))
    }
}

fn ports(service: &Arc<Service>) -> impl Iterator<Item = u16> {
    service.ports.values().map(|port| port.number)
}

fn checked_names(project: &Project, words: &[String]) -> Result<Vec<ServiceName>, Refusal> {
    config::select(project, words).map_err(no_such_service)
}

fn no_such_service(unknown: config::Unknown) -> Refusal {
    let mut refusal = Refusal::new(404, "no such service", unknown.message);
    refusal.suggestion = unknown.suggestion;
    refusal
}
