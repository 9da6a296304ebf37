//! `up [NAME...] -- CMD ARG...`: what stands behind `--` as a service beside those of the file.
//!
//! It is essential, is not restarted, and keeps runner's own descriptors. `[defaults]` do not apply, `[env]` and env files of the
//! project do. It starts once the others are up: what has failed for good by then does not hold it up.

use std::sync::Arc;

use super::document::Document;
use super::draft::Draft;
use super::environment::Shared;
use super::find::CommandLine;
use super::node::{Entry, Node, Value};
use super::problem::{Place, Problem, Sink};
use super::project::Settings;
use super::{select, service};
use crate::spec::{Argv, Condition, Dependency, Kind, LogTarget, Project, Restart, Service, ServiceName};

/// What it is called. A file that declares a service of this name can't be used with `--`.
pub const NAME: &str = "cmd";

pub(super) fn service(
    typed: &CommandLine,
    document: &Document,
    settings: &Settings,
    shared: &Shared<'_>,
    sink: &mut Sink,
) -> Option<Service> {
    if let Some(taken) = document.services.get(NAME) {
        let message = format!("`{NAME}` is the name of what stands behind `--`");
        sink.push(Problem::error(taken.key, message).suggest("give this service another name"));
        return None;
    }
    let place = Place {
        file: document.first?,
        start: 0,
        end: 0,
    };
    let node = |value| Node { place, value };
    // Its words are no templates: they are set below.
    let command = Entry {
        key: place,
        node: node(Value::Array(vec![node(Value::Text("true".into()))])),
    };
    let draft = Draft {
        key: place,
        table: [("command".to_owned(), command)].into_iter().collect(),
        fixed: super::node::Table::new(),
        failed: std::collections::HashSet::new(),
        kind: Kind::Simple,
        ports: indexmap::IndexMap::new(),
        needs: Vec::new(),
        member: None,
        defaults: Arc::default(),
    };
    let built = service::build(NAME, &draft, settings, shared, sink)?;
    Some(Service {
        command: Argv {
            words: typed.words.clone(),
            shell: false,
        },
        working_dir: typed.working_dir.clone(),
        umask: Some(typed.umask),
        restart: Restart::No,
        essential: true,
        log: LogTarget::Inherited,
        ..built.service
    })
}

/// It waits for those that start with it.
pub(super) fn depend(typed: &CommandLine, project: &mut Project) {
    let named = select::select(project, &typed.names).unwrap_or_default();
    let is_on = |service: &Service| {
        service.profiles.is_empty() || service.profiles.iter().any(|profile| typed.profiles.contains(profile))
    };
    let others = project.services.values().filter(|service| match named.is_empty() {
        true => service.autostart && is_on(service),
        false => named.contains(&service.name),
    });
    let others = others.filter(|service| service.name.as_str() != NAME);
    let needs = others.map(|service| {
        let dependency = Dependency {
            condition: match service.kind {
                Kind::Simple => Condition::Healthy,
                Kind::Oneshot => Condition::CompletedSuccessfully,
            },
            restart: false,
            required: false,
        };
        (service.name.clone(), dependency)
    });
    let depends_on = needs.collect();
    if let Some(command) = project.services.get_mut(&ServiceName::new(NAME)) {
        Arc::make_mut(command).depends_on = depends_on;
    }
}
