//! `add` and `rm`: edits of the file that keep its comments and layout. A running project applies them as any saved edit.

use std::path::{Path, PathBuf};

use super::args::{Add, Global, Rm};
use super::call::{self, Call};
use super::outcome::Outcome;
use super::progress::Progress;
use super::{Result, project, reach, shell, terminal};
use crate::api::prepared::Notes;
use crate::api::wire::{self, ActRequest, Acted};
use crate::config::edit;
use crate::config::find::{self, FILE_NAME, Location};
use crate::config::{self, Edited, Loaded, Problem, Problems};
use crate::logs;
use crate::spec::{LogTarget, Project, Service, ServiceName};
use crate::sys::files;
use crate::view::diagnostic;

pub fn add(global: &Global, args: &Add) -> Result<u8> {
    let words = args.command.iter().map(|word| word.to_str().map(str::to_owned));
    let words: Vec<String> = words
        .collect::<Option<_>>()
        .ok_or_else(|| Outcome::usage("the command is not UTF-8, which a services.toml has to be"))?;
    let location = located_or_new(global)?;
    let all = existing(global, &location)?;
    if let Some((file, line)) = all
        .iter()
        .find_map(|file| Some((file, edit::line_of(&file.text, &args.name)?)))
    {
        return Err(Outcome::Usage {
            message: format!(
                "there is a service `{}` already, in line {line} of {}",
                args.name,
                shown(&location, &file.path)
            ),
            suggestion: Some("take another name, or edit it there".to_owned()),
        });
    }
    let path = location
        .files
        .first()
        .cloned()
        .unwrap_or_else(|| location.dir.join(FILE_NAME));
    let text = all.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let edited = Edited {
        text: edit::added(text.unwrap_or_default(), &args.name, &words),
        path,
    };
    let made = if text.is_some() { "" } else { " (which is new)" };
    let now = match text {
        Some(_) => project::read_edited(&location, Vec::new()).err(),
        None => None,
    };
    checked(global, &location, vec![edited.clone()], now.as_ref(), |problems| {
        problems
    })?;
    let kept = shell::Kept::before(&location);
    save(&edited)?;
    kept.after(&location, std::slice::from_ref(&edited));
    let what = format!("{} is in {}{made}", args.name, shown(&location, &edited.path));
    say(global, &location, &what, "`runner up` starts it")
}

pub fn rm(global: &Global, args: &Rm) -> Result<u8> {
    let location = project::locate(global)?;
    let mut all = existing(global, &location)?;
    let before = all.clone();
    for name in &args.names {
        let mut found = false;
        for file in &mut all {
            if let Some(text) = edit::removed(&file.text, name) {
                (file.text, found) = (text, true);
            }
        }
        if !found {
            return Err(no_such(&location, name));
        }
    }
    let changed: Vec<Edited> = all
        .iter()
        .zip(&before)
        .filter(|(new, old)| new != old)
        .map(|(new, _)| new.clone())
        .collect();
    let left = project::read_edited(&location, before.clone());
    checked(global, &location, changed.clone(), left.as_ref().err(), |problems| {
        edit::needed(problems, &before, &args.names)
    })?;
    if args.purge {
        let is_any = |name: &&String| left.as_ref().is_ok_and(|left| !members(&left.project, name).is_empty());
        let names: Vec<String> = args.names.iter().filter(is_any).cloned().collect();
        let names = if left.is_ok() { &names } else { &args.names };
        if !names.is_empty() {
            stop(global, names)?;
        }
    }
    let kept = shell::Kept::before(&location);
    for edited in &changed {
        save(edited)?;
    }
    kept.after(&location, &changed);
    let purged = match (args.purge, left) {
        (true, Ok(Loaded { project, .. })) => {
            let names = args.names.iter().flat_map(|name| members(&project, name));
            let services: Vec<&Service> = names.filter_map(|name| Some(&**project.services.get(&name)?)).collect();
            let logs = services.iter().filter_map(|service| match &service.log {
                LogTarget::File(log) => Some(log.file.clone()),
                LogTarget::Off | LogTarget::Inherited | LogTarget::Memory(_) => None,
            });
            delete_logs(&logs.collect::<Vec<_>>())?;
            let mut filled = Vec::new();
            for service in services {
                filled.extend(delete_source(&project.state_dir, service)?);
            }
            match filled.is_empty() {
                true => ", with its logs".to_owned(),
                false => format!(", with its logs and {}", filled.join(", ")),
            }
        }
        (true, Err(_)) => ", but not its logs: the file was not valid before".to_owned(),
        (false, _) => String::new(),
    };
    let files: Vec<String> = changed.iter().map(|file| shown(&location, &file.path)).collect();
    let are = if args.names.len() == 1 { "is" } else { "are" };
    let what = format!("{} {are} out of {}{purged}", args.names.join(", "), files.join(", "));
    say(global, &location, &what, "nothing runs")
}

/// The services that are declared under a name.
fn members(project: &Project, name: &str) -> Vec<ServiceName> {
    match project.groups.get(name) {
        Some(group) => group.members.clone(),
        None => vec![ServiceName::new(name)],
    }
}

/// The project, or the place where its file will be.
fn located_or_new(global: &Global) -> Result<Location> {
    match project::locate(global) {
        Err(Outcome::Usage { .. }) if global.file.is_empty() => {
            let options = find::Options {
                directory: global.directory.clone(),
                project: global.project.clone(),
                ..find::Options::default()
            };
            let around = project::around(&options)?;
            let folder = global
                .directory
                .as_ref()
                .map_or_else(|| around.cwd.clone(), |folder| around.cwd.join(folder));
            let folder = folder
                .canonicalize()
                .map_err(Outcome::io(format_args!("find {}", folder.display())))?;
            Ok(Location::of_folder(folder, global.project.clone()))
        }
        found => found,
    }
}

fn existing(global: &Global, location: &Location) -> Result<Vec<Edited>> {
    edit::files(location, nix::unistd::geteuid().as_raw()).map_err(|problems| refused(global, &problems, AS_IT_IS))
}

const AS_IT_IS: &str = "the file is not valid as it is";

/// Only what `check` accepts is written. `now`: what is wrong with the files as they are; of that an edit may mend something.
fn checked(
    global: &Global,
    location: &Location,
    edited: Vec<Edited>,
    now: Option<&Problems>,
    told: impl FnOnce(Problems) -> Problems,
) -> Result<()> {
    let Err(problems) = project::read_edited(location, edited) else {
        return Ok(());
    };
    let is_left = |problem: &Problem| problems.list.iter().any(|left| left.message == problem.message);
    if let Some(now) = now.filter(|now| now.list.iter().any(is_left)) {
        return Err(refused(global, now, AS_IT_IS));
    }
    Err(refused(
        global,
        &told(problems),
        "with this edit the file would not be valid",
    ))
}

fn refused(global: &Global, problems: &Problems, why: &str) -> Outcome {
    let shown = diagnostic::problems(problems, &terminal::for_stderr(global));
    Outcome::Invalid {
        rendered: format!("{shown}nothing was written: {why}\n"),
    }
}

fn save(edited: &Edited) -> Result<()> {
    let what = format!("write {}", edited.path.display());
    files::replace(&edited.path, edited.text.as_bytes()).map_err(Outcome::io(what))
}

fn shown(location: &Location, path: &Path) -> String {
    path.strip_prefix(&location.dir).unwrap_or(path).display().to_string()
}

fn no_such(location: &Location, name: &str) -> Outcome {
    match project::read_edited(location, Vec::new())
        .map(|loaded| config::select(&loaded.project, &[name.to_owned()]).err())
    {
        Ok(Some(unknown)) => unknown.into(),
        // It is there by another way of writing: a member of a group, a label.
        Ok(None) | Err(_) => Outcome::Usage {
            message: format!("no file of the project defines a service `{name}`"),
            suggestion: Some("`runner ps -q` lists the names".to_owned()),
        },
    }
}

/// What is to be deleted is not written to any more.
fn stop(global: &Global, names: &[String]) -> Result<()> {
    let (_, stream) = project::locate_running(global)?;
    if stream.is_none() {
        return Ok(());
    }
    let request = ActRequest {
        names: names.to_vec(),
        wait: true,
        ..ActRequest::default()
    };
    let acted: Acted = reach::converse(async {
        let Call { location, mut client } = Call::begin(global).await?;
        let mut progress = Progress::new(global, false);
        progress.about(names.to_vec());
        call::wait(&location, client.post("/v1/stop", &request), &mut progress).await
    })?;
    match acted.outcome {
        wire::Outcome::Asked | wire::Outcome::Done => Ok(()),
        wire::Outcome::Failed | wire::Outcome::TimedOut => Err(Outcome::failed(
            "it could not be stopped, and nothing was changed: `runner why NAME` tells more",
        )),
    }
}

/// The folder that runner has filled; one that was there before is somebody's.
fn delete_source(state_dir: &Path, service: &Service) -> Result<Option<String>> {
    let notes = Notes::read(Some(state_dir), &service.name);
    // Of one that was only begun nobody knows whose it is.
    let is_ours = notes.source(&service.working_dir).is_some_and(|filled| !filled.begun);
    let folder = &service.working_dir;
    let deletes = service.source.is_some() && is_ours && folder.exists();
    if deletes {
        delete_folder(folder).map_err(Outcome::io(format_args!("delete {}", folder.display())))?;
    }
    notes
        .delete()
        .map_err(Outcome::io("delete what was noted of its preparation"))?;
    Ok(deletes.then(|| folder.display().to_string()))
}

/// With all that it holds. What leads to it (a link, a mount) is somebody's.
fn delete_folder(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    if folder.is_symlink() {
        return Ok(());
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(()),
        removed => removed,
    }
}

/// What is no regular file (`/dev/null`, a FIFO) is not the log's to delete.
fn delete_logs(files: &[PathBuf]) -> Result<()> {
    for log in files {
        let entries = log.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let path = entry.path();
            if logs::is_file_of(log, &path) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                std::fs::remove_file(&path).map_err(Outcome::io(format_args!("delete {}", path.display())))?;
            }
        }
    }
    Ok(())
}

fn say(global: &Global, location: &Location, what: &str, else_then: &str) -> Result<u8> {
    if !global.quiet {
        let then = match reach::running(location)? {
            Some(_) => "the running project applies it",
            None => else_then,
        };
        terminal::say(format_args!("{what}; {then}"));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_and_what_leads_to_one_stays() {
        let bed = tempfile::tempdir().unwrap();
        let (folder, link) = (bed.path().join("a"), bed.path().join("link"));
        std::fs::create_dir_all(folder.join("b/c")).unwrap();
        std::os::unix::fs::symlink("/", folder.join("root")).unwrap();
        std::os::unix::fs::symlink("a", &link).unwrap();
        delete_folder(&link).unwrap();
        assert!(link.is_symlink() && std::fs::read_dir(&folder).unwrap().next().is_none());
        delete_folder(&folder).unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn only_regular_files_of_the_log_are_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["web.log", "web.log.1", "web.log.1.idx", "web.log.old", "web.logs"] {
            std::fs::write(at(name), "x").expect("written");
        }
        nix::unistd::mkfifo(&at("pipe.log"), nix::sys::stat::Mode::S_IRWXU).expect("made");
        delete_logs(&[at("web.log"), at("pipe.log"), at("nosuch/a.log")]).expect("deleted");
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .expect("it can be read")
            .map(|entry| entry.expect("it is there").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["pipe.log", "web.log.old", "web.logs"]);
    }
}
