//! Services of which several run: members of a group.
//!
//! A member is an ordinary service named `web@1`, with a definition of its own; the name says to which group it belongs. What
//! else there is to know of a group stands here.

use serde::{Deserialize, Serialize};

use super::common::ServiceName;

/// What is declared once and runs as its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// In order: `web@1`, `web@2`; there may be none.
    pub members: Vec<ServiceName>,
    /// `replicas` as a number; `None`: named instances, which can't be scaled.
    pub declared: Option<u32>,
    /// So many of them by hand, instead of what is declared.
    pub scaled: Option<u32>,
}

/// How many replicas of a service somebody asked for by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    pub replicas: u32,
    /// What the file said then. An edit of that takes the wish back.
    pub declared: u32,
}

/// How an edit reaches several members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rollout {
    /// One at a time, the next after ready.
    #[default]
    Rolling,
    All,
}
