//! Files that are full, renamed, or left in the middle of a rotation by a kill.

use std::process::Child;

use super::*;

#[test]
fn lg_07_rotation_cuts_at_the_exact_byte() {
    let bench = Bench::new();
    let target = bench.target("web", 100, 4);
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    let text = "äöü".repeat(400);
    out.write.write_all(text.as_bytes()).expect("write");
    bench.drain("web", 1);
    let sizes: Vec<u64> = files(&target.file)
        .iter()
        .map(|path| fs::metadata(path).expect("metadata").len())
        .collect();
    assert_eq!(sizes, [100; 4], "four files are kept");
    assert_eq!(bytes(&target.file), text.as_bytes()[2400 - 400..]);
    assert_index_is_whole(&target.file);
    // Fewer files after an edit: the others go with the next rotation.
    let fewer = LogFile {
        max_files: 2,
        ..target.clone()
    };
    bench.pump.adjust(&ServiceName::new("web"), LogTarget::File(fewer));
    // Orders are taken in order, so the edit is known once this one is answered.
    bench.drain("web", 1);
    out.write.write_all(b"x").expect("write");
    bench.drain("web", 1);
    assert_eq!(bytes(&target.file).len(), 101);
}

#[test]
fn lg_07_one_file_only_begins_again() {
    let bench = Bench::new();
    let target = bench.target("web", 10, 1);
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    out.write.write_all(b"0123456789abcd").expect("write");
    bench.drain("web", 1);
    assert_eq!(bytes(&target.file), b"abcd");
    assert_index_is_whole(&target.file);
}

/// The child of the next test; does nothing when it is run as a test of its own.
#[test]
fn lg_07_pump_process() {
    let Ok(folder) = std::env::var("RUNNER_TEST_PUMP") else {
        return;
    };
    let folder = PathBuf::from(folder);
    let pump = Pump::start(|_| {}).expect("start");
    let run = OpenRun {
        service: ServiceName::new("web"),
        run: 1,
        adopted: true,
        out: reader(&folder.join("out")),
        err: reader(&folder.join("err")),
        target: LogTarget::File(target(folder.join("web.log"), 20_000, 10_000)),
        matchers: Vec::new(),
    };
    pump.open(run).expect("open");
    loop {
        thread::park();
    }
}

fn pump_process(folder: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "logs::tests::rotating::lg_07_pump_process"])
        .env("RUNNER_TEST_PUMP", folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("spawn")
}

#[test]
fn lg_07_a_pump_that_is_killed_at_any_moment_loses_and_repeats_nothing() {
    const LINES: usize = 400_000;
    let folder = tempfile::tempdir().expect("folder");
    let mut out = Fifo::new(folder.path(), "out");
    let err = Fifo::new(folder.path(), "err");
    let log = folder.path().join("web.log");
    let writer = thread::spawn(move || {
        for number in 1..=LINES {
            writeln!(out.write, "line {number}").expect("write");
        }
        out
    });
    // A new pump each time, killed once it has rotated a different number of times and a different while longer.
    let mut kills = 0;
    while !writer.is_finished() {
        let mut pump = pump_process(folder.path());
        let rotated = files(&log).len() + 1 + kills % 7;
        let deadline = Instant::now() + LONG;
        while files(&log).len() < rotated && !writer.is_finished() {
            assert!(Instant::now() < deadline, "the pump does not go on after {kills} kills");
            thread::yield_now();
        }
        (0..kills * 37 % 1000).for_each(|_| std::hint::spin_loop());
        pump.kill().expect("kill");
        pump.wait().expect("wait");
        kills += 1;
    }
    let out = writer.join().expect("writer");
    let bench = Bench::new();
    let run = OpenRun {
        service: ServiceName::new("web"),
        run: 1,
        adopted: true,
        out: out.reader(),
        err: err.reader(),
        target: LogTarget::File(target(log.clone(), 20_000, 10_000)),
        matchers: Vec::new(),
    };
    bench.pump.open(run).expect("open");
    bench.drain("web", 1);
    assert!(kills > 5, "only {kills} kills");
    assert_numbers(&log, LINES);
}

#[test]
fn lg_07_a_rotation_that_was_cut_short_is_completed() {
    let bench = Bench::new();
    let target = bench.target("web", 10, 4);
    let log = &target.file;
    let index_of = |number| index::path_of(&journal::numbered(log, number));
    {
        let (mut out, _err) = bench.open("web", 1, &target, &[]);
        out.write.write_all(b"aaaaaaaaa\nbbbbbbbbb\n").expect("write");
        bench.drain("web", 1);
        bench.pump.close(&ServiceName::new("web"), 1);
        let (_out, _err) = bench.open("web", 2, &target, &[]);
        bench.drain("web", 2);
        bench.pump.close(&ServiceName::new("web"), 2);
    }
    let life = last::life_of_run(log, 1);
    assert!(life.is_some());
    // Killed after 1 became 2 and after the current index became index 1.
    fs::rename(index_of(1), index_of(2)).expect("rename");
    fs::rename(journal::numbered(log, 1), journal::numbered(log, 2)).expect("rename");
    fs::rename(index_of(0), index_of(1)).expect("rename");
    let runs = |log| {
        let lines = read(log, &Query::default()).expect("read");
        lines.map(|line| line.expect("line").run).collect::<Vec<_>>()
    };
    assert_eq!(runs(log), [1, 1], "nothing is hidden, and it is known whose it is");
    assert_eq!(last::life_of_run(log, 1), life);
    // Another pump, as this one may hold the file open.
    let after = Bench::new();
    let (mut out, _err) = after.open("web", 3, &target, &[]);
    out.write.write_all(b"ccccccccc\n").expect("write");
    after.drain("web", 3);
    assert_eq!(bytes(log), b"aaaaaaaaa\nbbbbbbbbb\nccccccccc\n");
    assert_index_is_whole(log);
    assert_eq!(runs(log), [1, 1, 3]);
}

#[test]
fn cr_10_a_log_that_was_deleted_goes_on_in_a_new_file_and_says_so() {
    for max_files in [1, 4] {
        let bench = Bench::new();
        let target = bench.target("web", 1000, max_files);
        let (mut out, _err) = bench.open("web", 1, &target, &[]);
        out.write.write_all(b"1\n").expect("write");
        bench.drain("web", 1);
        let folder = target.file.parent().expect("a folder");
        fs::remove_dir_all(folder).expect("removed");
        // Nothing is made for the sake of nothing.
        bench.drain("web", 1);
        assert!(!folder.exists());
        out.write.write_all(b"2\n").expect("write");
        bench.await_fact(|fact| matches!(fact, LogFact::Deleted { .. }));
        bench.drain("web", 1);
        out.write.write_all(b"3\n").expect("write");
        bench.drain("web", 1);
        assert_eq!(fs::read(&target.file).expect("read"), b"2\n3\n");
        assert_index_is_whole(&target.file);
    }
}

#[test]
fn lg_08_a_renamed_log_is_written_until_it_is_opened_anew() {
    let bench = Bench::new();
    let target = bench.target("web", 1000, 4);
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    let away = bench.folder.path().join("away");
    out.write.write_all(b"1\n").expect("write");
    bench.drain("web", 1);
    fs::rename(&target.file, &away).expect("rename");
    out.write.write_all(b"2\n").expect("write");
    bench.drain("web", 1);
    bench.pump.reopen();
    bench.drain("web", 1);
    out.write.write_all(b"3\n").expect("write");
    bench.drain("web", 1);
    assert_eq!(fs::read(&away).expect("read"), b"1\n2\n");
    assert_eq!(fs::read(&target.file).expect("read"), b"3\n");
}
