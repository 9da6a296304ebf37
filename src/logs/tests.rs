//! The pump as a whole: real FIFOs, real files, and kills.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;
use crate::spec::LogFile;

mod following;
mod in_memory;
mod querying;
mod rotating;
mod showing;
mod watching;

const LONG: Duration = Duration::from_secs(60);

struct Fifo {
    path: PathBuf,
    /// The service's end, read-write as it is in real life.
    write: File,
}

impl Fifo {
    fn new(folder: &Path, name: &str) -> Fifo {
        let path = folder.join(name);
        mkfifo(&path, Mode::S_IRWXU).expect("mkfifo");
        let write = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .expect("open the FIFO");
        Fifo { path, write }
    }

    fn reader(&self) -> OwnedFd {
        reader(&self.path)
    }
}

fn reader(path: &Path) -> OwnedFd {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    options.open(path).expect("open the FIFO").into()
}

struct Bench {
    folder: tempfile::TempDir,
    pump: Pump,
    facts: Receiver<LogFact>,
}

impl Bench {
    fn new() -> Bench {
        let (send, facts) = channel();
        let pump = Pump::start(move |fact| send.send(fact).unwrap_or(())).expect("start");
        Bench {
            folder: tempfile::tempdir().expect("folder"),
            pump,
            facts,
        }
    }

    fn target(&self, name: &str, max_size: u64, max_files: u32) -> LogFile {
        target(self.folder.path().join(format!("{name}.log")), max_size, max_files)
    }

    fn open(&self, name: &str, run: u32, target: &LogFile, matchers: &[&str]) -> (Fifo, Fifo) {
        self.open_to(name, run, LogTarget::File(target.clone()), matchers)
    }

    fn open_to(&self, name: &str, run: u32, target: LogTarget, matchers: &[&str]) -> (Fifo, Fifo) {
        let fifo = |stream| Fifo::new(self.folder.path(), &format!("{name}.{run}.{stream}"));
        let (out, err) = (fifo("out"), fifo("err"));
        self.pump
            .open(OpenRun {
                service: ServiceName::new(name),
                run,
                adopted: false,
                out: out.reader(),
                err: err.reader(),
                target,
                matchers: matchers.iter().map(|&text| text.into()).collect(),
            })
            .expect("open");
        (out, err)
    }

    fn drain(&self, name: &str, run: u32) {
        self.pump.drain(&ServiceName::new(name), run);
        self.await_fact(
            |fact| matches!(fact, LogFact::Drained { service, run: r } if service.as_str() == name && *r == run),
        );
    }

    fn await_fact(&self, wanted: impl Fn(&LogFact) -> bool) -> LogFact {
        loop {
            let fact = self.facts.recv_timeout(LONG).expect("the fact that was waited for");
            if wanted(&fact) {
                return fact;
            }
        }
    }
}

fn target(file: PathBuf, max_size: u64, max_files: u32) -> LogFile {
    LogFile {
        file,
        max_size,
        max_files,
        console: true,
    }
}

fn files(log: &Path) -> Vec<PathBuf> {
    let numbers = (0..).map(|number| journal::numbered(log, number));
    let mut files: Vec<_> = numbers.take_while(|path| path.exists()).collect();
    files.reverse();
    files
}

fn bytes(log: &Path) -> Vec<u8> {
    files(log)
        .iter()
        .flat_map(|path| fs::read(path).expect("read a log"))
        .collect()
}

fn lines(log: &Path, query: &Query) -> Vec<String> {
    read(log, query)
        .expect("open the log")
        .map(|line| String::from_utf8(line.expect("read a line").bytes).expect("UTF-8"))
        .collect()
}

fn assert_numbers(log: &Path, count: usize) {
    let wanted: Vec<String> = (1..=count).map(|number| format!("line {number}")).collect();
    let raw = String::from_utf8(bytes(log)).expect("UTF-8");
    assert!(
        raw.lines().eq(wanted.iter().map(String::as_str)),
        "the raw files hold other lines"
    );
    let indexed = lines(log, &Query::default());
    let wrong = indexed.iter().zip(&wanted).find(|(is, should)| is != should);
    assert!(
        indexed.len() == wanted.len() && wrong.is_none(),
        "the index gives other lines: {wrong:?}"
    );
}

/// Every entry begins where the one before it ended, up to the end of the file.
fn assert_index_is_whole(log: &Path) {
    for path in files(log) {
        let index = fs::read(index::path_of(&path)).expect("an index");
        let mut end = 0;
        for entry in index.as_chunks::<{ index::ENTRY }>().0 {
            let entry = index::Entry::decode(entry).expect("a valid entry");
            assert_eq!(entry.offset, end, "in {}", path.display());
            end = entry.end();
        }
        assert_eq!(
            end,
            fs::metadata(&path).expect("metadata").len(),
            "in {}",
            path.display()
        );
    }
}

#[test]
fn lg_01_every_byte_arrives_as_it_is() {
    let bench = Bench::new();
    let target = bench.target("web", 1 << 20, 5);
    let (mut out, _err) = bench.open("web", 1, &target, &["never matches"]);
    let all: Vec<u8> = (0..=255).cycle().take(256 * 33 + 7).collect();
    out.write.write_all(&all).expect("write");
    bench.drain("web", 1);
    assert_eq!(bytes(&target.file), all);
    assert_eq!(
        fs::metadata(&target.file).expect("metadata").permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn lg_02_a_hundred_megabytes_without_newline_need_no_memory() {
    const SIZE: usize = 100 << 20;
    let bench = Bench::new();
    let target = bench.target("web", 1 << 30, 2);
    let (mut out, _err) = bench.open("web", 1, &target, &["^y"]);
    let before = memory();
    let writer = thread::spawn(move || {
        let block = vec![b'x'; 1 << 20];
        (0..SIZE >> 20).for_each(|_| out.write.write_all(&block).expect("write"));
        out
    });
    let _out = writer.join().expect("writer");
    bench.drain("web", 1);
    // Other tests run in this process at the same time, hence more than the 8 MiB of the fault.
    assert!(memory().saturating_sub(before) < 64 << 20, "memory grew with the line");
    assert_eq!(fs::metadata(&target.file).expect("metadata").len(), SIZE as u64);
    let pieces = read(&target.file, &Query::default()).expect("read");
    assert_eq!(
        pieces.map(|piece| piece.expect("piece").bytes.len()).sum::<usize>(),
        SIZE
    );
}

/// Resident bytes of this process.
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("pages");
    pages * 4096
}

#[test]
fn lg_04_ten_writers_lose_and_repeat_nothing() {
    const LINES: usize = 20_000;
    let bench = Bench::new();
    let mut logs = Vec::new();
    let mut writers = Vec::new();
    for name in (0..10).map(|number| format!("s{number}")) {
        let target = bench.target(&name, 64 << 10, 100);
        let (mut out, err) = bench.open(&name, 1, &target, &[]);
        logs.push((name, target.file));
        writers.push(thread::spawn(move || {
            (1..=LINES).for_each(|number| writeln!(out.write, "line {number}").expect("write"));
            (out, err)
        }));
    }
    let _held: Vec<_> = writers
        .into_iter()
        .map(|writer| writer.join().expect("writer"))
        .collect();
    for (name, log) in logs {
        bench.drain(&name, 1);
        assert_numbers(&log, LINES);
        assert_index_is_whole(&log);
    }
}

#[test]
fn lg_05_a_full_disk_makes_services_wait_and_loses_nothing() {
    let bench = Bench::new();
    let disk = bench.folder.path().join("disk");
    fs::create_dir(&disk).expect("create");
    let mount = |args: &[&str]| Command::new(args[0]).args(&args[1..]).arg(&disk).status();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=128k", "none"]).is_ok_and(|status| status.success()) {
        eprintln!("not allowed to mount a small disk: skipped");
        return;
    }
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![0; 100 << 10]).expect("write");
    let target = target(disk.join("web.log"), 1 << 20, 4);
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    let text: String = (1..=6_000).map(|number| format!("line {number}\n")).collect();
    let writer = thread::spawn(move || {
        out.write.write_all(text.as_bytes()).expect("write");
        out
    });
    let told = bench.await_fact(|fact| matches!(fact, LogFact::Trouble { problem: Some(_), .. }));
    assert!(
        format!("{told:?}").contains("web.log: no space left on device"),
        "{told:?}"
    );
    // The end of a service is not held up by the disk.
    bench.drain("web", 1);
    fs::remove_file(&ballast).expect("remove");
    bench.await_fact(|fact| matches!(fact, LogFact::Trouble { problem: None, .. }));
    let _out = writer.join().expect("writer");
    bench.drain("web", 1);
    assert_numbers(&target.file, 6_000);
    let log = target.file.clone();
    assert_index_is_whole(&log);
    let Bench { mut pump, folder, .. } = bench;
    pump.stop();
    mount(&["umount"]).expect("umount");
    drop(folder);
}

#[test]
fn lg_10_only_a_regular_file_is_written() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    let aim = folder.join("aim");
    fs::write(&aim, b"").expect("write");
    symlink(&aim, folder.join("link.log")).expect("symlink");
    symlink(folder.join("nothing"), folder.join("dangling.log")).expect("symlink");
    mkfifo(&folder.join("fifo.log"), Mode::S_IRWXU).expect("mkfifo");
    fs::create_dir(folder.join("folder.log")).expect("create");
    let fifo = Fifo::new(folder, "out");
    let mut refusals = Vec::new();
    for file in ["link.log", "dangling.log", "fifo.log", "folder.log"]
        .map(|name| folder.join(name))
        .into_iter()
        .chain(["/dev/null".into()])
    {
        let run = OpenRun {
            service: ServiceName::new("web"),
            run: 1,
            adopted: false,
            out: fifo.reader(),
            err: fifo.reader(),
            target: LogTarget::File(target(file, 1000, 2)),
            matchers: Vec::new(),
        };
        refusals.push(bench.pump.open(run).expect_err("refused").to_string());
    }
    assert!(
        refusals[0].ends_with("link.log: is a symbolic link, and logs are not written through links"),
        "{refusals:?}"
    );
    assert!(refusals[1].contains("symbolic link"), "{refusals:?}");
    assert!(
        refusals[2..].iter().all(|text| text.ends_with("is not a regular file")),
        "{refusals:?}"
    );
    assert!(!folder.join("nothing").exists());
}

#[test]
fn lg_11_the_order_within_a_stream_and_of_the_streams_is_kept() {
    let bench = Bench::new();
    let target = bench.target("web", 200, 100);
    let (mut out, mut err) = bench.open("web", 1, &target, &[]);
    for number in 0..100 {
        let (fifo, name) = if number % 3 == 0 {
            (&mut err, "err")
        } else {
            (&mut out, "out")
        };
        writeln!(fifo.write, "{name} {number}").expect("write");
        bench.drain("web", 1);
    }
    out.write.write_all(b"out be").expect("write");
    bench.drain("web", 1);
    err.write.write_all(b"err between\n").expect("write");
    bench.drain("web", 1);
    out.write.write_all(b"gun\nout open").expect("write");
    bench.drain("web", 1);
    let all = lines(&target.file, &Query::default());
    let number = |line: &String| line.split(' ').nth(1).and_then(|word| word.parse::<u32>().ok());
    assert!(all.iter().filter_map(number).eq(0..100), "{all:?}");
    assert_eq!(&all[100..], ["err between", "out begun", "out open"]);
    let query = Query {
        stream: Some(Stream::Err),
        tail: Some(3),
        ..Query::default()
    };
    assert_eq!(lines(&target.file, &query), ["err 96", "err 99", "err between"]);
    for tail in 0..all.len() {
        let query = Query {
            tail: Some(tail),
            ..Query::default()
        };
        assert_eq!(lines(&target.file, &query), all[all.len() - tail..], "tail {tail}");
    }
    let last = last_lines(&target.file, (1, 0), 3, 1000);
    assert_eq!(last, [&b"err between"[..], b"out begun", b"out open"]);
}

#[test]
fn lg_16_runs_and_times_are_found_again() {
    let bench = Bench::new();
    let target = bench.target("web", 1 << 20, 5);
    for run in 1..=3 {
        let (mut out, mut err) = bench.open("web", run, &target, &[]);
        writeln!(out.write, "out of {run}").expect("write");
        err.write
            .write_all(format!("open end of {run}").as_bytes())
            .expect("write");
        bench.drain("web", run);
        bench.pump.close(&ServiceName::new("web"), run);
    }
    bench.drain("web", 4);
    assert_eq!(latest_run(&target.file).expect("latest"), Some(3));
    let query = Query {
        run: Some(Which::Number(2)),
        ..Query::default()
    };
    assert_eq!(lines(&target.file, &query), ["out of 2", "open end of 2"]);
    let all: Vec<Line> = read(&target.file, &Query::default())
        .expect("read")
        .map(|line| line.expect("line"))
        .collect();
    assert_eq!(all.len(), 6);
    let since = all[2].time_ns;
    let query = Query {
        since_ns: Some(since),
        until_ns: Some(since),
        ..Query::default()
    };
    let wanted = all.iter().filter(|line| line.time_ns == since).count();
    assert_eq!(lines(&target.file, &query).len(), wanted);
    assert!(
        read(&bench.folder.path().join("none.log"), &query)
            .expect("read")
            .next()
            .is_none()
    );
}

#[test]
fn patterns_are_seen_once_over_both_streams() {
    let bench = Bench::new();
    let target = bench.target("web", 1 << 20, 5);
    let (mut out, mut err) = bench.open("web", 7, &target, &["^ready on (\\d+)$", "nothing", "ready"]);
    err.write.write_all(b"not yet rea").expect("write");
    bench.drain("web", 7);
    err.write.write_all(b"dy\nready\n").expect("write");
    let fact = bench.await_fact(|_| true);
    assert!(
        matches!(&fact, LogFact::Matched { index: 2, run: 7, line, .. } if line == b"not yet ready"),
        "{fact:?}"
    );
    out.write.write_all(b"ready on 80\r\nready on 81\n").expect("write");
    let fact = bench.await_fact(|_| true);
    assert!(
        matches!(&fact, LogFact::Matched { index: 0, line, .. } if line == b"ready on 80"),
        "{fact:?}"
    );
    out.write.write_all(b"nothing").expect("write");
    bench.pump.close(&ServiceName::new("web"), 7);
    let fact = bench.await_fact(|_| true);
    assert!(
        matches!(&fact, LogFact::Matched { index: 1, .. }),
        "a last line without end: {fact:?}"
    );
}

#[test]
fn a_thousand_runs_come_and_go() -> io::Result<()> {
    let bench = Bench::new();
    let pipe = Fifo::new(bench.folder.path(), "shared");
    let name = |number: u32| ServiceName::new(format!("s{number}"));
    // Only those of this test: others run at the same time.
    let here = fs::canonicalize(bench.folder.path())?;
    let held = || -> io::Result<usize> {
        let links = fs::read_dir("/proc/self/fd")?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        Ok(links.filter(|link| link.starts_with(&here)).count())
    };
    let before = held()?;
    for number in 0..200 {
        bench.pump.open(OpenRun {
            service: name(number),
            run: 1,
            adopted: false,
            out: pipe.reader(),
            err: pipe.reader(),
            target: LogTarget::File(bench.target(name(number).as_str(), 1000, 2)),
            matchers: Vec::new(),
        })?;
    }
    for number in 0..200 {
        bench.pump.close(&name(number), 1);
    }
    bench.drain("s0", 1);
    assert_eq!(held()?, before, "descriptors are closed with their runs");
    Ok(())
}
