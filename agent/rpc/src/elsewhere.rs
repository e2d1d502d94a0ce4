//! Where routers and console proxies are in a simulation: the network that their addresses are on is simulated too, so each says here where it
//! really answers.
//!
//! As for [`crate::weather`], there is one such list for all clients of a process. Until [`simulate`] was called there is
//! none, and address books alone count: what is built together with tests has this module, and may speak to real routers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use crate::peer::PeerId;

/// Where nobody answers, and the caller hears so at once: the port of a protocol that nobody uses any more (RFC 1078).
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

type Routers = BTreeMap<PeerId, SocketAddr>;

static ROUTERS: RwLock<Option<Routers>> = RwLock::new(None);

/// Has all routers be simulated from now on: one that does not say where it answers is dead.
pub fn simulate() {
    ROUTERS.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
}

/// Has a router answer at this address, until the answer is dropped or the same router answers at another. All routers are
/// simulated from now on.
pub fn answers(router: PeerId, address: SocketAddr) -> Answers {
    let mut routers = ROUTERS.write().unwrap_or_else(PoisonError::into_inner);
    routers.get_or_insert_default().insert(router, address);
    Answers { router, address }
}

/// That a router answers at an address.
#[derive(Debug)]
#[must_use = "it answers until this is dropped"]
pub struct Answers {
    router: PeerId,
    address: SocketAddr,
}

impl Drop for Answers {
    fn drop(&mut self) {
        let mut routers = ROUTERS.write().unwrap_or_else(PoisonError::into_inner);
        let Some(routers) = routers.as_mut() else { return };
        if routers.get(&self.router) == Some(&self.address) {
            routers.remove(&self.router);
        }
    }
}

/// Where to connect to for a name, if it is that of a simulated router.
pub(crate) fn find(name: &str) -> Option<SocketAddr> {
    look_up(ROUTERS.read().unwrap_or_else(PoisonError::into_inner).as_ref(), name)
}

fn look_up(routers: Option<&Routers>, name: &str) -> Option<SocketAddr> {
    match (routers, name.parse()) {
        (Some(routers), Ok(router @ (PeerId::Router(_) | PeerId::ConsoleProxy(_)))) => {
            Some(*routers.get(&router).unwrap_or(&NOBODY))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use podzol_vocab::{HostId, VmId};

    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    #[test]
    fn a_router_is_where_it_said_last_until_it_goes() {
        let router = PeerId::Router(VmId::new());
        let found = || find(&router.to_string());
        let first = answers(router, at(1001));
        assert_eq!(found(), Some(at(1001)));

        let second = answers(router, at(1002));
        drop(first);
        assert_eq!(found(), Some(at(1002)));

        drop(second);
        assert_eq!(found(), Some(NOBODY));
    }

    #[test]
    fn address_books_alone_count_for_others_and_where_nothing_is_simulated() {
        let (router, host) = (PeerId::Router(VmId::new()), PeerId::Host(HostId::new()));
        let routers = Routers::from([(router, at(1001))]);
        assert_eq!(look_up(Some(&routers), &router.to_string()), Some(at(1001)));
        assert_eq!(look_up(None, &router.to_string()), None);
        for other in [&host.to_string(), "management.podzol.internal", "localhost"] {
            assert_eq!(look_up(Some(&routers), other), None, "{other}");
        }
    }
}
