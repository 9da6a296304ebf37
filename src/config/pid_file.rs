//! The key `pid_file`.

use std::path::Path;

use super::draft::Draft;
use super::fields::{Fields, tidy};
use super::node::Entry;
use super::problem::{Problem, Sink};
use crate::spec::{Argv, Kind, PidFile, PidFileMode};

/// What decides whether a PID file makes sense.
pub(super) struct Around<'a> {
    service: &'a str,
    draft: &'a Draft,
    working_dir: &'a Path,
    command: Option<&'a Argv>,
}

impl<'a> Around<'a> {
    pub fn of(service: &'a str, draft: &'a Draft, working_dir: &'a Path, command: Option<&'a Argv>) -> Self {
        Around {
            service,
            draft,
            working_dir,
            command,
        }
    }
}

/// A checked `pid_file`, its path relative to the working folder: there the service writes it.
pub(super) fn pid_file(service: Fields<'_>, around: &Around<'_>, sink: &mut Sink) -> Option<PidFile> {
    let Entry { key, node } = service.table.get("pid_file")?;
    if node.is_false() {
        return None;
    }
    let fields = node.table().map(|table| Fields { table });
    let flag = |name| fields.and_then(|fields| fields.flag(name)).unwrap_or(false);
    let (write, adopt) = (flag("write"), flag("adopt"));
    let mode = match (write, adopt) {
        (true, _) => PidFileMode::Write,
        (false, true) => PidFileMode::Adopt,
        (false, false) => PidFileMode::Follow,
    };
    let mut complain = |message: &str, hint: &str| {
        sink.push(
            Problem::error(*key, message)
                .suggest(hint)
                .of(around.service, "pid_file"),
        );
    };
    if mode != PidFileMode::Write && around.draft.kind == Kind::Oneshot {
        // In `[defaults]` it is meant for those that it fits.
        if !around.draft.defaults.contains(key) {
            let hint = "take it out: a oneshot ends when the process that was started does";
            complain("`pid_file` is for a service that stays", hint);
        }
        return None;
    }
    if write && adopt {
        let hint = "take one of them out: either runner writes the file or the service does";
        complain("`write` beside `adopt`", hint);
    }
    if adopt && around.command.is_some_and(|command| command.shell) {
        let hint = "a command without shell syntax, or an array";
        complain(
            "`adopt` needs a command that is executed directly, to know its program",
            hint,
        );
    }
    let path = match fields {
        None => node.text(),
        Some(fields) => fields.text("path"),
    };
    match path {
        None => {
            complain("`path` is missing", "`pid_file = { path = \"run/web.pid\" }`");
            None
        }
        Some("") => {
            complain("an empty path", "");
            None
        }
        Some(path) => Some(PidFile {
            path: tidy(&around.working_dir.join(path)),
            mode,
        }),
    }
}
