//! Which lines a query finds.

use super::*;

/// A log made of these lives, each of these runs, each of these bytes on one stream.
fn written(bench: &Bench, lives: &[&[(u32, &[u8])]]) -> PathBuf {
    let target = bench.target("web", 1 << 20, 5);
    for life in lives {
        // Another pump is another life.
        let mut bench = Bench::new();
        for (run, text) in *life {
            let (mut out, _err) = bench.open("web", *run, &target, &[]);
            out.write.write_all(text).expect("write");
            bench.drain("web", *run);
            bench.pump.close(&ServiceName::new("web"), *run);
            bench.drain("web", *run);
        }
        bench.pump.stop();
        // Lives are told apart by the millisecond.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2) {
            thread::yield_now();
        }
    }
    target.file
}

fn of_run(which: Which) -> Query {
    Query {
        run: Some(which),
        ..Query::default()
    }
}

#[test]
fn runs_of_another_life_are_other_runs() {
    let bench = Bench::new();
    let first: &[(u32, &[u8])] = &[(1, b"a1\n"), (2, b"a2\n"), (3, b"a3 open")];
    let log = written(&bench, &[first, &[(1, b"b1\nb1 open")], &[(1, b"c1\n")]]);
    let all = ["a1", "a2", "a3 open", "b1", "b1 open", "c1"];
    assert_eq!(lines(&log, &Query::default()), all);
    assert_eq!(lines(&log, &of_run(Which::Previous)), ["b1", "b1 open"]);
    assert_eq!(lines(&log, &of_run(Which::Number(1))), ["c1"]);
    assert_eq!(lines(&log, &of_run(Which::Number(3))), ["a3 open"]);
    assert_eq!(lines(&log, &of_run(Which::Number(4))), [""; 0]);
    for tail in 0..=all.len() {
        let query = Query {
            tail: Some(tail),
            ..Query::default()
        };
        assert_eq!(lines(&log, &query), all[all.len() - tail..], "tail {tail}");
    }
}

#[test]
fn one_run_alone_has_none_before_it_and_no_log_has_none() {
    let bench = Bench::new();
    let log = written(&bench, &[&[(1, b"only\n")]]);
    assert_eq!(lines(&log, &of_run(Which::Previous)), [""; 0]);
    assert_eq!(
        lines(&bench.folder.path().join("none.log"), &of_run(Which::Previous)),
        [""; 0]
    );
    let log = written(&bench, &[&[(2, b"two\n")]]);
    assert_eq!(lines(&log, &of_run(Which::Previous)), ["only"]);
}

#[test]
fn late_words_of_a_run_are_its_own() {
    let bench = Bench::new();
    let target = bench.target("web", 1 << 20, 5);
    let (mut one, _err) = bench.open("web", 1, &target, &[]);
    one.write.write_all(b"one\n").expect("write");
    bench.drain("web", 1);
    let (mut two, _err) = bench.open("web", 2, &target, &[]);
    two.write.write_all(b"two\n").expect("write");
    bench.drain("web", 2);
    one.write.write_all(b"late\n").expect("write");
    bench.drain("web", 1);
    assert_eq!(lines(&target.file, &of_run(Which::Previous)), ["one", "late"]);
    assert_eq!(lines(&target.file, &of_run(Which::Number(2))), ["two"]);
}

#[test]
fn a_tail_counts_lines_that_match_however_rare() {
    let bench = Bench::new();
    let target = bench.target("web", 4096, 100);
    let (mut out, mut err) = bench.open("web", 1, &target, &[]);
    let mut rare = Vec::new();
    for number in 0..3000 {
        let word = if number % 700 == 5 { "rare" } else { "common" };
        let fifo = if number % 2 == 0 { &mut out } else { &mut err };
        writeln!(fifo.write, "{word} {number}\r").expect("write");
        bench.drain("web", 1);
        if word == "rare" {
            rare.push(format!("rare {number}\r"));
        }
    }
    for tail in 0..=rare.len() + 1 {
        let query = Query {
            // `$` stands before the line ending of others, too.
            grep: Some(pattern(r"^rare \d+$").expect("a pattern")),
            tail: Some(tail),
            ..Query::default()
        };
        let wanted = &rare[rare.len() - tail.min(rare.len())..];
        assert_eq!(lines(&target.file, &query), wanted, "tail {tail}");
    }
}

#[test]
fn ap_13_a_tail_of_any_number_needs_no_memory() {
    let bench = Bench::new();
    let target = bench.target("web", 1 << 30, 2);
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    let block = b"\n".repeat(1 << 20);
    (0..4).for_each(|_| out.write.write_all(&block).expect("write"));
    bench.drain("web", 1);
    let before = memory();
    let query = Query {
        tail: Some(usize::MAX),
        ..Query::default()
    };
    assert_eq!(read(&target.file, &query).expect("read").count(), 4 << 20);
    // Kept, so many lines would need 250 MB. Other tests run at the same time.
    assert!(memory().saturating_sub(before) < 128 << 20);
}

#[test]
fn ap_13_patterns_are_bounded_and_linear() {
    assert!(pattern("(").is_err_and(|why| why.contains("unclosed group")));
    assert!(pattern(&"x".repeat(5000)).is_err_and(|why| why.contains("2048")));
    assert_eq!(
        pattern("(x{1000}){1000}").map(|_| ()),
        Err("the pattern is too large".into())
    );
    // Exponential where matching goes back on its steps: it would not come to an end here.
    let nested = pattern("^(a+)+$").expect("a pattern");
    assert!(!nested.is_match(&[b"a".repeat(60_000), b"b".to_vec()].concat()));
}

#[test]
fn a_line_is_as_old_as_its_first_byte() {
    let bench = Bench::new();
    let target = bench.target("web", 1 << 20, 2);
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    for text in ["one\ntw", "o\nthr", "ee\nfour\n"] {
        out.write.write_all(text.as_bytes()).expect("write");
        bench.drain("web", 1);
        // Chunks of one millisecond are one entry.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(3) {
            thread::yield_now();
        }
    }
    let all: Vec<Line> = read(&target.file, &Query::default())
        .expect("read")
        .map(|line| line.expect("line"))
        .collect();
    let times: Vec<i64> = all.iter().map(|line| line.time_ns).collect();
    assert!(
        times[0] == times[1] && times[1] < times[2] && times[2] < times[3],
        "{times:?}"
    );
    let between = |since_ns, until_ns| {
        let query = Query {
            since_ns,
            until_ns,
            ..Query::default()
        };
        lines(&target.file, &query)
    };
    assert_eq!(between(Some(times[2]), None), ["three", "four"]);
    assert_eq!(between(Some(times[0] + 1), None), ["three", "four"]);
    assert_eq!(between(None, Some(times[2])), ["one", "two", "three"]);
    assert_eq!(between(Some(times[3]), Some(times[3])), ["four"]);
    assert_eq!(between(Some(times[3] + 1), None), [""; 0]);
}
