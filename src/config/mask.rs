//! Hides the values of secrets in what is shown to people.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aho_corasick::AhoCorasick;
use serde_json::Value;

use super::environment::MASK;
use super::shown::{SHORTEST, Secrets};
use crate::spec::{Project, ServiceName};

/// In text of any kind a shorter value is more often an ordinary word than a secret.
const SHORTEST_IN_TEXT: usize = 8;

/// The values of all secrets of a project, declared and captured. Cheap to clone; nothing is made of them before somebody
/// shows something. The default one knows none.
#[derive(Clone, Default)]
pub struct Mask(Option<Arc<Known>>);

struct Known {
    values: HashSet<String>,
    finder: OnceLock<Option<AhoCorasick>>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask")
    }
}

impl Mask {
    pub(super) fn new(project: &Project, captured: &[(OsString, OsString)]) -> Self {
        Mask::of(values(project, captured))
    }

    fn of(values: HashSet<String>) -> Self {
        Mask(Some(Arc::new(Known {
            values,
            finder: OnceLock::new(),
        })))
    }

    /// Knows what either knows: a value that an edit replaced still stands in what was printed before.
    #[must_use]
    pub fn and(self, earlier: &Mask) -> Self {
        let (Some(now), Some(before)) = (&self.0, &earlier.0) else {
            return if self.0.is_some() { self } else { earlier.clone() };
        };
        if now.values.is_subset(&before.values) {
            return earlier.clone();
        }
        Mask::of(now.values.union(&before.values).cloned().collect())
    }

    /// `text` with `***` for every secret of 8 bytes or more.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        cover(text, &[self.finder()], SHORTEST_IN_TEXT)
    }

    /// What `Service::written` gives, with `***` for every variable that its own `secrets` name, and for what it holds
    /// of anybody's secrets: a value may have come another way, over `vars` or a second variable.
    pub fn definition(&self, mut definition: Value) -> Value {
        let globs = definition.get("secrets").and_then(Value::as_array);
        let secrets = Secrets::new(globs.into_iter().flatten().filter_map(Value::as_str));
        let env = definition.get_mut("env").and_then(Value::as_object_mut);
        let secret = env.into_iter().flatten().filter(|(name, _)| secrets.names(name));
        // Its own are known even if it is older than this mask.
        let own: Vec<String> = secret
            .filter_map(|(_, value)| value.as_str().map(str::to_owned).inspect(|_| *value = MASK.into()))
            .collect();
        let own = finder(&own.iter().flat_map(|value| parts(value)).collect());
        each_text(&mut definition, &|text| {
            if let Cow::Owned(covered) = cover(text, &[self.finder(), own.as_ref()], SHORTEST) {
                *text = covered;
            }
        });
        definition
    }

    fn finder(&self) -> Option<&AhoCorasick> {
        let known = self.0.as_deref()?;
        known.finder.get_or_init(|| finder(&known.values)).as_ref()
    }
}

fn values(project: &Project, captured: &[(OsString, OsString)]) -> HashSet<String> {
    // Most services have the same patterns.
    let mut patterns: HashMap<&[String], Secrets> = HashMap::new();
    let mut values = HashSet::new();
    for service in project.services.values() {
        let secrets = patterns.entry(&service.secrets).or_insert_with(|| Secrets::of(service));
        let secret = service.env.iter().filter(|(name, _)| secrets.names(name));
        values.extend(secret.flat_map(|(_, value)| parts(value)));
    }
    for (name, value) in captured {
        let name = name.to_string_lossy();
        if patterns.values().any(|secrets| secrets.names(&name)) {
            // Where it is not UTF-8 it is shown like this.
            values.extend(parts(&value.to_string_lossy()));
        }
    }
    // What stands in every line as a name is known anyway.
    let names = project.services.keys().map(ServiceName::as_str);
    for name in names.chain([project.name.as_str()]) {
        values.remove(name);
    }
    values
}

/// A value and each of its lines: a key of many lines may be shown line by line.
fn parts(value: &str) -> Vec<String> {
    let lines = value.lines().map(str::trim);
    let parts = [value].into_iter().chain(lines);
    parts.filter(|part| part.len() >= SHORTEST).map(str::to_owned).collect()
}

fn finder(values: &HashSet<String>) -> Option<AhoCorasick> {
    let build = |values: &HashSet<String>| {
        AhoCorasick::new(values).expect("it numbers more states than a project has bytes of secrets")
    };
    (!values.is_empty()).then(|| build(values))
}

/// `***` over everything that belongs to a value of at least this length. Values may overlap: all of them are covered,
/// so that no end of one stays beside another.
fn cover<'t>(text: &'t str, finders: &[Option<&AhoCorasick>], shortest: usize) -> Cow<'t, str> {
    let found = finders
        .iter()
        .flatten()
        .flat_map(|finder| finder.find_overlapping_iter(text));
    let mut found: Vec<Range<usize>> = found
        .map(|found| found.range())
        .filter(|range| range.len() >= shortest)
        .collect();
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_by_key(|range| range.start);
    let mut out = String::with_capacity(text.len());
    let mut covered: Option<usize> = None;
    for range in found {
        match &mut covered {
            Some(end) if range.start <= *end => *end = range.end.max(*end),
            _ => {
                out.push_str(&text[covered.unwrap_or_default()..range.start]);
                out.push_str(MASK);
                covered = Some(range.end);
            }
        }
    }
    out.push_str(&text[covered.unwrap_or_default()..]);
    Cow::Owned(out)
}

fn each_text(value: &mut Value, act: &dyn Fn(&mut String)) {
    match value {
        Value::String(text) => act(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, act)),
        Value::Object(members) => members.values_mut().for_each(|member| each_text(member, act)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
