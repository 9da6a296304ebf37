//! Servers that put themselves into the background, as their makers ship them, run as daemons by their PID files: each with its
//! own stop signal, as root with users of their own. `.ci/run` installs them.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod nginx;
mod php_fpm;
mod postgres;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use runner::sys::processes;

use crate::common::Project;

/// A server of the machine.
fn program(places: &[&str]) -> PathBuf {
    let found = places.iter().map(PathBuf::from).find(|place| place.exists());
    found.unwrap_or_else(|| panic!("none of {places:?} is installed: see .ci/run"))
}

/// `user = "..."` where we may become somebody else.
fn as_user(name: &str) -> String {
    match Uid::effective().is_root() {
        true => format!("user = \"{name}\"\n"),
        false => String::new(),
    }
}

/// A folder of the project that belongs to a user, on a way that everybody may go.
fn folder_of(project: &Project, name: &str, user: &str) -> PathBuf {
    let folder = project.file(name);
    std::fs::create_dir_all(&folder).unwrap();
    if Uid::effective().is_root() {
        std::fs::set_permissions(project.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let user = User::from_name(user).unwrap().unwrap();
        std::os::unix::fs::chown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
    folder
}

fn pid_of(project: &Project, service: &str) -> u32 {
    project.service(service)["pid"].as_u64().map_or(0, |pid| pid as u32)
}

fn number_in(project: &Project, file: &str) -> u32 {
    project.read(file).trim().parse().unwrap_or(0)
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

fn lives(pid: u32) -> bool {
    processes::stat(pid).is_some_and(|stat| !stat.is_zombie())
}

/// One request of HTTP/1.0; the whole answer.
fn get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_up(project: &Project) {
    let output = project.run(&["up", "-d"]);
    assert!(
        output.status.success(),
        "{}{}\n{}",
        common::stdout(&output),
        common::stderr(&output),
        project.read(".runner/runner.log")
    );
}

fn is_down(project: &Project) {
    let output = project.run(&["down"]);
    assert!(output.status.success(), "{}", common::stderr(&output));
    project.assert_nothing_is_left();
}
