//! The names that a file declares, as far as it can be understood: for who types a name while the file is half written.

use super::document;
use super::draft;
use super::fields::Fields;
use super::find::Location;
use super::problem::Sink;
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
    for (name, draft) in draft::drafts(&document, &mut sink) {
        let (own, fixed) = (Fields { table: &draft.table }, Fields { table: &draft.fixed });
        add(&mut names.services, [name]);
        add(&mut names.labels, own.texts("labels"));
        add(&mut names.profiles, fixed.texts("profiles"));
    }
    names
}

fn add(names: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for name in more {
        if value::name_fault(&name).is_none() && !names.contains(&name) {
            names.push(name);
        }
    }
}
