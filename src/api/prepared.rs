//! What was prepared, as it is remembered: a step whose command, inputs and outcome are the same is not run again.
//!
//! One file for each service in the state folder. It is a saving, never the truth: what can't be read is done again, and
//! what can't be written is done every time.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::spec::{PrepareStep, ServiceName, WatchGlob};

/// A file that was written so shortly before it was looked at may be written again without a trace in its times.
const FRESH_NS: i128 = 1_000_000_000;
/// What a folder is called, or ends with, while it is filled; and in one that was there, once that is whole.
pub const UNFINISHED: &str = ".runner-fills";
pub const WHOLE: &str = ".runner-filled";
/// What a folder that is not there yet is called while it is made.
pub fn beside(folder: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(folder.file_name().unwrap_or_default());
    name.push(UNFINISHED);
    folder.parent().unwrap_or(Path::new("/")).join(name)
}

/// A note is no longer.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The notes on one service.
pub struct Notes {
    file: Option<PathBuf>,
    service: String,
    noted: Noted,
    reader: Reader,
}

/// Does something with the rights of somebody else.
pub type WithTheirRights = dyn Fn(&mut (dyn FnMut() + Send)) -> io::Result<()> + Send + Sync;

/// Who reads what steps depend on, and whether anybody still waits for it.
#[derive(Clone, Default)]
pub struct Reader {
    /// `None`: we do.
    pub rights: Option<Arc<WithTheirRights>>,
    pub ended: Arc<AtomicBool>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Noted {
    /// What folders were filled with: replicas may have one each.
    sources: Vec<Filled>,
    /// By the replica that was prepared, and the hash of the step.
    steps: BTreeMap<String, BTreeMap<String, Inputs>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filled {
    pub folder: PathBuf,
    pub from: String,
    /// How the archive was.
    pub archive: Option<Inputs>,
    /// It was begun, and nobody has seen its end.
    #[serde(default)]
    pub begun: bool,
}

/// How the inputs of a step were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// Of all that they hold.
    content: String,
    files: BTreeMap<PathBuf, Stamp>,
    /// When it was looked at, in nanoseconds since 1970.
    at: i128,
}

/// What tells that a file was not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    size: u64,
    inode: u64,
    /// When its content and when anything of it was changed last.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Notes {
    /// Where they are kept.
    pub fn folder(state_dir: &Path) -> PathBuf {
        state_dir.join("prepared")
    }

    /// Replicas are prepared together. `state_dir`: `None` where nothing can be kept.
    pub fn read(state_dir: Option<&Path>, service: &ServiceName) -> Notes {
        let file = state_dir.map(|folder| Notes::folder(folder).join(format!("{}.json", service.base())));
        let text = file.as_deref().and_then(|file| {
            let short = file.metadata().is_ok_and(|metadata| metadata.len() <= LARGEST);
            short.then(|| std::fs::read(file).ok()).flatten()
        });
        let noted = text.and_then(|text| serde_json::from_slice(&text).ok());
        Notes {
            file,
            service: service.to_string(),
            noted: noted.unwrap_or_default(),
            reader: Reader::default(),
        }
    }

    #[must_use]
    pub fn read_by(mut self, reader: Reader) -> Notes {
        self.reader = reader;
        self
    }

    /// Only what still counts: of the replicas that there are (`None`: nobody knows), and of the steps that this one has. Else an
    /// old note would come to life again with the replica or with the step.
    #[must_use]
    pub fn still(mut self, replicas: Option<&[ServiceName]>, folder: &Path, steps: &[PrepareStep]) -> Notes {
        let keys: Vec<String> = steps.iter().map(|step| key(step, folder)).collect();
        let count =
            |steps: &BTreeMap<String, BTreeMap<String, Inputs>>| steps.values().map(|steps| 1 + steps.len()).sum();
        let before: usize = count(&self.noted.steps);
        let own = &self.service;
        self.noted
            .steps
            .retain(|name, _| name == own || replicas.is_none_or(|all| all.iter().any(|one| one.as_str() == name)));
        if let Some(steps) = self.noted.steps.get_mut(own) {
            steps.retain(|known, _| keys.contains(known));
        }
        if count(&self.noted.steps) != before {
            self.write();
        }
        self
    }

    /// Forgets all of it.
    ///
    /// # Errors
    /// The file is there and can't be deleted.
    pub fn delete(self) -> io::Result<()> {
        match self.file.map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// What runner has filled this folder with.
    pub fn source(&self, folder: &Path) -> Option<&Filled> {
        self.noted.sources.iter().find(|filled| filled.folder == folder)
    }

    #[must_use]
    pub fn with(mut self, filled: Filled) -> Notes {
        self.filled(filled);
        self
    }

    /// It came to nothing.
    pub fn not_filled(&mut self, folder: &Path) {
        self.noted.sources.retain(|known| known.folder != folder);
        self.write();
    }

    pub fn filled(&mut self, filled: Filled) {
        self.noted.sources.retain(|known| known.folder != filled.folder);
        self.noted.sources.push(filled);
        self.write();
    }

    /// How an archive is now; what is known of it need not be read again.
    ///
    /// # Errors
    /// It can't be read.
    pub fn archive(&self, path: &Path) -> io::Result<Inputs> {
        let at = now_ns();
        let metadata = self
            .reader
            .read(|_| path.metadata().map_err(|error| about(path, &error)))?;
        if !metadata.is_file() {
            return Err(about(path, &io::Error::other("it is no regular file")));
        }
        let mut now = Inputs {
            content: String::new(),
            files: BTreeMap::from([(path.to_owned(), Stamp::of(&metadata))]),
            at,
        };
        let mut archives = self.noted.sources.iter().filter_map(|filled| filled.archive.as_ref());
        let known = archives.find(|known| known.files.contains_key(path));
        now.content = match known.filter(|known| known.is_untouched(&now)) {
            Some(known) => known.content.clone(),
            None => self.reader.read(|ended| content(&now.files, ended))?,
        };
        Ok(now)
    }

    /// `None`: the step is done. Else how its inputs are now, to be noted once it is.
    ///
    /// # Errors
    /// An input can't be read.
    pub fn is_due(&mut self, step: &PrepareStep, folder: &Path) -> io::Result<Option<Inputs>> {
        let key = key(step, folder);
        let known = self.noted.steps.values().find_map(|steps| steps.get(&key));
        let look = |ended: &AtomicBool| {
            let is_there = step.creates.as_ref().is_none_or(|path| path.symlink_metadata().is_ok());
            Ok((Inputs::look(&step.inputs, ended)?, is_there))
        };
        let (mut now, is_there) = self.reader.read(look)?;
        let read = |files: &BTreeMap<PathBuf, Stamp>| self.reader.read(|ended| content(files, ended));
        match known.filter(|_| is_there) {
            Some(known) if known.is_untouched(&now) => now = known.clone(),
            Some(known) => {
                now.content = read(&now.files)?;
                if now.content != known.content {
                    return Ok(Some(now));
                }
            }
            None => {
                now.content = read(&now.files)?;
                return Ok(Some(now));
            }
        }
        if self.put(&key, &now) {
            self.write();
        }
        Ok(None)
    }

    /// For this replica, so that it counts when the one that did it is no more, and for all that have the same step: whether
    /// that is new.
    fn put(&mut self, key: &str, inputs: &Inputs) -> bool {
        let own = self.noted.steps.entry(self.service.clone()).or_default();
        let mut is_new = own.insert(key.to_owned(), inputs.clone()).as_ref() != Some(inputs);
        for noted in self.noted.steps.values_mut().filter_map(|steps| steps.get_mut(key)) {
            is_new |= noted != inputs;
            noted.clone_from(inputs);
        }
        is_new
    }

    /// It was done in this folder with these inputs, for all replicas that have the same step. Steps of this replica that are no
    /// more are forgotten.
    pub fn done(&mut self, step: &PrepareStep, folder: &Path, inputs: Inputs, all: &[PrepareStep]) {
        let (own, keys) = (
            key(step, folder),
            all.iter().map(|step| key(step, folder)).collect::<Vec<_>>(),
        );
        let steps = self.noted.steps.entry(self.service.clone()).or_default();
        steps.retain(|known, _| keys.contains(known));
        self.put(&own, &inputs);
        self.write();
    }

    fn write(&self) {
        let Some(file) = &self.file else { return };
        let Ok(text) = serde_json::to_vec(&self.noted) else {
            return;
        };
        let fresh = file.with_extension("json.new");
        let written = std::fs::create_dir_all(file.parent().unwrap_or(file))
            .and_then(|()| std::fs::write(&fresh, &text))
            .and_then(|()| std::fs::rename(&fresh, file));
        if let Err(error) = written {
            tracing::warn!(file = %file.display(), %error, "what is prepared can't be noted and will be done again");
        }
    }
}

impl Reader {
    fn read<T: Send>(&self, work: impl FnOnce(&AtomicBool) -> io::Result<T> + Send) -> io::Result<T> {
        let Some(rights) = &self.rights else {
            return work(&self.ended);
        };
        let (mut work, mut read) = (Some(work), None);
        rights(&mut || read = work.take().map(|work| work(&self.ended)))?;
        read.unwrap_or_else(|| Err(io::Error::other("nobody has read it")))
    }
}

impl Inputs {
    fn look(globs: &[WatchGlob], ended: &AtomicBool) -> io::Result<Inputs> {
        let at = now_ns();
        let mut files = BTreeMap::new();
        for glob in globs {
            let matcher = match glob.pattern.as_str() {
                "" => None,
                pattern => {
                    let built = GlobBuilder::new(pattern).literal_separator(true).build();
                    Some(built.map_err(io::Error::other)?.compile_matcher())
                }
            };
            walk(&glob.base, Path::new(""), matcher.as_ref(), &mut files, ended)?;
        }
        Ok(Inputs {
            content: String::new(),
            files,
            at,
        })
    }

    /// The hash of all that they hold.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The same files with the same stamps, none of them from the moment at which they were looked at.
    fn is_untouched(&self, now: &Inputs) -> bool {
        let is_old = |stamp: &Stamp| {
            let (seconds, nanoseconds) = stamp.changed.max(stamp.modified);
            i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds) + FRESH_NS < self.at
        };
        self.files == now.files && self.files.values().all(is_old)
    }
}

impl Stamp {
    pub fn of(metadata: &std::fs::Metadata) -> Stamp {
        Stamp {
            size: metadata.len(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn now_ns() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as i128)
}

/// Regular files that match, and those below a folder that does. Links to folders are not followed: they may lead in circles.
fn walk(
    base: &Path,
    below: &Path,
    matcher: Option<&GlobMatcher>,
    files: &mut BTreeMap<PathBuf, Stamp>,
    ended: &AtomicBool,
) -> io::Result<()> {
    go_on(ended)?;
    let path = if below.as_os_str().is_empty() {
        base.to_owned()
    } else {
        base.join(below)
    };
    let named = below.as_os_str().is_empty();
    let metadata = match if named {
        path.metadata()
    } else {
        path.symlink_metadata()
    } {
        Ok(metadata) => metadata,
        // That it is not there is an input as well.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(about(&path, &error)),
    };
    let matcher = matcher.filter(|matcher| !matcher.is_match(below));
    if metadata.is_dir() {
        for entry in std::fs::read_dir(&path).map_err(|error| about(&path, &error))? {
            let entry = entry.map_err(|error| about(&path, &error))?;
            walk(base, &below.join(entry.file_name()), matcher, files, ended)?;
        }
    } else if matcher.is_none() {
        let target = if metadata.is_symlink() {
            path.metadata().ok()
        } else {
            Some(metadata)
        };
        if let Some(metadata) = target.filter(std::fs::Metadata::is_file) {
            files.insert(path, Stamp::of(&metadata));
        }
    }
    Ok(())
}

/// The hash of all that the files hold, and of their names.
fn content(files: &BTreeMap<PathBuf, Stamp>, ended: &AtomicBool) -> io::Result<String> {
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::OpenOptionsExt;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 64 * 1024];
    for path in files.keys() {
        // What it is may be another thing than when it was looked at: no pipe is waited for.
        let mut options = std::fs::File::options();
        let opened = options
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path);
        let mut file = opened.map_err(|error| about(path, &error))?;
        if !file.metadata()?.is_file() {
            return Err(about(path, &io::Error::other("it is no regular file")));
        }
        let name = path.as_os_str().as_bytes();
        hasher.update(name.len().to_le_bytes());
        hasher.update(name);
        let mut one = Sha256::new();
        loop {
            go_on(ended)?;
            match file.read(&mut chunk).map_err(|error| about(path, &error))? {
                0 => break,
                count => one.update(&chunk[..count]),
            }
        }
        hasher.update(one.finalize());
    }
    Ok(hex(&hasher.finalize()))
}

/// Nobody may wait for it any more.
fn go_on(ended: &AtomicBool) -> io::Result<()> {
    match ended.load(Ordering::Relaxed) {
        true => Err(io::Error::other("it was ended")),
        false => Ok(()),
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// What makes a step another one.
fn key(step: &PrepareStep, folder: &Path) -> String {
    let mut hasher = Sha256::new();
    let inputs = step.inputs.iter().map(WatchGlob::text);
    let creates = step.creates.iter().map(|path| path.display().to_string());
    let parts = [
        vec![folder.display().to_string()],
        step.run.words.clone(),
        inputs.collect::<Vec<_>>(),
        creates.collect::<Vec<_>>(),
    ];
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        for text in part {
            hasher.update(text.len().to_le_bytes());
            hasher.update(text);
        }
    }
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Argv;

    struct Bed {
        folder: tempfile::TempDir,
        step: PrepareStep,
    }

    impl Bed {
        fn with(inputs: &[(&str, &str)], creates: Option<&str>) -> Bed {
            let folder = tempfile::tempdir().unwrap();
            let at = |path: &str| folder.path().join(path);
            let step = PrepareStep {
                run: Argv {
                    words: vec!["npm".into(), "ci".into()],
                    shell: false,
                },
                inputs: inputs
                    .iter()
                    .map(|(base, pattern)| WatchGlob {
                        base: at(base),
                        pattern: (*pattern).to_owned(),
                    })
                    .collect(),
                creates: creates.map(at),
            };
            Bed { folder, step }
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn notes(&self) -> Notes {
            Notes::read(Some(self.folder.path()), &ServiceName::new("web"))
        }

        fn is_due(&self) -> bool {
            self.notes().is_due(&self.step, self.folder.path()).unwrap().is_some()
        }

        fn run(&self) {
            let inputs = self
                .notes()
                .is_due(&self.step, self.folder.path())
                .unwrap()
                .expect("it is due");
            self.notes()
                .done(&self.step, self.folder.path(), inputs, std::slice::from_ref(&self.step));
        }
    }

    #[test]
    fn a_step_is_done_until_its_inputs_change() {
        let bed = Bed::with(&[("package-lock.json", ""), ("src", "**/*.js")], None);
        bed.write("package-lock.json", "1");
        bed.write("src/a/b.js", "1");
        bed.write("src/c.txt", "1");
        bed.run();
        assert!(!bed.is_due());
        bed.write("src/c.txt", "other");
        assert!(!bed.is_due(), "it is no input");
        // As long, and in the same instant as far as a file system tells.
        bed.write("package-lock.json", "2");
        assert!(bed.is_due());
        bed.run();
        // Written again with the same content.
        bed.write("src/a/b.js", "1");
        assert!(!bed.is_due());
        bed.write("src/new.js", "");
        assert!(bed.is_due());
        bed.run();
        std::fs::remove_file(bed.folder.path().join("src/new.js")).unwrap();
        assert!(bed.is_due());
    }

    #[test]
    fn what_it_creates_has_to_be_there() {
        let bed = Bed::with(&[], Some("node_modules"));
        bed.run();
        assert!(bed.is_due(), "it has not made it");
        bed.write("node_modules/x", "");
        assert!(!bed.is_due());
    }

    #[test]
    fn another_command_is_another_step() {
        let mut bed = Bed::with(&[], None);
        bed.run();
        assert!(!bed.is_due());
        bed.step.run.words.push("--force".into());
        assert!(bed.is_due());
        bed.run();
        bed.step.run.words.pop();
        assert!(bed.is_due(), "the step before was forgotten");
    }

    #[test]
    fn replicas_are_prepared_once_and_each_forgets_only_its_own() {
        let mut bed = Bed::with(&[], None);
        let notes = |name: &str| Notes::read(Some(bed.folder.path()), &ServiceName::new(name));
        let steps = std::slice::from_ref(&bed.step);
        notes("web@1").done(&bed.step, Path::new("/"), Inputs::default(), steps);
        assert!(notes("web@2").is_due(&bed.step, Path::new("/")).unwrap().is_none());
        assert!(notes("other").is_due(&bed.step, Path::new("/")).unwrap().is_some());
        let first = bed.step.clone();
        bed.step.run.words.push("--force".into());
        let notes = |name: &str| Notes::read(Some(bed.folder.path()), &ServiceName::new(name));
        notes("web@2").done(
            &bed.step,
            Path::new("/"),
            Inputs::default(),
            std::slice::from_ref(&bed.step),
        );
        assert!(notes("web@1").is_due(&first, Path::new("/")).unwrap().is_none());
        notes("web@1").done(
            &bed.step,
            Path::new("/"),
            Inputs::default(),
            std::slice::from_ref(&bed.step),
        );
        assert!(notes("web@1").is_due(&first, Path::new("/")).unwrap().is_some());
    }

    #[test]
    fn notes_that_say_nothing_are_no_notes() {
        let bed = Bed::with(&[], None);
        bed.run();
        let file = bed.folder.path().join("prepared/web.json");
        let whole = std::fs::read(&file).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            assert!(bed.is_due(), "{length}");
        }
        std::fs::write(&file, &whole).unwrap();
        assert!(!bed.is_due());
    }

    #[test]
    fn a_circle_of_links_has_an_end() {
        let bed = Bed::with(&[("src", "")], None);
        bed.write("src/a.js", "");
        std::os::unix::fs::symlink(".", bed.folder.path().join("src/again")).unwrap();
        bed.run();
        assert!(!bed.is_due());
    }

    #[test]
    fn what_can_t_be_read_is_said() {
        let bed = Bed::with(&[("a.txt/b", "")], None);
        bed.write("a.txt", "");
        let error = bed.notes().is_due(&bed.step, Path::new("/")).unwrap_err();
        assert!(error.to_string().contains("a.txt/b"), "{error}");
    }

    #[test]
    fn what_one_replica_did_anew_is_done_for_all() {
        let bed = Bed::with(&[("lock", "")], None);
        bed.write("lock", "1");
        let notes = |name: &str| Notes::read(Some(bed.folder.path()), &ServiceName::new(name));
        let due = |name: &str| notes(name).is_due(&bed.step, Path::new("/")).unwrap();
        let run = |name: &str| {
            let inputs = due(name).expect("it is due");
            notes(name).done(&bed.step, Path::new("/"), inputs, std::slice::from_ref(&bed.step));
        };
        run("web@1");
        bed.write("lock", "22");
        run("web@2");
        assert!(due("web@1").is_none() && due("web@2").is_none());
        bed.write("lock", "1");
        assert!(due("web@2").is_some(), "what was done first is not what is there now");
        let elsewhere = notes("web@1").is_due(&bed.step, Path::new("/srv"));
        assert!(
            elsewhere.unwrap().is_some(),
            "a command means another thing in another folder"
        );
    }

    #[test]
    fn what_is_read_is_a_file_and_reading_can_be_ended() {
        let bed = Bed::with(&[("a", "")], None);
        bed.write("a", "1");
        let (pipe, ended) = (bed.folder.path().join("pipe"), AtomicBool::new(false));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let stamp = Stamp::of(&pipe.metadata().unwrap());
        let of_pipe = BTreeMap::from([(pipe.clone(), stamp)]);
        assert!(
            content(&of_pipe, &ended)
                .unwrap_err()
                .to_string()
                .contains("no regular file")
        );
        assert!(
            bed.notes()
                .archive(&pipe)
                .unwrap_err()
                .to_string()
                .contains("no regular file")
        );
        let reader = Reader::default();
        reader.ended.store(true, Ordering::Relaxed);
        let mut notes = bed.notes().read_by(reader);
        assert!(
            notes
                .is_due(&bed.step, Path::new("/"))
                .unwrap_err()
                .to_string()
                .contains("was ended")
        );
    }

    #[test]
    fn it_is_read_with_the_rights_of_who_runs_it() {
        let bed = Bed::with(&[("a", "")], None);
        bed.write("a", "1");
        let rights: Arc<WithTheirRights> = Arc::new(|work| {
            work();
            Ok(())
        });
        let none: Arc<WithTheirRights> = Arc::new(|_| Err(io::ErrorKind::PermissionDenied.into()));
        let due = |rights| {
            let reader = Reader {
                rights: Some(rights),
                ..Reader::default()
            };
            bed.notes().read_by(reader).is_due(&bed.step, Path::new("/"))
        };
        assert!(due(rights).unwrap().is_some());
        assert_eq!(due(none).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_replica_that_is_no_more_says_nothing_of_what_is_done() {
        let mut bed = Bed::with(&[], None);
        let (folder, replicas) = (Path::new("/"), ["web@1", "web@2"].map(ServiceName::new));
        let notes = |bed: &Bed, name: &str, replicas: &[ServiceName]| {
            let steps = std::slice::from_ref(&bed.step);
            Notes::read(Some(bed.folder.path()), &ServiceName::new(name)).still(Some(replicas), folder, steps)
        };
        let is_due = |bed: &Bed, name: &str, replicas: &[ServiceName]| {
            notes(bed, name, replicas).is_due(&bed.step, folder).unwrap().is_some()
        };
        let run = |bed: &Bed, name: &str, replicas: &[ServiceName]| {
            let steps = std::slice::from_ref(&bed.step);
            notes(bed, name, replicas).done(&bed.step, folder, Inputs::default(), steps);
        };
        run(&bed, "web@2", &replicas);
        assert!(!is_due(&bed, "web@1", &replicas));
        // What the other did still counts without it.
        let one = &replicas[..1];
        assert!(!is_due(&bed, "web@1", one));
        // There and back again, with nobody who does the first one meanwhile.
        run(&bed, "web@2", &replicas);
        bed.step.run.words.push("--force".into());
        run(&bed, "web@1", one);
        bed.step.run.words.pop();
        assert!(is_due(&bed, "web@1", one), "another step was done since");
        assert!(is_due(&bed, "web@1", &replicas), "nor does it come to life again");
    }

    #[test]
    fn a_step_that_is_no_more_is_forgotten_though_nothing_was_run() {
        let mut bed = Bed::with(&[], None);
        let (folder, replicas) = (Path::new("/"), ["web@1", "web@2"].map(ServiceName::new));
        let notes = |bed: &Bed, name: &str| {
            let steps = std::slice::from_ref(&bed.step);
            Notes::read(Some(bed.folder.path()), &ServiceName::new(name)).still(Some(&replicas), folder, steps)
        };
        let first = std::slice::from_ref(&bed.step).to_vec();
        notes(&bed, "web@1").done(&first[0], folder, Inputs::default(), &first);
        bed.step.run.words.push("--force".into());
        let second = std::slice::from_ref(&bed.step).to_vec();
        notes(&bed, "web@2").done(&second[0], folder, Inputs::default(), &second);
        assert!(notes(&bed, "web@1").is_due(&bed.step, folder).unwrap().is_none());
        bed.step.run.words.pop();
        assert!(notes(&bed, "web@1").is_due(&bed.step, folder).unwrap().is_some());
    }
}
