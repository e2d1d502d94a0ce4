//! What an account may have at most, of everything that it can create.
//!
//! What it has is the sum of its rows, taken in the transaction that would add to it; so there is no counter that could
//! differ from what exists. Only accounts with a quota pay for the sum.

use podzol_mgmt_api::limits::{InUse, Quotas};
use podzol_mgmt_db::{Reader, account};
use podzol_vocab::ByteSize;

use crate::AppError;

/// What is told in bytes.
const STORAGE: &str = "storage";

/// Refuses what would give an account more than it may have.
pub(crate) async fn check(db: &impl Reader, account: &account::Model, more: InUse) -> Result<(), AppError> {
    let quotas = account.quotas.as_ref().map(|quotas| quotas.0).unwrap_or_default();
    let limits_nothing = Quotas { api_requests_per_second: None, ..quotas } == Quotas::default();
    if limits_nothing {
        return Ok(());
    }
    let reasons = exceeded(&quotas, &account::in_use(db, account.id.0).await?, &more);
    if reasons.is_empty() {
        return Ok(());
    }
    let detail = format!("account {} may not have that much", account.name.0);
    Err(AppError::Exhausted { code: "quota_exceeded", detail, reasons })
}

/// What of an account's quotas would be exceeded by more, in words.
fn exceeded(quotas: &Quotas, has: &InUse, more: &InUse) -> Vec<String> {
    let storage = quotas.storage_gib.map(|gib| ByteSize::from_gib(gib).0);
    let rows = [
        ("VMs", quotas.vms, has.vms, more.vms),
        ("virtual CPUs", quotas.vcpus, has.vcpus, more.vcpus),
        ("MiB of memory", quotas.memory_mib, has.memory_mib, more.memory_mib),
        ("volumes", quotas.volumes, has.volumes, more.volumes),
        (STORAGE, storage, has.storage_bytes, more.storage_bytes),
        ("networks", quotas.networks, has.networks, more.networks),
        ("addresses", quotas.addresses, has.addresses, more.addresses),
        ("public addresses", quotas.public_ips, has.public_ips, more.public_ips),
        ("console sessions", quotas.console_sessions, has.console_sessions, more.console_sessions),
    ];
    let line = |(what, quota, has, more): (&str, Option<u64>, u64, u64)| {
        let quota = quota.filter(|quota| more > 0 && has.saturating_add(more) > *quota)?;
        let show =
            |number: u64| if what == STORAGE { ByteSize(number).to_string() } else { number.to_string() };
        Some(format!("{what}: {} of {} in use, {} more asked for", show(has), show(quota), show(more)))
    };
    rows.into_iter().filter_map(line).collect()
}

/// The rules of quotas.
pub(crate) fn check_quotas(quotas: &Quotas) -> Result<(), AppError> {
    match quotas.api_requests_per_second {
        Some(rate) if !(1..=1_000_000).contains(&rate) => Err(AppError::invalid(
            "quotas.api_requests_per_second",
            format!("must be 1 to 1000000, not {rate}"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quota_that_would_be_exceeded_is_named_and_no_other() {
        let quotas = Quotas { vms: Some(3), vcpus: Some(4), storage_gib: Some(2), ..Quotas::default() };
        let has = InUse { vms: 2, vcpus: 4, storage_bytes: 1 << 30, networks: 9, ..InUse::default() };
        let more = InUse { vms: 1, vcpus: 2, storage_bytes: 2 << 30, networks: 1, ..InUse::default() };
        assert_eq!(
            exceeded(&quotas, &has, &more),
            [
                "virtual CPUs: 4 of 4 in use, 2 more asked for",
                "storage: 1.0 GiB of 2.0 GiB in use, 2.0 GiB more asked for",
            ]
        );
        // Who has more than it may by now is kept from nothing else.
        let has = InUse { vms: 5, ..has };
        assert_eq!(exceeded(&quotas, &has, &InUse { networks: 1, ..InUse::default() }), Vec::<String>::new());
    }
}
