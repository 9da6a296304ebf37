//! `examples/lemp` as the first process of a PID namespace, with the servers of Debian.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Uid;

use crate::common::{CEILING, Up, free_port};
use crate::container::first_process;

/// A copy that listens on another port.
fn copy(port: u16) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    // MariaDB's user and PHP's must get through.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    copy_folder(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/lemp"),
        folder.path(),
    );
    for name in ["services.toml", "conf/nginx.conf"] {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.contains("8080"), "{name}");
        fs::write(folder.path().join(name), text.replace("8080", &port.to_string())).unwrap();
    }
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name();
        // What a run in the folder itself has left.
        if [".runner", "data", "run"].iter().any(|left| name == *left) {
            continue;
        }
        if entry.path().is_dir() {
            fs::create_dir(to.join(&name)).unwrap();
            copy_folder(&entry.path(), &to.join(&name));
        } else {
            fs::copy(entry.path(), to.join(&name)).unwrap();
        }
    }
}

fn page(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(CEILING)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: lemp\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The place of the first line that holds all of it.
#[track_caller]
fn place_of(up: &Up, words: &[&str]) -> usize {
    let found = up
        .seen
        .iter()
        .position(|line| words.iter().all(|word| line.contains(word)));
    found.unwrap_or_else(|| panic!("no line with {words:?}:\n{}", up.text()))
}

#[test]
fn p1_02_lemp_serves_a_page_and_stops_in_order() {
    if !Uid::effective().is_root() {
        return;
    }
    let port = free_port();
    let folder = copy(port);
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .args([env!("CARGO_BIN_EXE_runner"), "up"])
        .current_dir(folder.path())
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()))
        .stdin(Stdio::null());
    let mut up = Up::start(command);
    up.wait_for(&format!("(http :{port}/healthz)"));
    let served = page(port);
    assert!(
        served.contains("Welcome, visitor 1.") && served.contains("MariaDB"),
        "{served}"
    );
    assert!(page(port).contains("visitor 2."), "it is stored");

    kill(first_process(&up), Signal::SIGTERM).unwrap();
    let status = up.end();
    assert_eq!(status.code(), Some(0), "{}", up.text());
    let order: Vec<usize> = ["web", "php", "db"]
        .iter()
        .map(|name| place_of(&up, &[name, "| stopped"]))
        .collect();
    assert!(order.is_sorted(), "{}", up.text());
    assert!(up.text().contains("mariadbd: Shutdown complete"), "{}", up.text());
}
