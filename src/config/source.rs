//! Where the numbers of `"auto"` ports come from: the same for the daemon, which gives them, and for a client that foretells
//! what it would give.

use std::collections::HashSet;

use super::find::Location;
use super::kept::KeptPorts;
use super::ports::HashedPorts;
use crate::sys;
use crate::sys::places::Place;

/// `kept`: by who knows better than the state folder.
pub fn port_source(location: &Location, kept: Option<KeptPorts>) -> HashedPorts<impl FnMut(u16) -> bool> {
    let mut elsewhere = None;
    let own = location.key.clone();
    let is_free = move |port| {
        let elsewhere = elsewhere.get_or_insert_with(|| of_other_projects(&own));
        !elsewhere.contains(&port) && sys::ports::is_free(port)
    };
    let mut source = HashedPorts::new(&location.key, is_free);
    if let Some(kept) = kept {
        source = source.keeping(kept);
    }
    match sys::machine::ephemeral() {
        Some(range) => source.avoiding(move |port| range.holds(port)),
        None => source,
    }
}

/// The numbers of this user's other projects, as far as they are known: those that run, or that did not come to their end.
fn of_other_projects(own_key: &str) -> HashSet<u16> {
    let folders = sys::places::runtime_folders();
    let others = folders.iter().filter(|folder| !folder.ends_with(own_key));
    let kept = others.filter_map(|folder| Some(KeptPorts::left_in(&Place::read(folder)?.state_dir)));
    kept.flat_map(|kept| kept.numbers().collect::<Vec<_>>()).collect()
}
