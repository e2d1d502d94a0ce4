//! Static NAT.

use podzol_mgmt_api::static_nat::{StaticNat, StaticNatCreate, StaticNatUpdate};
use podzol_mgmt_api::{Created, Timestamp};
use podzol_mgmt_db::rule::{self, Kind, Spec};
use podzol_mgmt_db::{Reader, public_ip};
use podzol_vocab::{NicId, StaticNatId};

use super::{Rule, Shown, address_for, new_row, target_for};
use crate::{Actor, App, AppError, Once};

impl Rule for StaticNat {
    type Id = StaticNatId;

    const KIND: Kind = Kind::StaticNat;

    fn id(&self) -> Self::Id {
        self.id
    }

    fn shown(row: rule::Model, shown: &Shown) -> Result<Self, AppError> {
        let odd = || AppError::Internal(format!("rule {} is no static NAT", row.id));
        let (public_ip, address) = shown.address(&row)?;
        let Spec::StaticNat { nic } = row.spec.0 else { return Err(odd()) };
        Ok(Self {
            id: row.id.parse().map_err(|_| odd())?,
            account: row.account_id.0,
            zone: row.zone_id.0,
            public_ip,
            address,
            vm: shown.vm(nic)?,
            nic,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl App {
    /// Has a public address be a VM's.
    ///
    /// # Errors
    /// When a field breaks a rule, or the address serves something else.
    pub async fn static_nat_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: StaticNatCreate,
    ) -> Result<Created<StaticNat>, AppError> {
        self.create(actor, once, async |tx| {
            let address = address_for(tx.reader(), actor, body.public_ip).await?;
            let (account, zone) = (address.account_id, address.zone_id);
            let nic = target_for(tx.reader(), account, zone, body.vm, body.network).await?.id.0;
            must_serve_nothing(tx.reader(), &address).await?;
            must_have_none(tx.reader(), nic, "").await?;
            let spec = Spec::StaticNat { nic };
            let mut row = new_row(account.0, zone.0, StaticNatId::new(), spec, Kind::StaticNat);
            row.public_ip_id = Some(address.id);
            self.rule_add(tx, actor, row).await
        })
        .await
    }

    /// Gives the public address of a static NAT to another VM.
    ///
    /// # Errors
    /// When a field breaks a rule, or that VM has one already.
    pub async fn static_nat_update(
        &self,
        actor: &Actor,
        id: StaticNatId,
        body: StaticNatUpdate,
    ) -> Result<Created<StaticNat>, AppError> {
        self.rule_change(actor, id, async |tx, row| {
            let to = target_for(tx.reader(), row.account_id, row.zone_id, body.vm, body.network).await?;
            must_have_none(tx.reader(), to.id.0, &row.id).await?;
            row.spec.0 = Spec::StaticNat { nic: to.id.0 };
            Ok(())
        })
        .await
    }
}

/// Refuses an address that serves more than one VM.
async fn must_serve_nothing(db: &impl Reader, address: &public_ip::Model) -> Result<(), AppError> {
    let taken = |detail: &str| AppError::Conflict { code: "address_taken", detail: detail.into() };
    if address.is_source_nat {
        return Err(taken("connections of other VMs come from the public address"));
    }
    let kinds = [Kind::StaticNat, Kind::PortForward, Kind::LoadBalancer];
    match rule::of_public_ip(db, address.id.0, &kinds, 1).await?.pop() {
        Some(other) => Err(taken(&format!("the public address serves {} {}", other.kind.0.noun(), other.id))),
        None => Ok(()),
    }
}

/// Refuses a network interface that has a public address by another rule than this one.
async fn must_have_none(db: &impl Reader, nic: NicId, but: &str) -> Result<(), AppError> {
    let others = rule::of_nics(db, &[nic]).await?;
    if others.iter().any(|other| other.kind.0 == Kind::StaticNat && other.id != but) {
        let detail = "the VM's interface has a public address by another static NAT".into();
        return Err(AppError::Conflict { code: "vm_has_address", detail });
    }
    Ok(())
}
