//! Going on where an earlier daemon was: what it left is put together before anybody is answered.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::Daemon;
use crate::api::boot::Boot;
use crate::api::wire::{self, Refusal};
use crate::config::{Loaded, Problems};
use crate::daemon::book::Past;
use crate::daemon::link::Greeting;
use crate::daemon::rebirth::{Estate, Held};
use crate::daemon::recovery::Inherited;
use crate::daemon::run::definition::Purpose;
use crate::daemon::{rebirth, recovery};
use crate::fault::point;
use crate::guardian::errands;
use crate::guardian::orders::{Before, Order, Orphan, Report};
use crate::guardian::records::{self, Launched};
use crate::reconcile::{Author, Cause, Ends, ExitStatus, Wishes};

/// Who asks for an end as soon as it is known what there is.
const ENDS: &str = "runner down";

impl Daemon {
    /// Takes over what there is. Nothing was left where the project begins now.
    pub(super) async fn recover(&mut self, greeting: Greeting, past: Past) -> io::Result<()> {
        let Greeting {
            before,
            held,
            sockets,
            later,
            ..
        } = greeting;
        self.hands.inherit_sockets(sockets);
        let mut records = records::read_all(&self.boot.runtime_dir);
        for complaint in std::mem::take(&mut records.complaints) {
            self.warn(complaint);
        }
        self.keep_logs_out_of_what_is_gone(&mut records.launched);
        if records.of_later_version {
            return Err(io::Error::other(
                "services run that a later version of runner has started: use that one, or stop them with it",
            ));
        }
        let orphans = recovery::unheld(&records.launched, &held);
        let (held, later) = self.adopt_orphans(orphans, held, later).await?;
        let is_new = before.is_none() && !self.boot.goes_on;
        if is_new && held.is_empty() && past.session.is_none() && records.launched.is_empty() {
            if self.boot.ends {
                self.stop(Cause::new(Author::User, ENDS));
            }
            return Ok(());
        }
        if before.is_none() {
            // Of another guardian: what has begun is begun anew, and nothing runs twice at once.
            let instance = self.boot.location.key.clone();
            let ended = tokio::task::spawn_blocking(move || errands::end_left(&instance)).await;
            match ended.map_err(io::Error::other)? {
                0 => {}
                count => tracing::info!(count, "processes of hooks, steps and probes were left and are ended"),
            }
        }
        point!("daemon.witnesses-taken");
        let count = held.iter().filter(|one| one.holding.end.is_none()).count();
        self.tell_what_was(before.as_ref(), count);
        let (mut recollection, finds, moved) = recovery::recollect(&past, records.launched, held);
        recollection.cold = before.is_none() && !self.boot.goes_on;
        if self.boot.ends {
            recollection
                .ending
                .get_or_insert_with(|| Ends::asked(&Cause::new(Author::User, ENDS)));
        }
        self.world.recall(recollection);
        self.hands.inherit(finds, moved);
        for report in later {
            self.hands.take_report(report);
        }
        point!("daemon.recalled");
        self.recovering = true;
        self.read(Purpose::Recover);
        self.asked_meanwhile = before.is_some_and(|before| before.asked_to_end);
        Ok(())
    }

    /// What outlived guardian and daemon is put into the hands of the new guardian.
    async fn adopt_orphans(
        &mut self,
        records: Vec<&Launched>,
        mut held: Vec<Inherited>,
        mut later: Vec<Report>,
    ) -> io::Result<(Vec<Inherited>, Vec<Report>)> {
        // One that was begun anew holds spare descriptors until it has heard of all that is to be adopted.
        if records.is_empty() && !self.boot.goes_on {
            return Ok((held, later));
        }
        let orphans: Vec<Orphan> = records
            .into_iter()
            .filter_map(|launched| launched.orphan(self.hands.next_ticket(), &self.boot.runtime_dir))
            .collect();
        let guardian = self.hands.guardian();
        guardian.queue(&Order::Adopt(orphans), &[])?;
        while !guardian.flushed()? {
            guardian.sent().await;
        }
        let (adopted, more) = guardian.holdings(VecDeque::new()).await?;
        held.extend(adopted);
        later.extend(more);
        Ok((held, later))
    }

    /// A project folder that was deleted is not made again only for what its services still print.
    fn keep_logs_out_of_what_is_gone(&self, launched: &mut [Launched]) {
        let gone = &self.boot.location.dir;
        if gone.is_dir() {
            return;
        }
        for launched in launched {
            launched.remnant.log_elsewhere(gone, &self.boot.state_dir.join("logs"));
        }
    }

    fn tell_what_was(&mut self, before: Option<&Before>, count: usize) {
        let (services, run, runs) = match count {
            1 => ("1 service".to_owned(), "runs", "still runs"),
            count => (format!("{count} services"), "run", "still run"),
        };
        let message = match before {
            Some(before) if before.upgraded => format!(
                "runner is version {} now; {services} {run} on",
                env!("CARGO_PKG_VERSION")
            ),
            Some(before) => format!(
                "runner's daemon {} and was started again; {services} {run} on",
                ended(before.status)
            ),
            None if self.boot.goes_on => {
                format!("runner's guardian was killed and another one has taken its place; {services} {run} on")
            }
            None => format!("runner was killed and left its services; {services} {runs}"),
        };
        self.warn(message);
    }

    /// The files were read, if they could be.
    pub(super) fn recovered(&mut self, loaded: Option<Result<Loaded, Problems>>) {
        self.recovering = false;
        match loaded {
            Some(Ok(Loaded {
                project, mask, recipe, ..
            })) => {
                self.story.hide(mask);
                let cause = Cause::new(Author::File, "read again");
                self.configure(Arc::new(project), recipe, cause, None);
            }
            Some(Err(problems)) => {
                let cause = Cause::new(Author::File, "read again");
                self.reject(problems.to_string(), wire::problems(&problems), cause);
            }
            None => {}
        }
        point!("daemon.resumed");
        self.hands.release_what_is_over();
        point!("daemon.recovered");
        // Without a definition nothing is claimed, and all that is there has to be stopped as something unknown.
        let is_begun = self.world.is_ending() && self.definition.project.is_some();
        if std::mem::take(&mut self.asked_meanwhile) || self.stop_asked && !is_begun {
            self.stop_asked = false;
            self.stop(Cause::new(Author::Signal, "SIGTERM"));
        }
    }

    /// The guardian is gone: we become a fresh one. Comes back only where that fails; then services run on, for the next
    /// `up` to adopt.
    pub(super) fn be_reborn(&mut self, error: &io::Error) {
        tracing::error!(%error, "the guardian is gone: becoming another one");
        point!("daemon.guardian-missed");
        self.conclude();
        if !self.hands.end_what_is_unrecorded() {
            tracing::error!(
                "nothing can be written here, so another guardian would start a second one of what still runs"
            );
            self.lost = true;
            return;
        }
        let held = Held {
            spare: self.hands.hold_on(),
            sockets: self.hands.held_sockets(),
        };
        // What was read and not yet written is written.
        self.hands.stop_pump();
        point!("daemon.rebirth");
        let error = rebirth::become_guardian(&self.boot, &self.estate, &held);
        tracing::error!(%error, "could not become a guardian; services run on, `runner up` takes them over");
        self.lost = true;
    }

    /// What people asked for by hand outlives us. What is not on the disk is tried again with whatever happens next, and
    /// stands in the book so long.
    pub(super) fn keep_wishes(&mut self) {
        if self.stop_asked {
            self.session.wishes = Wishes::default();
            self.session.unkept = false;
            return self.store.clear();
        }
        self.session.wishes = self.world.wishes();
        match self.store.keep(&self.session.wishes) {
            Ok(()) => {
                if std::mem::take(&mut self.session.unkept) {
                    self.warn("what you asked for by hand is kept on the disk again".to_owned());
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.session.unkept, true) {
                    self.warn(format!(
                        "degraded: what you asked for by hand can't be kept on the disk: {error}"
                    ));
                }
            }
        }
    }

    /// Another program is to take our place.
    pub(super) fn upgrade(&mut self, request: wire::UpgradeRequest) -> Result<wire::UpgradeAnswer, Refusal> {
        let refused = |detail: String| Refusal::new(409, "can't be upgraded", detail);
        if self.is_ending() {
            return Err(Refusal::ending());
        }
        if request.state_version != wire::STATE_VERSION {
            let (theirs, ours) = (request.state_version, wire::STATE_VERSION);
            let mut refusal = refused(format!(
                "that version understands state {theirs}, and this runner keeps state {ours}"
            ));
            refusal.suggestion = Some("`runner down`, then `runner up` with the other version".to_owned());
            return Err(refusal);
        }
        if !self.drift().is_empty() {
            let mut refusal = refused(
                "edits wait that nobody has applied (`--no-reload`), and a daemon that takes over applies what stands in the file"
                    .to_owned(),
            );
            refusal.suggestion = Some("see `runner plan`; `runner up` applies them, then upgrade".to_owned());
            return Err(refusal);
        }
        let is_program = std::fs::metadata(&request.program)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        if !request.program.is_absolute() || !is_program {
            return Err(refused(format!("{} is no program", request.program.display())));
        }
        self.renewal = Some(request.program);
        Ok(wire::UpgradeAnswer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Writes what the next daemon has to know, before anything comes of it.
    pub(super) fn keep_book(&mut self) {
        if self.recovering {
            // What stands there is better than what we know yet.
            return;
        }
        let changed = self.world.remember();
        self.session.generation = self.world.generation();
        self.session.released = self.released;
        self.session.reload = self.definition.reload;
        self.session.exit = self.exit;
        self.session.exit_code_from.clone_from(&self.exit_code_from);
        self.session.stop_asked = self.stop_asked;
        self.session.ending = self.world.ending().cloned();
        let world = &self.world;
        let mask = self.story.mask();
        let hide = |text: &str| mask.text(text).into_owned();
        let written = self.book.write(&self.session, changed, || world.remember_all(), &hide);
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.forgetful) {
                    self.warn("what the next daemon has to know is written again".to_owned());
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.forgetful, true) {
                    self.warn(format!(
                        "degraded: what the next daemon has to know can't be written: {error}; supervision goes on"
                    ));
                }
            }
        }
    }
}

/// The guardian that was to give us what runs is gone itself: the next one tries again. Comes back where that is not so, or
/// where nothing ran yet.
pub(super) fn without_guardian(boot: &Boot, estate: &Estate, held: &Held, error: io::Error) -> io::Error {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    if !boot.goes_on || !matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) {
        return error;
    }
    tracing::error!(%error, "the guardian is gone before it was asked what runs: becoming another one");
    rebirth::become_guardian(boot, estate, held)
}

fn ended(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("ended with code {code}"),
        ExitStatus::Signal(signal) => format!("was killed by {signal}"),
        ExitStatus::Unknown => "was gone".to_owned(),
    }
}
