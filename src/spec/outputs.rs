//! What a service tells of itself in its log, and where another names that before it is known.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::common::ServiceName;
use super::service::Service;

/// Stands around the name of an output in a text: a noncharacter, which no text holds.
const MARK: char = '\u{10FFFE}';

/// One output of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OutputName {
    pub service: ServiceName,
    pub output: String,
}

/// The outputs of others that a run was started with.
pub type Given = Vec<(OutputName, String)>;

impl OutputName {
    /// What stands in a text until the value is known.
    pub fn placeholder(&self) -> String {
        format!("{MARK}{}{MARK}{}{MARK}", self.service, self.output)
    }

    /// Those that a text names.
    pub fn all_in(text: &str) -> impl Iterator<Item = OutputName> + '_ {
        pieces(text).filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Output(name) => Some(name),
        })
    }
}

/// A text as the file would say it.
pub fn as_template(text: &str) -> Cow<'_, str> {
    replaced(text, |name| {
        Some(format!(
            "{{{{ services[\"{}\"].outputs[\"{}\"] }}}}",
            name.service, name.output
        ))
    })
}

impl Service {
    /// What has to be known before it can be started.
    pub fn awaited_outputs(&self) -> Vec<OutputName> {
        let texts = self.env.values().chain(&self.command.words);
        let texts = texts.chain(self.files.values().map(|file| &file.content));
        let mut names: Vec<OutputName> = texts.flat_map(|text| OutputName::all_in(text)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The same with these values in their places.
    #[must_use]
    pub fn with_outputs(&self, given: &Given) -> Service {
        let mut service = self.clone();
        let value = |name: &OutputName| {
            given
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        };
        let fill = |text: &mut String| {
            if let Cow::Owned(filled) = replaced(text, value) {
                *text = filled;
            }
        };
        service.env.values_mut().for_each(fill);
        service.command.words.iter_mut().for_each(fill);
        service.files.values_mut().for_each(|file| fill(&mut file.content));
        service
    }
}

enum Piece<'t> {
    Text(&'t str),
    Output(OutputName),
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut parts = text.split(MARK);
    let mut is_text = false;
    std::iter::from_fn(move || {
        is_text = !is_text;
        if is_text {
            return parts.next().map(Piece::Text);
        }
        let (service, output) = (parts.next()?, parts.next()?);
        Some(Piece::Output(OutputName {
            service: ServiceName::new(service),
            output: output.to_owned(),
        }))
    })
}

fn replaced<'t>(text: &'t str, value: impl Fn(&OutputName) -> Option<String>) -> Cow<'t, str> {
    if !text.contains(MARK) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Output(name) => out.push_str(&value(&name).unwrap_or_else(|| name.placeholder())),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(service: &str, output: &str) -> OutputName {
        OutputName {
            service: ServiceName::new(service),
            output: output.to_owned(),
        }
    }

    #[test]
    fn names_are_found_and_filled() {
        let (url, key) = (name("tunnel", "url"), name("a.b@1", "key"));
        let text = format!("{}?k={}&x", url.placeholder(), key.placeholder());
        assert_eq!(
            OutputName::all_in(&text).collect::<Vec<_>>(),
            [url.clone(), key.clone()]
        );
        let value = |wanted: &OutputName| (*wanted == url).then(|| "http://x".to_owned());
        assert_eq!(replaced(&text, value), format!("http://x?k={}&x", key.placeholder()));
        assert_eq!(
            as_template(&text),
            "{{ services[\"tunnel\"].outputs[\"url\"] }}?k={{ services[\"a.b@1\"].outputs[\"key\"] }}&x"
        );
        assert!(matches!(as_template("nothing"), Cow::Borrowed("nothing")));
    }
}
