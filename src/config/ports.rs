//! The `ports` of a service, read before everything else: templates need them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use indexmap::IndexMap;

use super::find::Fnv;
use super::kept::KeptPorts;
use super::node::{Node, Value};
use super::problem::{Place, Problem, Sink};
use super::value;
use crate::spec::{Port, Protocol};

/// Where numbers for `"auto"` come from.
pub trait PortSource {
    /// Comes before the first number: where the project keeps its state.
    fn begin(&mut self, state_dir: &Path);

    /// A number for this port of this service: the one that it had before, else one that is free. Never one that was answered
    /// before.
    ///
    /// # Errors
    /// A sentence for the user when there is none.
    fn allocate(&mut self, service: &str, port_name: &str) -> Result<u16, String>;
}

/// The number that was kept; else, from a place that is a hash of project, service and name, the first that is free and that
/// the kernel does not give to outgoing connections, so that nobody takes it by accident.
pub struct HashedPorts<F> {
    project: String,
    kept: Option<KeptPorts>,
    /// All that are kept, by whoever.
    reserved: HashSet<u16>,
    taken: HashSet<u16>,
    is_free: F,
    is_handed_out: Box<dyn Fn(u16) -> bool + Send>,
}

const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;
/// Where the kernel hands out all of those.
const WIDER_FIRST: u16 = 10_000;

impl<F: FnMut(u16) -> bool> HashedPorts<F> {
    /// `project` is the key of the project; `is_free` says whether a port can be bound on all addresses now. It is asked about
    /// new numbers only: one that is kept may be held by the very service that it belongs to.
    pub fn new(project: &str, is_free: F) -> Self {
        HashedPorts {
            project: project.to_owned(),
            kept: None,
            reserved: HashSet::new(),
            taken: HashSet::new(),
            is_free,
            is_handed_out: Box::new(|_| false),
        }
    }

    /// Whoever knows what is kept says so; else it is read from the state folder.
    pub fn keeping(self, kept: KeptPorts) -> Self {
        HashedPorts {
            kept: Some(kept),
            ..self
        }
    }

    /// Numbers to stay away from: those of `ip_local_port_range`.
    pub fn avoiding(self, is_handed_out: impl Fn(u16) -> bool + Send + 'static) -> Self {
        HashedPorts {
            is_handed_out: Box::new(is_handed_out),
            ..self
        }
    }

    fn fresh(&mut self, place: u128) -> Option<u16> {
        let safe = |port: &u16| !(self.is_handed_out)(*port);
        let candidates = from(FIRST, LAST, place)
            .filter(safe)
            .chain(from(WIDER_FIRST, u16::MAX, place).filter(safe))
            .chain(from(FIRST, LAST, place));
        let mut candidates = candidates.filter(|port| !self.taken.contains(port) && !self.reserved.contains(port));
        candidates.find(|&port| (self.is_free)(port))
    }
}

/// All numbers of a range, from some place in it.
fn from(first: u16, last: u16, place: u128) -> impl Iterator<Item = u16> {
    let count = u32::from(last - first) + 1;
    let place = (place % u128::from(count)) as u32;
    (0..count).map(move |step| first + ((place + step) % count) as u16)
}

impl<F: FnMut(u16) -> bool> PortSource for HashedPorts<F> {
    fn begin(&mut self, state_dir: &Path) {
        let kept = self.kept.get_or_insert_with(|| KeptPorts::left_in(state_dir));
        self.reserved.extend(kept.numbers());
    }

    fn allocate(&mut self, service: &str, port_name: &str) -> Result<u16, String> {
        let kept = self.kept.as_ref().and_then(|kept| kept.get(service, port_name));
        if let Some(port) = kept.filter(|port| self.taken.insert(*port)) {
            return Ok(port);
        }
        let mut hash = Fnv::default();
        for part in [self.project.as_str(), service, port_name] {
            hash.write(part.as_bytes());
            hash.write(&[0]);
        }
        let port = self
            .fresh(hash.0)
            .ok_or_else(|| format!("no port from {FIRST} to {LAST} is free"))?;
        self.taken.insert(port);
        Ok(port)
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

/// Gives every `auto` port its number; numbers that are declared somewhere are never given. One that replicas share is one
/// number, kept under the name of them all.
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
    let mut shared: HashMap<(String, String), u16> = HashMap::new();
    for (service, ports) in services {
        for (name, declared) in ports.iter_mut().filter(|(_, declared)| declared.port.auto) {
            let service = declared.port.owner(service);
            if let Some(&number) = shared.get(&(service.to_owned(), name.clone())) {
                declared.port.number = number;
                continue;
            }
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
                Ok(number) => {
                    declared.port.number = number;
                    if declared.port.shared {
                        shared.insert((service.to_owned(), name.clone()), number);
                    }
                }
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
        assert_eq!(
            busy.allocate("web", "http"),
            Ok(FIRST + (first - FIRST + 1) % (LAST - FIRST + 1))
        );
        assert!(HashedPorts::new("key", |_| false).allocate("web", "http").is_err());
    }

    #[test]
    fn po_05_what_the_kernel_hands_out_is_taken_only_where_nothing_else_is_left() {
        let mut some = HashedPorts::new("key", |_| true).avoiding(|port| port < 29_000);
        assert!((29_000..=LAST).contains(&some.allocate("web", "http").expect("free")));
        let mut all = HashedPorts::new("key", |_| true).avoiding(|port| (FIRST..=LAST).contains(&port));
        let wider = all.allocate("web", "http").expect("free");
        assert!(wider >= WIDER_FIRST && !(FIRST..=LAST).contains(&wider));
        let mut nothing = HashedPorts::new("key", |_| true).avoiding(|_| true);
        assert!((FIRST..=LAST).contains(&nothing.allocate("web", "http").expect("free")));
    }
}
