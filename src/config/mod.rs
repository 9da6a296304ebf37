//! Text to a checked `Project`: find, read, merge, template, check.
//!
//! Law of the room: it reads files and nothing else; environment, user, folder and free ports ([`port_source`]) come in as values. Everything is
//! strict, nothing is defaulted silently, and no check stops at the first error: every complaint points to the place
//! where the value was written, through includes, the local file, `[defaults]` and templates.
//!
//! The way of a file: [`find`] (which files) → `document` (read, include, merge) → `draft` (bases, ports, needs) → `replicas`
//! (members) →
//! `check` (shape and templates, by the declarations of `spec::keys`) → `service` (typed, with defaults) → `graph`
//! (what concerns several services). What is there before the templates are rendered is a [`Recipe`], which makes the same
//! project again when a port gets another number.

mod access;
mod check;
mod command;
pub mod command_line;
mod document;
mod draft;
#[cfg(feature = "editing")]
pub mod edit;
mod envfile;
mod environment;
mod fields;
pub mod find;
mod graph;
mod http;
mod include;
mod kept;
mod later;
mod limits;
mod log;
mod mask;
mod merge;
mod names;
mod node;
mod pid_file;
mod ports;
mod probe;
mod problem;
mod project;
mod recipe;
pub mod reference;
mod replicas;
mod schedule;
mod scope;
mod select;
mod service;
mod setup;
mod shown;
mod source;
mod template;
mod value;
mod watch;
mod words;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

pub use command::needs_shell;
pub use envfile::env_file;
pub use http::{HttpFault, http_fault};
pub use kept::KeptPorts;
pub use mask::Mask;
pub use names::{Names, names};
pub use ports::{HashedPorts, PortSource};
pub use problem::{FileId, LookedFor, Place, Problem, Problems, Severity, Source};
pub use recipe::{MovedPorts, Recipe};
pub use replicas::{Cleared, Scales};
pub use select::{Unknown, check_profiles, select};
pub use shown::ShownCommand;
pub use source::port_source;
pub use value::{duration, name_fault};
pub use words::nearest;

use crate::spec::keys::SERVICE;
use crate::spec::{Project, Service, ServiceName};
use check::{Templates, Walk};
use document::Document;
pub use document::Edited;
use draft::Draft;
use environment::Shared;
use find::Location;
use ports::Declared;
use problem::Sink;
use project::Captured;
use template::Engine;

/// What the meaning of the files depends on, besides the files.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The environment as it was captured at the project's start.
    pub env: Vec<(OsString, OsString)>,
    /// Whose files are obeyed, besides root's.
    pub euid: u32,
    /// Where the state is, whatever the files say: what they say can't be written.
    pub state_dir: Option<PathBuf>,
    /// Services whose `log` names no file have theirs in memory.
    pub logs_in_memory: bool,
    /// How many replicas were asked for by hand.
    pub scales: Scales,
    /// What some of the files would say: whether an edit is valid is known before it is written.
    pub edited: Vec<Edited>,
}

/// A project that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub project: Project,
    pub warnings: Problems,
    /// What will be executed, in the order of the services, without the values of secrets.
    pub commands: Vec<ShownCommand>,
    /// Over the values of secrets, for whoever shows something.
    pub mask: Mask,
    /// For a project whose ports may get other numbers than these, or whose services other numbers of replicas.
    pub recipe: Option<Arc<Recipe>>,
}

/// Reads, merges and checks the files of a project.
///
/// # Errors
/// All problems of all files, warnings included.
pub fn load(location: &Location, inputs: &Inputs, ports: &mut dyn PortSource) -> Result<Loaded, Problems> {
    let mut sink = Sink::new(&location.dir);
    let document = document::read(location, inputs.euid, &inputs.edited, &mut sink);
    let captured = Captured::new(inputs);
    let mut settings = project::settings(&document, location, inputs, &captured, &mut sink);
    if let Some(elsewhere) = &inputs.state_dir {
        settings.state_dir.clone_from(elsewhere);
    }
    check_bases(&document, &Engine::new(), &mut sink);
    ports.begin(&settings.state_dir);
    let declared = draft::drafts(&document, &mut sink);
    let (mut drafts, groups) = replicas::expand(&declared, &inputs.scales, &mut sink);
    allocate(&mut drafts, ports, &mut sink);
    let recipe = Recipe {
        location: location.clone(),
        inputs: inputs.clone(),
        document,
        settings,
        declared,
        groups,
        drafts,
        sources: Vec::new(),
    };
    recipe.made(sink)
}

/// `[defaults]` and `[templates]` are checked even where no service uses them.
fn check_bases(document: &Document, engine: &Engine, sink: &mut Sink) {
    Walk::new(sink, Templates::Unrendered(engine), None, "defaults").table(&document.defaults, &SERVICE);
    for table in &document.misplaced {
        Walk::new(sink, Templates::Unrendered(engine), None, "services").table(table, &SERVICE);
    }
    for (name, entry) in &document.templates {
        if let Some(fault) = value::name_fault(name) {
            sink.push(Problem::error(entry.key, format!("template `{name}`: {fault}")));
        }
        if let Some(table) = entry.node.table() {
            let path = format!("templates.{name}");
            Walk::new(sink, Templates::Unrendered(engine), None, &path).table(table, &SERVICE);
        }
    }
}

fn allocate(drafts: &mut IndexMap<String, Draft>, source: &mut dyn PortSource, sink: &mut Sink) {
    let mut all: IndexMap<String, _> = drafts
        .iter_mut()
        .map(|(name, draft)| (name.clone(), std::mem::take(&mut draft.ports)))
        .collect();
    ports::allocate(&mut all, source, sink);
    for (draft, ports) in drafts.values_mut().zip(all.into_values()) {
        draft.ports = ports;
    }
}

/// All of them, or one, where these ports have moved.
fn services(
    recipe: &Recipe,
    moved: &MovedPorts,
    only: Option<&str>,
    sink: &mut Sink,
) -> (IndexMap<ServiceName, Service>, Vec<ShownCommand>) {
    let Recipe {
        document,
        settings,
        drafts,
        groups,
        ..
    } = recipe;
    let (captured, engine) = (Captured::new(&recipe.inputs), Engine::new());
    let mut ports: IndexMap<String, IndexMap<String, Declared>> = drafts
        .iter()
        .map(|(name, draft)| (name.clone(), draft.ports.clone()))
        .collect();
    for (service, numbers) in moved {
        let Some(ports) = ports.get_mut(service.as_str()) else {
            continue;
        };
        for (name, &number) in numbers {
            if let Some(declared) = ports.get_mut(name) {
                declared.port.number = number;
            }
        }
    }
    let dir = recipe.location.dir.to_string_lossy();
    let scope = scope::Shared::new(&settings.name, &dir, &document.vars, &ports, (drafts, groups));
    let shared = Shared::new(&engine, &captured, settings, &scope, document, sink);
    let mut services = IndexMap::new();
    let mut commands = Vec::new();
    for (name, draft) in drafts.iter().filter(|(name, _)| only.is_none_or(|only| *name == only)) {
        let depends_on = graph::dependencies(name, recipe, sink);
        let its_own;
        let draft = match moved.contains_key(name.as_str()) {
            true => {
                its_own = Draft {
                    ports: ports[name].clone(),
                    ..draft.clone()
                };
                &its_own
            }
            false => draft,
        };
        if let Some(built) = service::build(name, draft, settings, &shared, sink) {
            commands.extend(built.commands);
            services.insert(
                ServiceName::new(name),
                Service {
                    depends_on,
                    ..built.service
                },
            );
        }
    }
    if only.is_none()
        && let Some(typed) = &recipe.location.command
        && let Some(command) = command_line::service(typed, document, settings, &shared, sink)
    {
        services.insert(command.name.clone(), command);
    }
    (services, commands)
}

fn check_whole(recipe: &Recipe, services: &IndexMap<ServiceName, Service>, sink: &mut Sink) {
    let Recipe {
        document,
        settings,
        drafts,
        declared,
        groups,
        ..
    } = recipe;
    graph::cycles(declared, sink);
    graph::ports(drafts, services, sink);
    graph::log_files(drafts, services, sink);
    replicas::own_files(drafts, services, sink);
    if let Some((name, place)) = &settings.exit_code_from
        && !drafts.contains_key(name)
    {
        let near = words::nearest(name, drafts.keys().map(String::as_str));
        let (message, hint) = match groups.get(name.as_str()) {
            Some(group) => (
                format!(
                    "`{name}` is {} services, and one of them is meant here",
                    group.members.len()
                ),
                group.members.first().map(|first| format!("name it, as in `{first}`")),
            ),
            None => (
                format!("there is no service `{name}`"),
                near.map(|near| format!("did you mean `{near}`?")),
            ),
        };
        sink.push_unless_broken(Problem::error(*place, message).maybe_suggest(hint));
    }
    if let Some(file) = document.first.filter(|_| declared.is_empty()) {
        let place = Place { file, start: 0, end: 0 };
        let problem = Problem::error(place, "no service is declared");
        sink.push_unless_broken(problem.suggest("declare one: `[services.web]` with a `command`"));
    }
}
