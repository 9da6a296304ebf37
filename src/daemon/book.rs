//! What the daemon after this one has to know, written before it has any effect.
//!
//! A file of lines in the runtime folder: it lives as long as the boot, and nothing of it means anything in another one.
//! Each line is the latest word about one service or about the session; a line that is torn or altered is as good as
//! missing, because everything here is checked against what really runs (the guardian, or the records of the launches).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fault::point;
use crate::guardian::seal::checksum;
use crate::reconcile::{Ends, Memory, Remembered, Wishes};
use crate::spec::{ExitPolicy, Fingerprint, ServiceName};
use crate::sys::files::{is_deleted, set_aside};
use crate::sys::identity;
use crate::sys::places::nameless;

const FILE: &str = "book.jsonl";
const VERSION: u32 = 1;
/// It is written anew when it has grown to twice its size and this.
const SLACK: u64 = 1 << 20;
/// More than this is no book of ours (`CR-07`).
const LONGEST: u64 = 256 << 20;

/// What is known of the project as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    version: u32,
    boot_id: String,
    pid_namespace: u64,
    /// Of the fingerprints.
    pub salt: String,
    /// Wall clock.
    pub began_ns: i64,
    pub generation: u64,
    pub released: bool,
    /// What was typed when it was started in place is done.
    #[serde(default)]
    pub begun: bool,
    pub reload: bool,
    pub exit: Option<ExitPolicy>,
    pub exit_code_from: Option<ServiceName>,
    pub stop_asked: bool,
    pub ending: Option<Ends>,
    /// What was asked for by hand, for where its own place is full or gone (`CR-08`, `CR-10`).
    #[serde(default)]
    pub wishes: Wishes,
    /// It is not in its own place.
    #[serde(default)]
    pub unkept: bool,
}

impl Session {
    pub fn new(began_ns: i64) -> Session {
        Session {
            version: VERSION,
            boot_id: identity::boot_id(),
            pid_namespace: identity::pid_namespace(),
            salt: salt(),
            began_ns,
            generation: 0,
            released: false,
            begun: false,
            reload: true,
            exit: None,
            exit_code_from: None,
            stop_asked: false,
            ending: None,
            wishes: Wishes::default(),
            unkept: false,
        }
    }

    /// As nobody has asked for anything yet: by the same salt, so that what runs can be compared.
    #[must_use]
    pub fn begun_anew(self, released: bool) -> Session {
        Session {
            released,
            begun: false,
            reload: true,
            exit: None,
            exit_code_from: None,
            stop_asked: false,
            ending: None,
            ..self
        }
    }

    /// What was asked for by hand: as it stands in its own place, unless that took nothing or is gone.
    pub fn settle_wishes(&mut self, stored: Option<&Wishes>) -> &Wishes {
        match stored {
            Some(stored) if !self.unkept => self.wishes = stored.clone(),
            _ => self.unkept = self.wishes != Wishes::default(),
        }
        &self.wishes
    }

    /// Of this boot and this PID namespace (`PR-04`, `PR-05`).
    fn is_of_here(&self) -> bool {
        self.boot_id == identity::boot_id() && self.pid_namespace == identity::pid_namespace()
    }
}

/// Random enough that nobody has tables for it: the keys that the standard library draws for its hash maps.
fn salt() -> String {
    let word = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word())
}

/// One service, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    pub memory: Memory,
    /// Of a run that has ended; what lives has its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_with: Option<Fingerprint>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Session(Session),
    Service(Box<Known>),
    Forgotten(ServiceName),
}

/// What an earlier daemon has written.
#[derive(Debug, Default)]
pub struct Past {
    pub session: Option<Session>,
    pub services: BTreeMap<ServiceName, Known>,
}

pub struct Book {
    path: PathBuf,
    file: Option<File>,
    /// Of the file now, and when it was last written anew.
    length: u64,
    base: u64,
    session: Option<Session>,
}

impl Book {
    /// A book to be written anew with the first [`Book::write`], and what stood in the one before. What can't be
    /// understood is set aside and told.
    pub fn open(runtime_dir: &Path) -> (Book, Past, Vec<String>) {
        let path = runtime_dir.join(FILE);
        let mut complaints = Vec::new();
        let past = match read(&path) {
            Ok((past, 0)) => past,
            Ok((past, damaged)) => {
                let why = format!("{damaged} of its lines make no sense");
                complaints.push(set_aside(&path, &why));
                past
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Past::default(),
            Err(error) => {
                complaints.push(set_aside(&path, &error.to_string()));
                Past::default()
            }
        };
        let past = match &past.session {
            Some(session) if session.is_of_here() => past,
            // Without a session nobody can say of which boot it is.
            _ => Past::default(),
        };
        let book = Book {
            path,
            file: None,
            length: 0,
            base: 0,
            session: None,
        };
        (book, past, complaints)
    }

    /// Writes what has changed, in one piece. `all` is asked when the file has to be written anew.
    ///
    /// # Errors
    /// It is not on the disk; the next call writes everything.
    pub fn write(
        &mut self,
        session: &Session,
        changed: Vec<Remembered>,
        all: impl FnOnce() -> Vec<Remembered>,
        mask: &dyn Fn(&str) -> String,
    ) -> io::Result<()> {
        if nameless::is_nowhere(&self.path) {
            return Ok(());
        }
        let same = self.session.as_ref() == Some(session);
        if same && changed.is_empty() && self.is_in_place() {
            return Ok(());
        }
        let anew = !self.is_in_place() || self.length > self.base * 2 + SLACK;
        let outcome = if anew {
            self.write_anew(session, all(), mask)
        } else {
            let mut text = Vec::new();
            if !same {
                line(&Entry::Session(session.clone()), &mut text)?;
            }
            for remembered in changed {
                line(&entry(remembered, &session.salt, mask), &mut text)?;
            }
            self.append(&text)
        };
        match outcome {
            Ok(()) => self.session = Some(session.clone()),
            // Half a line may stand there.
            Err(_) => self.file = None,
        }
        outcome
    }

    fn is_in_place(&self) -> bool {
        self.file.as_ref().is_some_and(|file| !is_deleted(file))
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(text)?;
        point!("book.appended");
        self.length += text.len() as u64;
        Ok(())
    }

    fn write_anew(&mut self, session: &Session, all: Vec<Remembered>, mask: &dyn Fn(&str) -> String) -> io::Result<()> {
        let mut text = Vec::new();
        line(&Entry::Session(session.clone()), &mut text)?;
        for remembered in all {
            line(&entry(remembered, &session.salt, mask), &mut text)?;
        }
        if let Some(folder) = self.path.parent() {
            crate::sys::places::private_dir(folder)?;
        }
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&fresh)?;
        let written = file.write_all(&text).and_then(|()| {
            point!("book.drafted");
            std::fs::rename(&fresh, &self.path)
        });
        if let Err(error) = written {
            // What little room there is, others need.
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
        point!("book.written");
        (self.length, self.base) = (text.len() as u64, text.len() as u64);
        self.file = Some(file);
        Ok(())
    }
}

fn entry(remembered: Remembered, salt: &str, mask: &dyn Fn(&str) -> String) -> Entry {
    match remembered.memory {
        None => Entry::Forgotten(remembered.service),
        Some((memory, ended)) => Entry::Service(Box::new(Known {
            memory: memory.masked(mask),
            started_with: ended.map(|service| service.fingerprint(salt)),
        })),
    }
}

/// `CHECKSUM JSON`
fn line(entry: &Entry, text: &mut Vec<u8>) -> io::Result<()> {
    let json = serde_json::to_vec(entry)?;
    text.extend_from_slice(checksum(&json).as_bytes());
    text.push(b' ');
    text.extend_from_slice(&json);
    text.push(b'\n');
    Ok(())
}

/// What stands there, and how many lines make no sense. The last one may be torn without a complaint: its writer was
/// killed over it, before anything came of it.
fn read(path: &Path) -> io::Result<(Past, usize)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no book of runner's"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    let (mut past, mut damaged) = (Past::default(), 0);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        match parse(line) {
            Some(Entry::Session(session)) if session.version == VERSION => past.session = Some(session),
            Some(Entry::Session(_)) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "another version of runner wrote it",
                ));
            }
            Some(Entry::Service(known)) => {
                past.services.insert(known.memory.service.clone(), *known);
            }
            Some(Entry::Forgotten(service)) => {
                past.services.remove(&service);
            }
            None => damaged += usize::from(line.ends_with(b"\n")),
        }
    }
    if past.session.is_none() && !bytes.is_empty() {
        // It is made with a session in it, in one piece: a writer's death is no excuse.
        return Err(io::Error::new(io::ErrorKind::InvalidData, "nothing in it makes sense"));
    }
    Ok((past, damaged))
}

fn parse(line: &[u8]) -> Option<Entry> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = line.split_at_checked(16)?;
    let json = json.strip_prefix(b" ")?;
    (checksum(json).as_bytes() == sum).then(|| serde_json::from_slice(json).ok())?
}
