//! Which shells are inside of which projects, and what was started because of them. Data and its rules; kept by `store`.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sys::identity::{self, Identity};
use crate::sys::pidfd;

/// A process beyond its number, as it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub pidfd_inode: u64,
    pub start_ticks: u64,
}

impl Process {
    pub fn of(pid: u32) -> Process {
        let held = pidfd::open(pid).ok();
        let Identity {
            pid,
            pidfd_inode,
            start_ticks,
        } = identity::of(pid, held.as_ref().map(AsFd::as_fd));
        Process {
            pid,
            pidfd_inode,
            start_ticks,
        }
    }

    pub fn is_alive(&self) -> bool {
        identity::is_alive(self.identity())
    }

    /// That one, and nobody who has its number now. Gone is no failure.
    pub fn signal(&self, signal: i32) -> std::io::Result<()> {
        let Ok(held) = pidfd::open(self.pid) else {
            return Ok(());
        };
        match identity::is_held(self.identity(), held.as_fd()) {
            true => pidfd::signal(held.as_fd(), signal),
            false => Ok(()),
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            pid: self.pid,
            pidfd_inode: self.pidfd_inode,
            start_ticks: self.start_ticks,
        }
    }
}

/// What was asked for and is not done yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// That somebody runs it.
    Start,
    /// The same; and where we have started it, that it follows the files as they are now.
    Apply,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    pub dir: PathBuf,
    pub shells: Vec<Process>,
    /// The guardian of the runner that we have started; another one was started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Process>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wish>,
    /// What went wrong in the background, until somebody is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What is to be done about a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Up(Wish),
    /// Nobody is inside any more of what this guardian runs.
    Down(Process),
}

/// With the keys of their projects.
pub type Tasks = Vec<(String, Task)>;

impl Inside {
    pub fn task(&self) -> Option<Task> {
        match (self.shells.is_empty(), self.wish, self.started) {
            (false, Some(wish), _) => Some(Task::Up(wish)),
            (true, _, Some(started)) => Some(Task::Down(started)),
            (false, None, _) | (true, _, None) => None,
        }
    }
}

/// By the keys of the projects. Of this boot and these numbers of processes: others say nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub boot_id: String,
    pub pid_namespace: u64,
    pub projects: BTreeMap<String, Inside>,
}

impl Record {
    pub fn of_this_boot() -> Record {
        Record {
            boot_id: identity::boot_id(),
            pid_namespace: identity::pid_namespace(),
            projects: BTreeMap::new(),
        }
    }

    /// The shell is in this project, and in no other one.
    pub fn enter(&mut self, shell: Process, key: &str, dir: &Path) -> &mut Inside {
        for (other, inside) in &mut self.projects {
            if other != key {
                inside.shells.retain(|known| *known != shell);
            }
        }
        let inside = self.projects.entry(key.to_owned()).or_insert_with(|| Inside {
            dir: dir.to_owned(),
            shells: Vec::new(),
            started: None,
            wish: None,
            trouble: None,
        });
        if !inside.shells.contains(&shell) {
            inside.shells.push(shell);
        }
        inside
    }

    /// The shell is in no project.
    pub fn leave(&mut self, shell: Process) {
        // Its start time may not be readable at its end; its number is still its own.
        self.leave_all(|known| *known == shell || known.pid == shell.pid);
    }

    /// Shells that ended without a word.
    pub fn drop_dead(&mut self, is_alive: impl Fn(&Process) -> bool) {
        self.leave_all(|known| !is_alive(known));
    }

    fn leave_all(&mut self, is_gone: impl Fn(&Process) -> bool) {
        for inside in self.projects.values_mut() {
            inside.shells.retain(|known| !is_gone(known));
        }
    }

    /// What is to be done, and nothing that says nothing any more.
    pub fn settle(&mut self) -> Tasks {
        for inside in self.projects.values_mut().filter(|inside| inside.shells.is_empty()) {
            // Nobody waits for it any more.
            inside.wish = None;
        }
        let says_something =
            |inside: &Inside| !inside.shells.is_empty() || inside.started.is_some() || inside.trouble.is_some();
        self.projects.retain(|_, inside| says_something(inside));
        let task = |(key, inside): (&String, &Inside)| Some((key.clone(), inside.task()?));
        self.projects.iter().filter_map(task).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(pid: u32) -> Process {
        Process {
            pid,
            pidfd_inode: 0,
            start_ticks: u64::from(pid) * 10,
        }
    }

    fn two_inside() -> Record {
        let mut record = Record::default();
        record.enter(shell(1), "a", Path::new("/a")).wish = Some(Wish::Start);
        record.enter(shell(2), "a", Path::new("/a"));
        record
    }

    #[test]
    fn the_last_one_that_leaves_stops_what_was_started_for_them() {
        let mut record = two_inside();
        assert_eq!(record.settle(), [("a".to_owned(), Task::Up(Wish::Start))]);
        let inside = record.projects.get_mut("a").expect("it is there");
        (inside.wish, inside.started) = (None, Some(shell(9)));
        record.leave(shell(1));
        assert_eq!(record.settle(), []);
        record.leave(shell(2));
        assert_eq!(record.settle(), [("a".to_owned(), Task::Down(shell(9)))]);
        record.projects.get_mut("a").expect("it is there").started = None;
        assert_eq!(record.settle(), []);
        assert!(record.projects.is_empty(), "nothing is left to be known");
    }

    #[test]
    fn what_was_started_by_hand_is_left_alone() {
        let mut record = two_inside();
        record.projects.get_mut("a").expect("it is there").wish = None;
        record.leave(shell(1));
        record.leave(shell(2));
        assert_eq!(record.settle(), []);
        assert!(record.projects.is_empty());
    }

    #[test]
    fn who_enters_another_project_has_left_the_one_before() {
        let mut record = two_inside();
        record.projects.get_mut("a").expect("it is there").started = Some(shell(9));
        record.leave(shell(2));
        record.enter(shell(1), "b", Path::new("/a/b")).wish = Some(Wish::Start);
        let tasks = record.settle();
        assert_eq!(
            tasks,
            [
                ("a".to_owned(), Task::Down(shell(9))),
                ("b".to_owned(), Task::Up(Wish::Start))
            ]
        );
        // Again is no second time.
        record.enter(shell(1), "b", Path::new("/a/b"));
        assert_eq!(record.projects["b"].shells, [shell(1)]);
    }

    #[test]
    fn the_dead_and_those_whose_number_is_somebody_elses_are_dropped() {
        let own = Process::of(std::process::id());
        let reused = Process {
            start_ticks: own.start_ticks + 1,
            pidfd_inode: own.pidfd_inode + u64::from(own.pidfd_inode != 0),
            ..own
        };
        let mut record = Record::of_this_boot();
        record.enter(own, "a", Path::new("/a"));
        record.enter(reused, "a", Path::new("/a"));
        record.enter(reused, "b", Path::new("/b")).started = Some(shell(9));
        record.drop_dead(Process::is_alive);
        assert_eq!(record.projects["a"].shells, [own]);
        assert_eq!(record.settle(), [("b".to_owned(), Task::Down(shell(9)))]);
    }

    #[test]
    fn a_wish_ends_with_the_last_who_had_it() {
        let mut record = two_inside();
        record.leave(shell(1));
        record.leave(shell(2));
        assert_eq!(record.settle(), []);
        assert!(record.projects.is_empty());
    }
}
