//! What was not carried over as it was.

use super::node::Mark;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It is not in the services.toml.
    Lost,
    /// It is, in another form or with another meaning.
    Changed,
    /// Somebody should know it.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub weight: Weight,
    /// As the file is named to the user.
    pub file: String,
    pub at: Mark,
    /// As it is called in the services.toml or, when it is not there, in the file.
    pub service: Option<String>,
    /// A key of the file.
    pub key: Option<String>,
    pub message: String,
}

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub file: String,
    pub remarks: Vec<Remark>,
}

/// More remarks help nobody.
const MOST: usize = 1000;

impl Report {
    pub fn new(file: &str) -> Report {
        Report {
            file: file.to_owned(),
            remarks: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, weight: Weight, at: Mark, service: &str, key: &str, message: impl Into<String>) {
        let word = |word: &str| (!word.is_empty()).then(|| word.to_owned());
        if self.remarks.len() < MOST {
            self.remarks.push(Remark {
                weight,
                file: self.file.clone(),
                at,
                service: word(service),
                key: word(key),
                message: message.into(),
            });
        }
    }

    pub(super) fn lost(&mut self, at: Mark, service: &str, key: &str, why: impl Into<String>) {
        self.add(Weight::Lost, at, service, key, why);
    }

    pub(super) fn changed(&mut self, at: Mark, service: &str, key: &str, how: impl Into<String>) {
        self.add(Weight::Changed, at, service, key, how);
    }

    /// Of the file as a whole.
    pub fn tell(&mut self, message: String) {
        self.add(Weight::Note, Mark::NONE, "", "", message);
    }

    pub(super) fn note(&mut self, at: Mark, service: &str, message: impl Into<String>) {
        self.add(Weight::Note, at, service, "", message);
    }
}
