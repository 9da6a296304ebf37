//! The files become the definition in force: when they are read, and what comes of it.
//!
//! Reading happens beside the loop, one reading at a time, so that of two readings the later one always counts. A broken
//! file changes nothing: the last good definition stays in force, and it is said once why.

mod asking;
mod renumbering;
mod scaling;
mod seeing;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Daemon;
use crate::api::server::{Call, Reply, UpAnswer};
use crate::api::wire::{self, Refusal};
use crate::config::{self, Cleared, Loaded, Problems, Recipe, Scales};
use crate::daemon::files::{Interest, Seeing, Touched, Watch};
use crate::daemon::ports::PortStore;
use crate::daemon::watching::{self, Seen, Watching};
use crate::fault::point;
use crate::reconcile::{Author, Cause, Fact, Quiet, Request};
use crate::spec::{ExitPolicy, Project, ServiceName};
use crate::sys;
use crate::sys::places::{nameless, spare};
use scaling::Scale;

/// What reaches the loop about the files.
pub enum News {
    Touched(Touched),
    /// What is watched for a service (`watch`) has changed.
    Seen(Seen),
    Read {
        purpose: Purpose,
        loaded: Box<Result<Loaded, Problems>>,
        /// What to watch, and when it changed last by its own word. Nothing: it was no reading at all.
        files: Option<(Seeing, Option<u64>)>,
    },
    /// Somebody asks, and the files may have `changed` since they were read last.
    Asked {
        call: Call,
        changed: bool,
    },
    /// The files have come to rest since, or won't.
    Answer(Call),
}

/// What the files are read for.
pub enum Purpose {
    /// They were saved, last at this instant (of [`Quiet`]).
    Save { change: u64 },
    /// To know again what an earlier daemon left.
    Recover,
    /// SIGHUP: as a second `up`, but nobody asks for anything beyond what the file says.
    Hangup,
    Up {
        request: wire::UpRequest,
        reply: Reply<UpAnswer>,
    },
    Plan {
        request: wire::UpRequest,
        reply: Reply<wire::Plan>,
    },
    /// Nothing is read: the definition in force is made again, with other numbers for the ports that were lost.
    Renumber,
    /// The same, with another number of replicas.
    Scale(Scale),
}

/// What the project is, by its files.
pub struct Definition {
    /// In force.
    pub project: Option<Arc<Project>>,
    /// How `up` ends by itself, by the file and by who asked.
    ends: Option<(ExitPolicy, Option<ServiceName>)>,
    /// Edits are applied when they are saved.
    pub reload: bool,
    /// Read and good, but waiting for an `up` (`--no-reload`).
    pub pending: Option<Arc<Project>>,
    /// What `project` was made of, where ports of it may get other numbers.
    recipe: Option<Arc<Recipe>>,
    /// `"auto"` ports that others have taken, by service and name.
    lost: BTreeSet<(ServiceName, String)>,
    /// Why what stands in the files is not in force.
    pub rejected: Option<String>,
    /// The numbers that its `"auto"` ports have once and for all.
    ports: PortStore,
    watch: Option<Watch>,
    /// What services want to have watched.
    pub watching: Watching,
    /// Of which folders it was said that their changes are not told at once.
    polled: BTreeSet<PathBuf>,
    quiet: Quiet,
    /// The files as they were at the last reading.
    read: Option<Arc<Seeing>>,
    /// Questions that wait until the files are at rest.
    held: Vec<oneshot::Sender<()>>,
    /// For what they are being read now, or next.
    queue: VecDeque<Purpose>,
    reading: bool,
    news: mpsc::UnboundedSender<News>,
}

impl Definition {
    pub fn new(news: mpsc::UnboundedSender<News>, state_dir: &Path, complaints: &mut Vec<String>) -> Definition {
        let (ports, more) = PortStore::open(state_dir);
        complaints.extend(more);
        let seen = news.clone();
        Definition {
            watching: Watching::new(Arc::new(move |told| drop(seen.send(News::Seen(told))))),
            ports,
            project: None,
            ends: None,
            reload: true,
            pending: None,
            recipe: None,
            lost: BTreeSet::new(),
            rejected: None,
            watch: None,
            polled: BTreeSet::new(),
            quiet: Quiet::default(),
            read: None,
            held: Vec::new(),
            queue: VecDeque::new(),
            reading: false,
            news,
        }
    }

    pub fn deadline(&self) -> Option<u64> {
        self.quiet.deadline()
    }
}

impl Daemon {
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Touched(Touched { open, lost }) => {
                if lost {
                    // The folder that was watched is another one now.
                    self.definition.watch = None;
                }
                self.keep_place();
                self.definition.quiet.changed(sys::clock::now().mono_ns, open);
            }
            News::Seen(seen) => self.see(seen),
            News::Asked { call, changed } => self.asked(call, changed),
            News::Answer(call) => self.answer(call),
            News::Read { purpose, loaded, files } => {
                self.definition.reading = false;
                point!("config.read");
                match files {
                    Some((seeing, touched)) => {
                        self.watch_anew(seeing.interest().clone());
                        self.definition.read = Some(Arc::new(seeing));
                        self.take_reading(purpose, *loaded, touched);
                    }
                    None => match purpose {
                        Purpose::Renumber => self.renumbered(*loaded),
                        Purpose::Scale(scale) => self.scaled(*loaded, scale),
                        purpose => self.reading_failed(purpose),
                    },
                }
                self.let_go_of_questions();
                self.read_next();
            }
        }
    }

    pub(super) fn read_what_is_quiet(&mut self) {
        if let Some(change) = self.definition.quiet.is_due(sys::clock::now().mono_ns) {
            self.read(Purpose::Save { change });
        }
    }

    pub(super) fn read_for_hangup(&mut self) {
        // Before the first `up` there is nothing to read anew.
        if self.definition.project.is_some() {
            self.read(Purpose::Hangup);
        }
    }

    /// Reads the files beside the loop; [`News::Read`] is the answer.
    pub(super) fn read(&mut self, purpose: Purpose) {
        self.definition.queue.push_back(purpose);
        self.read_next();
    }

    fn read_next(&mut self) {
        if self.definition.reading {
            return;
        }
        let Some(purpose) = self.definition.queue.pop_front() else {
            return;
        };
        self.definition.reading = true;
        let inputs = config::Inputs {
            env: self.hands.captured().variables().to_vec(),
            euid: nix::unistd::geteuid().as_raw(),
            state_dir: Some(&self.boot.state_dir)
                .filter(|folder| spare::is_spare(folder))
                .cloned(),
            logs_in_memory: self.logs_in_memory(),
            scales: self.scales_for(&purpose),
            edited: Vec::new(),
        };
        let mut kept = self.definition.ports.kept().clone();
        let location = self.boot.location.clone();
        let news = self.definition.news.clone();
        let recipe = match purpose {
            Purpose::Renumber | Purpose::Scale(_) => self.definition.recipe.clone(),
            Purpose::Recover | Purpose::Save { .. } | Purpose::Hangup => None,
            Purpose::Up { .. } | Purpose::Plan { .. } => None,
        };
        let scales = matches!(purpose, Purpose::Scale(_)).then(|| inputs.scales.clone());
        if recipe.is_some() {
            for (service, port) in std::mem::take(&mut self.definition.lost) {
                kept.forget(service.as_str(), &port);
            }
        }
        tokio::task::spawn_local(async move {
            let read = move || {
                let mut source = config::port_source(&location, Some(kept));
                match (recipe, scales) {
                    (Some(recipe), Some(scales)) => return (recipe.scaled(scales, &mut source), None),
                    (Some(recipe), None) => return (recipe.with_ports(&mut source), None),
                    (None, _) => {}
                }
                let loaded = config::load(&location, &inputs, &mut source);
                let interest = Interest::of(match &loaded {
                    Ok(loaded) => &loaded.warnings,
                    Err(problems) => problems,
                });
                let touched = interest.touched_at();
                (loaded, Some((interest.seen(), touched)))
            };
            let loaded = tokio::task::spawn_blocking(read).await;
            // A reading that panics is one that never was: a defect, told by the log, and not the end of the daemon.
            // (Where nothing unwinds, it is; the guardian starts another one.)
            let (loaded, files) = loaded.unwrap_or_else(|_| (Err(Problems::default()), None));
            let loaded = Box::new(loaded);
            // After the loop nobody needs to know.
            let _ = news.send(News::Read { purpose, loaded, files });
        });
    }

    /// How many replicas are asked for by hand, for such a reading.
    fn scales_for(&self, purpose: &Purpose) -> Scales {
        let cleared = match purpose {
            Purpose::Scale(scale) => return self.scales_with(scale),
            Purpose::Up { request, .. } | Purpose::Plan { request, .. } => Cleared::by_up(&request.names),
            Purpose::Save { .. } | Purpose::Recover | Purpose::Hangup | Purpose::Renumber => Cleared::Nobodys,
        };
        Scales {
            wishes: self.world.scales().clone(),
            cleared,
        }
    }

    /// A container's logs are for whoever collects its stdout; and where nothing can be written there can be no files.
    fn logs_in_memory(&self) -> bool {
        let is_init = self.boot.console.as_ref().is_some_and(|console| console.init);
        is_init || nameless::is_nowhere(&self.boot.state_dir)
    }

    /// A defect of ours: it is told, and nothing else happens.
    fn reading_failed(&mut self, purpose: Purpose) {
        let message = "services.toml could not be read: a defect in runner, please report it (runner.log has more)";
        self.warn(message.to_owned());
        let refusal = Refusal::new(500, "a defect in runner", message);
        match purpose {
            Purpose::Up { reply, .. } => drop(reply.send(Err(refusal))),
            Purpose::Plan { reply, .. } => drop(reply.send(Err(refusal))),
            Purpose::Recover => self.recovered(None),
            Purpose::Scale(scale) => drop(scale.reply.send(Err(refusal))),
            Purpose::Save { .. } | Purpose::Hangup | Purpose::Renumber => {}
        }
    }

    fn take_reading(&mut self, purpose: Purpose, loaded: Result<Loaded, Problems>, touched: Option<u64>) {
        match purpose {
            Purpose::Save { change } => {
                let (Ok(Loaded { warnings: problems, .. }) | Err(problems)) = &loaded;
                // Gone, or truncated by somebody who is about to write: a kernel may take its time to say so.
                let emptied = problems.sources.iter().any(|source| source.text.is_empty());
                let ends = emptied || loaded.as_ref().is_ok_and(|loaded| self.ends_services(&loaded.project));
                let now = sys::clock::now().mono_ns;
                if self.definition.quiet.was_read(change, now, ends, touched) {
                    self.saved(loaded, Cause::new(Author::File, "services.toml saved"));
                }
            }
            Purpose::Recover => self.recovered(Some(loaded)),
            Purpose::Hangup => {
                let reload = std::mem::replace(&mut self.definition.reload, true);
                self.saved(loaded, Cause::new(Author::Signal, "SIGHUP"));
                self.definition.reload = reload;
            }
            Purpose::Up { request, reply } => self.up_with(loaded, request, reply),
            Purpose::Renumber => {}
            Purpose::Scale(scale) => self.scaled(loaded, scale),
            Purpose::Plan { request, reply } => {
                let plan = self.plan(loaded, &request);
                drop(reply.send(plan));
            }
        }
    }

    /// Watches what would change the meaning of what was read. What changed before the watch began is found by one more
    /// reading.
    fn watch_anew(&mut self, mut interest: Interest) {
        if !nameless::is_nowhere(&self.boot.runtime_dir) {
            interest.beside(&self.boot.runtime_dir);
        }
        if self
            .definition
            .watch
            .as_ref()
            .is_some_and(|watch| watch.is_for(&interest))
        {
            return;
        }
        let news = self.definition.news.clone();
        let watch = Watch::start(interest, move |touched| drop(news.send(News::Touched(touched))));
        for (folder, why) in &watch.polled {
            if !self.definition.polled.insert(folder.clone()) {
                continue;
            }
            let message = format!(
                "changes in {} are looked for every 2s instead of being told at once: {why}",
                folder.display()
            );
            self.warn(message);
        }
        self.definition.watch = Some(watch);
        self.definition.quiet.changed(sys::clock::now().mono_ns, false);
    }

    fn ends_services(&self, project: &Project) -> bool {
        let services = self
            .definition
            .project
            .iter()
            .flat_map(|project| project.services.keys());
        services.into_iter().any(|name| !project.services.contains_key(name))
    }

    /// The files were saved and have been quiet since.
    fn saved(&mut self, loaded: Result<Loaded, Problems>, cause: Cause) {
        let is_lost = self.definition.project.is_none() && self.world.unclaimed().next().is_some();
        if self.is_ending() || self.definition.project.is_none() && !is_lost {
            return;
        }
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(problems) => return self.reject(problems.to_string(), wire::problems(&problems), cause),
        };
        if let Some(why) = self.unchangeable(&loaded.project) {
            return self.reject(why, Vec::new(), cause);
        }
        let was_broken = self.definition.rejected.take().is_some();
        let Loaded {
            project, mask, recipe, ..
        } = loaded;
        if self.definition.project.as_deref() == Some(&project) {
            self.definition.pending = None;
            if was_broken {
                self.tell_good_again(cause);
            }
            return;
        }
        let project = Arc::new(project);
        if self.definition.reload || is_lost {
            self.story.hide(mask);
            self.configure(project, recipe, cause, None);
        } else if self.definition.pending.as_ref() != Some(&project) {
            self.definition.pending = Some(project);
            self.warn("services.toml has changed and is not applied (--no-reload): `runner plan` shows what is pending, `runner up` applies it".to_owned());
        }
    }

    pub(super) fn reject(&mut self, message: String, problems: Vec<wire::Problem>, cause: Cause) {
        let is_known = self.definition.rejected.as_ref() == Some(&message);
        // A person who asks again is told again.
        if is_known && cause.by == Author::File {
            return;
        }
        let why = &cause.detail;
        tracing::warn!("{why}: not applied, everything keeps running as before\n{message}");
        self.definition.rejected = Some(message.clone());
        let kind = wire::EventKind::ConfigRejected { message, problems };
        self.story.tell_kind(sys::clock::now().wall_ns, None, 0, kind, cause);
    }

    /// It was broken, and is what is in force again.
    fn tell_good_again(&mut self, cause: Cause) {
        let services = self
            .definition
            .project
            .as_ref()
            .map_or(0, |project| project.services.len());
        let kind = wire::EventKind::ConfigApplied {
            generation: self.world.generation(),
            restarts: 0,
            lives: 0,
            starts: 0,
            stops: 0,
            unchanged: u32::try_from(services).unwrap_or(u32::MAX),
            steps: Vec::new(),
        };
        self.story.tell_kind(sys::clock::now().wall_ns, None, 0, kind, cause);
    }

    /// What a running project can't change.
    fn unchangeable(&self, project: &Project) -> Option<String> {
        let now = self.definition.project.as_ref()?;
        (now.state_dir != project.state_dir).then(|| {
            format!(
                "`project.state_dir` can't change while the project runs: `runner down` first (it is {})",
                now.state_dir.display()
            )
        })
    }

    pub(super) fn good(&self, loaded: Result<Loaded, Problems>) -> Result<Loaded, Refusal> {
        let invalid = |detail| Refusal::new(422, "the file is not valid", detail);
        let loaded = loaded.map_err(|problems| invalid(problems.to_string()))?;
        match self.unchangeable(&loaded.project) {
            Some(why) => Err(invalid(why)),
            None => Ok(loaded),
        }
    }

    /// A definition comes into force, if it is another one, together with what is asked for.
    pub(super) fn configure(
        &mut self,
        project: Arc<Project>,
        recipe: Option<Arc<Recipe>>,
        cause: Cause,
        request: Option<Request>,
    ) {
        let (exit, exit_code_from) = self.ends_of(&project);
        let ends = (exit, exit_code_from.clone());
        self.definition.pending = None;
        self.definition.rejected = None;
        if self.definition.project.as_ref() == Some(&project) && self.definition.ends.as_ref() == Some(&ends) {
            if let Some(request) = request {
                self.step(Fact::Asked { request, cause });
            }
            return;
        }
        point!("config.accepted");
        self.hands
            .pump()
            .forget_all_but(|name| project.services.contains_key(name));
        self.definition.project = Some(project.clone());
        self.definition.ends = Some(ends);
        self.definition.recipe = recipe.clone();
        self.hands.follow(project.clone(), recipe);
        self.hands.declare_sockets(&project);
        self.definition.watching.look_at(watching::of(&project));
        if let Err(error) = self.definition.ports.keep(&project) {
            self.warn(format!(
                "the numbers of `auto` ports could not be kept on the disk: {error}"
            ));
        }
        self.step(Fact::Configured {
            project,
            exit,
            exit_code_from,
            cause,
            request,
        });
        point!("config.applied");
    }

    /// How `up` ends by itself: who asked wins over the file, and that over the place of use.
    fn ends_of(&self, project: &Project) -> (ExitPolicy, Option<ServiceName>) {
        let place = if self.released {
            ExitPolicy::Never
        } else {
            ExitPolicy::All
        };
        let from = self.exit_code_from.clone().or_else(|| project.exit_code_from.clone());
        (self.exit.or(project.exit).unwrap_or(place), from)
    }
}
