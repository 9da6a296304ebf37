//! INI as supervisord reads it: sections, `key = value`, lines that go on when they are indented, `;` behind a blank.

use super::Broken;

#[derive(Debug)]
pub(super) struct Section {
    pub line: usize,
    pub name: String,
    pub keys: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub line: usize,
    pub key: String,
    pub value: String,
}

pub(super) fn parse(text: &str) -> Result<Vec<Section>, Broken> {
    let mut sections: Vec<Section> = Vec::new();
    for (index, whole) in text.lines().enumerate() {
        let line = index + 1;
        let trimmed = whole.trim();
        if trimmed.is_empty() || trimmed.starts_with([';', '#']) {
            continue;
        }
        if let Some(rest) = trimmed.strip_prefix('[') {
            let Some((name, _)) = rest.split_once(']') else {
                return Err(Broken::at(line, "a section without `]`"));
            };
            sections.push(Section {
                line,
                name: name.trim().to_owned(),
                keys: Vec::new(),
            });
            continue;
        }
        let Some(section) = sections.last_mut() else {
            return Err(Broken::at(line, "a line before the first `[section]`"));
        };
        let value = match trimmed.find(" ;") {
            Some(at) => trimmed[..at].trim_end(),
            None => trimmed,
        };
        if whole.starts_with([' ', '\t'])
            && let Some(entry) = section.keys.last_mut()
        {
            entry.value.push('\n');
            entry.value.push_str(value);
            continue;
        }
        let Some((key, value)) = value.split_once(['=', ':']) else {
            return Err(Broken::at(line, "expected `key = value`"));
        };
        section.keys.push(Entry {
            line,
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
        });
    }
    Ok(sections)
}
