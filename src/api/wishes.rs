//! What people asked for by hand, as it lies on the disk of a project: two generations.
//!
//! The daemon writes it (`daemon::store`); it and, for a plan when nothing runs, a client read here.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::reconcile::Wishes;

pub const FILE: &str = "wishes.json";
/// The generation before.
pub const OLDER: &str = "wishes.1.json";
pub const VERSION: u32 = 1;
/// A larger file is none of ours.
const LARGEST: u64 = 16 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
pub struct Stored {
    pub version: u32,
    pub wishes: Wishes,
}

/// The newest generation that can be understood, by who only looks.
pub fn left_in(folder: &Path) -> Option<Wishes> {
    [FILE, OLDER]
        .into_iter()
        .find_map(|name| read(&folder.join(name)).ok().flatten())
}

/// `None`: there is none.
///
/// # Errors
/// It can't be read, or not be understood.
pub fn read(path: &Path) -> io::Result<Option<Wishes>> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !found.is_file() || found.len() > LARGEST {
        return Err(io::Error::other("it is no file of runner's"));
    }
    let stored: Stored = serde_json::from_slice(&fs::read(path)?)?;
    if stored.version != VERSION {
        return Err(io::Error::other(format!("it is of version {}", stored.version)));
    }
    Ok(Some(stored.wishes))
}
