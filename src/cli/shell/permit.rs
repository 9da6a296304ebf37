//! What is allowed: the files of a project as somebody has looked at them, by the hashes of their contents.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::store::Store;
use crate::cli::{Result, project};
#[cfg(feature = "editing")]
use crate::config::Edited;
use crate::config::find::Location;
use crate::config::{Loaded, Problems};
use crate::view::escape;

/// None of the files that belong to a project may be longer.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What somebody has said about a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    pub dir: PathBuf,
    /// Its files and the SHA-256 of each, in hexadecimal digits; none: not allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<BTreeMap<PathBuf, String>>,
    /// The hash of what nobody needs to be told again that it is not allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

impl Permit {
    /// Whether nothing is newer than what was allowed but these files, which are as they were written.
    #[cfg(feature = "editing")]
    pub fn differs_only_in(&self, newer: &Permit, written: &[Edited]) -> bool {
        let (Some(before), Some(now)) = (&self.files, &newer.files) else {
            return false;
        };
        let is_known = |(path, hash): (&PathBuf, &String)| {
            let is_written = |edited: &Edited| edited.path == *path && self::hash(edited.text.as_bytes()) == *hash;
            before.get(path) == Some(hash) || written.iter().any(is_written)
        };
        now.iter().all(is_known)
    }
}

/// Whether a project may be started unasked.
pub enum Verdict {
    Allowed,
    /// Why not, and what to do; and the hash of what was seen.
    Refused {
        why: String,
        seen: String,
    },
}

/// Looks at the files as they are now.
///
/// What nobody has looked at is not understood as a services.toml: an `include` of a stranger may name the whole disk. So
/// the files that are allowed are compared first, and only if none has changed it is read what belongs to the project.
pub fn look(store: &Store, location: &Location) -> Verdict {
    let permit = store.permit(&location.key).filter(|permit| permit.dir == location.dir);
    let Some(files) = permit.and_then(|permit| permit.files) else {
        let main = &location.files[0];
        let seen = hash_of(main).unwrap_or_default();
        return refused(
            format!("{} is not allowed yet; look at it and `runner allow`", shown(main)),
            &seen,
        );
    };
    for (path, allowed) in &files {
        let now = hash_of(path);
        if now.as_ref() != Some(allowed) {
            let happened = match now.is_some() || path.symlink_metadata().is_ok() {
                true => "has changed",
                false => "is gone",
            };
            return changed(path, happened, &now.unwrap_or_default());
        }
    }
    let loaded = match project::read_edited(location, Vec::new()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let first = problems.to_string();
            let first = first.lines().next().unwrap_or_default();
            let why = format!(
                "{} can't be used: {}; `runner check` shows more",
                shown(&location.dir),
                plain(first)
            );
            return refused(why, first);
        }
    };
    let now = hashes(&loaded.warnings);
    // The files were the same a moment ago, and may be others now.
    for (path, hash) in &now {
        match files.get(path) {
            Some(allowed) if allowed == hash => {}
            Some(_) => return changed(path, "has changed", hash),
            None => return changed(path, "has come", hash),
        }
    }
    match files.keys().find(|path| !now.contains_key(*path)) {
        Some(path) => changed(path, "does not belong to it any more and did", ""),
        None => Verdict::Allowed,
    }
}

/// Of all that was read for a project.
pub fn of(location: &Location, loaded: &Loaded) -> Permit {
    Permit {
        dir: location.dir.clone(),
        files: Some(hashes(&loaded.warnings)),
        told: None,
    }
}

fn hashes(read: &Problems) -> BTreeMap<PathBuf, String> {
    let one = |source: &crate::config::Source| (source.path.clone(), hash(source.text.as_bytes()));
    read.sources.iter().map(one).collect()
}

fn changed(path: &Path, happened: &str, seen: &str) -> Verdict {
    let what = shown(path);
    let why = format!("{what} {happened} since you allowed it; look at it and `runner allow`");
    refused(why, seen)
}

fn refused(why: String, seen: &str) -> Verdict {
    let seen = hash(format!("{why}\0{seen}").as_bytes());
    Verdict::Refused { why, seen }
}

/// `true`: nobody was told so far.
pub fn is_news(store: &Store, location: &Location, seen: &str) -> Result<bool> {
    let permit = store.permit(&location.key).filter(|permit| permit.dir == location.dir);
    let mut permit = permit.unwrap_or_else(|| Permit {
        dir: location.dir.clone(),
        ..Permit::default()
    });
    if permit.told.as_deref() == Some(seen) {
        return Ok(false);
    }
    permit.told = Some(seen.to_owned());
    store.keep_permit(&location.key, &permit)?;
    Ok(true)
}

/// `None`: it can't be read, or is nothing that could belong to a project.
fn hash_of(path: &Path) -> Option<String> {
    // Looked at before it is opened: opening a FIFO would wait for its writer.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let mut limited = File::open(path).ok()?.take(LARGEST + 1);
    limited.read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= LARGEST).then(|| hash(&bytes))
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path on a line of its own, whatever its name is.
pub fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy())
}

fn plain(text: &str) -> String {
    escape::line(&text.replace('\n', "\\n"), false)
}
