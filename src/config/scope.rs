//! The names that templates of one service may use.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use minijinja::value::Value as Names;

use super::draft::Draft;
use super::node::{Node, Table, Value};
use super::ports::Declared;
use super::replicas::Member;
use crate::spec::{Group, OutputName, ServiceName};

/// What all services have in common.
pub(super) struct Shared {
    pub project: Names,
    pub vars: Names,
    /// Without their outputs.
    services: BTreeMap<String, BTreeMap<String, Names>>,
    /// As far as nobody's outputs are named.
    plain_services: Names,
    /// Placeholders, by service.
    outputs: BTreeMap<String, Names>,
}

impl Shared {
    pub fn new(
        name: &str,
        dir: &str,
        vars: &Table,
        ports: &IndexMap<String, IndexMap<String, Declared>>,
        (drafts, groups): (&IndexMap<String, Draft>, &IndexMap<ServiceName, Group>),
    ) -> Self {
        let service = |ports: &IndexMap<String, Declared>, first: Option<Names>| {
            let mut members = BTreeMap::from([("ports".to_owned(), ports_value(ports))]);
            members.extend(first.map(|port| ("port".to_owned(), port)));
            members
        };
        let mut services: BTreeMap<String, BTreeMap<String, Names>> = ports
            .iter()
            .map(|(name, ports)| (name.clone(), service(ports, first_port(ports))))
            .collect();
        for (name, group) in groups {
            let of_member = |member: &ServiceName| ports.get(member.as_str());
            let mut of_members = group.members.iter().filter_map(of_member);
            let Some(first) = of_members.next() else { continue };
            let mut common = first.clone();
            for other in of_members {
                let is_same = |name: &String, port: &Declared| {
                    let theirs = other.get(name).map(|port| port.port.number);
                    theirs == Some(port.port.number)
                };
                common.retain(|name, port| is_same(name, port));
            }
            // What is not the same for all has no meaning for the whole.
            let port = first.keys().next().and_then(|name| common.get(name));
            let port = port.map(|declared| Names::from(declared.port.number));
            services.insert(name.to_string(), service(&common, port));
        }
        let plain = services
            .iter()
            .map(|(service, members)| (service.clone(), Names::from(members.clone())));
        Shared {
            project: Names::from(BTreeMap::from([("name", name.to_owned()), ("dir", dir.to_owned())])),
            vars: table_value(vars),
            plain_services: Names::from(plain.collect::<BTreeMap<_, _>>()),
            services,
            outputs: drafts.iter().filter_map(outputs).collect(),
        }
    }

    /// The names of one service; `env` is what its own environment is laid over.
    pub fn of_service(&self, service: &str, draft: &Draft, env: Names) -> Names {
        let (ports, member): (_, Option<&Member>) = (&draft.ports, draft.member.as_ref());
        let mut names: BTreeMap<&str, Names> = BTreeMap::from([
            ("env", env),
            ("vars", self.vars.clone()),
            ("project", self.project.clone()),
            ("services", self.services_for(draft)),
            ("service", Names::from(service)),
            ("ports", ports_value(ports)),
        ]);
        if let Some(port) = first_port(ports) {
            names.insert("port", port);
        }
        if let Some(member) = member {
            names.insert("instance", Names::from(member.instance.as_str()));
            names.insert("index", Names::from(member.index));
        }
        Names::from(names)
    }
}

impl Shared {
    /// A service knows the outputs of what it needs.
    fn services_for(&self, draft: &Draft) -> Names {
        let needed = draft.needs.iter().map(|need| &need.target);
        let needed: Vec<(&String, &Names)> = needed
            .filter_map(|target| Some((target, self.outputs.get(target)?)))
            .collect();
        if needed.is_empty() {
            return self.plain_services.clone();
        }
        let mut services = self.services.clone();
        for (target, outputs) in needed {
            if let Some(members) = services.get_mut(target) {
                members.insert("outputs".to_owned(), outputs.clone());
            }
        }
        Names::from(services)
    }
}

/// What stands for the outputs of a service until they are known.
fn outputs((service, draft): (&String, &Draft)) -> Option<(String, Names)> {
    let declared = draft.table.get("outputs")?.node.table()?;
    let placeholder = |output: &String| {
        let name = OutputName {
            service: ServiceName::new(service),
            output: output.clone(),
        };
        (output.clone(), name.placeholder())
    };
    let names: BTreeMap<String, String> = declared.keys().map(placeholder).collect();
    Some((service.clone(), Names::from(names)))
}

pub(super) fn env_value<'e>(env: impl Iterator<Item = (&'e String, &'e String)>) -> Names {
    let variables: BTreeMap<String, String> = env.map(|(name, value)| (name.clone(), value.clone())).collect();
    Names::from(variables)
}

fn ports_value(ports: &IndexMap<String, Declared>) -> Names {
    let numbers: BTreeMap<String, u16> = ports
        .iter()
        .map(|(name, declared)| (name.clone(), declared.port.number))
        .collect();
    Names::from(numbers)
}

fn first_port(ports: &IndexMap<String, Declared>) -> Option<Names> {
    ports.values().next().map(|declared| Names::from(declared.port.number))
}

fn table_value(table: &Table) -> Names {
    let members: BTreeMap<String, Names> = table
        .iter()
        .map(|(name, entry)| (name.clone(), node_value(&entry.node)))
        .collect();
    Names::from(members)
}

fn node_value(node: &Node) -> Names {
    match &node.value {
        Value::Text(text) | Value::Datetime(text) => Names::from(text.as_str()),
        Value::Integer(integer) => Names::from(*integer),
        Value::Number(number) => Names::from(*number),
        Value::Bool(truth) => Names::from(*truth),
        Value::Array(items) => Names::from(items.iter().map(node_value).collect::<Vec<_>>()),
        Value::Table(table) => table_value(table),
    }
}
