//! Rows as the API shows them.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use podzol_mgmt_api::account::{Account, Key, User};
use podzol_mgmt_api::affinity::AffinityGroup;
use podzol_mgmt_api::event::Event;
use podzol_mgmt_api::host::{Host, StorageServer};
use podzol_mgmt_api::network::Network;
use podzol_mgmt_api::offering::Offering;
use podzol_mgmt_api::operation::{Operation, OperationError};
use podzol_mgmt_api::pool::Pool;
use podzol_mgmt_api::template::Template;
use podzol_mgmt_api::vm::{Nic, Vm, VmIso, VmVolume};
use podzol_mgmt_api::volume::Volume;
use podzol_mgmt_api::zone::{Pod, Zone};
use podzol_mgmt_api::{Page, PageQuery, Timestamp};
use podzol_mgmt_db::zone::PageOf;
use podzol_mgmt_db::{
    Col, Reader, Taken, account, affinity, event, find, network, offering, operation, pool, server, template,
    vm, volume, zone,
};
use podzol_vocab::{ByteSize, Generation, NicId, Prefix64, Tag};

use crate::{Actor, AppError, zone6};

/// The page that a query asks for.
pub(crate) fn page_of(query: &PageQuery) -> Result<PageOf, AppError> {
    let limit = query.limit.unwrap_or(100);
    if !(1..=500).contains(&limit) {
        return Err(AppError::invalid("limit", "must be 1 to 500"));
    }
    Ok(PageOf { limit, after: query.after.clone(), name: query.name.clone() })
}

/// How often rows are read again that have gone by the time that what belongs to them is.
pub(crate) const READS: usize = 10;

/// A page of what was found; `key` gives what the next page comes after.
pub(crate) fn page<T>(page: &PageOf, items: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
    let full = items.len() as u64 == page.limit;
    let next = items.last().filter(|_| full).map(key);
    Page { items, next }
}

pub(crate) fn account(row: account::Model) -> Account {
    Account {
        id: row.id.0,
        name: row.name.0,
        limits: row.limits.map(|limits| limits.0).unwrap_or_default(),
        quotas: row.quotas.map(|quotas| quotas.0).unwrap_or_default(),
        in_use: None,
        created_at: Timestamp(row.created_at),
    }
}

pub(crate) fn affinity_group(row: affinity::Model) -> AffinityGroup {
    AffinityGroup {
        id: row.id.0,
        name: row.name.0,
        account: row.account_id.0,
        policy: row.policy.0,
        vms: None,
        created_at: Timestamp(row.created_at),
    }
}

pub(crate) fn user(row: account::user::Model) -> User {
    let role = row.role();
    User {
        id: row.id.0,
        name: row.name.0,
        account: row.account_id.0,
        role,
        created_at: Timestamp(row.created_at),
    }
}

pub(crate) fn key(row: account::key::Model) -> Key {
    Key {
        id: row.id.0,
        name: row.name.0,
        user: row.user_id.0,
        account: row.account_id.0,
        created_at: Timestamp(row.created_at),
    }
}

pub(crate) fn zone(row: zone::Model, actor: &Actor) -> Zone {
    let has_routers = row.of_routers().is_some();
    Zone {
        id: row.id.0,
        name: row.name.0,
        vlan_ranges: row.vlan_ranges.0,
        vxlan_ranges: row.vxlan_ranges.map(|ranges| ranges.0).unwrap_or_default(),
        limits: row.limits.map(|limits| limits.0).unwrap_or_default(),
        spare_hosts: row.spare_hosts as u32,
        has_routers,
        management: row.management.filter(|_| actor.is_admin()).map(|network| network.0),
        public: row.public.filter(|_| actor.is_admin()).map(|network| network.0),
        created_at: Timestamp(row.created_at),
    }
}

pub(crate) fn pod(row: zone::pod::Model) -> Pod {
    Pod { id: row.id.0, name: row.name.0, zone: row.zone_id.0, created_at: Timestamp(row.created_at) }
}

pub(crate) fn host(row: server::Model, taken: Taken) -> Host {
    Host {
        id: row.host(),
        name: row.name.0,
        pod: row.pod_id.0,
        zone: row.zone_id.0,
        state: row.state.0,
        address: row.address,
        agent_version: row.agent_version,
        hypervisor: row.hypervisor,
        accelerator: row.accelerator,
        problem: row.problem,
        cpus: row.cpus as u32,
        cpus_allocated: taken.vcpus as u32,
        memory_mib: row.memory_mib as u64,
        memory_allocated_mib: taken.memory_mib as u64,
        vms: taken.vms as u32,
        tags: row.tags.map(|tags| tags.0).unwrap_or_default(),
        reported_at: row.reported_at.map(Timestamp),
        created_at: Timestamp(row.created_at),
        report: None,
    }
}

pub(crate) fn storage_server(row: server::Model) -> StorageServer {
    StorageServer {
        id: row.storage_server(),
        name: row.name.0,
        pod: row.pod_id.0,
        zone: row.zone_id.0,
        state: row.state.0,
        address: row.address,
        agent_version: row.agent_version,
        reported_at: row.reported_at.map(Timestamp),
        created_at: Timestamp(row.created_at),
    }
}

pub(crate) fn pool(row: pool::Model, allocated_bytes: i64) -> Pool {
    Pool {
        id: row.id.0,
        name: row.name.0,
        storage_server: row.storage_server_id.parse().expect("only ids are written into this column"),
        zone: row.zone_id.0,
        kind: "nfs".into(),
        path: row.path,
        state: row.state.0,
        capacity_bytes: ByteSize(row.capacity_bytes as u64),
        used_bytes: ByteSize(row.used_bytes as u64),
        allocated_bytes: ByteSize(allocated_bytes as u64),
        error: row.error,
        created_at: Timestamp(row.created_at),
    }
}

pub(crate) fn offering(row: offering::Model) -> Offering {
    Offering {
        id: row.id.0,
        name: row.name.0,
        size: row.size.0,
        tags: row.tags.map(|tags| tags.0).unwrap_or_default(),
        created_at: Timestamp(row.created_at),
    }
}

pub(crate) fn template(row: template::Model) -> Template {
    Template {
        id: row.id.0,
        name: row.name.0,
        sha256: row.sha256.0,
        format: row.format.0,
        os: row.os,
        role: row.role.map(|role| role.0),
        extensions: row.extensions.0,
        url: row.url.map(|url| without_password(&url)),
        state: row.state.0,
        size_bytes: row.size_bytes.map(|size| ByteSize(size as u64)),
        virtual_size_bytes: row.virtual_size_bytes.map(|size| ByteSize(size as u64)),
        error: row.error,
        created_at: Timestamp(row.created_at),
    }
}

/// A URL with what stands between `//` and `@` left out.
fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// A network with its IPv6 prefix, and why that is of no use now if it is not.
pub(crate) fn network(
    row: network::Model,
    ipv6: Option<Prefix64>,
    ipv6_problem: Option<String>,
    actor: &Actor,
) -> Network {
    let tag = row.tag().filter(|_| actor.is_admin());
    Network {
        id: row.id.0,
        name: row.name.0,
        account: row.account_id.0,
        zone: row.zone_id.0,
        cidr: row.cidr.0,
        vlan: tag.and_then(Tag::vlan),
        vxlan: tag.and_then(Tag::vxlan),
        router: row.has_router,
        egress: row.egress.0,
        ipv6,
        ipv6_problem,
        created_at: Timestamp(row.created_at),
    }
}

pub(crate) fn operation(row: operation::Model) -> Operation {
    Operation {
        id: row.id.0,
        kind: row.kind,
        account: row.account_id.map(|account| account.0),
        subject_kind: row.subject_kind,
        subject: row.subject,
        state: row.state.0,
        step: row.step,
        generation: row.generation.map(|generation| Generation(generation.cast_unsigned())),
        attempts: row.attempts as u32,
        cancel_requested: row.cancel_requested,
        error: row
            .error_code
            .map(|code| OperationError { code, detail: row.error_detail.unwrap_or_default() }),
        created_at: Timestamp(row.created_at),
        finished_at: row.finished_at.map(Timestamp),
    }
}

pub(crate) fn event(row: event::Model) -> Event {
    Event {
        id: row.id,
        at: Timestamp(row.at),
        action: row.action,
        actor: row.actor,
        account: row.account_id.map(|account| account.0),
        subject_kind: row.subject_kind,
        subject: row.subject,
        detail: row.detail,
    }
}

pub(crate) fn volume(row: volume::Model, actor: &Actor) -> Volume {
    Volume {
        id: row.id.0,
        name: row.name.map(|name| name.0),
        account: row.account_id.0,
        zone: row.zone_id.0,
        kind: row.kind,
        size_bytes: ByteSize(row.size_bytes as u64),
        state: row.state.0,
        vm: row.vm_id.map(|vm| vm.0),
        attachment: row.vm_id.map(|_| row.attachment.0),
        error: row.error,
        pool: actor.is_admin().then_some(row.pool_id.0),
        created_at: Timestamp(row.created_at),
    }
}

/// VMs with their interfaces and volumes, as an actor may see them.
pub(crate) async fn vms(db: &impl Reader, rows: Vec<vm::Model>, actor: &Actor) -> Result<Vec<Vm>, AppError> {
    let ids: Vec<Col<_>> = rows.iter().map(|row| row.id).collect();
    let mut nics: HashMap<_, Vec<_>> = HashMap::new();
    for row in vm::nics(db, &ids).await? {
        nics.entry(row.vm_id).or_default().push(row);
    }
    let mut volumes: HashMap<_, Vec<_>> = HashMap::new();
    for row in volume::of_vms(db, &ids).await? {
        volumes.entry(row.vm_id).or_default().push(row);
    }
    let mut addresses6 = HashMap::new();
    for nic in nics.values().flatten() {
        addresses6.extend(address6(db, nic).await?.map(|address| (nic.id.0, address)));
    }
    let show = |row: vm::Model| {
        let nics = nics.remove(&row.id).unwrap_or_default();
        let volumes = volumes.remove(&Some(row.id)).unwrap_or_default();
        vm(row, nics, volumes, &addresses6, actor)
    };
    Ok(rows.into_iter().map(show).collect())
}

/// The IPv6 address of an interface in a network that has IPv6. Networks and zones are kept in memory.
pub(crate) async fn address6(db: &impl Reader, nic: &vm::nic::Model) -> Result<Option<Ipv6Addr>, AppError> {
    let network = find::<network::Entity>(db, nic.network_id).await?;
    let Some(network) = network.filter(|network| network.prefix6.is_some()) else { return Ok(None) };
    let zone = find::<zone::Entity>(db, network.zone_id).await?;
    let prefix = zone.and_then(|zone| zone6::prefix_in(&zone, &network));
    Ok(prefix.map(|prefix| prefix.of(nic.mac.0)))
}

/// A VM with its interfaces and volumes, as an actor may see them; with the interfaces' IPv6 addresses.
pub(crate) fn vm(
    row: vm::Model,
    nics: Vec<vm::nic::Model>,
    volumes: Vec<volume::Model>,
    addresses6: &HashMap<NicId, Ipv6Addr>,
    actor: &Actor,
) -> Vm {
    let nic = |row: vm::nic::Model| Nic {
        id: row.id.0,
        network: row.network_id.0,
        mac: row.mac.0,
        address: row.address.0,
        address6: addresses6.get(&row.id.0).copied(),
        attachment: row.attachment.0,
        may_route: row.may_route,
        traffic: None,
    };
    let volume = |row: volume::Model| VmVolume {
        id: row.id.0,
        name: row.name.map(|name| name.0),
        kind: row.kind,
        size_bytes: ByteSize(row.size_bytes as u64),
        state: row.state.0,
        attachment: row.attachment.0,
        pool: actor.is_admin().then_some(row.pool_id.0),
    };
    Vm {
        nics: nics.into_iter().map(nic).collect(),
        volumes: volumes.into_iter().map(volume).collect(),
        iso: row.iso_id.map(|template| VmIso {
            template: template.0,
            boots: row.iso_boots,
            attachment: row.iso_attachment.0,
        }),
        limits: crate::limits::of(&row),
        id: row.id.0,
        name: row.name.0,
        account: row.account_id.0,
        zone: row.zone_id.0,
        state: row.state.0,
        error: row.error,
        offering: row.offering_id.0,
        size: row.size.0,
        template: row.template_id.0,
        host: row.host_id.filter(|_| actor.is_admin()).map(|host| host.0),
        affinity_group: row.group_id.map(|group| group.0),
        moving_to: row.moving_to.filter(|_| actor.is_admin()).map(|host| host.0),
        generation: Generation(row.generation as u64),
        created_at: Timestamp(row.created_at),
        started_at: row.started_at.map(Timestamp),
        expunge_at: row.expunge_at.map(Timestamp),
        start_timing: row.timing.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(without_password("https://u:p@h.example/a@b"), "https://h.example/a@b");
        assert_eq!(without_password("https://h.example/a"), "https://h.example/a");
    }
}
