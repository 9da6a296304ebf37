//! A seccomp filter that knows no kernel call of the last years: it says ENOSYS, or EPERM as older container engines do.

use serde_json::json;

use crate::bed::{Bed, FIXTURE, WEB};
use crate::common::eventually;
use crate::namespace::is_inside;

const ENDS: &str = "[services.three]\ncommand = \"exit 3\"\nrestart = \"no\"\n\
    [services.shot]\ncommand = \"kill -KILL $$\"\nrestart = \"no\"\n\
    [services.forker]\ncommand = \"sleep 1001 & sleep 1002 & wait\"\n";

fn through_a_filter(errno: &str) {
    let bed = Bed::new(0, WEB).through(&[FIXTURE, "forbid", errno, "exec"]);
    bed.basic_suite();
    std::fs::write(bed.dir.join("services.toml"), format!("{WEB}{ENDS}")).unwrap();
    // Two of them fail, a moment after they were up.
    bed.runner(&["up", "-d"]);
    for (name, end) in [
        ("three", json!({ "code": 3 })),
        ("shot", json!({ "signal": "SIGKILL" })),
    ] {
        eventually("its end is known", || bed.service(name)["last_exit"] == end);
    }
    let forker = bed.pid("forker");
    bed.succeed(&["restart", "forker"]);
    assert_ne!(bed.pid("forker"), forker);
    bed.outlives_its_daemon("forker");
    bed.outlives_its_daemon("web");
    bed.succeed(&["down"]);
    eventually("nothing is left", || bed.named("sleep").is_empty());
}

#[test]
fn en_04_calls_that_are_not_there() {
    if is_inside("filters::en_04_calls_that_are_not_there") {
        through_a_filter("ENOSYS");
    }
}

#[test]
fn en_04_calls_that_are_not_allowed() {
    if is_inside("filters::en_04_calls_that_are_not_allowed") {
        through_a_filter("THREADS");
    }
}
