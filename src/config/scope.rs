//! The names that templates of one service may use.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use minijinja::value::Value as Names;

use super::node::{Node, Table, Value};
use super::ports::Declared;
use super::replicas::Member;
use crate::spec::{Group, ServiceName};

/// What all services have in common.
pub(super) struct Shared {
    pub project: Names,
    pub vars: Names,
    pub services: Names,
}

impl Shared {
    pub fn new(
        name: &str,
        dir: &str,
        vars: &Table,
        ports: &IndexMap<String, IndexMap<String, Declared>>,
        groups: &IndexMap<ServiceName, Group>,
    ) -> Self {
        let service = |ports: &IndexMap<String, Declared>, first: Option<Names>| {
            let mut members = BTreeMap::from([("ports".to_owned(), ports_value(ports))]);
            members.extend(first.map(|port| ("port".to_owned(), port)));
            Names::from(members)
        };
        let mut services: BTreeMap<String, Names> = ports
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
        Shared {
            project: Names::from(BTreeMap::from([("name", name.to_owned()), ("dir", dir.to_owned())])),
            vars: table_value(vars),
            services: Names::from(services),
        }
    }

    /// The names of one service; `env` is what its own environment is laid over.
    pub fn of_service(
        &self,
        service: &str,
        ports: &IndexMap<String, Declared>,
        member: Option<&Member>,
        env: Names,
    ) -> Names {
        let mut names: BTreeMap<&str, Names> = BTreeMap::from([
            ("env", env),
            ("vars", self.vars.clone()),
            ("project", self.project.clone()),
            ("services", self.services.clone()),
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
