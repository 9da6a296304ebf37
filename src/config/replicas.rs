//! `replicas`: what is declared once becomes its members, each an ordinary service named `web@1`.
//!
//! Everything behind this knows members only. Here are the names, how many there are (the file, or somebody by hand), and what
//! several members of one declaration can't have.

use std::collections::{BTreeMap, HashMap, HashSet};

use indexmap::IndexMap;

use super::draft::{Draft, Need};
use super::fields::Fields;
use super::node::{Node, Value};
use super::ports::Declared;
use super::problem::{Place, Problem, Sink};
use super::value;
use crate::spec::{Group, RenderedFile, Scaled, Service, ServiceName};

/// The longest name of a service, members included.
const LONGEST: usize = 64;

/// What was asked for by hand (`scale`), and what of it is taken back.
#[derive(Clone, Debug, Default)]
pub struct Scales {
    /// By the name under which a service is declared.
    pub wishes: BTreeMap<ServiceName, Scaled>,
    pub cleared: Cleared,
}

/// Whose wish an `up` takes back.
#[derive(Clone, Debug, Default)]
pub enum Cleared {
    #[default]
    Nobodys,
    Everybodys,
    /// Of those that these words name: `NAME` or `@LABEL`.
    Of(Vec<String>),
}

impl Cleared {
    /// By the words of an `up`.
    pub fn by_up(names: &[String]) -> Cleared {
        match names {
            [] => Cleared::Everybodys,
            names => Cleared::Of(names.to_vec()),
        }
    }
}

impl Scales {
    /// How many of a service with so many declared ones are asked for by hand.
    fn of(&self, name: &str, draft: &Draft, declared: u32) -> Option<u32> {
        let wish = self.wishes.get(name).filter(|wish| wish.declared == declared)?;
        let labels = || Fields { table: &draft.table }.texts("labels");
        let is_cleared = match &self.cleared {
            Cleared::Nobodys => false,
            Cleared::Everybodys => true,
            Cleared::Of(words) => words.iter().any(|word| match word.strip_prefix('@') {
                Some(label) => labels().iter().any(|own| own == label),
                None => word == name,
            }),
        };
        (!is_cleared).then_some(wish.replicas)
    }
}

/// Which one of several a draft is.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub group: String,
    pub instance: String,
    /// From 0.
    pub index: usize,
}

/// The drafts of all members, and of what is no group, with the groups.
pub(super) fn expand(
    declared: &IndexMap<String, Draft>,
    scales: &Scales,
    sink: &mut Sink,
) -> (IndexMap<String, Draft>, IndexMap<ServiceName, Group>) {
    let (mut drafts, mut groups) = (IndexMap::new(), IndexMap::new());
    for (name, draft) in declared {
        let Some((instances, group)) = group(name, draft, scales, sink) else {
            drafts.insert(name.clone(), draft.clone());
            continue;
        };
        several_own_ports(name, draft, &group, sink);
        for ((index, instance), member) in instances.into_iter().enumerate().zip(&group.members) {
            let member_of = Member {
                group: name.clone(),
                instance,
                index,
            };
            let draft = Draft {
                member: Some(member_of),
                ..draft.clone()
            };
            drafts.insert(member.to_string(), draft);
        }
        groups.insert(ServiceName::new(name), group);
    }
    for draft in drafts.values_mut() {
        draft.needs = draft.needs.drain(..).flat_map(|need| needs(need, &groups)).collect();
    }
    (drafts, groups)
}

/// A replicated target means all its members.
fn needs(need: Need, groups: &IndexMap<ServiceName, Group>) -> Vec<Need> {
    let Some(group) = groups.get(need.target.as_str()) else {
        return vec![need];
    };
    let of_member = |member: &ServiceName| Need {
        target: member.to_string(),
        ..need.clone()
    };
    group.members.iter().map(of_member).collect()
}

/// The instances of a draft with `replicas`.
fn group(name: &str, draft: &Draft, scales: &Scales, sink: &mut Sink) -> Option<(Vec<String>, Group)> {
    let node = Fields { table: &draft.fixed }.node("replicas")?;
    let (instances, declared, scaled) = match &node.value {
        Value::Integer(count) => {
            let declared = u32::try_from(*count).unwrap_or(0);
            let scaled = scales.of(name, draft, declared);
            let count = scaled.unwrap_or(declared);
            (
                (1..=count).map(|number| number.to_string()).collect(),
                Some(declared),
                scaled,
            )
        }
        _ => (named(name, node, sink), None, None),
    };
    let members: Vec<ServiceName> = instances
        .iter()
        .map(|instance| ServiceName::member(name, instance))
        .collect();
    if let Some(long) = members.iter().find(|member| member.as_str().len() > LONGEST) {
        let message = format!("`{long}` would be longer than {LONGEST} characters");
        sink.push(Problem::error(node.place, message).of(name, "replicas"));
    }
    let group = Group {
        members,
        declared,
        scaled,
    };
    Some((instances, group))
}

/// Named instances, each once.
fn named(name: &str, node: &Node, sink: &mut Sink) -> Vec<String> {
    let mut instances: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    let mut complain = |place: Place, message: String| {
        sink.push(Problem::error(place, message).of(name, "replicas"));
    };
    if node.items().is_empty() {
        complain(node.place, "there are no instances in here".to_owned());
    }
    for item in node.items() {
        let Some(word) = item.text() else { continue };
        match value::name_fault(word) {
            Some(fault) => complain(item.place, format!("instance `{word}`: {fault}")),
            None if !seen.insert(word) => complain(item.place, format!("`{word}` stands here twice")),
            None => instances.push(word.to_owned()),
        }
    }
    instances
}

/// Only one process can have a port, unless all say that they share it.
fn several_own_ports(name: &str, draft: &Draft, group: &Group, sink: &mut Sink) {
    let count = group.members.len();
    if count < 2 {
        return;
    }
    let by_hand = if group.scaled.is_some() {
        " (scaled by hand)"
    } else {
        ""
    };
    for (port_name, Declared { port, place }) in &draft.ports {
        if port.auto || port.shared {
            continue;
        }
        let message = format!("port {} can't be had by {count} replicas{by_hand}", port.number);
        let hint = format!(
            "`\"auto\"` gives each its own; with `{{ port = {}, shared = true }}` they share it, if the program binds it \
             with SO_REUSEPORT",
            port.number
        );
        let problem = Problem::error(*place, message).suggest(hint);
        sink.push(problem.of(name, &format!("ports.{port_name}")));
    }
}

/// What each member has to have for itself.
pub(super) fn own_files(drafts: &IndexMap<String, Draft>, services: &IndexMap<ServiceName, Service>, sink: &mut Sink) {
    own_rendered(drafts, services, sink);
    let mut owners = HashMap::new();
    for (name, service) in services.iter().filter(|(name, _)| name.group().is_some()) {
        let (Some(file), Some(draft)) = (&service.pid_file, drafts.get(name.as_str())) else {
            continue;
        };
        if let Some(other) = owners.insert((name.base(), &file.path), name) {
            let place = draft.table.get("pid_file").map_or(draft.key, |entry| entry.node.place);
            let message = format!("`{other}` and `{name}` have the same PID file");
            let problem = Problem::error(place, message).suggest(OWN);
            sink.push(problem.of(name.as_str(), "pid_file"));
        }
    }
}

/// Members write a file of one path only if they write the same into it.
fn own_rendered(drafts: &IndexMap<String, Draft>, services: &IndexMap<ServiceName, Service>, sink: &mut Sink) {
    let mut owners: HashMap<(&str, &String), (&ServiceName, &RenderedFile)> = HashMap::new();
    for (name, service) in services.iter().filter(|(name, _)| name.group().is_some()) {
        let Some(draft) = drafts.get(name.as_str()) else {
            continue;
        };
        for (path, file) in &service.files {
            let (other, theirs) = owners.entry((name.base(), path)).or_insert((name, file));
            if theirs.content != file.content {
                let place = draft.table.get("files").map_or(draft.key, |entry| entry.node.place);
                let message = format!("`{other}` and `{name}` write another content into the same file");
                let problem = Problem::error(place, message).suggest(OWN);
                sink.push(problem.of(name.as_str(), "files"));
            }
        }
    }
}

/// How a file becomes one for each.
pub(super) const OWN: &str = "give each its own: `{{ instance }}` in its name";
