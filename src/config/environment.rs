//! What the services of a project share when their strings are rendered.

use indexmap::IndexMap;
use minijinja::value::Value as Names;

use super::check::{Templates, Walk};
use super::document::Document;
use super::draft::Draft;
use super::node::{Entry, Table, Value};
use super::problem::Sink;
use super::project::{Captured, Settings};
use super::template::Engine;
use super::{scope, service};
use crate::spec::keys::FILE;

/// Stands for a secret.
pub(super) const MASK: &str = "***";

pub(super) struct Shared<'a> {
    pub engine: &'a Engine,
    pub captured: &'a Captured,
    settings: &'a Settings,
    scope: &'a scope::Shared,
    /// `[env]` as written.
    table: &'a Table,
    /// `[env]` rendered, and all names of the environment, where no template makes them differ by service.
    common: Option<(IndexMap<String, String>, Names)>,
}

impl<'a> Shared<'a> {
    pub fn new(
        engine: &'a Engine,
        captured: &'a Captured,
        settings: &'a Settings,
        scope: &'a scope::Shared,
        document: &'a Document,
        sink: &mut Sink,
    ) -> Self {
        let mut shared = Shared {
            engine,
            captured,
            settings,
            scope,
            table: &document.env,
            common: None,
        };
        if !service::holds_templates(&document.env) {
            let env = shared.declared(None, Templates::Literal, sink);
            let names = shared.names_over(&env);
            shared.common = Some((env, names));
        }
        shared
    }

    /// The names for one service, and the environment that lies under its own: project env files, then `[env]`.
    pub fn for_service(&self, name: &str, draft: &Draft, sink: &mut Sink) -> (Names, IndexMap<String, String>) {
        let of_service = |env: Names| self.of_service(name, draft, env);
        if let Some((env, names)) = &self.common {
            if !service::holds_templates(&draft.table) && !draft.table.contains_key("files") {
                return (service::no_names(), env.clone());
            }
            return (of_service(names.clone()), env.clone());
        }
        let before = of_service(self.names_over(&self.settings.env));
        let env = self.declared(Some(name), Templates::Render(self.engine, &before), sink);
        let names = of_service(self.names_over(&env));
        (names, env)
    }

    /// As [`Shared::for_service`], with `***` for every variable that is a secret.
    pub fn masked(
        &self,
        name: &str,
        draft: &Draft,
        is_secret: impl Fn(&str) -> bool,
        sink: &mut Sink,
    ) -> (Names, IndexMap<String, String>) {
        let (_, env) = self.for_service(name, draft, sink);
        let all = self.captured.variables.iter().chain(&env);
        let hidden = all.map(|(name, value)| {
            let shown = if is_secret(name) { MASK } else { value.as_str() };
            (name.clone(), shown.to_owned())
        });
        let hidden: IndexMap<String, String> = hidden.collect();
        let names = self.of_service(name, draft, scope::env_value(hidden.iter()));
        (names, env)
    }

    fn of_service(&self, name: &str, draft: &Draft, env: Names) -> Names {
        self.scope.of_service(draft.declared_as(name), draft, env)
    }

    fn declared(&self, service: Option<&str>, templates: Templates<'_>, sink: &mut Sink) -> IndexMap<String, String> {
        let mut env = self.settings.env.clone();
        let shape = &FILE.key("env").expect("declared in spec::keys").shape;
        let Some(first) = self.table.values().next() else {
            return env;
        };
        let node = super::node::Node {
            place: first.key,
            value: Value::Table(self.table.clone()),
        };
        let checked = Walk::new(sink, templates, service, "env").value(&node, shape);
        for (name, Entry { node, .. }) in checked.as_ref().and_then(|node| node.table()).into_iter().flatten() {
            env.insert(name.clone(), node.text().unwrap_or_default().to_owned());
        }
        env
    }

    fn names_over(&self, env: &IndexMap<String, String>) -> Names {
        scope::env_value(self.captured.variables.iter().chain(env.iter()))
    }
}
