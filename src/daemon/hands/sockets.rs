//! The sockets that are bound for services: opened with the first start, handed over to every run, closed when the service
//! comes to rest. The guardian holds each of them as well, and hands it back to the daemon after us.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::Hands;
use crate::guardian::orders::{Identity, Launch, Order};
use crate::reconcile::{Failure, Reason};
use crate::spec::{Project, Service, ServiceName};
use crate::sys::ports::PortTrouble;
use crate::sys::sockets::{self, BoundTo};
use crate::sys::{identity, pidfd};

/// What is held, and what the definition in force wants to be.
#[derive(Default)]
pub struct Sockets {
    held: Vec<Held>,
    declared: Vec<BoundTo>,
}

struct Held {
    to: BoundTo,
    descriptor: OwnedFd,
    /// Whoever started runner has bound it: it is never closed.
    given: bool,
    /// Nobody: no definition has said yet whose it is.
    owner: Option<ServiceName>,
}

impl Sockets {
    pub(super) fn holds(&self, to: BoundTo) -> bool {
        self.held.iter().any(|held| held.to == to)
    }

    fn give_to(&mut self, to: BoundTo, owner: &ServiceName) {
        for held in self.held.iter_mut().filter(|held| held.to == to) {
            held.owner = Some(owner.clone());
        }
    }

    /// Takes out what is ours and is not to stay; where it was bound.
    fn take_out(&mut self, stays: impl Fn(&Held) -> bool) -> Vec<BoundTo> {
        let gone = self.held.extract_if(.., |held| !held.given && !stays(held));
        gone.map(|held| held.to).collect()
    }
}

impl Hands {
    /// What the guardian has held, and which of it was given to runner.
    pub fn inherit_sockets(&mut self, sockets: Vec<(OwnedFd, bool)>) {
        for (descriptor, given) in sockets {
            if let Some(to) = BoundTo::of(descriptor.as_fd()) {
                self.sockets.held.push(Held {
                    to,
                    descriptor,
                    given,
                    owner: None,
                });
            }
        }
    }

    /// For the next guardian: ours, and those that were given to runner.
    pub fn held_sockets(&self) -> (Vec<RawFd>, Vec<RawFd>) {
        let numbers = |given| {
            let held = self.sockets.held.iter().filter(move |held| held.given == given);
            held.map(|held| held.descriptor.as_raw_fd()).collect()
        };
        (numbers(false), numbers(true))
    }

    /// Services that have sockets.
    pub fn socket_owners(&self) -> Vec<ServiceName> {
        let mut owners: Vec<ServiceName> = self.sockets.held.iter().filter_map(|held| held.owner.clone()).collect();
        owners.dedup();
        owners
    }

    /// A definition comes into force: what it does not want is closed before anything is stopped, so that nothing of it is left
    /// when the process that uses it has ended. What another service wants now changes hands.
    pub fn declare_sockets(&mut self, project: &Project) {
        let services = || project.services.values();
        let all = services().flat_map(|service| {
            service
                .socket_ports()
                .map(|(_, port)| (BoundTo::from(port), &service.name))
        });
        let declared: Vec<(BoundTo, &ServiceName)> = all.collect();
        for (to, owner) in &declared {
            self.sockets.give_to(*to, owner);
        }
        self.sockets.declared = declared.iter().map(|(to, _)| *to).collect();
        let moved = self.moved.clone();
        let is_moved = |held: &Held| {
            let ports = held.owner.as_ref().and_then(|owner| moved.get(owner));
            let sockets = held
                .owner
                .as_ref()
                .and_then(|owner| project.services.get(owner))
                .map(|service| &service.sockets);
            ports.zip(sockets).is_some_and(|(ports, sockets)| {
                ports
                    .iter()
                    .any(|(name, number)| *number == held.to.number && sockets.contains(name))
            })
        };
        let declared = self.sockets.declared.clone();
        self.close(|held| declared.contains(&held.to) || is_moved(held));
    }

    /// It has come to rest: nobody is to queue for it.
    pub fn close_sockets_of(&mut self, service: &ServiceName) {
        for held in &self.sockets.held {
            if held.owner.as_ref() == Some(service) && !held.given {
                // At once, and not when the guardian has closed it too: the next start may be as quick as that.
                sockets::refuse_all(held.descriptor.as_fd());
            }
        }
        self.close(|held| held.owner.as_ref() != Some(service));
    }

    /// Makes sure that all ports of a service that is about to start can be had: those that it binds itself are free, the
    /// others are bound. `Some`: what is in the way.
    pub(super) fn secure_ports(&mut self, service: &Service) -> Result<Option<PortTrouble>, Failure> {
        if let Some(trouble) = self.port_trouble(service) {
            return Ok(Some(trouble));
        }
        for (name, port) in service.socket_ports() {
            let to = BoundTo::from(port);
            if !self.sockets.holds(to) {
                let bound = sockets::bind(to).map_err(|error| Failure {
                    reason: Reason::OutOfResources,
                    message: format!("its socket `{name}` (port {}) could not be bound: {error}", to.number),
                    suggestion: None,
                })?;
                match bound {
                    Ok(socket) => self.hold(to, socket, &service.name),
                    Err(trouble) => return Ok(Some(trouble)),
                }
            }
            self.sockets.give_to(to, &service.name);
        }
        // Where it was moved to the last time, and is no more.
        let wanted: Vec<BoundTo> = service.socket_ports().map(|(_, port)| port.into()).collect();
        let declared = self.sockets.declared.clone();
        self.close(|held| {
            held.owner.as_ref() != Some(&service.name) || wanted.contains(&held.to) || declared.contains(&held.to)
        });
        Ok(None)
    }

    /// As sd_listen_fds(3) tells a process; its own number is added by the process that it becomes.
    pub(super) fn hand_over_sockets(&self, service: &Service, launch: &mut Launch) {
        launch.sockets = service.socket_ports().map(|(_, port)| port.into()).collect();
        if launch.sockets.is_empty() {
            return;
        }
        launch.env.retain(|entry| !entry.starts_with(b"LISTEN_"));
        let names: Vec<&str> = service.socket_ports().map(|(name, _)| name).collect();
        launch.env.push(format!("LISTEN_FDS={}", names.len()).into_bytes());
        launch
            .env
            .push(format!("LISTEN_FDNAMES={}", names.join(":")).into_bytes());
    }

    /// Of a service that runs already: what nobody has held for us is copied from its process.
    pub(super) fn adopt_sockets(&mut self, service: &Service, main: Option<&Identity>) {
        for (name, port) in service.socket_ports() {
            let to = BoundTo::from(port);
            if self.sockets.holds(to) {
                self.sockets.give_to(to, &service.name);
                continue;
            }
            let Some(main) = main else { continue };
            let copied = pidfd::open(main.pid).and_then(|process| {
                match identity::is_held(main.clone().into(), process.as_fd()) {
                    true => sockets::copy_from(process.as_fd(), main.pid, to),
                    false => Err(std::io::ErrorKind::NotFound.into()),
                }
            });
            match copied {
                Ok(socket) => self.hold(to, socket, &service.name),
                Err(error) => {
                    let words = format!(
                        "its socket `{name}` (port {}) can't be taken over from process {}: {error}; it is bound anew at the next restart, and connections are refused for that moment",
                        to.number, main.pid
                    );
                    self.troubles.push((service.name.clone(), words));
                }
            }
        }
    }

    fn hold(&mut self, to: BoundTo, descriptor: OwnedFd, owner: &ServiceName) {
        self.order(&Order::HoldSocket, &[descriptor.as_fd()]);
        self.sockets.held.push(Held {
            to,
            descriptor,
            given: false,
            owner: Some(owner.clone()),
        });
    }

    fn close(&mut self, stays: impl Fn(&Held) -> bool) {
        for to in self.sockets.take_out(stays) {
            self.order(&Order::CloseSocket(to), &[]);
        }
    }
}
