//! Routes and rules of policy routing that no router has: whoever made them, they would lead packets elsewhere.
//!
//! What a router has beside its routes through gateways is the kernel's own: routes to the links' ranges and addresses, in
//! the tables `main` and `local`, and the rules by which the tables are asked, three of IPv4 and two of IPv6 (ip-rule(8)).

use std::net::IpAddr;

use rtnetlink::IpVersion;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

/// Something that should not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stray {
    /// A route, as it has to be told to be removed.
    Route(Box<RouteMessage>),
    /// A rule.
    Rule(Box<RuleMessage>),
}

/// A family of addresses, which has rules and tables of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// That of an address.
    pub(crate) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(super) const fn version(self) -> IpVersion {
        match self {
            Self::V4 => IpVersion::V4,
            Self::V6 => IpVersion::V6,
        }
    }

    /// The tables that are always asked.
    const fn tables(self) -> &'static [Table] {
        match self {
            Self::V4 => &[Table::Local, Table::Main, Table::Default],
            Self::V6 => &[Table::Local, Table::Main],
        }
    }

    const fn number(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// A table that is always asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// The addresses of this machine.
    Local,
    /// The routes.
    Main,
    /// What nobody else knows; empty.
    Default,
}

impl Table {
    /// Its number, and the priority at which it is asked.
    const fn place(self) -> (u32, u32) {
        match self {
            Self::Local => (255, 0),
            Self::Main => (254, 32_766),
            Self::Default => (253, 32_767),
        }
    }

    /// The rule by which it is asked.
    pub(super) fn rule(self, family: Family) -> RuleMessage {
        let (table, priority) = self.place();
        let mut message = RuleMessage::default();
        message.header.family = family.number();
        message.header.action = RuleAction::ToTable;
        message.header.table = table as u8;
        message.attributes = vec![RuleAttribute::Priority(priority), RuleAttribute::Table(table)];
        message
    }

    /// Whether this rule has it asked for all packets.
    fn is_asked_by(self, rule: &RuleMessage) -> bool {
        let header = &rule.header;
        let (mut table, mut priority, mut is_for_all) = (header.table.into(), 0, true);
        for attribute in &rule.attributes {
            match attribute {
                RuleAttribute::Table(number) => table = *number,
                RuleAttribute::Priority(number) => priority = *number,
                // Those that the kernel always tells.
                RuleAttribute::Protocol(_) | RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
                _ => is_for_all = false,
            }
        }
        let is_plain = header.action == RuleAction::ToTable
            && (header.src_len, header.dst_len, header.tos) == (0, 0, 0)
            && header.flags.is_empty();
        is_for_all && is_plain && (table, priority) == self.place()
    }
}

/// The rules that should not be there, and the tables that are not asked.
pub(super) fn of_rules(family: Family, rules: Vec<RuleMessage>) -> (Vec<Stray>, Vec<Table>) {
    let tables = || family.tables().iter().copied();
    let unasked = tables().filter(|table| !rules.iter().any(|rule| table.is_asked_by(rule)));
    let unasked = unasked.collect();
    let is_usual = |rule: &RuleMessage| tables().any(|table| table.is_asked_by(rule));
    let strays = rules.into_iter().filter(|rule| !is_usual(rule));
    (strays.map(|rule| Stray::Rule(Box::new(rule))).collect(), unasked)
}

/// A route that is none of the kernel's own, as a stray.
pub(super) fn of_route(route: &RouteMessage) -> Option<Stray> {
    let tables = [Table::Main, Table::Local].map(|table| table.place().0);
    let is_own = tables.contains(&table(route)) && route.header.protocol == RouteProtocol::Kernel;
    (!is_own).then(|| Stray::Route(Box::new(removal(route))))
}

/// The table that a route is in.
pub(super) fn table(route: &RouteMessage) -> u32 {
    let number = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(number) => Some(*number),
        _ => None,
    });
    number.unwrap_or(route.header.table.into())
}

/// What tells this route from all others, and nothing that the kernel tells only.
fn removal(route: &RouteMessage) -> RouteMessage {
    let mut message = route.clone();
    message.header.flags = RouteFlags::empty();
    message.header.protocol = RouteProtocol::Unspec;
    message.header.scope = RouteScope::NoWhere;
    message.attributes.retain(|attribute| {
        use RouteAttribute::{Destination, Gateway, MultiPath, Oif, Priority, Table};
        matches!(attribute, Destination(_) | Gateway(_) | MultiPath(_) | Oif(_) | Priority(_) | Table(_))
    });
    message
}

#[cfg(test)]
impl Stray {
    pub(super) fn route_of_table(table: u8) -> Self {
        let mut message = RouteMessage::default();
        message.header.table = table;
        Self::Route(Box::new(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_the_family_s_tables_are_usual_and_every_other_is_a_stray() {
        for family in Family::ALL {
            let usual: Vec<RuleMessage> = family.tables().iter().map(|table| table.rule(family)).collect();
            assert_eq!(of_rules(family, usual.clone()), (vec![], vec![]));
            let mut other = Table::Main.rule(family);
            other.attributes.push(RuleAttribute::FwMark(1));
            let mut inverted = Table::Main.rule(family);
            inverted.header.src_len = 8;
            for stray in [other, inverted] {
                let (strays, unasked) = of_rules(family, [&usual[..], std::slice::from_ref(&stray)].concat());
                assert_eq!((strays, unasked), (vec![Stray::Rule(Box::new(stray))], vec![]));
            }
            assert_eq!(of_rules(family, usual[..1].to_vec()).1, family.tables()[1..]);
        }
    }

    #[test]
    fn routes_of_the_kernel_s_own_stay_and_others_go_whatever_their_table() {
        let mut route = RouteMessage::default();
        route.header.table = Table::Main.place().0 as u8;
        route.header.protocol = RouteProtocol::Kernel;
        assert_eq!(of_route(&route), None);
        let mut of_other_table = route.clone();
        of_other_table.attributes.push(RouteAttribute::Table(1000));
        assert!(of_route(&of_other_table).is_some());
        route.header.protocol = RouteProtocol::Boot;
        assert!(of_route(&route).is_some());
    }
}
