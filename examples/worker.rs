//! A worker that needs the web service: it fetches a number, works on it, and prints a line.
//!
//! `worker HOST:PORT [ITEMS]`. After ITEMS numbers it breaks down (exit code 1), so that a restart can be seen. It also
//! breaks down when the web service does not answer. SIGINT ends it at once, with code 0.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, process, thread};

use nix::sys::signal::{SigSet, Signal};

/// How long one piece of work takes.
const WORK: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("broken down: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let place = arguments.next().ok_or("usage: worker HOST:PORT [ITEMS]")?;
    let items: Option<u64> = arguments.next().map(|text| text.parse()).transpose()?;

    let end: SigSet = [Signal::SIGINT].into_iter().collect();
    end.thread_block()?;
    thread::spawn(move || {
        if let Ok(signal) = end.wait() {
            println!("{signal}: leaving");
            process::exit(0);
        }
    });

    println!("working for {place}");
    for done in 1_u64.. {
        let number = fetch(&place)?;
        println!("number {number} done");
        if items == Some(done) {
            return Err(format!("worn out after {done} numbers").into());
        }
        thread::sleep(WORK);
    }
    Ok(())
}

fn fetch(place: &str) -> Result<u64, Box<dyn Error>> {
    let mut stream = TcpStream::connect(place).map_err(|error| format!("{place}: {error}"))?;
    write!(
        stream,
        "GET /work HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("the web service gave no answer")?;
    Ok(body.trim().parse()?)
}
