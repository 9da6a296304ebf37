//! A sink: what is shown is complete, and what is not shown yet is still in its FIFO.

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::process::Child;
use std::sync::Arc;

use super::*;
use crate::sys;

/// `NAME: ` before each line.
#[derive(Default)]
struct Named(HashMap<(String, Stream), Vec<u8>>);

impl Render for Named {
    fn chunk(&mut self, of: &Origin<'_>, bytes: &[u8], out: &mut Vec<u8>) {
        let held = self.0.entry((of.service.to_string(), of.stream)).or_default();
        held.extend_from_slice(bytes);
        while let Some(end) = held.iter().position(|&byte| byte == b'\n') {
            out.extend_from_slice(format!("{}: ", of.service).as_bytes());
            out.extend(held.drain(..=end));
        }
    }

    fn end(&mut self, service: &str, _: u32, out: &mut Vec<u8>) {
        for stream in [Stream::Out, Stream::Err] {
            let rest = self.0.remove(&(service.to_string(), stream)).unwrap_or_default();
            if !rest.is_empty() {
                out.extend_from_slice(&[format!("{service}: ").as_bytes(), &rest, b"\n"].concat());
            }
        }
    }
}

fn sink(bench: &Bench) -> (Arc<Sink<Named>>, BufReader<PipeReader>) {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let sink = Sink::start(Named::default(), File::from(OwnedFd::from(writer))).expect("start");
    bench.pump.show_on(&sink);
    (sink, BufReader::new(reader))
}

fn line(reader: &mut BufReader<PipeReader>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("read");
    line
}

#[test]
fn what_is_said_last_stands_before_the_word_of_the_end() {
    let bench = Bench::new();
    let (sink, mut reader) = sink(&bench);
    let target = bench.target("web", 1 << 20, 2);
    let (mut out, mut err) = bench.open("web", 1, &target, &["^ready"]);
    out.write.write_all(b"ready\nno end").expect("write");
    assert_eq!(line(&mut reader), "web: ready\n");
    bench.await_fact(|fact| matches!(fact, LogFact::Matched { .. }));
    err.write.write_all(b"last words\n").expect("write");
    bench.drain("web", 1);
    bench.pump.close(&ServiceName::new("web"), 1);
    bench.drain("web", 1);
    sink.tell(|_, out| out.extend_from_slice(b"ended\n"));
    assert_eq!(line(&mut reader), "web: last words\n");
    assert_eq!(line(&mut reader), "web: no end\n");
    assert_eq!(line(&mut reader), "ended\n");
    assert_eq!(
        lines(&target.file, &Query::default()),
        ["ready", "last words", "no end"]
    );
}

#[test]
fn a_slow_reader_misses_nothing_and_services_wait_for_him() {
    const LINES: usize = 60_000;
    let bench = Bench::new();
    let (_sink, mut reader) = sink(&bench);
    let names = ["a", "b", "c"];
    let targets = names.map(|name| bench.target(name, 1 << 30, 2));
    let fifos: Vec<_> = names
        .iter()
        .zip(&targets)
        .map(|(name, target)| bench.open(name, 1, target, &[]))
        .collect();
    let writers: Vec<_> = fifos
        .into_iter()
        .map(|(mut out, err)| {
            thread::spawn(move || {
                (1..=LINES).for_each(|number| writeln!(out.write, "line {number}").expect("write"));
                (out, err)
            })
        })
        .collect();
    // Nobody reads so far: they can't all have been taken.
    assert!(writers.iter().any(|writer| !writer.is_finished()));
    let mut next = HashMap::new();
    let mut between = 0;
    let mut last = String::new();
    for _ in 0..LINES * names.len() {
        let line = line(&mut reader);
        let (name, rest) = line.split_once(": line ").expect("a line of a service");
        let number = next.entry(name.to_owned()).or_insert(1);
        assert_eq!(rest.trim_end().parse(), Ok(*number), "{name}");
        *number += 1;
        between += usize::from(last != name);
        last = name.to_owned();
    }
    assert!(
        between > 3 * names.len(),
        "each has its turn again and again: {between}"
    );
    let _held: Vec<_> = writers
        .into_iter()
        .map(|writer| writer.join().expect("writer"))
        .collect();
    for (name, target) in names.iter().zip(&targets) {
        bench.drain(name, 1);
        assert_numbers(&target.file, LINES);
    }
}

#[test]
fn what_is_not_written_yet_is_still_in_the_fifo() {
    let bench = Bench::new();
    let (_sink, mut reader) = sink(&bench);
    let target = bench.target("web", 1 << 20, 2);
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    // More than the pipe of the reader holds.
    let text = b"0123456789abcdef0123456789abcde\n".repeat(2000);
    out.write.write_all(&text).expect("write");
    // Something has come, so all of it is on its way, and not all of it can be written.
    assert_eq!(line(&mut reader).len(), 5 + 32);
    assert_eq!(sys::fifo::waiting(&out.write), text.len());
    assert_eq!(fs::metadata(&target.file).expect("log").len(), 0);
    for _ in 1..2000 {
        line(&mut reader);
    }
    bench.drain("web", 1);
    assert_eq!(sys::fifo::waiting(&out.write), 0);
    // The beginning of a line waits for its end.
    out.write.write_all(b"begun").expect("write");
    let _seams = bench.pump.seams(Vec::new()).recv();
    assert_eq!(sys::fifo::waiting(&out.write), 5);
    out.write.write_all(b" and done\n").expect("write");
    assert_eq!(line(&mut reader), "web: begun and done\n");
}

#[test]
fn lg_02_a_line_without_end_holds_up_nobody() {
    let bench = Bench::new();
    let (_sink, mut reader) = sink(&bench);
    let target = bench.target("web", 1 << 30, 2);
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    let reading = thread::spawn(move || line(&mut reader).len());
    // In writes that fill the pipe's pages badly.
    let block = [b'x'; 3000];
    (0..1000).for_each(|_| out.write.write_all(&block).expect("write"));
    out.write.write_all(b"\n").expect("write");
    assert_eq!(reading.join().expect("reader"), 5 + 3_000_000 + 1);
    bench.drain("web", 1);
    assert_eq!(fs::metadata(&target.file).expect("log").len(), 3_000_001);
}

#[test]
fn a_reader_that_is_gone_or_stands_still_holds_up_nobody() {
    let bench = Bench::new();
    let (sink, reader) = sink(&bench);
    let target = bench.target("web", 1 << 30, 2);
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    out.write.write_all(&b"0123456789abcde\n".repeat(4096)).expect("write");
    // It stands still: the end of a service is told all the same.
    bench.drain("web", 1);
    sink.finish(Duration::ZERO);
    drop(reader);
    (0..50_000).for_each(|_| out.write.write_all(b"after the reader\n").expect("write"));
    bench.drain("web", 1);
    assert_eq!(fs::metadata(&target.file).expect("log").len(), 65_536 + 50_000 * 17);
}

#[test]
fn console_false_is_not_shown_and_an_edit_changes_that() {
    let mut bench = Bench::new();
    let (sink, mut reader) = sink(&bench);
    let shown = bench.target("web", 1 << 20, 2);
    let hidden = LogFile {
        console: false,
        ..shown.clone()
    };
    let (mut out, _err) = bench.open("web", 1, &hidden, &[]);
    for (target, text) in [(&hidden, "1\n"), (&shown, "2\n"), (&hidden, "3\n"), (&shown, "4\n")] {
        bench
            .pump
            .adjust(&ServiceName::new("web"), LogTarget::File(target.clone()));
        bench.drain("web", 1);
        out.write.write_all(text.as_bytes()).expect("write");
        bench.drain("web", 1);
    }
    out.write.write_all(b"end").expect("write");
    bench.pump.close(&ServiceName::new("web"), 1);
    bench.pump.stop();
    sink.finish(LONG);
    drop(sink);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("read");
    assert_eq!(text, "web: 2\nweb: 4\nweb: end\n");
    assert_eq!(lines(&shown.file, &Query::default()), ["1", "2", "3", "4", "end"]);
}

/// The child of the next test; does nothing when it is run as a test of its own.
#[test]
fn lg_07_showing_process() {
    let Ok(folder) = std::env::var("RUNNER_TEST_SHOWING") else {
        return;
    };
    let folder = PathBuf::from(folder);
    let pump = Pump::start(|_| {}).expect("start");
    let shown = OpenOptions::new()
        .append(true)
        .create(true)
        .open(folder.join("shown"))
        .expect("open");
    pump.show_on(&Sink::start(Named::default(), shown).expect("sink"));
    let run = OpenRun {
        service: ServiceName::new("web"),
        run: 1,
        adopted: true,
        out: reader(&folder.join("out")),
        err: reader(&folder.join("err")),
        target: LogTarget::File(target(folder.join("web.log"), 1 << 30, 2)),
        matchers: Vec::new(),
    };
    pump.open(run).expect("open");
    loop {
        thread::park();
    }
}

fn showing_process(folder: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "logs::tests::showing::lg_07_showing_process"])
        .env("RUNNER_TEST_SHOWING", folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("spawn")
}

#[test]
fn lg_07_killed_at_any_moment_nothing_is_missing_from_what_was_shown() {
    const LINES: usize = 400_000;
    let folder = tempfile::tempdir().expect("folder");
    let out = Fifo::new(folder.path(), "out");
    let err = Fifo::new(folder.path(), "err");
    let log = folder.path().join("web.log");
    let writer = thread::spawn(move || {
        // In blocks, as C's stdout would: lines are cut anywhere.
        let mut block = io::BufWriter::with_capacity(4096, out.write);
        (1..=LINES).for_each(|number| writeln!(block, "line {number}").expect("write"));
        block.into_inner().expect("flushed")
    });
    let length = || fs::metadata(folder.path().join("shown")).map_or(0, |found| found.len());
    let mut kills = 0;
    while !writer.is_finished() {
        let mut pump = showing_process(folder.path());
        let until = length() + 1 + (kills * 37_123 % 300_000);
        let deadline = Instant::now() + LONG;
        while length() < until && !writer.is_finished() {
            assert!(Instant::now() < deadline, "the pump does not go on after {kills} kills");
            thread::yield_now();
        }
        pump.kill().expect("kill");
        pump.wait().expect("wait");
        kills += 1;
    }
    let _out = writer.join().expect("writer");
    let mut pump = showing_process(folder.path());
    let last = format!("line {LINES}\n");
    let deadline = Instant::now() + LONG;
    while !fs::read(&log).is_ok_and(|text| text.ends_with(last.as_bytes())) {
        assert!(Instant::now() < deadline, "the last line is not taken");
        thread::yield_now();
    }
    pump.kill().expect("kill");
    pump.wait().expect("wait");
    drop(err);
    assert!(kills > 5, "only {kills} kills");
    assert_numbers(&log, LINES);
    let shown = fs::read_to_string(folder.path().join("shown")).expect("read");
    let mut next = 1;
    let mut repeated = 0;
    // A kill may cut the last write short: that line is repeated whole.
    for line in shown.lines() {
        let number = line
            .rsplit_once("line ")
            .and_then(|(_, number)| number.parse::<usize>().ok());
        match number {
            Some(number) if number == next => next += 1,
            _ => repeated += 1,
        }
    }
    assert_eq!(next, LINES + 1, "something is missing");
    assert!(
        repeated <= kills as usize * 40_000,
        "{repeated} lines again after {kills} kills"
    );
}
