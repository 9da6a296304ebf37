//! `add` and `rm` of a build without the feature `editing`: the file of an image is made elsewhere.

use super::args::{Add, Global, Rm};
use super::{Result, help};

pub fn add(_: &Global, _: &Add) -> Result<u8> {
    Err(help::left_out("add", "editing"))
}

pub fn rm(_: &Global, _: &Rm) -> Result<u8> {
    Err(help::left_out("rm", "editing"))
}
