//! Watches the files of a project: folders, not files, so that every way of saving is seen (a rename over the old file, a
//! symlink that points elsewhere, a ConfigMap's `..data`).

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Config, Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::config::{LookedFor, Problems};
use crate::reconcile::Now;
use crate::sys;

/// How often folders are looked at whose changes the kernel does not tell.
const POLL: Duration = Duration::from_secs(2);
/// Longer chains of symlinks are loops.
const MOST_LINKS: usize = 40;

/// Something about the files may have changed. `open`: whoever does it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    pub open: bool,
    /// A watched folder itself went away: a watch of it is a watch of nothing.
    pub lost: bool,
}

/// What would change the meaning of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Where to look.
    folders: BTreeSet<PathBuf>,
    /// Files, and symlinks on the way to them.
    names: BTreeSet<PathBuf>,
    /// Folders in which any name that comes or goes may count.
    any: BTreeSet<PathBuf>,
}

impl Interest {
    /// By what was read or looked for, as it is on the disk now.
    pub fn of(problems: &Problems) -> Interest {
        let mut interest = Interest::default();
        let LookedFor { files, folders } = &problems.looked_for;
        for path in problems.sources.iter().map(|source| &source.path).chain(files) {
            interest.follow(path);
        }
        for folder in folders {
            let here = interest.follow(folder);
            if let Some(here) = here.filter(|here| here.is_dir()) {
                interest.folders.insert(here.clone());
                interest.any.insert(here);
            }
            interest.any.insert(folder.clone());
        }
        interest
    }

    /// A folder of runner's own, whose end is to be noticed.
    pub fn beside(&mut self, folder: &Path) {
        if let Some(parent) = folder.parent() {
            self.note(parent, folder);
        }
    }

    /// In one file only, there or not.
    pub fn of_file(path: &Path) -> Interest {
        let mut interest = Interest::default();
        interest.follow(path);
        interest
    }

    /// Notes every step of the way to a file: its name, the symlinks, and where it is missing, the place where it would
    /// come back. The answer: where the way leads.
    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let mut rest: Vec<PathBuf> = steps(path);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(step) = rest.pop() {
            if step == Path::new("..") {
                at.pop();
                continue;
            }
            let next = at.join(&step);
            match next.symlink_metadata() {
                Ok(found) if found.is_symlink() => {
                    links += 1;
                    self.note(&at, &next);
                    let target = next.read_link().ok().filter(|_| links <= MOST_LINKS)?;
                    if target.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    rest.extend(steps(&target));
                }
                Ok(_) if rest.is_empty() => {
                    self.note(&at, &next);
                    at = next;
                }
                Ok(_) => at = next,
                Err(_) => {
                    self.note(&at, &next);
                    return None;
                }
            }
        }
        Some(at)
    }

    fn note(&mut self, folder: &Path, name: &Path) {
        self.folders.insert(folder.to_owned());
        self.names.insert(name.to_owned());
    }

    fn touched(&self, event: &Event) -> Option<Touched> {
        if event.need_rescan() {
            return Some(Touched {
                open: false,
                lost: false,
            });
        }
        let open = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            // Looking at a file changes nothing.
            EventKind::Access(_) => return None,
            EventKind::Modify(ModifyKind::Data(_)) => true,
            EventKind::Create(CreateKind::File) => event.paths.iter().any(|path| is_regular(path)),
            _ => false,
        };
        // What is written into a file that was not read is none of ours, until whoever made it is done: a log that grows
        // beside the files would never let them come to rest.
        let is_written = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
        // A watched folder that went away itself is one of the names on the way, or of the folders.
        let counts = |path: &PathBuf| {
            self.names.contains(path)
                || self.folders.contains(path)
                || !is_written && path.parent().is_some_and(|parent| self.any.contains(parent))
        };
        let goes = matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        let lost = goes && event.paths.iter().any(|path| self.folders.contains(path));
        event.paths.iter().any(counts).then_some(Touched { open, lost })
    }
}

fn is_regular(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

/// The components of a path, the first one last.
fn steps(path: &Path) -> Vec<PathBuf> {
    let named = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut steps: Vec<PathBuf> = named.collect();
    steps.reverse();
    steps
}

/// Watches until it is dropped.
pub struct Watch {
    interest: Interest,
    _watcher: Option<RecommendedWatcher>,
    _poll: Option<Poll>,
    /// Folders that are looked at from time to time only, and why.
    pub polled: Vec<(PathBuf, String)>,
}

impl Watch {
    /// `tell` is called from a thread of the watcher. What changed before is not told: read once more afterwards.
    pub fn start(interest: Interest, tell: impl Fn(Touched) + Clone + Send + 'static) -> Watch {
        let handler = seen_by(interest.clone(), tell.clone());
        let mut watcher = RecommendedWatcher::new(handler, Config::default()).map_err(|error| in_words(&error));
        let mut polled = Vec::new();
        for folder in &interest.folders {
            let refused = match &mut watcher {
                _ if sys::files::tells_no_changes(folder) => "its file system tells nobody of changes".to_owned(),
                Err(why) => why.clone(),
                Ok(watcher) => match watcher.watch(folder, RecursiveMode::NonRecursive) {
                    Ok(()) => continue,
                    Err(error) => in_words(&error),
                },
            };
            polled.push((folder.clone(), refused));
        }
        Watch {
            _watcher: watcher.ok(),
            _poll: (!polled.is_empty()).then(|| Poll::start(interest.clone(), POLL, tell)),
            interest,
            polled,
        }
    }

    pub fn is_for(&self, interest: &Interest) -> bool {
        self.interest == *interest
    }
}

/// Looks at what counts from time to time; for where the kernel tells nothing. (The one of `notify` sees whole seconds
/// only, and would miss the second save of one.)
struct Poll {
    /// Closed to end the thread.
    _stop: Sender<()>,
}

impl Poll {
    fn start(interest: Interest, rest: Duration, tell: impl Fn(Touched) + Send + 'static) -> Poll {
        let (stop, stopped) = channel::<()>();
        let mut before = interest.sight();
        std::thread::spawn(move || {
            while stopped.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
                let now = interest.sight();
                if now != before {
                    before = now;
                    tell(Touched {
                        open: false,
                        lost: false,
                    });
                }
            }
        });
        Poll { _stop: stop }
    }
}

/// What tells one state of a file from another: inode, size, and when its content and its entry changed (ns).
type Sight = Option<(u64, u64, i64, i64)>;

/// How everything of it was.
pub struct Seeing {
    interest: Interest,
    sight: Vec<Sight>,
}

impl Seeing {
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    pub fn has_changed(&self) -> bool {
        self.interest.sight() != self.sight
    }
}

impl Interest {
    pub fn seen(self) -> Seeing {
        Seeing {
            sight: self.sight(),
            interest: self,
        }
    }

    fn sight(&self) -> Vec<Sight> {
        self.names.iter().chain(&self.any).map(|path| sight(path)).collect()
    }

    /// When anything of it changed last (monotonic), unless the clock was set back since.
    pub fn touched_at(&self) -> Option<u64> {
        let names = self.names.iter().filter_map(|path| sight(path));
        let newest = names.map(|(_, _, modified, changed)| modified.max(changed)).max()?;
        // Only now: what is written at this moment is not from the future.
        monotonic(newest, sys::clock::now())
    }
}

fn monotonic(wall_ns: i64, now: Now) -> Option<u64> {
    let age = u64::try_from(now.wall_ns.checked_sub(wall_ns)?).ok()?;
    now.mono_ns.checked_sub(age)
}

fn sight(path: &Path) -> Sight {
    let found = path.symlink_metadata().ok()?;
    let ns = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
    let (modified, changed) = (
        ns(found.mtime(), found.mtime_nsec()),
        ns(found.ctime(), found.ctime_nsec()),
    );
    Some((found.ino(), found.len(), modified, changed))
}

fn seen_by(interest: Interest, tell: impl Fn(Touched)) -> impl Fn(notify::Result<Event>) {
    move |event| {
        let touched = match &event {
            Ok(event) => interest.touched(event),
            // Something was missed.
            Err(_) => Some(Touched {
                open: false,
                lost: false,
            }),
        };
        if let Some(touched) = touched {
            tell(touched);
        }
    }
}

pub fn in_words(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => "all inotify watches of this user are in use".to_owned(),
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(libc::EMFILE) => {
            "all inotify instances of this user are in use".to_owned()
        }
        notify::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::Receiver;

    use super::*;

    fn interest(files: &[&Path]) -> Interest {
        let mut interest = Interest::default();
        for file in files {
            interest.follow(file);
        }
        interest
    }

    fn watch(interest: Interest) -> (Watch, Receiver<Touched>) {
        let (sink, told) = channel();
        let watch = Watch::start(interest, move |touched| {
            let _ = sink.send(touched);
        });
        (watch, told)
    }

    fn is_told(told: &Receiver<Touched>) {
        told.recv_timeout(Duration::from_secs(60)).expect("told");
        while told.try_recv().is_ok() {}
    }

    #[test]
    fn hr_04_every_step_of_the_way_to_a_file_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("real");
        std::fs::create_dir_all(root.join("..1")).expect("made");
        std::fs::write(root.join("..1/services.toml"), "").expect("written");
        symlink("..1", root.join("..data")).expect("linked");
        symlink("..data/services.toml", root.join("services.toml")).expect("linked");
        let found = interest(&[&root.join("services.toml")]);
        let names = ["services.toml", "..data", "..1/services.toml"].map(|name| root.join(name));
        assert_eq!(found.names, BTreeSet::from(names));
        assert_eq!(found.folders, BTreeSet::from([root.clone(), root.join("..1")]));
    }

    #[test]
    fn hr_05_of_what_is_missing_the_place_counts_where_it_would_come_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("real");
        let found = interest(&[&root.join("gone/deep/services.toml")]);
        assert_eq!(found.names, BTreeSet::from([root.join("gone")]));
        assert_eq!(found.folders, BTreeSet::from([root]));
        let circle = tempfile::tempdir().expect("a folder");
        symlink("b", circle.path().join("a")).expect("linked");
        symlink("a", circle.path().join("b")).expect("linked");
        interest(&[&circle.path().join("a")]);
    }

    #[test]
    fn hr_04_all_ways_of_saving_are_told_and_others_files_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("real");
        let file = root.join("services.toml");
        std::fs::write(&file, "one").expect("written");
        let (_watch, told) = watch(interest(&[&file]));
        std::fs::write(&file, "in place").expect("written");
        is_told(&told);
        std::fs::write(root.join("4913"), "an editor's test").expect("written");
        std::fs::write(root.join("services.toml~"), "new").expect("written");
        std::fs::rename(root.join("services.toml~"), &file).expect("renamed over");
        is_told(&told);
        std::fs::remove_file(&file).expect("removed");
        is_told(&told);
        symlink("elsewhere.toml", &file).expect("linked");
        is_told(&told);
    }

    #[test]
    fn only_what_counts_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("real");
        let file = root.join("services.toml");
        std::fs::write(&file, "one").expect("written");
        let (watch, told) = watch(interest(&[&file]));
        for n in 0..100 {
            std::fs::write(root.join(format!("log.{n}")), "noise").expect("written");
        }
        std::fs::remove_file(&file).expect("removed");
        told.recv_timeout(Duration::from_secs(60)).expect("told");
        drop(watch);
        assert_eq!(told.iter().count(), 0, "the only word is about the file");
    }

    #[test]
    fn a_log_that_grows_beside_the_files_of_a_glob_is_none_of_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("real");
        let mut log = std::fs::File::create(root.join("app.log")).expect("made");
        let interest = Interest {
            folders: BTreeSet::from([root.clone()]),
            names: BTreeSet::new(),
            any: BTreeSet::from([root.clone()]),
        };
        let (_watch, told) = watch(interest);
        for _ in 0..100 {
            log.write_all(b"a line\n").expect("written");
        }
        // A folder is not open to be written, so it says which of the words was the first.
        std::fs::create_dir(root.join("new.d")).expect("made");
        let first = told.recv_timeout(Duration::from_secs(60)).expect("told");
        assert!(!first.open, "{first:?}");
        std::fs::write(root.join("new.toml"), "").expect("written");
        is_told(&told);
    }

    #[test]
    fn hr_02_files_say_themselves_when_they_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().canonicalize().expect("real").join("services.toml");
        std::fs::write(&file, "one").expect("written");
        let interest = interest(&[&file]);
        let first = interest.touched_at().expect("a time");
        assert!(first <= sys::clock::now().mono_ns);
        // File systems count in ticks: it takes some for another time.
        while interest.touched_at() < Some(first + 20_000_000) {
            std::fs::write(&file, "two").expect("written");
        }
        let now = Now {
            wall_ns: 100,
            mono_ns: 7,
        };
        let times = [95, 93, 92, 101].map(|wall_ns| monotonic(wall_ns, now));
        assert_eq!(times, [Some(2), Some(0), None, None]);
    }

    #[test]
    fn hr_13_where_the_kernel_tells_nothing_folders_are_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("real");
        let file = root.join("services.toml");
        std::fs::write(&file, "one").expect("written");
        let interest = interest(&[&file]);
        let (sink, told) = channel();
        let rest = Duration::from_millis(5);
        let _poll = Poll::start(interest, rest, move |touched| {
            let _ = sink.send(touched);
        });
        std::fs::write(&file, "two").expect("written");
        is_told(&told);
        std::fs::write(&file, "longer").expect("written");
        is_told(&told);
    }
}
