//! Numbers and words for events: from what the `World` publishes to what clients read and the history keeps.
//!
//! An event is in the history before anybody is told of it, so that nobody can know of a number that a crash takes
//! back. Secrets are hidden here, once for all who read.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::api::{history, wire};
use crate::config::Mask;
use crate::fault::point;
use crate::reconcile::{Cause, Event, EventKind, ExitStatus, Failure, Intent, Step};
use crate::sys::files::is_deleted;
use crate::sys::places::{nameless, state};

/// A follower that is this many events behind reads them from the history.
const FOLLOWER_BACKLOG: usize = 1024;
/// The history is rotated before it grows beyond this; one older file is kept.
const HISTORY_SIZE: u64 = 8 * 1024 * 1024;

/// What one event tells at most: steps of an edit (they are counted all the same), problems of a file, and of its words.
const MOST_STEPS: usize = 2_000;
const MOST_PROBLEMS: usize = 200;
const MOST_LETTERS: usize = 64 * 1024;

/// The events of this project, in order.
pub struct Story {
    cursor: u64,
    followers: broadcast::Sender<Arc<wire::Event>>,
    history: History,
    /// Numbered, not yet written and told.
    fresh: Vec<Arc<wire::Event>>,
    mask: Mask,
}

impl Story {
    /// Goes on with the numbers of what is there.
    pub fn open(state_dir: &Path) -> Story {
        let (history, cursor) = History::open(state_dir);
        Story {
            cursor,
            followers: broadcast::channel(FOLLOWER_BACKLOG).0,
            history,
            fresh: Vec::new(),
            mask: Mask::default(),
        }
    }

    /// What is hidden from now on, beside what was before.
    pub fn hide(&mut self, mask: Mask) {
        self.mask = mask.and(&self.mask);
    }

    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// `last_lines` is asked only where an event shows them.
    pub fn tell(&mut self, wall_ns: i64, event: Event, last_lines: impl FnOnce() -> Vec<String>) {
        let kind = kind(event.kind, &self.mask, last_lines);
        let service = event.service.map(|name| name.to_string());
        self.tell_kind(wall_ns, service, event.run, kind, event.cause);
    }

    pub fn tell_kind(&mut self, wall_ns: i64, service: Option<String>, run: u32, kind: wire::EventKind, cause: Cause) {
        let kind = of_bounded_size(kind);
        self.cursor += 1;
        let event = wire::Event {
            cursor: self.cursor,
            time: wire::timestamp(wall_ns),
            service,
            run,
            kind,
            cause: Cause::new(cause.by, self.mask.text(&cause.detail)),
        };
        self.fresh.push(Arc::new(event));
    }

    /// Writes and tells what one turn of the loop has brought. The answer: what people should hear of the history itself.
    pub fn flush(&mut self) -> Option<String> {
        if self.fresh.is_empty() {
            return None;
        }
        let trouble = match self.history.append(&self.fresh) {
            Ok(Appended::Anew) => Some("the history was deleted; what `events` has begins here".to_owned()),
            Ok(Appended::Further) => None,
            Err(error) => Some(format!(
                "the history can't be written: {error}; `events` will have a gap"
            )),
        };
        for event in self.fresh.drain(..) {
            // Nobody listening is not an error.
            let _ = self.followers.send(event);
        }
        trouble
    }

    /// What comes from now on, and the number of the last event before it.
    pub fn follow(&self) -> (broadcast::Receiver<Arc<wire::Event>>, u64) {
        (self.followers.subscribe(), self.cursor - self.fresh.len() as u64)
    }
}

enum Appended {
    Further,
    /// Somebody had deleted what was there.
    Anew,
}

/// The file that events are appended to.
struct History {
    folder: PathBuf,
    file: Option<File>,
    length: u64,
    /// It could not be written: said once, until it can again.
    failing: bool,
}

impl History {
    fn open(folder: &Path) -> (History, u64) {
        let mut history = History {
            folder: folder.to_owned(),
            file: None,
            length: 0,
            failing: false,
        };
        if nameless::is_nowhere(folder) {
            return (history, 0);
        }
        let last = history::last_cursor(folder).unwrap_or_else(|error| {
            tracing::warn!(%error, "could not read the history");
            0
        });
        (
            history.reopened().map(|()| history).unwrap_or_else(|error| {
                tracing::warn!(%error, "could not open the history");
                History {
                    folder: folder.to_owned(),
                    file: None,
                    length: 0,
                    failing: true,
                }
            }),
            last,
        )
    }

    fn reopened(&mut self) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.folder.join(history::FILE))?;
        self.length = file.seek(SeekFrom::End(0))?;
        // A line that a crash has cut off ends here.
        if self.length > 0 && !ends_a_line(&file, self.length)? {
            file.write_all(b"\n")?;
            self.length += 1;
        }
        self.file = Some(file);
        Ok(())
    }

    fn append(&mut self, events: &[Arc<wire::Event>]) -> io::Result<Appended> {
        if nameless::is_nowhere(&self.folder) {
            return Ok(Appended::Further);
        }
        let mut lines = Vec::with_capacity(events.len() * 256);
        for event in events {
            serde_json::to_writer(&mut lines, &**event).expect("our own shapes serialise");
            lines.push(b'\n');
        }
        match self.write(&lines) {
            Ok(appended) => {
                self.failing = false;
                Ok(appended)
            }
            Err(_) if std::mem::replace(&mut self.failing, true) => Ok(Appended::Further),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<Appended> {
        let mut appended = Appended::Further;
        let has_home = self.folder.parent().is_some_and(Path::is_dir);
        if has_home && self.file.as_ref().is_some_and(is_deleted) {
            state::make(&self.folder)?;
            self.reopened()?;
            appended = Appended::Anew;
        }
        if self.length + lines.len() as u64 > HISTORY_SIZE && self.length > 0 {
            std::fs::rename(self.folder.join(history::FILE), self.folder.join(history::OLDER))?;
            point!("history.rotated");
            self.file = None;
        }
        if self.file.is_none() || self.failing {
            self.reopened()?;
        }
        let file = self.file.as_mut().expect("just opened");
        let written = file.write_all(lines);
        point!("history.written");
        // After a failure part of it may be there: what follows has to begin on a line of its own.
        self.length = match &written {
            Ok(()) => self.length + lines.len() as u64,
            Err(_) => {
                self.file = None;
                self.length
            }
        };
        written.map(|()| appended)
    }
}

fn ends_a_line(file: &File, length: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1)?;
    Ok(last == *b"\n")
}

pub fn exit(status: ExitStatus) -> wire::Exit {
    match status {
        ExitStatus::Code(code) => wire::Exit::Code(code),
        ExitStatus::Signal(signal) => wire::Exit::Signal(signal.to_string()),
        ExitStatus::Unknown => wire::Exit::Unknown(true),
    }
}

pub fn failure(failure: Failure, mask: &Mask, last_lines: Vec<String>) -> wire::Failure {
    let Failure {
        reason,
        message,
        suggestion,
    } = failure;
    wire::Failure {
        reason,
        message: mask.text(&message).into_owned(),
        suggestion: suggestion.map(|text| mask.text(&text).into_owned()),
        last_lines: last_lines.iter().map(|line| mask.text(line).into_owned()).collect(),
    }
}

fn kind(kind: EventKind, mask: &Mask, last_lines: impl FnOnce() -> Vec<String>) -> wire::EventKind {
    let hidden = |text: String| mask.text(&text).into_owned();
    match kind {
        EventKind::Waiting { on } => wire::EventKind::Waiting {
            on: on.into_iter().map(hidden).collect(),
        },
        EventKind::Started { pid } => wire::EventKind::Started { pid },
        EventKind::Adopted { pid } => wire::EventKind::Adopted { pid },
        EventKind::Ready { after_ns, probe } => wire::EventKind::Ready {
            after_s: seconds(after_ns),
            probe: probe.map(hidden),
        },
        EventKind::Unhealthy { message } => wire::EventKind::Unhealthy {
            message: hidden(message),
        },
        EventKind::Recovered => wire::EventKind::Recovered,
        EventKind::Exited { status, after_ns } => wire::EventKind::Exited {
            exit: exit(status),
            after_s: seconds(after_ns),
        },
        EventKind::Restarting {
            delay_ns,
            attempt,
            failure: why,
        } => wire::EventKind::Restarting {
            delay_s: seconds(delay_ns),
            attempt,
            failure: why.map(|why| failure(why, mask, last_lines())),
        },
        EventKind::Failed { failure: why } => wire::EventKind::Failed {
            failure: failure(why, mask, last_lines()),
        },
        EventKind::Stopping => wire::EventKind::Stopping,
        EventKind::Stopped => wire::EventKind::Stopped,
        EventKind::Signalled { signal } => wire::EventKind::Signalled {
            signal: signal.to_string(),
        },
        EventKind::Reloaded => wire::EventKind::Reloaded,
        EventKind::ReloadFailed { message } => wire::EventKind::ReloadFailed {
            message: hidden(message),
        },
        EventKind::OutputFound { name, value } => wire::EventKind::OutputFound {
            name,
            value: hidden(value),
        },
        EventKind::Preparing { step } => wire::EventKind::Preparing { step: hidden(step) },
        EventKind::HookRan { hook } => wire::EventKind::HookRan { hook: hook.to_owned() },
        EventKind::HookFailed { hook, message } => wire::EventKind::HookFailed {
            hook: hook.to_owned(),
            message: hidden(message),
        },
        EventKind::Completed { status, after_ns } => wire::EventKind::Completed {
            exit: exit(status),
            after_s: seconds(after_ns),
        },
        EventKind::Warned { message } => wire::EventKind::Warned {
            message: hidden(message),
        },
        EventKind::ConfigApplied {
            generation,
            steps,
            unchanged,
        } => applied(generation, steps, unchanged, mask),
        EventKind::Settled { generation, failed } => wire::EventKind::Settled { generation, failed },
        EventKind::Ending { because } => wire::EventKind::Ending {
            because: hidden(because),
        },
    }
}

/// Its reason may be what a failure says, which may name anything.
pub fn step(step: Step, mask: &Mask) -> wire::PlanStep {
    let because = mask.text(&step.because).into_owned();
    wire::PlanStep { because, ..step.into() }
}

/// Of a list that a line of the history can't hold, the beginning.
fn of_bounded_size(mut kind: wire::EventKind) -> wire::EventKind {
    match &mut kind {
        wire::EventKind::ConfigApplied { steps, .. } => steps.truncate(MOST_STEPS),
        wire::EventKind::ConfigRejected { message, problems } => {
            problems.truncate(MOST_PROBLEMS);
            if let Some((at, _)) = message.char_indices().nth(MOST_LETTERS) {
                message.truncate(at);
                message.push_str(" ...");
            }
        }
        _ => {}
    }
    kind
}

fn applied(generation: u64, steps: Vec<Step>, unchanged: u32, mask: &Mask) -> wire::EventKind {
    let count = |intent| steps.iter().filter(|step| step.intent == intent).count() as u32;
    wire::EventKind::ConfigApplied {
        generation,
        restarts: count(Intent::Restart),
        lives: count(Intent::Live),
        starts: count(Intent::Start),
        stops: count(Intent::Stop),
        unchanged,
        steps: steps.into_iter().map(|one| step(one, mask)).collect(),
    }
}

pub fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::Author;

    fn tell(story: &mut Story, text: &str) {
        let kind = wire::EventKind::Warned {
            message: text.to_owned(),
        };
        story.tell_kind(0, None, 0, kind, Cause::new(Author::Runner, "test"));
    }

    fn cursors(folder: &Path) -> Vec<u64> {
        let mut seen = Vec::new();
        let see = &mut |cursor, _: &[u8]| {
            seen.push(cursor);
            true
        };
        history::read(folder, 0, see).expect("read");
        seen
    }

    #[test]
    fn numbers_go_on_over_lives_and_after_a_line_that_was_cut_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let mut story = Story::open(folder);
        tell(&mut story, "one");
        tell(&mut story, "two");
        assert_eq!(
            cursors(folder),
            [] as [u64; 0],
            "nothing is written before the turn is over"
        );
        assert!(story.flush().is_none());
        drop(story);
        let path = folder.join(history::FILE);
        let whole = std::fs::read(&path).expect("read");
        std::fs::write(&path, &whole[..whole.len() - 5]).expect("written");
        let mut story = Story::open(folder);
        tell(&mut story, "two again");
        story.flush();
        assert_eq!(cursors(folder), [1, 2]);
    }

    #[test]
    fn whoever_follows_is_told_after_the_history() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut story = Story::open(folder.path());
        tell(&mut story, "before");
        let (mut receiver, before) = story.follow();
        assert_eq!(before, 0, "it is still to come");
        assert!(receiver.try_recv().is_err());
        story.flush();
        assert_eq!(receiver.try_recv().expect("told").cursor, 1);
        assert_eq!(story.follow().1, 1);
    }

    #[test]
    fn a_history_that_can_not_be_written_is_said_once_and_taken_up_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let mut story = Story::open(&state);
        tell(&mut story, "lost");
        story.flush();
        std::fs::create_dir(&state).expect("made");
        tell(&mut story, "kept");
        assert!(story.flush().is_none());
        assert_eq!(cursors(&state), [2]);
    }

    #[test]
    fn cr_10_a_history_that_was_deleted_begins_anew_and_says_so_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        state::make(&state).expect("made");
        let mut story = Story::open(&state);
        tell(&mut story, "deleted");
        assert_eq!(story.flush(), None);
        std::fs::remove_dir_all(&state).expect("removed");
        tell(&mut story, "kept");
        assert!(story.flush().is_some_and(|words| words.contains("was deleted")));
        tell(&mut story, "and further");
        assert_eq!(story.flush(), None);
        assert_eq!(cursors(&state), [2, 3]);
        assert!(state.join(state::IGNORE).exists(), "git looks away");
        // A project that was deleted is not made again.
        std::fs::remove_dir_all(folder.path()).expect("removed");
        tell(&mut story, "nobody's");
        assert_eq!(story.flush(), None);
        assert!(!folder.path().exists());
    }

    #[test]
    fn an_event_of_whatever_size_can_be_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut story = Story::open(folder.path());
        let step = wire::PlanStep {
            service: "a-service-with-a-long-name".to_owned(),
            step: wire::Step::Restart,
            fields: vec!["command".to_owned()],
            changes: vec!["command".to_owned()],
            because: "its definition changed".to_owned(),
        };
        let applied = wire::EventKind::ConfigApplied {
            generation: 2,
            restarts: 50_000,
            lives: 0,
            starts: 0,
            stops: 0,
            unchanged: 0,
            steps: vec![step; 50_000],
        };
        let rejected = wire::EventKind::ConfigRejected {
            message: "\u{e9}".repeat(2_000_000),
            problems: Vec::new(),
        };
        for kind in [applied, rejected] {
            story.tell_kind(0, None, 0, kind, Cause::new(Author::File, "saved"));
        }
        story.flush();
        assert_eq!(cursors(folder.path()), [1, 2]);
    }

    #[test]
    fn the_history_is_rotated_and_keeps_one_older_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut story = Story::open(folder.path());
        let text = "x".repeat(100_000);
        for _ in 0..200 {
            tell(&mut story, &text);
            story.flush();
        }
        let seen = cursors(folder.path());
        assert_eq!(seen.last(), Some(&200));
        assert!(seen.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no gap");
        assert!(seen.len() > 80 && seen.len() < 200, "{}", seen.len());
    }
}
