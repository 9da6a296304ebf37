//! The names that a file declares, as far as it can be understood: for who types a name while the file is half written.

use super::document;
use super::draft;
use super::fields::Fields;
use super::find::Location;
use super::problem::Sink;
use super::replicas::{self, Scales};
use super::value;

/// In the file's order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub services: Vec<String>,
    pub labels: Vec<String>,
    pub profiles: Vec<String>,
}

/// Reads the files; complaints about them are for others to make.
pub fn names(location: &Location, euid: u32) -> Names {
    let mut sink = Sink::new(&location.dir);
    let document = document::read(location, euid, &[], &mut sink);
    let mut names = Names::default();
    let declared = draft::drafts(&document, &mut sink);
    let (_, groups) = replicas::expand(&declared, &Scales::default(), &mut sink);
    for (name, draft) in declared {
        let (own, fixed) = (Fields { table: &draft.table }, Fields { table: &draft.fixed });
        let members = groups.get(name.as_str()).map(|group| &group.members);
        let members: Vec<String> = members.into_iter().flatten().map(ToString::to_string).collect();
        add(&mut names.services, [name]);
        names
            .services
            .extend(members.into_iter().filter(|name| is_member(name)));
        add(&mut names.labels, own.texts("labels"));
        add(&mut names.profiles, fixed.texts("profiles"));
    }
    names
}

fn is_member(name: &str) -> bool {
    let parts = name.split_once('@');
    parts.is_some_and(|(group, instance)| [group, instance].iter().all(|part| value::name_fault(part).is_none()))
}

fn add(names: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for name in more {
        if value::name_fault(&name).is_none() && !names.contains(&name) {
            names.push(name);
        }
    }
}
