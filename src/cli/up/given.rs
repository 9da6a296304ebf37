//! Sockets that whoever started `up` has bound for its services (sd_listen_fds(3), systemd's socket units).

use std::os::fd::{AsFd, OwnedFd};

use crate::cli::terminal;
use crate::spec::{Project, Protocol};
use crate::sys::sockets::{self, BoundTo};

pub struct Given(Vec<(String, OwnedFd)>);

impl Given {
    pub fn take() -> Given {
        Given(sockets::passed_to_us())
    }

    /// Those that are bound to a port: they wait for the service that wants it, also where an edit comes to that later. Said:
    /// what nobody takes now, because its clients wait in vain.
    pub fn for_services(self, project: &Project) -> Vec<OwnedFd> {
        let wanted: Vec<BoundTo> = project
            .services
            .values()
            .flat_map(|service| service.socket_ports().map(|(_, port)| port.into()))
            .collect();
        let mut bound = Vec::new();
        for (name, descriptor) in self.0 {
            let Some(to) = BoundTo::of(descriptor.as_fd()) else {
                terminal::say(format_args!(
                    "warning: `{name}`, which was passed to runner (LISTEN_FDS), is bound to no TCP or UDP port and is not used"
                ));
                continue;
            };
            if !wanted.contains(&to) {
                let port = match to.protocol {
                    Protocol::Tcp => format!("port {}", to.number),
                    Protocol::Udp => format!("udp port {}", to.number),
                };
                terminal::say(format_args!(
                    "warning: nobody takes the socket `{name}` ({port}), which was passed to runner (LISTEN_FDS): no service names it in `sockets`"
                ));
            }
            bound.push(descriptor);
        }
        bound
    }
}
