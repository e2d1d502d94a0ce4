//! Other hosts, to which VMs of this one may move. The management service says who and where they are.

use std::time::Duration;

use podzol_agent_api::vm::{MoveChannel, MoveStream};
use podzol_rpc::{AddressBook, Bytes, CallError, Client, PeerId};
use podzol_vocab::{HostId, VmId};

/// How long another host may take to begin a stream.
const OPENS: Duration = Duration::from_secs(15);

/// Speaks to other hosts. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Peers {
    client: Client,
    book: AddressBook,
}

impl Peers {
    /// Speaks through this client, which finds peers in this book.
    pub fn new(client: Client, book: AddressBook) -> Self {
        Self { client, book }
    }

    /// Opens a stream for a VM that moves to a host, whose agent listens at this address.
    pub(crate) async fn open(
        &self,
        host: HostId,
        address: &str,
        vm: VmId,
        channel: MoveChannel,
    ) -> Result<impl Bytes + use<>, CallError> {
        self.book.set(PeerId::Host(host), address);
        self.client.open::<MoveStream>(PeerId::Host(host), &(vm, channel), OPENS).await
    }
}
