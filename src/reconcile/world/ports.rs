//! Who declares and who holds a port.

use std::collections::{BTreeMap, BTreeSet};

use crate::reconcile::fact::ServiceId;
use crate::spec::{Protocol, Service};

pub(super) type PortKey = (u16, Transport);

/// `Protocol` with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

#[derive(Clone, Debug, Default)]
pub(super) struct PortUse {
    pub declared: BTreeSet<ServiceId>,
    pub held: BTreeMap<ServiceId, bool>,
}

impl From<Protocol> for Transport {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        }
    }
}

/// The ports that a definition claims, and whether others may hold them too.
pub(super) fn claims(spec: &Service) -> Vec<(PortKey, bool)> {
    spec.ports
        .values()
        .map(|port| ((port.number, port.protocol.into()), port.shared))
        .collect()
}
