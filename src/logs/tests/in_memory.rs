//! Logs that are kept in memory: the newest output, read as any other log.

use super::*;
use crate::spec::LogMemory;

const SIZE: u64 = 32 << 10;

fn memory() -> LogTarget {
    LogTarget::Memory(LogMemory {
        max_size: SIZE,
        console: true,
    })
}

fn place(bench: &Bench) -> LogPlace {
    bench.pump.place(&ServiceName::new("web"), &memory()).expect("a place")
}

fn texts(bench: &Bench, query: &Query) -> Vec<String> {
    read(place(bench), query)
        .expect("open")
        .map(|line| String::from_utf8(line.expect("a line").bytes).expect("UTF-8"))
        .collect()
}

/// Log and index.
fn held(bench: &Bench) -> u64 {
    let LogPlace::Memory(tail) = place(bench) else {
        panic!("in memory")
    };
    let length = |file: &File| file.metadata().expect("metadata").len();
    let parts = tail.parts().expect("parts");
    parts.iter().map(|part| length(&part.log) + length(&part.index)).sum()
}

#[test]
fn the_newest_output_is_kept_and_no_more() {
    let bench = Bench::new();
    let (mut out, _err) = bench.open_to("web", 1, memory(), &[]);
    for number in 1..=20_000 {
        writeln!(out.write, "line {number}").expect("write");
    }
    bench.drain("web", 1);
    let kept = texts(&bench, &Query::default());
    let all: Vec<String> = (1..=20_000).map(|number| format!("line {number}")).collect();
    // What was cut at the beginning of the oldest part is no whole line.
    assert_eq!(kept[1..], all[all.len() - kept.len() + 1..]);
    let bytes: usize = kept.iter().map(|line| line.len() + 1).sum();
    assert!(
        bytes as u64 >= SIZE / 4 && bytes as u64 <= SIZE,
        "{bytes} bytes are kept"
    );
    assert_eq!(
        fs::read_dir(bench.folder.path()).expect("folder").count(),
        2,
        "only FIFOs"
    );
    let tail = texts(
        &bench,
        &Query {
            tail: Some(3),
            ..Query::default()
        },
    );
    assert_eq!(tail, all[all.len() - 3..]);
    assert_eq!(last_lines(place(&bench), (1, 0), 1, 1000), [b"line 20000"]);
}

#[test]
fn many_short_lines_have_no_index_without_a_bound() {
    let bench = Bench::new();
    let (mut out, mut err) = bench.open_to("web", 1, memory(), &[]);
    // Each is a chunk of its own: the stream changes.
    for _ in 0..3_000 {
        out.write.write_all(b"o\n").expect("write");
        bench.drain("web", 1);
        err.write.write_all(b"e\n").expect("write");
        bench.drain("web", 1);
    }
    let held = held(&bench);
    assert!(held <= 3 * SIZE, "{held} bytes");
    assert_eq!(
        texts(
            &bench,
            &Query {
                tail: Some(2),
                ..Query::default()
            }
        ),
        ["o", "e"]
    );
}

#[test]
fn runs_and_times_are_found_after_their_end() {
    let bench = Bench::new();
    for run in 1..=2 {
        let (mut out, _err) = bench.open_to("web", run, memory(), &[]);
        out.write
            .write_all(format!("run {run}\nno end").as_bytes())
            .expect("write");
        bench.drain("web", run);
        bench.pump.close(&ServiceName::new("web"), run);
    }
    bench.drain("web", 2);
    let run = |which| Query {
        run: Some(which),
        ..Query::default()
    };
    assert_eq!(texts(&bench, &run(Which::Previous)), ["run 1", "no end"]);
    assert_eq!(texts(&bench, &run(Which::Number(2))), ["run 2", "no end"]);
    assert_eq!(latest_run(place(&bench)).expect("read"), Some(2));
    let all: Vec<Line> = read(place(&bench), &Query::default())
        .expect("open")
        .map(|line| line.expect("line"))
        .collect();
    let since = Query {
        since_ns: Some(all[2].time_ns),
        ..Query::default()
    };
    assert_eq!(texts(&bench, &since), ["run 2", "no end"]);
    // A service that is no more is forgotten.
    bench.pump.forget_all_but(|_| false);
    assert!(texts(&bench, &Query::default()).is_empty());
}

#[test]
fn an_edit_between_file_and_memory_holds_from_the_next_chunk_on() {
    let bench = Bench::new();
    let web = ServiceName::new("web");
    let file = bench.target("web", 1 << 20, 2);
    let (mut out, _err) = bench.open_to("web", 1, memory(), &[]);
    for (target, line) in [
        (memory(), "one\n"),
        (LogTarget::File(file.clone()), "two\n"),
        (memory(), "three\n"),
    ] {
        bench.pump.adjust(&web, target);
        bench.drain("web", 1);
        out.write.write_all(line.as_bytes()).expect("write");
        bench.drain("web", 1);
    }
    assert_eq!(texts(&bench, &Query::default()), ["one", "three"]);
    assert_eq!(lines(&file.file, &Query::default()), ["two"]);
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_read_up_to_a_seam_and_followed_from_there_is_everything() {
    let bench = Bench::new();
    let web = ServiceName::new("web");
    let (mut out, _err) = bench.open_to("web", 1, memory(), &[]);
    out.write.write_all(b"one\ntwo\n").expect("write");
    let logs = vec![(web.clone(), place(&bench))];
    let (mut subscription, seams) = bench.pump.follow(Filter::default(), 1 << 20, logs);
    let seams = seams.recv().expect("seams");
    out.write.write_all(b"three\n").expect("write");
    bench.drain("web", 1);
    let before: Vec<_> = read_to(place(&bench), &Query::default(), seams.first())
        .expect("open")
        .map(|line| line.expect("line").bytes)
        .collect();
    assert_eq!(before, [b"one", b"two"]);
    assert!(matches!(subscription.next().await, Some(Output::Chunk { bytes, .. }) if &bytes[..] == b"three\n"));
}
