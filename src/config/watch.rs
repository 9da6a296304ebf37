//! The key `watch`.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use globset::GlobBuilder;

use super::fields::Fields;
use super::node::{Entry, Node};
use super::problem::{Problem, Sink};
use crate::spec::{Signal, Watch, WatchAction, WatchGlob};

const DEBOUNCE: Duration = Duration::from_millis(200);
/// What makes a component a pattern.
const SYNTAX: &[char] = &['*', '?', '[', ']', '{', '}', '!'];

/// A checked `watch`.
pub(super) fn watch(service: Fields<'_>, name: &str, sink: &mut Sink) -> Option<Watch> {
    let Entry { key, node } = service.table.get("watch")?;
    let fields = Fields { table: node.table()? };
    let paths = globs(fields, "paths", name, sink);
    if fields.items("paths").is_empty() {
        let problem = Problem::error(*key, "`paths` is missing, or empty");
        sink.push(
            problem
                .suggest("`watch = { paths = [\"src/**\"] }`")
                .of(name, "watch.paths"),
        );
    }
    Some(Watch {
        paths,
        ignore: globs(fields, "ignore", name, sink),
        action: action(service, fields, name, sink),
        debounce: fields.duration("debounce").unwrap_or(DEBOUNCE),
    })
}

fn action(service: Fields<'_>, fields: Fields<'_>, name: &str, sink: &mut Sink) -> WatchAction {
    let Some(node) = fields.node("action") else {
        return WatchAction::Restart;
    };
    let mut complain = |message: String, hint: &str| {
        let problem = Problem::error(node.place, message);
        sink.push(problem.suggest(hint).of(name, "watch.action"));
    };
    match node.text() {
        None | Some("restart") => WatchAction::Restart,
        Some("reload") => {
            if !service.has("reload_signal") && !service.has("reload_command") {
                complain(
                    "there is neither `reload_signal` nor `reload_command` to reload by".to_owned(),
                    "`reload_signal = \"SIGHUP\"`, or another action: `restart`, or the name of a signal",
                );
            }
            WatchAction::Reload
        }
        Some(text) => match Signal::from_name(text) {
            Some(signal) => WatchAction::Signal(signal),
            None => {
                complain(
                    format!("`{text}` is no action"),
                    "`restart`, `reload`, or the name of a signal (`SIGHUP`)",
                );
                WatchAction::Restart
            }
        },
    }
}

fn globs(fields: Fields<'_>, key: &str, name: &str, sink: &mut Sink) -> Vec<WatchGlob> {
    let mut globs = Vec::new();
    for item in fields.items(key) {
        match glob(item, &sink.folder(item.place.file), key == "ignore") {
            Ok(glob) => globs.extend(glob),
            Err(message) => sink.push(Problem::error(item.place, message).of(name, &format!("watch.{key}"))),
        }
    }
    globs
}

/// `None`: it was no text, which is said elsewhere.
pub(super) fn glob(node: &Node, folder: &Path, is_ignored: bool) -> Result<Option<WatchGlob>, String> {
    let Some(text) = node.text() else { return Ok(None) };
    if text.is_empty() {
        return Err("an empty path".to_owned());
    }
    let is_absolute = text.starts_with('/');
    let text = text.trim_end_matches('/');
    // As in a .gitignore.
    let anywhere = is_ignored && !is_absolute && !text.contains('/');
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let literal = match anywhere {
        true => 0,
        false => parts.iter().take_while(|part| !part.contains(SYNTAX)).count(),
    };
    let base: PathBuf = parts[..literal].iter().collect();
    let base = match is_absolute {
        true => Path::new("/").join(base),
        false => folder.join(base),
    };
    let pattern = parts[literal..].join("/");
    if parts[literal..].contains(&"..") {
        return Err("`..` behind a pattern".to_owned());
    }
    if let Err(error) = GlobBuilder::new(&pattern).literal_separator(true).build() {
        return Err(format!("not a glob: {}", error.kind()));
    }
    let pattern = if anywhere { format!("**/{pattern}") } else { pattern };
    Ok(Some(WatchGlob {
        base: without_dots(&base),
        pattern,
    }))
}

/// `a/../b` is `b`: what is told of changes names no `..`.
fn without_dots(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}
