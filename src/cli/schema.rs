//! `schema`: the JSON schema of `services.toml`.

use super::{Result, project};
use crate::config::reference;

pub fn schema() -> Result<u8> {
    project::print(&reference::schema())?;
    Ok(0)
}
