//! What one spawn and exit costs through the guardian, against a bare loop of fork, exec and waitpid over the same
//! program, in batches of 1, 10, 100 and 1,000.
//!
//! Of the guardian all its work counts: orders read, gate, reports, release. CPU time is that of guardian and children
//! against that of loop and children; who gives the orders (in real life the daemon) is named beside it.

#![allow(clippy::unwrap_used)]

#[path = "../tests/fixture/mod.rs"]
mod fixture;
#[path = "../tests/guardian/nest.rs"]
mod nest;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nest::Nest;
use runner::guardian::orders::{Launch, Record, Report, Stdio};

const BATCHES: [usize; 4] = [1, 10, 100, 1000];
/// Lives per batch size and round; rounds of both sides take turns, and the best of each counts.
const LIVES: usize = 2000;
const ROUNDS: usize = 5;

const NOTHING: &str = "int main(void) { return 0; }";

/// PROGRAM BATCH BATCHES: prints nanoseconds of wall and of CPU time.
const LOOP: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static long long cpu(int who) {
    struct rusage use;
    getrusage(who, &use);
    return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000000LL + (use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000LL;
}
static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}
int main(int count, char **words) {
    char *argv[] = {words[1], NULL}, *env[] = {NULL};
    int batch = atoi(words[2]);
    long long begun = now();
    for (int times = atoi(words[3]); times > 0; times--) {
        for (int at = 0; at < batch; at++)
            if (fork() == 0) { execve(words[1], argv, env); _exit(127); }
        for (int at = 0; at < batch; at++) wait(NULL);
    }
    printf("%lld %lld\n", now() - begun, cpu(RUSAGE_SELF) + cpu(RUSAGE_CHILDREN));
    return count != 4;
}
"#;

#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

impl Cost {
    fn least(self, other: Cost) -> Cost {
        Cost {
            wall: self.wall.min(other.wall),
            cpu: self.cpu.min(other.cpu),
        }
    }

    fn most() -> Cost {
        Cost {
            wall: Duration::MAX,
            cpu: Duration::MAX,
        }
    }

    fn each(self, lives: usize) -> (f64, f64) {
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / lives as f64;
        (micros(self.wall), micros(self.cpu))
    }
}

fn bare(bare: &Path, nothing: &Path, batch: usize) -> Cost {
    let words = [batch.to_string(), (LIVES / batch).to_string()];
    let output = Command::new(bare).arg(nothing).args(words).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers = text
        .split_whitespace()
        .map(|word| Duration::from_nanos(word.parse().unwrap()));
    Cost {
        wall: numbers.next().unwrap(),
        cpu: numbers.next().unwrap(),
    }
}

/// Time on a CPU of a process and its reaped children, by /proc/PID/stat.
fn cpu_of(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = text.rsplit(") ").next().unwrap().split(' ');
    let ticks: u64 = fields.skip(11).take(4).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / runner::sys::processes::ticks_per_second())
}

fn guarded(nest: &mut Nest, batch: usize, make: &mut dyn FnMut(&mut Nest, usize) -> Launch) -> Cost {
    let (begun, used) = (Instant::now(), cpu_of(nest.pid()));
    for _ in 0..LIVES / batch {
        for place in 0..batch {
            let launch = make(nest, place);
            nest.spawn(launch);
        }
        for _ in 0..batch {
            let ended = nest.next(|report| match report {
                Report::Exited { ticket, .. } => Some(ticket),
                _ => None,
            });
            nest.release(ended);
        }
    }
    Cost {
        wall: begun.elapsed(),
        cpu: cpu_of(nest.pid()) - used,
    }
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let nothing = fixture::compile("nothing", NOTHING, &["-O1", "-static"]);
    let bare_loop = fixture::compile("loop", LOOP, &["-O2"]);
    let mut nest = Nest::new();
    let mut plain = |nest: &mut Nest, _| nest.program(&nothing, &["nothing"]);
    println!("one spawn and exit in µs (wall, CPU), least of {ROUNDS} rounds of {LIVES}");
    println!("batch |      loop      |    guardian    | ratio wall, CPU | with record and FIFOs");
    for batch in BATCHES {
        let mut costs = [Cost::most(); 3];
        // As /run is, where the records and FIFOs of a real project are.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        }
        .unwrap();
        let mut whole = service(&nothing, dir.path(), batch);
        for _ in 0..ROUNDS {
            costs[0] = costs[0].least(bare(&bare_loop, &nothing, batch));
            costs[1] = costs[1].least(guarded(&mut nest, batch, &mut plain));
            costs[2] = costs[2].least(guarded(&mut nest, batch, &mut whole));
        }
        let [bare, plain, whole] = costs.map(|cost| cost.each(LIVES));
        println!(
            "{batch:>5} | {:>6.0} {:>6.0}  | {:>6.0} {:>6.0}  |   {:>5.2} {:>5.2}   | {:>6.0} {:>6.0}  ({:.2}, {:.2})",
            bare.0,
            bare.1,
            plain.0,
            plain.1,
            plain.0 / bare.0,
            plain.1 / bare.1,
            whole.0,
            whole.1,
            whole.0 / bare.0,
            whole.1 / bare.1,
        );
    }
}

/// As the daemon orders a service: output into FIFOs, a record before the gate.
fn service(program: &Path, dir: &Path, batch: usize) -> impl FnMut(&mut Nest, usize) -> Launch {
    let paths: Vec<_> = (0..batch).map(|place| dir.join(place.to_string())).collect();
    for path in &paths {
        for stream in ["out", "err"] {
            runner::sys::fifo::make(&path.with_extension(stream), None).unwrap();
        }
    }
    let program = program.to_owned();
    move |nest, place| {
        let bytes = |ending: &str| {
            let path = paths[place].with_extension(ending);
            std::os::unix::ffi::OsStringExt::into_vec(path.into_os_string())
        };
        let mut launch = nest.program(&program, &["nothing"]);
        launch.stdio = [Stdio::Null, Stdio::Fifo(bytes("out")), Stdio::Fifo(bytes("err"))];
        launch.record = Some(Record {
            path: bytes("json"),
            body: "{}".into(),
        });
        launch
    }
}
