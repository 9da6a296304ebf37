//! HR-01 to HR-05: files that are broken, half written, saved in any way, gone.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{Project, eventually};
use crate::foretold::Picture;
use crate::{Reading, Running, stays, step_of};

fn two() -> String {
    edited(0)
}

/// Two services; each number is another definition of the first.
fn edited(n: u32) -> String {
    stays("a", &format!("env = {{ EDIT = \"{n}\" }}")) + &stays("b", "")
}

/// What was saved in some way has restarted `a` and left `b` alone.
#[track_caller]
fn is_seen(running: &mut Running, way: &str, save: impl FnOnce(&Path)) {
    let before = running.picture();
    is_seen_since(running, &before, way, save);
}

#[track_caller]
fn is_seen_since(running: &mut Running, before: &Picture, way: &str, save: impl FnOnce(&Path)) {
    save(running.project.path());
    let applied = running.applied();
    let (step, fields) = step_of(&applied["steps"], "a");
    assert_eq!((&*step, &*fields), ("restart", &["env.EDIT".to_owned()][..]), "{way}");
    let after = running.picture();
    assert_eq!(after["a"].1, before["a"].1 + 1, "{way}");
    assert_ne!(after["a"].0, before["a"].0, "{way}");
    assert_eq!(after["b"], before["b"], "{way}");
}

#[test]
fn hr_01_a_broken_file_changes_nothing_and_is_told_with_its_place() {
    let project = Project::new(&two());
    let mut up = project.up(&["--exit", "never"]);
    up.wait_for("ready");
    let mut running = Running::follow(project, &[]);
    running.comes_up();
    let before = running.picture();
    let file = running.project.file("services.toml");
    let circle = "[services.a]\ncommand = \"true\"\ndepends_on = [\"b\"]\n[services.b]\ncommand = \"true\"\ndepends_on = [\"a\"]\n";
    let broken: [(&[u8], (u64, u64)); 6] = [
        (b"[services.a]\ncommand = exec\n", (2, 11)),
        (b"[services.a]\ncommand = \"true\"\nrestar = \"no\"\n", (3, 1)),
        (circle.as_bytes(), (3, 15)),
        (b"", (1, 1)),
        (b"\x7fELF\x02\x01\x00\xff\xfe", (1, 8)),
        (&vec![b'#'; 100 << 20], (1, 1)),
    ];
    for (bytes, place) in broken {
        fs::write(&file, bytes).unwrap();
        let rejected = running.rejected();
        let problem = &rejected["problems"][0];
        let told = (problem["line"].as_u64().unwrap(), problem["column"].as_u64().unwrap());
        assert_eq!(told, place, "{rejected}");
        let message = problem["message"].as_str().unwrap();
        up.wait_for(message);
        // What concerns the file as a whole is shown without a line of it.
        match place {
            (1, 1) => up.wait_for("--> services.toml"),
            (line, column) => up.wait_for(&format!("--> services.toml:{line}:{column}")),
        };
        let place = match bytes.len() {
            // Nobody has read it.
            100_000_000.. => format!("services.toml: {message}"),
            _ => format!("services.toml:{}:{}: {message}", place.0, place.1),
        };
        let ps = running.ps();
        assert!(ps["config_error"].as_str().unwrap().starts_with(&place), "{ps}");
        assert_eq!(running.picture(), before, "{place}");
    }
    is_seen(&mut running, "good again", |_| fs::write(&file, edited(1)).unwrap());
    assert_eq!(running.ps()["config_error"], serde_json::Value::Null);
    running.down();
    assert_eq!(up.end().code(), Some(0), "{}", up.text());
    let loud = up.text().matches("everything keeps running as before").count();
    assert_eq!(loud, 6, "{}", up.text());
}

#[test]
fn hr_01_what_is_wrong_is_said_once() {
    let mut running = Running::up(&two());
    let file = running.project.file("services.toml");
    let reading = Reading::of(&file);
    let wrong = "[services.a]\ncommand = 7\n";
    reading.write(&file, wrong.as_bytes());
    running.rejected();
    reading.write(&file, wrong.as_bytes());
    reading.write(&file, format!("{wrong}# the same is wrong\n").as_bytes());
    fs::write(&file, "[services.a]\ncommand = true\n").unwrap();
    let other = running.rejected();
    assert!(
        other["message"].as_str().unwrap().contains("found a truth value"),
        "{other}"
    );
    assert_eq!(running.heard("config_rejected").len(), 2);
    // What stands in the file is what is in force: that is worth a word, and nothing else.
    let before = running.picture();
    running.save_in_vain(&two());
    assert_eq!(running.picture(), before);
    running.down();
}

/// The pause of somebody who writes slowly: it is what is tested. Whether it was as short as it should be.
fn pause() -> bool {
    let began = Instant::now();
    assert!(Command::new("sleep").arg("0.4").status().unwrap().success());
    began.elapsed() < Duration::from_millis(900)
}

#[test]
fn hr_02_a_file_that_is_being_written_is_waited_for() {
    let mut running = Running::up(&two());
    let whole = edited(1);
    // Both halves are valid, and the first would end `b`.
    let (first, second) = whole.split_at(whole.find("[services.b]").unwrap());
    let before = running.picture();
    let mut file = fs::File::create(running.project.file("services.toml")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    let short = pause();
    file.write_all(second.as_bytes()).unwrap();
    drop(file);
    let applied = running.applied();
    if short {
        assert_eq!(
            (&applied["stops"], &applied["restarts"]),
            (&0.into(), &1.into()),
            "{applied}"
        );
        assert_eq!(running.picture()["b"], before["b"]);
    }
    let before = running.picture();
    running.project.write("services.toml", &stays("a", ""));
    let short = pause();
    running.project.write("services.toml", &edited(2));
    let applied = running.applied();
    if short {
        assert_eq!(
            (&applied["stops"], &applied["restarts"]),
            (&0.into(), &1.into()),
            "{applied}"
        );
        assert_eq!(running.picture()["b"], before["b"]);
    }
    running.down();
}

#[test]
fn hr_04_every_way_in_which_editors_save_is_seen() {
    let mut running = Running::up(&two());
    is_seen(&mut running, "in place", |at| {
        fs::write(at.join("services.toml"), edited(1)).unwrap()
    });
    is_seen(&mut running, "vim: backup, then anew", |at| {
        fs::write(at.join("4913"), "").unwrap();
        fs::remove_file(at.join("4913")).unwrap();
        fs::rename(at.join("services.toml"), at.join("services.toml~")).unwrap();
        fs::write(at.join("services.toml"), edited(2)).unwrap();
        fs::remove_file(at.join("services.toml~")).unwrap();
    });
    is_seen(&mut running, "beside, then renamed over", |at| {
        fs::write(at.join(".services.toml.swp"), edited(3)).unwrap();
        fs::rename(at.join(".services.toml.swp"), at.join("services.toml")).unwrap();
    });
    is_seen(&mut running, "truncated, then written", |at| {
        let mut file = fs::File::create(at.join("services.toml")).unwrap();
        for line in edited(4).lines() {
            writeln!(file, "{line}").unwrap();
        }
    });
    is_seen(&mut running, "sed -i", |at| {
        let sed = Command::new("sed")
            .args(["-i", "s/\"4\"/\"5\"/", "services.toml"])
            .current_dir(at)
            .status();
        assert!(sed.unwrap().success());
    });
    is_seen(&mut running, "removed, then written", |at| {
        fs::remove_file(at.join("services.toml")).unwrap();
        fs::write(at.join("services.toml"), edited(6)).unwrap();
    });
    is_seen(&mut running, "linked over", |at| {
        fs::write(at.join("new"), edited(7)).unwrap();
        fs::remove_file(at.join("services.toml")).unwrap();
        fs::hard_link(at.join("new"), at.join("services.toml")).unwrap();
    });
    running.down();
}

#[test]
fn hr_04_symlinks_on_the_way_count_wherever_they_lead() {
    let project = Project::new("");
    let at = project.path().to_owned();
    let file = at.join("services.toml");
    fs::remove_file(&file).unwrap();
    for (folder, n) in [("one", 0), ("two", 2)] {
        fs::create_dir(at.join(folder)).unwrap();
        fs::write(at.join(folder).join("services.toml"), edited(n)).unwrap();
    }
    symlink("one/services.toml", &file).unwrap();
    let mut running = Running::of(project, &[], &[]);
    is_seen(&mut running, "the target is edited", |at| {
        fs::write(at.join("one/services.toml"), edited(1)).unwrap();
    });
    is_seen(&mut running, "the link leads elsewhere", |at| {
        relink(at, "services.toml", "two/services.toml")
    });
    is_seen(&mut running, "the new target is edited", |at| {
        fs::write(at.join("two/services.toml"), edited(3)).unwrap();
    });
    // As Kubernetes mounts a ConfigMap.
    is_seen(&mut running, "a link to a link", |at| {
        for (folder, n) in [("..2024_1", 4), ("..2024_2", 5)] {
            fs::create_dir(at.join(folder)).unwrap();
            fs::write(at.join(folder).join("services.toml"), edited(n)).unwrap();
        }
        symlink("..2024_1", at.join("..data")).unwrap();
        relink(at, "services.toml", "..data/services.toml");
    });
    is_seen(&mut running, "..data is swapped", |at| {
        relink(at, "..data", "..2024_2");
        fs::remove_dir_all(at.join("..2024_1")).unwrap();
    });
    running.down();
}

fn relink(at: &Path, name: &str, target: &str) {
    symlink(target, at.join("link.new")).unwrap();
    fs::rename(at.join("link.new"), at.join(name)).unwrap();
}

#[test]
fn hr_05_a_file_that_is_gone_changes_nothing_until_it_comes_back() {
    let mut running = Running::up(&two());
    let before = running.picture();
    fs::remove_file(running.project.file("services.toml")).unwrap();
    let rejected = running.rejected();
    assert!(
        rejected["message"].as_str().unwrap().contains("services.toml"),
        "{rejected}"
    );
    assert_eq!(running.picture(), before);
    is_seen(&mut running, "it comes back", |at| {
        fs::write(at.join("services.toml"), edited(1)).unwrap()
    });
    running.down();
}

const INNER: &[&str] = &["-C", "inner"];

/// A project in a folder that can be moved.
fn inner() -> Running {
    let project = Project::new("");
    fs::remove_file(project.file("services.toml")).unwrap();
    fs::create_dir(project.file("inner")).unwrap();
    project.write("inner/services.toml", &two());
    Running::of(project, INNER, &[])
}

fn lives(pid: Option<u64>) -> bool {
    Path::new(&format!("/proc/{}", pid.unwrap())).exists()
}

#[test]
fn hr_05_a_folder_that_is_renamed_away_and_made_again() {
    let mut running = inner();
    let before = running.picture();
    let (inner, away) = (running.project.file("inner"), running.project.file("away"));
    fs::rename(&inner, &away).unwrap();
    running.rejected();
    assert!(before.values().all(|(pid, _)| lives(*pid)));
    is_seen_since(&mut running, &before, "it comes back", |_| {
        fs::rename(&away, &inner).unwrap();
        fs::write(inner.join("services.toml"), edited(1)).unwrap();
    });
    is_seen(&mut running, "another one takes its place", |_| {
        fs::rename(&inner, &away).unwrap();
        fs::create_dir(&inner).unwrap();
        fs::rename(away.join(".runner"), inner.join(".runner")).unwrap();
        fs::write(inner.join("services.toml"), edited(2)).unwrap();
    });
    is_seen(&mut running, "and is watched", |_| {
        fs::write(inner.join("services.toml"), edited(3)).unwrap()
    });
    running.down();
}

#[test]
fn hr_05_a_folder_that_is_deleted_with_all_that_is_in_it() {
    let mut running = inner();
    let before = running.picture();
    let inner = running.project.file("inner");
    fs::remove_dir_all(&inner).unwrap();
    running.rejected();
    assert!(before.values().all(|(pid, _)| lives(*pid)));
    is_seen_since(&mut running, &before, "it comes back", |_| {
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("services.toml"), edited(1)).unwrap();
    });
    is_seen(&mut running, "and is watched", |_| {
        fs::write(inner.join("services.toml"), edited(2)).unwrap()
    });
    running.run(&["down"]);
    // Its lock went with the folder, so that the end can't be waited for by `down`.
    eventually("all to be gone", || running.project.processes().is_empty());
}
