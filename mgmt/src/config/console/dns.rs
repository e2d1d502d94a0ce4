//! The section `[console.dns]`: a name server for the console domain, and what may not be in that domain.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use podzol_mgmt_dns::{NameServer, Settings};
use podzol_rpc::config::Rules;
use podzol_rpc::peer;
use podzol_vocab::{DomainName, HostName};
use serde::Deserialize;

/// How many addresses to listen at, and how many name servers and addresses of each there may be: more than anybody has, and
/// few enough for one answer over TCP.
const MAX_LISTEN: usize = 16;
const MAX_NAME_SERVERS: usize = 8;
const MAX_ADDRESSES: usize = 8;

/// A name server for the console domain, which the domain above it must name as such.
#[derive(Debug, Clone, Deserialize)]
pub struct Dns {
    /// Where it listens over UDP and TCP: addresses of this machine, usually with port 53.
    pub listen: Vec<SocketAddr>,
    /// The domain's name servers, the primary one first.
    pub name_servers: Vec<NameServer>,
    /// How many answers a second a network of clients gets (an IPv4 /24, an IPv6 /56).
    #[serde(default = "default_answers")]
    pub answers_per_second: NonZeroU32,
}

/// A resolver asks once a minute for each proxy that its users look at.
fn default_answers() -> NonZeroU32 {
    const { NonZeroU32::new(100).unwrap() }
}

/// Notes what is wrong with the console domain itself. `api_names` are those by which clients know the API: a console proxy,
/// which has a certificate for all names directly below the domain, could be taken for who else has one there.
pub(in crate::config) fn check_domain(rules: &mut Rules, domain: &DomainName, api_names: &[String]) {
    let is_of_parts = peer::DOMAIN.parse().is_ok_and(|parts| is_in(domain, &parts));
    let rule = format!("must not be in {}, which Podzol's own parts have their names in", peer::DOMAIN);
    rules.must(!is_of_parts, &format!("console.domain: {rule}"));
    for name in api_names {
        let is_there = name.to_ascii_lowercase().parse::<HostName>().is_ok_and(|name| name.is_in(domain));
        rules.must(!is_there, &format!("console.domain: must not have the API's name in it: {name}"));
    }
}

impl Dns {
    /// As the name server takes it.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            name_servers: self.name_servers.clone(),
            listen: self.listen.clone(),
            answers_per_second: self.answers_per_second,
        }
    }

    pub(super) fn check(&self, rules: &mut Rules, domain: &DomainName) {
        let count = (1..=MAX_LISTEN).contains(&self.listen.len());
        rules.must(count, &format!("console.dns.listen: must be 1 to {MAX_LISTEN} addresses with ports"));
        for (place, address) in self.listen.iter().enumerate() {
            let field = format!("console.dns.listen[{place}]");
            let is_one = is_of_one_machine(address.ip());
            rules.must(
                is_one,
                &format!(
                    "{field}: must be an address of this machine, as it answers from where it was asked"
                ),
            );
            rules.must(!self.listen[..place].contains(address), &format!("{field}: must not come twice"));
        }
        let count = (1..=MAX_NAME_SERVERS).contains(&self.name_servers.len());
        rules.must(count, &format!("console.dns.name_servers: must be 1 to {MAX_NAME_SERVERS}"));
        for (place, server) in self.name_servers.iter().enumerate() {
            let field = format!("console.dns.name_servers[{place}]");
            let is_first = self.name_servers[..place].iter().all(|other| other.name != server.name);
            rules.must(is_first, &format!("{field}.name: must not come twice"));
            check_name_server(rules, server, domain, &field);
        }
        let rate = self.answers_per_second.get();
        rules.must(rate <= 100_000, "console.dns.answers_per_second: must be at most 100000");
    }
}

fn check_name_server(rules: &mut Rules, server: &NameServer, domain: &DomainName, field: &str) {
    if !server.name.is_in(domain) {
        let rule = "must be left out, as who answers for the name's own domain tells them";
        rules.must(server.addresses.is_empty(), &format!("{field}.addresses: {rule}"));
        return;
    }
    let is_below = server.name.label_in(domain).is_some();
    rules.must(is_below, &format!("{field}.name: must be directly below {domain}, or not in it"));
    let count = (1..=MAX_ADDRESSES).contains(&server.addresses.len());
    rules
        .must(count, &format!("{field}.addresses: must be 1 to {MAX_ADDRESSES}, as the name is in {domain}"));
    let good = server.addresses.iter().all(|address| is_of_one_machine(*address));
    rules.must(good, &format!("{field}.addresses: must each be of one machine"));
}

fn is_in(domain: &DomainName, other: &DomainName) -> bool {
    domain.as_str().parse::<HostName>().is_ok_and(|name| name.is_in(other))
}

fn is_of_one_machine(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{GOOD, check};

    const CONSOLE: &str =
        "[console]\ndomain = 'console.example.org'\napi_origin = 'https://cloud.example.org'\n";

    const DNS: &str = "[console.dns]\nlisten = ['192.0.2.1:53', '[2001:db8::53]:53']\n\
        name_servers = [{ name = 'ns1.console.example.org', addresses = ['192.0.2.1', '2001:db8::53'] }, \
        { name = 'ns.example.net' }]\n";

    #[track_caller]
    fn check_changed(what: &str, with: &str, expected: &[&str]) {
        let text = [GOOD, CONSOLE, DNS].concat();
        assert!(text.contains(what), "{what}");
        check(&text.replace(what, with), expected);
    }

    #[test]
    fn consoles_take_a_domain_and_may_have_a_name_server() {
        check(&[GOOD, CONSOLE].concat(), &[]);
        check(&[GOOD, CONSOLE, "names = 'opaque'\n", DNS, "answers_per_second = 1\n"].concat(), &[]);
        check(&[GOOD, "[console]\n"].concat(), &["console: missing field `domain`"]);
        check(&[GOOD, CONSOLE, "[console.dns]\n"].concat(), &["console.dns: missing field `listen`"]);
    }

    #[test]
    fn all_that_is_wrong_with_consoles_is_said_at_once() {
        check(
            &[
                "names = ['API.Console.example.org', 'example.org']\n",
                GOOD,
                CONSOLE,
                "colour = 'red'\n[console.dns]\nlisten = ['0.0.0.0:53', '127.0.0.1:53', '127.0.0.1:53', '[ff02::1]:53']\n\
                 answers_per_second = 100001\nforward = true\n\
                 [[console.dns.name_servers]]\nname = 'ns1.console.example.org'\n\
                 [[console.dns.name_servers]]\nname = 'a.ns.console.example.org'\naddresses = ['0.0.0.0']\n\
                 [[console.dns.name_servers]]\nname = 'ns.example.net'\naddresses = ['192.0.2.1']\n\
                 [[console.dns.name_servers]]\nname = 'ns.example.net'\n",
            ]
            .concat(),
            &[
                "console.colour: is not a known key",
                "console.dns.forward: is not a known key",
                "console.domain: must not have the API's name in it: API.Console.example.org",
                "console.dns.listen[0]: must be an address of this machine, as it answers from where it was asked",
                "console.dns.listen[2]: must not come twice",
                "console.dns.listen[3]: must be an address of this machine, as it answers from where it was asked",
                "console.dns.name_servers[0].addresses: must be 1 to 8, as the name is in console.example.org",
                "console.dns.name_servers[1].name: must be directly below console.example.org, or not in it",
                "console.dns.name_servers[1].addresses: must each be of one machine",
                "console.dns.name_servers[2].addresses: must be left out, as who answers for the name's own domain \
                 tells them",
                "console.dns.name_servers[3].name: must not come twice",
                "console.dns.answers_per_second: must be at most 100000",
            ],
        );
    }

    #[test]
    fn the_domain_is_no_place_where_others_have_names() {
        let rule =
            "console.domain: must not be in podzol.internal, which Podzol's own parts have their names in";
        for domain in ["podzol.internal", "host.podzol.internal"] {
            check(&[GOOD, &CONSOLE.replace("console.example.org", domain)].concat(), &[rule]);
        }
        check(&[GOOD, &CONSOLE.replace("console.example.org", "xpodzol.internal")].concat(), &[]);
        let rule = "console.domain: must be a domain such as net-1.example.internal, in lower case and at most 189 bytes long";
        for domain in ["", "Console.example.org", "console.example.org.", "192.0.2.1"] {
            check(&[GOOD, &CONSOLE.replace("console.example.org", domain)].concat(), &[rule]);
        }
    }

    #[test]
    fn a_name_server_is_not_the_domain_itself() {
        check_changed(
            "ns1.console",
            "console",
            &["console.dns.name_servers[0].name: must be directly below console.example.org, or not in it"],
        );
        check_changed(
            "'192.0.2.1:53', '[2001:db8::53]:53'",
            "",
            &["console.dns.listen: must be 1 to 16 addresses with ports"],
        );
    }
}
