//! One control group for each service, where they can be made: from the fork to the release.
//!
//! It adds to what there is anyway, it replaces nothing: whatever fails here, process group and sweep still hold.

use std::os::fd::AsRawFd;

use super::guard::Guard;
use super::orders::Ticket;
use crate::fault::point;
use crate::sys::cgroup::{self, Group, Home};
use crate::sys::spawn::{Forked, Image, Refusal};

#[derive(Debug)]
pub(super) struct Cgroups {
    home: Option<Home>,
    /// What earlier lives of this project have left was removed.
    cleaned: bool,
    /// It was said that it does not work.
    complained: bool,
    /// Let go with somebody still inside, as `stop_scope` may want it.
    lingering: Vec<Group>,
}

impl Cgroups {
    /// Finds out what there is; leaves the group of the service that we were started in.
    pub(super) fn find() -> Cgroups {
        let home = Home::find().ok().filter(|home| home.move_in().is_ok());
        Cgroups {
            home,
            ..Cgroups::none()
        }
    }

    pub(super) fn none() -> Cgroups {
        Cgroups {
            home: None,
            cleaned: false,
            complained: false,
            lingering: Vec::new(),
        }
    }

    pub(super) fn without_kill(self) -> Cgroups {
        Cgroups {
            home: self.home.map(Home::without_kill),
            ..self
        }
    }

    /// One that another guardian made, if it is still there.
    pub(super) fn known(&self, name: &str) -> Option<Group> {
        let group = self.home.as_ref()?.group(name).ok()?;
        group.watch().is_ok().then_some(group)
    }

    /// The end of a launch is the end of its group, as soon as nobody is in it.
    pub(super) fn let_go(&mut self, group: Group) {
        self.lingering.push(group);
        self.clear();
    }

    fn clear(&mut self) {
        self.lingering.retain(|group| !group.remove());
    }
}

impl Guard {
    /// Forks a child that is in its group before it executes anything. Without a group where that fails.
    pub(super) fn fork_into(
        &mut self,
        image: &mut Image,
        name: Option<&str>,
    ) -> Result<(Forked, Option<Group>), Refusal> {
        let group = name.and_then(|name| self.make_group(name));
        let folder = group.as_ref().and_then(|group| group.open().ok());
        image.cgroup = folder.as_ref().map(AsRawFd::as_raw_fd);
        let forked = self.forker.fork(image);
        image.cgroup = None;
        let Some(group) = group else {
            return Ok((forked?, None));
        };
        let entered = forked.as_ref().map(|forked| match forked.in_cgroup {
            true => Ok(()),
            false => group.admit(forked.pid),
        });
        match entered {
            Ok(Ok(())) => return Ok((forked?, Some(group))),
            Ok(Err(error)) => self.complain(&format!("a process could not enter its control group: {error}")),
            Err(_) => {}
        }
        self.cgroups.let_go(group);
        Ok((forked?, None))
    }

    /// At our end; those with somebody inside stay.
    pub(super) fn leave_cgroups(&mut self) {
        for held in self.held.values_mut() {
            if let Some(group) = held.cgroup.take() {
                self.cgroups.let_go(group);
            }
        }
        self.cgroups.clear();
    }

    fn make_group(&mut self, name: &str) -> Option<Group> {
        let home = self.cgroups.home.as_ref()?;
        match home.make(name) {
            Ok(group) => {
                point!("guardian.cgroup-made");
                if !std::mem::replace(&mut self.cgroups.cleaned, true) {
                    home.clean_beside(&group);
                }
                Some(group)
            }
            Err(error) => {
                self.complain(&format!("the control group {name} could not be made: {error}"));
                None
            }
        }
    }

    fn complain(&mut self, what: &str) {
        if !std::mem::replace(&mut self.cgroups.complained, true) {
            self.note(&format!("{what}; process group and sweep have to do"));
        }
    }

    pub(super) fn is_populated(&self, ticket: Ticket) -> bool {
        self.group_of(ticket).is_some_and(Group::is_populated)
    }

    pub(super) fn members(&self, ticket: Ticket) -> Vec<u32> {
        self.group_of(ticket).map(Group::members).unwrap_or_default()
    }

    pub(super) fn kill_cgroup(&mut self, ticket: Ticket) {
        if let Some(Err(error)) = self.group_of(ticket).map(Group::kill) {
            self.complain(&format!("a control group was not killed: {error}"));
        }
    }

    fn group_of(&self, ticket: Ticket) -> Option<&Group> {
        self.held.get(&ticket)?.cgroup.as_ref()
    }

    /// Only the last of them ends it, and that one need not be a child of ours.
    pub(super) fn await_emptiness(&mut self, ticket: Ticket) {
        let Some(events) = self.group_of(ticket).and_then(|group| group.watch().ok()) else {
            return;
        };
        self.watch_emptying(&events, ticket);
        if let Some(held) = self.held.get_mut(&ticket) {
            held.emptying = Some(events);
        }
    }

    pub(super) fn cgroup_changed(&mut self, ticket: Ticket) {
        let events = self.held.get(&ticket).and_then(|held| held.emptying.as_ref());
        // Read, or it is reported again at once.
        if events.is_some_and(|events| !cgroup::says_populated(events)) {
            self.reaped = true;
        }
    }

    /// The launch whose control group a process is in.
    pub(super) fn by_cgroup(&self, pid: u32) -> Option<Ticket> {
        let home = self.cgroups.home.as_ref()?;
        let group = home.group(&home.name_of(pid)?).ok()?;
        let held = self.held.values().find(|held| held.cgroup.as_ref() == Some(&group));
        held.map(|held| held.ticket)
    }
}
