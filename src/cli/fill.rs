//! Fills the `working_dir` of a service from its `source`. Run by the guardian as the service's user: what it prints is in
//! the service's log, and it is ended like any command.
//!
//! The folder appears at once and whole: it is made under another name beside its place, which is only then its own.

mod unpack;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In words, with what it is about.
type Words<T> = Result<T, String>;

/// `git FOLDER URL REV`, `checkout FOLDER URL REV`, `archive FOLDER FILE`; an empty `REV` is the repository's own.
pub fn fill(words: impl Iterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = words.collect();
    let texts: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let done = match texts[..] {
        ["git", folder, url, rev] => into_place(Path::new(folder), |fresh| clone(fresh, url, rev)),
        ["checkout", folder, url, rev] => checkout(Path::new(folder), url, rev),
        ["archive", folder, file] => into_place(Path::new(folder), |fresh| unpack::unpack(Path::new(file), fresh)),
        _ => Err("these words mean nothing here".to_owned()),
    };
    match done {
        Ok(()) => 0,
        Err(words) => {
            eprintln!("runner: {words}");
            1
        }
    }
}

/// Makes what is to be the folder, and puts it in its place. Nothing is left of a work that was not completed.
fn into_place(folder: &Path, make: impl FnOnce(&Path) -> Words<()>) -> Words<()> {
    let said = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let parent = folder.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(|error| said(parent, error))?;
    let mut name = OsString::from(".");
    name.push(folder.file_name().unwrap_or_default());
    name.push(".runner-fills");
    let fresh = parent.join(name);
    remove(&fresh).map_err(|error| said(&fresh, error))?;
    fs::create_dir(&fresh).map_err(|error| said(&fresh, error))?;
    let made = make(&fresh).and_then(|()| take_place(&fresh, folder).map_err(|error| said(folder, error)));
    if made.is_err() {
        // What can't be removed now is by the next try.
        let _ = remove(&fresh);
    }
    made
}

/// An empty folder makes room; anything else is somebody's.
fn take_place(fresh: &Path, folder: &Path) -> io::Result<()> {
    if let Ok(metadata) = folder.metadata() {
        fs::set_permissions(fresh, metadata.permissions())?;
    }
    fs::rename(fresh, folder)
}

fn remove(fresh: &Path) -> io::Result<()> {
    match fs::remove_dir_all(fresh) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn clone(fresh: &Path, url: &str, rev: &str) -> Words<()> {
    let mut clone = git(None);
    clone.args(["clone", "--recurse-submodules"]);
    if !rev.is_empty() {
        clone.arg("--no-checkout");
    }
    run(clone.args(["--", url]).arg(fresh))?;
    if rev.is_empty() {
        return Ok(());
    }
    run(git(Some(fresh)).args(["checkout", "--quiet", rev, "--"]))?;
    run(git(Some(fresh)).args(["submodule", "update", "--init", "--recursive"]))
}

/// Another revision of what was cloned: git(1) itself refuses to overwrite what was changed here.
fn checkout(folder: &Path, url: &str, rev: &str) -> Words<()> {
    run(git(Some(folder)).args(["fetch", "--tags", "--", url, "+refs/heads/*:refs/remotes/origin/*"]))?;
    // A branch is where the repository has it, not where it was here.
    let remote = format!("origin/{rev}");
    let is_branch = git(Some(folder))
        .args(["rev-parse", "--quiet", "--verify", &format!("refs/remotes/{remote}")])
        .stdout(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    match is_branch {
        true => run(git(Some(folder)).args(["checkout", "--quiet", "-B", rev, &remote, "--"])),
        false => run(git(Some(folder)).args(["checkout", "--quiet", rev, "--"])),
    }
}

fn git(folder: Option<&Path>) -> Command {
    let mut git = Command::new("git");
    if let Some(folder) = folder {
        git.arg("-C").arg(folder);
    }
    git.stdin(std::process::Stdio::null());
    git
}

fn run(command: &mut Command) -> Words<()> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("git: {status}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("there is no `git` in the PATH of the service: install it, or use `archive`".to_owned())
        }
        Err(error) => Err(format!("git: {error}")),
    }
}

/// A path inside of the folder, of an entry's name; `None`: it would leave it.
fn inside(name: &Path) -> Option<PathBuf> {
    use std::path::Component;
    let mut path = PathBuf::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}
