//! The keys `prepare`, `source`, `files` and `hooks`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use minijinja::value::Value as Names;

use super::command;
use super::document;
use super::fields::{Fields, tidy};
use super::node::{Entry, Node};
use super::problem::{FileId, Place, Problem, Sink};
use super::template::{Engine, FileFault, Paste};
use super::watch;
use crate::spec::{Hooks, PrepareStep, RenderedFile, Source};

/// A template of a file is no larger.
const LARGEST_TEMPLATE: u64 = 1024 * 1024;

/// What the keys need to know of their service.
pub(super) struct Around<'a> {
    pub service: &'a str,
    pub working_dir: &'a Path,
    pub shell: &'a [String],
    pub euid: u32,
    /// First parts of the paths that were complained about.
    pub failed: &'a HashSet<String>,
}

impl Around<'_> {
    fn complain(&self, place: Place, key: &str, message: impl Into<String>, hint: &str, sink: &mut Sink) {
        let problem = Problem::error(place, message).of(self.service, key);
        sink.push(match hint {
            "" => problem,
            hint => problem.suggest(hint),
        });
    }

    /// What a command of the service names is seen from where the command runs.
    fn path(&self, node: &Node) -> Option<PathBuf> {
        node.text().map(|text| tidy(&self.working_dir.join(text)))
    }
}

pub(super) fn prepare(service: Fields<'_>, around: &Around<'_>, sink: &mut Sink) -> Vec<PrepareStep> {
    let mut steps = Vec::new();
    for item in service.items("prepare") {
        let Some(table) = item.table() else { continue };
        let fields = Fields { table };
        let Some(run) = fields.node("run") else {
            if around.failed.contains("prepare") {
                continue;
            }
            let hint = "`prepare = [{ run = \"npm ci\", inputs = [\"package-lock.json\"] }]`";
            around.complain(item.place, "prepare", "a step without `run`", hint, sink);
            continue;
        };
        let mut inputs = Vec::new();
        for input in fields.items("inputs") {
            match watch::glob(input, around.working_dir, false) {
                Ok(glob) => inputs.extend(glob),
                Err(message) => around.complain(input.place, "prepare.inputs", message, "", sink),
            }
        }
        steps.push(PrepareStep {
            run: command::argv(run, around.shell),
            inputs,
            creates: fields.node("creates").and_then(|node| around.path(node)),
        });
    }
    steps
}

pub(super) fn source(service: Fields<'_>, around: &Around<'_>, sink: &mut Sink) -> Option<Source> {
    let Entry { key, node } = service.table.get("source")?;
    let fields = Fields { table: node.table()? };
    let both = "a source is a `git` repository or an `archive`, one of them";
    let source = match (fields.node("git"), fields.node("archive")) {
        (Some(git), None) => {
            let url = git.text()?;
            let rev = fields.node("rev");
            for (node, key, what) in [(Some(git), "source.git", "URL"), (rev, "source.rev", "revision")] {
                let Some((node, text)) = node.and_then(|node| Some((node, node.text()?))) else {
                    continue;
                };
                // git(1) would take it for an option.
                if text.is_empty() || text.starts_with('-') || text.contains(char::is_control) {
                    around.complain(
                        node.place,
                        key,
                        format!("`{}` is no {what}", text.escape_debug()),
                        "",
                        sink,
                    );
                }
            }
            Source::Git {
                url: url.to_owned(),
                rev: fields.text("rev").map(str::to_owned),
            }
        }
        (None, Some(_)) => {
            if let Some(rev) = fields.table.get("rev") {
                around.complain(rev.key, "source.rev", "an archive has no `rev`", "take it out", sink);
            }
            Source::Archive(fields.path("archive", sink)?)
        }
        (Some(_), Some(_)) | (None, None) => {
            around.complain(
                *key,
                "source",
                both,
                "`source = { git = \"https://...\", rev = \"main\" }`",
                sink,
            );
            return None;
        }
    };
    if !cfg!(feature = "source") {
        let message = "this build of runner fills no folders: it was made without `source`";
        around.complain(*key, "source", message, "fill it before runner starts", sink);
    }
    if let Source::Git { url, .. } = &source
        && holds_password(url)
        && let Some(node) = fields.node("git")
    {
        let message = "a password in this URL can be seen by every user, and stays in the repository's configuration";
        let problem = Problem::warning(node.place, message).of(around.service, "source.git");
        sink.push(problem.suggest("git's credential helpers (gitcredentials(7)) keep it for you"));
    }
    if !service.has("working_dir") {
        let hint = "`working_dir = \"site\"`: a folder that is not there yet, or is empty";
        around.complain(*key, "source", "a source needs a `working_dir` to fill", hint, sink);
    }
    Some(source)
}

/// `https://user:password@host/`.
fn holds_password(url: &str) -> bool {
    let authority = url
        .split_once("://")
        .map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

pub(super) fn hooks(service: Fields<'_>, around: &Around<'_>) -> Hooks {
    let Some(fields) = service.table_at("hooks") else {
        return Hooks::default();
    };
    let command = |key| fields.command(key, around.shell);
    Hooks {
        pre_start: command("pre_start"),
        post_ready: command("post_ready"),
        pre_stop: command("pre_stop"),
        post_stop: command("post_stop"),
        on_failure: command("on_failure"),
    }
}

/// By absolute path. Rendered here, so that an edit of a template is an edit of the service.
pub(super) fn files(
    service: Fields<'_>,
    around: &Around<'_>,
    (engine, names): (&Engine, &Names),
    sink: &mut Sink,
) -> IndexMap<String, RenderedFile> {
    let mut files = IndexMap::new();
    let Some(table) = service.table_at("files") else {
        return files;
    };
    for (name, Entry { key, node }) in table.table {
        let Some(fields) = node.table().map(|table| Fields { table }) else {
            continue;
        };
        let name = match engine.render(name, names, Paste::Plain) {
            Ok(rendered) => rendered.text,
            Err(faults) => {
                for fault in faults {
                    let problem = Problem::error(*key, fault.message).maybe_suggest(fault.suggestion);
                    sink.push(problem.of(around.service, "files"));
                }
                continue;
            }
        };
        let path = tidy(&sink.folder(key.file).join(&name));
        if name.ends_with('/') || path.file_name().is_none() {
            around.complain(*key, "files", format!("`{name}` names no file"), "", sink);
            continue;
        }
        let Some((text, from)) = template(fields, *key, around, sink) else {
            continue;
        };
        let content = match engine.render_file(&text, names) {
            Ok(content) => content,
            Err(fault) => {
                sink.push(from.problem(fault).of(around.service, "files"));
                continue;
            }
        };
        let file = RenderedFile {
            content,
            reload: fields.flag("reload") == Some(true),
        };
        if file.reload && !service.has("reload_signal") && !service.has("reload_command") {
            let hint = "`reload_signal = \"SIGHUP\"`, or take `reload` out: a change restarts the service then";
            let message = "there is neither `reload_signal` nor `reload_command` to reload by";
            around.complain(
                fields.node("reload").map_or(*key, |node| node.place),
                "files",
                message,
                hint,
                sink,
            );
        }
        if files.insert(path.to_string_lossy().into_owned(), file).is_some() {
            around.complain(*key, "files", format!("{} stands here twice", path.display()), "", sink);
        }
    }
    files
}

/// Where a template stands.
enum From {
    /// In a file of its own.
    Apart(FileId),
    /// In `content`.
    Here(Place),
}

impl From {
    fn problem(&self, fault: FileFault) -> Problem {
        let problem = match *self {
            From::Apart(file) => Problem::error(
                Place {
                    file,
                    start: fault.range.start,
                    end: fault.range.end,
                },
                fault.message,
            ),
            // Its escapes and line ends are TOML's, so that bytes of the text are no bytes of the file.
            From::Here(place) => Problem::error(place, fault.message).note(format!("line {} of it", fault.line)),
        };
        problem.maybe_suggest(fault.suggestion)
    }
}

fn template(fields: Fields<'_>, key: Place, around: &Around<'_>, sink: &mut Sink) -> Option<(String, From)> {
    match (fields.node("template"), fields.node("content")) {
        (None, Some(node)) => Some((node.text()?.to_owned(), From::Here(node.place))),
        (Some(node), None) => {
            let path = fields.path("template", sink)?;
            if let Some(file) = sink.file_of(&path).filter(|file| !sink.text(*file).is_empty()) {
                return Some((sink.text(file).to_owned(), From::Apart(file)));
            }
            match document::read_text(&path, LARGEST_TEMPLATE, Some(around.euid)) {
                Ok(text) => {
                    let file = sink.add_source(&path, text.clone());
                    Some((text, From::Apart(file)))
                }
                Err(failure) => {
                    sink.looked_for.files.insert(path.clone());
                    let message = format!("template {}: {}", path.display(), failure.message);
                    let suggestion = failure.suggestion.unwrap_or_default();
                    around.complain(node.place, "files", message, &suggestion, sink);
                    None
                }
            }
        }
        (Some(_), Some(_)) | (None, None) => {
            let message = "a file has a `template` or its `content`, one of them";
            around.complain(key, "files", message, "`{ template = \"nginx.conf.j2\" }`", sink);
            None
        }
    }
}
