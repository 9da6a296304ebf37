//! What comes: the seam to what was, and what a follower is told.

use bytes::Bytes;

use super::*;

fn chunk(run: u32, text: &[u8]) -> Output {
    Output::Chunk {
        service: ServiceName::new("web"),
        run,
        stream: Stream::Out,
        time_ns: 0,
        bytes: Bytes::copy_from_slice(text),
    }
}

fn gap(lines: u64, within_line: bool) -> Output {
    Output::Skipped {
        service: ServiceName::new("web"),
        run: 2,
        stream: Stream::Out,
        time_ns: 0,
        lines,
        bytes: 1000,
        within_line,
    }
}

fn ended(run: u32) -> Output {
    let service = ServiceName::new("web");
    Output::Ended { service, run }
}

fn told(follow: &mut Follow) -> Vec<String> {
    let told = follow.by_ref();
    told.map(|told| match told {
        Told::Line(_, line) => {
            let text = String::from_utf8(line.bytes).expect("UTF-8");
            let mark = if line.continued { "..." } else { "" };
            format!("{} {text}{mark}", line.run)
        }
        Told::Skipped { lines, .. } => format!("skipped {lines}"),
    })
    .collect()
}

fn of(follow: &mut Follow, output: Output) -> Vec<String> {
    follow.hand_in(output);
    told(follow)
}

fn follow(query: &Query) -> Follow {
    Follow::new(query, std::iter::empty())
}

#[test]
fn a_follower_gets_whole_lines_of_one_run() {
    let mut follow = follow(&Query::default());
    assert_eq!(of(&mut follow, chunk(1, b"one\n\ntw")), ["1 one", "1 "]);
    assert_eq!(of(&mut follow, chunk(1, b"o\nno end")), ["1 two"]);
    assert_eq!(of(&mut follow, chunk(2, b"next\nbe")), ["1 no end", "2 next"]);
    assert_eq!(of(&mut follow, ended(2)), ["2 be"]);
    of(&mut follow, chunk(3, b"open"));
    follow.finish();
    assert_eq!(told(&mut follow), ["3 open"]);
}

#[test]
fn lg_14_a_line_of_which_a_part_was_missed_is_missed_and_counted_once() {
    let mut follow = follow(&Query::default());
    of(&mut follow, chunk(2, b"one\ncut"));
    // Ends `cut` and six others, and begins an eighth.
    assert_eq!(of(&mut follow, gap(7, true)), ["skipped 8"]);
    assert_eq!(of(&mut follow, chunk(2, b"rest of it\nwhole\nbe")), ["2 whole"]);
    assert_eq!(of(&mut follow, gap(1, false)), ["skipped 1"]);
    assert_eq!(of(&mut follow, chunk(2, b"whole\n")), ["2 whole"]);
    // One line, missed in three parts.
    assert_eq!(of(&mut follow, gap(0, true)), ["skipped 1"]);
    assert_eq!(of(&mut follow, gap(0, true)), [""; 0]);
    assert_eq!(of(&mut follow, gap(1, false)), [""; 0]);
    assert_eq!(of(&mut follow, chunk(2, b"whole\n")), ["2 whole"]);
}

#[test]
fn filters_hold_for_what_comes() {
    let query = Query {
        grep: pattern("^a").ok(),
        since_ns: Some(0),
        until_ns: Some(5),
        ..Query::default()
    };
    let mut follow = follow(&query);
    assert_eq!(of(&mut follow, chunk(1, b"a1\nb1\nxa")), ["1 a1"]);
    assert!(!follow.is_over());
    let Output::Chunk { service, bytes, .. } = chunk(1, b"a2\na3\n") else {
        unreachable!()
    };
    let late = Output::Chunk {
        service,
        run: 1,
        stream: Stream::Out,
        time_ns: 6,
        bytes,
    };
    assert_eq!(of(&mut follow, late), [""; 0]);
    assert!(follow.is_over());
}

#[test]
fn the_end_of_the_run_that_was_asked_for_is_the_end() {
    let bench = Bench::new();
    let target = bench.target("web", 1 << 20, 2);
    let (mut out, _err) = bench.open("web", 3, &target, &[]);
    out.write.write_all(b"three\nope").expect("write");
    let query = |which| Query {
        run: Some(which),
        ..Query::default()
    };
    let web = ServiceName::new("web");
    let files = || vec![(web.clone(), (&target.file).into())];
    let follow = |which| {
        let seams = bench.pump.seams(files()).recv().expect("seams");
        Follow::new(&query(which), [&web].into_iter().zip(&seams))
    };
    assert!(follow(Which::Previous).is_over());
    assert!(follow(Which::Number(2)).is_over());
    let mut three = follow(Which::Number(3));
    assert!(!three.is_over());
    assert_eq!(of(&mut three, chunk(3, b"x\ny")), ["3 x"]);
    assert_eq!(of(&mut three, chunk(4, b"z\n")), [""; 0]);
    assert_eq!(of(&mut three, ended(3)), ["3 y"]);
    assert!(three.is_over());
    // Nobody follows: what has no end is a line; somebody does: it is one when it ends.
    let seams = bench.pump.seams(files()).recv().expect("seams");
    let read = |seam| read_to(&target.file, &query(Which::Number(3)), Some(seam)).expect("read");
    assert_eq!(read(&seams[0]).count(), 2);
    let (_subscription, seams) = bench.pump.follow(Filter::default(), 1000, files());
    let seams = seams.recv().expect("seams");
    let mut lines = read(&seams[0]);
    assert_eq!(lines.by_ref().count(), 1);
    assert_eq!(lines.into_unfinished().len(), 1);
}

/// What a follower sees from some moment on, as one text.
async fn followed(mut subscription: Subscription, seams: Receiver<Vec<Seam>>, log: PathBuf) -> Vec<u8> {
    let seams = seams.recv().expect("seams");
    let web = ServiceName::new("web");
    let mut lines = read_to(&log, &Query::default(), seams.first()).expect("read");
    let mut text = Vec::new();
    for line in lines.by_ref() {
        text.extend(line.expect("line").bytes);
        text.push(b'\n');
    }
    let mut follow = Follow::new(&Query::default(), [&web].into_iter().zip(&seams));
    for partial in lines.into_unfinished() {
        follow.begin(web.clone(), partial);
    }
    while let Some(output) = subscription.next().await {
        let is_end = matches!(output, Output::Ended { .. });
        follow.hand_in(output);
        for told in follow.by_ref() {
            let Told::Line(_, line) = told else {
                panic!("nothing is skipped here")
            };
            text.extend(line.bytes);
            text.push(b'\n');
        }
        if is_end {
            break;
        }
    }
    text
}

#[test]
fn the_past_and_what_follows_are_everything_once() {
    const LINES: usize = 60_000;
    let bench = Bench::new();
    let target = bench.target("web", 30_000, 1000);
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    let writer = thread::spawn(move || {
        for number in 1..=LINES {
            // In two parts, so that many a seam lies within a line.
            write!(out.write, "line ").expect("write");
            writeln!(out.write, "{number}").expect("write");
        }
        out
    });
    let mut followers = Vec::new();
    let deadline = Instant::now() + LONG;
    // Each begins when a file more is full.
    while !writer.is_finished() {
        assert!(Instant::now() < deadline, "the writer does not come to its end");
        if files(&target.file).len() <= followers.len() || followers.len() > 30 {
            thread::yield_now();
            continue;
        }
        let wanted = vec![(ServiceName::new("web"), (&target.file).into())];
        let (subscription, seams) = bench.pump.follow(Filter::default(), 64 << 20, wanted);
        let log = target.file.clone();
        followers.push(thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            runtime.block_on(followed(subscription, seams, log))
        }));
    }
    let _out = writer.join().expect("writer");
    bench.pump.close(&ServiceName::new("web"), 1);
    let wanted: String = (1..=LINES).map(|number| format!("line {number}\n")).collect();
    assert!(followers.len() > 5, "only {} began while it wrote", followers.len());
    for (at, follower) in followers.into_iter().enumerate() {
        let text = follower.join().expect("follower");
        let first = text.iter().zip(wanted.as_bytes()).position(|(is, should)| is != should);
        assert!(
            text == wanted.as_bytes(),
            "follower {at} differs at byte {first:?}, {} of {}",
            text.len(),
            wanted.len()
        );
    }
}

#[test]
fn a_log_that_nobody_writes_ends_where_it_ends() {
    let bench = Bench::new();
    let target = bench.target("web", 1 << 20, 3);
    let wanted = || vec![(ServiceName::new("web"), (&target.file).into())];
    let none = bench.pump.seams(wanted()).recv().expect("seams");
    let (mut out, _err) = bench.open("web", 1, &target, &[]);
    out.write.write_all(b"one\n").expect("write");
    bench.drain("web", 1);
    let one = bench.pump.seams(wanted()).recv().expect("seams");
    out.write.write_all(b"two\n").expect("write");
    bench.drain("web", 1);
    bench.pump.close(&ServiceName::new("web"), 1);
    bench.drain("web", 1);
    let two = bench.pump.seams(wanted()).recv().expect("seams");
    let count = |seams: &[Seam]| {
        read_to(&target.file, &Query::default(), seams.first())
            .expect("read")
            .count()
    };
    assert_eq!([count(&none), count(&one), count(&two)], [0, 1, 2]);
    // Begun again: what it holds now came later.
    fs::write(&target.file, b"x").expect("write");
    assert_eq!(count(&one), 0);
}
