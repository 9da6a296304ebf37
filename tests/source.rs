//! `source`: folders that are filled from repositories and archives, on the built binary.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Project, eventually, stderr, stdout};

fn ups(project: &Project) {
    let up = project.run(&["up", "-d"]);
    assert!(up.status.success(), "{}", stderr(&up));
}

fn fails(project: &Project, reason: &str) -> String {
    let up = project.run(&["up", "-d"]);
    assert_eq!(up.status.code(), Some(1), "{}", stderr(&up));
    let web = project.service("web");
    assert_eq!(web["failure"]["reason"], reason, "{web}");
    web["failure"]["message"].as_str().unwrap().to_owned()
}

/// A repository with two commits on `main`, and a tag on the first.
fn repository(at: &Path) {
    let script = "git init -q -b main . && git config user.email a@b && git config user.name a && echo one > page && \
                  git add page && git commit -q -m one && git tag v1 && echo two > page && git commit -q -a -m two";
    std::fs::create_dir(at).unwrap();
    let done = Command::new("sh")
        .args(["-c", script])
        .current_dir(at)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
}

#[test]
fn a_repository_fills_the_folder_and_another_revision_is_checked_out() {
    let project = Project::new("");
    repository(&project.file("upstream"));
    let with = |rev: &str| {
        let url = project.file("upstream").display().to_string();
        format!(
            "[services.web]\ncommand = 'cat page; exec sleep 1000'\nworking_dir = 'site'\nsource = {{ git = '{url}'{rev} }}\n"
        )
    };
    project.write("services.toml", &with(""));
    ups(&project);
    assert_eq!(project.read("site/page"), "two\n");
    project.write("site/own", "mine");
    project.write("services.toml", &with(", rev = 'v1'"));
    eventually("the other revision is there", || project.read("site/page") == "one\n");
    assert!(project.run(&["wait", "web"]).status.success());
    assert_eq!(project.read("site/own"), "mine");
    // A branch goes on with the repository, and keeps what was committed here.
    project.write("services.toml", &with(", rev = 'main'"));
    eventually("the branch is there", || project.read("site/page") == "two\n");
    let commit = |folder: &str, text: &str| {
        let script = format!("echo {text} > page && git -c user.email=a@b -c user.name=a commit -q -a -m {text}");
        let done = Command::new("sh")
            .args(["-c", &script])
            .current_dir(project.file(folder))
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
    };
    commit("upstream", "three");
    project.write("services.toml", &with(", rev = 'v1'"));
    eventually("the tag is there", || project.read("site/page") == "one\n");
    project.write("services.toml", &with(", rev = 'main'"));
    eventually("the branch has gone on", || project.read("site/page") == "three\n");
    // The page is there before git is through.
    assert!(project.run(&["wait", "web"]).status.success());
    commit("site", "ours");
    commit("upstream", "theirs");
    project.write("services.toml", &with(", rev = 'v1'"));
    eventually("the tag is there", || project.read("site/page") == "one\n");
    project.write("services.toml", &with(", rev = 'main'"));
    eventually("git refuses", || {
        project.service("web")["failure"]["reason"] == "prepare_failed"
    });
    assert!(stdout(&project.run(&["logs", "-n", "5", "web"])).contains("has commits that"));
    project.write("services.toml", &with(", rev = 'v1'"));
    assert!(project.run(&["wait", "web"]).status.success());
    // What was changed here is not overwritten.
    project.write("site/page", "changed\n");
    project.write("services.toml", &with(", rev = 'main'"));
    eventually("git refuses", || {
        project.service("web")["failure"]["reason"] == "prepare_failed"
    });
    assert_eq!(project.read("site/page"), "changed\n");
    assert!(project.run(&["down"]).status.success());
}

fn git(folder: &Path, script: &str) {
    let user = "export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=protocol.file.allow GIT_CONFIG_VALUE_0=always && \
                export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b";
    let done = Command::new("sh")
        .args(["-c", &format!("{user} && {script}")])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(done.status.success(), "{script}: {}", stderr(&done));
}

#[test]
fn submodules_go_along_and_commits_without_a_branch_are_not_dropped() {
    let project = Project::new("");
    let (upstream, part, site) = (project.file("upstream"), project.file("part"), project.file("site"));
    repository(&part);
    repository(&upstream);
    git(
        &upstream,
        "git submodule add -q ../part part && git -C part checkout -q v1 && git add part && git commit -q -m with && git tag w1 && \
         git -C part checkout -q main && git commit -q -a -m later && git tag w2",
    );
    let with = |rev: &str| {
        let url = upstream.display();
        format!(
            "[services.web]\ncommand = 'exec sleep 1000'\nrestart = 'no'\nworking_dir = 'site'\nsource = {{ git = '{url}', rev = '{rev}' }}\n\
             [services.web.env]\nGIT_CONFIG_COUNT = '1'\nGIT_CONFIG_KEY_0 = 'protocol.file.allow'\nGIT_CONFIG_VALUE_0 = 'always'\n"
        )
    };
    project.write("services.toml", &with("w1"));
    ups(&project);
    assert_eq!(project.read("site/part/page"), "one\n");
    project.write("services.toml", &with("w2"));
    eventually("the submodule goes along", || project.read("site/part/page") == "two\n");
    assert!(project.run(&["wait", "web"]).status.success());
    // Nobody would find a commit again that no branch has.
    git(
        &site,
        "echo ours > page && git commit -q -a -m ours && git rev-parse HEAD > ../kept",
    );
    project.write("services.toml", &with("w1"));
    eventually("it is refused", || {
        project.service("web")["failure"]["reason"] == "prepare_failed"
    });
    let logs = stdout(&project.run(&["logs", "-n", "5", "web"]));
    assert!(
        logs.contains("has commits that no branch has") && logs.contains("branch NAME"),
        "{logs}"
    );
    git(&site, "test $(git rev-parse HEAD) = $(cat ../kept) && git branch mine");
    assert!(project.run(&["start", "web"]).status.success());
    assert_eq!(project.read("site/part/page"), "one\n");
    git(&site, "test $(git rev-parse mine) = $(cat ../kept)");
    // What the repository itself has dropped was never anybody's here.
    git(
        &upstream,
        "git tag -d w1 && git tag -d w2 && git commit -q --amend -m other && git tag w3",
    );
    project.write("services.toml", &with("w3"));
    eventually("it goes on", || {
        let web = project.service("web");
        assert!(web["failure"].is_null(), "{web}");
        project.read("site/part/page") == "two\n"
    });
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn a_repository_that_is_not_there_leaves_nothing() {
    let project = Project::new(
        "[services.web]\ncommand = 'exec sleep 1000'\nrestart = 'no'\nworking_dir = 'site'\nsource = { git = '/no/such/repository' }\n",
    );
    let message = fails(&project, "prepare_failed");
    assert!(message.contains("source: /no/such/repository"), "{message}");
    assert!(stdout(&project.run(&["logs", "web"])).contains("does not exist"));
    let names: Vec<_> = std::fs::read_dir(project.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("site"))
        .collect();
    assert_eq!(names, [""; 0]);
    assert!(project.run(&["down"]).status.success());
}

/// An archive that Python makes: `entries` is Python source that adds to `z` or `t`.
fn archive(project: &Project, name: &str, entries: &str) {
    let script = format!(
        "import io, tarfile, zipfile\ndef tar(t, name, text=b'', **more):\n    i = tarfile.TarInfo(name)\n    i.size = len(text)\n    \
         for k, v in more.items(): setattr(i, k, v)\n    t.addfile(i, io.BytesIO(text))\ndef link(z, name, target):\n    \
         i = zipfile.ZipInfo(name)\n    i.create_system = 3\n    i.external_attr = 0o120777 << 16\n    z.writestr(i, target)\n{entries}\n"
    );
    let done = Command::new("python3")
        .args(["-c", &script, name])
        .current_dir(project.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
}

#[test]
fn archives_fill_the_folder() {
    for (name, entries) in [
        (
            "site.zip",
            "z = zipfile.ZipFile('site.zip', 'w', zipfile.ZIP_DEFLATED)\nz.writestr('a/page', 'one' * 1000)\nz.writestr('run.sh', '')\nlink(z, 'latest', 'a/page')\nz.close()",
        ),
        (
            "site.tar.gz",
            "t = tarfile.open('site.tar.gz', 'w:gz')\ntar(t, 'a', type=tarfile.DIRTYPE, mode=0o755)\ntar(t, 'a/page', b'one' * 1000, mode=0o755)\n\
             tar(t, 'latest', type=tarfile.SYMTYPE, linkname='a/page')\ntar(t, 'hard', type=tarfile.LNKTYPE, linkname='a/page')\nt.close()",
        ),
    ] {
        let project = Project::new(&format!(
            "[services.web]\ncommand = 'exec sleep 1000'\nworking_dir = 'deep/site'\nsource = {{ archive = '{name}' }}\n"
        ));
        archive(&project, name, entries);
        ups(&project);
        assert_eq!(project.read("deep/site/latest"), "one".repeat(1000), "{name}");
        if name.ends_with("gz") {
            let mode = project.file("deep/site/hard").metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755);
        }
        // The same again, and touched: nothing is done. Another: nothing is overwritten.
        project.write("deep/site/a/page", "mine");
        let touched = std::fs::read(project.file(name)).unwrap();
        std::fs::write(project.file(name), touched).unwrap();
        assert!(project.run(&["restart", "web"]).status.success());
        archive(&project, name, &entries.replace("'one'", "'two'"));
        project.run(&["restart", "--no-wait", "web"]);
        eventually("it is refused", || {
            let web = project.service("web");
            let message = web["failure"]["message"].as_str().unwrap_or_default();
            message.contains("has changed since") && web["failure"]["suggestion"].as_str().unwrap().contains("delete")
        });
        assert_eq!(project.read("deep/site/a/page"), "mine");
        assert!(project.run(&["down"]).status.success());
    }
}

#[test]
fn an_archive_that_is_no_file_is_not_waited_for() {
    let project = Project::new(
        "[services.web]\ncommand = 'exec sleep 1000'\nrestart = 'no'\nworking_dir = 'site'\nsource = { archive = 'pipe' }\n",
    );
    nix::unistd::mkfifo(&project.file("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let message = fails(&project, "prepare_failed");
    assert!(message.contains("pipe: it is no regular file"), "{message}");
    assert!(!project.file("site").exists());
    assert!(project.run(&["down"]).status.success());
}

#[test]
fn archives_that_would_leave_the_folder_leave_nothing() {
    let zip = |entries: &str| {
        format!("z = zipfile.ZipFile('bad', 'w', zipfile.ZIP_DEFLATED)\nz.writestr('fine', 'x')\n{entries}\nz.close()")
    };
    let tar = |entries: &str| format!("t = tarfile.open('bad', 'w:gz')\ntar(t, 'fine', b'x')\n{entries}\nt.close()");
    let bad = [
        (zip("z.writestr('../evil', 'x')"), "would leave the folder"),
        (zip("z.writestr('/evil', 'x')"), "would leave the folder"),
        (zip("z.writestr('a/../../evil', 'x')"), "would leave the folder"),
        (zip("link(z, 'out', '/etc')"), "leads out of the folder"),
        (zip("link(z, 'a/out', '../../etc')"), "leads out of the folder"),
        (
            zip("link(z, 'x', '.')\nlink(z, 'x/x/x/up', '../../..')\nlink(z, 'x/x/x/up/evil', 'y')"),
            "lies below its link `x`",
        ),
        (
            zip("link(z, 'p/l', '..')\nlink(z, 'a', 'p/l/..')\nz.writestr('a/evil', 'x')"),
            "goes down and up again",
        ),
        (
            zip("link(z, 'a', 'b')\nz.writestr('a/evil', 'x')\nlink(z, 'b', 'c')"),
            "lies below its link `a`",
        ),
        (
            tar("tar(t, 'a/b', type=tarfile.DIRTYPE, mode=0o755)\ntar(t, 'a', type=tarfile.SYMTYPE, linkname='b')"),
            "lies below its link `a`",
        ),
        (
            zip("z.writestr('bomb', b'0' * 300_000_000)"),
            "which is no such archive",
        ),
        (tar("tar(t, '../evil', b'x')"), "would leave the folder"),
        (
            tar("tar(t, 'out', type=tarfile.SYMTYPE, linkname='..')"),
            "leads out of the folder",
        ),
        (
            tar("tar(t, 'hard', type=tarfile.LNKTYPE, linkname='/etc/passwd')"),
            "leads out of the folder",
        ),
        (
            tar("tar(t, 'pipe', type=tarfile.FIFOTYPE)"),
            "neither a file, a folder nor a link",
        ),
        (
            tar("tar(t, 'device', type=tarfile.CHRTYPE, devmajor=1, devminor=3)"),
            "neither a file, a folder nor a link",
        ),
        (tar("tar(t, 'bomb', b'0' * 300_000_000)"), "nothing of it is kept"),
        (
            "open('bad', 'w').write('no archive')".to_owned(),
            "neither a zip nor a tar.gz file",
        ),
        (
            "open('bad', 'wb').write(b'PK\\x03\\x04 torn')".to_owned(),
            "nothing of it is kept",
        ),
        (
            "open('bad', 'wb').write(b'\\x1f\\x8b torn')".to_owned(),
            "nothing of it is kept",
        ),
    ];
    let project = Project::new(
        "[services.web]\ncommand = 'exec sleep 1000'\nrestart = 'no'\nworking_dir = 'deep/site'\nsource = { archive = 'bad' }\n",
    );
    assert!(project.run(&["up", "-d", "--no-wait"]).status.success());
    for (entries, wanted) in bad {
        archive(&project, "bad", &entries);
        let start = project.run(&["start", "web"]);
        assert_eq!(start.status.code(), Some(1), "{entries}");
        let logs = stdout(&project.run(&["logs", "-n", "1", "web"]));
        assert!(logs.contains(wanted), "{entries}: {logs}");
        assert_eq!(
            project.service("web")["failure"]["reason"],
            "prepare_failed",
            "{entries}"
        );
        assert!(
            !project.file("evil").exists() && !project.file("deep/evil").exists(),
            "{entries}"
        );
        let left: Vec<_> = std::fs::read_dir(project.file("deep")).unwrap().collect();
        assert!(left.is_empty(), "{entries}: {left:?}");
    }
    assert!(project.run(&["down"]).status.success());
}
