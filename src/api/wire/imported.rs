//! What `init` and `import` have made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `import --json`, `init --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// What was read, as it was named; of `init` the file that decided, `null` where nothing was found and a sample was written.
    pub from: Option<String>,
    /// `procfile`, `compose`, `process-compose`, `supervisord`, `pitchfork`; `null` where a folder was looked at.
    pub kind: Option<String>,
    /// The file that was written.
    pub written: String,
    pub services: Vec<ImportedService>,
    /// What is not as it was.
    pub remarks: Vec<ImportRemark>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportedService {
    pub name: String,
    /// Keys that were written.
    pub keys: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportRemark {
    pub kind: RemarkKind,
    /// As it was named.
    pub file: String,
    /// From 1, where it is known.
    pub line: Option<u32>,
    /// From 1, in characters.
    pub column: Option<u32>,
    pub service: Option<String>,
    /// A key of the file that was read.
    pub key: Option<String>,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RemarkKind {
    /// It was not carried over.
    Lost,
    /// It was, in another form or with another meaning.
    Changed,
    /// Somebody should know it.
    Note,
}
