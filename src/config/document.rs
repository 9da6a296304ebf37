//! Reads the files of a project and merges them into one document, as written.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::find::Location;
use super::include;
use super::merge::merge_tables;
use super::node::{self, Entry, Node, Table, Value};
use super::problem::{FileId, Place, Problem, Sink};
use super::{access, template, words};
use crate::spec::keys::FILE;

/// No services file is longer; it keeps a wrong path (a disk image) from filling the memory (HR-01).
const LARGEST: u64 = 4 * 1024 * 1024;

/// A file as it would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    pub path: PathBuf,
    pub text: String,
}

/// The merged files: every table of the top level by its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    pub project: Table,
    pub env: Table,
    pub vars: Table,
    pub defaults: Table,
    pub templates: Table,
    pub services: Table,
    /// Tables of services that stand where they can't count: only checked.
    pub misplaced: Vec<Table>,
    /// The first file, which problems without a better place point to.
    pub first: Option<FileId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Include,
    Main,
    Local,
}

/// Reads everything that belongs to the project; what can't be read is a problem in the sink.
/// `instead`: what some of them would say.
pub(super) fn read(location: &Location, euid: u32, instead: &[Edited], sink: &mut Sink) -> Document {
    let mut reader = Reader {
        euid,
        instead,
        sink,
        seen: HashSet::new(),
        local: location.local.clone(),
        document: Document::default(),
    };
    for file in &location.files {
        reader.file(file, Role::Main, None);
    }
    reader.sink.looked_for.files.extend(location.local.clone());
    if let Some(local) = location.local.as_ref().filter(|local| local.symlink_metadata().is_ok()) {
        reader.file(local, Role::Local, None);
    }
    reader.document
}

struct Reader<'s> {
    euid: u32,
    instead: &'s [Edited],
    sink: &'s mut Sink,
    /// Real paths, so that a file counts once however it is named.
    seen: HashSet<PathBuf>,
    local: Option<PathBuf>,
    document: Document,
}

impl Reader<'_> {
    /// Reads one file, after the files that it includes.
    fn file(&mut self, path: &Path, role: Role, named_at: Option<Place>) {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if !self.seen.insert(real) {
            return;
        }
        let read = match self.instead.iter().find(|edited| edited.path == path) {
            Some(edited) => Ok(edited.text.clone()),
            None => read_text(path, LARGEST, Some(self.euid)),
        };
        let (text, complaint) = match read {
            Ok(text) => (text, None),
            Err(failure) => (failure.text, Some((failure.message, failure.at, failure.suggestion))),
        };
        let id = self.sink.add_source(path, text);
        if role == Role::Main {
            self.document.first.get_or_insert(id);
        }
        if let Some((message, at, suggestion)) = complaint {
            let own = Place {
                file: id,
                start: at,
                end: at,
            };
            // A file that is not there has no text to show: the line that names it says more.
            let problem = match (at, named_at) {
                (0, Some(place)) => Problem::error(place, format!("{}: {message}", self.sink.shown(id))),
                (_, _) => Problem::error(own, message),
            };
            self.sink.push(problem.maybe_suggest(suggestion));
            match at {
                0 => self.sink.mark_unread(id),
                _ => self.sink.mark_broken(id),
            }
            return;
        }
        let mut table = node::parse(id, self.sink);
        if let Some(entry) = table.shift_remove("include") {
            self.include(id, &entry.node);
        }
        self.merge(table, role);
    }

    fn include(&mut self, from: FileId, list: &Node) {
        let folder = self.sink.folder(from);
        for item in list.items() {
            let Some(pattern) = item.text() else {
                let message = format!("expected a path or glob, found {}", item.type_words());
                self.sink.push(Problem::error(item.place, message));
                continue;
            };
            if template::has_template(pattern) {
                let problem = Problem::error(item.place, "no templates here");
                self.sink
                    .push(problem.suggest("files are read before any template can be rendered"));
                continue;
            }
            match include::expand(&folder, pattern, &mut self.sink.looked_for) {
                Ok(files) => {
                    // A glob may match the local file, which is laid over everything at the end.
                    for file in files {
                        if self.local.as_ref() == Some(&file) {
                            continue;
                        }
                        self.file(&file, Role::Include, Some(item.place));
                    }
                }
                Err(message) => self.sink.push(Problem::error(item.place, message)),
            }
        }
    }

    fn merge(&mut self, table: Table, role: Role) {
        for (name, Entry { key, node }) in table {
            if FILE.key(&name).is_none() {
                let hint = words::for_key(&FILE, &name);
                self.sink
                    .push(Problem::error(key, format!("unknown key `{name}`")).maybe_suggest(hint));
                continue;
            }
            let Value::Table(inner) = node.value else {
                let message = format!("`{name}` is a table, not {}", node.type_words());
                self.sink.push(Problem::error(node.place, message));
                continue;
            };
            if role == Role::Include && matches!(name.as_str(), "defaults" | "env") {
                let problem = Problem::error(key, format!("`[{name}]` in an included file"));
                self.sink
                    .push(problem.suggest("it stands in the main file and in services.local.toml only"));
                if name == "defaults" {
                    self.document.misplaced.push(inner);
                }
                continue;
            }
            match name.as_str() {
                "project" => merge_tables(&mut self.document.project, inner),
                "env" => merge_tables(&mut self.document.env, inner),
                "vars" => merge_tables(&mut self.document.vars, inner),
                "defaults" => merge_tables(&mut self.document.defaults, inner),
                "templates" => {
                    let Document {
                        templates, misplaced, ..
                    } = &mut self.document;
                    define(templates, inner, "template", role, misplaced, self.sink);
                }
                "services" => {
                    let Document {
                        services, misplaced, ..
                    } = &mut self.document;
                    define(services, inner, "service", role, misplaced, self.sink);
                }
                other => unreachable!("`{other}` is declared in spec::keys::FILE, but not merged"),
            }
        }
    }
}

/// Adds services or templates; only the local file may say more about one that is there already.
fn define(known: &mut Table, new: Table, what: &str, role: Role, misplaced: &mut Vec<Table>, sink: &mut Sink) {
    for (name, entry) in new {
        if entry.node.table().is_none() {
            let message = format!("{what} `{name}` is a table, not {}", entry.node.type_words());
            sink.push(Problem::error(entry.node.place, message));
            continue;
        }
        match known.get_mut(&name) {
            None => {
                known.insert(name, entry);
            }
            Some(before) if role == Role::Local => {
                if let (Value::Table(base), Value::Table(over)) = (&mut before.node.value, entry.node.value) {
                    merge_tables(base, over);
                }
            }
            Some(before) => {
                let first = sink.spot(before.key);
                let problem = Problem::error(entry.key, format!("{what} `{name}` is defined twice"));
                sink.push(
                    problem
                        .label(format!("first in {first}"))
                        .suggest("give one of them another name"),
                );
                if let Value::Table(table) = entry.node.value {
                    misplaced.push(table);
                }
            }
        }
    }
}

/// Why a file could not be read.
pub(super) struct ReadFailure {
    pub message: String,
    /// What could be read of it, and where in it the trouble is.
    pub text: String,
    pub at: usize,
    pub suggestion: Option<String>,
}

impl ReadFailure {
    fn new(message: impl Into<String>) -> Self {
        ReadFailure {
            message: message.into(),
            text: String::new(),
            at: 0,
            suggestion: None,
        }
    }
}

/// Reads a text file whole; with `euid`, only one that is to be trusted.
pub(super) fn read_text(path: &Path, largest: u64, euid: Option<u32>) -> Result<String, ReadFailure> {
    // Looked at before it is opened: opening a FIFO would wait for its writer.
    let metadata = path.metadata().map_err(|error| ReadFailure::new(plain(&error)))?;
    if !metadata.is_file() {
        return Err(ReadFailure::new(if metadata.is_dir() {
            "this is a folder, not a file"
        } else {
            "this is no regular file"
        }));
    }
    let mut file = File::open(path).map_err(|error| ReadFailure::new(plain(&error)))?;
    let metadata = file.metadata().map_err(|error| ReadFailure::new(plain(&error)))?;
    if let Some(distrust) = euid.and_then(|euid| access::distrust(path, &metadata, euid)) {
        return Err(ReadFailure {
            suggestion: distrust.suggestion,
            ..ReadFailure::new(format!("refused, because {}", distrust.reason))
        });
    }
    if metadata.len() > largest {
        let limit = largest / 1024 / 1024;
        return Err(ReadFailure::new(format!(
            "longer than {limit} MiB, which is no such file"
        )));
    }
    let mut bytes = Vec::new();
    let limited = Read::by_ref(&mut file).take(largest + 1).read_to_end(&mut bytes);
    limited.map_err(|error| ReadFailure::new(plain(&error)))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        ReadFailure {
            message: "not UTF-8 text".into(),
            text: String::from_utf8_lossy(&bytes[..at]).into_owned(),
            at,
            suggestion: None,
        }
    })
}

/// The words of the operating system without its number.
pub(super) fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
    }
}
