//! Thousands of lives of one service (`RL-01`).
//!
//! `RUNNER_RESTARTS`: how many (10,000 take some minutes).

use crate::common::roles::Roles;
use crate::common::{Project, eventually};
use crate::loss::{runtime_folder, succeed};

fn resident_kib(pid: u32) -> u64 {
    runner::sys::processes::stat(pid).unwrap().resident_bytes >> 10
}

#[test]
fn rl_01_restarts_leave_no_descriptor_no_process_no_fifo_and_no_memory() {
    let wanted: u64 = std::env::var("RUNNER_RESTARTS").map_or(400, |text| text.parse().unwrap());
    // All that there is of a run that is over is in the history and the log, which are files.
    let project = Project::new(
        "[services.web]\ncommand = \"exit 1\"\nrestart = \"always\"\nbackoff = { initial = \"1ms\", max = \"1ms\", jitter = 0 }\nlog = { max_size = \"1MB\", max_files = 2 }\n\
         [services.rest]\ncommand = \"sleep 1000\"\n",
    );
    succeed(&project, &["up", "-d", "--no-wait"]);
    let restarts = || project.service("web")["run"].as_u64().unwrap();
    let roles = Roles::of(&project);
    let warm = wanted / 4;
    eventually("it is warm", || restarts() >= warm);
    // In the middle of a life there is one of everything.
    let (descriptors, memory) = (roles.descriptors(), roles.both().map(resident_kib));
    let runtime = runtime_folder(&project);
    for step in 1..=50 {
        let upto = warm + (wanted - warm) * step / 50;
        eventually(&format!("run {upto}"), || restarts() >= upto);
    }
    assert!(
        roles.descriptors() <= descriptors + 12,
        "{descriptors} became {}",
        roles.descriptors()
    );
    let now = roles.both().map(resident_kib);
    println!(
        "after {warm} and {wanted} lives: {memory:?} and {now:?} KiB, {descriptors} and {} descriptors",
        roles.descriptors()
    );
    for (before, now) in memory.iter().zip(now) {
        assert!(now <= before + 1024, "{before} KiB became {now} KiB");
    }
    succeed(&project, &["stop", "web"]);
    let left: Vec<_> = std::fs::read_dir(runtime).unwrap().flatten().collect();
    let fifos = left
        .iter()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("web."));
    assert_eq!(fifos.count(), 0);
    for role in roles.both() {
        let children = runner::sys::processes::children(role);
        let zombies = children
            .iter()
            .filter(|pid| runner::sys::processes::stat(**pid).is_some_and(|stat| stat.is_zombie()));
        assert_eq!(zombies.count(), 0);
    }
    succeed(&project, &["down"]);
    project.assert_nothing_is_left();
}
