//! Measuring routers by what they have said.

use std::collections::HashMap;

use podzol_appliance_api::{Counters, Health};
use podzol_mgmt_api::router::RouterState;
use podzol_mgmt_db::{find, router, vm, zone};
use podzol_vocab::RouterId;

use super::known::Heard;
use super::shown::state_of;
use crate::{App, AppError};

/// A router.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) zone: String,
    pub(crate) id: RouterId,
    pub(crate) state: RouterState,
    /// What it has said, if it runs.
    pub(crate) said: Option<Said>,
}

/// What a router has said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// How many generations it is behind.
    pub(crate) behind: u64,
    /// How many of its services do not work.
    pub(crate) services_down: u64,
    /// How many members of balancers do not work.
    pub(crate) members_down: u64,
    /// How often it has put something right since its start.
    pub(crate) repairs: u64,
    /// What has gone through its public addresses since then.
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

impl App {
    /// All routers.
    pub(crate) async fn router_measures(&self) -> Result<Vec<Measured>, AppError> {
        let db = self.db.reader();
        let zones: HashMap<_, _> =
            zone::all(db).await?.into_iter().map(|zone| (zone.id.0, zone.name.to_string())).collect();
        let mut all = vec![];
        for row in router::all(db).await? {
            let Some(vm) = find::<vm::Entity>(db, row.vm_id).await? else { continue };
            let heard = self.here.routers.get(vm.id.0).map(|known| known.heard().clone());
            let (state, _) = state_of(&row, &vm, heard.as_ref());
            let runs = matches!(state, RouterState::Running | RouterState::Degraded | RouterState::Replacing);
            let said = heard.filter(|_| runs).as_ref().and_then(said);
            let zone = zones.get(&row.zone_id.0).cloned().unwrap_or_default();
            all.push(Measured { zone, id: row.id.0, state, said });
        }
        Ok(all)
    }
}

fn said(heard: &Heard) -> Option<Said> {
    let status = heard.status.as_ref()?;
    let wanted = heard.wanted.or(heard.in_force).unwrap_or_default();
    let through = |bytes: fn(&Counters) -> u64| status.public.values().map(bytes).sum();
    let of_http = status.http_balancers.values().map(|balancer| balancer.down.len());
    Some(Said {
        behind: wanted.0.saturating_sub(heard.in_force.unwrap_or_default().0),
        services_down: status.health.values().filter(|health| **health != Health::Up).count() as u64,
        members_down: status.checked.values().map(|down| down.len()).chain(of_http).sum::<usize>() as u64,
        repairs: status.repairs,
        sent_bytes: through(|counters| counters.sent_bytes),
        received_bytes: through(|counters| counters.received_bytes),
    })
}
