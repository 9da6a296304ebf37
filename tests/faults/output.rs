//! What services write: files, console, followers.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::common::{Project, eventually, stderr, stdout};
use crate::roles::Roles;

fn log(project: &Project, service: &str) -> Vec<u8> {
    std::fs::read(project.file(&format!(".runner/logs/{service}.log"))).unwrap()
}

#[test]
fn lg_01_every_byte_reaches_the_file_and_json_says_them_losslessly() {
    let project = Project::new(
        "[services.cat]\ntype = \"oneshot\"\ncommand = \"cat bytes\"\n[services.quiet]\ncommand = \"sleep 1000\"\n",
    );
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend_from_slice(b"\n\xed\xa0\x80 lone surrogate\n\xff\xfe\n\x1b[2Jcleared\r\nno end");
    std::fs::write(project.file("bytes"), &bytes).unwrap();
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    assert_eq!(log(&project, "cat"), bytes);
    let json = stdout(&project.run(&["logs", "--json", "cat"]));
    let mut lines = Vec::new();
    for line in json.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        lines.push(match (line["line"].as_str(), line["line_base64"].as_str()) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(text)) => decoded(text),
            _ => panic!("one of both: {line}"),
        });
    }
    assert_eq!(lines.join(&b'\n'), bytes);
    let shown = project.run(&["logs", "cat"]);
    assert!(
        !shown.stdout.contains(&0x1b) && !shown.stdout.contains(&0),
        "control characters are not let through"
    );
    project.run(&["down"]);
    project.assert_nothing_is_left();
}

fn decoded(base64: &str) -> Vec<u8> {
    let mut decode = Command::new("base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut decode.stdin.take().unwrap(), base64.as_bytes()).unwrap();
    decode.wait_with_output().unwrap().stdout
}

#[test]
fn lg_02_a_hundred_megabytes_without_a_newline_need_no_memory() {
    let project = Project::new(
        "[services.endless]\ntype = \"oneshot\"\ncommand = \"head -c 100000000 /dev/zero\"\ndepends_on = [\"gate\"]\nlog = { max_size = \"1GB\" }\n\
         [services.gate]\ntype = \"oneshot\"\ncommand = \"until test -e go; do sleep 0.01; done\"\n[services.quiet]\ncommand = \"sleep 1000\"\n",
    );
    assert_eq!(project.run(&["up", "-d", "--no-wait"]).status.code(), Some(0));
    let roles = Roles::of(&project);
    let before = roles.peak_kib();
    // Somebody watches as well.
    let mut follower = project
        .command(&["logs", "-f", "endless"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    project.write("go", "");
    eventually("all is written", || project.service("endless")["state"] == "completed");
    let after = roles.peak_kib();
    assert!(after < before + 8 * 1024, "{before} KiB became {after} KiB");
    assert_eq!(
        std::fs::metadata(project.file(".runner/logs/endless.log"))
            .unwrap()
            .len(),
        100_000_000
    );
    project.run(&["down"]);
    follower.wait().unwrap();
    project.assert_nothing_is_left();
}

#[test]
fn lg_04_ten_services_at_full_speed_lose_no_line_and_ps_answers() {
    let lines = 1_400_000;
    let one = |number| {
        format!(
            "[services.s{number}]\ntype = \"oneshot\"\ncommand = \"seq 1 {lines}\"\nlog = {{ max_size = \"100MB\" }}\n"
        )
    };
    let mut services: String = (0..10).map(one).collect();
    services.push_str("[services.quiet]\ncommand = \"sleep 1000\"\n");
    let project = Project::new(&services);
    assert_eq!(project.run(&["up", "-d", "--no-wait"]).status.code(), Some(0));
    eventually("all have completed", || project.ps()["settled"] == true);
    let mut expected = Vec::new();
    for number in 1..=lines {
        use std::io::Write;
        writeln!(expected, "{number}").unwrap();
    }
    for number in 0..10 {
        assert!(
            log(&project, &format!("s{number}")) == expected,
            "s{number} is not whole"
        );
    }
    project.run(&["down"]);
    project.assert_nothing_is_left();
}

/// A small disk, unmounted at the end.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn at(place: std::path::PathBuf, size: &str) -> Option<SmallDisk> {
        std::fs::create_dir(&place).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(&place);
        mount
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
            .then_some(SmallDisk(place))
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(
            Command::new("mount")
                .args(["-o", &options])
                .arg(&self.0)
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn lg_05_a_full_disk_kills_nobody_and_the_service_goes_on_when_there_is_room() {
    let project = Project::new(
        "[project]\nstate_dir = \"small/state\"\n[services.talker]\ntype = \"oneshot\"\ncommand = \"seq 1 200000; touch done\"\n\
         [services.crash]\ncommand = \"echo again; echo x >> crashes; exit 1\"\nbackoff = { initial = \"5ms\", max = \"5ms\" }\n\
         [services.quiet]\ncommand = \"sleep 1000\"\n",
    );
    let Some(small) = SmallDisk::at(project.file("small"), "400k") else {
        return;
    };
    let mut up = project.up(&["--exit", "never"]);
    let said = up.wait_for("the log can't be written");
    assert!(said.starts_with("talker") && said.contains("no space left"), "{said}");
    let roles = Roles::of(&project);
    let log = project.file("small/state/logs/talker.log");
    eventually("the disk is full", || {
        nix::sys::statvfs::statvfs(&small.0).is_ok_and(|found| found.blocks_available() == 0)
    });
    let crashes = || project.read("crashes").lines().count();
    let before = crashes();
    eventually("others are still looked after", || crashes() > before + 3);
    assert!(!project.file("done").exists());
    assert_eq!(project.service("talker")["state"], "starting");
    small.resize("20m");
    eventually("it goes on", || project.service("talker")["state"] == "completed");
    up.wait_for("the log is written again");
    assert_eq!(Roles::of(&project).both(), roles.both());
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(std::fs::read_to_string(&log).unwrap() == expected, "lines are missing");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    assert_eq!(up.end().code(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn lg_13_a_service_may_reopen_its_stdout_also_under_another_user() {
    let user = if nix::unistd::geteuid().is_root() {
        "user = \"nobody\"\n"
    } else {
        ""
    };
    let project = Project::new(&format!(
        "[services.reopen]\ntype = \"oneshot\"\nworking_dir = \"/\"\n{user}command = \"echo one > /dev/stdout; echo two >> /proc/self/fd/1; echo three\"\n"
    ));
    let mut up = project.up(&[]);
    assert_eq!(up.end().code(), Some(0), "{}", up.text());
    assert_eq!(log(&project, "reopen"), b"one\ntwo\nthree\n");
    project.assert_nothing_is_left();
}

#[test]
fn lg_14_followers_that_never_read_hold_up_nobody() {
    let project = Project::new(
        "[services.talker]\ncommand = \"until test -e go; do sleep 0.01; done; seq 1 2000000; touch done; while :; do echo last; sleep 0.05; done\"\nlog = { max_size = \"1GB\" }\n",
    );
    assert_eq!(project.run(&["up", "-d"]).status.code(), Some(0));
    let roles = Roles::of(&project);
    let follow = || project.command(&["logs", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut deaf: Vec<_> = (0..20).map(|_| follow()).collect();
    let mut live = follow();
    let before = roles.peak_kib();
    project.write("go", "");
    let lines = BufReader::new(live.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.into_iter().any(|line| line.ends_with("last")));
    assert!(project.file("done").exists());
    let after = roles.peak_kib();
    assert!(after < before + 80 * 1024, "{before} KiB became {after} KiB");
    assert_eq!(project.run(&["down"]).status.code(), Some(0));
    for child in deaf.iter_mut().chain([&mut live]) {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    project.assert_nothing_is_left();
}

#[test]
fn co_02_a_frozen_console_blocks_no_service_and_says_what_it_skipped() {
    let project = Project::new(
        "[services.talker]\ntype = \"oneshot\"\ncommand = \"seq 1 5000000; touch done\"\nlog = { max_size = \"1GB\" }\n",
    );
    let mut up = project
        .command(&["up"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the service is not blocked", || project.file("done").exists());
    let mut text = String::new();
    up.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(up.wait().unwrap().code(), Some(0));
    let skipped = text.lines().filter(|line| line.contains("skipped ")).count();
    assert!((1..100).contains(&skipped), "{skipped} gaps");
    let count: usize = text
        .lines()
        .filter_map(|line| {
            line.split_once("skipped ")?
                .1
                .split_once(" line")?
                .0
                .replace(['\'', ',', '_'], "")
                .parse::<usize>()
                .ok()
        })
        .sum();
    let shown = text
        .lines()
        .filter(|line| line.starts_with("talker | ") && line.as_bytes()[9].is_ascii_digit())
        .count();
    // A line that a gap begins or ends in is shown in part and may be counted as well.
    assert!(
        (5_000_000..5_000_000 + 2 * skipped + 1).contains(&(count + shown)),
        "{count} skipped and {shown} shown"
    );
    let tail = log(&project, "talker");
    assert!(tail.ends_with(b"4999999\n5000000\n") && tail.iter().filter(|&&byte| byte == b'\n').count() == 5_000_000);
    project.assert_nothing_is_left();
}

#[test]
fn co_04_a_dumb_terminal_of_one_column_gets_plain_lines() {
    let project = Project::new("[services.web]\ntype = \"oneshot\"\ncommand = \"echo 'grün'\"\n");
    for words in [
        &["up"][..],
        &["check"],
        &["graph"],
        &["up", "-d"],
        &["ps"],
        &["logs"],
        &["down"],
    ] {
        let mut command = project.command(words);
        command.env("TERM", "dumb").env("COLUMNS", "1").env("LC_ALL", "C");
        let output = command.output().unwrap();
        let text = stdout(&output) + &stderr(&output);
        assert!(
            !text.contains('\x1b') && !text.contains("panicked"),
            "{words:?}: {text}"
        );
    }
    project.assert_nothing_is_left();
}
