//! What the file may say, but this version can't do yet.
//!
//! These keys are read and checked like all others and then refused at their place: nothing that somebody wrote is
//! silently ignored. Whoever builds one of them removes its line.

use super::http::http_fault;
use super::node::Node;

const LATER: &[&str] = &["project.http", "project.webhooks"];

/// Probes by the scheme of their URL.
pub(super) const HTTPS: &str = "`https://` probes are not supported yet";

/// Whether the key of this path does not work yet.
pub(super) fn is_later(path: &str) -> bool {
    LATER.contains(&path)
}

/// The complaint about a value at a dotted path below its service (or `project.`), if it is for a later version. `false` is
/// as good as not written.
pub(super) fn complaint(path: &str, node: &Node) -> Option<String> {
    // An address that could not be allowed later either is told as that.
    if path == "project.http" && node.text().is_some_and(|address| http_fault(address).is_some()) {
        return None;
    }
    let pattern = LATER.iter().find(|pattern| covers(pattern, path))?;
    let name = pattern.rsplit('.').next().unwrap_or(pattern);
    (!node.is_false()).then(|| format!("`{name}` is not supported yet"))
}

fn covers(pattern: &str, path: &str) -> bool {
    let mut wanted = pattern.split('.');
    let mut given = path.split('.');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}
