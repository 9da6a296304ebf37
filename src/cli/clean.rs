//! `clean`: ends what a runner that was killed has left, and deletes what runner keeps.
//!
//! Whatever is ended is ended by a guardian that takes it over, as for `down`. Only files that runner itself writes are
//! deleted, by their names: `state_dir` may be a folder that holds other things.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::args::{Clean, Global};
use super::orphans::{self, Orphans};
use super::outcome::Outcome;
use super::{Result, down, elsewhere, project, reach, terminal};
use crate::api::prepared::Notes;
use crate::api::{boot, history, wishes};
use crate::config::KeptPorts;
use crate::config::find::Location;
use crate::guardian::errands;
use crate::sys::lock::Lock;
use crate::sys::places::{self, Place, nameless, state};
use crate::view::words;

/// Of a project's lock, and of what is taken first by whoever starts it.
pub(super) const LOCK: &str = "lock";
pub(super) const START_LOCK: &str = "start.lock";

pub fn clean(global: &Global, args: &Clean) -> Result<u8> {
    match args.all {
        true => clean_all(global, args),
        false => clean_here(global, args),
    }
}

/// The project in hand, with its state.
fn clean_here(global: &Global, args: &Clean) -> Result<u8> {
    let (location, stream) = project::locate_left(global)?;
    let orphans = orphans::of(&location);
    let state_dir = state_dir(global, &location, orphans.as_ref());
    if stream.is_some() || Lock::is_held(&state_dir.join(LOCK)) {
        return Err(running(&location, &state_dir));
    }
    // Gone for good.
    let question = state_dir
        .is_dir()
        .then(|| format!("delete the logs and the history in {}?", state_dir.display()));
    if !args.yes && !agrees(question).map_err(Outcome::io("ask"))? {
        return Err(Outcome::failed("nothing was done"));
    }
    let count = orphans.as_ref().map_or(0, Orphans::count);
    if let Some(orphans) = &orphans {
        down::end_orphans(global, &location, orphans, args.timeout, None)?;
    }
    delete(&location, &state_dir)?;
    if !global.quiet {
        let ended = match count {
            0 => String::new(),
            count => format!("{} of a lost runner ended; ", words::count(count, "service")),
        };
        terminal::say(format_args!(
            "{ended}nothing of runner is left in {}",
            state_dir.display()
        ));
    }
    Ok(0)
}

/// One runtime folder without a runner.
struct Lost {
    folder: PathBuf,
    location: Location,
    orphans: Option<Orphans>,
}

/// What lost runners of this user have left anywhere. Their logs stay.
fn clean_all(global: &Global, args: &Clean) -> Result<u8> {
    let lost: Vec<Lost> = places::runtime_folders().into_iter().filter_map(lost).collect();
    let counts = lost
        .iter()
        .filter_map(|lost| Some((lost, lost.orphans.as_ref()?.count())));
    let running: Vec<String> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(lost, count)| format!("{} of {}", words::count(count, "service"), lost.location.dir.display()))
        .collect();
    let question = (!running.is_empty()).then(|| format!("end {}?", running.join(", ")));
    if !args.yes && !agrees(question).map_err(Outcome::io("ask"))? {
        return Err(Outcome::failed("nothing was done"));
    }
    let mut code = 0;
    for one in &lost {
        if let Err(outcome) = clean_lost(global, args, one) {
            // The others are cleaned all the same.
            terminal::say(format_args!("{}:", one.location.dir.display()));
            outcome.print(global);
            code = outcome.code();
        }
    }
    if !global.quiet && code == 0 {
        match running.is_empty() {
            true => terminal::say("no lost runner has left a service"),
            false => terminal::say(format_args!("ended: {}", running.join(", "))),
        }
    }
    Ok(code)
}

/// `None`: a runner lives there, or begins to.
fn lost(folder: PathBuf) -> Option<Lost> {
    match reach::connect(&folder.join(reach::SOCKET)) {
        Err(error) if reach::is_nobody(&error) => {}
        _ => return None,
    }
    let place = Place::read(&folder)?;
    (!Lock::is_held(&place.state_dir.join(LOCK))).then(|| Lost {
        location: Location::of_folder(place.dir, place.name_override),
        orphans: orphans::in_folder(folder.clone()),
        folder,
    })
}

fn clean_lost(global: &Global, args: &Clean, lost: &Lost) -> Result<()> {
    orphans::end_errands(&lost.location);
    match &lost.orphans {
        Some(orphans) => down::end_orphans(global, &lost.location, orphans, args.timeout, None),
        None => fs::remove_dir_all(&lost.folder).map_err(Outcome::io(format_args!("remove {}", lost.folder.display()))),
    }
}

fn running(location: &Location, state_dir: &Path) -> Outcome {
    if let Some(outcome) = elsewhere::user_of(location, state_dir) {
        return outcome;
    }
    let pid = reach::holder_of(state_dir).map_or_else(String::new, |pid| format!(" (pid {pid})"));
    Outcome::Failed {
        message: format!(
            "a runner is up for {}{pid}: nothing was touched",
            location.dir.display()
        ),
        suggestion: Some("`runner down` first".to_owned()),
    }
}

/// Where the lost runner had its state; else where the file says, or would say.
pub(super) fn state_dir(global: &Global, location: &Location, orphans: Option<&Orphans>) -> PathBuf {
    let folders = places::runtime_candidates(&location.key, &location.dir.join(reach::STATE_DIR));
    let left = folders.iter().find_map(|folder| Place::read(folder));
    let known = orphans.and_then(Orphans::place).cloned().or(left);
    if let Some(place) = known {
        return place.state_dir;
    }
    match project::read(global) {
        Ok((_, Ok(loaded))) => loaded.project.state_dir,
        Ok((_, Err(_))) | Err(_) => project::state_dir(location),
    }
}

/// A person at a terminal is asked.
fn agrees(question: Option<String>) -> io::Result<bool> {
    let Some(question) = question.filter(|_| io::stdin().is_terminal()) else {
        return Ok(true);
    };
    let mut err = io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Under the project's lock, so that no runner begins meanwhile.
fn delete(location: &Location, state_dir: &Path) -> Result<()> {
    let held = match state_dir.is_dir() {
        true => {
            let turn = Lock::wait(&state_dir.join(START_LOCK)).map_err(Outcome::io("take the start lock"))?;
            let lock = Lock::take(&state_dir.join(LOCK)).map_err(Outcome::io("take the project's lock"))?;
            Some((turn, lock.ok_or_else(|| running(location, state_dir))?))
        }
        false => None,
    };
    // Before the locks that they hold.
    errands::end_left(&location.key);
    for folder in places::runtime_candidates(&location.key, &location.dir.join(reach::STATE_DIR)) {
        if nameless::is_nowhere(&folder) {
            continue;
        }
        let removed = fs::remove_dir_all(&folder);
        removed.map_err(Outcome::io(format_args!("remove {}", folder.display())))?;
    }
    delete_state(state_dir).map_err(Outcome::io(format_args!("delete what is in {}", state_dir.display())))?;
    drop(held);
    Ok(())
}

fn delete_state(state_dir: &Path) -> io::Result<()> {
    delete_in(&state_dir.join("logs"), &is_log)?;
    delete_in(&Notes::folder(state_dir), &|name| {
        [".json", ".json.new", ".lock"].iter().any(|end| name.ends_with(end))
    })?;
    // Git looks away only as long as runner has something here.
    let ignore = state_dir.join(state::IGNORE);
    if fs::read(&ignore).is_ok_and(|text| text == state::IGNORE_ALL) && holds_only_ours(state_dir) {
        fs::remove_file(&ignore)?;
    }
    delete_in(state_dir, &is_state)
}

/// Deletes the files of these names, and the folder when nothing else is in it.
fn delete_in(folder: &Path, is_ours: &dyn Fn(&str) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(is_ours);
        // What is a link or a folder is nobody's of ours.
        if is_ours && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed,
    }
}

fn holds_only_ours(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.all(|entry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name == state::IGNORE || is_state(name))
    })
}

/// Also drafts, and what was set aside: `wishes.json.new`, `wishes.json.corrupt-1700000000`.
fn is_state(name: &str) -> bool {
    let own_log = boot::own_log(Path::new(""));
    let names = [
        LOCK,
        START_LOCK,
        history::FILE,
        history::OLDER,
        wishes::FILE,
        wishes::OLDER,
        KeptPorts::FILE,
        KeptPorts::OLDER,
        own_log.to_str().unwrap_or_default(),
    ];
    let of = |known: &&str| {
        let rest = name.strip_prefix(known);
        rest.is_some_and(|rest| rest.is_empty() || rest == ".new" || rest.starts_with(".corrupt-"))
    };
    names.iter().any(of)
}

/// `NAME.log`, `NAME.log.1`, and their indexes.
fn is_log(name: &str) -> bool {
    let log = name.strip_suffix(".idx").unwrap_or(name);
    let number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    match log.rsplit_once(".log") {
        Some((service, rest)) => !service.is_empty() && (rest.is_empty() || rest.strip_prefix('.').is_some_and(number)),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runner_writes_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir_all(state.join("logs")).unwrap();
        let ours = [
            "lock",
            "start.lock",
            "history.jsonl",
            "history.1.jsonl",
            "wishes.json",
            "wishes.json.new",
            "ports.json.corrupt-17",
            "runner.log",
            "logs/web.log",
            "logs/web.log.idx",
            "logs/web.log.1",
            "logs/web.log.1.idx",
        ];
        let theirs = ["notes", "lock.txt", "logs/web.logs", "logs/.log", "logs/README"];
        for name in ours.iter().chain(&theirs) {
            fs::write(state.join(name), "").unwrap();
        }
        fs::write(state.join(".gitignore"), "*\n").unwrap();
        std::os::unix::fs::symlink(dir.path(), state.join("logs/x.log")).unwrap();
        delete_state(&state).unwrap();
        assert_eq!(ours.iter().find(|name| state.join(name).exists()), None);
        assert_eq!(theirs.iter().find(|name| !state.join(name).exists()), None);
        assert!(state.join("logs/x.log").is_symlink() && state.join(".gitignore").exists());
        for name in theirs {
            fs::remove_file(state.join(name)).unwrap();
        }
        fs::remove_file(state.join("logs/x.log")).unwrap();
        delete_state(&state).unwrap();
        assert!(!state.exists());
        delete_state(&state).unwrap();
    }
}
