//! A client that sends what it likes.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::common::{CEILING, Project, stderr};

/// One response, dechunked.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(500).collect();
        write!(f, "{}\n\n{text}", self.head)
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub fn kind(&self) -> &str {
        self.header("content-type").unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A running project with what a test wants to know of its daemon.
pub struct Running {
    pub project: Project,
    pub daemon: u32,
}

impl Running {
    pub fn of(services_toml: &str) -> Running {
        let project = Project::new(services_toml);
        let up = project.run(&["up", "-d"]);
        assert_eq!(up.status.code(), Some(0), "{}", stderr(&up));
        Running::joined(project)
    }

    /// One that somebody else has started.
    pub fn joined(project: Project) -> Running {
        let mut running = Running { project, daemon: 0 };
        running.daemon = running.pid();
        running
    }

    pub fn socket(&self) -> PathBuf {
        self.folder().join("api.sock")
    }

    pub fn folder(&self) -> PathBuf {
        let lock: Value = serde_json::from_str(&self.project.read(".runner/lock")).unwrap();
        PathBuf::from(lock["runtime_dir"].as_str().unwrap())
    }

    fn pid(&self) -> u32 {
        self.get("/v1/project").json()["daemon_pid"].as_u64().unwrap() as u32
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(CEILING)).unwrap();
        stream.set_write_timeout(Some(CEILING)).unwrap();
        stream
    }

    /// Sends these bytes and reads whatever comes until the other side has enough. It may have enough before we are done.
    pub fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        read_all(&mut stream)
    }

    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_with(method, path, "", body)
    }

    pub fn ask_with(&self, method: &str, path: &str, head: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: runner\r\nConnection: close\r\n{head}Content-Length: {length}\r\n\r\n{body}"
        );
        let mut answers = answers(&self.send(request.as_bytes()));
        assert_eq!(answers.len(), 1, "{method} {path}: {answers:?}");
        answers.remove(0)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// The daemon lives, is the one that it was, and answers.
    #[track_caller]
    pub fn assert_well(&self, after: &str) {
        let ps = self.project.run(&["ps", "--json"]);
        assert_eq!(ps.status.code(), Some(0), "after {after}: {}", stderr(&ps));
        assert_eq!(self.pid(), self.daemon, "after {after}");
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.daemon)).unwrap().count()
    }

    /// Resident now, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn end(self) {
        assert_eq!(self.project.run(&["down"]).status.code(), Some(0));
        self.project.assert_nothing_is_left();
    }
}

/// Up to the end, however it comes; one that does not come is a failure.
pub fn read_all(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("no end after {}", String::from_utf8_lossy(&bytes))
        }
        _ => bytes,
    }
}

/// Nothing more will be sent; answers may come.
pub fn half_close(stream: &UnixStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

/// All responses of a connection, without the interim ones (1xx).
pub fn answers(bytes: &[u8]) -> Vec<Answer> {
    let mut rest = bytes;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let shown = || String::from_utf8_lossy(rest).chars().take(300).collect::<String>();
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no response: {}", shown()));
        let head = String::from_utf8(rest[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no response: {}", shown()));
        rest = &rest[end + 4..];
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if status < 200 {
            continue;
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            (answer.body, rest) = dechunked(rest);
        } else if let Some(length) = answer.header("content-length") {
            // An answer to HEAD says what it would have sent.
            let length = length.parse::<usize>().unwrap().min(rest.len());
            answer.body = rest[..length].to_vec();
            rest = &rest[length..];
        } else {
            answer.body = rest.to_vec();
            rest = b"";
        }
        answers.push(answer);
    }
    answers
}

/// A body that is still going on is as long as what has come.
fn dechunked(mut rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
            return (body, b"");
        };
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        let chunk = &rest[end + 2..];
        if size == 0 {
            return (body, &chunk[2.min(chunk.len())..]);
        }
        body.extend_from_slice(&chunk[..size.min(chunk.len())]);
        rest = &chunk[(size + 2).min(chunk.len())..];
    }
}
