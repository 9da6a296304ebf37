//! Finding and reading the project, for every verb; and the verbs that need nothing else.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::Serialize;

use super::Result;
use super::args::{Check, Global, Graph, GraphFormat};
use super::outcome::Outcome;
use super::{check, graph, orphans, reach, terminal};
use crate::api::wishes;
use crate::config::find::{self, Location};
use crate::config::{self, Cleared, Edited, Inputs, Loaded, Problems, Scales};
use crate::spec::{Project, Scaled, ServiceName};
use crate::sys::places::{nameless, spare};
use crate::view::diagnostic;

/// A project whose file is valid.
pub struct Read {
    pub location: Location,
    pub project: Project,
}

pub fn locate(global: &Global) -> Result<Location> {
    let options = options(global);
    find::locate(&options, &around(&options)?).map_err(|error| Outcome::Usage {
        message: error.message,
        suggestion: error.suggestion,
    })
}

/// A working folder that was deleted under us matters only to relative paths.
pub fn around(options: &find::Options) -> Result<find::Surroundings> {
    let is_absolute = |path: &PathBuf| path.is_absolute();
    let named = options.directory.as_ref().is_some_and(is_absolute)
        || !options.files.is_empty() && options.directory.is_none() && options.files.iter().all(is_absolute);
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        Err(_) if named => PathBuf::from("/"),
        Err(error) => {
            return Err(Outcome::Failed {
                message: format!("could not find the working folder: {error}"),
                suggestion: Some("go to a folder that exists, or name one with `-C DIR`".to_owned()),
            });
        }
    };
    Ok(find::Surroundings {
        cwd,
        home: std::env::home_dir(),
    })
}

/// `--profile` names profiles of this file.
pub fn check_profiles(global: &Global, project: &Project) -> Result<()> {
    config::check_profiles(project, &global.profiles).map_err(|unknown| Outcome::Usage {
        message: unknown.message,
        suggestion: unknown.suggestion,
    })
}

/// The running project of this folder, also when its file is gone; so too one whose runner was killed, as long as something
/// of it is left; else as [`locate`].
pub fn locate_running(global: &Global) -> Result<(Location, Option<UnixStream>)> {
    let options = options(global);
    let found = find::locate(&options, &around(&options)?);
    let nearest = found.as_ref().ok().map(|location| &location.dir);
    for location in find::without_file(&options, &around(&options)?) {
        if nearest.is_some_and(|nearest| location.dir == *nearest) {
            break;
        }
        if let Some(stream) = reach::running(&location)? {
            return Ok((location, Some(stream)));
        }
        if orphans::of(&location).is_some() {
            return Ok((location, None));
        }
    }
    let location = found.map_err(|error| Outcome::Usage {
        message: error.message,
        suggestion: error.suggestion,
    })?;
    let stream = reach::running(&location)?;
    Ok((location, stream))
}

/// As [`locate_running`]; a folder without a file and without a runner is one where something may be left.
pub fn locate_left(global: &Global) -> Result<(Location, Option<UnixStream>)> {
    let located = locate_running(global);
    let options = options(global);
    match (
        located,
        find::without_file(&options, &around(&options)?).into_iter().next(),
    ) {
        (Err(Outcome::Usage { .. }), Some(location)) => Ok((location, None)),
        (located, _) => located,
    }
}

fn options(global: &Global) -> find::Options {
    find::Options {
        files: global.file.clone(),
        directory: global.directory.clone(),
        project: global.project.clone(),
    }
}

/// Reads the file and says nothing about it.
pub fn read(global: &Global) -> Result<(Location, std::result::Result<Loaded, Problems>)> {
    let location = locate(global)?;
    let loaded = read_at(&location);
    Ok((location, loaded))
}

fn read_at(location: &Location) -> std::result::Result<Loaded, Problems> {
    read_edited(location, Vec::new())
}

/// As the files would be.
pub fn read_edited(location: &Location, edited: Vec<Edited>) -> std::result::Result<Loaded, Problems> {
    read_scaled(location, edited, Cleared::Nobodys)
}

/// With as many replicas as somebody has asked for by hand, unless that is taken back.
fn read_scaled(location: &Location, edited: Vec<Edited>, cleared: Cleared) -> std::result::Result<Loaded, Problems> {
    let inputs = Inputs {
        env: std::env::vars_os().collect(),
        euid: nix::unistd::geteuid().as_raw(),
        state_dir: None,
        logs_in_memory: false,
        scales: Scales::default(),
        edited,
    };
    let load = |inputs| config::load(location, &inputs, &mut config::port_source(location, None));
    let mut loaded = load(inputs.clone());
    let Ok(Loaded { project, .. }) = &loaded else {
        return loaded;
    };
    let mut inputs = inputs;
    let is_meant = |(name, _): &(ServiceName, Scaled)| project.groups.contains_key(name);
    let left = wishes::left_in(&project.state_dir).unwrap_or_default().scales;
    inputs.scales = Scales {
        wishes: left.into_iter().filter(is_meant).collect(),
        cleared,
    };
    let is_scaled = !inputs.scales.wishes.is_empty();
    let usual = location.default_state_dir();
    let elsewhere = match spare::is_needed(&project.state_dir, &usual) {
        true => Some(spare::state_dir(&location.key)),
        // It ends with the container: unless the file names a place (a volume), nothing of it belongs on a disk, nor into a
        // folder that another container may have as well.
        false if reach::is_init() && project.state_dir == usual => {
            Some(spare::state_dir(&location.key)).filter(|spare| !nameless::is_nowhere(spare))
        }
        false => None,
    };
    if elsewhere.is_some() || is_scaled {
        loaded = load(Inputs {
            state_dir: elsewhere,
            ..inputs
        });
    }
    loaded
}

/// Where the state of a project is whose file can't be read: where it is when the file says nothing.
pub fn state_dir(location: &Location) -> PathBuf {
    let usual = location.default_state_dir();
    match spare::refusal(&usual) {
        Some(_) => spare::state_dir(&location.key),
        None => usual,
    }
}

/// Reads the file; problems go to stderr as `check` shows them. Warnings are shown and do not stop anything.
pub fn load(global: &Global) -> Result<Read> {
    load_at(global, locate(global)?)
}

/// As [`load`], for an `up` of these: it takes back what was asked for by hand of them.
pub fn load_for_up(global: &Global, names: &[String]) -> Result<Read> {
    let location = locate(global)?;
    let loaded = read_scaled(&location, Vec::new(), Cleared::by_up(names));
    told(global, location, loaded)
}

/// As [`load`], of a project that was found.
pub fn load_at(global: &Global, location: Location) -> Result<Read> {
    let loaded = read_at(&location);
    told(global, location, loaded)
}

fn told(global: &Global, location: Location, loaded: std::result::Result<Loaded, Problems>) -> Result<Read> {
    let style = terminal::for_stderr(global);
    match loaded {
        Ok(loaded) => {
            if !global.quiet {
                terminal::say_raw(&diagnostic::problems(&loaded.warnings, &style));
            }
            Ok(Read {
                location,
                project: loaded.project,
            })
        }
        Err(problems) => Err(Outcome::Invalid {
            rendered: diagnostic::problems(&problems, &style),
        }),
    }
}

/// What is wrong with the files now, as `check` shows it on stdout; nothing if nothing is.
pub fn diagnosis(global: &Global) -> Option<String> {
    let problems = read(global).ok()?.1.err()?;
    Some(diagnostic::problems(&problems, &terminal::for_stdout(global)))
}

/// A running project found its files broken: their problems with their places, as long as they are still there.
pub fn rejected(global: &Global, outcome: Outcome) -> Outcome {
    match (outcome, read(global)) {
        (Outcome::Usage { .. }, Ok((_, Err(problems)))) => Outcome::Invalid {
            rendered: diagnostic::problems(&problems, &terminal::for_stderr(global)),
        },
        (outcome, _) => outcome,
    }
}

pub fn check(global: &Global, args: &Check) -> Result<u8> {
    let (_, loaded) = read(global)?;
    if args.json {
        let (answer, code) = check::json(&loaded);
        print_json(&answer)?;
        return Ok(code);
    }
    let answer = check::words(&loaded, global.verbose > 0, global.quiet, &terminal::for_stderr(global));
    terminal::say_raw(&answer.err);
    print(&answer.out)?;
    Ok(answer.code)
}

pub fn graph(global: &Global, args: &Graph) -> Result<u8> {
    let loaded = load(global)?;
    let format = match (args.json, args.format) {
        (true, _) | (_, GraphFormat::Json) => graph::Format::Json,
        (_, GraphFormat::Tree) => graph::Format::Tree,
        (_, GraphFormat::Dot) => graph::Format::Dot,
        (_, GraphFormat::Mermaid) => graph::Format::Mermaid,
    };
    print(&graph::graph(&loaded.project, format))?;
    Ok(0)
}

pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).expect("our own shapes serialise");
    text.push('\n');
    print(&text)
}

pub fn print(text: &str) -> Result<()> {
    terminal::write(text.as_bytes()).map(drop)
}
