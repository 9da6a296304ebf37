//! Templates of files: the whole language, bounded in what it does and makes.

use std::ops::Range;

use minijinja::Environment;
use minijinja::value::{Value, ValueKind};

use super::{Engine, OPTIONAL, reason, unknown_name};

/// Steps of one rendered file, and its bytes.
const FUEL: u64 = 10_000_000;
const LARGEST_FILE: usize = 16 * 1024 * 1024;

/// Something wrong in the template of a file.
#[derive(Debug)]
pub(in crate::config) struct FileFault {
    pub range: Range<usize>,
    /// From 1.
    pub line: usize,
    pub message: String,
    pub suggestion: Option<String>,
}

pub(super) fn environment(environment: &Environment<'static>) -> Environment<'static> {
    let mut whole = environment.clone();
    whole.set_fuel(Some(FUEL));
    whole.set_syntax(
        minijinja::syntax::SyntaxConfig::builder()
            .keep_trailing_newline(true)
            .build()
            .expect("the usual syntax"),
    );
    // As in JSON, TOML and YAML, not as in Python.
    whole.set_formatter(|out, state, value| match bool::try_from(value.clone()) {
        Ok(truth) if value.kind() == ValueKind::Bool => Ok(write!(out, "{truth}")?),
        _ => minijinja::escape_formatter(out, state, value),
    });
    // The name of a file says nothing about it here.
    whole.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    whole
}

impl Engine {
    /// Renders a whole file with the names of one service.
    pub fn render_file(&self, text: &str, names: &Value) -> Result<String, FileFault> {
        let mut out = Bounded(Vec::new());
        let template = self.whole.template_from_str(text);
        let rendered = template.and_then(|template| template.render_captured_to(names, &mut out).map(drop));
        let error = match (rendered, out.0.len() < LARGEST_FILE) {
            (Ok(()), _) => return Ok(String::from_utf8_lossy(&out.0).into_owned()),
            (Err(error), true) => error,
            (Err(error), false) => {
                let message = format!("this makes more than {} MiB", LARGEST_FILE / 1024 / 1024);
                return Err(file_fault(text, &error, message, None));
            }
        };
        let (message, suggestion) = match error.kind() {
            minijinja::ErrorKind::OutOfFuel => ("this takes too long to render".to_owned(), None),
            minijinja::ErrorKind::UndefinedError => {
                let unknown = error.range().and_then(|range| {
                    let source = text.get(range)?;
                    unknown_name(names, source.trim(), source)
                });
                unknown.unwrap_or_else(|| (format!("template: {}", reason(&error)), Some(OPTIONAL.into())))
            }
            _ => (format!("template: {}", reason(&error)), None),
        };
        Err(file_fault(text, &error, message, suggestion))
    }
}

fn file_fault(text: &str, error: &minijinja::Error, message: String, suggestion: Option<String>) -> FileFault {
    let line = error.line().unwrap_or(1).max(1);
    let start = text.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
    let range = error.range().filter(|range| range.end <= text.len());
    FileFault {
        range: range.unwrap_or(start..start),
        line,
        message,
        suggestion,
    }
}

/// Takes no more than a file may have.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST_FILE {
            self.0.resize(LARGEST_FILE, 0);
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
