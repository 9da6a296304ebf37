//! The `ports` of a service, read before everything else: templates need them.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::find::Fnv;
use super::node::{Node, Value};
use super::problem::{Place, Problem, Sink};
use super::value;
use crate::spec::{Port, Protocol};

/// Where numbers for `"auto"` come from.
pub trait PortSource {
    /// A free port for this port of this service: the same number every time, as far as that is possible.
    ///
    /// # Errors
    /// A sentence for the user when there is none.
    fn allocate(&mut self, service: &str, port_name: &str) -> Result<u16, String>;
}

/// Ports by a hash of project, service and name, from 20000 to 29999: below the range that Linux gives to outgoing
/// connections, so that nobody takes one by accident.
pub struct HashedPorts<F> {
    project: String,
    taken: HashSet<u16>,
    is_free: F,
}

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

impl<F: FnMut(u16) -> bool> HashedPorts<F> {
    /// `project` is the key of the project; `is_free` says whether a port can be bound on all addresses now. It must
    /// answer yes for a port that the project's own running service holds, or the number would not stay the same.
    pub fn new(project: &str, is_free: F) -> Self {
        HashedPorts {
            project: project.to_owned(),
            taken: HashSet::new(),
            is_free,
        }
    }

    /// Numbers that are given away already.
    pub fn reserve(&mut self, ports: impl IntoIterator<Item = u16>) {
        self.taken.extend(ports);
    }
}

impl<F: FnMut(u16) -> bool> PortSource for HashedPorts<F> {
    fn allocate(&mut self, service: &str, port_name: &str) -> Result<u16, String> {
        let mut hash = Fnv::default();
        for part in [self.project.as_str(), service, port_name] {
            hash.write(part.as_bytes());
            hash.write(&[0]);
        }
        let start = (hash.0 % u128::from(COUNT)) as u16;
        for step in 0..COUNT {
            let port = FIRST + (start + step) % COUNT;
            if !self.taken.contains(&port) && (self.is_free)(port) {
                self.taken.insert(port);
                return Ok(port);
            }
        }
        Err(format!("no port from {FIRST} to {} is free", FIRST + COUNT - 1))
    }
}

/// A port as it was written.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub port: Port,
    pub place: Place,
}

/// Reads the checked value of `ports`; `auto` ports have the number 0 until [`allocate`] gives them one.
///
/// In a list a fixed port is called by its number, and `"auto"` ones `auto`, `auto-2` and so on.
pub(super) fn declared(service: &str, node: &Node, sink: &mut Sink) -> IndexMap<String, Declared> {
    let mut ports: IndexMap<String, Declared> = IndexMap::new();
    let named: Vec<(Option<&str>, &Node)> = match &node.value {
        Value::Table(table) => table
            .iter()
            .map(|(name, entry)| (Some(name.as_str()), &entry.node))
            .collect(),
        _ => node.items().iter().map(|item| (None, item)).collect(),
    };
    for (name, item) in named {
        let fault = name.and_then(value::name_fault);
        if let Some(fault) = fault {
            sink.push(
                Problem::error(item.place, format!("port `{}`: {fault}", name.unwrap_or_default()))
                    .of(service, "ports"),
            );
            continue;
        }
        let Some(port) = one(item, sink, service) else { continue };
        let variable = name.map(variable);
        let namesake = ports
            .keys()
            .find(|other| variable.is_some() && Some(self::variable(other)) == variable);
        if let (Some(other), Some(name)) = (namesake, name) {
            let message = format!("ports `{other}` and `{name}` would both be ${}", self::variable(name));
            sink.push(Problem::error(item.place, message).of(service, "ports"));
            continue;
        }
        let name = match name {
            Some(name) => name.to_owned(),
            None => list_name(&ports, &port),
        };
        let twin = ports
            .iter()
            .find(|(_, other)| other.port.number == port.number && other.port.protocol == port.protocol && !port.auto);
        if let Some((other, _)) = twin {
            let message = format!("port {} is declared twice (as `{other}`)", port.number);
            sink.push(Problem::error(item.place, message).of(service, "ports"));
            continue;
        }
        let place = item.place;
        ports.insert(name, Declared { port, place });
    }
    ports
}

/// `PORT_HTTP`: the variable that tells a service the port of this name.
pub(super) fn variable(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    format!("PORT_{}", upper.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

fn list_name(ports: &IndexMap<String, Declared>, port: &Port) -> String {
    let base = if port.auto {
        "auto".to_owned()
    } else {
        port.number.to_string()
    };
    if !ports.contains_key(&base) {
        return base;
    }
    let mut count = 2;
    while ports.contains_key(&format!("{base}-{count}")) {
        count += 1;
    }
    format!("{base}-{count}")
}

fn one(node: &Node, sink: &mut Sink, service: &str) -> Option<Port> {
    let mut port = Port {
        number: 0,
        protocol: Protocol::Tcp,
        auto: false,
        shared: false,
    };
    let number = match &node.value {
        Value::Table(table) => {
            if table.get("protocol").and_then(|entry| entry.node.text()) == Some("udp") {
                port.protocol = Protocol::Udp;
            }
            port.shared = table
                .get("shared")
                .is_some_and(|entry| matches!(entry.node.value, Value::Bool(true)));
            match table.get("port") {
                Some(entry) => &entry.node,
                None => {
                    let problem = Problem::error(node.place, "a port needs its number: `port = 3000`");
                    sink.push(problem.of(service, "ports"));
                    return None;
                }
            }
        }
        _ => node,
    };
    match &number.value {
        Value::Integer(integer) => port.number = u16::try_from(*integer).ok()?,
        _ => port.auto = true,
    }
    Some(port)
}

/// Gives every `auto` port its number; numbers that are declared somewhere are never given.
pub(super) fn allocate(
    services: &mut IndexMap<String, IndexMap<String, Declared>>,
    source: &mut dyn PortSource,
    sink: &mut Sink,
) {
    let mut taken: HashSet<u16> = services
        .values()
        .flat_map(IndexMap::values)
        .map(|declared| declared.port.number)
        .collect();
    for (service, ports) in services {
        for (name, declared) in ports.iter_mut().filter(|(_, declared)| declared.port.auto) {
            // A source that does not know what the file declares is asked again; it never gives one number twice.
            let number = loop {
                match source.allocate(service, name) {
                    Ok(number) if taken.insert(number) => break Ok(number),
                    Ok(number) if number == declared.port.number => break Err(format!("port {number} is taken")),
                    Ok(number) => declared.port.number = number,
                    Err(message) => break Err(message),
                }
            };
            match number {
                Ok(number) => declared.port.number = number,
                Err(message) => {
                    sink.push(Problem::error(declared.place, message).of(service, &format!("ports.{name}")))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_ports_stay_the_same_and_avoid_what_is_taken() {
        let mut ports = HashedPorts::new("key", |_| true);
        let first = ports.allocate("web", "http").expect("free");
        assert!((20_000..30_000).contains(&first));
        assert_ne!(ports.allocate("web", "admin").expect("free"), first);
        assert_eq!(HashedPorts::new("key", |_| true).allocate("web", "http"), Ok(first));
        assert_ne!(HashedPorts::new("key2", |_| true).allocate("web", "http"), Ok(first));
        let mut busy = HashedPorts::new("key", |port| port != first);
        assert_eq!(busy.allocate("web", "http"), Ok(FIRST + (first - FIRST + 1) % COUNT));
        let mut reserved = HashedPorts::new("key", |_| true);
        reserved.reserve([first]);
        assert_ne!(reserved.allocate("web", "http"), Ok(first));
        assert!(HashedPorts::new("key", |_| false).allocate("web", "http").is_err());
    }
}
