//! Control groups (PG-07, PG-08): each test has a hierarchy of version 2 mounted in a namespace of its own, so it says the
//! same whatever the machine has. For root.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use runner::reconcile::ExitStatus;

use crate::fallbacks::the_basics_hold;
use crate::nest::{CEILING, Nest, Run, is_root, marked, none_left};

/// Nothing but version 2, at /mnt.
const MOUNTED: &str = "umount -R /sys/fs/cgroup 2>/dev/null || true; mount -t cgroup2 none /mnt";
/// As it is where nobody has delegated anything to us.
const READ_ONLY: &str = "mount -o remount,bind,ro /mnt";

fn mounted(words: &[&str]) -> Nest {
    Nest::inside(MOUNTED, words)
}

/// The group of a process, as a path of the guardian's mount namespace that can be opened from here.
fn group(nest: &Nest, pid: u32) -> PathBuf {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    at(nest).join(path)
}

fn at(nest: &Nest) -> PathBuf {
    format!("/proc/{}/root/mnt", nest.pid()).into()
}

fn members(group: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn in_its_mounts(nest: &Nest, script: &str) {
    let status = std::process::Command::new("nsenter")
        .args(["--mount", "--target", &nest.pid().to_string(), "sh", "-c", script])
        .status()
        .unwrap();
    assert!(status.success());
}

/// It has neither mark nor FIFO of ours, is in no session of its service, and runs from every look.
fn fleeing(nest: &mut Nest) -> Run {
    let mut run = nest.start(&["fork", "{", "flee", "}", "say", "ready", "wait"]);
    assert_eq!(run.output.line(), "ready");
    run
}

#[test]
fn pg_07_each_service_has_a_group_of_its_own_until_its_release() {
    if !is_root() {
        return;
    }
    let mut nest = mounted(&[]);
    let own = group(&nest, nest.pid());
    let mut run = nest.start(&["fork", "{", "setsid", "say", "ready", "wait", "}", "wait"]);
    run.output.line();
    let its = group(&nest, run.identity.pid);
    assert!(its.starts_with(&own) && its != own, "{its:?} below {own:?}");
    assert_eq!(members(&its).len(), 2);
    let project = its.parent().unwrap().to_owned();
    nest.kill(run.ticket);
    if nest.exit(run.ticket).1 {
        nest.emptied(run.ticket);
    }
    assert!(its.exists(), "until the daemon has taken it into account");
    nest.release(run.ticket);
    nest.settle();
    assert!(!its.exists() && !project.exists(), "nothing is left of them");
}

#[test]
fn pg_07_no_group_outlives_the_guardian_and_its_services() {
    if !is_root() {
        return;
    }
    let mut nest = mounted(&[]);
    let run = nest.start(&["wait"]);
    // The guardian's mounts go with it.
    let (project, points) = (
        format!("test-{}.runner", nest.pid()),
        std::fs::File::open(at(&nest)).unwrap(),
    );
    assert!(group(&nest, run.identity.pid).exists());
    nest.abandon();
    none_left(&run.mark);
    assert!(
        !Path::new(&format!("/proc/self/fd/{}", points.as_raw_fd()))
            .join(project)
            .exists()
    );
}

#[test]
fn pg_07_a_group_is_left_behind_by_no_launch_that_fails() {
    if !is_root() {
        return;
    }
    let mut nest = mounted(&[]);
    let launch = nest.program(Path::new("/nosuch"), &["it"]);
    nest.refused(launch);
    let launch = nest.fixture(&["exit", "3"]);
    assert_eq!(nest.run_launch(launch).0, ExitStatus::Code(3));
    nest.settle();
    let own = group(&nest, nest.pid());
    let left = std::fs::read_dir(own).unwrap().flatten();
    let prefix = format!("test-{}", nest.pid());
    assert!(
        !left
            .into_iter()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
    );
}

#[test]
fn pg_08_one_kill_ends_whoever_flees_in_a_loop() {
    if !is_root() {
        return;
    }
    for words in [&[][..], &["clone3"], &["cgroup.kill"], &["clone3", "cgroup.kill"]] {
        let mut nest = mounted(words);
        for _ in 0..3 {
            let run = fleeing(&mut nest);
            let its = group(&nest, run.identity.pid);
            nest.kill_to_the_end(&run);
            assert!(!its.exists(), "{words:?}: its group was empty");
            assert_eq!(nest.holds().1, Vec::<u32>::new(), "{words:?}");
        }
    }
}

/// With the main process gone and nobody in its process group, no mark, no FIFO and no session that was ever seen, what
/// says that somebody is left is the control group alone.
#[test]
fn pg_08_who_cuts_every_other_tie_still_counts() {
    if !is_root() {
        return;
    }
    let mut nest = mounted(&[]);
    let script =
        "setsid env -i /bin/sleep 1000 </dev/null >/dev/null 2>&1 & until grep -q sleep /proc/$!/comm; do :; done";
    let mut launch = nest.program(Path::new("/bin/sh"), &["sh", "-c", script]);
    launch.env.push(b"PATH=/usr/bin:/bin".to_vec());
    let its = at(&nest).join(launch.cgroup.clone().unwrap());
    let ticket = nest.spawn(launch);
    assert_eq!(nest.exit(ticket), (ExitStatus::Code(0), true));
    assert_eq!(members(&its).len(), 1);
    nest.kill(ticket);
    nest.emptied(ticket);
    nest.release(ticket);
    nest.settle();
    assert!(!its.exists());
}

#[test]
fn pg_07_groups_that_a_service_makes_below_its_own_go_with_it() {
    if !is_root() {
        return;
    }
    for words in [&[][..], &["cgroup.kill"]] {
        let mut nest = mounted(words);
        let script = "g=/mnt$(sed -n s/^0:://p /proc/self/cgroup); mkdir $g/a $g/a/b; (echo 0 >$g/a/b/cgroup.procs; exec \
                      setsid sleep 1000 >/dev/null 2>&1) & until grep -q . $g/a/b/cgroup.procs; do :; done; echo ready; wait";
        let mut launch = nest.program(Path::new("/bin/sh"), &["sh", "-c", script]);
        launch.env.push(b"PATH=/usr/bin:/bin".to_vec());
        let mut run = nest.start_launch(launch);
        assert_eq!(run.output.line(), "ready");
        let its = group(&nest, run.identity.pid);
        nest.kill_to_the_end(&run);
        assert!(!its.exists());
    }
}

#[test]
fn pg_07_a_group_that_was_there_is_not_shared_with_who_lives_in_it() {
    if !is_root() {
        return;
    }
    let mut nest = mounted(&[]);
    let first = nest.start(&["wait"]);
    let its = group(&nest, first.identity.pid);
    let mut launch = nest.fixture(&["wait"]);
    launch.cgroup = Some(format!("test-{}.runner/test.{}", nest.pid(), first.ticket.0));
    let second = nest.start_launch(launch);
    assert_eq!(members(&its), [first.identity.pid.to_string()]);
    nest.kill_to_the_end(&second);
    assert_eq!(members(&its), [first.identity.pid.to_string()], "a bystander");
    nest.kill_to_the_end(&first);
}

#[test]
fn pg_07_what_an_earlier_life_has_left_is_removed_when_it_is_empty() {
    if !is_root() {
        return;
    }
    let script = format!("{MOUNTED}; mkdir -p /mnt/old-$$.runner/gone.1/below");
    let mut nest = Nest::inside(&script, &[]);
    let old = format!("old-{}.runner", nest.pid());
    let mut launch = nest.fixture(&["wait"]);
    launch.cgroup = Some(format!("{old}/web.1"));
    let run = nest.start_launch(launch);
    let names = std::fs::read_dir(at(&nest).join(&old)).unwrap().flatten();
    let names: Vec<_> = names
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["web.1"]);
    nest.kill_to_the_end(&run);
    assert!(!at(&nest).join(&old).exists());
}

/// Tiers: all that `the_basics_hold` asks for holds in each.
#[test]
fn pg_07_a_hierarchy_that_is_ours() {
    if is_root() {
        the_basics_hold(mounted(&[]));
    }
}

#[test]
fn pg_07_one_that_is_read_only() {
    if is_root() {
        let mut nest = Nest::inside(&format!("{MOUNTED}; {READ_ONLY}"), &[]);
        let run = nest.start(&["wait"]);
        assert_eq!(
            group(&nest, run.identity.pid),
            group(&nest, nest.pid()),
            "none of its own"
        );
        nest.kill_to_the_end(&run);
        the_basics_hold(nest);
    }
}

#[test]
fn pg_07_one_that_becomes_read_only_while_services_run() {
    if !is_root() {
        return;
    }
    let mut nest = mounted(&[]);
    let runs: Vec<_> = (0..3).map(|_| fleeing(&mut nest)).collect();
    in_its_mounts(&nest, READ_ONLY);
    for run in &runs {
        nest.kill_to_the_end(run);
    }
    // Whatever is started from now on has none.
    let run = nest.start(&["wait"]);
    assert_eq!(group(&nest, run.identity.pid), group(&nest, nest.pid()));
    nest.kill_to_the_end(&run);
    assert_eq!(nest.run(&["exit", "4"]).0, ExitStatus::Code(4), "and it is alive");
    let left = at(&nest).join(format!("test-{}.runner", nest.pid()));
    assert!(left.exists());
    in_its_mounts(&nest, "mount -o remount,bind,rw /mnt");
    nest.run(&["exit", "0"]);
    nest.settle();
    assert!(
        !left.exists(),
        "what could not be removed then is removed at the next occasion"
    );
}

#[test]
fn pg_07_version_one_only() {
    if is_root() {
        the_basics_hold(Nest::inside("umount -R /sys/fs/cgroup 2>/dev/null || true", &[]));
    }
}

/// A guardian that finds itself in a service's group never kills it.
#[test]
fn pg_07_runner_never_kills_its_own_group() {
    if !is_root() {
        return;
    }
    let mut nest = mounted(&[]);
    let run = nest.start(&["fork", "{", "setsid", "wait", "}", "say", "ready", "wait"]);
    let its = group(&nest, run.identity.pid);
    std::fs::write(its.join("cgroup.procs"), nest.pid().to_string()).unwrap();
    nest.kill(run.ticket);
    nest.exit(run.ticket);
    // The group is not empty as long as the guardian is in it, so no report tells of the rest.
    let deadline = Instant::now() + CEILING;
    while !marked(&run.mark).is_empty() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    none_left(&run.mark);
    assert_eq!(nest.run(&["exit", "5"]).0, ExitStatus::Code(5), "it is alive");
    let around = its.parent().unwrap().parent().unwrap();
    std::fs::write(around.join("cgroup.procs"), nest.pid().to_string()).unwrap();
    nest.release(run.ticket);
    nest.settle();
}

/// A runner that is started inside a service leaves its group: what is killed with the service is the service.
#[test]
fn pg_07_a_runner_in_a_service_is_no_part_of_it() {
    if !is_root() {
        return;
    }
    let script = format!("{MOUNTED}; mkdir -p /mnt/a-$$.runner/web.1; echo 0 >/mnt/a-$$.runner/web.1/cgroup.procs");
    let mut nest = Nest::inside(&script, &[]);
    assert_eq!(group(&nest, nest.pid()), at(&nest));
    let run = nest.start(&["wait"]);
    let outer = at(&nest).join(format!("a-{}.runner", nest.pid()));
    assert!(!group(&nest, run.identity.pid).starts_with(&outer));
    nest.kill_to_the_end(&run);
    std::fs::remove_dir(outer.join("web.1")).unwrap();
    std::fs::remove_dir(outer).unwrap();
}

/// As a user manager of systemd delegates it: the folder and its list of processes are ours, what is around them is not.
#[test]
fn pg_07_one_that_was_delegated_to_another_user() {
    if !is_root() {
        return;
    }
    let user = "setpriv --reuid 54321 --regid 54321 --clear-groups";
    let script = format!(
        "{MOUNTED}; mkdir /mnt/user-$$; chown 54321 /mnt/user-$$ /mnt/user-$$/cgroup.procs; echo 0 >/mnt/user-$$/cgroup.procs; \
         mount -t tmpfs none /srv; cp \"$1\" /srv/runner; shift; exec {user} /srv/runner \"$@\""
    );
    for words in [&[][..], &["clone3"], &["cgroup.kill"]] {
        let mut nest = Nest::inside(&script, words);
        let delegated = at(&nest).join(format!("user-{}", nest.pid()));
        let mut launch = nest.program(
            Path::new("/bin/sh"),
            &["sh", "-c", "setsid sleep 1000 & echo ready; wait"],
        );
        launch.env.push(b"PATH=/usr/bin:/bin".to_vec());
        let mut run = nest.start_launch(launch);
        assert_eq!(run.output.line(), "ready");
        let its = group(&nest, run.identity.pid);
        assert!(its.starts_with(&delegated) && its != delegated, "{words:?}: {its:?}");
        nest.kill_to_the_end(&run);
        assert!(!its.exists());
        std::fs::write(at(&nest).join("cgroup.procs"), nest.pid().to_string()).unwrap();
        std::fs::remove_dir(delegated).unwrap();
    }
}
