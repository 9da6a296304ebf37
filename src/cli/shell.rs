//! `shell`, `allow`, `deny`: a project starts when a shell enters its folder and stops when the last one has left, if somebody has
//! looked at its files and allowed them.
//!
//! The hook in the shell only looks for a services.toml, and calls `shell enter` or `shell leave` when the answer is another
//! one than before. Those write down who is inside (`inside`, `store`); a worker in the background does the rest (`settle`).

mod inside;
mod permit;
mod settle;
mod store;

use std::path::{Path, PathBuf};

use super::args::{FILE_VARIABLE, Global, Permission, Shell, ShellWhat};
use super::outcome::Outcome;
use super::{Result, project, terminal};
#[cfg(feature = "editing")]
use crate::config::Edited;
use crate::config::Loaded;
use crate::config::find::{self, FILE_NAME, Location};
use crate::sys;
use crate::view::diagnostic;
use inside::{Process, Task, Tasks, Wish};
use permit::{Permit, Verdict, shown};
use settle::Worker;
use store::Store;

const BASH: &str = include_str!("shell/hook.bash");
const ZSH: &str = include_str!("shell/hook.zsh");
const FISH: &str = include_str!("shell/hook.fish");

pub fn shell(global: &Global, args: &Shell) -> Result<u8> {
    let done = match &args.what {
        ShellWhat::Bash => return print_hook(BASH),
        ShellWhat::Zsh => return print_hook(ZSH),
        ShellWhat::Fish => return print_hook(FISH),
        ShellWhat::Enter { pid, folder } => enter(global, *pid, folder),
        ShellWhat::Leave { pid } => leave(global, *pid),
        ShellWhat::Settle { key } => settle::settle(global, key),
    };
    // It stands above somebody's prompt: a line, not a picture.
    match done {
        Ok(()) => Ok(0),
        Err(failure) => {
            terminal::say(format_args!("runner: {}", in_one_line(&failure)));
            Ok(failure.code())
        }
    }
}

/// For `eval` in a start file. What stands there is called by its path if that is how runner was called.
fn print_hook(hook: &str) -> Result<u8> {
    let typed = std::env::args_os().next().unwrap_or_default();
    let program = match typed.as_encoded_bytes().contains(&b'/') {
        false => "runner".to_owned(),
        true => {
            let own = sys::program::own().map_err(Outcome::io("find runner's own program file"))?;
            let own = own.to_string_lossy();
            // All three shells understand what stands between single quotes alike, but for what stands before one.
            own.split('\'')
                .map(|part| format!("'{}'", part.replace('\\', "'\\\\'")))
                .collect::<Vec<_>>()
                .join("\"'\"")
        }
    };
    project::print(&hook.replace("@RUNNER@", &program))?;
    Ok(0)
}

fn enter(global: &Global, pid: u32, folder: &Path) -> Result<()> {
    let store = Store::open()?;
    let shell = Process::of(pid);
    let location = located(folder)?;
    let verdict = permit::look(&store, &location);
    let (before, tasks, news) = store.change(|record| {
        record.drop_dead(Process::is_alive);
        let inside = record.enter(shell, &location.key, &location.dir);
        let before = inside.started;
        let news = match &verdict {
            Verdict::Allowed => {
                inside.wish.get_or_insert(Wish::Start);
                Ok(None)
            }
            Verdict::Refused { why, seen } => {
                permit::is_news(&store, &location, seen).map(|is_news| is_news.then_some(why))
            }
        };
        (before, record.settle(), news)
    })?;
    if let Some(why) = news? {
        terminal::say(format_args!("runner: {why}"));
    }
    let ours = set_to_work(&tasks, &location.key)?;
    tell(global, &store, &location, before, ours.as_ref())
}

fn leave(global: &Global, pid: u32) -> Result<()> {
    let Some(store) = Store::find() else { return Ok(()) };
    let (tasks, stopped) = store.change(|record| {
        record.leave(Process::of(pid));
        record.drop_dead(Process::is_alive);
        let tasks = record.settle();
        let stopped: Vec<PathBuf> = tasks
            .iter()
            .filter(|(_, task)| matches!(task, Task::Down(_)))
            .filter_map(|(key, _)| Some(record.projects.get(key)?.dir.clone()))
            .collect();
        (tasks, stopped)
    })?;
    set_to_work(&tasks, "")?;
    for dir in stopped.iter().filter(|_| !global.quiet) {
        terminal::say(format_args!("runner: nobody is in {} any more; it stops", shown(dir)));
    }
    Ok(())
}

pub fn allow(global: &Global, args: &Permission) -> Result<u8> {
    let location = named(global, args)?;
    let style = terminal::for_stderr(global);
    let loaded = project::read_edited(&location, Vec::new()).map_err(|problems| Outcome::Invalid {
        rendered: format!("{}nothing was allowed\n", diagnostic::problems(&problems, &style)),
    })?;
    if !global.quiet {
        terminal::say_raw(&diagnostic::problems(&loaded.warnings, &style));
    }
    let store = Store::open()?;
    let (before, tasks) = permit(&store, &location, &loaded)?;
    if !global.quiet {
        let names: Vec<String> = loaded
            .warnings
            .sources
            .iter()
            .map(|source| in_line(&source.shown))
            .collect();
        let files = names.join(", ");
        terminal::say(format_args!(
            "allowed in {}: {files}, until one of them changes",
            shown(&location.dir)
        ));
    }
    let ours = set_to_work(&tasks, &location.key)?;
    tell(global, &store, &location, before, ours.as_ref())?;
    Ok(0)
}

/// Whoever is inside already gets what entering would have brought.
fn permit(store: &Store, location: &Location, loaded: &Loaded) -> Result<(Option<Process>, Tasks)> {
    let permit = permit::of(location, loaded);
    let (kept, before, tasks) = store.change(|record| {
        let kept = store.keep_permit(&location.key, &permit);
        record.drop_dead(Process::is_alive);
        let mut before = None;
        if let Some(inside) = record.projects.get_mut(&location.key) {
            before = inside.started;
            inside.wish = Some(Wish::Apply);
        }
        (kept, before, record.settle())
    })?;
    kept.map(|()| (before, tasks))
}

pub fn deny(global: &Global, args: &Permission) -> Result<u8> {
    let location = named(global, args)?;
    let store = Store::open()?;
    let mut permit = Permit {
        dir: location.dir.clone(),
        ..Permit::default()
    };
    store.change(|_| {
        store.keep_permit(&location.key, &permit)?;
        // Whoever says so needs not be told.
        if let Verdict::Refused { seen, .. } = permit::look(&store, &location) {
            permit.told = Some(seen);
        }
        store.keep_permit(&location.key, &permit)
    })??;
    if !global.quiet {
        let dir = shown(&location.dir);
        terminal::say(format_args!(
            "not allowed in {dir}: no shell starts it; what runs goes on"
        ));
    }
    Ok(0)
}

/// Somebody typed `up`: whoever started it, it is not for a shell to stop any more.
pub fn is_by_hand(location: &Location) {
    let Some(store) = Store::find() else { return };
    // Only a note: the `up` itself has succeeded.
    let _ = store.change(|record| {
        if let Some(inside) = record.projects.get_mut(&location.key) {
            inside.started = None;
        }
    });
}

/// Files that were allowed before runner itself edits them stay allowed.
#[cfg(feature = "editing")]
pub struct Kept(Option<Store>);

#[cfg(feature = "editing")]
impl Kept {
    pub fn before(location: &Location) -> Kept {
        Kept(Store::find().filter(|store| matches!(permit::look(store, location), Verdict::Allowed)))
    }

    /// Only what was written is newly allowed: what somebody else has changed meanwhile is not.
    pub fn after(self, location: &Location, written: &[Edited]) {
        let Some(store) = self.0 else { return };
        let Ok(loaded) = project::read_edited(location, Vec::new()) else {
            return;
        };
        let is_same = |permit: Permit| permit.differs_only_in(&permit::of(location, &loaded), written);
        if store.permit(&location.key).is_some_and(is_same)
            && let Ok((_, tasks)) = permit(&store, location, &loaded)
        {
            // The edit itself has succeeded.
            let _ = set_to_work(&tasks, "");
        }
    }
}

/// The one that works for `key`.
fn set_to_work(tasks: &[(String, Task)], key: &str) -> Result<Option<Worker>> {
    let mut ours = None;
    for (other, _) in tasks {
        let worker = Worker::begin(other)?;
        if other == key {
            ours = Some(worker);
        }
    }
    Ok(ours)
}

/// What has become of it, if that is known soon.
fn tell(
    global: &Global,
    store: &Store,
    location: &Location,
    before: Option<Process>,
    worker: Option<&Worker>,
) -> Result<()> {
    let is_done = worker.is_none_or(Worker::wait_a_little);
    let (trouble, started) = store.change(|record| {
        let inside = record.projects.get_mut(&location.key);
        let (trouble, started) = inside.map_or((None, None), |inside| (inside.trouble.take(), inside.started));
        record.settle();
        (trouble, started)
    })?;
    if let Some(trouble) = trouble {
        return Err(Outcome::failed(trouble));
    }
    let dir = shown(&location.dir);
    if !is_done && !global.quiet {
        terminal::say(format_args!(
            "runner: {dir} is still being started; `runner ps` shows it"
        ));
    } else if started.is_some() && started != before && !global.quiet {
        terminal::say(format_args!(
            "runner: started {dir}; it stops when the last shell has left"
        ));
    }
    Ok(())
}

/// The project of exactly this folder.
fn located(folder: &Path) -> Result<Location> {
    let options = find::Options {
        directory: Some(folder.to_owned()),
        ..find::Options::default()
    };
    let usage = |error: find::LocateError| Outcome::Usage {
        message: error.message,
        suggestion: error.suggestion,
    };
    let location = find::locate(&options, &project::around(&options)?).map_err(usage)?;
    match folder.canonicalize().is_ok_and(|real| real == location.dir) {
        true => Ok(location),
        false => Err(Outcome::Usage {
            message: format!("no {FILE_NAME} in {}", folder.display()),
            suggestion: None,
        }),
    }
}

/// What `allow` and `deny` mean.
fn named(global: &Global, args: &Permission) -> Result<Location> {
    if !global.file.is_empty() || global.project.is_some() {
        return Err(Outcome::Usage {
            message: format!(
                "a shell starts the {FILE_NAME} of a folder: `-f`, `-p` and {FILE_VARIABLE} mean nothing here"
            ),
            suggestion: Some("name the folder: `runner allow DIR`".to_owned()),
        });
    }
    let Some(file) = &args.file else {
        return project::locate(global);
    };
    let path = match &global.directory {
        Some(directory) => directory.join(file),
        None => file.clone(),
    };
    if path.is_dir() {
        return located(&path);
    }
    if path.file_name().is_none_or(|name| name != FILE_NAME) {
        return Err(Outcome::Usage {
            message: format!("{} is no {FILE_NAME}", file.display()),
            suggestion: Some(format!(
                "name the {FILE_NAME} or its folder: it brings all that it includes"
            )),
        });
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    located(folder.unwrap_or(Path::new(".")))
}

/// What failed, and what to do.
fn in_one_line(failure: &Outcome) -> String {
    match failure {
        Outcome::Usage { message, suggestion }
        | Outcome::Failed { message, suggestion }
        | Outcome::NoSuchService { message, suggestion } => match suggestion {
            Some(suggestion) => in_line(&format!("{message}; {suggestion}")),
            None => in_line(message),
        },
        Outcome::Invalid { .. } => "the files are not valid; `runner check` shows why".to_owned(),
        Outcome::NotRunning { folder, .. } => {
            in_line(&format!("no runner is up for {folder}; `runner up -d` starts it"))
        }
        Outcome::TimedOut { message } => in_line(message),
        Outcome::Interrupted => "interrupted".to_owned(),
    }
}

fn in_line(text: &str) -> String {
    shown(Path::new(text))
}
