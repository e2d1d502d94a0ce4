//! Changes of links and addresses as they happen (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR).

use futures_util::StreamExt;
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::watch;

use crate::links::{Error, Watch};

/// Counts the kernel's messages until nobody watches. What they say does not matter, nor that some were lost, which
/// is a message too.
pub(super) fn watch() -> Result<Watch, Error> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut messages) = new_multicast_connection(&groups).map_err(Error::Open)?;
    let (changed, watch) = watch::channel(0);
    let connection = tokio::spawn(connection).abort_handle();
    tokio::spawn(async move {
        let _open = handle;
        loop {
            tokio::select! {
                () = changed.closed() => break,
                message = messages.next() => match message {
                    Some(_) => changed.send_modify(|count| *count += 1),
                    None => break,
                },
            }
        }
        connection.abort();
    });
    Ok(Watch(watch))
}
