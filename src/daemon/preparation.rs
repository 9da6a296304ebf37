//! What is done before a start, as a task beside the loop: the folder is filled, files are written, steps are run that are
//! to be run, then `pre_start`. What takes time waits on threads and on processes of the guardian's, never the loop.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

use super::errand::{Beside, End, Tickets, Underway, in_words};
use super::hands::{Inbox, named};
use super::launch::DEFAULT_UMASK;
use super::turns::{Turn, Turns};
use crate::api::prepared::{Filled, Notes, Reader, UNFINISHED, WHOLE, WithTheirRights, beside};
use crate::fault::point;
use crate::reconcile::{ExitStatus, Fact, Failure, Incarnation, Reason};
use crate::spec::{Argv, OutputName, Service, ServiceName, Source};
use crate::sys;
use crate::sys::users::Ids;

/// The verb of our own program that fills a folder, as the service's user.
pub const FILL_VERB: &str = "__fill";

pub struct Preparation {
    pub id: Incarnation,
    pub service: Arc<Service>,
    /// Who writes the files; `None`: we do.
    pub ids: Option<Ids>,
    /// All that are declared together with it; `None`: nobody knows them.
    pub replicas: Option<Vec<ServiceName>>,
    /// `None`: nothing can be kept.
    pub state_dir: Option<PathBuf>,
    pub tickets: Rc<Tickets>,
    pub turns: Rc<Turns>,
    pub inbox: mpsc::UnboundedSender<Inbox>,
}

/// What is to be done about the folder.
enum Fill {
    Nothing,
    /// Run our own program with these words after the verb, then note it.
    With(Vec<String>, Filled),
    Refused(Failure),
}

impl Preparation {
    /// `cancelled`: ends what is under way, and then itself.
    pub async fn perform(self, mut cancelled: oneshot::Receiver<()>) -> Result<(), Failure> {
        let service = self.service.clone();
        let alone = self.alone(&mut cancelled).await?;
        let beside = || Beside {
            stdin: alone.as_ref().map(|turn| turn.lock.clone()),
            ..Beside::default()
        };
        if service.source.is_some() {
            self.fill(beside(), &mut cancelled).await?;
        }
        if !service.files.is_empty() {
            let (service, ids) = (service.clone(), self.ids.clone());
            let written = blocking(move || write_files(&service, ids.as_ref(), false)).await;
            written.map_err(|words| failed(words, None))?;
            point!("daemon.files-written");
        }
        for index in 0..service.prepare.len() {
            let (mut notes, due) = self
                .with_notes(&mut cancelled, move |service, notes| {
                    notes.is_due(&service.prepare[index], &service.working_dir)
                })
                .await?;
            let step = &service.prepare[index];
            let what = words_of(&step.run);
            let due = due.map_err(|error| failed(format!("the inputs of `{what}` can't be read: {error}"), None))?;
            let Some(inputs) = due else { continue };
            self.run(&what, &step.run, beside(), &mut cancelled).await?;
            point!("daemon.step-done");
            let service = service.clone();
            blocking(move || notes.done(&service.prepare[index], &service.working_dir, inputs, &service.prepare)).await;
        }
        if let Some(hook) = &service.hooks.pre_start {
            let beside = Beside {
                told: named(self.id, &service).to_vec(),
                ..beside()
            };
            self.run("pre_start", hook, beside, &mut cancelled).await?;
        }
        Ok(())
    }

    /// Steps outlive a guardian that is killed, and would be run twice at once: each has the lock as its stdin, an empty file,
    /// and what comes next waits until nobody has it any more. `None`: there is nothing to lock, or no place for a lock; what
    /// can't be locked can't be noted either.
    async fn alone(&self, cancelled: &mut oneshot::Receiver<()>) -> Result<Option<Turn>, Failure> {
        let service = &self.service;
        let runs = service.source.is_some() || !service.prepare.is_empty() || service.hooks.pre_start.is_some();
        let Some(state_dir) = self.state_dir.as_deref().filter(|_| runs) else {
            return Ok(None);
        };
        let path = Notes::folder(state_dir).join(format!("{}.lock", service.name.base()));
        let waits = || {
            let what = "the end of steps that another replica, or a killed runner, has begun".to_owned();
            let _ = self.inbox.send(Inbox::Fact(Fact::Preparing { id: self.id, what }));
        };
        tokio::select! {
            turn = self.turns.wait(path, waits) => Ok(turn),
            _ = cancelled => Err(failed("it was ended".to_owned(), None)),
        }
    }

    async fn fill(&self, beside: Beside, cancelled: &mut oneshot::Receiver<()>) -> Result<(), Failure> {
        let (mut notes, fill) = self.with_notes(cancelled, plan_to_fill).await?;
        let (words, filled) = match fill {
            Fill::Nothing => return Ok(()),
            Fill::Refused(failure) => return Err(failure),
            Fill::With(words, filled) => (words, filled),
        };
        let what = format!("source: {}", filled.from);
        let meanwhile = meanwhile(words.first().map_or("", String::as_str), &filled);
        let mut command = vec![own_program(), FILL_VERB.to_owned()];
        command.extend(words);
        let command = Argv {
            words: command,
            shell: false,
        };
        // It is the folder to run in that is not there yet.
        let folder = filled.folder.ancestors().skip(1).find(|folder| folder.is_dir());
        let beside = Beside {
            folder: folder.map(Path::to_owned),
            told: vec![("GIT_TERMINAL_PROMPT", "0".to_owned())],
            ..beside
        };
        if let Some(meanwhile) = meanwhile {
            notes = blocking(move || notes.with(meanwhile)).await;
        }
        let end = self.ended(&what, &command, beside, cancelled).await;
        point!("daemon.folder-filled");
        let end = blocking(move || {
            settle(&mut notes, filled, end.as_ref());
            end
        })
        .await;
        judged(&what, end)
    }

    /// Reads the notes and asks them, on a thread. What is looked at may be long, and anything at all: it is read as the user
    /// who runs what depends on it, and not waited for any longer than somebody waits for us.
    async fn with_notes<T: Send + 'static>(
        &self,
        cancelled: &mut oneshot::Receiver<()>,
        ask: impl FnOnce(&Service, &mut Notes) -> T + Send + 'static,
    ) -> Result<(Notes, T), Failure> {
        let (service, state_dir, replicas) = (self.service.clone(), self.state_dir.clone(), self.replicas.clone());
        let reader = Reader {
            rights: self.rights(),
            ended: Arc::default(),
        };
        let ended = reader.ended.clone();
        let asked = blocking(move || {
            let mut notes = Notes::read(state_dir.as_deref(), &service.name)
                .still(replicas.as_deref(), &service.working_dir, &service.prepare)
                .read_by(reader);
            let answer = ask(&service, &mut notes);
            (notes, answer)
        });
        tokio::select! {
            asked = asked => Ok(asked),
            _ = cancelled => {
                ended.store(true, Ordering::Relaxed);
                Err(failed("it was ended".to_owned(), None))
            }
        }
    }

    /// `None`: our own.
    fn rights(&self) -> Option<Arc<WithTheirRights>> {
        let ids = self
            .ids
            .clone()
            .filter(|ids| ids.uid != nix::unistd::Uid::effective().as_raw())?;
        Some(Arc::new(move |work: &mut (dyn FnMut() + Send)| {
            sys::rights::with_those_of(&ids, work)
        }))
    }

    async fn run(
        &self,
        what: &str,
        command: &Argv,
        beside: Beside,
        cancelled: &mut oneshot::Receiver<()>,
    ) -> Result<(), Failure> {
        let end = self.ended(what, command, beside, cancelled).await;
        judged(what, end)
    }

    /// `None`: it was ended.
    async fn ended(
        &self,
        what: &str,
        command: &Argv,
        beside: Beside,
        cancelled: &mut oneshot::Receiver<()>,
    ) -> Option<End> {
        let _ = self.inbox.send(Inbox::Fact(Fact::Preparing {
            id: self.id,
            what: what.to_owned(),
        }));
        let mut underway = Underway::beside(self.tickets.take(), self.id, command, beside, &self.inbox);
        tokio::select! {
            end = underway.ended() => Some(end),
            _ = cancelled => {
                underway.kill().await;
                None
            }
        }
    }
}

/// `None`: it was ended.
fn judged(what: &str, end: Option<End>) -> Result<(), Failure> {
    match end {
        None => Err(failed(format!("`{what}` was ended"), None)),
        Some(End::Exited(ExitStatus::Code(0))) => Ok(()),
        Some(End::Exited(status)) => Err(failed(format!("`{what}` {}", in_words(status)), None)),
        Some(End::NotStarted(failure)) => {
            let message = format!("`{what}` could not be started: {}", failure.message);
            Err(failed(message, failure.suggestion))
        }
    }
}

/// Notes how a fill has ended. `None`: it was killed, and may have come as far as anything.
fn settle(notes: &mut Notes, filled: Filled, end: Option<&End>) {
    let folder = &filled.folder;
    let is_known = match end {
        Some(End::Exited(ExitStatus::Code(0))) => return notes.filled(filled),
        Some(End::Exited(ExitStatus::Code(_)) | End::NotStarted(_)) => true,
        _ => false,
    };
    let is_begun = notes.source(folder).is_some_and(|known| known.begun);
    let came_to_nothing = is_empty(folder).unwrap_or(false) || is_torn(folder) || is_known;
    if is_begun && came_to_nothing && !folder.join(WHOLE).exists() {
        notes.not_filled(folder);
    }
}

/// A fill that was killed on its way has left something, so that what else is there is somebody's.
fn is_torn(folder: &Path) -> bool {
    folder.join(UNFINISHED).exists() || beside(folder).exists()
}

/// Writes those that are not what they should be: whether there were any. `live`: only those that are reloaded.
pub fn write_files(service: &Service, ids: Option<&Ids>, live: bool) -> Result<bool, String> {
    let files = service.files.iter().filter(|(_, file)| !live || file.reload);
    if let Some((path, _)) = files
        .clone()
        .find(|(_, file)| OutputName::all_in(&file.content).next().is_some())
    {
        return Err(format!(
            "{path} can't be written: it names an output that this run was not given; a restart gives it"
        ));
    }
    let write = || {
        let mut changed = false;
        for (path, file) in files {
            let path = Path::new(path);
            changed |= write_file(path, file.content.as_bytes(), service)
                .map_err(|error| format!("{} can't be written: {error}", path.display()))?;
        }
        Ok(changed)
    };
    match ids.filter(|ids| ids.uid != nix::unistd::Uid::effective().as_raw()) {
        None => write(),
        Some(ids) => sys::rights::with_those_of(ids, write)
            .unwrap_or_else(|error| Err(format!("files can't be written as user {}: {error}", ids.uid))),
    }
}

fn write_file(path: &Path, content: &[u8], service: &Service) -> io::Result<bool> {
    let metadata = path.metadata();
    if metadata.as_ref().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other("it is no regular file"));
    }
    let is_same_size = metadata.is_ok_and(|metadata| metadata.len() == content.len() as u64);
    if is_same_size && std::fs::read(path)? == content {
        return Ok(false);
    }
    // As the service would make it.
    let umask = service.umask.unwrap_or(DEFAULT_UMASK);
    if let Some(folder) = path.parent() {
        sys::files::create_folders(folder, 0o777 & !umask)?;
    }
    sys::files::replace_as(path, content, Some(0o666 & !umask))?;
    Ok(true)
}

/// What is noted until it is known how it ended: nobody may see that.
fn meanwhile(verb: &str, filled: &Filled) -> Option<Filled> {
    let filled = filled.clone();
    match verb {
        // What appears while nobody looks is known to be ours, whatever was there before.
        "git" | "archive" => Some(Filled { begun: true, ..filled }),
        // One that ended halfway is at no revision that anybody asks for: the next start checks out again.
        "checkout" => {
            let url = filled.from.split(" at ").next().unwrap_or_default();
            let from = format!("{url} at an unknown revision");
            Some(Filled { from, ..filled })
        }
        _ => None,
    }
}

/// Or not there. What a try has left that was killed is nobody's.
fn is_empty(folder: &Path) -> io::Result<bool> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == UNFINISHED))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn plan_to_fill(service: &Service, notes: &mut Notes) -> Fill {
    let Some(source) = &service.source else {
        return Fill::Nothing;
    };
    let folder = &service.working_dir;
    let is_empty = match is_empty(folder) {
        Ok(is_empty) => is_empty,
        Err(error) => return Fill::Refused(failed(format!("{}: {error}", folder.display()), None)),
    };
    let target = folder.display().to_string();
    let mut known = notes.source(folder).cloned().filter(|known| !known.begun || !is_empty);
    if let Some(begun) = known.clone().filter(|known| known.begun) {
        let is_whole = folder.join(WHOLE).exists();
        let done = Filled { begun: false, ..begun };
        if is_whole {
            return Fill::With(vec!["finish".to_owned(), target], done);
        }
        if is_torn(folder) {
            notes.not_filled(folder);
            known = None;
        } else {
            // Its end was not seen, but it appeared, and only what is whole does.
            notes.filled(done);
        }
    }
    let from = source.text();
    let archive = match source {
        Source::Git { .. } => None,
        Source::Archive(path) => match notes.archive(path) {
            Ok(archive) => Some(archive),
            // What it held is there.
            Err(_) if !is_empty => return Fill::Nothing,
            Err(error) => {
                let hint = "`source.archive` is relative to the file that names it".to_owned();
                return Fill::Refused(failed(format!("the archive can't be read: {error}"), Some(hint)));
            }
        },
    };
    let is_same = known.as_ref().is_some_and(|known| {
        known.from == from
            && known.archive.as_ref().map(|known| known.content()) == archive.as_ref().map(|now| now.content())
    });
    let filled = Filled {
        folder: folder.clone(),
        from: from.clone(),
        archive,
        begun: false,
    };
    match (source, known) {
        (Source::Git { url, rev }, _) if is_empty => {
            let rev = rev.clone().unwrap_or_default();
            Fill::With(vec!["git".to_owned(), target, url.clone(), rev], filled)
        }
        (Source::Archive(path), _) if is_empty => {
            Fill::With(vec!["archive".to_owned(), target, path.display().to_string()], filled)
        }
        (_, Some(_)) if is_same => Fill::Nothing,
        // Filled by somebody else: theirs to keep.
        (_, None) => Fill::Nothing,
        (Source::Git { url, rev: Some(rev) }, Some(known))
            if known.from.split(" at ").next() == from.split(" at ").next() =>
        {
            Fill::With(vec!["checkout".to_owned(), target, url.clone(), rev.clone()], filled)
        }
        (_, Some(known)) => {
            let now = if known.from == from {
                "and that has changed since"
            } else {
                "and another one is wanted"
            };
            let message = format!(
                "{target} was filled from {}, {now}: nothing in it is overwritten",
                known.from
            );
            let hint = format!("look whether anything in it is worth keeping, then delete {target}: it is filled anew");
            Fill::Refused(failed(message, Some(hint)))
        }
    }
}

/// Our own program, also where its file was replaced meanwhile: it is the guardian that executes it.
fn own_program() -> String {
    if cfg!(target_os = "linux") {
        return "/proc/self/exe".to_owned();
    }
    let program = std::env::current_exe().unwrap_or_default();
    program.display().to_string()
}

/// A command as people know it: what the shell is given, without the shell.
fn words_of(command: &Argv) -> String {
    match (command.shell, command.words.last()) {
        (true, Some(text)) => text.clone(),
        _ => command.words.join(" "),
    }
}

fn failed(message: String, suggestion: Option<String>) -> Failure {
    Failure {
        reason: Reason::PrepareFailed,
        message,
        suggestion,
    }
}

pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // The runtime ends, and so do we.
        Err(error) if error.is_cancelled() => std::future::pending().await,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::sim::build;

    #[test]
    fn a_folder_that_appeared_while_nobody_looked_is_ours_and_what_only_began_is_begun_again() {
        let bed = tempfile::tempdir().unwrap();
        let folder = bed.path().join("site");
        let git = |url: &str| {
            let url = url.to_owned();
            let source = Some(Source::Git { url, rev: None });
            Service {
                working_dir: folder.clone(),
                source,
                ..build::service("web")
            }
        };
        let notes = || Notes::read(Some(bed.path()), &git("a").name);
        let plan = |url: &str| match plan_to_fill(&git(url), &mut notes()) {
            Fill::Nothing => "nothing".to_owned(),
            Fill::With(words, _) => words[0].clone(),
            Fill::Refused(failure) => failure.message,
        };
        let filled = |begun| Filled {
            folder: folder.clone(),
            from: git("a").source.unwrap().text(),
            archive: None,
            begun,
        };
        assert_eq!(plan("a"), "git");
        notes().filled(filled(true));
        assert_eq!(plan("a"), "git", "it did not appear");
        std::fs::create_dir_all(folder.join(UNFINISHED)).unwrap();
        assert_eq!(plan("a"), "git", "what a killed one has left is nothing");
        std::fs::rename(folder.join(UNFINISHED), folder.join(WHOLE)).unwrap();
        assert_eq!(plan("b"), "finish", "it is whole, though not in its place");
        std::fs::remove_dir(folder.join(WHOLE)).unwrap();
        std::fs::write(folder.join("page"), "").unwrap();
        assert_eq!(plan("a"), "nothing");
        assert!(!notes().source(&folder).unwrap().begun);
        assert!(plan("b").contains("another one is wanted"));
        notes().not_filled(&folder);
        assert_eq!(plan("b"), "nothing", "somebody else's");
    }

    #[test]
    fn what_somebody_puts_where_a_fill_came_to_nothing_is_theirs() {
        let bed = tempfile::tempdir().unwrap();
        let folder = bed.path().join("site");
        let service = Service {
            working_dir: folder.clone(),
            source: Some(Source::Git {
                url: "a".to_owned(),
                rev: None,
            }),
            ..build::service("web")
        };
        let notes = || Notes::read(Some(bed.path()), &service.name);
        let filled = |begun| Filled {
            folder: folder.clone(),
            from: service.source.as_ref().unwrap().text(),
            archive: None,
            begun,
        };
        let is_ours = || {
            assert!(matches!(plan_to_fill(&service, &mut notes()), Fill::Nothing));
            notes().source(&folder).is_some_and(|filled| !filled.begun)
        };
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("page"), "").unwrap();
        // Killed with the daemon: what it had made so far is still there.
        for torn in [beside(&folder), folder.join(UNFINISHED)] {
            notes().filled(filled(true));
            std::fs::create_dir(&torn).unwrap();
            assert!(!is_ours(), "{}", torn.display());
            std::fs::remove_dir(&torn).unwrap();
        }
        // It has failed by itself, and says so.
        let exited = |code| Some(End::Exited(ExitStatus::Code(code)));
        notes().filled(filled(true));
        settle(&mut notes(), filled(false), exited(1).as_ref());
        assert!(!is_ours());
        // Nobody knows how far it came.
        notes().filled(filled(true));
        settle(&mut notes(), filled(false), None);
        assert!(is_ours());
        // It goes on with what is whole.
        notes().filled(filled(true));
        std::fs::create_dir(folder.join(WHOLE)).unwrap();
        settle(&mut notes(), filled(false), exited(1).as_ref());
        assert!(notes().source(&folder).unwrap().begun);
        settle(&mut notes(), filled(false), exited(0).as_ref());
        assert!(!notes().source(&folder).unwrap().begun);
        // Another revision that can't be had changes nothing.
        std::fs::remove_dir(folder.join(WHOLE)).unwrap();
        settle(&mut notes(), filled(false), exited(1).as_ref());
        assert!(is_ours());
    }
    #[test]
    fn a_checkout_that_ended_halfway_is_done_again_whatever_is_asked_for() {
        let bed = tempfile::tempdir().unwrap();
        let folder = bed.path().join("site");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("page"), "").unwrap();
        let at = |rev: &str| Source::Git {
            url: "https://a.b/c".to_owned(),
            rev: Some(rev.to_owned()),
        };
        let service = |rev: &str| Service {
            working_dir: folder.clone(),
            source: Some(at(rev)),
            ..build::service("web")
        };
        let notes = || Notes::read(Some(bed.path()), &service("v1").name);
        let filled = |rev: &str| Filled {
            folder: folder.clone(),
            from: at(rev).text(),
            archive: None,
            begun: false,
        };
        let is_due = |rev: &str| matches!(plan_to_fill(&service(rev), &mut notes()), Fill::With(words, _) if words[0] == "checkout");
        notes().filled(filled("v1"));
        assert!(!is_due("v1") && is_due("v2"));
        notes().filled(meanwhile("checkout", &filled("v2")).unwrap());
        assert!(is_due("v1") && is_due("v2"));
    }
}
