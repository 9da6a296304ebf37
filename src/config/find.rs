//! Which project: the files, and the key that stays the same for as long as the project lives.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::value;

pub const FILE_NAME: &str = "services.toml";
/// Beside the file, where `project.state_dir` says nothing else.
pub const STATE_DIR: &str = ".runner";
pub const LOCAL_NAME: &str = "services.local.toml";

/// What the user said about where the project is (`cli.md`, "Which project").
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `-f`, in order.
    pub files: Vec<PathBuf>,
    /// `-C`.
    pub directory: Option<PathBuf>,
    /// `-p`.
    pub project: Option<String>,
}

/// Where the user is.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Absolute.
    pub cwd: PathBuf,
    /// `$HOME`, where the search for a parent stops.
    pub home: Option<PathBuf>,
}

/// A project that was found; its files need not be readable or valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// Real path of the folder of the first file.
    pub dir: PathBuf,
    /// Absolute, in the order of `-f`; never empty.
    pub files: Vec<PathBuf>,
    /// `services.local.toml` beside the file, whether it exists or not; `None` with `-f`.
    pub local: Option<PathBuf>,
    /// Stable key of the project: a hash of `dir` and the name given with `-p`, in hexadecimal digits.
    pub key: String,
    /// `-p`: wins over the name in the file.
    pub name_override: Option<String>,
    /// What stands behind `--`: one service more, which no file declares.
    #[serde(default)]
    pub command: Option<CommandLine>,
}

/// CMD of `up [NAME...] -- CMD ARG...`, and where and beside whom it was typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    pub words: Vec<String>,
    /// Absolute.
    pub working_dir: PathBuf,
    pub umask: u32,
    /// Services that it is to wait for; none: all that start by themselves.
    pub names: Vec<String>,
    pub profiles: Vec<String>,
}

impl Location {
    /// By its folder (a real path) and the name of `-p`, whether or not there is a file.
    pub fn of_folder(dir: PathBuf, name_override: Option<String>) -> Location {
        Location {
            key: key_of(&dir, name_override.as_deref()),
            files: vec![dir.join(FILE_NAME)],
            local: Some(dir.join(LOCAL_NAME)),
            dir,
            name_override,
            command: None,
        }
    }

    /// Where its state is when the file says nothing about it: a second copy of the project (`-p`) has its own.
    pub fn default_state_dir(&self) -> PathBuf {
        self.own_state_dir(self.dir.join(STATE_DIR))
    }

    pub(super) fn own_state_dir(&self, state_dir: PathBuf) -> PathBuf {
        match &self.name_override {
            Some(name) => state_dir.join("copies").join(name),
            None => state_dir,
        }
    }

    /// What the project is called where no file says.
    pub fn name(&self) -> String {
        let folder = self.dir.file_name().map(|name| name.to_string_lossy().into_owned());
        self.name_override.clone().or(folder).unwrap_or_else(|| "root".into())
    }
}

/// No project there: wrong usage or a missing file (exit code 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocateError {
    pub message: String,
    pub suggestion: Option<String>,
}

impl fmt::Display for LocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LocateError {}

/// Finds the project: the files of `-f`, else the `services.toml` of the folder or of its nearest parent, stopping at
/// `$HOME` and at the border of the file system.
///
/// # Errors
/// When there is no such file or folder, or the name of `-p` can't be a name.
pub fn locate(options: &Options, around: &Surroundings) -> Result<Location, LocateError> {
    if let Some(name) = &options.project
        && let Some(fault) = value::name_fault(name)
    {
        return Err(error(format!("-p `{name}`: {fault}"), None));
    }
    let start = match &options.directory {
        Some(directory) => real_folder(&around.cwd.join(directory))?,
        None => around.cwd.clone(),
    };
    let (files, local) = if options.files.is_empty() {
        let file = nearest(&start, around.home.as_deref())?;
        let local = file.with_file_name(LOCAL_NAME);
        (vec![file], Some(local))
    } else {
        (explicit(&options.files, &start)?, None)
    };
    let folder = files[0].parent().unwrap_or(Path::new("/"));
    let dir = real_folder(folder)?;
    // What runner writes of it for others is text.
    if let Some(path) = files.iter().chain([&dir]).find(|path| path.to_str().is_none()) {
        let words = format!("{} is not UTF-8, as a project's path has to be", path.display());
        return Err(error(words, Some("rename the folder or the file")));
    }
    Ok(Location {
        key: key_of(&dir, options.project.as_deref()),
        dir,
        files,
        local,
        name_override: options.project.clone(),
        command: None,
    })
}

/// Where the project may be whose file is gone (`ps` and `down` still find it running), nearest first.
pub fn without_file(options: &Options, around: &Surroundings) -> Vec<Location> {
    let start = match &options.directory {
        Some(directory) => around.cwd.join(directory),
        None => around.cwd.clone(),
    };
    let folders = match options.files.first() {
        // With `-f` the folder is named.
        Some(file) => start
            .join(file)
            .parent()
            .map(|folder| folder.canonicalize().unwrap_or_else(|_| folder.to_owned()))
            .into_iter()
            .collect(),
        // A folder that was deleted is known by the path that it had.
        None => searched(&start.canonicalize().unwrap_or(start), around.home.as_deref()),
    };
    let location = |dir: PathBuf| {
        let location = Location::of_folder(dir, options.project.clone());
        Location {
            local: location.local.clone().filter(|_| options.files.is_empty()),
            ..location
        }
    };
    folders.into_iter().map(location).collect()
}

/// The key of a project by its folder (a real path) and the name of `-p`. The same for every user, place and version:
/// lock and socket are found by it, also when the file is gone.
pub fn key_of(dir: &Path, name: Option<&str>) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut hash = Fnv::default();
    hash.write(dir.as_os_str().as_bytes());
    hash.write(&[0]);
    hash.write(name.unwrap_or_default().as_bytes());
    format!("{:032x}", hash.0)
}

/// FNV-1a with 128 bits (RFC 9923): not for secrets, but the same for ever.
pub(super) struct Fnv(pub u128);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv {
    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}

fn error(message: String, suggestion: Option<&str>) -> LocateError {
    LocateError {
        message,
        suggestion: suggestion.map(str::to_owned),
    }
}

fn real_folder(folder: &Path) -> Result<PathBuf, LocateError> {
    match folder.canonicalize() {
        Ok(real) if real.is_dir() => Ok(real),
        Ok(_) => Err(error(format!("{} is no folder", folder.display()), None)),
        Err(cause) => {
            let message = format!("{}: {}", folder.display(), super::document::plain(&cause));
            Err(error(message.replace("file", "folder"), None))
        }
    }
}

fn explicit(files: &[PathBuf], start: &Path) -> Result<Vec<PathBuf>, LocateError> {
    let mut found = Vec::new();
    for file in files {
        let path = start.join(file);
        let metadata = path
            .metadata()
            .map_err(|cause| error(format!("{}: {}", file.display(), super::document::plain(&cause)), None))?;
        found.push(if metadata.is_dir() { path.join(FILE_NAME) } else { path });
    }
    Ok(found)
}

fn nearest(start: &Path, home: Option<&Path>) -> Result<PathBuf, LocateError> {
    let file = searched(start, home)
        .into_iter()
        .map(|folder| folder.join(FILE_NAME))
        .find(|file| file.symlink_metadata().is_ok());
    file.ok_or_else(|| {
        error(
            format!("no {FILE_NAME} in {} or a folder above it", start.display()),
            Some("`runner init` or `runner add NAME -- CMD` makes one; `-f FILE` names one elsewhere"),
        )
    })
}

/// The folder and those above it, up to `$HOME` and the border of the file system.
fn searched(start: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let home = home.map(|home| home.canonicalize().unwrap_or_else(|_| home.to_owned()));
    let device = |folder: &Path| folder.metadata().ok().map(|metadata| metadata.dev());
    let border = device(start);
    let mut folders = Vec::new();
    for folder in start.ancestors().take_while(|folder| device(folder) == border) {
        folders.push(folder.to_owned());
        if home.as_deref() == Some(folder) {
            break;
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(cwd: &Path, home: &Path) -> Surroundings {
        Surroundings {
            cwd: cwd.to_owned(),
            home: Some(home.to_owned()),
        }
    }

    #[test]
    fn the_nearest_parent_counts_up_to_home() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("real");
        let deep = root.join("home/shop/src/deep");
        std::fs::create_dir_all(&deep).expect("made");
        std::fs::write(root.join(FILE_NAME), "").expect("written");
        let home = root.join("home");
        let nowhere = locate(&Options::default(), &around(&deep, &home)).expect_err("none");
        let hint = nowhere.suggestion.expect("a way out");
        assert!(
            hint.contains("`runner init`") && hint.contains("`runner add "),
            "{hint}"
        );
        std::fs::write(root.join("home/shop").join(FILE_NAME), "").expect("written");
        let found = locate(&Options::default(), &around(&deep, &home)).expect("found");
        assert_eq!(found.dir, root.join("home/shop"));
        assert_eq!(found.local, Some(root.join("home/shop").join(LOCAL_NAME)));
        let named = Options {
            files: vec!["../shop/services.toml".into()],
            directory: Some(root.join("home/shop/src").join("..")),
            project: Some("copy".into()),
        };
        let copy = locate(&named, &around(Path::new("/"), &home)).expect("found");
        assert_eq!((copy.dir.clone(), copy.local.clone()), (found.dir.clone(), None));
        assert_ne!(copy.key, found.key);
        use std::os::unix::ffi::OsStrExt;
        let bytes = root.join(std::ffi::OsStr::from_bytes(b"home/\xff"));
        std::fs::create_dir(&bytes).expect("made");
        std::fs::write(bytes.join(FILE_NAME), "").expect("written");
        let refused = locate(&Options::default(), &around(&bytes, &home)).expect_err("no text");
        assert!(refused.message.contains("is not UTF-8"), "{refused}");
        let wrong = Options {
            project: Some("../x".into()),
            ..Options::default()
        };
        assert!(locate(&wrong, &around(&deep, &home)).is_err());
    }

    #[test]
    fn a_project_whose_file_is_gone_has_the_key_that_it_had() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path().canonicalize().expect("real");
        let deep = root.join("shop/src");
        std::fs::create_dir_all(&deep).expect("made");
        std::fs::write(root.join("shop").join(FILE_NAME), "").expect("written");
        let before = locate(&Options::default(), &around(&deep, &root)).expect("found");
        std::fs::remove_file(root.join("shop").join(FILE_NAME)).expect("removed");
        let gone = without_file(&Options::default(), &around(&deep, &root));
        let dirs: Vec<_> = gone.iter().map(|location| location.dir.as_path()).collect();
        assert_eq!(dirs, [&*deep, &*root.join("shop"), &*root]);
        assert_eq!(gone[1], before);
        let named = Options {
            files: vec!["../services.toml".into()],
            ..Options::default()
        };
        assert_eq!(without_file(&named, &around(&deep, &root))[0].key, before.key);
    }

    #[test]
    fn the_key_never_changes() {
        assert_eq!(
            key_of(Path::new("/srv/shop"), None),
            key_of(Path::new("/srv/shop"), Some(""))
        );
        assert_eq!(key_of(Path::new("/srv/shop"), Some("x")).len(), 32);
        assert_eq!(format!("{:032x}", Fnv::default().0), "6c62272e07bb014262b821756295c58d");
    }
}
