//! Port forwards.

use podzol_mgmt_api::port_forward::{PortForward, PortForwardCreate, PortForwardUpdate};
use podzol_mgmt_api::{Created, Timestamp};
use podzol_mgmt_db::Reader;
use podzol_mgmt_db::rule::{self, Kind, Spec};
use podzol_vocab::{PortForwardId, PortRange};

use super::{
    MOST_SHIFTED_PORTS, Rule, Shown, address_for, must_be_few, must_be_free, new_row, set_ports, target_for,
};
use crate::{Actor, App, AppError, Once};

impl Rule for PortForward {
    type Id = PortForwardId;

    const KIND: Kind = Kind::PortForward;

    fn id(&self) -> Self::Id {
        self.id
    }

    fn shown(row: rule::Model, shown: &Shown) -> Result<Self, AppError> {
        let odd = || AppError::Internal(format!("rule {} is no port forward", row.id));
        let (public_ip, address) = shown.address(&row)?;
        let Spec::PortForward { nic, to_port } = row.spec.0 else { return Err(odd()) };
        Ok(Self {
            id: row.id.parse().map_err(|_| odd())?,
            account: row.account_id.0,
            zone: row.zone_id.0,
            public_ip,
            address,
            transport: row.transport.as_ref().ok_or_else(odd)?.0,
            ports: row.ports().ok_or_else(odd)?,
            vm: shown.vm(nic)?,
            nic,
            to_port,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl App {
    /// Has ports of a public address lead to a VM.
    ///
    /// # Errors
    /// When a field breaks a rule, or the ports lead somewhere already.
    pub async fn port_forward_create(
        &self,
        actor: &Actor,
        once: Option<Once>,
        body: PortForwardCreate,
    ) -> Result<Created<PortForward>, AppError> {
        self.create(actor, once, async |tx| {
            let address = address_for(tx.reader(), actor, body.public_ip).await?;
            let (account, zone) = (address.account_id, address.zone_id);
            let nic = target_for(tx.reader(), account, zone, body.vm, body.network).await?.id.0;
            let to_port = body.to_port.unwrap_or(body.ports.first());
            must_fit(body.ports, to_port)?;
            let spec = Spec::PortForward { nic, to_port };
            let mut row = new_row(account.0, zone.0, PortForwardId::new(), spec, Kind::PortForward);
            row.public_ip_id = Some(address.id);
            set_ports(&mut row, body.transport, body.ports);
            must_be_free(tx.reader(), &row, address.id.0, body.transport, body.ports).await?;
            must_be_few_ports(tx.reader(), &row, body.ports, to_port).await?;
            self.rule_add(tx, actor, row).await
        })
        .await
    }

    /// Changes a port forward.
    ///
    /// # Errors
    /// When a field breaks a rule, or the ports lead somewhere already.
    pub async fn port_forward_update(
        &self,
        actor: &Actor,
        id: PortForwardId,
        body: PortForwardUpdate,
    ) -> Result<Created<PortForward>, AppError> {
        self.rule_change(actor, id, async |tx, row| {
            let odd = || AppError::Internal(format!("rule {id} is no port forward"));
            let Spec::PortForward { nic: mut to, to_port } = row.spec.0.clone() else { return Err(odd()) };
            if body.vm.is_none() && body.network.is_some() {
                return Err(AppError::invalid("network", "must come with the VM that is in it"));
            }
            if let Some(vm) = body.vm {
                to = target_for(tx.reader(), row.account_id, row.zone_id, vm, body.network).await?.id.0;
            }
            let (before, public_ip) = (row.ports().ok_or_else(odd)?, row.public_ip_id.ok_or_else(odd)?);
            let transport = body.transport.or_else(|| row.transport.as_ref().map(|transport| transport.0));
            let (transport, ports) = (transport.ok_or_else(odd)?, body.ports.unwrap_or(before));
            let to_port = body.to_port.unwrap_or(to_port);
            must_fit(ports, to_port)?;
            must_be_free(tx.reader(), row, public_ip.0, transport, ports).await?;
            must_be_few_ports(tx.reader(), row, ports, to_port).await?;
            set_ports(row, transport, ports);
            row.spec.0 = Spec::PortForward { nic: to, to_port };
            Ok(())
        })
        .await
    }
}

/// Refuses ports of which some would lead to none.
fn must_fit(ports: PortRange, to_port: u16) -> Result<(), AppError> {
    let last = u32::from(to_port) + ports.count() - 1;
    if to_port == 0 || last > u32::from(u16::MAX) {
        return Err(AppError::invalid("to_port", "must be 1 to 65535, and so must those after it"));
    }
    Ok(())
}

/// Refuses more ports that lead to others than a router has room for: it knows each by itself, and a range that leads to the
/// same ports as one.
async fn must_be_few_ports(
    db: &impl Reader,
    row: &rule::Model,
    ports: PortRange,
    to_port: u16,
) -> Result<(), AppError> {
    if ports.first() == to_port || ports.count() == 1 {
        return Ok(());
    }
    let others = rule::shifted_ports(db, row.account_id.0, row.zone_id.0, &row.id).await?;
    must_be_few(others, ports.count().into(), MOST_SHIFTED_PORTS, "ports of ranges that lead to other ports")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_leads_to_one() {
        let ports = PortRange::new(8000, 8009).unwrap();
        assert!(must_fit(ports, 65_526).is_ok());
        for bad in [0, 65_527] {
            assert!(must_fit(ports, bad).is_err(), "{bad}");
        }
    }
}
