//! `init` and `import`: a services.toml of what a folder or another tool's file says.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::args::{Global, Import, Init};
use super::outcome::Outcome;
use super::{Result, project, terminal};
use crate::config::find::{self, FILE_NAME, Location};
use crate::config::{Edited, Problems};
use crate::convert::{self, Broken, Converted, Kind, Note};
use crate::sys::files;
use crate::view::{diagnostic, escape};

/// A file of another tool is no larger.
const LARGEST: u64 = 4 * 1024 * 1024;
/// So often what runner refuses is taken out.
const MOST_TRIES: usize = 64;

pub fn init(global: &Global, args: &Init) -> Result<u8> {
    let folder = folder(global)?;
    let target = target(&folder, args.force, args.dry_run)?;
    let entries = std::fs::read_dir(&folder).map_err(Outcome::io(format_args!("look into {}", folder.display())))?;
    let names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let known = convert::KNOWN
        .iter()
        .filter(|known| names.iter().any(|name| name == *known));
    // What can't be read says nothing.
    let files = known.filter_map(|name| Some(((*name).to_owned(), text_of(&folder.join(name)).ok()?)));
    let holds = convert::Folder {
        name: folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        files: files.collect(),
        names,
    };
    finish(global, &target, args.dry_run, convert::of_folder(&holds))
}

pub fn import(global: &Global, args: &Import) -> Result<u8> {
    let folder = folder(global)?;
    let target = target(&folder, args.force, args.dry_run)?;
    let shown = escape::plain(&args.from.to_string_lossy()).into_owned();
    let text = text_of(&folder.join(&args.from)).map_err(|words| Outcome::usage(format!("{shown}: {words}")))?;
    let name = args
        .from
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let kind = match &args.kind {
        Some(wanted) => Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == wanted)
            .ok_or_else(|| Outcome::Usage {
                message: format!("`{}` is no kind of file that can be taken over", escape::plain(wanted)),
                suggestion: Some(all.join(", ")),
            })?,
        None => Kind::of(&name, &text).ok_or_else(|| Outcome::Usage {
            message: format!("what {shown} is can't be told by its name or what it holds"),
            suggestion: Some(format!("`--kind`: {}", all.join(", "))),
        })?,
    };
    let converted = convert::of_file(kind, &shown, &text).map_err(|broken| Outcome::Usage {
        message: place(&shown, &broken),
        suggestion: None,
    })?;
    finish(global, &target, args.dry_run, converted)
}

fn folder(global: &Global) -> Result<PathBuf> {
    let around = project::around(&find::Options::default())?;
    let folder = global
        .directory
        .as_ref()
        .map_or_else(|| around.cwd.clone(), |folder| around.cwd.join(folder));
    folder
        .canonicalize()
        .map_err(Outcome::io(format_args!("find {}", folder.display())))
}

/// The file that is to be made.
fn target(folder: &Path, force: bool, dry_run: bool) -> Result<PathBuf> {
    let target = folder.join(FILE_NAME);
    match target.symlink_metadata() {
        Ok(_) if !force && !dry_run => Err(Outcome::Usage {
            message: format!("there is a {} already", target.display()),
            suggestion: Some("`--dry-run` shows what would be written, `--force` replaces it".to_owned()),
        }),
        _ => Ok(target),
    }
}

/// Looked at before it is opened: opening a FIFO would wait for its writer.
fn text_of(path: &Path) -> std::result::Result<String, String> {
    let said = |error: std::io::Error| error.to_string();
    let metadata = path.metadata().map_err(said)?;
    if !metadata.is_file() {
        return Err("this is no regular file".to_owned());
    }
    if metadata.len() > LARGEST {
        return Err(format!(
            "longer than {} MiB, which is no such file",
            LARGEST / 1024 / 1024
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(said)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("not UTF-8 text, in line {line}")
    })
}

fn place(file: &str, broken: &Broken) -> String {
    let message = escape::plain(&broken.message).into_owned();
    match (broken.line, broken.column) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}: {message}"),
        (Some(line), None) => format!("{file}:{line}: {message}"),
        (None, _) => format!("{file}: {message}"),
    }
}

fn finish(global: &Global, target: &Path, dry_run: bool, mut converted: Converted) -> Result<u8> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    accepted(global, folder, target, &mut converted)?;
    let text = converted.text();
    match dry_run {
        true => project::print(&text),
        false => {
            files::replace(target, text.as_bytes()).map_err(Outcome::io(format_args!("write {}", target.display())))?
        }
    }
    if !global.quiet {
        for note in converted.notes() {
            terminal::say(format_args!("not carried over: {}", shown(note)));
        }
        let services = converted.services().join(", ");
        match (dry_run, converted.is_sample()) {
            (true, _) => {}
            (false, true) => terminal::say(format_args!(
                "{} is a sample to begin with: nothing here says what to run",
                target.display()
            )),
            (false, false) => terminal::say(format_args!(
                "{} has {services}; `runner up` starts it",
                target.display()
            )),
        }
    }
    Ok(0)
}

fn shown(note: &Note) -> String {
    let line = note.line.map_or(String::new(), |line| format!("line {line}, "));
    let service = note
        .service
        .as_ref()
        .map_or(String::new(), |service| format!("{service}: "));
    let words = format!("{line}{service}{}: {}", note.what, note.why);
    escape::plain(&words).into_owned()
}

/// What runner would refuse is taken out and told, so that what is written can be run.
fn accepted(global: &Global, folder: &Path, target: &Path, converted: &mut Converted) -> Result<()> {
    let location = Location::of_folder(folder.to_owned(), None);
    let location = Location {
        files: vec![target.to_owned()],
        ..location
    };
    for _ in 0..MOST_TRIES {
        let edited = Edited {
            path: target.to_owned(),
            text: converted.text(),
        };
        let problems = match project::read_edited(&location, vec![edited]) {
            Ok(_) => return Ok(()),
            Err(problems) => problems,
        };
        if !mend(converted, &problems) {
            let style = terminal::for_stderr(global);
            return Err(Outcome::Invalid {
                rendered: format!(
                    "{}nothing was written: what this would make is not valid\n",
                    diagnostic::problems(&problems, &style)
                ),
            });
        }
    }
    Err(Outcome::failed("nothing was written: too much of it is not valid"))
}

fn mend(converted: &mut Converted, problems: &Problems) -> bool {
    let mut done = false;
    for problem in &problems.list {
        let (line, _) = problems.line_column(problem.place);
        let at = || converted.at(line as usize);
        let told = problem.service.clone().zip(problem.key.clone());
        let Some((service, key)) = told.or_else(at) else {
            continue;
        };
        let service = &service;
        let first = key.split('.').next().unwrap_or_default();
        done |= converted.take_out(service, first, &problem.message)
            || (first == "command" && converted.drop_service(service, &problem.message));
    }
    done
}
