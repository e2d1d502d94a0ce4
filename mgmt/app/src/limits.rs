//! What a VM may do at most: its offering says so, else its account, else its zone.
//!
//! What is in force stands in the VM's row and is part of what its generation describes. When limits of an offering, an
//! account or a zone change, one statement marks the rows of its VMs as stale, however many they are; a reconciler gives each that
//! runs a new generation with the limits as they are then. A VM that does not run gets them when it starts.

use podzol_mgmt_api::limits::{Limit, LimitFrom, Limits, VmLimits};
use podzol_mgmt_api::offering::Size;
use podzol_mgmt_db::{Reader, account, find, network, offering, vm, zone};
use podzol_vocab::{AccountId, ZoneId};

use crate::operation::start;
use crate::{App, AppError};

/// How many VMs get new limits in one transaction.
const AT_ONCE: u64 = 100;

/// The limits of a VM of this size, in this account and zone, as they are now.
pub(crate) async fn in_force(
    db: &impl Reader,
    size: &Size,
    account: AccountId,
    zone: ZoneId,
) -> Result<VmLimits, AppError> {
    let account = find::<account::Entity>(db, account).await?.and_then(|row| row.limits);
    let zone = find::<zone::Entity>(db, zone).await?.and_then(|row| row.limits);
    Ok(nearest(
        size,
        account.map(|limits| limits.0).unwrap_or_default(),
        zone.map(|limits| limits.0).unwrap_or_default(),
    ))
}

/// Writes into a VM's row the limits as they are now. Its generation must change with them.
pub(crate) async fn renew(db: &impl Reader, row: &mut vm::Model) -> Result<(), AppError> {
    if let Some(offering) = find::<offering::Entity>(db, row.offering_id.0).await? {
        (row.size.0.network_mbps, row.size.0.iops) = (offering.size.0.network_mbps, offering.size.0.iops);
    }
    if row.role.is_some() {
        row.limits_are_stale = false;
        return Ok(());
    }
    row.limits = Some(in_force(db, &row.size, row.account_id.0, row.zone_id.0).await?.into());
    row.limits_are_stale = false;
    Ok(())
}

/// The limits of a VM in its present generation.
pub(crate) fn of(row: &vm::Model) -> VmLimits {
    row.limits
        .as_ref()
        .map_or_else(|| nearest(&row.size, Limits::default(), Limits::default()), |limits| limits.0)
}

fn nearest(size: &Size, account: Limits, zone: Limits) -> VmLimits {
    let of = |offering: Option<u64>, account: Option<u64>, zone: Option<u64>| {
        let from = |value: Option<u64>, from| value.map(|value| Limit { value, from });
        from(offering, LimitFrom::Offering)
            .or_else(|| from(account, LimitFrom::Account))
            .or_else(|| from(zone, LimitFrom::Zone))
    };
    VmLimits {
        network_mbps: of(size.network_mbps, account.network_mbps, zone.network_mbps),
        iops: of(size.iops, account.iops, zone.iops),
    }
}

/// The rules of limits.
pub(crate) fn check(limits: &Limits) -> Result<(), AppError> {
    let within = |field, value: Option<u64>, most: u64| match value {
        Some(value) if !(1..=most).contains(&value) => {
            Err(AppError::invalid(field, format!("must be 1 to {most}, not {value}")))
        }
        _ => Ok(()),
    };
    within("limits.network_mbps", limits.network_mbps, 1_000_000)?;
    within("limits.iops", limits.iops, 10_000_000)
}

/// Gives the VMs whose limits have changed those that hold now.
pub(crate) async fn round(app: App) -> Result<(), AppError> {
    while !vm::with_stale_limits(app.db.reader(), 1).await?.is_empty() {
        let tx = app.db.begin_alone().await?;
        for mut row in vm::with_stale_limits(tx.reader(), AT_ONCE).await? {
            let before = of(&row);
            renew(tx.reader(), &mut row).await?;
            // What its interfaces should be may have changed instead: see [`vm::LimitsOf`].
            let changed = of(&row) != before || network::any_with_ipv6(tx.reader(), row.id.0).await?;
            row.generation += i64::from(changed);
            tx.vm_update(row.clone()).await?;
            if changed {
                start(&tx, app.vm_operation("vm.change", &row)).await?;
            }
        }
        tx.commit().await?;
        app.wake.notify_one();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_nearest_to_the_vm_holds() {
        let size = |network_mbps, iops| Size {
            vcpus: 1,
            cpu_share: 100,
            memory_mib: 64,
            disk_gib: 1,
            network_mbps,
            iops,
        };
        let limits = |network_mbps, iops| Limits { network_mbps, iops };
        let found = nearest(&size(None, Some(7)), limits(Some(20), Some(9)), limits(Some(30), None));
        let limit = |value, from| Some(Limit { value, from });
        assert_eq!(found.network_mbps, limit(20, LimitFrom::Account));
        assert_eq!(found.iops, limit(7, LimitFrom::Offering));
        let found = nearest(&size(None, None), limits(None, None), limits(Some(30), None));
        assert_eq!((found.network_mbps, found.iops), (limit(30, LimitFrom::Zone), None));
    }

    #[test]
    fn a_limit_of_nothing_is_no_limit_and_refused() {
        assert!(check(&Limits::default()).is_ok());
        assert!(check(&Limits { network_mbps: Some(0), iops: None }).is_err());
        assert!(check(&Limits { network_mbps: None, iops: Some(10_000_001) }).is_err());
    }
}
