//! What a line of output costs: `cargo bench --bench logs`.
//!
//! 1 GB in lines of 100 bytes, through one service and through ten: to the log files with their index, and with a
//! console (prefix, to /dev/null) on top. The measure is `cat` from a FIFO to a file. `RUNNER_BENCH_MB` sets the size.
//! Then what a container pays: lines as JSON, rendered alone, and by `up --log-format json` as PID 1 into a pipe, beside `cat` from a FIFO into the same pipe.
//! Last, a hundred `logs -f` of which one never reads: nobody waits for them, but they want the same processors.
#![allow(clippy::unwrap_used)]

mod bench;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use bench::Place;

const LINE: u64 = 100;

fn main() {
    let megabytes: u64 = std::env::var("RUNNER_BENCH_MB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    let lines = megabytes * 1_000_000 / LINE;
    let place = Place::new();
    let cat = cat(&place, lines);
    println!("{megabytes} MB in lines of {LINE} bytes; CPU of the readers alone, without the writers'");
    tell("cat, FIFO to file", &cat, &cat);
    for services in [1, 10] {
        for console in [false, true] {
            let cost = through_runner(&place, services, lines / services, console);
            let what = if console {
                "file, index and console"
            } else {
                "file and index"
            };
            tell(&format!("runner, {services:>2} services, {what}"), &cost, &cat);
        }
    }
    as_json(&place, lines);
    let alone = followed(&place, lines, 0);
    let frozen = followed(&place, lines, 1);
    let hundred = followed(&place, lines, 100);
    println!("throughput of a service that is followed, by that of one that is not ({alone:.0} MB/s):");
    println!("  by one that never reads           {:.2}x", frozen / alone);
    println!("  by 100, of which one never reads {:.2}x", hundred / alone);
}

/// One service, as JSON: the renderer alone, and all of it as PID 1.
fn as_json(place: &Place, lines: u64) {
    let line = [vec![b'x'; LINE as usize - 1], vec![b'\n']].concat();
    let quoted =
        br#"{"level":"info","msg":"GET /index.html","status":200,"ms":3.5,"id":"0123456789abcdef","n":"x\ty"}"#;
    let megabytes = (lines * LINE) as f64 / 1e6;
    let cat = into_pipe(
        place,
        &format!("cat < lines & ./tiny lines {lines} > lines; wait"),
        lines,
    );
    println!("{megabytes:.0} MB in lines of {LINE} bytes as JSON; `cat` from a FIFO into a pipe: {cat:.0} MB/s");
    for (what, line) in [
        ("plain lines", &line[..]),
        ("lines that are JSON", &[quoted, &b"\n"[..]].concat()[..]),
    ] {
        let chunk = line.repeat((256 << 10) / line.len());
        let (mut view, mut out) = (runner::view::json::JsonLines::default(), Vec::new());
        let begin = Instant::now();
        let mut done = 0;
        while (done as f64) < megabytes * 1e6 {
            out.clear();
            view.chunk("web", 1, runner::logs::Stream::Out, done, &chunk, &mut out);
            done += chunk.len() as i64;
        }
        let rate = done as f64 / 1e6 / begin.elapsed().as_secs_f64();
        println!("  rendered alone, {what:<22} {rate:>6.0} MB/s ({:.2}x)", rate / cat);
    }
    if !nix::unistd::Uid::effective().is_root() {
        return println!("  as PID 1: only root may make a namespace for it");
    }
    for format in ["text", "json"] {
        let _ = fs::remove_dir_all(place.path().join(".runner"));
        place.write(&format!(
            "[services.web]\ntype = \"oneshot\"\ncommand = [\"./tiny\", \"lines\", \"{lines}\"]\n"
        ));
        let up = format!(
            "exec unshare --pid --fork --mount-proc {} -q up --log-format {format}",
            bench::RUNNER
        );
        let rate = into_pipe(place, &up, lines);
        println!("  as PID 1, {format:<28} {rate:>6.0} MB/s ({:.2}x)", rate / cat);
    }
}

/// MB/s of service lines through a command whose stdout is read to its end.
fn into_pipe(place: &Place, script: &str, lines: u64) -> f64 {
    let _ = fs::remove_file(place.path().join("lines"));
    nix::unistd::mkfifo(
        &place.path().join("lines"),
        nix::sys::stat::Mode::from_bits_truncate(0o600),
    )
    .unwrap();
    let begin = Instant::now();
    let mut child = Command::new("sh")
        .args(["-c", script])
        .current_dir(place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let (mut buffer, mut newlines) = (vec![0; 1 << 20], 0);
    loop {
        let count = out.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        newlines += memchr::memchr_iter(b'\n', &buffer[..count]).count() as u64;
    }
    let took = begin.elapsed().as_secs_f64();
    assert!(child.wait().unwrap().success());
    assert_eq!(newlines, lines, "every line, once");
    fs::remove_file(place.path().join("lines")).unwrap();
    (lines * LINE) as f64 / 1e6 / took
}

/// MB/s of one service with so many followers, of which the first never reads.
fn followed(place: &Place, lines: u64, count: usize) -> f64 {
    let _ = fs::remove_dir_all(place.path().join(".runner"));
    place.write(&format!(
        "[services.hello]\ntype = \"oneshot\"\ncommand = \"echo hello\"\n\
         [services.s0]\ntype = \"oneshot\"\ncommand = \"read go < go && exec ./tiny lines {lines}\"\n\
         log = {{ max_size = \"100MB\", max_files = 12 }}\ndepends_on = [\"hello\"]\n\
         [services.last]\ncommand = [\"./tiny\", \"stamp\", \"end\"]\ndepends_on = [\"s0\"]\n"
    ));
    let [mut go, mut end] = ["go", "end"].map(|name| {
        let path = place.path().join(name);
        let _ = nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600));
        File::options().read(true).write(true).open(&path).unwrap()
    });
    place.timed(&["up", "-d", "--no-wait"]);
    let mut followers: Vec<_> = (0..count)
        .map(|_| place.runner(&["logs", "-f"]).stdout(Stdio::piped()).spawn().unwrap())
        .collect();
    let mut frozen = None;
    for follower in &mut followers {
        let mut out = follower.stdout.take().unwrap();
        // The first byte says that it follows.
        out.read_exact(&mut [0]).unwrap();
        match frozen {
            None => frozen = Some(out),
            Some(_) => drop(std::thread::spawn(move || {
                std::io::copy(&mut out, &mut std::io::sink())
            })),
        }
    }
    let begin = Instant::now();
    go.write_all(b"go\n").unwrap();
    end.read_exact(&mut [0; 8]).unwrap();
    let took = begin.elapsed().as_secs_f64();
    drop(frozen);
    place.timed(&["down"]);
    for mut follower in followers {
        follower.wait().unwrap();
    }
    verify(place, "s0", lines);
    (lines * LINE) as f64 / 1e6 / took
}

struct Cost {
    cpu_per_gb: f64,
    /// MB/s
    throughput: f64,
    peak_bytes: u64,
}

fn tell(what: &str, cost: &Cost, cat: &Cost) {
    println!(
        "  {what:<45} {:.2} CPU s/GB ({:.1}x), {:>5.0} MB/s ({:.2}x), peak {:.1} MB",
        cost.cpu_per_gb,
        cost.cpu_per_gb / cat.cpu_per_gb,
        cost.throughput,
        cost.throughput / cat.throughput,
        cost.peak_bytes as f64 / 1e6
    );
}

fn cat(place: &Place, lines: u64) -> Cost {
    let fifo = place.path().join("lines");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let copy = place.path().join("copy");
    let begin = Instant::now();
    let mut reader = Command::new("sh")
        .args(["-c", "exec cat < lines > copy"])
        .current_dir(place.path())
        .spawn()
        .unwrap();
    let mut writer = Command::new(&place.tiny)
        .args(["lines", &lines.to_string()])
        .stdout(File::options().write(true).open(&fifo).unwrap())
        .spawn()
        .unwrap();
    writer.wait().unwrap();
    let before = bench::cpu_of_children();
    reader.wait().unwrap();
    let cpu = bench::cpu_of_children() - before;
    let took = begin.elapsed().as_secs_f64();
    assert_eq!(fs::metadata(&copy).unwrap().len(), lines * LINE);
    fs::remove_file(copy).unwrap();
    let gigabytes = (lines * LINE) as f64 / 1e9;
    Cost {
        cpu_per_gb: cpu / gigabytes,
        throughput: gigabytes * 1e3 / took,
        peak_bytes: 0,
    }
}

fn through_runner(place: &Place, services: u64, lines: u64, console: bool) -> Cost {
    let _ = fs::remove_dir_all(place.path().join(".runner"));
    let mut file = String::new();
    for n in 0..services {
        file.push_str(&format!(
            "[services.s{n}]\ntype = \"oneshot\"\ncommand = [\"./tiny\", \"lines\", \"{lines}\"]\nlog = {{ max_size = \"100MB\", max_files = 12 }}\n"
        ));
    }
    let all: Vec<String> = (0..services).map(|n| format!("\"s{n}\"")).collect();
    file.push_str(&format!(
        "[services.last]\ncommand = [\"./tiny\", \"stamp\", \"end\"]\ndepends_on = [{}]\n",
        all.join(",")
    ));
    place.write(&file);
    let fifo = place.path().join("end");
    let _ = nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600));
    let mut end = File::options().read(true).write(true).open(&fifo).unwrap();

    let begin = Instant::now();
    let mut client = None;
    if console {
        let started = place
            .runner(&["up", "--exit", "never"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        client = Some(started.unwrap());
    } else {
        place.timed(&["up", "-d", "--no-wait"]);
    }
    end.read_exact(&mut [0; 8]).unwrap();
    let took = begin.elapsed().as_secs_f64();
    let mut roles = place.roles();
    roles.extend(client.iter().map(std::process::Child::id));
    let cpu = bench::cpu_of(&roles);
    let peak_bytes = roles.iter().map(|pid| bench::peak_of(*pid)).sum();
    place.timed(&["down"]);
    if let Some(mut client) = client {
        client.wait().unwrap();
    }
    for n in 0..services {
        verify(place, &format!("s{n}"), lines);
    }
    let gigabytes = (services * lines * LINE) as f64 / 1e9;
    Cost {
        cpu_per_gb: cpu / gigabytes,
        throughput: gigabytes * 1e3 / took,
        peak_bytes,
    }
}

/// Every line is there once and in order.
fn verify(place: &Place, service: &str, lines: u64) {
    let output = fs::read_dir(place.path().join(".runner/logs")).unwrap().flatten();
    let mut files: Vec<_> = output
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with(&format!("{service}.")) && !name.contains("index") && !name.contains("idx")
        })
        .collect();
    // `s0.log.11` is older than `s0.log.1`, and that than `s0.log`.
    files.sort_by_key(|path| {
        let number = path.extension().and_then(|text| text.to_str()?.parse::<u32>().ok());
        std::cmp::Reverse(number.unwrap_or(0))
    });
    let mut next = 0u64;
    for path in &files {
        for line in BufReader::with_capacity(1 << 20, File::open(path).unwrap()).split(b'\n') {
            let line = line.unwrap();
            let number: u64 = std::str::from_utf8(&line[..12]).unwrap().parse().unwrap();
            assert_eq!(number, next, "{}", path.display());
            assert_eq!(line.len() as u64, LINE - 1);
            next += 1;
        }
    }
    assert_eq!(next, lines, "{service}: {files:?}");
}
