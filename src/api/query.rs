//! Query strings: from the words of a request to its shape.

use std::collections::HashSet;
use std::str::FromStr;

use super::wire::{LogsRequest, Refusal};

/// The parameters of the logs, with their meaning.
pub(super) const LOGS: &[(&str, &str)] = &[("service", "repeatable")];

/// Hands each decoded pair to `take`, which says `Ok(false)` for a key that it does not know and why a value makes no sense.
///
/// # Errors
/// 400 for those two, and for a key that is there twice and not `repeatable`.
pub fn each(
    text: &str,
    repeatable: &[&str],
    mut take: impl FnMut(&str, &str) -> Result<bool, String>,
) -> Result<(), Refusal> {
    let refused = |detail: String| Refusal::new(400, "request not understood", detail);
    let mut seen = HashSet::new();
    for (key, value) in form_urlencoded::parse(text.as_bytes()) {
        if !repeatable.contains(&&*key) && !seen.insert(key.clone()) {
            return Err(refused(format!("`{}` is there twice", shown(&key))));
        }
        match take(&key, &value) {
            Ok(true) => {}
            Ok(false) => return Err(refused(format!("there is no parameter `{}`", shown(&key)))),
            Err(why) => return Err(refused(format!("`{}={}`: {why}", shown(&key), shown(&value)))),
        }
    }
    Ok(())
}

/// A value in a complaint, of bearable length.
fn shown(value: &str) -> String {
    const LONG: usize = 80;
    let mut text: String = value.chars().take(LONG).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text
}

pub fn number<T: FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "a number is expected".to_owned())
}

/// `0` or `1`.
pub fn flag(value: &str) -> Result<bool, String> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("0 or 1 is expected".to_owned()),
    }
}

pub fn logs(text: &str) -> Result<LogsRequest, Refusal> {
    let mut request = LogsRequest::default();
    each(text, &["service"], |key, value| {
        match key {
            "service" => request.services.push(value.to_owned()),
            "tail" => request.tail = Some(number(value)?),
            "follow" => request.follow = flag(value)?,
            "stream" => {
                request.stream = Some(match value {
                    "out" => crate::logs::Stream::Out,
                    "err" => crate::logs::Stream::Err,
                    _ => return Err("out or err".to_owned()),
                })
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(request)
}
