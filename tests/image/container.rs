//! A container by hand: a PID and a mount namespace, a root of its own, and what an engine mounts there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::common::{Up, eventually};
use crate::{fixture, program};

/// Who runs in it, and has no entry anywhere.
pub const NOBODY_KNOWN: u32 = 12345;

/// Where the program and the services lie in it.
pub const BIN: &str = "/usr/local/bin";
const WORKDIR: &str = "/srv/app";

/// Answers each request with `200 OK` and `ok`. `http PORT`.
const HTTP: &str = r#"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **words) {
    const char *answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (void *)&here, sizeof here) || listen(listener, 16)) return 1;
    for (;;) {
        char request[4096];
        int stream = accept(listener, NULL, NULL);
        if (read(stream, request, sizeof request) > 0) write(stream, answer, strlen(answer));
        close(stream);
    }
}
"#;

/// What an engine does before it starts the entrypoint. `$1`: the root, `$2`: the user; then the entrypoint.
const ENGINE: &str = r#"
set -e
root=$1 user=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind /dev/null "$root/dev/null"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec unshare --root="$root" --wd=/srv/app --setgid="$user" --setuid="$user" "$@"
"#;

/// The file system of an image: runner, two static programs and a file.
pub struct Image {
    root: tempfile::TempDir,
}

impl Image {
    /// `None` for who may not make namespaces: nothing is tested then.
    pub fn new(services_toml: &str) -> Option<Image> {
        Image::of(program::runner(), services_toml)
    }

    pub fn of(runner: &Path, services_toml: &str) -> Option<Image> {
        if !Uid::effective().is_root() {
            return None;
        }
        let image = Image {
            root: tempfile::tempdir().unwrap(),
        };
        fs::set_permissions(image.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["proc", "dev", "tmp", &BIN[1..], &WORKDIR[1..]] {
            fs::create_dir_all(image.path().join(folder)).unwrap();
        }
        image.write("dev/null", "");
        image.write("srv/app/services.toml", services_toml);
        image.program("runner", runner);
        image.program("http", &fixture::compile("http", HTTP, &["-O1", "-static"]));
        image.program(
            "fixture",
            &fixture::compile("fixture", fixture::TEXT, &["-O1", "-static"]),
        );
        Some(image)
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let place = self.path().join(name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
    }

    /// A link, as the program is large; a copy where the folder of tests is on another file system.
    fn program(&self, name: &str, from: &Path) {
        let place = self.path().join(&BIN[1..]).join(name);
        if fs::hard_link(from, &place).is_err() {
            fs::copy(from, &place).unwrap();
        }
    }

    /// `runner WORDS...` as the container's PID 1.
    pub fn run(&self, words: &[&str]) -> Container {
        self.run_as(NOBODY_KNOWN, words)
    }

    pub fn run_as(&self, user: u32, words: &[&str]) -> Container {
        self.start(user, words, &[])
    }

    /// With such an environment.
    pub fn run_with(&self, env: &[(&str, &str)], words: &[&str]) -> Container {
        self.start(NOBODY_KNOWN, words, env)
    }

    fn start(&self, user: u32, words: &[&str], env: &[(&str, &str)]) -> Container {
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--mount", "sh", "-c", ENGINE, "sh"])
            .arg(self.path())
            .arg(user.to_string())
            .arg(format!("{BIN}/runner"))
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(env.iter().copied())
            .stdin(Stdio::null());
        let up = Up::start(command);
        Container { up, user }
    }
}

/// What `unshare --pid --fork` has made PID 1, by the number that it has outside.
pub fn first_process(unshare: &Up) -> Pid {
    let place = format!("/proc/{0}/task/{0}/children", unshare.child.id());
    let mut first = None;
    eventually("the namespace has a first process", || {
        let children = fs::read_to_string(&place).unwrap_or_default();
        first = children.split_whitespace().next().and_then(|word| word.parse().ok());
        first.is_some()
    });
    Pid::from_raw(first.unwrap())
}

pub struct Container {
    pub up: Up,
    user: u32,
}

impl Container {
    /// `kill -s SIGNAL 1`.
    pub fn signal(&self, signal: Signal) {
        kill(first_process(&self.up), signal).unwrap();
    }

    /// `docker exec CONTAINER runner WORDS...`.
    pub fn exec(&self, words: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--pid", "--mount", "--root", "--wdns=/srv/app", "--target"]);
        command.arg(first_process(&self.up).to_string());
        command
            .arg(format!("--setuid={}", self.user))
            .arg(format!("--setgid={}", self.user));
        command.arg(format!("{BIN}/runner")).args(words);
        command.env_clear().stdin(Stdio::null()).output().unwrap()
    }
}

/// `--kill-child` is lost with the change of the user (prctl(2), PR_SET_PDEATHSIG), and a test may end early.
impl Drop for Container {
    fn drop(&mut self) {
        if self.up.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill(first_process(&self.up), Signal::SIGKILL);
        }
    }
}
