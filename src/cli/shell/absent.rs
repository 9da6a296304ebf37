//! `shell`, `allow` and `deny` of a build without the feature `shell`: no shell of an image starts projects.

use super::args::{Global, Permission, Shell};
use super::{Result, help};
#[cfg(feature = "editing")]
use crate::config::Edited;
use crate::config::find::Location;

pub fn shell(_: &Global, _: &Shell) -> Result<u8> {
    Err(help::left_out("shell", "shell"))
}

pub fn allow(_: &Global, _: &Permission) -> Result<u8> {
    Err(help::left_out("allow", "shell"))
}

pub fn deny(_: &Global, _: &Permission) -> Result<u8> {
    Err(help::left_out("deny", "shell"))
}

/// No shell has started anything.
pub fn is_by_hand(_: &Location) {}

/// Nothing is allowed.
#[cfg(feature = "editing")]
pub struct Kept;

#[cfg(feature = "editing")]
impl Kept {
    pub fn before(_: &Location) -> Kept {
        Kept
    }

    pub fn after(self, _: &Location, _: &[Edited]) {}
}
