//! `shell`, `allow`, `deny`: projects that start and stop as shells enter and leave their folders.
#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::fs::{self, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use common::roles::send;
use common::{eventually, stderr, stdout, terminal};
use nix::sys::signal::Signal;
use runner::sys::pty::{self, Size};

const FILE: &str = "[services.web]\ncommand = 'exec sleep 1000'\n";

/// A home folder, and the projects in it.
struct Home {
    folder: tempfile::TempDir,
    projects: Vec<PathBuf>,
}

impl Home {
    fn new() -> Home {
        Home {
            folder: tempfile::tempdir().unwrap(),
            projects: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn project(&mut self, name: &str) -> PathBuf {
        let folder = self.path().join(name);
        fs::create_dir_all(folder.join("src/deep")).unwrap();
        fs::write(folder.join("services.toml"), FILE).unwrap();
        self.projects.push(folder.clone());
        folder
    }

    fn allowed(&mut self, name: &str) -> PathBuf {
        let folder = self.project(name);
        let allowed = self.run(&folder, &["allow"]);
        assert!(allowed.status.success(), "{}", stderr(&allowed));
        folder
    }

    /// As somebody at home would have it.
    fn at_home(&self, mut command: Command) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_runner")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", built.display()))
            .env("HOME", self.path())
            .env("TERM", "dumb")
            .env_remove("XDG_STATE_HOME")
            .env_remove("PROMPT_COMMAND")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, folder: &Path, words: &[&str]) -> Output {
        let mut command = self.at_home(Command::new("runner"));
        command.args(words).current_dir(folder).output().unwrap()
    }

    fn is_up(&self, folder: &Path) -> bool {
        let ps = self.run(folder, &["ps", "--json"]);
        let is_ready = || {
            let ps: serde_json::Value = serde_json::from_slice(&ps.stdout).unwrap();
            let services = ps["services"].as_array().unwrap();
            services.iter().all(|service| service["state"] == "ready")
        };
        ps.status.success() && is_ready()
    }

    fn is_down(&self, folder: &Path) -> bool {
        // 2: it has no file any more.
        matches!(self.run(folder, &["ps"]).status.code(), Some(2 | 4))
    }

    fn comes_up(&self, folder: &Path) {
        eventually("it is up", || self.is_up(folder));
    }

    fn goes_down(&self, folder: &Path) {
        eventually("it is down", || self.is_down(folder));
    }

    fn bash(&self) -> Shell {
        self.shell(&["bash", "--norc", "-i"], "eval \"$(runner shell bash)\"")
    }

    fn shell(&self, words: &[&str], begin: &str) -> Shell {
        let mut shell = Shell::start(self.at_home(Command::new("setsid")), words, &self.path());
        shell.does(begin);
        shell
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A failed test must not leave a project running; of a passed one nothing is left.
        for project in &self.projects {
            let _ = self.run(project, &["down", "-t", "0s"]);
        }
    }
}

/// An interactive shell at a terminal of its own.
struct Shell {
    child: Child,
    master: OwnedFd,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    typed: u32,
}

impl Shell {
    fn start(mut command: Command, words: &[&str], folder: &Path) -> Shell {
        let pty = pty::open(None).unwrap();
        let size = Size {
            rows: 50,
            columns: 5000,
        };
        pty::resize(pty.master.as_fd(), size).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        command.arg("-c").args(words).current_dir(folder);
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let reader = terminal::read(&pty.master, &seen);
        Shell {
            child,
            master: pty.master,
            seen,
            reader: Some(reader),
            typed: 0,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    fn types(&self, line: &str) {
        nix::unistd::write(&self.master, format!("{line}\n").as_bytes()).unwrap();
    }

    /// What is shown from a line that is typed until the prompt behind it was there.
    fn does(&mut self, line: &str) -> String {
        self.typed += 1;
        let mark = format!("after {}", self.typed);
        let before = self.seen.lock().unwrap().len();
        self.types(line);
        // The prompt comes before it; the quotes tell it from its echo.
        self.types(&format!("echo 'aft''er {}'", self.typed));
        let shown = || String::from_utf8_lossy(&self.seen.lock().unwrap()[before..]).into_owned();
        eventually(&format!("{line:?} is done"), || {
            shown().lines().any(|line| line.ends_with(&mark))
        });
        shown()
    }

    fn goes(&mut self, folder: &Path) -> String {
        self.does(&format!("cd '{}'", folder.display()))
    }

    fn exits(mut self, line: &str) -> (ExitStatus, String) {
        self.types(line);
        let status = self.child.wait().unwrap();
        // Nobody has the terminal any more, so that it has an end.
        self.reader.take().unwrap().join().unwrap();
        (status, self.text())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_project_is_up_while_a_shell_is_inside() {
    let mut home = Home::new();
    let shop = home.allowed("shop");
    let (mut first, mut second) = (home.bash(), home.bash());
    let shown = first.goes(&shop.join("src"));
    assert!(
        shown.contains(&format!("runner: started {}", shop.display())),
        "{shown}"
    );
    home.comes_up(&shop);
    let shown = second.goes(&shop);
    assert!(!shown.contains("runner:"), "{shown}");
    // Below it is still inside, and a folder that is visited in the middle of a line is not entered.
    assert!(!first.goes(&shop.join("src/deep")).contains("runner:"));
    assert!(!first.does("cd / && cd -").contains("runner:"));
    assert!(!first.goes(&home.path()).contains("runner:"));
    assert!(home.is_up(&shop));
    let (status, shown) = second.exits("exit 3");
    assert_eq!(status.code(), Some(3));
    assert!(shown.contains("nobody is in"), "{shown}");
    home.goes_down(&shop);
    let history = stdout(&home.run(&shop, &["events"]));
    assert!(history.contains("the last shell has left the folder"), "{history}");
    assert!(first.goes(&shop).contains("runner: started"));
    home.comes_up(&shop);
    drop(first.exits("exit"));
    home.goes_down(&shop);
}

#[test]
fn the_nearest_project_is_the_one_that_a_shell_is_in() {
    let mut home = Home::new();
    let (outer, inner) = (home.allowed("shop"), home.allowed("shop/src/inner"));
    let mut shell = home.bash();
    shell.goes(&outer);
    home.comes_up(&outer);
    let shown = shell.goes(&inner);
    assert!(
        shown.contains(&format!("runner: started {}", inner.display())),
        "{shown}"
    );
    home.goes_down(&outer);
    shell.goes(&outer);
    home.goes_down(&inner);
    home.comes_up(&outer);
    // A folder that goes away under a shell is left as any other.
    fs::remove_file(outer.join("services.toml")).unwrap();
    shell.does("true");
    home.goes_down(&outer);
}

#[test]
fn only_what_somebody_has_looked_at_is_started() {
    let mut home = Home::new();
    let shop = home.project("shop");
    let mut shell = home.bash();
    let file = shop.join("services.toml");
    let wants = format!(
        "runner: {} is not allowed yet; look at it and `runner allow`",
        file.display()
    );
    assert!(shell.goes(&shop.join("src")).contains(&wants));
    assert!(home.is_down(&shop));
    assert!(!shop.join(".runner").exists(), "nothing is written there");
    shell.goes(Path::new("/"));
    assert!(!shell.goes(&shop).contains("runner:"), "it was said");
    // Who is inside already gets it at once.
    assert!(shell.does("runner allow").contains("runner: started"));
    home.comes_up(&shop);
    shell.goes(Path::new("/"));
    home.goes_down(&shop);

    fs::write(&file, format!("{FILE}[services.more]\ncommand = 'exec sleep 1000'\n")).unwrap();
    let changed = "has changed since you allowed it; look at it and `runner allow`";
    assert!(shell.goes(&shop).contains(changed));
    shell.goes(Path::new("/"));
    assert!(!shell.goes(&shop).contains("runner:"), "it was said");
    assert!(home.is_down(&shop));
    fs::write(&file, FILE).unwrap();
    shell.goes(Path::new("/"));
    assert!(shell.goes(&shop).contains("runner: started"), "it is what was allowed");
    shell.goes(Path::new("/"));
    home.goes_down(&shop);

    // What would be read besides counts as well.
    for name in ["services.local.toml", ".env"] {
        fs::write(shop.join(name), "").unwrap();
        let shown = shell.goes(&shop);
        assert!(
            shown.contains(&format!("{name} has come since you allowed it")),
            "{shown}"
        );
        assert!(shell.does("runner allow").contains(name));
        home.comes_up(&shop);
        shell.goes(Path::new("/"));
        home.goes_down(&shop);
        fs::remove_file(shop.join(name)).unwrap();
        let shown = shell.goes(&shop);
        assert!(
            shown.contains(&format!("{name} is gone since you allowed it")),
            "{shown}"
        );
        shell.does("runner allow");
        home.comes_up(&shop);
        shell.goes(Path::new("/"));
        home.goes_down(&shop);
    }
    home.run(&shop, &["deny", "services.toml"]);
    assert!(!shell.goes(&shop).contains("runner:"));
    assert!(home.is_down(&shop));
}

#[test]
fn edits_are_applied_once_they_are_allowed() {
    let mut home = Home::new();
    let shop = home.allowed("shop");
    let mut shell = home.bash();
    shell.goes(&shop);
    home.comes_up(&shop);
    let names = || stdout(&home.run(&shop, &["ps", "-q"]));
    let with = |name: &str| format!("{FILE}[services.{name}]\ncommand = 'exec sleep 1000'\n");
    fs::write(shop.join("services.toml"), with("more")).unwrap();
    let history = || stdout(&home.run(&shop, &["events"]));
    eventually("it is seen", || history().contains("--no-reload"));
    assert_eq!(names(), "web\n", "nobody has looked at it");
    shell.does("runner allow");
    eventually("it is applied", || names() == "web\nmore\n");
    assert!(home.run(&shop, &["stop", "more"]).status.success());
    // Edits of runner's own are what somebody wanted.
    let added = home.run(&shop, &["add", "third", "--", "sleep", "1000"]);
    assert!(added.status.success(), "{}", stderr(&added));
    eventually("it is applied", || names().contains("third"));
    assert!(stdout(&home.run(&shop, &["ps"])).contains("stopped"), "it stays so");
    shell.goes(Path::new("/"));
    home.goes_down(&shop);
    assert!(shell.goes(&shop).contains("runner: started"));
    // But not together with what somebody else has written.
    fs::write(shop.join(".env"), "A=1\n").unwrap();
    home.run(&shop, &["rm", "third"]);
    shell.goes(Path::new("/"));
    home.goes_down(&shop);
    assert!(shell.goes(&shop).contains("since you allowed it"));
}

#[test]
fn what_others_can_write_is_not_allowed() {
    let mut home = Home::new();
    let shop = home.project("shop");
    let set = |mode| fs::set_permissions(shop.join("services.toml"), Permissions::from_mode(mode)).unwrap();
    set(0o646);
    let refused = home.run(&shop, &["allow"]);
    assert_eq!(refused.status.code(), Some(2));
    let words = stderr(&refused);
    assert!(
        words.contains("can be written by everybody") && words.contains("nothing was allowed"),
        "{words}"
    );
    set(0o644);
    assert!(home.run(&shop, &["allow"]).status.success());
    set(0o646);
    let mut shell = home.bash();
    let shown = shell.goes(&shop);
    assert!(shown.contains("can be written by everybody"), "{shown}");
    assert!(home.is_down(&shop));

    for (words, code) in [
        (&["allow", "nosuch/services.toml"][..], 2),
        (&["allow", "src"], 2),
        (&["allow", "/etc/passwd"], 2),
        (&["-p", "copy", "allow"], 2),
        (&["-f", "services.toml", "deny"], 2),
        (&["shell", "tcsh"], 2),
    ] {
        assert_eq!(home.run(&shop, words).status.code(), Some(code), "{words:?}");
    }
}

#[test]
fn what_was_started_by_hand_is_not_stopped() {
    let mut home = Home::new();
    let shop = home.allowed("shop");
    assert!(home.run(&shop, &["up", "-d"]).status.success());
    let mut shell = home.bash();
    assert!(!shell.goes(&shop).contains("runner:"));
    shell.goes(Path::new("/"));
    assert!(home.is_up(&shop));
    // By its end and by a start of somebody's own it is not ours either.
    shell.goes(&shop);
    home.run(&shop, &["down"]);
    assert!(home.run(&shop, &["up", "-d"]).status.success());
    shell.goes(Path::new("/"));
    assert!(home.is_up(&shop));
    home.run(&shop, &["down"]);
    // Nor what somebody has taken into his own hands.
    assert!(shell.goes(&shop).contains("runner: started"));
    assert!(home.run(&shop, &["up", "-d"]).status.success());
    assert!(!shell.goes(Path::new("/")).contains("runner:"));
    assert!(home.is_up(&shop));
    home.run(&shop, &["down"]);
}

#[test]
fn a_shell_that_was_killed_is_not_inside_any_more() {
    let mut home = Home::new();
    let shop = home.allowed("shop");
    let mut killed = home.bash();
    killed.goes(&shop);
    home.comes_up(&shop);
    send(killed.child.id(), Signal::SIGKILL);
    killed.child.wait().unwrap();
    let mut other = home.bash();
    let elsewhere = home.project("elsewhere");
    other.goes(&elsewhere);
    home.goes_down(&shop);
    // A terminal that is closed is the end of its shell.
    let mut closed = home.bash();
    closed.goes(&shop);
    home.comes_up(&shop);
    send(closed.child.id(), Signal::SIGHUP);
    home.goes_down(&shop);
}

#[test]
fn a_folder_may_be_called_anything() {
    let mut home = Home::new();
    for name in ["a b", "it's \"quoted\" $HOME `id` \\ *", "-C", "ümläut;&|", "new\nline"] {
        let folder = home.allowed(name);
        let mut shell = home.bash();
        let quoted = folder.display().to_string().replace('\'', "'\\''");
        let entering = match name.contains('\n') {
            // A line end that is typed is not what a name holds.
            true => format!("cd \"$(printf '%b' '{}')\"", quoted.replace('\n', "\\n")),
            false => format!("cd -- '{quoted}'"),
        };
        let shown = shell.does(&entering);
        assert!(shown.contains("runner: started"), "{name:?}: {shown}");
        home.comes_up(&folder);
        drop(shell.exits("exit"));
        home.goes_down(&folder);
    }
}

/// A `runner` that notes how it is called.
fn spy(home: &Home) -> (PathBuf, String) {
    let folder = home.path().join("bin");
    fs::create_dir_all(&folder).unwrap();
    let calls = home.path().join("calls");
    let program = folder.join("runner");
    fs::write(
        &program,
        format!("#!/bin/sh\necho \"$@\" >> '{}'\nexit 9\n", calls.display()),
    )
    .unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    (calls, format!("PATH='{}':$PATH; hash -r", folder.display()))
}

#[test]
fn without_a_project_no_process_is_started() {
    let mut home = Home::new();
    let shop = home.project("shop");
    fs::create_dir_all(home.path().join("plain/deep")).unwrap();
    let (calls, instead) = spy(&home);
    let mut shell = home.bash();
    shell.does(&instead);
    shell.goes(&home.path().join("plain/deep"));
    shell.goes(Path::new("/"));
    shell.goes(&home.path());
    assert!(!calls.exists(), "{:?}", fs::read_to_string(&calls));
    // Above the home folder nobody looks.
    fs::create_dir_all(shop.join("home/below")).unwrap();
    let below = shop.join("home");
    shell.does(&format!("HOME='{}'", below.display()));
    shell.goes(&below.join("below"));
    assert!(!calls.exists(), "{:?}", fs::read_to_string(&calls));
    shell.does(&format!("HOME='{}'", home.path().display()));
    let pid = shell.child.id();
    assert_eq!(
        fs::read_to_string(&calls).unwrap(),
        format!("shell enter --pid {pid} -- {}\n", shop.display())
    );
    shell.does("true");
    shell.goes(&shop.join("src"));
    assert_eq!(fs::read_to_string(&calls).unwrap().lines().count(), 1);
    let hook = stdout(&home.run(&shop, &["shell", "bash"]));
    let mut script = home.at_home(Command::new("bash"));
    let quiet = format!("{hook}\ndeclare -F; echo \"${{PROMPT_COMMAND-none}}\"; trap -p EXIT");
    let output = script.args(["-c", &quiet]).current_dir(&shop).output().unwrap();
    assert_eq!(stdout(&output), "none\n", "only in an interactive shell");
}

#[test]
fn what_bash_had_before_stays() {
    let mut home = Home::new();
    let shop = home.allowed("shop");
    for before in ["PROMPT_COMMAND='told=$?;'", "PROMPT_COMMAND=('told=$?;' 'array=$?')"] {
        let (calls, instead) = spy(&home);
        let _ = fs::remove_file(&calls);
        let mut shell = home.shell(&["bash", "--norc", "-i"], "set -u");
        shell.does(before);
        shell.does("trap 'echo \"bye '\\''$?'\\''\"' EXIT");
        shell.does("eval \"$(runner shell bash)\"");
        shell.does("eval \"$(runner shell bash)\"");
        assert!(
            shell
                .does("declare -p PROMPT_COMMAND")
                .matches("__runner_prompt")
                .count()
                == 1
        );
        for (asked, told) in [("told $told", "told 7\r\n"), ("status $?", "status 7\r\n")] {
            shell.types("(exit 7)");
            assert!(
                shell.does(&format!("echo \"{asked}\"")).contains(told),
                "{}",
                shell.text()
            );
        }
        // A runner that fails, and `set -e`, end nobody's shell.
        shell.does(&instead);
        shell.does("set -e");
        shell.goes(&shop);
        shell.does("unset HOME");
        let shown = shell.does("echo \"alive $told\"");
        assert!(shown.contains("alive 0\r\n"), "{shown}");
        let (status, shown) = shell.exits("exit 5");
        assert_eq!(status.code(), Some(5));
        assert!(shown.contains("bye '5'\r\n"), "{shown}");
        let calls = fs::read_to_string(&calls).unwrap();
        let verbs: Vec<_> = calls.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(verbs, ["enter", "leave"]);
    }
}

#[test]
fn a_shell_in_a_shell_is_another_one() {
    let mut home = Home::new();
    let shop = home.allowed("shop");
    let shells = || {
        let record = fs::read_to_string(home.path().join(".local/state/runner/shell/shells.json")).unwrap();
        record.matches("start_ticks").count()
    };
    // Each hands down what the integration knows, by its environment.
    for (words, export, begin) in [
        ("bash --norc -i", "set -a", "eval \"$(runner shell bash)\""),
        ("zsh -f -i", "setopt allexport", "eval \"$(runner shell zsh)\""),
        (
            "fish --no-config -i",
            "set -gx __runner_in 1:x",
            "runner shell fish | source",
        ),
    ] {
        let list: Vec<&str> = words.split(' ').collect();
        let mut shell = home.shell(&list, export);
        shell.does(begin);
        shell.does(&format!("cd {}", shop.display()));
        home.comes_up(&shop);
        // The shell, and the guardian of what it has started.
        assert_eq!(shells(), 2, "{words}");
        shell.types(words);
        shell.does(begin);
        assert_eq!(shells(), 3, "{words}");
        shell.types("exit");
        shell.does("true");
        assert_eq!(shells(), 2, "{words}");
        assert!(home.is_up(&shop));
        let (_, shown) = shell.exits("exit");
        assert!(shown.contains("it stops"), "{shown}");
        home.goes_down(&shop);
    }
}

#[test]
fn zsh_and_fish_do_the_same() {
    let mut home = Home::new();
    let shop = home.allowed("it's a \"shop\"");
    let shells: [(&[&str], &str, &str); 2] = [
        (
            &["zsh", "-f", "-i"],
            "eval \"$(runner shell zsh)\"",
            "echo \"status $?\"",
        ),
        (
            &["fish", "--no-config", "-i"],
            "runner shell fish | source",
            "echo \"status $status\"",
        ),
    ];
    for (words, begin, status) in shells {
        let (calls, _) = spy(&home);
        let _ = fs::remove_file(&calls);
        let folder = home.path().join("plain");
        fs::create_dir_all(&folder).unwrap();
        let mut shell = home.shell(words, begin);
        shell.does(begin);
        shell.does(&format!("cd {}", folder.display()));
        let enters = format!("cd \"{}/src/deep\"", shop.display().to_string().replace('"', "\\\""));
        let shown = shell.does(&enters);
        assert!(shown.contains("runner: started"), "{words:?}: {shown}");
        home.comes_up(&shop);
        assert!(!shell.does("cd ..").contains("runner:"));
        assert!(!shell.does("cd /; cd -").contains("runner:"));
        shell.types("false");
        assert!(shell.does(status).contains("status 1"), "{words:?}: {}", shell.text());
        let shown = shell.does("cd /");
        assert!(shown.contains("nobody is in"), "{words:?}: {shown}");
        home.goes_down(&shop);
        shell.does(&enters);
        home.comes_up(&shop);
        let (status, shown) = shell.exits("exit 4");
        assert_eq!(status.code(), Some(4), "{words:?}: {shown}");
        home.goes_down(&shop);

        let mut shell = home.shell(words, begin);
        let bin = home.path().join("bin");
        shell.does(&format!("export PATH=\"{}:$PATH\"", bin.display()));
        shell.does(&format!("cd {}", folder.display()));
        shell.does("cd /");
        drop(shell.exits("exit"));
        assert!(!calls.exists(), "{words:?}: {:?}", fs::read_to_string(&calls));
    }
}

/// As many at once as shells of a restored session.
#[test]
fn in_whatever_order_they_come_and_go_the_last_one_counts() {
    let mut home = Home::new();
    let shops = [home.allowed("one"), home.allowed("two")];
    let shells: Vec<Child> = (0..8)
        .map(|_| Command::new("sleep").arg("1000").spawn().unwrap())
        .collect();
    let walk = |pid: u32, turn: usize| {
        let pid = pid.to_string();
        for shop in [&shops[turn % 2], &shops[(turn + 1) % 2]] {
            let entered = home.run(
                &home.path(),
                &["shell", "enter", "--pid", &pid, "--", &shop.to_string_lossy()],
            );
            assert!(entered.status.success(), "{}", stderr(&entered));
        }
        // The first one stays.
        if turn > 0 {
            home.run(&home.path(), &["shell", "leave", "--pid", &pid]);
        }
    };
    std::thread::scope(|scope| {
        for (turn, shell) in shells.iter().enumerate() {
            let walk = &walk;
            scope.spawn(move || walk(shell.id(), turn));
        }
    });
    home.goes_down(&shops[0]);
    home.comes_up(&shops[1]);
    for mut shell in shells {
        shell.kill().unwrap();
        shell.wait().unwrap();
    }
    // Whoever calls finds that all are dead.
    home.run(&home.path(), &["shell", "leave", "--pid", "1"]);
    home.goes_down(&shops[1]);
    let record = home.path().join(".local/state/runner/shell/shells.json");
    let is_empty = || fs::read_to_string(&record).unwrap().contains("\"projects\": {}");
    eventually("nothing is known any more", is_empty);
}

#[test]
fn a_prompt_does_not_wait_for_a_slow_stop() {
    let mut home = Home::new();
    let shop = home.project("shop");
    // It stops once somebody says so.
    let slow = "trap 'while ! test -e go; do sleep 0.05; done; exit' TERM; echo ready; while :; do sleep 0.05; done";
    let file = format!(
        "[services.web]\ncommand = [\"sh\", \"-c\", \"{slow}\"]\nready = {{ log = 'ready' }}\nstop_timeout = '50s'\n"
    );
    fs::write(shop.join("services.toml"), file).unwrap();
    let allowed = home.run(&shop, &["allow"]);
    assert!(allowed.status.success(), "{}", stderr(&allowed));
    let mut shell = home.bash();
    shell.goes(&shop);
    home.comes_up(&shop);
    let first = home.run(&shop, &["ps", "--json"]).stdout;
    shell.goes(Path::new("/"));
    let shown = shell.goes(&shop);
    assert!(shown.contains("is still being started"), "{shown}");
    fs::write(shop.join("go"), "").unwrap();
    let pid = |ps: &[u8]| {
        let ps: serde_json::Value = serde_json::from_slice(ps).unwrap_or_default();
        ps["services"][0]["pid"].clone()
    };
    eventually("another one runs", || {
        home.is_up(&shop) && pid(&home.run(&shop, &["ps", "--json"]).stdout) != pid(&first)
    });
    shell.goes(Path::new("/"));
    home.goes_down(&shop);
}

#[test]
fn what_can_not_be_started_is_said_in_a_line() {
    let mut home = Home::new();
    let shop = home.allowed("shop");
    // Where its state should be is something else.
    fs::write(shop.join(".runner"), "").unwrap();
    let mut shell = home.bash();
    let shown = shell.goes(&shop);
    let said: Vec<&str> = shown.lines().filter(|line| line.starts_with("runner:")).collect();
    assert!(
        said.len() == 1 && said[0].contains("could not make the state folder"),
        "{shown}"
    );
    shell.goes(Path::new("/"));
    fs::remove_file(shop.join(".runner")).unwrap();
    assert!(shell.goes(&shop).contains("runner: started"));
    // A broken hook file of the user's folder is no reason for silence either.
    let state = home.path().join(".local/state/runner/shell/shells.json");
    fs::write(&state, "{ torn").unwrap();
    shell.goes(&home.path());
    assert!(!shell.goes(&shop).contains("error"), "as if nothing had been written");
    home.run(&shop, &["down"]);
}
