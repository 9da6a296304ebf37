//! Random bytes that look like requests. A seed replays.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::raw::{Running, answers, half_close};

const ROUNDS: u64 = 4000;
/// On a busy machine fewer rounds must do.
const ENOUGH: Duration = Duration::from_secs(40);

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit.max(1)
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// None of these stops a service, so that whatever comes of them the service must still be there.
const VALID: &[&str] = &[
    "GET /v1/project HTTP/1.1\r\nHost: runner\r\n\r\n",
    "GET /v1/services HTTP/1.1\r\nConnection: close\r\n\r\n",
    "GET /v1/services/web?reveal=1 HTTP/1.1\r\n\r\n",
    "GET /v1/services/web/why HTTP/1.1\r\n\r\n",
    "GET /v1/services/web/logs?tail=3&grep=a%2Bb&since=1h&stream=out HTTP/1.1\r\n\r\n",
    "GET /v1/logs?run=previous&until=2026-01-01T00:00:00Z HTTP/1.1\r\n\r\n",
    "GET /v1/events?since=0&follow=0 HTTP/1.1\r\nLast-Event-ID: 1\r\n\r\n",
    "GET /v1/plan?service=web&no_deps=1&profile=x HTTP/1.1\r\n\r\n",
    "GET /v1/health?service=@back HTTP/1.1\r\n\r\n",
    "GET /v1/wait?for=ready&timeout_ms=1&service=web HTTP/1.1\r\n\r\n",
    "GET /metrics HTTP/1.0\r\n\r\n",
    "POST /v1/services/web/start HTTP/1.1\r\nContent-Length: 14\r\n\r\n{\"wait\":false}",
    "POST /v1/start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"names\":[\"web\"]\r\n1\r\n}\r\n0\r\n\r\n",
    "POST /v1/run HTTP/1.1\r\nContent-Length: 33\r\n\r\n{\"name\":\"web\",\"command\":[\"a\",\"b\"]}",
    "POST /v1/reload HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
];

const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"%",
    b"%00",
    b"%ff",
    b"\xff\xfe",
    b"/",
    b"..",
    b"?",
    b"&",
    b"=",
    b"@",
    b"#",
    b" ",
    b"\t",
    b":",
    b"HTTP/1.1",
    b"Content-Length: 0\r\n",
    b"Content-Length: 9999999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: keep-alive, upgrade\r\n",
    b"Upgrade: h2c\r\n",
    b"ffffffffffffffff\r\n",
    b"-1",
    b"18446744073709551616",
    b"1e999",
    b"[[[[[[[[",
    b"{\"a\":",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"\x1b[31m",
    b"(a*)*",
];

fn mutated(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.of(VALID).as_bytes().to_vec();
    for _ in 0..dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(7) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = dice.below(256) as u8,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.insert(at, dice.below(256) as u8),
            4 => drop(bytes.splice(at..at, dice.of(PIECES).iter().copied())),
            5 => {
                let end = (at + dice.below(40)).min(bytes.len());
                let copy = bytes[at..end].repeat(1 + dice.below(60));
                bytes.splice(at..end, copy);
            }
            // Another request behind it.
            _ => bytes.extend_from_slice(dice.of(VALID).as_bytes()),
        }
    }
    bytes
}

/// Whether one of the mutations says what nobody here may ask for.
fn is_harmful(bytes: &[u8]) -> bool {
    let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    has(b"/stop") || has(b"/kill") || has(b"/down") || has(b"/restart")
}

#[test]
fn mutated_requests_get_one_answer_each_and_the_daemon_goes_on() {
    let running = Running::of(
        "[services.web]\ncommand = \"echo start >> ledger; echo here; exec sleep 1000\"\nready = { log = \"here\" }\nlabels = [\"back\"]\n",
    );
    let idle = running.descriptors();
    let before = running.memory_kib();
    let (mut answered, mut good, mut refused) = (0, 0, 0);
    let began = Instant::now();
    for seed in 1..=ROUNDS {
        if began.elapsed() > ENOUGH && seed > ROUNDS / 8 {
            break;
        }
        let mut dice = Dice(seed);
        let bytes = mutated(&mut dice);
        assert!(!is_harmful(&bytes), "seed {seed}");
        let mut stream = running.connect();
        let _ = stream.write_all(&bytes);
        // What is unfinished would be waited for; and whoever hangs up at once is a case too.
        if dice.below(8) > 0 {
            half_close(&stream);
            let mut got = Vec::new();
            let read = std::io::Read::read_to_end(&mut stream, &mut got);
            assert!(
                !read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
                "seed {seed}"
            );
            for answer in answers(&got) {
                answered += 1;
                match answer.status {
                    200 => good += 1,
                    400 | 404 | 405 | 408 | 409 | 413 | 417 | 422 | 431 | 503 => {
                        refused += 1;
                        let is_problem = answer.kind() == "application/problem+json";
                        assert!(
                            answer.body.is_empty() || is_problem || answer.status == 503,
                            "seed {seed}: {answer:?}"
                        );
                    }
                    other => panic!("seed {seed}: {other} to {:?}", String::from_utf8_lossy(&bytes)),
                }
            }
        }
        if seed % 500 == 0 {
            running.assert_well(&format!("seed {seed}"));
        }
    }
    println!(
        "{answered} answers, {good} of them good, {refused} refused, in {:?}",
        began.elapsed()
    );
    assert!(good > 100 && refused > 100, "{good} good, {refused} refused");
    assert_eq!(running.project.service("web")["state"], "ready");
    assert_eq!(running.project.read("ledger"), "start\n");
    crate::common::eventually("its descriptors are closed", || running.descriptors() <= idle + 2);
    let after = running.memory_kib();
    assert!(after < before + 16 * 1024, "{before} KiB became {after}");
    running.assert_well("all of it");
    running.end();
}
