//! Names that are allowed here.

use std::collections::BTreeMap;

use super::node::Mark;
use super::report::Report;
use crate::config::name_fault;

/// The names of one file: what each is called here.
#[derive(Debug, Default)]
pub(super) struct Names {
    ours: BTreeMap<String, String>,
}

const LONGEST: usize = 64;

impl Names {
    /// The name for a service, its own where that is allowed; a change is reported.
    pub fn take(&mut self, theirs: &str, at: Mark, report: &mut Report) -> String {
        let mut name = allowed(theirs);
        if self.is_taken(&name) {
            let free = (2..)
                .map(|number| suffixed(&name, number))
                .find(|name| !self.is_taken(name));
            name = free.unwrap_or(name);
        }
        if name != theirs {
            let shown: String = theirs.chars().take(80).collect();
            report.changed(
                at,
                &name,
                "",
                format!("`{shown}` is called `{name}` here, where a name holds letters, digits, `_`, `-` and `.`"),
            );
        }
        self.ours.insert(theirs.to_owned(), name.clone());
        name
    }

    fn is_taken(&self, name: &str) -> bool {
        self.ours.values().any(|known| known == name)
    }

    pub fn get(&self, theirs: &str) -> Option<&str> {
        self.ours.get(theirs).map(String::as_str)
    }
}

/// The nearest name that is allowed.
pub(super) fn allowed(theirs: &str) -> String {
    if name_fault(theirs).is_none() {
        return theirs.to_owned();
    }
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name: String = theirs
        .chars()
        .map(|c| if is_good(c) { c } else { '-' })
        .take(LONGEST)
        .collect();
    let name = name.trim_matches(['-', '.']);
    match name_fault(name) {
        None => name.to_owned(),
        Some(_) => "service".to_owned(),
    }
}

fn suffixed(name: &str, number: u32) -> String {
    let suffix = format!("-{number}");
    let kept = name.len().min(LONGEST - suffix.len());
    format!("{}{suffix}", &name[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_changed_as_little_as_possible() {
        let mut names = Names::default();
        let mut report = Report::default();
        let mut take = |name: &str| names.take(name, Mark::NONE, &mut report);
        assert_eq!(take("web_1.x"), "web_1.x");
        assert_eq!(take("my app"), "my-app");
        assert_eq!(take("my/app"), "my-app-2");
        assert_eq!(take(".."), "service");
        assert_eq!(take("\u{1b}[31mé"), "31m");
        assert_eq!(take(&"x".repeat(100)), "x".repeat(64));
        assert_eq!(take(&"x".repeat(101)), format!("{}-2", "x".repeat(62)));
        assert_eq!(report.remarks.len(), 6);
    }
}
