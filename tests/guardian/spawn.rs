//! Launches that come to nothing, and what is said of them.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use runner::guardian::orders::{Credentials, Launch, Record, Report, Stage, Stdio};
use runner::reconcile::{ExitStatus, Failure, Reason};
use runner::sys::exec_failure::{Attempt, failure};

use crate::fixture;
use crate::nest::{Nest, is_root};

fn path_of(bytes: &[u8]) -> PathBuf {
    Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned()
}

/// Orders a launch that is refused, and puts the refusal into words.
fn failure_of(nest: &mut Nest, launch: Launch) -> Failure {
    let programs: Vec<_> = launch.programs.iter().map(|program| path_of(program)).collect();
    let working_dir = path_of(&launch.working_dir);
    let limits = launch.limits.clone();
    let command = programs[0].to_str().unwrap().to_owned();
    let (stage, errno, index) = nest.refused(launch);
    failure(&Attempt {
        stage: stage.into(),
        errno,
        index,
        command: &command,
        programs: &programs,
        working_dir: &working_dir,
        path: None,
        user: None,
        ids: None,
        limits: &limits,
    })
}

fn script(nest: &Nest, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = nest.file(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

fn failure_of_program(nest: &mut Nest, program: &Path) -> Failure {
    let launch = nest.program(program, &["it"]);
    failure_of(nest, launch)
}

#[test]
fn sp_01_a_missing_command_leaves_nothing_behind() {
    let mut nest = Nest::new();
    let (before, _) = nest.holds();
    let mut launch = nest.program(Path::new("/nosuch/a"), &["a"]);
    launch.programs.push(b"/nosuch/b".to_vec());
    assert_eq!(nest.refused(launch), (Stage::Exec, libc::ENOENT, 1));
    assert_eq!(nest.holds(), (before, vec![]));
    let failure = failure_of_program(&mut nest, Path::new("/nosuch/a"));
    assert_eq!(failure.reason, Reason::CommandNotFound);
    assert!(failure.message.contains("/nosuch/a"), "{}", failure.message);
}

#[test]
fn sp_01_the_search_goes_on_behind_a_missing_and_a_forbidden_candidate() {
    let mut nest = Nest::new();
    let forbidden = script(&nest, "forbidden", "#!/bin/sh\n", 0o644);
    let mut launch = nest.fixture(&["exit", "3"]);
    let there = std::mem::replace(&mut launch.programs, vec![b"/nosuch/a".to_vec()]);
    launch.programs.push(forbidden.as_os_str().as_bytes().to_vec());
    launch.programs.extend(there);
    assert_eq!(nest.run_launch(launch).0, ExitStatus::Code(3));
}

#[test]
fn sp_02_a_file_without_x_a_folder_and_a_closed_folder_are_told_apart() {
    let mut nest = Nest::new();
    let plain = script(&nest, "plain", "#!/bin/sh\n", 0o644);
    assert_eq!(failure_of_program(&mut nest, &plain).reason, Reason::NotExecutable);
    let folder = failure_of_program(&mut nest, Path::new("/usr"));
    assert_eq!(folder.reason, Reason::NotExecutable);
    assert!(folder.message.contains("folder"), "{}", folder.message);
}

#[test]
fn sp_02_a_folder_on_the_way_that_the_user_may_not_search_is_named() {
    if !is_root() {
        return;
    }
    let mut nest = Nest::new();
    std::fs::set_permissions(nest.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let closed = nest.file("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let program = script(&nest, "closed/program", "#!/bin/sh\n", 0o755);
    let mut launch = nest.program(&program, &["it"]);
    launch.credentials = Some(Credentials {
        uid: 54321,
        gid: 54321,
        groups: vec![],
    });
    assert_eq!(nest.refused(launch.clone()), (Stage::Exec, libc::EACCES, 0));
    let ids = runner::sys::users::Ids {
        uid: 54321,
        gid: 54321,
        groups: vec![],
    };
    let failure = failure(&Attempt {
        stage: runner::sys::spawn::Stage::Exec,
        errno: libc::EACCES,
        index: 0,
        command: "program",
        programs: &[program],
        working_dir: Path::new("/"),
        path: None,
        user: Some("web"),
        ids: Some(&ids),
        limits: &[],
    });
    assert_eq!(failure.reason, Reason::PermissionDenied);
    assert!(
        failure.message.contains(closed.to_str().unwrap()),
        "{}",
        failure.message
    );
}

#[test]
fn sp_04_a_missing_interpreter_is_shown_with_its_carriage_return() {
    let mut nest = Nest::new();
    let missing = script(&nest, "missing", "#!/nonexistent/interp\n", 0o755);
    let failure = failure_of_program(&mut nest, &missing);
    assert_eq!(failure.reason, Reason::BadInterpreter);
    assert!(failure.message.contains("/nonexistent/interp"), "{}", failure.message);
    let windows = script(&nest, "windows", "#!/bin/sh\r\necho\r\n", 0o755);
    let failure = failure_of_program(&mut nest, &windows);
    assert_eq!(failure.reason, Reason::BadInterpreter);
    assert!(failure.message.contains(r"/bin/sh\r"), "{}", failure.message);
}

#[test]
fn sp_05_a_text_without_interpreter_is_bad_format_with_and_without_work_before_exec() {
    let mut nest = Nest::new();
    let text = script(&nest, "text", "echo hello\n", 0o755);
    let bare = nest.program(&text, &["it"]);
    let mut busy = nest.program(&text, &["it"]);
    busy.limits = vec![(libc::RLIMIT_CORE, 0, 0)];
    busy.nice = Some(1);
    for launch in [bare, busy] {
        let failure = failure_of(&mut nest, launch);
        assert_eq!(failure.reason, Reason::BadFormat);
        assert!(failure.suggestion.unwrap().contains("sh "));
    }
}

#[test]
fn sp_07_a_missing_working_dir_is_not_a_missing_command_and_works_once_it_is_there() {
    let mut nest = Nest::new();
    let dir = nest.file("work");
    let mut launch = nest.fixture(&["exit", "0"]);
    launch.working_dir = dir.as_os_str().as_bytes().to_vec();
    assert_eq!(failure_of(&mut nest, launch).reason, Reason::WorkingDirMissing);
    std::fs::create_dir(&dir).unwrap();
    let mut launch = nest.fixture(&["exit", "0"]);
    launch.working_dir = dir.as_os_str().as_bytes().to_vec();
    assert_eq!(nest.run_launch(launch).0, ExitStatus::Code(0));
}

#[test]
fn sp_08_a_working_dir_that_is_none() {
    let mut nest = Nest::new();
    let file = script(&nest, "file", "", 0o644);
    let circle = nest.file("circle");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    for (dir, errno) in [(file, libc::ENOTDIR), (circle, libc::ELOOP)] {
        let mut launch = nest.fixture(&["exit", "0"]);
        launch.working_dir = dir.as_os_str().as_bytes().to_vec();
        let failure = failure_of(&mut nest, launch);
        assert_eq!(failure.reason, Reason::WorkingDirMissing);
        let words = runner::sys::exec_failure::words(errno);
        assert!(failure.message.contains(&words), "{}", failure.message);
    }
}

#[test]
fn sp_10_a_limit_above_the_hard_one_is_refused_by_name() {
    // Root may raise what it likes, up to fs.nr_open.
    let most: u64 = std::fs::read_to_string("/proc/sys/fs/nr_open")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let mut nest = Nest::new();
    let mut launch = nest.fixture(&["exit", "0"]);
    launch.limits = vec![(libc::RLIMIT_CORE, 0, 0), (libc::RLIMIT_NOFILE, 100, most + 1)];
    let failure = failure_of(&mut nest, launch);
    assert_eq!(failure.reason, Reason::LimitRefused);
    assert!(failure.message.contains("nofile"), "{}", failure.message);
}

#[test]
fn sp_11_output_that_can_not_be_opened_is_refused_before_exec() {
    let mut nest = Nest::new();
    let touched = nest.path("touched");
    for path in [nest.path("missing"), nest.dir.path().to_str().unwrap().to_owned()] {
        let mut launch = nest.fixture(&["write", &touched, "it ran"]);
        launch.stdio[1] = Stdio::Fifo(path.into_bytes());
        assert_eq!(failure_of(&mut nest, launch).reason, Reason::OutputRefused);
    }
    assert!(!Path::new(&touched).exists());
}

#[test]
fn sp_13_no_more_processes_for_a_user_is_out_of_resources() {
    if !is_root() {
        return;
    }
    let mut nest = Nest::new();
    let program = nest.file("fixture");
    std::fs::copy(fixture::program(), &program).unwrap();
    std::fs::set_permissions(nest.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let as_user = |nest: &mut Nest| {
        let mut launch = nest.program(&program, &["fixture", "wait"]);
        // Of nobody else: the kernel counts all processes of a user.
        let uid = 1_000_000 + std::process::id();
        launch.credentials = Some(Credentials {
            uid,
            gid: uid,
            groups: vec![],
        });
        // The kernel counts the others only: the first is let through.
        launch.limits = vec![(libc::RLIMIT_NPROC, 0, 0)];
        launch
    };
    let launch = as_user(&mut nest);
    let run = nest.start_launch(launch);
    let launch = as_user(&mut nest);
    assert_eq!(failure_of(&mut nest, launch).reason, Reason::OutOfResources);
    nest.kill_to_the_end(&run);
}

#[test]
fn sp_14_a_program_that_is_being_written_is_waited_for() {
    let mut nest = Nest::new();
    let program = nest.file("fixture");
    std::fs::copy(fixture::program(), &program).unwrap();
    let writer = std::fs::OpenOptions::new().append(true).open(&program).unwrap();
    let launch = nest.program(&program, &["fixture", "exit", "9"]);
    let ticket = nest.spawn(launch);
    nest.wait("its birth", |report| {
        matches!(report, Report::Spawned { .. }).then_some(())
    });
    drop(writer);
    assert_eq!(nest.exit(ticket), (ExitStatus::Code(9), false));
    // And not for ever.
    let _writer = std::fs::OpenOptions::new().append(true).open(&program).unwrap();
    let launch = nest.program(&program, &["fixture", "exit", "9"]);
    let failure = failure_of(&mut nest, launch);
    assert_eq!(failure.reason, Reason::Busy);
}

#[test]
fn sp_16_a_thousand_failures_of_every_kind_leave_nothing() {
    let mut nest = Nest::new();
    let text = script(&nest, "text", "echo hello\n", 0o755);
    let record = nest.path("records/none");
    let before = nest.holds();
    for number in 0..1000 {
        let mut launch = nest.fixture(&["exit", "0"]);
        match number % 5 {
            0 => launch.programs = vec![b"/nosuch".to_vec()],
            1 => launch.programs = vec![text.as_os_str().as_bytes().to_vec()],
            2 => launch.working_dir = b"/nosuch".to_vec(),
            3 => launch.stdio[2] = Stdio::Fifo(b"/nosuch".to_vec()),
            _ => {
                launch.record = Some(Record {
                    path: record.clone().into_bytes(),
                    body: "{}".into(),
                })
            }
        }
        let (stage, ..) = nest.refused(launch);
        let wanted = [Stage::Exec, Stage::Exec, Stage::WorkingDir, Stage::Stdio, Stage::Record];
        assert_eq!(stage, wanted[number % 5]);
    }
    assert_eq!(nest.holds(), before);
    let other = nest
        .untaken()
        .iter()
        .find(|report| !matches!(report, Report::Spawned { .. }));
    assert_eq!(other, None);
}

#[test]
fn sp_17_an_exec_that_hangs_holds_up_nobody_and_can_be_killed() {
    let mut nest = Nest::new();
    let program = nest.file("fixture");
    std::fs::copy(fixture::program(), &program).unwrap();
    let mut lease = nest.start(&["lease", program.to_str().unwrap(), "wait"]);
    assert_eq!(lease.output.line(), "leased");
    let launch = nest.program(&program, &["fixture", "exit", "9"]);
    let stuck = nest.spawn(launch);
    let pid = nest.wait("its birth", |report| match report {
        Report::Spawned { ticket, identity } if *ticket == stuck => Some(identity.pid),
        _ => None,
    });
    assert_eq!(nest.run(&["exit", "4"]).0, ExitStatus::Code(4), "others go on");
    assert!(!nest.untaken().contains(&Report::Executed { ticket: stuck }));
    nest.kill(stuck);
    let (status, left) = nest.exit(stuck);
    assert_eq!((status, left), (ExitStatus::Signal(runner::spec::Signal::KILL), false));
    assert!(runner::sys::processes::stat(pid).is_none());
    nest.kill_to_the_end(&lease);
}

#[test]
fn cr_02_a_child_whose_guardian_dies_before_the_gate_opens_never_executes() {
    // The record can't be written, so the gate stays closed.
    let mut nest = Nest::new();
    let touched = nest.path("touched");
    let mut launch = nest.fixture(&["write", &touched, "it ran"]);
    launch.record = Some(Record {
        path: nest.path("nosuch/record").into_bytes(),
        body: "{}".into(),
    });
    assert_eq!(nest.refused(launch).0, Stage::Record);
    assert_eq!(nest.holds().1, Vec::<u32>::new());
    assert!(!Path::new(&touched).exists());
}

#[test]
fn the_record_is_there_before_the_program_and_gone_after_its_release() {
    let mut nest = Nest::new();
    let path = nest.path("web.json");
    let mut launch = nest.program(Path::new("/bin/cat"), &["cat", &path]);
    launch.record = Some(Record {
        path: path.clone().into_bytes(),
        body: r#"{"service":"web"}"#.into(),
    });
    let mut run = nest.start_launch(launch);
    let record: serde_json::Value = serde_json::from_str(&run.output.rest()).unwrap();
    assert_eq!(record["service"], "web");
    assert_eq!(record["identity"]["pid"], run.identity.pid);
    assert_eq!(record["identity"]["start_ticks"], run.identity.start_ticks);
    nest.exit(run.ticket);
    assert!(Path::new(&path).exists());
    nest.release(run.ticket);
    nest.settle();
    assert!(!Path::new(&path).exists());
}
