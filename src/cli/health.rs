//! `health`: 0 when all (that are named) are ready or completed, else 1; and not a word.

use super::args::{Global, Health};
use super::call::Call;
use super::{Result, reach};
use crate::api::wire;

pub fn health(global: &Global, args: &Health) -> Result<u8> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(args.names.iter().map(|name| ("service", name)));
    let path = format!("/v1/health?{}", query.finish());
    let health: Result<wire::Health> = reach::converse(async {
        let mut call = Call::begin(global).await?;
        call.get(&path).await
    });
    Ok(u8::from(!health.is_ok_and(|health| health.healthy)))
}
