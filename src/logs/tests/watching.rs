//! Whoever only watches the output.

use super::*;

#[tokio::test(flavor = "current_thread")]
async fn lg_14_subscribers_see_what_they_asked_for_and_hold_up_nobody() {
    const LINES: usize = 50_000;
    let mut bench = Bench::new();
    let (web, db) = (bench.target("web", 1 << 30, 2), bench.target("db", 1 << 30, 2));
    let (mut web_out, _web_err) = bench.open("web", 1, &web, &[]);
    let (mut db_out, _db_err) = bench.open("db", 1, &db, &[]);
    let names = |name| Some(vec![ServiceName::new(name)]);
    // One that never reads, one that reads all, one that sees only `db`, one that is gone.
    let mut frozen = bench.pump.subscribe(Filter::default(), 10_000);
    let mut all = bench.pump.subscribe(Filter::default(), 100 << 20);
    let mut only_db = bench.pump.subscribe(
        Filter {
            services: names("db"),
            console_only: true,
            ..Filter::default()
        },
        1 << 20,
    );
    drop(bench.pump.subscribe(Filter::default(), 1 << 20));
    let writer = thread::spawn(move || {
        (1..=LINES).for_each(|number| writeln!(web_out.write, "line {number}").expect("write"));
        web_out
    });
    let _web_out = writer.join().expect("writer");
    db_out.write.write_all(b"line 1\n").expect("write");
    bench.drain("web", 1);
    bench.drain("db", 1);
    // CO-02: the file is complete although a reader stands still.
    assert_numbers(&web.file, LINES);
    bench.pump.stop();
    let mut seen: HashMap<String, Vec<u8>> = HashMap::new();
    while let Some(output) = all.next().await {
        let Output::Chunk { service, bytes, .. } = output else {
            panic!("nothing was skipped for this one")
        };
        seen.entry(service.to_string()).or_default().extend_from_slice(&bytes);
    }
    assert_eq!(seen["web"], fs::read(&web.file).expect("read"));
    assert_eq!(seen["db"], b"line 1\n");
    assert!(matches!(only_db.next().await, Some(Output::Chunk { bytes, .. }) if &bytes[..] == b"line 1\n"));
    assert!(only_db.next().await.is_none());
    let (mut lines, mut told) = (0, 0);
    while let Some(output) = frozen.next().await {
        match output {
            Output::Chunk { service, bytes, .. } if service.as_str() == "web" => {
                lines += memchr::memchr_iter(b'\n', &bytes).count() as u64
            }
            Output::Skipped {
                service, lines: gap, ..
            } if service.as_str() == "web" => {
                lines += gap;
                told += 1;
            }
            _ => {}
        }
    }
    assert_eq!(
        (lines, told),
        (LINES as u64, 1),
        "what was read and what was skipped is all there was"
    );
}
