//! `memory_limit` on the built binary.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use common::{Project, eventually, stdout};

#[test]
fn a_tree_that_holds_too_much_is_restarted_and_one_that_does_not_is_not() {
    let grows = "import time; kept = bytearray(120_000_000); print('grown', flush=True); time.sleep(1000)";
    let project = Project::new(&format!(
        "[services.leak]\ncommand = ['sh', '-c', 'python3 -c \"$0\" & wait', \"{grows}\"]\nmemory_limit = '50MB'\nbackoff = {{ initial = '1m' }}\nstop_timeout = '2s'\n\
         [services.fine]\ncommand = 'exec sleep 1000'\nmemory_limit = '50MB'\n[services.other]\ncommand = 'exec sleep 1000'\n"
    ));
    assert!(project.run(&["up", "-d"]).status.success());
    eventually("it is found out", || project.service("leak")["state"] == "backoff");
    let leak = project.service("leak");
    assert_eq!(leak["failure"]["reason"], "memory_limit", "{leak}");
    let message = leak["failure"]["message"].as_str().unwrap();
    assert!(message.contains("more than 50 MB (memory_limit)"), "{message}");
    assert_eq!(project.service("fine")["state"], "ready");
    // A live edit counts for what runs.
    let pid = project.service("fine")["pid"].clone();
    let toml = project.read("services.toml").replace(
        "sleep 1000'\nmemory_limit = '50MB'",
        "sleep 1000'\nmemory_limit = '1kB'",
    );
    project.write("services.toml", &toml);
    eventually("the lower limit is noticed", || {
        stdout(&project.run(&["events", "--json"])).contains("more than 0.0 MB (memory_limit)")
    });
    eventually("it counts for what runs", || project.service("fine")["pid"] != pid);
    assert!(project.run(&["down"]).status.success());
    project.assert_nothing_is_left();
}
