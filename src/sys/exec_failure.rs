//! From (stage, errno) to what a person reads: reason, the thing by name, what to do.
//!
//! execve(2) says ENOENT for a missing file and for a missing interpreter, EACCES for the file and for a folder on the
//! way. Which it was is found here, after the fact, by looking at the same files with the service's identity in mind.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::limits;
use super::spawn::Stage;
use super::users::Ids;
use crate::reconcile::{Failure, Reason};

/// A launch that came to nothing, with what it was to be.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    pub stage: Stage,
    pub errno: i32,
    /// Which program, limit or descriptor.
    pub index: u32,
    /// The first word of the command, as written.
    pub command: &'a str,
    /// The candidates, as the launch had them.
    pub programs: &'a [PathBuf],
    pub working_dir: &'a Path,
    /// The PATH that was searched.
    pub path: Option<&'a str>,
    /// As written in the file.
    pub user: Option<&'a str>,
    /// `None`: runner's own.
    pub ids: Option<&'a Ids>,
    pub limits: &'a [(u32, u64, u64)],
}

/// The failure in the vocabulary of `services-toml.md`.
pub fn failure(attempt: &Attempt) -> Failure {
    if let Some(failure) = scarcity(attempt) {
        return failure;
    }
    match attempt.stage {
        Stage::WorkingDir => working_dir(attempt),
        Stage::Exec => exec(attempt),
        Stage::Limits => limit(attempt),
        Stage::Groups | Stage::Group | Stage::User => user(attempt),
        Stage::Nice => with(
            Reason::PermissionDenied,
            format!("the priority (`nice`) could not be set: {}", words(attempt.errno)),
            "only root may lower `nice`; raise it or remove the key",
        ),
        Stage::Stdio => with(
            Reason::OutputRefused,
            format!(
                "the {} could not be opened: {}",
                stream(attempt.index),
                words(attempt.errno)
            ),
            "look at `log` of the service and at the folder of its log file",
        ),
        Stage::Record => with(
            Reason::Unknown,
            format!(
                "runner could not write down the start, so nothing was started: {}",
                words(attempt.errno)
            ),
            "is the runtime folder full or read-only?",
        ),
        Stage::Fork | Stage::Session => plain(Reason::Unknown, format!("could not fork: {}", words(attempt.errno))),
    }
}

fn with(reason: Reason, message: String, suggestion: impl Into<String>) -> Failure {
    Failure {
        reason,
        message,
        suggestion: Some(suggestion.into()),
    }
}

fn plain(reason: Reason, message: String) -> Failure {
    Failure {
        reason,
        message,
        suggestion: None,
    }
}

/// errno in words: `permission denied`.
pub fn words(errno: i32) -> String {
    let text = nix::Error::from_raw(errno).desc();
    let mut letters = text.chars();
    match letters.next() {
        // `I/O error` keeps its capitals.
        Some(first) if letters.as_str().starts_with(|next: char| next.is_lowercase()) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

fn stream(index: u32) -> &'static str {
    match index {
        0 => "standard input",
        1 => "standard output",
        _ => "standard error",
    }
}

/// What has nothing to do with the service and may be otherwise in a moment.
fn scarcity(attempt: &Attempt) -> Option<Failure> {
    let (what, suggestion) = match attempt.errno {
        libc::EAGAIN => (
            "no more processes may be started",
            "see `ulimit -u`, the `nproc` limit, and pids.max of the container",
        ),
        libc::ENOMEM => (
            "there is not enough memory",
            "see the memory of the machine or container",
        ),
        libc::EMFILE | libc::ENFILE => ("there are no more file descriptors", "see `ulimit -n` of runner"),
        libc::ENOSPC | libc::EDQUOT => ("the disk is full", "free some space"),
        _ => return None,
    };
    let whose = match (attempt.stage, attempt.user) {
        (Stage::Exec | Stage::User, Some(user)) => format!(" for user {user}"),
        _ => String::new(),
    };
    Some(with(
        Reason::OutOfResources,
        format!("{what}{whose} ({})", words(attempt.errno)),
        suggestion,
    ))
}

fn working_dir(attempt: &Attempt) -> Failure {
    let dir = attempt.working_dir.display();
    let suggestion = match attempt.errno {
        libc::ENOENT => format!("create it (`mkdir -p {dir}`), or change `working_dir`"),
        libc::ENOTDIR => "it has to be a folder; change `working_dir`".to_owned(),
        libc::EACCES => match closed_folder(&attempt.working_dir.join("."), attempt.ids) {
            Some(folder) => format!("let {} into {} (`chmod +x`)", who(attempt), folder.display()),
            None => format!("let {} into it", who(attempt)),
        },
        _ => "change `working_dir`".to_owned(),
    };
    let message = format!("the working_dir {dir} can't be entered: {}", words(attempt.errno));
    with(Reason::WorkingDirMissing, message, suggestion)
}

fn who(attempt: &Attempt) -> String {
    attempt
        .user
        .map_or_else(|| "the user of runner".to_owned(), |user| format!("user {user}"))
}

fn limit(attempt: &Attempt) -> Failure {
    let wanted = attempt.limits.get(attempt.index as usize).copied();
    let (number, soft, hard) = wanted.unwrap_or((u32::MAX, 0, 0));
    let name = limits::name(number);
    let allowed = limits::current(number).map_or(String::new(), |(_, hard)| {
        format!("; the hard limit here is {}", amount(hard))
    });
    with(
        Reason::LimitRefused,
        format!(
            "the limit {name} = {}:{} was refused: {}{allowed}",
            amount(soft),
            amount(hard),
            words(attempt.errno)
        ),
        format!("lower `limits.{name}`, or raise the hard limit of runner"),
    )
}

fn amount(value: u64) -> String {
    if value == libc::RLIM_INFINITY {
        "unlimited".into()
    } else {
        value.to_string()
    }
}

fn user(attempt: &Attempt) -> Failure {
    let whom = attempt
        .user
        .map_or_else(|| "its group".to_owned(), |user| format!("user {user}"));
    with(
        Reason::PermissionDenied,
        format!("runner may not become {whom}: {}", words(attempt.errno)),
        "run runner as root, or remove `user` and `group`",
    )
}

fn exec(attempt: &Attempt) -> Failure {
    let program = attempt
        .programs
        .get(attempt.index as usize)
        .or(attempt.programs.first());
    let tried = program.map_or_else(
        || PathBuf::from(attempt.command),
        |program| attempt.working_dir.join(program),
    );
    match attempt.errno {
        libc::ENOENT | libc::ENOTDIR => missing(attempt),
        libc::EACCES | libc::EISDIR => forbidden(attempt, &tried),
        libc::ENOEXEC => bad_format(&tried),
        libc::ELIBBAD => plain(
            Reason::BadInterpreter,
            format!("{}: its interpreter is damaged", tried.display()),
        ),
        libc::ETXTBSY => with(
            Reason::Busy,
            format!("{} is still being written by another process", tried.display()),
            "wait for the build or copy to end",
        ),
        libc::E2BIG => with(
            Reason::ArgumentListTooLong,
            format!(
                "the arguments and environment of {} are too long for the kernel",
                attempt.command
            ),
            "shorten `command` or `env`, or pass a file",
        ),
        libc::EPERM => plain(
            Reason::PermissionDenied,
            format!("{} may not be executed here", tried.display()),
        ),
        libc::ELOOP => with(
            Reason::BadInterpreter,
            format!(
                "{}: too many symbolic links, or a script whose interpreter is a script",
                tried.display()
            ),
            "look at its first line and at the links",
        ),
        other => plain(
            Reason::Unknown,
            format!("{} could not be executed: {}", tried.display(), words(other)),
        ),
    }
}

/// ENOENT: nothing there, or something there whose interpreter is not.
fn missing(attempt: &Attempt) -> Failure {
    let full = attempt.programs.iter().map(|program| attempt.working_dir.join(program));
    if let Some(there) = full.clone().find(|program| program.exists()) {
        return bad_interpreter(&there, "does not exist");
    }
    let command = attempt.command;
    if command.contains('/') {
        let tried = full.into_iter().next().unwrap_or_else(|| PathBuf::from(command));
        if std::fs::symlink_metadata(&tried).is_ok_and(|found| found.is_symlink()) {
            let target = std::fs::read_link(&tried).unwrap_or_default();
            let message = format!(
                "{} is a link to {}, which does not exist",
                tried.display(),
                target.display()
            );
            return plain(Reason::CommandNotFound, message);
        }
        return with(
            Reason::CommandNotFound,
            format!("there is no file {}", tried.display()),
            "build it first, or correct `command`; relative paths start at `working_dir`",
        );
    }
    let searched = match attempt.path {
        Some(path) if !path.is_empty() => format!("PATH = {path}"),
        _ => "PATH is empty".to_owned(),
    };
    let local = attempt.working_dir.join(command);
    let suggestion = if local.is_file() {
        format!("there is {}: write `./{command}`", local.display())
    } else {
        format!("install {command}, or write its full path")
    };
    with(
        Reason::CommandNotFound,
        format!("{command} was not found ({searched})"),
        suggestion,
    )
}

/// EACCES: a folder on the way, the file itself, or its interpreter.
fn forbidden(attempt: &Attempt, tried: &Path) -> Failure {
    let file = tried.display();
    if let Some(folder) = closed_folder(tried, attempt.ids) {
        return with(
            Reason::PermissionDenied,
            format!("{} may not look into the folder {}", who(attempt), folder.display()),
            format!("`chmod +x {}` for that user", folder.display()),
        );
    }
    match std::fs::metadata(tried) {
        Ok(found) if found.is_dir() => with(
            Reason::NotExecutable,
            format!("{file} is a folder"),
            "name the program inside it",
        ),
        Ok(found) if !found.is_file() => plain(Reason::NotExecutable, format!("{file} is not a plain file")),
        Ok(found) if !may_execute(&found, attempt.ids) => {
            let message = format!("{file} is not executable for {}", who(attempt));
            with(Reason::NotExecutable, message, format!("`chmod +x {file}`"))
        }
        Ok(_) if interpreter(tried).is_some() => bad_interpreter(tried, "may not be executed"),
        Ok(_) => with(
            Reason::NotExecutable,
            format!("{file} may not be executed: its file system does not allow it (noexec), or a security policy"),
            "move it to another file system",
        ),
        Err(error) => plain(
            Reason::PermissionDenied,
            format!("{file} may not be looked at: {error}"),
        ),
    }
}

/// The first folder on the way to a file that this identity may not search.
fn closed_folder(file: &Path, ids: Option<&Ids>) -> Option<PathBuf> {
    let mut folders: Vec<_> = file
        .ancestors()
        .skip(1)
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect();
    folders.reverse();
    let closed = folders.into_iter().find(|folder| match std::fs::metadata(folder) {
        Ok(found) => found.is_dir() && !may_execute(&found, ids),
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    });
    closed.map(Path::to_owned)
}

/// The x bit that counts for an identity (path_resolution(7)); root needs one of them for files, none for folders.
fn may_execute(found: &std::fs::Metadata, ids: Option<&Ids>) -> bool {
    let own;
    let ids = match ids {
        Some(ids) => ids,
        None => {
            own = own_ids();
            &own
        }
    };
    let mode = found.mode();
    if ids.uid == 0 {
        return found.is_dir() || mode & 0o111 != 0;
    }
    let bit = if found.uid() == ids.uid {
        0o100
    } else if found.gid() == ids.gid || ids.groups.contains(&found.gid()) {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

fn own_ids() -> Ids {
    let mut ids = super::users::own().ids;
    ids.uid = nix::unistd::Uid::effective().as_raw();
    ids
}

fn bad_format(tried: &Path) -> Failure {
    let file = tried.display();
    let mut start = Vec::new();
    let opened = std::fs::File::open(tried);
    let _ = opened.and_then(|file| file.take(512).read_to_end(&mut start));
    if start.is_empty() {
        return with(Reason::BadFormat, format!("{file} is empty"), "build it again");
    }
    if start.starts_with(b"\x7fELF") {
        let message = format!("{file} was built for another kind of machine");
        return with(Reason::BadFormat, message, "build it for this one");
    }
    if !is_text(&start) {
        return plain(
            Reason::BadFormat,
            format!("{file} is in no format that this kernel executes"),
        );
    }
    with(
        Reason::BadFormat,
        format!("{file} is a text file without a first line that names its interpreter"),
        format!("put `#!/bin/sh` at its start, or run it by a shell: `command = \"sh {file}\"`"),
    )
}

/// Also in an older encoding than UTF-8; but nobody types the control characters that any binary has near its start.
fn is_text(start: &[u8]) -> bool {
    const TYPED: &[u8] = b"\t\n\x0c\r\x1b";
    start
        .iter()
        .all(|byte| !byte.is_ascii_control() || TYPED.contains(byte))
}

/// What has to interpret a file: the words of its `#!` line, or the loader of an ELF program.
fn interpreter(file: &Path) -> Option<String> {
    let mut start = Vec::new();
    std::fs::File::open(file)
        .ok()?
        .take(4096)
        .read_to_end(&mut start)
        .ok()?;
    if let Some(rest) = start.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next()?;
        let line = line.trim_ascii_start();
        // Only blanks and tabs end the interpreter's name: a carriage return is part of it.
        let name = line.split(|byte| matches!(byte, b' ' | b'\t')).next()?;
        return Some(visible(name));
    }
    start.starts_with(b"\x7fELF").then(|| loader(&start)).flatten()
}

/// The loader that an ELF program names: the one string in its first page that is a path to a `ld`.
fn loader(start: &[u8]) -> Option<String> {
    let strings = start.split(|byte| *byte == 0);
    let path = strings
        .into_iter()
        .find(|text| text.starts_with(b"/") && text.windows(2).any(|pair| pair == b"ld"))?;
    Some(visible(path))
}

/// Control characters as escapes: `/bin/sh\r`.
fn visible(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn bad_interpreter(file: &Path, what: &str) -> Failure {
    let shown = file.display();
    match interpreter(file) {
        Some(name) if name.ends_with("\\r") => with(
            Reason::BadInterpreter,
            format!("{shown}: its first line asks for `{name}`: the file has Windows line ends"),
            format!("`sed -i 's/\\r$//' {shown}`"),
        ),
        Some(name) => {
            let kind = if name.rsplit('/').next().is_some_and(|last| last.starts_with("ld")) {
                "its loader"
            } else {
                "its interpreter"
            };
            let suggestion = format!("install what provides {name}, or correct the file");
            with(
                Reason::BadInterpreter,
                format!("{shown}: {kind} `{name}` {what}"),
                suggestion,
            )
        }
        None => plain(
            Reason::BadInterpreter,
            format!("{shown}: what has to interpret it {what}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn attempt<'a>(programs: &'a [PathBuf], dir: &'a Path, errno: i32) -> Attempt<'a> {
        Attempt {
            stage: Stage::Exec,
            errno,
            index: 0,
            command: programs[0].to_str().unwrap(),
            programs,
            working_dir: dir,
            path: Some("/usr/bin:/bin"),
            user: None,
            ids: None,
            limits: &[],
        }
    }

    #[test]
    fn sp_01_the_command_and_the_path_are_named() {
        let programs = ["/usr/bin/nosuch", "/bin/nosuch"].map(PathBuf::from);
        let mut attempt = attempt(&programs, Path::new("/"), libc::ENOENT);
        attempt.command = "nosuch";
        let failure = failure(&attempt);
        assert_eq!(failure.reason, Reason::CommandNotFound);
        assert_eq!(failure.message, "nosuch was not found (PATH = /usr/bin:/bin)");
    }

    #[test]
    fn sp_02_the_file_and_the_folder_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let closed = dir.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        let inside = [closed.join("program")];
        std::fs::write(&inside[0], "#!/bin/sh\n").unwrap();
        let nobody = Ids {
            uid: 65534,
            gid: 65534,
            groups: vec![],
        };
        let mut inner = attempt(&inside, dir.path(), libc::EACCES);
        inner.ids = Some(&nobody);
        std::fs::set_permissions(&inside[0], std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(failure(&inner).reason, Reason::NotExecutable);
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        let told = failure(&inner);
        assert_eq!(told.reason, Reason::PermissionDenied);
        assert!(told.message.contains(closed.to_str().unwrap()), "{told:?}");
        let folder = [dir.path().to_owned()];
        assert_eq!(
            failure(&attempt(&folder, dir.path(), libc::EACCES)).message,
            format!("{} is a folder", dir.path().display())
        );
    }

    #[test]
    fn sp_04_interpreters_are_shown_with_what_can_not_be_seen() {
        let dir = tempfile::tempdir().unwrap();
        let script = [dir.path().join("script")];
        std::fs::write(&script[0], "#!/bin/sh\r\necho\r\n").unwrap();
        let told = failure(&attempt(&script, dir.path(), libc::ENOENT));
        assert_eq!(told.reason, Reason::BadInterpreter);
        assert!(told.message.contains("`/bin/sh\\r`"), "{told:?}");
        std::fs::write(&script[0], "#! /nonexistent/interp -x\n").unwrap();
        let told = failure(&attempt(&script, dir.path(), libc::ENOENT));
        assert!(
            told.message.contains("`/nonexistent/interp` does not exist"),
            "{told:?}"
        );
    }

    #[test]
    fn sp_05_a_text_without_shebang_hints_at_the_shell() {
        let dir = tempfile::tempdir().unwrap();
        let script = [dir.path().join("script")];
        std::fs::write(&script[0], "echo hello\n").unwrap();
        let told = failure(&attempt(&script, dir.path(), libc::ENOEXEC));
        assert_eq!(told.reason, Reason::BadFormat);
        assert!(told.suggestion.unwrap().contains("shell"));
        for (bytes, is_text) in [
            (&b"\x89PNG\r\n\x1a\n"[..], false),
            (b"echo \xfc\n", true),
            (b"\x7f\x01", false),
        ] {
            std::fs::write(&script[0], bytes).unwrap();
            let told = failure(&attempt(&script, dir.path(), libc::ENOEXEC));
            assert_eq!(told.message.contains("text file"), is_text, "{told:?}");
        }
    }

    #[test]
    fn every_other_reason_has_its_errno() {
        let programs = [PathBuf::from("/bin/true")];
        let reason = |stage, errno| {
            let attempt = Attempt {
                stage,
                ..attempt(&programs, Path::new("/nosuch"), errno)
            };
            failure(&attempt).reason
        };
        assert_eq!(reason(Stage::WorkingDir, libc::ENOENT), Reason::WorkingDirMissing);
        assert_eq!(reason(Stage::WorkingDir, libc::ELOOP), Reason::WorkingDirMissing);
        assert_eq!(reason(Stage::WorkingDir, libc::EACCES), Reason::WorkingDirMissing);
        assert_eq!(reason(Stage::Limits, libc::EPERM), Reason::LimitRefused);
        assert_eq!(reason(Stage::Stdio, libc::EISDIR), Reason::OutputRefused);
        assert_eq!(reason(Stage::User, libc::EPERM), Reason::PermissionDenied);
        assert_eq!(reason(Stage::Fork, libc::EAGAIN), Reason::OutOfResources);
        assert_eq!(reason(Stage::Exec, libc::ENOMEM), Reason::OutOfResources);
        assert_eq!(reason(Stage::Fork, libc::EMFILE), Reason::OutOfResources);
        assert_eq!(reason(Stage::Exec, libc::ETXTBSY), Reason::Busy);
        assert_eq!(reason(Stage::Exec, libc::E2BIG), Reason::ArgumentListTooLong);
        assert_eq!(words(libc::EACCES), "permission denied");
    }
}
