//! `examples/shop` end to end: real servers, in order, one of them killed, edited and asked from other terminals, and
//! nothing left at the end.

#![allow(clippy::unwrap_used)]

#[path = "../common/foretold.rs"]
mod foretold;

mod terminals;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use std::{env, thread};

use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use serde_json::Value;

const RUNNER: &str = env!("CARGO_BIN_EXE_runner");

/// Nothing here takes this long; it is when we give up.
const CEILING: Duration = Duration::from_secs(60);

const SERVERS: [&str; 4] = ["db", "redis", "php", "web"];

#[test]
fn the_shop_opens_survives_a_kill_and_closes_without_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::copy(folder.path());
    let mut up = shop.up();

    up.wait_for("web is ready", |line| told(line, "web", "ready"));
    let welcome = shop.get("/");
    assert!(welcome.contains("apple: 0.40"), "{welcome}");
    shop.started_in_order();
    up.showed_in_order(&[("db", "ready"), ("migrate", "migrated"), ("web", "ready")]);

    let before = shop.pids();
    kill(before["redis"], Signal::SIGKILL).unwrap();
    up.wait_for("redis is ready again", |line| told(line, "redis", "ready"));
    let after = shop.pids();
    assert_ne!(before["redis"], after["redis"], "redis came back as another process");
    for other in ["db", "php", "web"] {
        assert_eq!(before[other], after[other], "{other} was left alone");
    }
    assert!(shop.get("/").contains("visitor 1."), "the new redis counts from 1");

    kill(up.pid(), Signal::SIGINT).unwrap();
    let status = up.end();
    assert!(status.success(), "after Ctrl-C: {status}\n{}", up.console());
    shop.left_nothing();
}

/// Whether a console line is `name | text...`, with whatever blanks align it.
fn told(line: &str, name: &str, text: &str) -> bool {
    line.split_once('|')
        .is_some_and(|(who, what)| who.trim() == name && what.trim().starts_with(text))
}

/// The one polling helper.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < CEILING, "gave up waiting until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

struct Shop {
    folder: PathBuf,
    ports: BTreeMap<&'static str, u16>,
}

impl Shop {
    fn copy(target: &Path) -> Self {
        // PostgreSQL's user must get through to its folder.
        fs::set_permissions(target, Permissions::from_mode(0o755)).unwrap();
        let folder = target.canonicalize().unwrap();
        copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop"), &folder);
        // All are bound at the same time, so that they differ.
        let free = SERVERS.map(|name| (name, TcpListener::bind("127.0.0.1:0").unwrap()));
        let ports: BTreeMap<_, _> = free
            .iter()
            .map(|(name, listener)| (*name, listener.local_addr().unwrap().port()))
            .collect();
        let local: String = ports
            .iter()
            .map(|(name, port)| format!("[services.{name}]\nports = [{port}]\n\n"))
            .collect();
        fs::write(folder.join("services.local.toml"), local).unwrap();
        Shop { folder, ports }
    }

    fn runner(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(RUNNER);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        if !Uid::effective().is_root() {
            let ourselves = User::from_uid(Uid::effective()).unwrap().unwrap();
            command.env("SHOP_DB_USER", ourselves.name);
        }
        command
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.runner(arguments).output().unwrap()
    }

    fn up(&self) -> Up {
        let mut child = self
            .runner(&["up"])
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        forward(child.stdout.take().unwrap(), sender.clone());
        forward(child.stderr.take().unwrap(), sender);
        Up {
            child,
            lines,
            seen: Vec::new(),
            folder: self.folder.clone(),
        }
    }

    fn ps(&self) -> BTreeMap<String, Value> {
        let output = self.ask(&["ps", "--json"]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ps: {}: {words}", output.status);
        let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let Value::Array(services) = answer["services"].take() else {
            panic!("ps --json has no services: {answer}");
        };
        services
            .into_iter()
            .map(|service| (service["name"].as_str().unwrap().to_owned(), service))
            .collect()
    }

    /// The processes of the four servers, all of which are ready.
    fn pids(&self) -> BTreeMap<&'static str, Pid> {
        let services = self.ps();
        let pid = |name| {
            let service = &services[name];
            assert_eq!(service["state"], "ready", "{service}");
            Pid::from_raw(service["pid"].as_i64().unwrap().try_into().unwrap())
        };
        SERVERS.map(|name| (name, pid(name))).into()
    }

    /// When the service wrote the first line that holds `text`.
    fn wrote_at(&self, service: &str, text: &str) -> Timestamp {
        let output = self.ask(&["logs", service, "--json"]);
        let lines = String::from_utf8(output.stdout).unwrap();
        let written = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|line| line["line"].as_str().is_some_and(|line| line.contains(text)))
            .unwrap_or_else(|| panic!("{service} never wrote {text:?}: {lines}"));
        written["time"].as_str().unwrap().parse().unwrap()
    }

    fn started_at(&self, service: &str) -> Timestamp {
        self.ps()[service]["started_at"].as_str().unwrap().parse().unwrap()
    }

    fn started_in_order(&self) {
        let open = self.wrote_at("db", "ready to accept connections");
        let migrated = self.wrote_at("migrate", "migrated");
        assert!(
            open < migrated,
            "PostgreSQL was open at {open}, the migration ended at {migrated}"
        );
        let php = self.started_at("php");
        assert!(
            migrated <= php,
            "the migration ended at {migrated}, PHP started at {php}"
        );
        let web = self.started_at("web");
        assert!(php < web, "PHP started at {php}, nginx at {web}");
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports["web"])).unwrap();
        stream.set_read_timeout(Some(CEILING)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn left_nothing(&self) {
        until("no process of the shop is left", || {
            processes(&self.folder).is_empty().then_some(())
        });
        for (name, port) in &self.ports {
            assert!(
                TcpStream::connect(("127.0.0.1", *port)).is_err(),
                "{name} still listens on {port}"
            );
        }
        assert_eq!(special_files(&self.folder), Vec::<PathBuf>::new(), "sockets and FIFOs");
        let ps = self.ask(&["ps"]);
        assert_eq!(
            ps.status.code(),
            Some(4),
            "ps without a runner: {}",
            String::from_utf8_lossy(&ps.stderr)
        );
    }
}

/// `runner up`, and what it has shown.
struct Up {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    folder: PathBuf,
}

impl Up {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Reads the console on from where it was left, up to the first line that is `wanted`.
    #[track_caller]
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let left = CEILING.saturating_sub(started.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("gave up waiting until {what}; the console:\n{}", self.console());
            };
            let found = wanted(&line);
            self.seen.push(line);
            if found {
                return;
            }
        }
    }

    #[track_caller]
    fn showed_in_order(&self, order: &[(&str, &str)]) {
        let place = |(name, text): &(&str, &str)| self.seen.iter().position(|line| told(line, name, text));
        let places: Vec<_> = order.iter().map(place).collect();
        let all_there = places.iter().all(Option::is_some);
        assert!(
            all_there && places.is_sorted(),
            "{order:?} are at {places:?} of\n{}",
            self.console()
        );
    }

    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let status = until("`runner up` ends", || self.child.try_wait().unwrap());
        self.seen.extend(self.lines.try_iter());
        status
    }

    fn console(&self) -> String {
        self.seen.join("\n")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // A test that failed must not leave servers behind. The folder is ours alone.
        for process in processes(&self.folder) {
            let _ = kill(process, Signal::SIGKILL);
        }
    }
}

fn forward(stream: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match name.to_str().unwrap() {
            "data" | ".runner" | "services.local.toml" => {} // Of somebody who tried the shop by hand.
            _ if path.is_dir() => copy_folder(&path, &to.join(name)),
            _ => {
                fs::copy(&path, to.join(name)).unwrap();
            }
        }
    }
}

/// Living processes that work in the folder or name it on their command line.
fn processes(folder: &Path) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let works_there = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if works_there || String::from_utf8_lossy(&command).contains(folder.to_str().unwrap()) {
            found.push(Pid::from_raw(pid));
        }
    }
    found
}

fn special_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(special_files(&entry.path()));
        } else if kind.is_socket() || kind.is_fifo() {
            found.push(entry.path());
        }
    }
    found
}
