//! What a rolling edit costs who is served meanwhile: `cargo bench --bench rollout`.
//!
//! Three replicas under a steady load, edited again and again: requests that failed, and the slowest one. Where all share a port
//! and the kernel lets begun connections migrate, the goal is 0; with a port for each, what the same costs a client that knows all three and tries one, or the next one too.
#![allow(clippy::unwrap_used)]

mod bench;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench::Place;

/// Each restarts three replicas.
const EDITS: usize = 100;
const PER_SECOND: u32 = 500;
/// Threads that ask; each has a share of the rate.
const CLIENTS: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// A network of our own, in which a connection that a closed listener had begun goes on at another one of its port.
const MIGRATING: &str =
    "ip link set lo up && echo 1 > /proc/sys/net/ipv4/tcp_migrate_req && exec env RUNNER_BENCH_MIGRATES=1 \"$0\"";

fn main() {
    if std::env::var_os("RUNNER_BENCH_MIGRATES").is_some() {
        return shared("one shared port, net.ipv4.tcp_migrate_req = 1 (goal: 0 failed)");
    }
    println!("{EDITS} rolling edits of 3 replicas under {PER_SECOND} requests/s, each over a connection of its own");
    let own = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["-rn", "sh", "-c", MIGRATING])
        .arg(own)
        .status();
    if !status.is_ok_and(|status| status.success()) {
        println!("  with net.ipv4.tcp_migrate_req = 1: no network of our own here (unshare -rn)");
    }
    let migrates = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").unwrap_or_default();
    shared(&format!("one shared port, as it is here ({})", migrates.trim()));
    report("a port for each, the next one is tried", "\"auto\"", 3);
    report("a port for each, one is tried", "\"auto\"", 1);
}

fn shared(what: &str) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let number = free.local_addr().unwrap().port();
    drop(free);
    report(what, &format!("{{ port = {number}, shared = true }}"), 1);
}

fn report(what: &str, port: &str, tries: usize) {
    let place = Place::new();
    bench::compile("server", place.path());
    let write = |edit: usize| {
        place.write(&format!(
            "[services.web]\ncommand = [\"./server\", \"{{{{ port }}}}\"]\nreplicas = 3\nports = [{port}]\nenv = {{ EDIT = \"{edit}\" }}\n"
        ));
    };
    write(0);
    place.timed(&["up", "-d"]);
    let load = Load::begin(ports(&place), tries);
    let (begin, before) = (Instant::now(), place.services());
    for edit in 1..=EDITS {
        write(edit);
        // Applies the edit and answers when all are as it says.
        place.timed(&["up", "-d"]);
    }
    let took = begin.elapsed();
    let after = place.services();
    assert!(before.iter().all(|pid| !after.contains(pid)), "all were restarted");
    let seen = load.end();
    place.timed(&["down"]);
    let mut slowest: Vec<f64> = seen.iter().flatten().map(|took| took.as_secs_f64() * 1e3).collect();
    slowest.sort_by(f64::total_cmp);
    let at = |part: f64| slowest[((slowest.len() - 1) as f64 * part) as usize];
    println!(
        "  {what}: {} of {} requests failed; median {:.2} ms, 99.9 % {:.2} ms, slowest {:.2} ms; an edit took {:.0} ms",
        seen.iter().filter(|request| request.is_none()).count(),
        seen.len(),
        at(0.5),
        at(0.999),
        at(1.0),
        took.as_secs_f64() * 1e3 / EDITS as f64
    );
}

/// Where its replicas listen, each once.
fn ports(place: &Place) -> Vec<u16> {
    let output = place.runner(&["ps", "--json"]).output().unwrap();
    let ps: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let services = ps["services"].as_array().unwrap().iter();
    let ports = services.flat_map(|service| service["ports"].as_object().unwrap().values());
    let mut ports: Vec<u16> = ports.map(|port| port.as_u64().unwrap() as u16).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Requests at a steady rate, whatever becomes of them.
struct Load {
    over: Arc<AtomicBool>,
    /// How long each took; `None`: it failed.
    seen: Arc<Mutex<Vec<Option<Duration>>>>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn begin(ports: Vec<u16>, tries: usize) -> Load {
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let begin = Instant::now();
        let client = |number: u32| {
            let (over, seen, ports) = (over.clone(), seen.clone(), ports.clone());
            std::thread::spawn(move || {
                let mut turn = number;
                while !over.load(Ordering::Relaxed) {
                    let due = begin + Duration::from_secs(1) * turn / PER_SECOND;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let request = ask(&ports, turn as usize, tries);
                    seen.lock().unwrap().push(request);
                    turn += CLIENTS;
                }
            })
        };
        Load {
            clients: (0..CLIENTS).map(client).collect(),
            over,
            seen,
        }
    }

    fn end(self) -> Vec<Option<Duration>> {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn ask(ports: &[u16], turn: usize, tries: usize) -> Option<Duration> {
    let begin = Instant::now();
    (0..tries)
        .any(|more| one(ports[(turn + more) % ports.len()]).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))
        .then(|| begin.elapsed())
}

fn one(port: u16) -> std::io::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
