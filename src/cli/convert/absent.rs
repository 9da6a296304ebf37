//! `init` and `import` of a build without the feature `convert`: the file of an image is made elsewhere.

use super::args::{Global, Import, Init};
use super::{Result, help};

pub fn init(_: &Global, _: &Init) -> Result<u8> {
    Err(help::left_out("init", "convert"))
}

pub fn import(_: &Global, _: &Import) -> Result<u8> {
    Err(help::left_out("import", "convert"))
}
