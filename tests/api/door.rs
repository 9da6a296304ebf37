//! Who may come in at all.

use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::common::{Project, eventually, stderr, stdout};
use crate::raw::Running;

const NOBODY: u32 = 65_534;

const FILE: &str = "[services.web]\ncommand = \"exec sleep 1000\"\n";

fn open(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What another user is told at the socket in this folder, which is entered before, so that those above it don't matter.
#[allow(unsafe_code)]
fn ask_as(uid: u32, folder: &Path) -> io::Result<()> {
    let talk = move || -> io::Result<()> {
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(uid.into())?;
        nix::unistd::setuid(uid.into())?;
        let mut stream = UnixStream::connect("api.sock")?;
        stream.write_all(b"POST /v1/stop HTTP/1.1\r\nConnection: close\r\n\r\n")?;
        match stream.read(&mut [0; 1])? {
            0 => Err(io::Error::from_raw_os_error(libc::ECONNRESET)),
            _ => Ok(()),
        }
    };
    let mut child = Command::new("/bin/true");
    child.current_dir(folder);
    // SAFETY: between fork and exec it makes system calls on memory of its own, and takes no lock.
    unsafe { child.pre_exec(talk) };
    assert!(child.spawn()?.wait()?.success());
    Ok(())
}

fn refusal(uid: u32, folder: &Path) -> Option<i32> {
    ask_as(uid, folder).err().and_then(|error| error.raw_os_error())
}

#[test]
fn ap_01_another_user_is_refused_whatever_the_file_mode_says_and_it_is_logged() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let running = Running::of(FILE);
    let folder = running.folder();
    // As it is, nobody else comes near.
    assert_eq!(refusal(NOBODY, &folder), Some(libc::EACCES));
    open(&folder, 0o755);
    open(&running.socket(), 0o666);
    let told = refusal(NOBODY, &folder);
    assert!(matches!(told, Some(libc::ECONNRESET | libc::EPIPE)), "{told:?}");
    eventually("it is logged", || {
        running
            .project
            .read(".runner/runner.log")
            .contains("refused a connection of another user")
    });
    assert_eq!(running.project.service("web")["state"], "ready");
    running.assert_well("another user");
    // It was no accident: root itself is heard, and what was asked for is done.
    ask_as(0, &folder).unwrap();
    eventually("it is stopped", || running.project.service("web")["state"] == "stopped");
    running.end();
}

#[test]
fn ap_02_folder_and_socket_are_private_under_every_umask() {
    for mask in [0o000, 0o077, 0o777] {
        let project = Project::new(FILE);
        let runner = env!("CARGO_BIN_EXE_runner");
        let script = format!("umask {mask:03o}; exec {runner} up -d");
        let up = Command::new("sh")
            .args(["-c", &script])
            .current_dir(project.path())
            .output()
            .unwrap();
        assert_eq!(up.status.code(), Some(0), "{mask:03o}: {}", stderr(&up));
        let place: serde_json::Value = serde_json::from_str(&project.read(".runner/lock")).unwrap();
        let folder = Path::new(place["runtime_dir"].as_str().unwrap());
        let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(
            (mode(folder), mode(&folder.join("api.sock"))),
            (0o700, 0o600),
            "{mask:03o}"
        );
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            assert_eq!(mode(&entry.path()) & 0o077, 0, "{mask:03o}: {}", entry.path().display());
        }
        assert_eq!(project.run(&["down"]).status.code(), Some(0), "{mask:03o}");
        project.assert_nothing_is_left();
    }
}

/// Another user has a folder of their own elsewhere, and no rights beside those of the file modes.
#[test]
fn ap_02_a_umask_that_takes_everything_locks_nobody_out_of_their_own_project() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    const STRANGER: u32 = 54_321;
    let project = Project::new(FILE);
    open(project.path(), 0o755);
    std::os::unix::fs::chown(project.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    // The build folder need not be open to everybody.
    let runner = project.file("runner");
    // By another process: one that is forked here meanwhile would hold it open for writing, and so keep it from running.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_runner"))
        .arg(&runner)
        .status();
    assert!(copied.unwrap().success());
    let typed = |words: &str| {
        let script = format!("umask 777; exec {} {words}", runner.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(project.path());
        command.uid(STRANGER).gid(STRANGER).output().unwrap()
    };
    for (words, code) in [
        ("up -d", 0),
        ("ps", 0),
        ("up -d", 0),
        ("ls", 0),
        ("logs", 0),
        ("down", 0),
        ("ps", 4),
        ("up -d", 0),
        ("down", 0),
    ] {
        let output = typed(words);
        assert_eq!(output.status.code(), Some(code), "{words}: {}", stderr(&output));
        if words == "ls" {
            assert!(
                stdout(&output).contains(project.path().to_str().unwrap()),
                "{}",
                stdout(&output)
            );
        }
    }
    project.assert_nothing_is_left();
}
