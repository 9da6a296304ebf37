//! `[project]`, and the environment that all services share.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::check::{Templates, Walk};
use super::document::{self, Document};
use super::envfile;
use super::fields::{self, Fields};
use super::find::Location;
use super::node::Node;
use super::problem::{Place, Problem, Sink};
use super::{Inputs, value};
use crate::spec::ExitPolicy;
use crate::spec::keys::PROJECT;

/// An env file is no larger.
const LARGEST_ENV_FILE: u64 = 4 * 1024 * 1024;

/// What `[project]` decides.
#[derive(Clone)]
pub(super) struct Settings {
    pub name: String,
    pub exit: Option<ExitPolicy>,
    pub exit_code_from: Option<(String, Place)>,
    pub shell: Vec<String>,
    pub state_dir: PathBuf,
    pub logs_in_memory: bool,
    /// From the project's env files.
    pub env: IndexMap<String, String>,
}

pub(super) fn settings(
    document: &Document,
    location: &Location,
    inputs: &Inputs,
    captured: &Captured,
    sink: &mut Sink,
) -> Settings {
    let table = Walk::new(sink, Templates::Refused, None, "project").table(&document.project, &PROJECT);
    let project = Fields { table: &table };
    if let Some(node) = project.node("name")
        && let Some(fault) = value::name_fault(node.text().unwrap_or_default())
    {
        sink.push(Problem::error(node.place, fault));
    }
    if let Some(node) = project.node("http")
        && let Some(fault) = super::http_fault(node.text().unwrap_or_default())
    {
        sink.push(Problem::error(node.place, fault.message).maybe_suggest(fault.suggestion));
    }
    for hook in project.items("webhooks") {
        let url = hook
            .table()
            .and_then(|table| table.get("url"))
            .and_then(|entry| entry.node.text());
        if url.is_none_or(|url| url.parse::<hyper::Uri>().map_or(true, |url| url.host().is_none())) {
            sink.push(Problem::error(
                hook.place,
                "a webhook needs a `url` such as `http://127.0.0.1:9000/hook`",
            ));
        }
    }
    let shell = project.texts("shell");
    if let Some(node) = project
        .node("shell")
        .filter(|_| shell.first().is_none_or(String::is_empty))
    {
        sink.push(Problem::error(
            node.place,
            "a shell needs a program, as in `[\"sh\", \"-c\"]`",
        ));
    }
    let written = project.text("name").map(str::to_owned);
    let folder_name = location.dir.file_name().map(|name| name.to_string_lossy().into_owned());
    Settings {
        name: location
            .name_override
            .clone()
            .or(written)
            .or(folder_name)
            .unwrap_or_else(|| "root".into()),
        exit: project.text("exit").map(|word| match word {
            "all" => ExitPolicy::All,
            "any" => ExitPolicy::Any,
            "failure" => ExitPolicy::Failure,
            _ => ExitPolicy::Never,
        }),
        exit_code_from: project
            .node("exit_code_from")
            .and_then(|node| Some((node.text()?.to_owned(), node.place))),
        shell: if shell.is_empty() {
            vec!["sh".into(), "-c".into()]
        } else {
            shell
        },
        state_dir: match project.path("state_dir", sink) {
            Some(written) => location.own_state_dir(written),
            None => location.default_state_dir(),
        },
        logs_in_memory: inputs.logs_in_memory,
        env: shared_env(project, location, captured, sink),
    }
}

fn shared_env(
    project: Fields<'_>,
    location: &Location,
    captured: &Captured,
    sink: &mut Sink,
) -> IndexMap<String, String> {
    let mut env = IndexMap::new();
    if project.has("env_file") {
        for item in project.items("env_file") {
            read_env_file(item, captured, &mut env, sink);
        }
        return env;
    }
    let folder = location.files[0].parent().unwrap_or(Path::new("/"));
    let default = folder.join(".env");
    sink.looked_for.files.insert(default.clone());
    if default.is_file() {
        load_env_file(&default, None, captured, &mut env, sink);
    }
    env
}

/// One entry of an `env_file`: a path, or `{ path, required }`.
pub(super) fn read_env_file(item: &Node, captured: &Captured, env: &mut IndexMap<String, String>, sink: &mut Sink) {
    let table = item.table().map(|table| Fields { table });
    let path = match table {
        Some(table) => table.path("path", sink),
        None => fields::path(item, sink),
    };
    let Some(path) = path else {
        sink.push(Problem::error(item.place, "an env file needs its `path`"));
        return;
    };
    let required = table.and_then(|table| table.flag("required")).unwrap_or(true);
    if !required && path.symlink_metadata().is_err() {
        sink.looked_for.files.insert(path);
        return;
    }
    load_env_file(&path, Some(item.place), captured, env, sink);
}

fn load_env_file(
    path: &Path,
    named_at: Option<Place>,
    captured: &Captured,
    env: &mut IndexMap<String, String>,
    sink: &mut Sink,
) {
    // Read once for all that name it: every service sees the same, whatever happens to the file meanwhile.
    let (file, text) = match sink.file_of(path).filter(|file| !sink.text(*file).is_empty()) {
        Some(file) => (file, sink.text(file).to_owned()),
        None => match document::read_text(path, LARGEST_ENV_FILE, Some(captured.euid)) {
            Ok(text) => (sink.add_env_file(path, text.clone()), text),
            Err(failure) => {
                let file = sink.add_env_file(path, failure.text);
                let own = Place {
                    file,
                    start: failure.at,
                    end: failure.at,
                };
                let place = named_at.filter(|_| failure.at == 0).unwrap_or(own);
                let message = format!("env file {}: {}", sink.shown(file), failure.message);
                sink.push(Problem::error(place, message).maybe_suggest(failure.suggestion));
                return;
            }
        },
    };
    let known = env.clone();
    let lookup = |name: &str| captured.get(name).or_else(|| known.get(name).cloned());
    let (variables, faults) = envfile::parse(&text, &lookup);
    for fault in faults {
        let place = Place {
            file,
            start: fault.range.start,
            end: fault.range.end,
        };
        sink.push(Problem::error(place, fault.message));
    }
    env.extend(variables);
}

/// The captured environment, as far as it is text.
pub(super) struct Captured {
    pub variables: IndexMap<String, String>,
    pub euid: u32,
}

impl Captured {
    pub fn new(inputs: &Inputs) -> Self {
        let text = |(name, value): &(std::ffi::OsString, std::ffi::OsString)| {
            Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
        };
        Captured {
            variables: inputs.env.iter().filter_map(text).collect(),
            euid: inputs.euid,
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
}
