//! What this machine offers: each mechanism that has a fallback, and each limit that can be in the way.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use super::spawn::Calls;
use super::{capabilities, cgroup, identity, limits, pidfd, users};

/// One look at the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `Linux 6.18.0`.
    pub system: String,
    pub calls: Calls,
    /// pidfds have inodes of their own.
    pub unique: bool,
    /// Groups are signalled through pidfds.
    pub groups: bool,
    /// The kernel keeps the exit status of who was reaped.
    pub exits_kept: bool,
    pub subreaper: bool,
    pub cgroup: Cgroup,
    pub processes: Visibility,
    pub uid: u32,
    pub user: String,
    /// Name of the first process of this PID namespace; `None` when it is hidden.
    pub init: Option<String>,
    /// We are it.
    pub is_init: bool,
    pub status: Status,
    /// The effective capabilities, a bit for each number.
    pub capabilities: u64,
    /// Nothing can be written to the file system at `/`.
    pub root_is_read_only: bool,
    /// Bytes that the control group above us may use; `None` where there is no limit.
    pub memory_limit: Option<u64>,
    /// Ports below this one are for whoever has CAP_NET_BIND_SERVICE.
    pub first_free_port: u16,
    /// (soft, hard).
    pub descriptors: Option<(u64, u64)>,
    pub pid_max: Option<u64>,
    pub ephemeral: Option<Ephemeral>,
    pub inotify: Option<Inotify>,
}

/// What there is of control groups for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroup {
    /// No version 2 is mounted.
    None,
    /// No groups can be made below ours.
    ReadOnly,
    /// Groups can be made below ours; whether they can be killed as a whole (`cgroup.kill`, 5.14).
    Writable { kill: bool },
}

/// What /proc shows of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// /proc is not there.
    Nothing,
    /// Only those of our own user; the mount option that says so.
    Own(String),
    All,
}

/// From /proc/self/status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// A filter decides which kernel calls we may make.
    pub seccomp: bool,
    pub no_new_privileges: bool,
    /// CAP_SYS_RESOURCE, which lowering an OOM score takes.
    pub may_protect: bool,
}

/// Ports that the kernel hands out to whoever asks for none in particular.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ephemeral {
    pub first: u16,
    pub last: u16,
    /// Those that it leaves out.
    pub reserved: Vec<(u16, u16)>,
}

impl Ephemeral {
    pub fn holds(&self, port: u16) -> bool {
        let is_in = |&(first, last): &(u16, u16)| (first..=last).contains(&port);
        is_in(&(self.first, self.last)) && !self.reserved.iter().any(is_in)
    }
}

/// Limits of inotify(7) for this user, and what is in use of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inotify {
    pub watches: u64,
    pub watches_used: u64,
    pub instances: u64,
    pub instances_used: u64,
}

/// Looks. Forks one child that ends at once.
pub fn examine() -> Machine {
    let uid = Uid::effective();
    Machine {
        system: system(),
        calls: Calls::examined(),
        unique: identity::is_unique(),
        groups: pidfd::groups_supported(),
        exits_kept: exits_are_kept(),
        subreaper: subreaper_is_allowed(),
        cgroup: cgroup(),
        processes: visibility(),
        uid: uid.as_raw(),
        user: users::name_of(uid.as_raw()),
        init: text("/proc/1/comm").map(|name| name.trim().to_owned()),
        is_init: std::process::id() == 1,
        status: text("/proc/self/status").map_or_else(Status::default, |text| status(&text)),
        capabilities: capabilities::effective(),
        root_is_read_only: root_is_read_only(),
        memory_limit: cgroup::memory_limit(),
        first_free_port: number("/proc/sys/net/ipv4/ip_unprivileged_port_start")
            .and_then(|port| port.try_into().ok())
            .unwrap_or(1024),
        descriptors: limits::current(limits::number(crate::spec::Resource::Nofile)),
        pid_max: number("/proc/sys/kernel/pid_max"),
        ephemeral: ephemeral(),
        inotify: inotify(uid.as_raw()),
    }
}

fn root_is_read_only() -> bool {
    use nix::sys::statvfs::{FsFlags, statvfs};
    statvfs("/").is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn number(path: &str) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

fn system() -> String {
    match nix::sys::utsname::uname() {
        Ok(names) => format!(
            "{} {}",
            names.sysname().to_string_lossy(),
            names.release().to_string_lossy()
        ),
        Err(_) => "unknown".to_owned(),
    }
}

/// Asked with a child that ends with a code of ours and is reaped before the question.
#[allow(unsafe_code)]
fn exits_are_kept() -> bool {
    const CODE: i32 = 7;
    // SAFETY: the child calls only _exit(2), which is async-signal-safe.
    let pid = match unsafe { libc::fork() } {
        0 => unsafe { libc::_exit(CODE) },
        pid if pid < 0 => return false,
        pid => pid,
    };
    // It is not reaped yet, so the number is still its own.
    let held = pidfd::open(pid.unsigned_abs());
    let mut reaped = 0;
    // SAFETY: waits for a child of ours and writes one number.
    while unsafe { libc::waitpid(pid, &raw mut reaped, 0) } < 0 && nix::errno::Errno::last() == nix::errno::Errno::EINTR
    {
    }
    held.is_ok_and(|held| pidfd::kept_status(held.as_fd()) == Some(CODE << 8))
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn subreaper_is_allowed() -> bool {
    let mut answer: libc::c_int = 0;
    // SAFETY: PR_GET_CHILD_SUBREAPER writes one number to a place that is ours.
    unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut answer, 0, 0, 0) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn subreaper_is_allowed() -> bool {
    false
}

fn cgroup() -> Cgroup {
    match cgroup::Home::find() {
        Ok(home) => Cgroup::Writable { kill: home.kills() },
        Err(cgroup::Absence::NotMounted) => Cgroup::None,
        Err(cgroup::Absence::ReadOnly) => Cgroup::ReadOnly,
    }
}

fn children(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

/// Mount points of a kind of file system with their options, by the text of /proc/PID/mountinfo
/// (proc_pid_mountinfo(5)).
fn mounted<'t>(text: &'t str, kind: &'t str) -> impl Iterator<Item = (PathBuf, String)> + 't {
    text.lines().filter_map(move |line| {
        let (before, after) = line.split_once(" - ")?;
        let (before, after): (Vec<_>, Vec<_>) = (before.split(' ').collect(), after.split(' ').collect());
        let options = format!("{},{}", before.get(5)?, after.get(2)?);
        (*after.first()? == kind).then_some((PathBuf::from(before.get(4)?), options))
    })
}

fn visibility() -> Visibility {
    if !Path::new("/proc/self/stat").exists() {
        return Visibility::Nothing;
    }
    let mounts = text("/proc/self/mountinfo").unwrap_or_default();
    // The last one mounted there is the one that is seen.
    let options = mounted(&mounts, "proc")
        .filter(|(path, _)| path == Path::new("/proc"))
        .last();
    let hidden = options.and_then(|(_, options)| hiding(&options));
    match hidden {
        // It does not hide anything from who may trace everybody.
        Some(option) if !Uid::effective().is_root() => Visibility::Own(option),
        _ => Visibility::All,
    }
}

/// The option that hides processes (proc(5)), if there is one that does.
fn hiding(options: &str) -> Option<String> {
    let hides = |option: &&str| {
        let value = option.strip_prefix("hidepid=");
        value.is_some_and(|value| !matches!(value, "0" | "off"))
    };
    options.split(',').find(hides).map(str::to_owned)
}

fn status(text: &str) -> Status {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    /// Bit of linux/capability.h.
    const CAP_SYS_RESOURCE: u32 = 24;
    let capabilities = field("CapEff:").and_then(|set| u64::from_str_radix(set, 16).ok());
    Status {
        seccomp: field("Seccomp:").is_some_and(|mode| mode != "0"),
        no_new_privileges: field("NoNewPrivs:") == Some("1"),
        may_protect: capabilities.is_some_and(|set| set & 1 << CAP_SYS_RESOURCE != 0),
    }
}

/// `None` where the kernel does not tell.
pub fn ephemeral() -> Option<Ephemeral> {
    let range = text("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut bounds = range.split_whitespace().map(str::parse);
    Some(Ephemeral {
        first: bounds.next()?.ok()?,
        last: bounds.next()?.ok()?,
        reserved: reserved(&text("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default()),
    })
}

/// `8080,9148-9150`.
fn reserved(text: &str) -> Vec<(u16, u16)> {
    let one = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.trim().split(',').filter_map(one).collect()
}

/// Counts by /proc/PID/fdinfo, for as many processes of this user as we may look into.
fn inotify(uid: u32) -> Option<Inotify> {
    let mut found = Inotify {
        watches: number("/proc/sys/fs/inotify/max_user_watches")?,
        watches_used: 0,
        instances: number("/proc/sys/fs/inotify/max_user_instances")?,
        instances_used: 0,
    };
    let ours = children(Path::new("/proc"))
        .filter(|folder| {
            folder
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit())
        })
        .filter(|folder| folder.metadata().is_ok_and(|process| process.uid() == uid));
    for process in ours {
        for descriptor in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(descriptor.path());
            if !target.is_ok_and(|target| target.as_os_str() == "anon_inode:inotify") {
                continue;
            }
            found.instances_used += 1;
            let watches = text(process.join("fdinfo").join(descriptor.file_name())).unwrap_or_default();
            found.watches_used += watches.lines().filter(|line| line.starts_with("inotify ")).count() as u64;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_examined() {
        let machine = examine();
        assert_eq!(machine.uid, Uid::effective().as_raw());
        assert_eq!(machine.calls.pidfd, pidfd::supported());
        // 6.15 came after pidfs (6.9), which came after pidfds.
        assert!(!machine.exits_kept || machine.unique);
        assert!(!machine.unique || machine.calls.pidfd);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_watches_are_counted() {
        use notify::Watcher;
        let uid = Uid::effective().as_raw();
        let dir = tempfile::tempdir().unwrap();
        let mut own = notify::recommended_watcher(|_| {}).unwrap();
        own.watch(dir.path(), notify::RecursiveMode::NonRecursive).unwrap();
        let seen = inotify(uid).unwrap();
        assert!(seen.instances_used >= 1 && seen.watches_used >= 1, "{seen:?}");
        assert!(seen.instances >= seen.instances_used);
    }

    #[test]
    fn mounts_are_found_with_their_options() {
        let text = "22 27 0:21 / /proc rw,nosuid - proc proc rw,hidepid=invisible\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let proc: Vec<_> = mounted(text, "proc").collect();
        assert_eq!(
            proc,
            [(PathBuf::from("/proc"), "rw,nosuid,rw,hidepid=invisible".to_owned())]
        );
        assert_eq!(hiding(&proc[0].1).as_deref(), Some("hidepid=invisible"));
        assert_eq!(hiding("rw,hidepid=0"), None);
        assert_eq!(
            mounted(text, "cgroup2").next().unwrap().0,
            Path::new("/sys/fs/cgroup/unified")
        );
    }

    #[test]
    fn status_is_read() {
        let filtered =
            status("Name:\tx\nCapEff:\t0000000001000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n");
        assert!(filtered.seccomp && filtered.no_new_privileges && filtered.may_protect);
        assert_eq!(
            status("CapEff:\t0000000000ffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n"),
            Status::default()
        );
    }

    #[test]
    fn ports_that_are_reserved_are_not_handed_out() {
        let ephemeral = Ephemeral {
            first: 32768,
            last: 60999,
            reserved: reserved("8080,40000-40002\n"),
        };
        assert_eq!(ephemeral.reserved, [(8080, 8080), (40000, 40002)]);
        for (port, held) in [
            (32767, false),
            (32768, true),
            (40001, false),
            (60999, true),
            (61000, false),
        ] {
            assert_eq!(ephemeral.holds(port), held, "{port}");
        }
        assert!(reserved("\n").is_empty());
    }
}
