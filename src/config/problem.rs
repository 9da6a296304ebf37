//! Complaints with places.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file that was read, by its position in [`Problems::sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A stretch of one file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub file: FileId,
    pub start: usize,
    pub end: usize,
}

/// One file as it was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Absolute.
    pub path: PathBuf,
    /// As it is named to the user: relative to the project's folder where it lies inside.
    pub shown: String,
    /// Empty when it could not be read.
    pub text: String,
    /// An env file, whose lines are often secrets: only where it is wrong is told, not what stands there.
    pub secret: bool,
    /// Not a line of it could be read, so that it has no places.
    pub unread: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The project can't be used.
    Error,
    /// It can, but somebody should look.
    Warning,
}

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub place: Place,
    pub message: String,
    /// Stands at the caret.
    pub label: Option<String>,
    /// What to do.
    pub suggestion: Option<String>,
    /// Further lines below.
    pub notes: Vec<String>,
    pub service: Option<String>,
    /// Dotted, below the service or the table: `health.interval`.
    pub key: Option<String>,
}

impl Problem {
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Problem {
            severity: Severity::Error,
            place,
            message: message.into(),
            label: None,
            suggestion: None,
            notes: Vec::new(),
            service: None,
            key: None,
        }
    }

    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Problem {
            severity: Severity::Warning,
            ..Problem::error(place, message)
        }
    }

    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    pub fn maybe_suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion.or(self.suggestion);
        self
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Of a member it is told as of what is declared.
    pub fn of(mut self, service: &str, key: &str) -> Self {
        let declared = service.split_once('@').map_or(service, |(declared, _)| declared);
        self.service = Some(declared.to_owned());
        self.key = (!key.is_empty()).then(|| key.to_owned());
        self
    }
}

/// All problems of all files, in the order of the files and of their lines.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    pub list: Vec<Problem>,
    pub sources: Vec<Source>,
    /// What was looked for besides and may come into being: optional files, folders of globs.
    pub looked_for: LookedFor,
}

/// Where a change would change what the files mean, though nothing was read there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookedFor {
    pub files: BTreeSet<PathBuf>,
    pub folders: BTreeSet<PathBuf>,
}

impl Problems {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The file that a place lies in.
    pub fn source(&self, place: Place) -> &Source {
        &self.sources[place.file.0 as usize]
    }

    /// Line and column of the start of a place, both from 1; columns count characters.
    pub fn line_column(&self, place: Place) -> (u32, u32) {
        line_column(&self.source(place).text, place.start)
    }
}

/// One line for each problem; the full picture is `view::diagnostic`'s.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let source = self.source(problem.place);
            write!(f, "{}", source.shown)?;
            if !source.unread {
                let (line, column) = self.line_column(problem.place);
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {}", problem.message)?;
            if let Some(suggestion) = &problem.suggestion {
                write!(f, " ({suggestion})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Line and column from 1 of a byte offset.
fn line_column(text: &str, offset: usize) -> (u32, u32) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    (line as u32, column as u32)
}

/// Collects sources and problems while a project is loaded.
#[derive(Debug)]
pub(super) struct Sink {
    base: PathBuf,
    sources: Vec<Source>,
    list: Vec<Problem>,
    /// Files whose text is no TOML: what is found in their remains would mostly be an echo of that.
    broken: BTreeSet<FileId>,
    pub looked_for: LookedFor,
}

impl Sink {
    pub fn new(base: &Path) -> Self {
        Sink {
            base: base.to_owned(),
            sources: Vec::new(),
            list: Vec::new(),
            broken: BTreeSet::new(),
            looked_for: LookedFor::default(),
        }
    }

    /// For files that were read before.
    pub fn over(base: &Path, sources: Vec<Source>) -> Self {
        Sink {
            sources,
            ..Sink::new(base)
        }
    }

    pub fn add_source(&mut self, path: &Path, text: String) -> FileId {
        self.add(path, text, false)
    }

    pub fn add_env_file(&mut self, path: &Path, text: String) -> FileId {
        self.add(path, text, true)
    }

    fn add(&mut self, path: &Path, text: String, secret: bool) -> FileId {
        let shown = path.strip_prefix(&self.base).unwrap_or(path).display().to_string();
        let id = FileId(u32::try_from(self.sources.len()).expect("fewer than 2^32 files are read"));
        self.sources.push(Source {
            path: path.to_owned(),
            shown,
            text,
            secret,
            unread: false,
        });
        id
    }

    /// A file that was read before.
    pub fn file_of(&self, path: &Path) -> Option<FileId> {
        let index = self.sources.iter().position(|source| source.path == path)?;
        u32::try_from(index).ok().map(FileId)
    }

    pub fn text(&self, file: FileId) -> &str {
        &self.sources[file.0 as usize].text
    }

    /// The folder that relative paths in this file start from.
    pub fn folder(&self, file: FileId) -> PathBuf {
        let path = &self.sources[file.0 as usize].path;
        path.parent().unwrap_or(Path::new("/")).to_owned()
    }

    /// `services.toml:21`.
    pub fn spot(&self, place: Place) -> String {
        let source = &self.sources[place.file.0 as usize];
        format!("{}:{}", source.shown, line_column(&source.text, place.start).0)
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.sources.iter().map(|source| source.path.clone()).collect()
    }

    /// The same complaint at the same place is noted once: what stands in `[defaults]` is read for every service.
    pub fn push(&mut self, problem: Problem) {
        if !self.broken.contains(&problem.place.file) {
            self.list.push(problem);
        }
    }

    /// A complaint that may only be due to a file that could not be understood.
    pub fn push_unless_broken(&mut self, problem: Problem) {
        if self.broken.is_empty() {
            self.list.push(problem);
        }
    }

    /// A file that can't even be read.
    pub fn mark_unread(&mut self, file: FileId) {
        self.sources[file.0 as usize].unread = true;
        self.mark_broken(file);
    }

    /// A file that can't be understood at all: nothing more is said about what it holds.
    pub fn mark_broken(&mut self, file: FileId) {
        self.broken.insert(file);
    }

    #[cfg(feature = "editing")]
    pub fn has_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    pub fn shown(&self, file: FileId) -> &str {
        &self.sources[file.0 as usize].shown
    }

    /// Runs something whose complaints were made before and need not be made again.
    pub fn silently<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.list.len();
        let result = act(self);
        self.list.truncate(before);
        result
    }

    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    pub fn into_problems(mut self) -> Problems {
        self.list
            .sort_by_key(|problem| (problem.place.file, problem.place.start));
        let mut seen: BTreeSet<(Place, String)> = BTreeSet::new();
        self.list
            .retain(|problem| seen.insert((problem.place, problem.message.clone())));
        Problems {
            list: self.list,
            sources: self.sources,
            looked_for: self.looked_for,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = "a\n\u{e4}\u{f6} = 1\n";
        assert_eq!(line_column(text, 2), (2, 1));
        assert_eq!(line_column(text, 4), (2, 2));
        assert_eq!(line_column(text, 400), (3, 1));
    }
}
