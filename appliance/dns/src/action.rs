//! What the server wants its caller to do, and who it speaks with.

use std::net::SocketAddr;

use podzol_appliance_api::Transport;
use podzol_vocab::NetworkId;

/// Where a query came from, and where its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The network on whose link it arrived.
    pub network: NetworkId,
    /// Its address and port. With TCP they are the connection's.
    pub address: SocketAddr,
    /// Whether it came over UDP or TCP.
    pub transport: Transport,
}

/// How an answer of a forwarder came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// As a packet to one of the sockets for [`Action::Forward`].
    Udp {
        /// Which one.
        socket: u8,
    },
    /// On the connection made for [`Action::ForwardTcp`].
    Tcp,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the packet deserves no answer, or its answer comes later.
    Drop,
    /// Send a client its answer. Over TCP the two bytes of length come before it (RFC 1035, 4.2.2), here as below.
    Answer {
        /// Whose it is.
        to: Client,
        /// The packet.
        bytes: Vec<u8>,
    },
    /// Ask a forwarder over UDP.
    Forward {
        /// The forwarder, with its port.
        to: SocketAddr,
        /// The id in the packet.
        id: u16,
        /// Which of the caller's sockets to send it from, below [`Limits::sockets`](crate::Limits::sockets). Each
        /// should have a random port: it is as hard to guess as the id.
        socket: u8,
        /// The packet.
        bytes: Vec<u8>,
    },
    /// Ask a forwarder over TCP, on a connection of its own, for its answer over UDP was cut. A connection that fails
    /// needs no word: the question is asked again in time.
    ForwardTcp {
        /// The forwarder, with its port.
        to: SocketAddr,
        /// The id in the packet.
        id: u16,
        /// The packet, without its length before it.
        bytes: Vec<u8>,
    },
}
