//! Fills the `working_dir` of a service from its `source`. Run by the guardian as the service's user: what it prints is in
//! the service's log, and it is ended like any command.
//!
//! It is made whole under another name, and only then is in its place: beside it, where there is no such folder, and appears at
//! once; in it, where there is an empty one, and what it holds moves up.

mod unpack;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::api::prepared::{UNFINISHED, WHOLE, beside};

/// In words, with what it is about.
type Words<T> = Result<T, String>;

/// `git FOLDER URL REV`, `checkout FOLDER URL REV`, `archive FOLDER FILE`, `finish FOLDER`; an empty `REV` is the repository's own.
pub fn fill(words: impl Iterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = words.collect();
    let texts: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let done = match texts[..] {
        ["git", folder, url, rev] => into_place(Path::new(folder), |fresh| clone(fresh, url, rev)),
        ["checkout", folder, url, rev] => checkout(Path::new(folder), url, rev),
        ["archive", folder, file] => into_place(Path::new(folder), |fresh| unpack::unpack(Path::new(file), fresh)),
        ["finish", folder] => finish(Path::new(folder)),
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
    if let (true, Ok(target)) = (!folder.exists(), folder.read_link()) {
        let (folder, target) = (folder.display(), target.display());
        return Err(format!(
            "{folder} is a link to {target}, which is not there: make that folder, or remove the link"
        ));
    }
    // Where a link leads is where it is filled.
    let folder = &folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let is_there = folder.is_dir();
    let fresh = match is_there {
        // It may be mounted, or its parent not ours to write.
        true => folder.join(UNFINISHED),
        false => {
            let parent = folder.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(parent).map_err(about(parent))?;
            beside(folder)
        }
    };
    remove(&fresh).map_err(about(&fresh))?;
    fs::create_dir(&fresh).map_err(about(&fresh))?;
    let made = make(&fresh)
        .and_then(|()| has_no_name_of_ours(&fresh))
        .and_then(|()| match is_there {
            true => {
                is_still_empty(folder)?;
                fs::rename(&fresh, folder.join(WHOLE)).map_err(about(folder))
            }
            false => fs::rename(&fresh, folder).map_err(about(folder)),
        });
    if made.is_err() {
        // What can't be removed now is by the next try.
        let _ = remove(&fresh);
    }
    made?;
    if is_there { finish(folder) } else { Ok(()) }
}

/// These names say how far a fill has come.
fn has_no_name_of_ours(fresh: &Path) -> Words<()> {
    let is_there = |name: &&str| fresh.join(name).symlink_metadata().is_ok();
    match [UNFINISHED, WHOLE].into_iter().find(is_there) {
        Some(name) => Err(format!(
            "it holds `{name}`, a name that is runner's own while a folder is filled"
        )),
        None => Ok(()),
    }
}

/// It took its time, and somebody may have put something there.
fn is_still_empty(folder: &Path) -> Words<()> {
    for entry in fs::read_dir(folder).map_err(about(folder))? {
        let name = entry.map_err(about(folder))?.file_name();
        if name != UNFINISHED {
            return Err(is_somebodys(folder, &name));
        }
    }
    Ok(())
}

fn is_somebodys(folder: &Path, name: &std::ffi::OsStr) -> String {
    let (folder, name) = (folder.display(), name.to_string_lossy());
    let name = name.escape_debug();
    format!("`{name}` has appeared in {folder} meanwhile, and is not overwritten: move it away, and it is filled")
}

/// What was made in the folder, and is whole, becomes what it holds. Killed on the way it goes on where it was.
fn finish(folder: &Path) -> Words<()> {
    let whole = folder.join(WHOLE);
    let names: io::Result<Vec<OsString>> =
        fs::read_dir(&whole).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect());
    let names = names.map_err(about(&whole))?;
    let is_taken = |name: &&OsString| folder.join(name).symlink_metadata().is_ok();
    if let Some(name) = names.iter().find(is_taken) {
        return Err(is_somebodys(folder, name));
    }
    for name in &names {
        fs::rename(whole.join(name), folder.join(name)).map_err(about(&folder.join(name)))?;
    }
    fs::remove_dir(&whole).map_err(about(&whole))
}

fn about(path: &Path) -> impl Fn(io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
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

/// Another revision of what was cloned: git(1) itself refuses to overwrite what was changed here. A branch goes on to where the
/// repository has it, unless it has commits of its own here; and what was committed here on no branch is not left behind.
fn checkout(folder: &Path, url: &str, rev: &str) -> Words<()> {
    // Before the repository is asked: what it has dropped since was never made here.
    if !holds(git(Some(folder)).args(["symbolic-ref", "--quiet", "HEAD"])) && !is_named(folder)? {
        let folder = folder.display();
        return Err(format!(
            "{folder} has commits that no branch has, and {rev} is wanted: `git -C {folder} branch NAME` keeps them"
        ));
    }
    run(git(Some(folder)).args(["fetch", "--tags", "--", url, "+refs/heads/*:refs/remotes/origin/*"]))?;
    let (ours, theirs) = (format!("refs/heads/{rev}"), format!("refs/remotes/origin/{rev}"));
    let is_there = |name: &str| holds(git(Some(folder)).args(["rev-parse", "--quiet", "--verify", name]));
    match (is_there(&theirs), is_there(&ours)) {
        (true, true) => {
            if !holds(git(Some(folder)).args(["merge-base", "--is-ancestor", &ours, &theirs])) {
                return Err(format!(
                    "the branch {rev} of {} has commits that {url} has not: push them, or `git -C {} branch -m {rev} NAME` keeps them",
                    folder.display(),
                    folder.display()
                ));
            }
            run(git(Some(folder)).args(["checkout", "--quiet", rev, "--"]))?;
            run(git(Some(folder)).args(["merge", "--quiet", "--ff-only", &theirs]))?;
        }
        (true, false) => run(git(Some(folder)).args(["checkout", "--quiet", "-b", rev, &theirs, "--"]))?,
        (false, _) => run(git(Some(folder)).args(["checkout", "--quiet", rev, "--"]))?,
    }
    run(git(Some(folder)).args(["submodule", "update", "--init", "--recursive"]))
}

/// Whether a branch or a tag has what is checked out.
fn is_named(folder: &Path) -> Words<bool> {
    let mut refs = git(Some(folder));
    refs.args(["for-each-ref", "--count=1", "--contains=HEAD"])
        .stderr(Stdio::inherit());
    let answer = refs.output().map_err(unasked)?;
    match answer.status.success() {
        true => Ok(!answer.stdout.is_empty()),
        false => Err(format!("git: {}", answer.status)),
    }
}

/// What git(1) says of a question, and nothing else.
fn holds(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn git(folder: Option<&Path>) -> Command {
    let mut git = Command::new("git");
    if let Some(folder) = folder {
        git.arg("-C").arg(folder);
    }
    git.stdin(Stdio::null());
    git
}

fn run(command: &mut Command) -> Words<()> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("git: {status}")),
        Err(error) => Err(unasked(error)),
    }
}

fn unasked(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no `git` in the PATH of the service: install it, or use `archive`".to_owned()
        }
        _ => format!("git: {error}"),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn two(fresh: &Path) -> Words<()> {
        fs::write(fresh.join("a"), "").unwrap();
        fs::create_dir(fresh.join("b")).map_err(about(fresh))
    }

    #[test]
    fn a_folder_is_made_or_filled_where_it_is_also_behind_a_link() {
        let bed = tempfile::tempdir().unwrap();
        let (new, old, link) = (
            bed.path().join("x/new"),
            bed.path().join("old"),
            bed.path().join("link"),
        );
        fs::create_dir(&old).unwrap();
        std::os::unix::fs::symlink("old", &link).unwrap();
        into_place(&new, two).unwrap();
        into_place(&link, two).unwrap();
        assert!(link.is_symlink());
        for folder in [&new, &old] {
            assert_eq!(names(folder), ["a", "b"]);
        }
        assert_eq!(names(bed.path()), ["link", "old", "x"]);
        assert_eq!(names(&bed.path().join("x")), ["new"]);
    }

    #[test]
    fn what_fails_leaves_nothing_and_what_was_killed_goes_on() {
        let bed = tempfile::tempdir().unwrap();
        let folder = bed.path().join("old");
        fs::create_dir(&folder).unwrap();
        let broken = |fresh: &Path| two(fresh).and(Err("no".to_owned()));
        assert_eq!(into_place(&folder, broken), Err("no".to_owned()));
        assert_eq!(names(&folder), [""; 0]);
        // Killed while it was made, and while it moved up.
        fs::create_dir(folder.join(UNFINISHED)).unwrap();
        fs::write(folder.join(UNFINISHED).join("torn"), "").unwrap();
        into_place(&folder, two).unwrap();
        fs::create_dir(folder.join(WHOLE)).unwrap();
        fs::rename(folder.join("a"), folder.join(WHOLE).join("a")).unwrap();
        finish(&folder).unwrap();
        assert_eq!(names(&folder), ["a", "b"]);
    }

    #[test]
    fn what_somebody_put_there_meanwhile_is_not_overwritten() {
        let bed = tempfile::tempdir().unwrap();
        let folder = bed.path().join("old");
        fs::create_dir(&folder).unwrap();
        let meanwhile = |fresh: &Path| {
            fs::write(folder.join("a"), "mine").unwrap();
            two(fresh)
        };
        let words = into_place(&folder, meanwhile).unwrap_err();
        assert!(words.contains("`a`"), "{words}");
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "mine");
        assert_eq!(names(&folder), ["a"]);
        // While it moves up, too.
        fs::create_dir(folder.join(WHOLE)).unwrap();
        two(&folder.join(WHOLE)).unwrap();
        let words = finish(&folder).unwrap_err();
        assert!(words.contains("`a`"), "{words}");
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "mine");
        fs::remove_file(folder.join("a")).unwrap();
        finish(&folder).unwrap();
        assert_eq!(names(&folder), ["a", "b"]);
    }

    #[test]
    fn names_that_are_ours_and_links_to_nowhere_are_refused() {
        let bed = tempfile::tempdir().unwrap();
        for name in [UNFINISHED, WHOLE] {
            for folder in [bed.path().join("new"), bed.path().to_owned()] {
                let ours = |fresh: &Path| fs::create_dir(fresh.join(name)).map_err(about(fresh));
                let words = into_place(&folder, ours).unwrap_err();
                assert!(words.contains(name), "{words}");
                assert_eq!(names(bed.path()), [""; 0]);
            }
        }
        let link = bed.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let words = into_place(&link, two).unwrap_err();
        assert!(words.contains("nowhere") && words.contains("not there"), "{words}");
        assert_eq!(names(bed.path()), ["link"]);
    }
}
