//! `init` and `import`: a services.toml out of the files of other tools, or of what a folder holds. Nothing is written that `check`
//! refuses, and nothing over a file that is there.

mod reading;
mod telling;

use std::path::{Path, PathBuf};

use super::args::{Global, Import, Init};
use super::outcome::Outcome;
use super::{Result, project, terminal};
use crate::config::Edited;
use crate::config::find::{self, FILE_NAME, Location};
use crate::convert::{self, Complaint, Draft, Fault, Found, Input, Kind, Report};
use crate::sys::files;
use crate::view::diagnostic;

/// What a draft was made of.
struct Made {
    draft: Draft,
    report: Report,
    /// The file that decided.
    from: Option<String>,
    kind: Option<Kind>,
}

/// Why nothing was made of a file.
struct Refused {
    outcome: Outcome,
    /// What it holds is not for us: that is no reason to look no further.
    is_empty: bool,
    report: Report,
}

impl From<Outcome> for Refused {
    fn from(outcome: Outcome) -> Refused {
        Refused {
            outcome,
            is_empty: false,
            report: Report::default(),
        }
    }
}

/// Where the text goes.
enum Target {
    Stdout { beside: PathBuf },
    File(PathBuf),
}

pub fn import(global: &Global, args: &Import) -> Result<u8> {
    if args.json && args.output.as_deref() == Some(Path::new("-")) {
        return Err(Outcome::usage("stdout can't be both: `--json` without `-o -`"));
    }
    no_files(global, "import", "`-o FILE` says where to write")?;
    let folder = folder(global)?;
    let file = folder.join(&args.file);
    let shown = args.file.display().to_string();
    let beside = reading::folder_of(&file)?;
    let target = match &args.output {
        Some(output) if output == Path::new("-") => Target::Stdout { beside: beside.clone() },
        Some(output) => {
            let path = folder.join(output);
            let name = path.file_name().ok_or_else(|| Outcome::usage("`-o` names a file"))?;
            Target::File(reading::folder_of(&path)?.join(name))
        }
        None => Target::File(beside.join(FILE_NAME)),
    };
    refuse_existing(&target, args.force)?;
    let kind = args.kind.map(Kind::from);
    let made = converted(&file, &shown, kind, &beside, &target).map_err(|refused| refused.outcome)?;
    let head = format!("Made by `runner import {}`.", made.report.file);
    finish(global, made, &head, &target, args.json)
}

pub fn init(global: &Global, args: &Init) -> Result<u8> {
    no_files(global, "init", "`-C DIR` names the folder")?;
    let folder = folder(global)?;
    let target = Target::File(folder.join(FILE_NAME));
    refuse_existing(&target, args.force)?;
    let looked_at = reading::folder(&folder)?;
    let mut before = Vec::new();
    if let Found::Files(files) = convert::look(&looked_at, false) {
        for (name, kind) in &files {
            match converted(&folder.join(name), name, Some(*kind), &folder, &target) {
                Ok(mut made) => {
                    let others: Vec<&str> = files
                        .iter()
                        .map(|(other, _)| other.as_str())
                        .filter(|other| other != name)
                        .collect();
                    made.report.remarks.splice(0..0, before);
                    if !others.is_empty() {
                        made.report.tell(format!(
                            "there is also {}: `runner import FILE` takes another",
                            others.join(", ")
                        ));
                    }
                    let head = format!("Made by `runner init` from {name}.");
                    return finish(global, made, &head, &target, args.json);
                }
                Err(Refused {
                    is_empty: true,
                    mut report,
                    ..
                }) => {
                    report.tell(format!("nothing in it can be carried over ({})", kind.title()));
                    before.extend(report.remarks);
                }
                Err(Refused { outcome, .. }) => return Err(outcome),
            }
        }
    }
    let (mut made, head) = match convert::look(&looked_at, true) {
        Found::Stacks(draft, report) => {
            let from = Some(report.file.clone());
            (
                made(*draft, report, from),
                "Made by `runner init` from what the folder holds.",
            )
        }
        Found::Nothing(draft) => {
            let mut report = Report::new(FILE_NAME);
            report.tell("nothing that runner knows was found here: this is a sample to change".to_owned());
            (
                made(*draft, report, None),
                "A sample, made by `runner init`: nothing that it knows was found here.",
            )
        }
        Found::Files(_) => return Err(Outcome::failed("the folder changed while it was looked at")),
    };
    // What could not be used is told before what was found instead.
    made.report.remarks.splice(0..0, before);
    finish(global, made, head, &target, args.json)
}

fn made(draft: Draft, report: Report, from: Option<String>) -> Made {
    Made {
        draft,
        report,
        from,
        kind: None,
    }
}

fn no_files(global: &Global, verb: &str, suggestion: &str) -> Result<()> {
    match global.file.is_empty() {
        true => Ok(()),
        false => Err(Outcome::Usage {
            message: format!("`-f` (or RUNNER_FILE) names a file that is there, and `{verb}` makes one"),
            suggestion: Some(suggestion.to_owned()),
        }),
    }
}

/// Where it was typed, or the folder of `-C`.
fn folder(global: &Global) -> Result<PathBuf> {
    let options = find::Options {
        directory: global.directory.clone(),
        ..find::Options::default()
    };
    let cwd = project::around(&options)?.cwd;
    let folder = global
        .directory
        .as_ref()
        .map_or_else(|| cwd.clone(), |folder| cwd.join(folder));
    folder
        .canonicalize()
        .map_err(Outcome::io(format_args!("find {}", folder.display())))
}

fn refuse_existing(target: &Target, is_forced: bool) -> Result<()> {
    let Target::File(path) = target else { return Ok(()) };
    if is_forced || path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Outcome::Usage {
        message: format!("there is {} already", path.display()),
        suggestion: Some(
            "take it away, or `--force` replaces it; `runner import FILE -o -` only shows what would be written"
                .to_owned(),
        ),
    })
}

/// The draft of a file, without asking whether it is valid.
fn converted(
    file: &Path,
    shown: &str,
    kind: Option<Kind>,
    beside: &Path,
    target: &Target,
) -> std::result::Result<Made, Refused> {
    let bytes = reading::bytes(file).map_err(|why| reading::refusal(shown, &why))?;
    let refused = |fault: &Fault, report: &Report| telling::refused(shown, fault, report);
    let text = convert::text(&bytes).map_err(|fault| refused(&fault, &Report::default()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let kind = kind.or_else(|| Kind::of(&name, text)).ok_or_else(|| Outcome::Usage {
        message: format!("neither its name nor its text says what {shown} is"),
        suggestion: Some(format!(
            "say it: `--kind {}`",
            Kind::ALL.map(Kind::word).join("` or `--kind ")
        )),
    })?;
    let dotenv = reading::bytes(&beside.join(".env")).ok();
    let dotenv = dotenv.as_deref().and_then(|bytes| convert::text(bytes).ok());
    let base = match target {
        Target::Stdout { .. } => String::new(),
        Target::File(path) => base(path.parent().unwrap_or(beside), beside)?,
    };
    let input = Input {
        shown,
        text,
        base: &base,
        dotenv,
    };
    match convert::convert(kind, &input) {
        Ok((draft, report)) => Ok(Made {
            draft,
            report,
            from: Some(shown.to_owned()),
            kind: Some(kind),
        }),
        Err((fault, report)) => Err(Refused {
            outcome: refused(&fault, &report),
            is_empty: fault.is_empty,
            report,
        }),
    }
}

/// From the folder of what is written to that of what is read.
fn base(written: &Path, read: &Path) -> Result<String> {
    let path = match read.strip_prefix(written) {
        Ok(below) => below,
        Err(_) => read,
    };
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Outcome::usage(format!(
            "the folder {} is not UTF-8, which a services.toml has to be",
            path.display()
        ))
    })
}

/// Takes out what `check` refuses, writes the rest and says what became of everything.
fn finish(global: &Global, made: Made, head: &str, target: &Target, is_json: bool) -> Result<u8> {
    let Made {
        mut draft,
        mut report,
        from,
        kind,
    } = made;
    draft.head(head);
    draft.head("`runner check` validates it, `runner up` starts it.");
    let (path, location) = match target {
        Target::Stdout { beside } => {
            let path = beside.join(FILE_NAME);
            (path, Location::of_folder(beside.clone(), global.project.clone()))
        }
        Target::File(path) => {
            let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
            let mut location = Location::of_folder(folder, global.project.clone());
            if path.file_name() != Some(FILE_NAME.as_ref()) {
                location.files = vec![path.clone()];
                location.local = None;
            }
            (path.clone(), location)
        }
    };
    let mut last = None;
    let mut check = |text: &str| {
        let edited = Edited {
            path: path.clone(),
            text: text.to_owned(),
        };
        match project::read_edited(&location, vec![edited]) {
            Ok(_) => Ok(()),
            Err(problems) => {
                let complaints = telling::complaints(&problems, &path);
                last = Some(problems);
                Err(complaints)
            }
        }
    };
    let settled: std::result::Result<String, Vec<Complaint>> = convert::settled(&mut draft, &mut report, &mut check);
    let Ok(text) = settled else {
        let style = terminal::for_stderr(global);
        let problems = last
            .map(|problems| diagnostic::problems(&problems, &style))
            .unwrap_or_default();
        terminal::say_raw(&telling::words(&report, &style));
        return Err(Outcome::Invalid {
            rendered: format!("{problems}nothing was written: what could be made of it is not valid\n"),
        });
    };
    let shown = match target {
        Target::Stdout { .. } => {
            project::print(&text)?;
            "stdout".to_owned()
        }
        Target::File(path) => {
            files::replace(path, text.as_bytes()).map_err(Outcome::io(format_args!("write {}", path.display())))?;
            path.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
    };
    if is_json {
        project::print_json(&telling::json(&draft, &report, from, kind, &path))?;
    } else {
        let style = terminal::for_stderr(global);
        if !global.quiet {
            terminal::say_raw(&telling::carried(&draft, &shown, from.as_deref(), kind, &style));
        }
        terminal::say_raw(&telling::words(&report, &style));
        if !global.quiet && matches!(target, Target::File(_)) {
            terminal::say("`runner up` starts it");
        }
    }
    Ok(0)
}
