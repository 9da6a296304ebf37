//! What a request that is not done is answered with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// RFC 9457, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// Fits after "try: ".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Refusal {
    /// The answer to whoever comes when everything is being stopped.
    pub fn ending() -> Self {
        Refusal::new(503, "ending", "runner is ending")
    }

    pub fn is_ending(&self) -> bool {
        self.status == 503
    }

    pub fn new(status: u16, title: &str, detail: impl Into<String>) -> Self {
        Refusal {
            title: title.to_owned(),
            status,
            detail: detail.into(),
            suggestion: None,
        }
    }
}
