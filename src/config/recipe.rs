//! All that a project is made of, before its templates are rendered. When a port gets another number, or somebody wants more
//! replicas, the project, or one service of it, is made again of the same parts: no file is read anew, so that nothing else changes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use super::command_line;
use super::document::Document;
use super::draft::Draft;
use super::find::Location;
use super::mask::Mask;
use super::ports::PortSource;
use super::problem::{Problems, Sink, Source};
use super::project::Settings;
use super::replicas::{self, Scales};
use super::service;
use super::template::has_template;
use super::{Inputs, Loaded, allocate, check_whole, services};
use crate::spec::{Group, PortConflict, Project, Service, ServiceName};

/// Ports whose numbers are not the declared ones (`on_port_conflict = "next"`), by service and name.
pub type MovedPorts = BTreeMap<ServiceName, BTreeMap<String, u16>>;

#[derive(Clone)]
pub struct Recipe {
    pub(super) location: Location,
    pub(super) inputs: Inputs,
    pub(super) document: Document,
    pub(super) settings: Settings,
    /// As they stand in the files, before `replicas` makes members of them.
    pub(super) declared: IndexMap<String, Draft>,
    pub(super) groups: IndexMap<ServiceName, Group>,
    /// With the numbers of their ports.
    pub(super) drafts: IndexMap<String, Draft>,
    /// What was read, env files included.
    pub(super) sources: Vec<Source>,
}

/// It holds the texts of env files.
impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipe").finish_non_exhaustive()
    }
}

impl Recipe {
    /// The same project with other numbers for its `"auto"` ports.
    ///
    /// # Errors
    /// No number is free, or a template can't do with it.
    pub fn with_ports(&self, source: &mut dyn PortSource) -> Result<Loaded, Problems> {
        let mut recipe = self.clone();
        let mut sink = Sink::over(&self.location.dir, std::mem::take(&mut recipe.sources));
        let ports = recipe.drafts.values_mut().flat_map(|draft| draft.ports.values_mut());
        for declared in ports.filter(|declared| declared.port.auto) {
            declared.port.number = 0;
        }
        source.begin(&recipe.settings.state_dir);
        allocate(&mut recipe.drafts, source, &mut sink);
        recipe.made(sink)
    }

    /// The same project with as many replicas as are asked for by hand.
    ///
    /// # Errors
    /// The definition can't do with as many.
    pub fn scaled(&self, scales: Scales, source: &mut dyn PortSource) -> Result<Loaded, Problems> {
        let mut recipe = self.clone();
        let mut sink = Sink::over(&self.location.dir, std::mem::take(&mut recipe.sources));
        recipe.inputs.scales = scales;
        (recipe.drafts, recipe.groups) = replicas::expand(&recipe.declared, &recipe.inputs.scales, &mut sink);
        source.begin(&recipe.settings.state_dir);
        allocate(&mut recipe.drafts, source, &mut sink);
        recipe.made(sink)
    }

    /// One service as it is where these ports have moved; `None`: as it is declared, if there is such a service.
    ///
    /// # Errors
    /// A template can't do with the numbers.
    pub fn service(&self, name: &ServiceName, moved: &MovedPorts) -> Result<Option<Service>, Problems> {
        let names_others = |text: &str| has_template(text) && text.contains("services");
        let is_touched = |draft: &Draft| {
            moved.contains_key(name.as_str())
                || service::holds(&draft.table, &names_others)
                || service::holds(&self.document.env, &names_others)
        };
        if !self.drafts.get(name.as_str()).is_some_and(is_touched) {
            return Ok(None);
        }
        let mut sink = Sink::over(&self.location.dir, self.sources.clone());
        let (mut services, _) = services(self, moved, Some(name.as_str()), &mut sink);
        if sink.has_errors() {
            return Err(sink.into_problems());
        }
        Ok(services.shift_remove(name))
    }

    /// Every number that is declared, or given to an `"auto"` port.
    pub fn numbers(&self) -> impl Iterator<Item = u16> + '_ {
        let ports = self.drafts.values().flat_map(|draft| draft.ports.values());
        ports.map(|declared| declared.port.number)
    }

    /// Renders and checks; `sink` holds what was read, and the problems so far.
    pub(super) fn made(mut self, mut sink: Sink) -> Result<Loaded, Problems> {
        let (services, commands) = services(&self, &MovedPorts::new(), None, &mut sink);
        check_whole(&self, &services, &mut sink);
        let files = sink.paths();
        let failed = sink.has_errors();
        let problems = sink.into_problems();
        if failed {
            return Err(problems);
        }
        let Settings {
            name,
            exit,
            exit_code_from,
            shell,
            state_dir,
            ..
        } = self.settings.clone();
        let mut project = Project {
            name,
            dir: self.location.dir.clone(),
            files,
            exit,
            exit_code_from: exit_code_from.map(|(name, _)| ServiceName::new(name)),
            shell,
            state_dir,
            services: services
                .into_iter()
                .map(|(name, service)| (name, Arc::new(service)))
                .collect(),
            groups: self.groups.clone(),
        };
        if let Some(typed) = &self.location.command {
            command_line::depend(typed, &mut project);
        }
        let may_move = |service: &Arc<Service>| {
            service.on_port_conflict == PortConflict::Next || service.ports.values().any(|port| port.auto)
        };
        let is_needed = !project.groups.is_empty() || project.services.values().any(may_move);
        Ok(Loaded {
            mask: Mask::new(&project, &self.inputs.env),
            recipe: is_needed.then(|| {
                self.sources.clone_from(&problems.sources);
                Arc::new(self)
            }),
            project,
            warnings: problems,
            commands,
        })
    }
}
