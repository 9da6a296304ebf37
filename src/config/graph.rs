//! Checks that look at several services: dependencies, cycles, ports, log files.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::draft::{Draft, Need};
use super::problem::{Problem, Sink};
use super::recipe::Recipe;
use super::replicas;
use super::words;
use crate::spec::{Condition, Dependency, Kind, LogTarget, Service, ServiceName};

/// Services named in a suggestion.
const NAMES: usize = 12;

/// Longer cycles are told by their first members.
const NOTES: usize = 60;

/// The dependencies of one service, resolved; unknown targets are complained about.
pub(super) fn dependencies(name: &str, recipe: &Recipe, sink: &mut Sink) -> IndexMap<ServiceName, Dependency> {
    let mut resolved = IndexMap::new();
    for need in &recipe.drafts[name].needs {
        let Some(target) = recipe.drafts.get(&need.target) else {
            unknown(name, need, recipe, sink);
            continue;
        };
        let condition = need.condition.unwrap_or(match target.kind {
            Kind::Simple => Condition::Healthy,
            Kind::Oneshot => Condition::CompletedSuccessfully,
        });
        let dependency = Dependency {
            condition,
            restart: need.restart,
            required: need.required,
        };
        if resolved.insert(ServiceName::new(&need.target), dependency).is_some() {
            let problem = Problem::error(need.place, format!("`{}` is listed twice", need.target));
            sink.push(problem.of(name, "depends_on"));
        }
    }
    resolved
}

fn unknown(name: &str, need: &Need, recipe: &Recipe, sink: &mut Sink) {
    let (target, drafts) = (&need.target, &recipe.declared);
    let base = target.split_once('@').map(|(base, _)| base);
    if base
        .and_then(|base| drafts.get(base))
        .is_some_and(|draft| draft.failed.contains("replicas"))
    {
        return;
    }
    let members = base
        .and_then(|base| recipe.groups.get(base))
        .map(|group| &group.members);
    let name = recipe.drafts[name].declared_as(name);
    let near = words::nearest(target, recipe.drafts.keys().chain(drafts.keys()).map(String::as_str));
    let hint = match near {
        _ if members.is_some_and(|members| !members.is_empty()) => {
            let members = members.into_iter().flatten().map(ServiceName::as_str);
            let named: Vec<&str> = members.take(NAMES).collect();
            format!("its members are {}", named.join(", "))
        }
        Some(near) => format!("did you mean `{near}`?"),
        None if drafts.len() < 2 => format!("`{name}` is the only service"),
        None => {
            let names: Vec<_> = drafts
                .keys()
                .filter(|other| *other != name)
                .map(String::as_str)
                .collect();
            let more = if names.len() > NAMES { ", ..." } else { "" };
            format!("services are: {}{more}", names[..names.len().min(NAMES)].join(", "))
        }
    };
    let problem = Problem::error(need.place, format!("there is no service `{target}`"));
    sink.push_unless_broken(problem.suggest(hint).of(name, "depends_on"));
}

/// Reports each knot of dependencies by one cycle in it (DP-01). Works without recursion: a chain may be long (DP-07).
pub(super) fn cycles(drafts: &IndexMap<String, Draft>, sink: &mut Sink) {
    let edges: Vec<Vec<usize>> = drafts
        .values()
        .map(|draft| {
            draft
                .needs
                .iter()
                .filter_map(|need| drafts.get_index_of(declared(drafts, &need.target)))
                .collect()
        })
        .collect();
    let mut marks = vec![Mark::New; edges.len()];
    for root in 0..edges.len() {
        if marks[root] == Mark::New {
            search(root, &edges, &mut marks, |cycle| report(cycle, drafts, sink));
        }
    }
}

/// What a target is declared as: all members of one declaration need the same.
fn declared<'t>(drafts: &IndexMap<String, Draft>, target: &'t str) -> &'t str {
    match target.split_once('@') {
        Some((base, _)) if !drafts.contains_key(target) => base,
        _ => target,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    OnPath,
    Done,
}

fn search(root: usize, edges: &[Vec<usize>], marks: &mut [Mark], mut found: impl FnMut(&[usize])) {
    let mut path = vec![root];
    let mut next = vec![0];
    marks[root] = Mark::OnPath;
    while let (Some(&at), Some(edge)) = (path.last(), next.last_mut()) {
        let Some(&target) = edges[at].get(*edge) else {
            marks[at] = Mark::Done;
            path.pop();
            next.pop();
            continue;
        };
        *edge += 1;
        match marks[target] {
            Mark::Done => {}
            Mark::New => {
                marks[target] = Mark::OnPath;
                path.push(target);
                next.push(0);
            }
            Mark::OnPath => {
                let start = path.iter().position(|&member| member == target);
                found(&path[start.expect("what is marked as on the path is on it")..]);
            }
        }
    }
}

fn report(cycle: &[usize], drafts: &IndexMap<String, Draft>, sink: &mut Sink) {
    let name = |member: usize| drafts.get_index(member).map_or("", |(name, _)| name.as_str());
    let need = |from: usize, to: usize| {
        let mut needs = drafts[from].needs.iter();
        needs
            .find(|need| declared(drafts, &need.target) == name(to))
            .expect("an edge of the graph is a need")
    };
    // Begun at the service that stands first in the file, so that the message does not depend on the search.
    let first = cycle
        .iter()
        .enumerate()
        .min_by_key(|(_, member)| **member)
        .map_or(0, |(at, _)| at);
    let members: Vec<usize> = cycle[first..].iter().chain(&cycle[..first]).copied().collect();
    let start = members[0];
    let links: Vec<(usize, usize)> = members
        .iter()
        .enumerate()
        .map(|(at, &from)| (from, *members.get(at + 1).unwrap_or(&start)))
        .collect();
    let mut words: Vec<&str> = members.iter().map(|&member| name(member)).collect();
    words.push(name(start));
    let place = need(start, links[0].1).place;
    let mut problem = Problem::error(place, format!("dependency cycle: {}", words.join(" -> ")));
    let said: Vec<String> = links[1..]
        .iter()
        .take(NOTES)
        .map(|&(from, to)| {
            let spot = sink.spot(need(from, to).place);
            format!("`{}` depends on `{}` ({spot})", name(from), name(to))
        })
        .collect();
    match said.len() {
        0 => problem = problem.label("a service can't depend on itself"),
        1 => problem = problem.label(said[0].clone()),
        _ => problem.notes = said,
    }
    sink.push(problem.of(name(start), "depends_on"));
}

/// Two services that are meant to run together can't have the same port.
pub(super) fn ports(drafts: &IndexMap<String, Draft>, services: &IndexMap<ServiceName, Service>, sink: &mut Sink) {
    let mut owners: HashMap<(u16, bool), Vec<&str>> = HashMap::new();
    for (name, draft) in drafts {
        for (port_name, declared) in draft.ports.iter().filter(|(_, declared)| !declared.port.auto) {
            let key = (
                declared.port.number,
                declared.port.protocol == crate::spec::Protocol::Udp,
            );
            let others = owners.entry(key).or_default();
            let is_sibling =
                |other: &str| draft.member.is_some() && declared_as(drafts, other) == declared_as(drafts, name);
            let is_shared = |other: &str| {
                let theirs = drafts[other].ports.values();
                let mut same = theirs.filter(|theirs| theirs.port.number == declared.port.number);
                declared.port.shared && same.all(|theirs| theirs.port.shared)
            };
            // What several of one declaration can't have is complained about where they are made.
            let together = |other: &&&str| match (services.get(**other), services.get(name.as_str())) {
                _ if is_sibling(other) || is_shared(other) => false,
                (Some(a), Some(b)) => run_together(a, b),
                _ => true,
            };
            if let Some(other) = others.iter().find(together) {
                let first = drafts[*other]
                    .ports
                    .values()
                    .find(|other| other.port.number == declared.port.number);
                let spot = first.map_or_else(String::new, |first| format!(" ({})", sink.spot(first.place)));
                let message = format!("port {} is declared by `{other}` and `{name}`", declared.port.number);
                let problem = Problem::error(declared.place, message).label(format!("`{other}` has it{spot}"));
                sink.push(problem.of(name, &format!("ports.{port_name}")));
            }
            others.push(name);
        }
    }
}

fn declared_as<'n>(drafts: &'n IndexMap<String, Draft>, name: &'n str) -> &'n str {
    drafts.get(name).map_or(name, |draft| draft.declared_as(name))
}

/// Not when their profiles exclude each other, nor when one is only started by hand: there the port check at the start
/// has the last word.
fn run_together(a: &Service, b: &Service) -> bool {
    let exclusive = !a.profiles.is_empty()
        && !b.profiles.is_empty()
        && !a.profiles.iter().any(|profile| b.profiles.contains(profile));
    a.autostart && b.autostart && !exclusive
}

/// A log file has one writer.
pub(super) fn log_files(drafts: &IndexMap<String, Draft>, services: &IndexMap<ServiceName, Service>, sink: &mut Sink) {
    let mut writers = HashMap::new();
    for (name, service) in services {
        let LogTarget::File(log) = &service.log else { continue };
        if let Some(other) = writers.insert(&log.file, name) {
            let draft = &drafts[name.as_str()];
            let place = draft.table.get("log").map_or(draft.key, |entry| entry.node.place);
            let message = format!("`{other}` and `{name}` write the same log file");
            let is_sibling = name.group().is_some() && name.group() == other.group();
            let hint = if is_sibling {
                replicas::OWN
            } else {
                "give each its own `file`"
            };
            let problem = Problem::error(place, message).suggest(hint);
            sink.push(problem.of(name.as_str(), "log.file"));
        }
    }
}
