//! A small web service: `/healthz`, `/` (a greeting from a prepared file) and `/work` (hands out numbers).
//!
//! `web FILE` listens on `$PORT` of `$HOST` (127.0.0.1). SIGTERM, SIGINT and SIGQUIT let the request in hand finish, then end it.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs, thread};

use nix::sys::signal::{SigSet, Signal};

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(1);

struct Shop {
    greeting: String,
    /// The last number that was handed out. Held while a request is answered.
    numbers: Mutex<u64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let file = env::args().nth(1).ok_or("usage: web FILE")?;
    let port = env::var("PORT").map_err(|_| "PORT is not set")?;
    let greeting = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;

    // Blocked before the thread starts, so that only the wait below gets them.
    let ends: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
    ends.thread_block()?;

    let host = env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let listener = TcpListener::bind(format!("{host}:{port}")).map_err(|error| format!("port {port}: {error}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    let shop = Arc::new(Shop {
        greeting,
        numbers: Mutex::new(0),
    });
    let open = Arc::clone(&shop);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Err(error) = open.serve(stream) {
                eprintln!("a client went away: {error}");
            }
        }
    });

    let signal = ends.wait()?;
    let handed_out = shop.numbers.lock().expect("no request panics");
    println!("{signal}: closing after {handed_out} numbers");
    Ok(())
}

impl Shop {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        for header in lines {
            if header?.is_empty() {
                break;
            }
        }
        let mut numbers = self.numbers.lock().expect("no request panics");
        let (status, body) = match request.split(' ').nth(1) {
            Some("/healthz") => ("200 OK", "ok\n".to_owned()),
            Some("/") => ("200 OK", self.greeting.clone()),
            Some("/work") => {
                *numbers += 1;
                ("200 OK", format!("{numbers}\n"))
            }
            _ => ("404 Not Found", "no such page\n".to_owned()),
        };
        if !request.contains("/healthz") {
            println!("{status} {request}");
        }
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    }
}
