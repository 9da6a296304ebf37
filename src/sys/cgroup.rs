//! Control groups of version 2 (cgroups(7)): a group for each service below runner's own, which nobody leaves by making
//! a session or by forking away, and which is killed as a whole.
//!
//! A group of ours is `HOME/PROJECT.runner/NAME`. Nothing else is ever written to: `HOME` is the group that we live in
//! (or the one around the outermost `*.runner`, when we were started inside somebody's service), and a [`Group`] is two
//! names below it. No controller is switched on anywhere, so the rule of no inner processes has nothing to say.

mod limit;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::pidfd;

pub use limit::memory_limit;

/// How the folder of a project's groups ends: no unit of systemd is named like this.
const OURS: &str = ".runner";
/// Looks of one kill without `cgroup.kill`, and looks at a group that is populated by nobody.
const LOOKS: u32 = 64;

/// Where groups of ours can be made.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    /// `cgroup.kill` is there (Linux 5.14).
    kills: bool,
}

/// Why there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// No version 2 is mounted where we could see our own group.
    NotMounted,
    /// We may not make groups below ours, or nothing could live in them.
    ReadOnly,
}

impl Home {
    /// Looks, and makes (and removes) a group to see that it works.
    ///
    /// # Errors
    /// Why it doesn't.
    pub fn find() -> Result<Home, Absence> {
        let own = own().filter(|own| own.is_dir()).ok_or(Absence::NotMounted)?;
        let path = around_ours(&own);
        // Moving a process takes the list of the group that it leaves, too.
        for needed in [&path, &path.join("cgroup.procs")] {
            access(needed, AccessFlags::W_OK).map_err(|_| Absence::ReadOnly)?;
        }
        let trial = path.join(format!("trial-{}{OURS}", std::process::id()));
        fs::create_dir(&trial).map_err(|_| Absence::ReadOnly)?;
        // Below a threaded group there are only groups that nobody can enter.
        let is_domain = text(&trial.join("cgroup.type")).is_some_and(|kind| kind.trim() == "domain");
        let kills = trial.join("cgroup.kill").exists();
        let _ = fs::remove_dir(&trial);
        let enterable = is_domain.then_some(Home { path, kills });
        enterable.ok_or(Absence::ReadOnly)
    }

    /// Groups are killed in one write, not member by member.
    pub fn kills(&self) -> bool {
        self.kills
    }

    pub fn without_kill(self) -> Home {
        Home { kills: false, ..self }
    }

    /// Moves this process there, if it was started inside a service of some runner: that one's end is not ours.
    ///
    /// # Errors
    /// We may not. Groups of ours then can't be entered either.
    pub fn move_in(&self) -> io::Result<()> {
        if own().as_ref() == Some(&self.path) {
            return Ok(());
        }
        write(&self.path.join("cgroup.procs"), "0")
    }

    /// Makes the group `PROJECT.runner/NAME`.
    ///
    /// # Errors
    /// It is no such name; somebody lives in a group of that name; we may not (any more).
    pub fn make(&self, name: &str) -> io::Result<Group> {
        let group = self.group(name)?;
        let make = || fs::create_dir(&group.path);
        match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(self.project_of(&group))?;
                make()?;
            }
            // Only an empty one can be removed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir(&group.path)?;
                make()?;
            }
            done => done?,
        }
        Ok(group)
    }

    /// The group of that name, whether or not it is there.
    ///
    /// # Errors
    /// It is no name of a group of ours.
    pub fn group(&self, name: &str) -> io::Result<Group> {
        let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['/', '\0', '\n']);
        match name.split_once('/') {
            Some((project, rest)) if project.ends_with(OURS) && is_plain(project) && is_plain(rest) => Ok(Group {
                path: self.path.join(project).join(rest),
                kills: self.kills,
            }),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "that is no name of a group of ours",
            )),
        }
    }

    fn project_of<'g>(&self, group: &'g Group) -> &'g Path {
        group.path.parent().unwrap_or(&group.path)
    }

    /// Removes the empty groups beside this one: what earlier lives have left. Those with somebody inside stay.
    pub fn clean_beside(&self, group: &Group) {
        for path in folders(self.project_of(group)).filter(|path| *path != group.path) {
            let kills = self.kills;
            Group { path, kills }.remove();
        }
    }

    /// Name of the group of ours that a process is in, if it is in one.
    pub fn name_of(&self, pid: u32) -> Option<String> {
        let path = path_of(&format!("/proc/{pid}/cgroup"))?;
        let below = path.strip_prefix(&self.path).ok()?;
        let mut parts = below.components().map(|part| part.as_os_str().to_str());
        let (project, name) = (parts.next()??, parts.next()??);
        project.ends_with(OURS).then(|| format!("{project}/{name}"))
    }
}

/// One group of ours.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    path: PathBuf,
    kills: bool,
}

impl Group {
    /// By which [`Home::group`] finds it again.
    pub fn name(&self) -> String {
        let steps: Vec<_> = self
            .path
            .iter()
            .rev()
            .take(2)
            .map(|step| step.to_string_lossy())
            .collect();
        steps.into_iter().rev().collect::<Vec<_>>().join("/")
    }

    /// What a process is born into (CLONE_INTO_CGROUP of clone3(2)).
    ///
    /// # Errors
    /// It is gone.
    pub fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(&self.path)
    }

    /// Moves a process into it.
    ///
    /// # Errors
    /// It has ended, or we may not.
    pub fn admit(&self, pid: u32) -> io::Result<()> {
        write(&self.path.join("cgroup.procs"), &pid.to_string())
    }

    /// Whether somebody lives in it or in a group below it. A group that is not there holds nobody.
    pub fn is_populated(&self) -> bool {
        let Ok(events) = File::open(self.path.join("cgroup.events")) else {
            return false;
        };
        for _ in 0..LOOKS {
            if !says_populated(&events) {
                return false;
            }
            if !self.lines().is_empty() {
                return true;
            }
            // Who has been reaped may count for a moment more (Linux 6.19): soon it does not.
            std::thread::yield_now();
        }
        true
    }

    /// Its file of events, which poll(2) reports as POLLPRI at each change until it was read by [`says_populated`].
    ///
    /// # Errors
    /// It is gone.
    pub fn watch(&self) -> io::Result<File> {
        File::open(self.path.join("cgroup.events"))
    }

    /// Everybody in it and below it who can be seen from here.
    pub fn members(&self) -> Vec<u32> {
        // Those of other PID namespaces are all called 0.
        self.lines().into_iter().filter(|pid| *pid > 0).collect()
    }

    fn lines(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let mut next = vec![self.path.clone()];
        while let Some(path) = next.pop() {
            let members = text(&path.join("cgroup.procs")).unwrap_or_default();
            found.extend(members.lines().filter_map(|line| line.parse::<u32>().ok()));
            next.extend(folders(&path));
        }
        found
    }

    /// SIGKILL to everybody in it: by `cgroup.kill`, else frozen and one by one.
    ///
    /// # Errors
    /// We are in it ourselves, or can't know that we are not: nothing was done.
    pub fn kill(&self) -> io::Result<()> {
        if own().is_none_or(|own| own.starts_with(&self.path)) {
            return Err(io::Error::other("runner itself may be in it"));
        }
        if self.kills && write(&self.path.join("cgroup.kill"), "1").is_ok() {
            return Ok(());
        }
        self.kill_each();
        Ok(())
    }

    /// Who is frozen dies of SIGKILL and does nothing else any more, least of all fork. It is not thawed: whom one look
    /// misses waits for the next.
    fn kill_each(&self) {
        let _ = write(&self.path.join("cgroup.freeze"), "1");
        let mut seen = HashSet::new();
        for _ in 0..LOOKS {
            let fresh: Vec<_> = self.members().into_iter().filter(|pid| seen.insert(*pid)).collect();
            if fresh.is_empty() {
                return;
            }
            for pid in fresh {
                // Held before it is looked at: what is found out is then true of what is held.
                if let Ok(held) = pidfd::open(pid)
                    && path_of(&format!("/proc/{pid}/cgroup")).is_some_and(|path| path.starts_with(&self.path))
                {
                    let _ = pidfd::signal(held.as_fd(), libc::SIGKILL);
                }
            }
        }
    }

    /// Removes it with the empty groups that its members have made below it, and the folder of its project after the
    /// last one. `false`: somebody is still inside.
    pub fn remove(&self) -> bool {
        let gone = is_removed(&self.path) || (!self.is_populated() && remove_below(&self.path));
        if let Some(project) = self.path.parent().filter(|_| gone) {
            let _ = fs::remove_dir(project);
        }
        gone
    }
}

/// Reads a file of events, which also takes the news off it.
pub fn says_populated(events: &File) -> bool {
    let mut buffer = [0; 256];
    let length = events.read_at(&mut buffer, 0).unwrap_or(0);
    buffer[..length]
        .split(|byte| *byte == b'\n')
        .any(|line| line == b"populated 1")
}

/// What is below goes first.
fn remove_below(path: &Path) -> bool {
    for below in folders(path) {
        remove_below(&below);
    }
    is_removed(path)
}

/// The kernel removes only a group that holds neither processes nor groups.
fn is_removed(path: &Path) -> bool {
    match fs::remove_dir(path) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(()) => true,
    }
}

fn folders(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path())
}

/// One write(2), as the files of a group want it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn text(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    File::open(path).ok()?.read_to_end(&mut text).ok()?;
    String::from_utf8(text).ok()
}

/// The group that we are in.
fn own() -> Option<PathBuf> {
    path_of("/proc/self/cgroup")
}

/// Where the group of a process is to be found, by its file of groups.
fn path_of(groups: &str) -> Option<PathBuf> {
    let groups = text(Path::new(groups))?;
    let mounts = text(Path::new("/proc/self/mountinfo"))?;
    place(&groups, &mounts)
}

/// `/proc/PID/cgroup` (cgroups(7)) names the group from the root of the hierarchy; a mount may show a part of it only
/// (proc_pid_mountinfo(5)).
fn place(groups: &str, mounts: &str) -> Option<PathBuf> {
    let group = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().rev().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (unescaped(before.next()?), unescaped(before.next()?));
        let below = group.strip_prefix(root).ok()?;
        // A group outside of our namespace begins with `/..`.
        let is_inside = below
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        let found = (after.split(' ').next() == Some("cgroup2") && is_inside).then(|| point.join(below))?;
        // `/mount/` and `/mount` are the same to `starts_with`, but not to whoever compares.
        Some(found.components().collect())
    })
}

/// Blanks and the like stand as `\040`.
fn unescaped(word: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = word.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = tail.first_chunk::<3>().filter(|_| *first == b'\\');
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(bytes).into()
}

/// The group around the outermost one of some runner, or the group itself.
fn around_ours(own: &Path) -> PathBuf {
    let is_ours = |part: &std::path::Component| part.as_os_str().to_string_lossy().ends_with(OURS);
    own.components().take_while(|part| !is_ours(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Home {
        Home {
            path: "/cg/user.slice".into(),
            kills: true,
        }
    }

    #[test]
    fn our_group_is_found_under_each_kind_of_mount() {
        let hybrid = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n";
        let groups = "3:cpu:/\n0::/user.slice/a.scope\n";
        let found = |groups: &str, mounts: &str| place(groups, mounts).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(
            found(groups, hybrid).as_deref(),
            Some("/sys/fs/cgroup/unified/user.slice/a.scope")
        );
        assert_eq!(found("0::/\n", hybrid).as_deref(), Some("/sys/fs/cgroup/unified"));
        let bound = "9 1 0:38 /docker/a\\040b /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(
            found("0::/docker/a b/web\n", bound).as_deref(),
            Some("/sys/fs/cgroup/web")
        );
        assert_eq!(found("0::/docker/a b\n", bound).as_deref(), Some("/sys/fs/cgroup"));
        assert_eq!(
            found("0::/docker/other\n", bound),
            None,
            "not in the part that is mounted"
        );
        assert_eq!(found("0::/../other\n", hybrid), None, "outside of our namespace");
        assert_eq!(found("1:name=systemd:/\n", hybrid), None, "version 1 only");
    }

    #[test]
    fn who_starts_inside_a_service_is_at_home_outside_of_it() {
        let around = |path: &str| around_ours(Path::new(path));
        assert_eq!(
            around("/cg/a.scope/k.runner/web.1/l.runner/x.2"),
            Path::new("/cg/a.scope")
        );
        assert_eq!(
            around("/cg/actions.runner.service"),
            Path::new("/cg/actions.runner.service")
        );
    }

    /// `PG-07`: whatever a name says, it is a strict child.
    #[test]
    fn pg_07_no_name_leads_out() {
        let group = home().group("key.runner/web@2.1").unwrap();
        assert_eq!(group.path, Path::new("/cg/user.slice/key.runner/web@2.1"));
        for name in [
            "",
            "/",
            ".runner",
            ".runner/",
            "key.runner/",
            "key.runner/.",
            "key.runner/..",
            "key.runner/a/..",
            "../key.runner/a",
            "key/a",
            "/a",
            "..runner/../a",
        ] {
            assert!(home().group(name).is_err(), "{name}");
        }
    }
}
