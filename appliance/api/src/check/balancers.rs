//! The rules about balancers, of connections and of HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use podzol_vocab::{LoadBalancerId, NicId, Transport};

use super::entries::{IS_INSIDE, IS_PORT, LEADS_ONCE};
use super::{Checker, Found, IS_PUBLIC};
use crate::document::{Balancer, Check, CheckKind, Document, Member};
use crate::http::{HttpBalancer, Termination};
use crate::limits::{MAX_CONNECTIONS, MAX_IDLE_SECS, MAX_MEMBERS};

impl Checker {
    pub(super) fn check_balancer(
        &self,
        found: &mut Found,
        document: &Document,
        id: LoadBalancerId,
        balancer: &Balancer,
    ) {
        let own = fmt::from_fn(|f| write!(f, "balancers.{id}"));
        found.must(document.has_public(balancer.public), format_args!("{own}.public"), IS_PUBLIC);
        found.must(balancer.port > 0, format_args!("{own}.port"), IS_PORT);
        found.must(self.leads_of_balancer(id, balancer), format_args!("{own}.port"), LEADS_ONCE);
        document.check_members(found, &balancer.members, format_args!("{own}.members"));
        let Some(check) = &balancer.check else { return };
        let is_of_tcp = balancer.transport == Transport::Tcp;
        found.must(is_of_tcp, format_args!("{own}.check.kind"), "must be none for a balancer of UDP");
        check_check(found, check, format_args!("{own}.check"));
    }

    pub(super) fn check_http_balancer(
        &self,
        found: &mut Found,
        document: &Document,
        id: LoadBalancerId,
        balancer: &HttpBalancer,
    ) {
        let own = fmt::from_fn(|f| write!(f, "http_balancers.{id}"));
        found.must(document.has_public(balancer.public), format_args!("{own}.public"), IS_PUBLIC);
        found.must(balancer.port > 0, format_args!("{own}.port"), IS_PORT);
        found.must(self.leads_of_http(id, balancer), format_args!("{own}.port"), LEADS_ONCE);
        let is_one = !document.balancers.contains_key(&id);
        found.must(is_one, &own, "must not be a balancer of connections too");
        document.check_members(found, &balancer.members, format_args!("{own}.members"));
        let mut places = BTreeSet::new();
        for (nic, member) in &balancer.members {
            let is_own = places.insert((member.address, member.port));
            let field = format_args!("{own}.members.{nic}.port");
            found.must(is_own, field, "must be its own at its address");
        }
        if let Some(check) = &balancer.check {
            check_check(found, check, format_args!("{own}.check"));
        }
        if let Some((part, rule)) = balancer.tls.as_ref().and_then(Termination::problem) {
            found.must(false, format_args!("{own}.tls.{part}"), rule);
        }
        let fits = (1..=MAX_CONNECTIONS).contains(&balancer.max_connections);
        let rule = format_args!("must be 1 to {MAX_CONNECTIONS}");
        found.must(fits, format_args!("{own}.max_connections"), rule);
        let fits = (1..=MAX_IDLE_SECS).contains(&balancer.idle_secs);
        let rule = format_args!("must be 1 to {MAX_IDLE_SECS}");
        found.must(fits, format_args!("{own}.idle_secs"), rule);
    }
}

impl Document {
    fn check_members(&self, found: &mut Found, members: &BTreeMap<NicId, Member>, all: impl fmt::Display) {
        found.must(members.len() <= MAX_MEMBERS, &all, format_args!("must be at most {MAX_MEMBERS}"));
        for (nic, member) in members {
            let mut must = |holds, name, rule| found.must(holds, format_args!("{all}.{nic}.{name}"), rule);
            must(self.is_inside(member.address), "address", IS_INSIDE);
            must(member.port > 0, "port", IS_PORT);
            must((1..=100).contains(&member.weight), "weight", "must be 1 to 100");
        }
    }
}

fn check_check(found: &mut Found, check: &Check, field: impl fmt::Display) {
    let mut must = |holds, name: &str, rule| found.must(holds, format_args!("{field}.{name}"), rule);
    must((500..=60_000).contains(&check.interval_ms), "interval_ms", "must be 500 to 60000");
    must((100..=10_000).contains(&check.timeout_ms), "timeout_ms", "must be 100 to 10000");
    must((1..=10).contains(&check.rise), "rise", "must be 1 to 10");
    must((1..=10).contains(&check.fall), "fall", "must be 1 to 10");
    if let CheckKind::Http { path } = &check.kind {
        let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
        let is_path = path.starts_with('/') && path.len() <= 256 && visible;
        must(is_path, "kind.path", "must begin with / and be at most 256 visible ASCII characters");
    }
}
