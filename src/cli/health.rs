//! `health`: 0 when all (that are named) are ready or completed, else 1; and not a word.

use super::args::{Global, Health};
use super::call::Call;
use super::{Result, reach};
use crate::api::wire;

/// The only other code than 0: Docker keeps 2 for itself, and 4 would say more than it asks for.
pub const NOT_WELL: u8 = 1;

/// Whether the words are a `health` that can't be understood: of it nothing but 0 and 1 is expected.
pub fn is_asked() -> bool {
    let is_flag = |word: &std::ffi::OsString| word.as_encoded_bytes().starts_with(b"-");
    let verb = std::env::args_os().skip(1).find(|word| !is_flag(word));
    verb.is_some_and(|verb| verb == "health")
}

pub fn health(global: &Global, args: &Health) -> Result<u8> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(args.names.iter().map(|name| ("service", name)));
    let path = format!("/v1/health?{}", query.finish());
    let health: Result<wire::Health> = reach::converse(async {
        let mut call = Call::begin(global).await?;
        call.get(&path).await
    });
    Ok(match health {
        Ok(health) if health.healthy => 0,
        _ => NOT_WELL,
    })
}
