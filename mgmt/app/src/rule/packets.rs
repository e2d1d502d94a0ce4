//! Which packets rules are about.

use podzol_appliance_api::limits::MAX_RANGES;
use podzol_mgmt_api::firewall::{Packets, Protocol};
use podzol_vocab::{IpRange, Ipv4Range, Ipv6Range, PortRange};

use crate::AppError;

/// Over which of the two a rule's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// That of a range.
    pub(super) const fn of(range: IpRange) -> Self {
        match range {
            IpRange::V4(_) => Self::V4,
            IpRange::V6(_) => Self::V6,
        }
    }

    /// All its addresses.
    pub(super) const fn everywhere(self) -> IpRange {
        match self {
            Self::V4 => IpRange::V4(Ipv4Range::ALL),
            Self::V6 => IpRange::V6(Ipv6Range::ALL),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Packets as they were asked for, if their fields go together.
pub(super) fn checked(
    family: Family,
    protocol: Protocol,
    ports: Option<PortRange>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
) -> Result<Packets, AppError> {
    if ports.is_some() && !matches!(protocol, Protocol::Tcp | Protocol::Udp) {
        return Err(AppError::invalid("ports", "must be left out but for tcp and udp"));
    }
    match (family, protocol) {
        (Family::V4, Protocol::Icmpv6) => {
            return Err(AppError::invalid("protocol", "must be icmp, as the rule is over IPv4"));
        }
        (Family::V6, Protocol::Icmp) => {
            return Err(AppError::invalid("protocol", "must be icmpv6, as the rule is over IPv6"));
        }
        _ => {}
    }
    if icmp_type.is_some() && !matches!(protocol, Protocol::Icmp | Protocol::Icmpv6) {
        return Err(AppError::invalid("icmp_type", "must be left out but for icmp and icmpv6"));
    }
    if icmp_code.is_some() && icmp_type.is_none() {
        return Err(AppError::invalid("icmp_code", "must come with an icmp_type"));
    }
    Ok(Packets { protocol, ports, icmp_type, icmp_code })
}

/// Refuses what can only be changed together with a protocol.
pub(super) fn must_be_alone(
    ports: Option<PortRange>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
) -> Result<(), AppError> {
    if ports.is_some() || icmp_type.is_some() || icmp_code.is_some() {
        return Err(AppError::invalid("protocol", "must come with what is new about packets"));
    }
    Ok(())
}

/// Refuses too many ranges, some of the other family, or some that overlap.
pub(super) fn must_be_ranges(
    field: &'static str,
    family: Family,
    ranges: &[IpRange],
) -> Result<(), AppError> {
    if !(1..=MAX_RANGES).contains(&ranges.len()) {
        return Err(AppError::invalid(field, format!("must be 1 to {MAX_RANGES} ranges")));
    }
    if let Some(other) = ranges.iter().find(|range| Family::of(**range) != family) {
        let name = family.name();
        return Err(AppError::invalid(field, format!("must be {name}, as the rule is; {other} is not")));
    }
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| bounds(*range));
    match sorted.windows(2).find(|pair| bounds(pair[0]).1 >= bounds(pair[1]).0) {
        None => Ok(()),
        Some(pair) => {
            Err(AppError::invalid(field, format!("must not overlap, but {} and {} do", pair[0], pair[1])))
        }
    }
}

/// The first and the last address of a range, as numbers of its family.
fn bounds(range: IpRange) -> (u128, u128) {
    match range {
        IpRange::V4(range) => {
            let net = range.net();
            (net.network().to_bits().into(), net.broadcast().to_bits().into())
        }
        IpRange::V6(range) => {
            let net = range.net();
            (net.network().to_bits(), net.broadcast().to_bits())
        }
    }
}

/// Refuses ranges that are not within another one of their family.
pub(super) fn must_be_within(
    field: &'static str,
    ranges: &[IpRange],
    whole: IpRange,
) -> Result<(), AppError> {
    let family = Family::of(whole);
    must_be_ranges(field, family, ranges)?;
    let (first, last) = bounds(whole);
    let is_outside = |range: &&IpRange| bounds(**range).0 < first || bounds(**range).1 > last;
    match ranges.iter().find(is_outside) {
        None => Ok(()),
        Some(range) => {
            let rule = format!("must be in the network's range {whole}, which {range} is not");
            Err(AppError::invalid(field, rule))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_about_packets_go_together() {
        let ports = Some(PortRange::ALL);
        use Family::{V4, V6};
        assert!(checked(V4, Protocol::Tcp, ports, None, None).is_ok());
        assert!(checked(V4, Protocol::Icmp, None, Some(8), Some(0)).is_ok());
        assert!(checked(V6, Protocol::Icmpv6, None, Some(128), Some(0)).is_ok());
        assert!(checked(V4, Protocol::All, None, None, None).is_ok());
        for bad in [
            checked(V4, Protocol::All, ports, None, None),
            checked(V4, Protocol::Icmp, ports, None, None),
            checked(V4, Protocol::Udp, None, Some(8), None),
            checked(V4, Protocol::Icmp, None, None, Some(0)),
            checked(V4, Protocol::Icmpv6, None, None, None),
            checked(V6, Protocol::Icmp, None, None, None),
        ] {
            assert!(bad.is_err());
        }
    }

    #[test]
    fn ranges_do_not_overlap_and_are_not_too_many() {
        let ranges =
            |texts: &[&str]| -> Vec<IpRange> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let must_be_ranges = |family, ranges: &[IpRange]| must_be_ranges("sources", family, ranges);
        assert!(must_be_ranges(Family::V4, &ranges(&["10.0.1.0/24", "10.0.0.0/24"])).is_ok());
        assert!(must_be_ranges(Family::V6, &ranges(&["2001:db8:1::/48", "2001:db8::/48"])).is_ok());
        for bad in [
            &[][..],
            &["10.0.0.0/8", "10.1.0.0/16"],
            &["10.0.0.1", "10.0.0.1"],
            &["0.0.0.0/0", "9.9.9.9"],
            &["10.0.0.0/8", "2001:db8::/32"],
        ] {
            assert!(must_be_ranges(Family::V4, &ranges(bad)).is_err(), "{bad:?}");
        }
        for bad in [&["::/0", "2001:db8::7"][..], &["2001:db8::/32", "2001:db8:ffff::/48"], &["10.0.0.0/8"]] {
            assert!(must_be_ranges(Family::V6, &ranges(bad)).is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..65).map(|number| format!("10.0.{number}.0/24")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(must_be_ranges(Family::V4, &ranges(&many)).is_err());
        assert!(must_be_ranges(Family::V4, &ranges(&many[..64])).is_ok());
    }

    #[test]
    fn ranges_are_within_their_networks() {
        let within = |range: &str, whole: &str| {
            must_be_within("sources", &[range.parse().unwrap()], whole.parse().unwrap()).is_ok()
        };
        assert!(within("10.1.1.128/25", "10.1.1.0/24") && within("2001:db8::7", "2001:db8::/64"));
        assert!(!within("10.1.0.0/16", "10.1.1.0/24") && !within("2001:db8:0:1::7", "2001:db8::/64"));
        assert!(!within("10.1.1.7", "2001:db8::/64"));
    }
}
