//! No /proc, or one that hides the processes of others.

use std::process::Command;

use crate::bed::{Bed, STRANGER, WEB, read_only, succeeds};
use crate::common::eventually;
use crate::namespace::is_inside;

/// Nothing is at /proc for anybody; the test looks at another mount of it.
fn take_proc_away(bed: &mut Bed) {
    std::fs::create_dir("/mnt/proc").unwrap();
    succeeds(Command::new("mount").args(["-t", "proc", "proc", "/mnt/proc"]));
    bed.proc = "/mnt/proc";
    succeeds(Command::new("mount").args(["-t", "tmpfs", "-o", "ro,size=4k", "places", "/proc"]));
    assert!(!std::path::Path::new("/proc/self").exists());
}

fn without_proc(uid: u32) {
    let mut bed = Bed::new(uid, WEB);
    succeeds(Command::new("chown").args([&uid.to_string(), "/mnt/app"]));
    take_proc_away(&mut bed);
    bed.basic_suite();
    bed.succeed(&["up", "-d"]);
    bed.outlives_its_daemon("web");
    let pid = bed.pid("web");
    bed.kill("runner-guardian");
    eventually("another guardian is there", || bed.runner(&["ps"]).status.success());
    assert_eq!(bed.pid("web"), pid);
    bed.succeed(&["down"]);
    assert_eq!(bed.named("sleep"), Vec::<u32>::new());
    let checks = bed.json(&["doctor", "--json"]);
    let checks = checks["checks"].as_array().unwrap();
    let told = checks.iter().find(|check| check["name"] == "/proc").unwrap();
    assert_eq!(told["status"], "tier", "{told}");
}

#[test]
fn en_05_without_proc() {
    if is_inside("processes::en_05_without_proc") {
        without_proc(0);
    }
}

#[test]
fn en_05_without_proc_as_nobody_known() {
    if is_inside("processes::en_05_without_proc_as_nobody_known") {
        without_proc(STRANGER);
    }
}

#[test]
fn en_05_without_proc_and_with_nowhere_to_write() {
    if is_inside("processes::en_05_without_proc_and_with_nowhere_to_write") {
        // Names without a folder are for a whole network: this user is nobody else's in these tests.
        let mut bed = Bed::new(STRANGER + 1, WEB);
        read_only(&[]);
        succeeds(Command::new("mount").args(["-o", "remount,rw", "/mnt"]));
        take_proc_away(&mut bed);
        succeeds(Command::new("mount").args(["-o", "remount,bind,ro", "/mnt"]));
        bed.basic_suite();
    }
}

#[test]
fn en_05_where_processes_of_others_are_hidden() {
    if is_inside("processes::en_05_where_processes_of_others_are_hidden") {
        let bed = Bed::new(STRANGER, WEB);
        succeeds(Command::new("chown").args([&STRANGER.to_string(), "/mnt/app"]));
        succeeds(Command::new("mount").args(["-o", "remount,hidepid=2", "/proc"]));
        bed.basic_suite();
        bed.succeed(&["up", "-d"]);
        bed.outlives_its_daemon("web");
        bed.succeed(&["down"]);
        let checks = bed.json(&["doctor", "--json"]);
        let checks = checks["checks"].as_array().unwrap();
        let told = checks.iter().find(|check| check["name"] == "/proc").unwrap();
        assert!(told["detail"].as_str().unwrap().contains("hidepid"), "{told}");
    }
}
