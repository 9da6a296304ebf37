//! What is watched for a service, and what a change does.

use std::path::PathBuf;
use std::time::Duration;

use super::common::Signal;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub paths: Vec<WatchGlob>,
    pub ignore: Vec<WatchGlob>,
    pub action: WatchAction,
    /// How long it has to be quiet after a change.
    pub debounce: Duration,
}

/// What it matches counts, and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchGlob {
    /// Absolute; the part before the first component that is a pattern.
    pub base: PathBuf,
    /// The rest; empty: `base` itself is meant.
    pub pattern: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchAction {
    Restart,
    /// By `reload_signal` or `reload_command`.
    Reload,
    Signal(Signal),
}

impl WatchGlob {
    /// As the file says it.
    pub fn text(&self) -> String {
        let base = self.base.to_string_lossy();
        match self.pattern.as_str() {
            "" => base.into_owned(),
            pattern if base.ends_with('/') => format!("{base}{pattern}"),
            pattern => format!("{base}/{pattern}"),
        }
    }

    /// How many folders below `base` it can reach; `None`: any number.
    pub fn depth(&self) -> Option<usize> {
        let mut components = self.pattern.split('/');
        let deep = components.clone().any(|component| component.contains("**"));
        (!deep && !self.pattern.is_empty()).then(|| components.by_ref().count())
    }
}

impl WatchAction {
    pub fn text(self) -> String {
        match self {
            WatchAction::Restart => "restart".to_owned(),
            WatchAction::Reload => "reload".to_owned(),
            WatchAction::Signal(signal) => signal.to_string(),
        }
    }
}
