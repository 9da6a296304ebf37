//! What is done for a service around its process: its folder is filled, files are written, steps and hooks are run.

use std::path::PathBuf;

use serde::Serialize;

use super::common::Argv;
use super::service::Service;
use super::watch::WatchGlob;

/// One step before a start, skipped while nothing says that it has to be done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareStep {
    pub run: Argv,
    /// What it depends on. A folder counts with everything below it.
    pub inputs: Vec<WatchGlob>,
    /// Absolute; done again when it is not there.
    pub creates: Option<PathBuf>,
}

/// What fills `working_dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Git {
        url: String,
        /// Branch, tag or commit; `None`: the repository's own default.
        rev: Option<String>,
    },
    /// A zip or tar.gz file; absolute.
    Archive(PathBuf),
}

/// A file that runner writes before the start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RenderedFile {
    pub content: String,
    /// A change reloads the service instead of restarting it.
    pub reload: bool,
}

/// Commands at the turns of a life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    pub pre_start: Option<Argv>,
    pub post_ready: Option<Argv>,
    pub pre_stop: Option<Argv>,
    pub post_stop: Option<Argv>,
    pub on_failure: Option<Argv>,
}

impl Hooks {
    /// Those that are there, by their keys, in the order of a life.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &Argv)> {
        let all = [
            ("pre_start", &self.pre_start),
            ("post_ready", &self.post_ready),
            ("pre_stop", &self.pre_stop),
            ("post_stop", &self.post_stop),
            ("on_failure", &self.on_failure),
        ];
        all.into_iter().filter_map(|(key, argv)| Some((key, argv.as_ref()?)))
    }
}

impl Source {
    /// As people know it.
    pub fn text(&self) -> String {
        match self {
            Source::Git { url, rev: None } => without_password(url),
            Source::Git { url, rev: Some(rev) } => format!("{} at {rev}", without_password(url)),
            Source::Archive(path) => path.display().to_string(),
        }
    }
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

impl Service {
    /// Whether anything is to be done before its program is executed.
    pub fn is_prepared(&self) -> bool {
        self.source.is_some() || !self.files.is_empty() || !self.prepare.is_empty() || self.hooks.pre_start.is_some()
    }
}
