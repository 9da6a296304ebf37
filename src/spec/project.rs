//! The project as a whole.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::common::ServiceName;
use super::replica::Group;
use super::service::Service;

/// One checked project: what `services.toml` and the files around it mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    pub name: String,
    /// Real path of the folder of the first file.
    pub dir: PathBuf,
    /// Every file that was read for it (includes, local file, env files), absolute.
    pub files: Vec<PathBuf>,
    /// `None`: the place of use decides (`all` in the foreground and as PID 1, `never` detached).
    pub exit: Option<ExitPolicy>,
    pub exit_code_from: Option<ServiceName>,
    pub shell: Vec<String>,
    /// Absolute.
    pub state_dir: PathBuf,
    /// Services in the file's order.
    pub services: IndexMap<ServiceName, Arc<Service>>,
    /// Those that are declared with `replicas`, by that name; their members are among the services.
    pub groups: IndexMap<ServiceName, Group>,
}

/// When `up` ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExitPolicy {
    /// At least one service was started and every unscheduled one has ended by itself with no restart due.
    All,
    /// One service has ended by itself with no restart due.
    Any,
    /// One service has failed with no restart due.
    Failure,
    Never,
}
