//! The words by which a command line names services.

use super::words::nearest;
use crate::spec::{Project, ServiceName};

/// A word that names nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub message: String,
    pub suggestion: Option<String>,
}

/// The services that the words name: `NAME`, or `@LABEL` for all that carry the label. No words, no services.
///
/// # Errors
/// The first word that names nothing, with a name that is near.
pub fn select(project: &Project, words: &[String]) -> Result<Vec<ServiceName>, Unknown> {
    let mut selected = Vec::new();
    for word in words {
        let before = selected.len();
        match word.strip_prefix('@') {
            Some(label) => {
                let labelled = project
                    .services
                    .values()
                    .filter(|service| service.labels.iter().any(|own| own == label));
                selected.extend(labelled.map(|service| service.name.clone()));
            }
            None => selected.extend(
                project
                    .services
                    .get_key_value(word.as_str())
                    .map(|(name, _)| name.clone()),
            ),
        }
        if selected.len() == before {
            return Err(unknown(project, word));
        }
    }
    Ok(selected)
}

fn unknown(project: &Project, word: &str) -> Unknown {
    let dir = project.dir.display();
    let (message, near) = match word.strip_prefix('@') {
        Some(label) => {
            let labels = project.services.values().flat_map(|service| &service.labels);
            let near = nearest(label, labels.map(String::as_str));
            (
                format!("no service in {dir} has the label `{label}`"),
                near.map(|near| format!("@{near}")),
            )
        }
        None => {
            let near = nearest(word, project.services.keys().map(|name| name.as_str()));
            (
                format!("there is no service `{word}` in {dir}"),
                near.map(str::to_owned),
            )
        }
    };
    Unknown {
        message,
        suggestion: near.map(|near| format!("did you mean `{near}`?")),
    }
}
