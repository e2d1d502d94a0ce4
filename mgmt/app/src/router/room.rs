//! Whether an account's router has room for what comes into its networks.
//!
//! A router has names, addresses, user data and keys of all VMs in its memory, and refuses a document that has more than fits.
//! So it is refused here, to whom it would be too much, and not there, where it would keep every other rule from coming into
//! force. What is there already is counted in memory, so that the four-thousandth VM costs what the first did.
//!
//! The texts of all VMs of the account in the zone are counted, in whatever network they are: one gets into another by a
//! network interface.

use podzol_appliance_api::limits::{MAX_TEXTS, MAX_VMS};
use podzol_mgmt_api::vm::VmCreate;
use podzol_mgmt_db::{Reader, network, vm};
use podzol_vocab::{AccountId, ByteSize, ZoneId};

use crate::AppError;

/// What comes into networks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coming<'a> {
    pub(crate) account: AccountId,
    pub(crate) zone: ZoneId,
    /// The network of each interface.
    pub(crate) networks: &'a [network::Model],
    /// How many bytes the VM's user data and keys have.
    pub(crate) texts_bytes: i64,
    /// How many of them are not counted yet: all, or none.
    pub(crate) more_bytes: i64,
}

/// How many bytes the user data and the keys of a new VM have.
pub(crate) fn texts_bytes(body: &VmCreate) -> i64 {
    let keys: usize = body.ssh_keys.iter().map(String::len).sum();
    (keys + body.user_data.as_ref().map_or(0, |data| data.expose().len())) as i64
}

/// Refuses what is more than the account's router can have.
pub(crate) async fn must_have_room(db: &impl Reader, coming: Coming<'_>) -> Result<(), AppError> {
    let more = coming.networks.iter().filter(|network| network.has_router).count() as u64;
    if more == 0 {
        return Ok(());
    }
    let served = network::with_router(db, coming.account, coming.zone).await?;
    let (nics, texts) = {
        let ledger = db.ledger();
        // With the gateways' addresses, of which there are a few.
        let nics: u64 = served.iter().map(|network| ledger.addresses_in_use(network.id.0)).sum();
        (nics, ledger.texts_bytes(coming.account, coming.zone) + coming.more_bytes)
    };
    match what_is_too_much(nics, more, coming.texts_bytes, texts) {
        None => Ok(()),
        Some(detail) => Err(AppError::Exhausted { code: "router_full", detail, reasons: vec![] }),
    }
}

/// What would be too much, with so many interfaces more than there are, and so many bytes of one's own among all.
fn what_is_too_much(nics: u64, more: u64, own: i64, texts: i64) -> Option<String> {
    if nics + more > MAX_VMS as u64 {
        return Some(format!(
            "the account's router in the zone serves at most {MAX_VMS} network interfaces: there are {nics}, and {more} \
             more are too many"
        ));
    }
    if own == 0 || texts <= MAX_TEXTS as i64 {
        return None;
    }
    let [most, own, texts] = [MAX_TEXTS as u64, own as u64, texts as u64].map(ByteSize);
    Some(format!(
        "the account's router in the zone keeps at most {most} of user data and SSH keys of all VMs: with this one's {own} \
         there would be {texts}"
    ))
}

/// As [`must_have_room`], for an interface of a VM that is there.
pub(crate) async fn must_have_room_for_nic(
    db: &impl Reader,
    row: &vm::Model,
    network: &network::Model,
) -> Result<(), AppError> {
    let coming = Coming {
        account: row.account_id.0,
        zone: row.zone_id.0,
        networks: std::slice::from_ref(network),
        texts_bytes: row.texts_bytes,
        more_bytes: 0,
    };
    must_have_room(db, coming).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_has_as_much_as_its_document_may_hold_and_not_more() {
        const TEXTS: i64 = MAX_TEXTS as i64;
        assert_eq!(what_is_too_much(4095, 1, 9, TEXTS), None);
        assert!(what_is_too_much(4095, 2, 9, 9).unwrap().contains("there are 4095, and 2 more"));
        assert!(what_is_too_much(1, 1, 65_536, TEXTS + 1).unwrap().contains("at most 8.0 MiB"));
        // Who brings nothing is kept from nothing.
        assert_eq!(what_is_too_much(1, 1, 0, TEXTS + 1), None);
    }
}
