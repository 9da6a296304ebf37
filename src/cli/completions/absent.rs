//! `completions` of a build without the feature `completions`: nobody types in an image.

use clap::builder::ArgExt;

use super::args::{Completions, Man};
use super::{Result, help};

pub fn completions(_: &Completions) -> Result<u8> {
    Err(help::left_out("completions", "completions"))
}

pub fn man(_: &Man) -> Result<u8> {
    Err(help::left_out("man", "completions"))
}

/// No shell is answered.
pub fn answered() -> bool {
    false
}

/// Stands on an argument where its completer would.
#[derive(Clone, Debug)]
pub struct Nothing;

impl ArgExt for Nothing {}

pub fn names() -> Nothing {
    Nothing
}

pub fn services() -> Nothing {
    Nothing
}

pub fn profiles() -> Nothing {
    Nothing
}

pub fn scalable() -> Nothing {
    Nothing
}
