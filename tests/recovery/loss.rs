//! The deaths that are to be survived.

use std::os::fd::AsFd;

use nix::sys::signal::Signal;

use crate::common::roles::{Roles, send};
use crate::common::{Project, eventually, stderr};

#[derive(Clone, Copy, Debug)]
pub enum Loss {
    Daemon,
    Guardian,
    Both,
}

pub const LOSSES: [Loss; 3] = [Loss::Daemon, Loss::Guardian, Loss::Both];

/// A project that is up.
pub fn up(services: &str) -> Project {
    let project = Project::new(services);
    succeed(&project, &["up", "-d"]);
    project
}

#[track_caller]
pub fn succeed(project: &Project, words: &[&str]) {
    let output = project.run(words);
    let log = project.read(".runner/runner.log");
    let log: Vec<_> = log.lines().rev().take(8).collect();
    assert!(
        output.status.success(),
        "{words:?}: {}\n{}",
        stderr(&output),
        log.join("\n")
    );
}

/// Kills, with this done while nobody is there who could hear of it, and waits until somebody is.
#[track_caller]
pub fn lose_while(project: &Project, loss: Loss, meanwhile: impl FnOnce()) {
    let roles = Roles::of(project);
    match loss {
        Loss::Daemon => {
            send(roles.daemon, Signal::SIGSTOP);
            meanwhile();
            send(roles.daemon, Signal::SIGKILL);
        }
        Loss::Guardian => {
            send(roles.daemon, Signal::SIGSTOP);
            end(&[roles.guardian]);
            meanwhile();
            send(roles.daemon, Signal::SIGCONT);
        }
        Loss::Both => {
            kill_both(&roles);
            meanwhile();
            succeed(project, &["up", "-d"]);
        }
    }
    // A daemon that became a guardian has its number.
    eventually(&format!("others after {loss:?}"), || {
        Roles::of(project).daemon != roles.daemon
    });
}

/// Neither sees the other's end.
pub fn kill_both(roles: &Roles) {
    send(roles.daemon, Signal::SIGSTOP);
    end(&[roles.guardian, roles.daemon]);
}

#[track_caller]
pub fn lose(project: &Project, loss: Loss) {
    lose_while(project, loss, || {});
}

fn end(pids: &[u32]) {
    // All of its threads: the last of them closes its descriptors.
    let held: Vec<_> = pids.iter().map(|pid| runner::sys::pidfd::open(*pid).unwrap()).collect();
    pids.iter().for_each(|pid| send(*pid, Signal::SIGKILL));
    held.iter()
        .for_each(|held| runner::sys::pidfd::wait_for_exit(held.as_fd()));
}

pub fn is_gone(pid: u32) -> bool {
    runner::sys::processes::stat(pid).is_none_or(|stat| stat.is_zombie())
}

pub fn pid(project: &Project, name: &str) -> u32 {
    let service = project.service(name);
    service["pid"]
        .as_u64()
        .unwrap_or_else(|| panic!("it has no process: {service}")) as u32
}

pub fn runtime_folder(project: &Project) -> std::path::PathBuf {
    let lock = project.file(".runner/lock");
    runner::sys::lock::LockText::read(&lock).unwrap().runtime_dir
}

/// The kinds of the events so far, of one service.
pub fn events(project: &Project) -> Vec<serde_json::Value> {
    let output = project.run(&["events", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
