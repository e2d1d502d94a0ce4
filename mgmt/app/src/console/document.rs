//! What a console proxy and the appliance around it are told: pure functions of rows.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use podzol_appliance_api::{IngressRule, LocalPort, PublicSide, Traffic};
use podzol_console_proxy_api::{
    Certificate, Document, HostAddress, ProxyServer, Resume, Rights, Session, TicketKey, Upstream,
};
use podzol_mgmt_api::zone::PublicNetwork;
use podzol_mgmt_db::console::{self, certificate, server, session};
use podzol_mgmt_db::vm;
use podzol_vocab::{FirewallRuleId, Generation, HostId, Invalid, Ipv4Range, PortRange, Secret};

use crate::ConsoleSettings;

/// How many characters of a name a page is shown.
const LONGEST_NAME: usize = podzol_console_proxy_api::limits::MAX_NAME;

/// A console proxy with what its document is made of.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) proxy: console::Model,
    pub(super) servers: Vec<server::Model>,
    /// Where browsers find it.
    pub(super) address: Ipv4Addr,
    /// Its interface on the public network.
    pub(super) nic: vm::nic::Model,
    pub(super) public: PublicNetwork,
}

/// What the appliance in a console proxy's VM should do: have the public address, and let browsers in to the servers' ports.
pub(super) fn of_appliance(parts: &Parts) -> Result<podzol_appliance_api::Document, Invalid> {
    let public = PublicSide {
        mac: parts.nic.mac.0,
        mtu: parts.public.mtu,
        addresses: [(parts.address, parts.public.cidr.prefix_len())].into(),
        gateway: parts.public.gateway,
        ipv6: None,
    };
    let mut document = podzol_appliance_api::Document { public: Some(public), ..Default::default() };
    for server in &parts.servers {
        let (id, port) = (server.id.0, server.port as u16);
        document.local_ports.insert(id, LocalPort { public: parts.address, port });
        let rule = IngressRule {
            public: parts.address,
            sources: vec![Ipv4Range::ALL.net()],
            traffic: Traffic::Tcp { ports: PortRange::new(port, port)? },
        };
        // A rule's id is that of the server that it is for.
        document.ingress.insert(FirewallRuleId::from_bytes(*id.as_bytes()), rule);
    }
    Ok(document)
}

/// What a console proxy should be.
pub(super) fn of_proxy(
    parts: &Parts,
    settings: &ConsoleSettings,
    certificate: &certificate::Model,
    ticket_keys: Vec<TicketKey>,
) -> Result<Document, Invalid> {
    let is_draining = parts.proxy.draining_since.is_some() || parts.proxy.is_retired;
    let server = |row: &server::Model| {
        let server = ProxyServer {
            address: IpAddr::V4(parts.address),
            port: row.port as u16,
            max_sessions: row.max_sessions as u32,
            draining: is_draining || row.draining_since.is_some(),
        };
        (row.id.0, server)
    };
    Ok(Document {
        generation: Generation::default(),
        domain: settings.names.domain().as_str().parse()?,
        certificate: Certificate {
            chain: certificate.certificates.clone(),
            key: certificate.private_key.0.clone(),
        },
        ticket_keys,
        resume_origins: vec![settings.api_origin.clone()],
        servers: parts.servers.iter().map(server).collect::<BTreeMap<_, _>>(),
        nudge: settings.nudge,
    })
}

/// A session as its proxy is told it; nothing if it has no place.
pub(super) fn of_session(
    row: &session::Model,
    vm: &vm::Model,
    upstream: Upstream,
    settings: &ConsoleSettings,
    token: Secret<String>,
) -> Option<Session> {
    let name = |text: &str| -> String {
        let shown: String = text.chars().filter(|char| !char.is_control()).take(LONGEST_NAME).collect();
        if shown.is_empty() { "?".into() } else { shown }
    };
    Some(Session {
        generation: Generation::default(),
        server: row.server_id?.0,
        vm: vm.id.0,
        vm_name: name(vm.name.0.as_str()),
        account: row.account_id.0,
        upstream,
        grant: None,
        rights: if row.view_only { Rights::View } else { Rights::Control },
        viewer: name(&row.viewer),
        expires_unix: (row.expires_at.max(0) / 1000) as u64,
        idle_secs: settings.session_idle.as_secs().clamp(60, 86_400) as u32,
        resume: Resume { url: settings.resume_url(), token },
    })
}

/// The way to a VM's display: through the agent of its host, which is found at this address.
pub(super) fn upstream(host: HostId, address: Option<&str>) -> Upstream {
    match address.and_then(|address| address.parse::<HostAddress>().ok()) {
        Some(address) => Upstream::Agent { host, addresses: vec![address] },
        None => Upstream::Off,
    }
}

/// What browsers are sent to: an address as a name below the console domain, with a port if it is not that of HTTPS.
pub(super) fn origin(address: Ipv4Addr, port: u16, settings: &ConsoleSettings) -> String {
    let name = settings.names.name_of(address.into());
    match port {
        443 => format!("https://{name}"),
        port => format!("https://{name}:{port}"),
    }
}
