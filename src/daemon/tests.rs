//! Book and records that were torn, altered, or are of somewhere else (`CR-07`, `PR-04`, `PR-05`): never a crash, never a
//! word that was not written.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::book::{Book, Known, Past, Session};
use super::recovery::recollect;
use crate::guardian::orders::{Identity, Ticket};
use crate::guardian::records::{Launched, Records, read_all};
use crate::guardian::seal::seal;
use crate::reconcile::{Memory, Now, Remembered};
use crate::spec::{Remnant, ServiceName};

const NAMES: [&str; 3] = ["api", "db", "web"];

fn remembered(name: &str, run: u32) -> Remembered {
    let service = ServiceName::new(name);
    Remembered {
        memory: Some((Memory::of_record(service.clone(), run, 100 + run, 5, 6), None)),
        service,
    }
}

/// A book in which every service was written twice, and what it says.
fn written(folder: &Path) -> (PathBuf, Session) {
    let (mut book, past, complaints) = Book::open(folder);
    assert!(past.session.is_none() && complaints.is_empty());
    let session = Session::new(7);
    let all = |run: u32| NAMES.map(|name| remembered(name, run)).into_iter().collect::<Vec<_>>();
    book.write(&session, Vec::new(), || all(1), &str::to_owned)
        .expect("written");
    book.write(&session, all(2), Vec::new, &str::to_owned).expect("written");
    (folder.join("book.jsonl"), session)
}

/// Opens what stands in the folder; nothing but what was once written may be believed, and what makes no sense is kept.
#[track_caller]
fn believed(folder: &Path, session: &Session, altered: &[u8], what: &str) -> (Past, Vec<String>) {
    let (_, past, complaints) = Book::open(folder);
    assert!(past.session.as_ref().is_none_or(|found| found == session), "{what}");
    assert!(past.session.is_some() || past.services.is_empty(), "{what}");
    for (name, Known { memory, .. }) in &past.services {
        let known = [1, 2].map(|run| Memory::of_record(name.clone(), run, 100 + run, 5, 6));
        assert!(
            NAMES.contains(&name.as_str()) && known.contains(memory),
            "{what}: {memory:?}"
        );
    }
    assert_eq!(complaints.is_empty(), set_aside(folder).is_empty(), "{what}");
    for aside in set_aside(folder) {
        assert!(fs::read(&aside).expect("read") == altered, "{what}: kept as it was");
        fs::remove_file(aside).expect("removed");
    }
    (past, complaints)
}

fn set_aside(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path());
    entries
        .filter(|path| path.to_string_lossy().contains(".corrupt-"))
        .collect()
}

#[test]
fn cr_07_a_book_that_is_cut_anywhere_tells_nothing_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, session) = written(folder.path());
    let whole = fs::read(&path).expect("read");
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).expect("written");
        let (past, complaints) = believed(folder.path(), &session, &whole[..length], &format!("cut at {length}"));
        // The last line may be torn by its writer's death; a book without a whole line was never made.
        assert_eq!(
            complaints.is_empty(),
            length == 0 || past.session.is_some(),
            "cut at {length}"
        );
    }
    fs::write(&path, &whole).expect("written");
    let (past, _) = believed(folder.path(), &session, &whole, "whole");
    assert!(past.services.values().all(|known| known.memory.run == 2));
}

#[test]
fn cr_07_a_book_with_any_byte_altered_tells_nothing_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, session) = written(folder.path());
    let whole = fs::read(&path).expect("read");
    for at in 0..whole.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut altered = whole.clone();
            altered[at] ^= flip;
            fs::write(&path, &altered).expect("written");
            let what = format!("byte {at} ^ {flip:#x}");
            let (_, complaints) = believed(folder.path(), &session, &altered, &what);
            // Without its end, the last line is one that was torn.
            assert_eq!(complaints.len(), usize::from(at + 1 < whole.len()), "{what}");
        }
    }
}

/// What was never a book or a record: garbage, and one gigabyte of nothing.
fn strangers(length: usize) -> Vec<(&'static str, Vec<u8>)> {
    let garbage = (0..length).map(|at| (at * 167 % 251) as u8).collect();
    vec![
        ("zeros", vec![0; length]),
        ("garbage", garbage),
        ("a line end", b"\n".to_vec()),
        ("an object", b"{}\n".to_vec()),
    ]
}

fn huge(path: &Path) {
    let file = fs::File::create(path).expect("made");
    file.set_len(1 << 30).expect("sparse");
}

#[test]
fn cr_07_what_is_no_book_is_set_aside_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, session) = written(folder.path());
    let length = fs::read(&path).expect("read").len();
    for (what, bytes) in strangers(length) {
        fs::write(&path, &bytes).expect("written");
        let (past, complaints) = believed(folder.path(), &session, &bytes, what);
        assert!(
            past.session.is_none() && complaints.len() == 1,
            "{what}: {complaints:?}"
        );
    }
    fs::write(&path, "").expect("written");
    assert!(believed(folder.path(), &session, b"", "empty").1.is_empty());
    huge(&path);
    let (_, past, complaints) = Book::open(folder.path());
    assert!(past.session.is_none() && complaints.len() == 1, "{complaints:?}");
    assert_eq!(fs::metadata(&set_aside(folder.path())[0]).expect("kept").len(), 1 << 30);
}

/// Rewrites one member of the session's line, with a checksum that fits.
fn session_with(path: &Path, member: &str, value: serde_json::Value) {
    let text = fs::read_to_string(path).expect("read");
    let (first, rest) = text.split_once('\n').expect("a line");
    let mut entry: serde_json::Value = serde_json::from_str(&first[17..]).expect("an entry");
    entry["session"][member] = value;
    let json = entry.to_string();
    let sum = crate::guardian::seal::checksum(json.as_bytes());
    fs::write(path, format!("{sum} {json}\n{rest}")).expect("written");
}

#[test]
fn cr_07_a_book_of_another_version_is_set_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, session) = written(folder.path());
    session_with(&path, "version", json!(99));
    let altered = fs::read(&path).expect("read");
    let (past, complaints) = believed(folder.path(), &session, &altered, "another version");
    assert!(past.session.is_none() && past.services.is_empty());
    assert!(
        complaints[0].contains("another version of runner wrote it"),
        "{complaints:?}"
    );
}

#[test]
fn pr_04_pr_05_a_book_of_another_boot_or_pid_namespace_means_nothing() {
    for (member, value) in [("boot_id", json!("another")), ("pid_namespace", json!(1))] {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, _) = written(folder.path());
        session_with(&path, member, value);
        let (_, past, complaints) = Book::open(folder.path());
        assert!(past.session.is_none() && past.services.is_empty(), "{member}");
        assert!(
            complaints.is_empty(),
            "{member}: nothing is wrong with it: {complaints:?}"
        );
    }
}

fn launched(run: u32) -> Launched {
    let remnant = json!({
        "service": "web", "kind": "simple", "stop": [], "stop_scope": "tree", "log": "Off", "ports": {},
    });
    let remnant: Remnant = serde_json::from_value(remnant).expect("a remnant");
    let service = remnant.service();
    let now = Now { mono_ns: 3, wall_ns: 4 };
    Launched::new(&service, &service, run, Ticket(u64::from(run)), "instance", "salt", now)
}

fn identity(run: u32) -> Identity {
    Identity {
        pid: 100 + run,
        pidfd_inode: u64::from(1000 + run),
        start_ticks: u64::from(2000 + run),
    }
}

/// As the guardian writes it.
fn record(run: u32) -> String {
    let mut launched = launched(run);
    launched.identity = Some(identity(run));
    seal(&serde_json::to_string(&launched).expect("an object"))
}

/// A folder with a record, and where it is.
fn recorded(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = launched(1).path(folder.path());
    fs::create_dir(path.parent().expect("a folder")).expect("made");
    fs::write(&path, text).expect("written");
    (folder, path)
}

fn older(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.1", path.display()))
}

#[test]
fn cr_07_a_record_that_is_cut_or_altered_gives_way_to_the_one_before() {
    let whole = record(2).into_bytes();
    let (folder, path) = recorded(&whole);
    let mut expected = launched(2);
    expected.identity = Some(identity(2));
    assert_eq!(read_all(folder.path()).launched, [expected.clone()]);
    let mut before = launched(1);
    before.identity = Some(identity(1));
    let cuts = (0..whole.len()).map(|length| (format!("cut at {length}"), whole[..length].to_vec()));
    let flips = (0..whole.len()).flat_map(|at| [0x01, 0x20, 0x80].map(|flip| (at, flip)));
    let flips = flips.map(|(at, flip)| {
        let mut altered = whole.clone();
        altered[at] ^= flip;
        (format!("byte {at} ^ {flip:#x}"), altered)
    });
    for (what, altered) in cuts.chain(flips).chain(
        strangers(whole.len())
            .into_iter()
            .map(|(what, bytes)| (what.to_owned(), bytes)),
    ) {
        fs::write(&path, &altered).expect("written");
        fs::write(older(&path), record(1)).expect("written");
        let Records {
            launched,
            complaints,
            of_later_version,
        } = read_all(folder.path());
        assert_eq!(launched, [before.clone()], "{what}");
        assert!(complaints.len() == 1 && !of_later_version, "{what}: {complaints:?}");
        let aside = set_aside(path.parent().expect("a folder"));
        assert!(fs::read(&aside[0]).expect("read") == altered, "{what}: kept as it was");
        fs::remove_file(&aside[0]).expect("removed");
    }
    huge(&path);
    let records = read_all(folder.path());
    assert_eq!((records.launched.len(), records.complaints.len()), (1, 1));
}

#[test]
fn cr_07_a_record_of_a_later_version_is_left_alone() {
    let text = record(1).replacen("\"version\":1", "\"version\":99", 1);
    let (object, _) = text.split_once(",\"checksum\"").expect("sealed");
    let text = seal(&format!("{object}}}"));
    let (folder, path) = recorded(text.as_bytes());
    let records = read_all(folder.path());
    assert!(records.of_later_version && records.launched.is_empty() && records.complaints.is_empty());
    assert_eq!(fs::read_to_string(path).expect("still there"), text);
}

#[test]
fn pr_04_pr_05_a_record_of_another_boot_or_pid_namespace_is_void() {
    let boot = crate::sys::identity::boot_id();
    let namespace = format!("\"pid_namespace\":{}", crate::sys::identity::pid_namespace());
    for (here, elsewhere) in [(boot.as_str(), "another"), (namespace.as_str(), "\"pid_namespace\":1")] {
        let text = record(1).replacen(here, elsewhere, 1);
        let (object, _) = text.split_once(",\"checksum\"").expect("sealed");
        let (folder, path) = recorded(seal(&format!("{object}}}")).as_bytes());
        fs::write(older(&path), record(1)).expect("written");
        let records = read_all(folder.path());
        assert!(
            records.launched.is_empty() && records.complaints.is_empty(),
            "{elsewhere}"
        );
        assert!(!path.exists() && !older(&path).exists(), "{elsewhere}");
    }
}

#[test]
fn cr_07_a_record_that_names_no_process_adopts_nothing() {
    for pid in [0, 1] {
        let mut launched = launched(1);
        launched.identity = Some(Identity { pid, ..identity(1) });
        let (folder, _) = recorded(seal(&serde_json::to_string(&launched).expect("an object")).as_bytes());
        let records = read_all(folder.path());
        assert_eq!((records.launched.len(), records.complaints.len()), (0, 1), "pid {pid}");
    }
}

#[test]
fn cr_07_of_a_book_and_records_that_disagree_what_is_held_is_right() {
    // The book knows of run 2; what lies beside it is of run 1, and nothing is held.
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path());
    let (_, past, _) = Book::open(folder.path());
    let mut record = launched(1);
    record.identity = Some(identity(1));
    let (recollection, finds, moved) = recollect(&past, vec![record], Vec::new());
    assert!(moved.is_empty());
    let web = recollection
        .services
        .iter()
        .find(|one| one.memory.service.as_str() == "web");
    let web = web.expect("known");
    assert_eq!(web.memory.run, 2);
    assert!(web.remnant.is_none(), "what run 1 was is no word about run 2");
    let runs: Vec<u32> = finds.keys().map(|(_, run)| *run).collect();
    assert_eq!(runs, [2, 2, 2], "each of them ended unseen");
}
