//! The kinds of things: their routes, and the columns in which they are listed.

use serde_json::Value;

use crate::api::{Api, ApiError};

/// A kind of thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// What one is called.
    pub(crate) noun: &'static str,
    /// Where they are.
    pub(crate) path: &'static str,
    /// The columns of a list: heading, and where the value is.
    pub(crate) columns: &'static [(&'static str, &'static str)],
}

macro_rules! kinds {
    ($($constant:ident: $noun:literal $path:literal [$($heading:literal = $field:literal),*];)*) => {$(
        pub(crate) const $constant: Kind =
            Kind { noun: $noun, path: $path, columns: &[$(($heading, $field)),*] };
    )*};
}

kinds! {
    ZONE: "zone" "/v1/zones" ["NAME" = "name", "VLANS" = "vlan_ranges", "VXLANS" = "vxlan_ranges", "ID" = "id"];
    POD: "pod" "/v1/pods" ["NAME" = "name", "ZONE" = "zone", "ID" = "id"];
    HOST: "host" "/v1/hosts" [
        "NAME" = "name", "STATE" = "state", "ADDRESS" = "address", "CPUS" = "cpus", "USED" = "cpus_allocated",
        "MEMORY MIB" = "memory_mib", "USED" = "memory_allocated_mib", "VMS" = "vms", "ACCELERATOR" = "accelerator",
        "PROBLEM" = "problem"
    ];
    STORAGE_SERVER: "storage server" "/v1/storage-servers" [
        "NAME" = "name", "STATE" = "state", "ADDRESS" = "address", "ID" = "id"
    ];
    POOL: "pool" "/v1/pools" [
        "NAME" = "name", "STATE" = "state", "CAPACITY" = "capacity_bytes", "USED" = "used_bytes",
        "ALLOCATED" = "allocated_bytes", "ERROR" = "error"
    ];
    OFFERING: "offering" "/v1/offerings" [
        "NAME" = "name", "VCPUS" = "vcpus", "MEMORY MIB" = "memory_mib", "DISK GIB" = "disk_gib",
        "NETWORK MBPS" = "network_mbps", "IOPS" = "iops"
    ];
    TEMPLATE: "template" "/v1/templates" [
        "NAME" = "name", "STATE" = "state", "FORMAT" = "format", "SIZE" = "size_bytes", "OS" = "os",
        "EXTENSIONS" = "extensions", "ERROR" = "error"
    ];
    ACCOUNT: "account" "/v1/accounts" ["NAME" = "name", "ID" = "id", "CREATED" = "created_at"];
    TRAFFIC: "traffic" "" [
        "ADDRESS" = "address", "VM" = "vm", "ZONE" = "zone", "SENT" = "sent_bytes", "PACKETS" = "sent_packets",
        "RECEIVED" = "received_bytes", "PACKETS" = "received_packets", "NIC" = "nic"
    ];
    USER: "user" "/v1/users" ["NAME" = "name", "ROLE" = "role", "ACCOUNT" = "account", "ID" = "id"];
    KEY: "key" "/v1/keys" ["NAME" = "name", "USER" = "user", "ID" = "id", "CREATED" = "created_at"];
    NETWORK: "network" "/v1/networks" [
        "NAME" = "name", "CIDR" = "cidr", "IPV6" = "ipv6", "ROUTER" = "router", "VLAN" = "vlan", "VXLAN" = "vxlan", "ZONE" = "zone", "ID" = "id"
    ];
    ROUTER: "router" "/v1/routers" [
        "ID" = "id", "STATE" = "state", "ACCOUNT" = "account", "ZONE" = "zone", "SOURCE NAT" = "source_nat",
        "WANTED" = "generation", "IN FORCE" = "generation_in_force", "HOST" = "host", "ERROR" = "error"
    ];
    PUBLIC_IP: "public address" "/v1/public-ips" [
        "ADDRESS" = "address", "ZONE" = "zone", "ACCOUNT" = "account", "SOURCE NAT" = "source_nat", "ID" = "id"
    ];
    HELD_ADDRESS: "held address" "/v1/public-ips/held" [
        "ADDRESS" = "address", "ZONE" = "zone", "ROUTER" = "router", "ACCOUNT" = "account", "VM" = "vm", "WANTED" = "generation",
        "IN FORCE" = "generation_in_force", "SINCE" = "held_at"
    ];
    PORT_FORWARD: "port forward" "/v1/port-forwards" [
        "ADDRESS" = "address", "PROTOCOL" = "transport", "PORTS" = "ports", "VM" = "vm", "TO" = "to_port", "ID" = "id"
    ];
    STATIC_NAT: "static NAT" "/v1/static-nats" ["ADDRESS" = "address", "VM" = "vm", "ID" = "id"];
    FIREWALL_RULE: "firewall rule" "/v1/firewall-rules" [
        "ADDRESS" = "address", "PROTOCOL" = "protocol", "NETWORK" = "network", "VM" = "vm", "PORTS" = "ports",
        "ICMP TYPE" = "icmp_type", "FROM" = "sources", "ID" = "id"
    ];
    EGRESS_RULE: "egress rule" "/v1/egress-rules" [
        "NETWORK" = "network", "PROTOCOL" = "protocol", "PORTS" = "ports", "ICMP TYPE" = "icmp_type",
        "FROM" = "sources", "TO" = "destinations", "ID" = "id"
    ];
    LOAD_BALANCER: "load balancer" "/v1/load-balancers" [
        "NAME" = "name", "ADDRESS" = "address", "PROTOCOL" = "transport", "PORT" = "port", "METHOD" = "method",
        "CERTIFICATE" = "http.certificate.names", "MEMBERS" = "members.vm", "ID" = "id", "ERROR" = "error"
    ];
    AFFINITY_GROUP: "affinity group" "/v1/affinity-groups" [
        "NAME" = "name", "POLICY" = "policy", "ACCOUNT" = "account", "ID" = "id"
    ];
    FINDING: "finding" "/v1/doctor" [
        "WHERE" = "place", "WHAT" = "code", "OF" = "subject", "DETAIL" = "detail", "CAUSE" = "cause"
    ];
    CAPACITY: "capacity" "/v1/capacity" [
        "ZONE" = "zone", "POD" = "pod", "OFFERING" = "offering_name", "FITS" = "fits", "RUNS OUT" = "runs_out"
    ];
    VM: "VM" "/v1/vms" [
        "NAME" = "name", "STATE" = "state", "ADDRESS" = "nics.address", "VCPUS" = "size.vcpus",
        "MEMORY MIB" = "size.memory_mib", "HOST" = "host", "ERROR" = "error"
    ];
    CONSOLE_SESSION: "console session" "/v1/console-sessions" [
        "ID" = "id", "VM" = "vm", "BY" = "viewer", "VIEW ONLY" = "view_only", "PAGES" = "pages", "SEEN" = "seen_at",
        "ENDS" = "expires_at"
    ];
    CONSOLE_PROXY: "console proxy" "/v1/console-proxies" [
        "ID" = "id", "STATE" = "state", "ZONE" = "zone", "ADDRESS" = "address", "PORTS" = "servers.port",
        "SESSIONS" = "sessions", "OF" = "max_sessions", "MEMORY" = "memory_bytes", "HOST" = "host", "ERROR" = "error"
    ];
    VOLUME: "volume" "/v1/volumes" [
        "NAME" = "name", "KIND" = "kind", "STATE" = "state", "SIZE" = "size_bytes", "VM" = "vm",
        "ATTACHMENT" = "attachment", "ERROR" = "error"
    ];
    NIC: "network interface" "/v1/nics" ["ID" = "id"];
    OPERATION: "operation" "/v1/operations" [
        "ID" = "id", "KIND" = "kind", "STATE" = "state", "STEP" = "step", "ATTEMPTS" = "attempts",
        "ERROR" = "error.detail"
    ];
    EVENT: "event" "/v1/events" [
        "TIME" = "at", "ACTION" = "action", "BY" = "actor", "OF" = "subject_kind", "DETAIL" = "detail"
    ];
}

impl Kind {
    /// The id of the thing with that name or id.
    pub(crate) async fn id(self, api: &Api, which: &str) -> anyhow::Result<String> {
        if which.len() == 36 && which.bytes().filter(|byte| *byte == b'-').count() == 4 {
            return Ok(which.to_owned());
        }
        anyhow::ensure!(self.has_names(), "{which}: a {} has no name; give its id", self.noun);
        let found = api.list(self.path, &[("name".into(), which.to_owned())]).await?;
        match found.as_slice() {
            [one] => Ok(one["id"].as_str().unwrap_or_default().to_owned()),
            [] => anyhow::bail!("there is no {} named {which}", self.noun),
            _ => anyhow::bail!("there are {} of the name {which}; give the id of one", found.len()),
        }
    }

    /// Whether a list of them can be asked for one by its name.
    fn has_names(self) -> bool {
        ![ROUTER.path, CONSOLE_SESSION.path, CONSOLE_PROXY.path, OPERATION.path, EVENT.path]
            .contains(&self.path)
    }

    /// The thing with that name or id.
    pub(crate) async fn show(self, api: &Api, which: &str) -> anyhow::Result<Value> {
        let id = self.id(api, which).await?;
        Ok(api.get(&self.at(&id), &[]).await?)
    }

    /// The route of one thing.
    pub(crate) fn at(self, id: &str) -> String {
        format!("{}/{id}", self.path)
    }

    /// The name of the thing with an id, or the id itself.
    pub(crate) async fn name(self, api: &Api, id: &str) -> Result<String, ApiError> {
        let thing = api.get(&self.at(id), &[]).await?;
        let name = thing["name"].as_str().or(thing["address"].as_str());
        Ok(name.unwrap_or(id).to_owned())
    }
}
