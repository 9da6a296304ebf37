//! What `prepare` costs when nothing has changed: `cargo bench --bench prepare`.
//!
//! The same services without and with two steps and a rendered file, started again after `down`; the difference, by service.
#![allow(clippy::unwrap_used)]

mod bench;

use bench::{Place, median};

const SERVICES: usize = 200;
const ROUNDS: usize = 5;

fn main() {
    println!("goal: prepare unchanged <= 1 ms per service");
    let without = starts("");
    let with = starts("prepare = [{ run = 'true', inputs = ['lock'] }, { run = 'true', inputs = ['src'] }]\n");
    let files = starts("files = { 'SERVICE.conf' = { content = '{{ service }}' } }\n");
    let each = |whole: f64| (whole - without) / SERVICES as f64;
    println!(
        "  {SERVICES} services started again: {without:.0} ms; two steps each, unchanged: {with:.0} ms, {:.2} ms per service; a file each: {files:.0} ms, {:.2} ms per service (medians of {ROUNDS})",
        each(with),
        each(files)
    );
}

/// Milliseconds of an `up` whose steps were run by the one before it.
fn starts(keys: &str) -> f64 {
    let place = Place::new();
    let src = place.path().join("src");
    std::fs::create_dir(&src).unwrap();
    std::fs::write(place.path().join("lock"), "1").unwrap();
    for n in 0..20 {
        std::fs::write(src.join(n.to_string()), "1").unwrap();
    }
    let one = |n| {
        let keys = keys.replace("SERVICE", &format!("s{n}"));
        format!("[services.s{n}]\ncommand = ['./tiny', 'wait']\n{keys}")
    };
    place.write(&(0..SERVICES).map(one).collect::<String>());
    place.timed(&["up", "-d"]);
    place.timed(&["down"]);
    let again = (0..ROUNDS).map(|_| {
        let took = place.timed(&["up", "-d"]).as_secs_f64() * 1e3;
        place.timed(&["down"]);
        took
    });
    median(again.collect())
}
