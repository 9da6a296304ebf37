//! The thread that watches.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Config, Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::matching::{GITIGNORE, Ignores, Sieve};
use super::{Seen, Tell, Watched};
use crate::daemon::files::in_words;
use crate::spec::ServiceName;
use crate::sys;

/// How often folders are looked at whose changes the kernel does not tell.
const POLL: Duration = Duration::from_secs(2);
/// A stream of changes that never ends acts all the same, after so many times `debounce`.
const PATIENCE: u32 = 10;

pub enum Message {
    Look(BTreeMap<ServiceName, Watched>),
    Told(notify::Result<Event>),
    /// Answered when everything before it was done.
    #[cfg(test)]
    Sync(Sender<()>),
    End,
}

/// One service's watch.
struct Armed {
    name: ServiceName,
    watched: Watched,
    sieve: Sieve,
    pending: Option<Pending>,
}

struct Pending {
    first: Instant,
    last: Instant,
    last_ns: u64,
    paths: BTreeSet<PathBuf>,
}

/// What is in a folder that has to be looked at: inode, size and time of change of each name.
type Listing = BTreeMap<OsString, (u64, u64, i64, i64)>;

pub struct Eye {
    own: Sender<Message>,
    tell: Tell,
    watcher: Result<RecommendedWatcher, String>,
    services: Vec<Armed>,
    ignores: Ignores,
    /// Those that are watched.
    folders: BTreeSet<PathBuf>,
    /// What is to be watched and is not there yet.
    missing: BTreeSet<PathBuf>,
    polled: BTreeMap<PathBuf, Listing>,
    next_poll: Option<Instant>,
}

impl Eye {
    pub fn new(own: Sender<Message>, tell: Tell) -> Eye {
        Eye {
            own,
            tell,
            watcher: Err(String::new()),
            services: Vec::new(),
            ignores: Ignores::default(),
            folders: BTreeSet::new(),
            missing: BTreeSet::new(),
            polled: BTreeMap::new(),
            next_poll: None,
        }
    }

    /// Until [`Message::End`].
    pub fn look(mut self, inbox: &Receiver<Message>) {
        let own = self.own.clone();
        // Nobody hears it after the end.
        let handler = move |event| drop(own.send(Message::Told(event)));
        self.watcher = RecommendedWatcher::new(handler, Config::default()).map_err(|error| in_words(&error));
        loop {
            let received = match self.deadline() {
                Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut stale = false;
            match received {
                Ok(message) => {
                    // Everything that has come by now, and one look at the folders for all of it.
                    for message in std::iter::once(message).chain(inbox.try_iter()) {
                        match message {
                            Message::End => return,
                            Message::Look(services) => {
                                self.arm(services);
                                self.survey(false);
                            }
                            Message::Told(event) => stale |= self.hear(event),
                            #[cfg(test)]
                            Message::Sync(done) => drop(done.send(())),
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            stale |= self.poll();
            if stale {
                self.survey(true);
            }
            self.act();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let due = self.services.iter().filter_map(Armed::due);
        due.chain(self.next_poll).min()
    }

    fn arm(&mut self, mut services: BTreeMap<ServiceName, Watched>) {
        // What is the same goes on, with what waits to be quiet.
        self.services.retain(|armed| {
            services
                .get(&armed.name)
                .is_some_and(|watched| *watched == armed.watched)
        });
        for armed in &self.services {
            services.remove(&armed.name);
        }
        self.services.extend(services.into_iter().map(|(name, watched)| Armed {
            sieve: Sieve::new(&watched.watch.paths, &watched.watch.ignore, watched.own.clone()),
            name,
            watched,
            pending: None,
        }));
    }

    /// Finds out which folders are to be watched, and watches those. What was made between the look and the watch is told by
    /// nobody: looks again until there is nothing new. `is_later`: files in folders that are new have changed.
    fn survey(&mut self, is_later: bool) {
        while self.watch_what_is_new(is_later) {}
        self.next_poll = match self.polled.is_empty() {
            true => None,
            false => self.next_poll.or_else(|| Some(Instant::now() + POLL)),
        };
    }

    fn watch_what_is_new(&mut self, is_later: bool) -> bool {
        let mut survey = Survey {
            ignores: Ignores::default(),
            folders: BTreeSet::new(),
            missing: BTreeSet::new(),
        };
        for armed in &self.services {
            survey.of(&armed.sieve);
        }
        let Survey {
            ignores,
            folders,
            missing,
        } = survey;
        (self.ignores, self.missing) = (ignores, missing);
        for gone in self.folders.difference(&folders) {
            if let Ok(watcher) = &mut self.watcher {
                // It may be gone.
                let _ = watcher.unwatch(gone);
            }
        }
        self.polled.retain(|folder, _| folders.contains(folder));
        let new: Vec<PathBuf> = folders.difference(&self.folders).cloned().collect();
        self.folders = folders;
        for folder in &new {
            self.watch(folder);
            if is_later {
                self.take_all_in(folder);
            }
        }
        !new.is_empty()
    }

    fn watch(&mut self, folder: &Path) {
        let why = match &mut self.watcher {
            _ if sys::files::tells_no_changes(folder) => "its file system tells nobody of changes".to_owned(),
            Err(why) => why.clone(),
            Ok(watcher) => match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => return,
                // It has gone meanwhile, which whoever watches the one above will be told.
                Err(_) if !folder.is_dir() => return,
                Err(error) => in_words(&error),
            },
        };
        if self.polled.is_empty() {
            (self.tell)(Seen::Unseen {
                folder: folder.to_owned(),
                why,
            });
        }
        self.polled.insert(folder.to_owned(), listing(folder));
    }

    /// Whether the folders have to be looked at again.
    fn hear(&mut self, event: notify::Result<Event>) -> bool {
        // Something was missed: nobody knows what.
        let Some(event) = event.ok().filter(|event| !event.need_rescan()) else {
            self.folders.clear();
            return true;
        };
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
            // What is being written counts when it is closed; looking at a file, or at who may read it, changes nothing.
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => return false,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => {}
        }
        let mut stale = false;
        for path in &event.paths {
            let was_folder = self.folders.contains(path);
            if was_folder && !matches!(event.kind, EventKind::Access(_)) {
                // It has gone, or there is another one in its place: a watch of it is a watch of nothing.
                self.forget(path);
                stale = true;
            }
            let is_folder = path.is_dir();
            // Others come and go beside what is watched, in /tmp say.
            let enters = |armed: &Armed| armed.sieve.enters(path, &self.ignores);
            stale |= is_folder && self.services.iter().any(enters)
                || self.missing.iter().any(|missing| missing.starts_with(path));
            if let Some(folder) = path
                .parent()
                .filter(|_| path.file_name().is_some_and(|name| name == GITIGNORE))
            {
                self.ignores.read_again(folder);
                stale = true;
            }
            // Who makes a file and writes into it closes it in the end.
            let is_open = || matches!(event.kind, EventKind::Create(_)) && is_new_file(path);
            if !is_folder && !is_open() {
                self.take(path);
            }
        }
        stale
    }

    fn forget(&mut self, folder: &Path) {
        let gone: Vec<PathBuf> = self
            .folders
            .iter()
            .filter(|known| known.starts_with(folder))
            .cloned()
            .collect();
        for folder in gone {
            if let Ok(watcher) = &mut self.watcher {
                let _ = watcher.unwatch(&folder);
            }
            self.folders.remove(&folder);
        }
    }

    /// It has changed.
    fn take(&mut self, path: &Path) {
        let (now, now_ns) = (Instant::now(), sys::clock::mono_ns());
        for armed in &mut self.services {
            if !armed.sieve.takes(path, &self.ignores) {
                continue;
            }
            let pending = armed.pending.get_or_insert_with(|| Pending {
                first: now,
                last: now,
                last_ns: 0,
                paths: BTreeSet::new(),
            });
            (pending.last, pending.last_ns) = (now, now_ns);
            pending.paths.insert(path.to_owned());
        }
    }

    fn take_all_in(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
                self.take(&entry.path());
            }
        }
    }

    fn poll(&mut self) -> bool {
        let now = Instant::now();
        if self.next_poll.is_none_or(|at| at > now) {
            return false;
        }
        self.next_poll = Some(now + POLL);
        let mut changed = Vec::new();
        for (folder, before) in &mut self.polled {
            let after = listing(folder);
            let names = after.keys().chain(before.keys()).collect::<BTreeSet<_>>();
            let differs = |name: &&&OsString| after.get(**name) != before.get(**name);
            changed.extend(names.iter().filter(differs).map(|name| folder.join(name)));
            *before = after;
        }
        let mut stale = false;
        for path in changed {
            stale |= path.is_dir() || !path.exists();
            self.take(&path);
        }
        stale
    }

    /// What has been quiet for long enough is told.
    fn act(&mut self) {
        let now = Instant::now();
        for armed in &mut self.services {
            if armed.due().is_none_or(|at| at > now) {
                continue;
            }
            let Some(pending) = armed.pending.take() else { continue };
            let (more, at_ns) = (pending.paths.len().saturating_sub(1), pending.last_ns);
            if let Some(path) = pending.paths.into_iter().next() {
                (self.tell)(Seen::Changed {
                    service: armed.name.clone(),
                    path,
                    more,
                    at_ns,
                });
            }
        }
    }
}

impl Armed {
    fn due(&self) -> Option<Instant> {
        let Pending { first, last, .. } = self.pending.as_ref()?;
        let debounce = self.watched.watch.debounce;
        Some((*last + debounce).min(*first + debounce.saturating_mul(PATIENCE)))
    }
}

/// One look at the disk.
struct Survey {
    ignores: Ignores,
    folders: BTreeSet<PathBuf>,
    missing: BTreeSet<PathBuf>,
}

impl Survey {
    fn of(&mut self, sieve: &Sieve) {
        for glob in sieve.paths.iter() {
            // A file is saved by whoever renames another one over it: the folder tells.
            if let Some(folder) = glob.base.parent().filter(|_| glob.pattern.is_empty()) {
                self.nearest(folder, &glob.base);
            }
            match fs::metadata(&glob.base) {
                Ok(found) if found.is_dir() => {
                    // An edit of what git ignores counts at once.
                    let above = self.ignores.read_above(&glob.base);
                    self.folders.extend(above.into_iter().map(Path::to_owned));
                    self.into(sieve, &glob.base);
                }
                Ok(_) => {}
                Err(_) => self.nearest(&glob.base, &glob.base),
            }
        }
    }

    /// Watches a folder, or the nearest one above that is there, until what is wanted has come.
    fn nearest(&mut self, folder: &Path, wanted: &Path) {
        if let Some(there) = folder.ancestors().find(|above| above.is_dir()) {
            self.folders.insert(there.to_owned());
        }
        if !wanted.exists() {
            self.missing.insert(wanted.to_owned());
        }
    }

    fn into(&mut self, sieve: &Sieve, folder: &Path) {
        self.folders.insert(folder.to_owned());
        self.ignores.read(folder);
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // A link to a folder is not followed: it may lead round in a circle, or anywhere.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let below = entry.path();
                if sieve.enters(&below, &self.ignores) {
                    self.into(sieve, &below);
                }
            }
        }
    }
}

/// A regular file with one name. Another name of an old file, a link, a socket are as they will be.
fn is_new_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() == 1)
}

fn listing(folder: &Path) -> Listing {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sight = |entry: fs::DirEntry| {
        let found = entry.metadata().ok()?;
        let sight = (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        Some((entry.file_name(), sight))
    };
    entries.filter_map(sight).collect()
}
