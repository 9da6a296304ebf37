//! The state folder: what outlives a runner, beside the files of its project.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// In it, so that git looks away.
pub const IGNORE: &str = ".gitignore";
pub const IGNORE_ALL: &[u8] = b"*\n";

/// Makes it where it is not there. It ignores itself in git, whoever commits everything.
///
/// # Errors
/// Nothing can be written there.
pub fn make(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let ignore = folder.join(IGNORE);
    match OpenOptions::new().write(true).create_new(true).open(ignore) {
        Ok(mut file) => file.write_all(IGNORE_ALL),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
