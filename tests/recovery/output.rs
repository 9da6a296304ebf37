//! What services print while nobody reads, over every loss (`LG-05`, `LG-07`).

use std::process::Command;

use crate::common::{Project, eventually, stderr};
use crate::loss::{LOSSES, Loss, lose, succeed, up};

/// Everything that is in the log, from the oldest file to the newest.
fn log(project: &Project, folder: &str) -> String {
    let name = |number: u32| match number {
        0 => format!("{folder}/talker.log"),
        number => format!("{folder}/talker.log.{number}"),
    };
    let mut numbers: Vec<u32> = (0..)
        .take_while(|number| *number == 0 || project.file(&name(*number)).exists())
        .collect();
    numbers.reverse();
    numbers.into_iter().map(|number| project.read(&name(number))).collect()
}

fn numbered(upto: u32) -> String {
    (1..=upto).map(|number| format!("{number}\n")).collect()
}

#[test]
fn lg_07_rotation_loses_and_repeats_no_line_over_every_loss() {
    for loss in LOSSES {
        let project = up(
            "[services.talker]\ncommand = \"i=0; while test $i -lt 30000; do i=$((i+1)); echo $i; done; touch done; exec sleep 1000\"\n\
             log = { max_size = \"4KB\", max_files = 500 }\n",
        );
        for _ in 0..3 {
            lose(&project, loss);
        }
        eventually(&format!("{loss:?}: everything is said"), || {
            project.file("done").exists()
        });
        succeed(&project, &["down"]);
        assert!(
            project.file(".runner/logs/talker.log.2").exists(),
            "{loss:?}: it was rotated"
        );
        assert!(
            log(&project, ".runner/logs") == numbered(30_000),
            "{loss:?}: lines are missing or repeated"
        );
        project.assert_nothing_is_left();
    }
}

/// A small disk, unmounted at the end.
pub struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None`: mounting is for root.
    pub fn at(place: std::path::PathBuf, size: &str) -> Option<SmallDisk> {
        std::fs::create_dir_all(&place).unwrap();
        let options = format!("size={size},mode=700");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(&place)
            .output()
            .unwrap();
        mount.status.success().then_some(SmallDisk(place))
    }

    /// Until not a byte more fits.
    pub fn fill(&self) {
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=4096", "oflag=append", "conv=notrunc"])
            .arg(format!("of={}", self.0.join("ballast").display()))
            .output();
    }

    pub fn free(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn lg_05_a_full_disk_loses_no_line_of_an_adopted_service() {
    for loss in [Loss::Daemon, Loss::Guardian] {
        let project = Project::new(
            "[project]\nstate_dir = \"small/state\"\n[services.talker]\n\
             command = \"i=0; while test $i -lt 100000; do i=$((i+1)); echo $i; done; touch done; exec sleep 1000\"\n",
        );
        let Some(small) = SmallDisk::at(project.file("small"), "200k") else {
            return;
        };
        let up = project.run(&["up", "-d"]);
        assert!(up.status.success(), "{}", stderr(&up));
        eventually("the disk is full", || {
            nix::sys::statvfs::statvfs(project.file("small").as_path()).is_ok_and(|found| found.blocks_available() == 0)
        });
        lose(&project, loss);
        let resized = Command::new("mount")
            .args(["-o", "remount,size=20m"])
            .arg(project.file("small"))
            .status()
            .unwrap();
        assert!(resized.success());
        eventually(&format!("{loss:?}: it goes on"), || project.file("done").exists());
        succeed(&project, &["down"]);
        assert!(
            log(&project, "small/state/logs") == numbered(100_000),
            "{loss:?}: lines are missing or repeated"
        );
        drop(small);
        project.assert_nothing_is_left();
    }
}
