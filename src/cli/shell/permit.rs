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

#[cfg(test)]
mod tests {
    use super::*;

    struct Bed {
        folder: tempfile::TempDir,
        location: Location,
        store: Store,
    }

    impl Bed {
        fn new(text: &str) -> Bed {
            let folder = tempfile::tempdir().expect("a folder");
            let dir = folder.path().canonicalize().expect("real").join("shop");
            std::fs::create_dir(&dir).expect("made");
            let store = Store::for_tests(&folder.path().join("state"));
            let location = Location::of_folder(dir, None);
            let bed = Bed {
                folder,
                location,
                store,
            };
            bed.write("services.toml", text);
            bed
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.location.dir.join(name), text).expect("written");
        }

        fn allow(&self) {
            let loaded = project::read_edited(&self.location, Vec::new()).expect("valid");
            let kept = self.store.keep_permit(&self.location.key, &of(&self.location, &loaded));
            kept.expect("kept");
        }

        /// Why not; nothing: it is allowed.
        fn why(&self) -> String {
            match look(&self.store, &self.location) {
                Verdict::Allowed => String::new(),
                Verdict::Refused { why, .. } => why,
            }
        }
    }

    const SERVICE: &str = "[services.web]\ncommand = 'true'\n";

    #[test]
    fn every_file_that_was_read_counts() {
        let text =
            format!("include = ['more/*.toml']\n[project]\nenv_file = ['a.env']\n{SERVICE}env_file = ['b.env']\n");
        let bed = Bed::new(&text);
        std::fs::create_dir(bed.location.dir.join("more")).expect("made");
        let files = ["more/one.toml", "a.env", "b.env", "services.local.toml"];
        for name in files {
            bed.write(name, "");
        }
        assert!(bed.why().contains("is not allowed yet"));
        bed.allow();
        assert_eq!(bed.why(), "");
        for name in files {
            bed.write(name, "# more\n");
            assert!(
                bed.why().contains(&format!("{name} has changed")),
                "{name}: {}",
                bed.why()
            );
            bed.write(name, "");
            assert_eq!(bed.why(), "");
        }
        bed.write("more/two.toml", "");
        assert!(bed.why().contains("more/two.toml has come"), "{}", bed.why());
        std::fs::remove_file(bed.location.dir.join("more/two.toml")).expect("removed");
        std::fs::remove_file(bed.location.dir.join("more/one.toml")).expect("removed");
        assert!(bed.why().contains("more/one.toml is gone"), "{}", bed.why());
    }

    #[test]
    fn what_nobody_has_looked_at_is_not_understood() {
        let bed = Bed::new(SERVICE);
        bed.allow();
        // It would be searched through for a long time, and complained about.
        bed.write("services.toml", "include = ['/**/*.nosuch', 7]");
        assert!(bed.why().contains("services.toml has changed since you allowed it"));
        std::fs::remove_file(bed.location.dir.join("services.toml")).expect("removed");
        nix::unistd::mkfifo(&bed.location.dir.join("services.toml"), nix::sys::stat::Mode::S_IRWXU).expect("made");
        assert!(bed.why().contains("has changed"), "nobody waits for its writer");
    }

    #[test]
    fn a_copy_elsewhere_is_another_project() {
        let bed = Bed::new(SERVICE);
        bed.allow();
        let permit = bed.store.permit(&bed.location.key).expect("there");
        let copy = bed.folder.path().canonicalize().expect("real").join("copy");
        std::fs::create_dir(&copy).expect("made");
        std::fs::write(copy.join("services.toml"), SERVICE).expect("written");
        let copy = Location::of_folder(copy, None);
        // Also where the key would be the same.
        bed.store.keep_permit(&copy.key, &permit).expect("kept");
        assert!(matches!(look(&bed.store, &copy), Verdict::Refused { .. }));
    }

    #[test]
    fn it_is_said_once_for_each_content() {
        let bed = Bed::new(SERVICE);
        let is_news = || match look(&bed.store, &bed.location) {
            Verdict::Allowed => panic!("it is not allowed"),
            Verdict::Refused { seen, .. } => is_news(&bed.store, &bed.location, &seen).expect("kept"),
        };
        assert_eq!([is_news(), is_news()], [true, false]);
        bed.write("services.toml", "# another one\n");
        assert_eq!([is_news(), is_news()], [true, false]);
        bed.write("services.toml", SERVICE);
        bed.allow();
        bed.write("services.toml", "# another one\n");
        assert_eq!([is_news(), is_news()], [true, false]);
    }

    #[test]
    #[cfg(feature = "editing")]
    fn an_edit_of_runners_own_keeps_what_is_allowed() {
        let bed = Bed::new(SERVICE);
        bed.allow();
        let before = bed.store.permit(&bed.location.key).expect("there");
        let edited = Edited {
            path: bed.location.dir.join("services.toml"),
            text: format!("{SERVICE}# more\n"),
        };
        let now = || {
            let loaded = project::read_edited(&bed.location, Vec::new()).expect("valid");
            of(&bed.location, &loaded)
        };
        bed.write("services.toml", &edited.text);
        let written = std::slice::from_ref(&edited);
        assert!(before.differs_only_in(&now(), written));
        assert!(!before.differs_only_in(&now(), &[]));
        bed.write(".env", "");
        assert!(!before.differs_only_in(&now(), written), "somebody else's");
    }
}
