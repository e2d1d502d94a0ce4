//! Firewall rules as elements of an interval set, which must not overlap.
//!
//! A rule is about an outer prefix (a public address, a VM's of IPv6, or sources in a network), an inner prefix (sources outside, or
//! destinations), a protocol, and ports. Rules of the same two prefixes and protocol are one *area*, and their ports are
//! put together. Then, as prefixes either hold each other or have nothing in common, an area overlaps with another in
//! two ways only:
//!
//! - The other has both prefixes around this one's. Its ports are taken away from this one's.
//! - The other's outer prefix is around this one's and its inner prefix within this one's: they *cross*. The other's
//!   inner range is taken away from this one's, for the ports that are in both.
//!
//! The outcome covers what the rules cover and depends, for each area, on those that it overlaps with alone, and for each
//! run of its ports on no others. So a rule that comes or goes changes the pieces of the runs that it touches, its own
//! area's and those of areas that leave something to it; a rule that is there twice is there once.
//!
//! Few rules can make many pieces: 5,000 ports for everybody cut each of 64 sources that may have all ports in 5,001. So pieces
//! are counted while they are made, and there may be [`MAX_PIECES`] of a kind. What is too much depends on the rules alone,
//! not on the order in which they came.

mod bound;
mod of_document;
mod ports;
mod span;

use std::collections::BTreeMap;

use podzol_appliance_api::limits::MAX_PIECES;
use podzol_appliance_api::{PortRange, Traffic, Traffic6, Transport};

pub use self::bound::are_few;
pub use self::of_document::{egress, egress6, ingress, ingress6};
use self::ports::PortSet;
pub use self::span::{Net, Number, Span};

/// Whether something comes into the rule set or goes out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It comes.
    In,
    /// It goes.
    Out,
}

/// Which protocol a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// All protocols.
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP of IPv4.
    Icmp,
    /// ICMP of IPv6.
    Icmpv6,
}

/// Which packets a rule is about. ICMP has type and code as one number; where there are no ports, it is the one port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packets {
    protocol: Protocol,
    ports: Span,
}

impl Packets {
    const ALL: Self = Self { protocol: Protocol::Any, ports: Span::new(0, 0) };

    fn of_ports(protocol: Protocol, ports: PortRange) -> Self {
        Self { protocol, ports: Span::new(ports.first().into(), ports.last().into()) }
    }

    fn of_icmp(protocol: Protocol, of_type: Option<u8>, code: Option<u8>) -> Self {
        let ports = of_type.map_or(Span::new(0, 0xffff), |of_type| {
            let number = u32::from(of_type) << 8;
            let (first, last) = code.map_or((0, 0xff), |code| (code.into(), code.into()));
            Span::new(number | first, number | last)
        });
        Self { protocol, ports }
    }
}

impl From<Traffic> for Packets {
    fn from(traffic: Traffic) -> Self {
        match traffic {
            Traffic::All => Self::ALL,
            Traffic::Tcp { ports } => Self::of_ports(Protocol::Tcp, ports),
            Traffic::Udp { ports } => Self::of_ports(Protocol::Udp, ports),
            Traffic::Icmp { icmp_type, icmp_code } => Self::of_icmp(Protocol::Icmp, icmp_type, icmp_code),
        }
    }
}

impl From<Traffic6> for Packets {
    fn from(traffic: Traffic6) -> Self {
        match traffic {
            Traffic6::All => Self::ALL,
            Traffic6::Tcp { ports } => Self::of_ports(Protocol::Tcp, ports),
            Traffic6::Udp { ports } => Self::of_ports(Protocol::Udp, ports),
            Traffic6::Icmpv6 { icmp_type, icmp_code } => {
                Self::of_icmp(Protocol::Icmpv6, icmp_type, icmp_code)
            }
        }
    }
}

impl Protocol {
    /// As nft(8) has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
        }
    }
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

/// Part of what rules cover, which no other piece has anything in common with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece<A: Net> {
    /// Where it goes to or comes from on this side.
    pub outer: A,
    /// Of which protocol.
    pub protocol: Protocol,
    /// Its ports, or types of ICMP with their codes in the low byte.
    pub ports: Span,
    /// The addresses on the other side.
    pub inner: Span<A::Number>,
}

/// What a rule is about.
#[derive(Debug, Clone, Copy)]
pub struct Rule<A> {
    area: Area<A>,
    ports: Span,
}

impl<A> Rule<A> {
    /// A rule about packets of two prefixes.
    pub fn new(outer: A, packets: impl Into<Packets>, inner: A) -> Self {
        let Packets { protocol, ports } = packets.into();
        Self { area: Area { protocol, outer, inner }, ports }
    }
}

/// Sorted by outer prefix before inner, so that those within a prefix are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Area<A> {
    protocol: Protocol,
    outer: A,
    inner: A,
}

impl<A: Net> Area<A> {
    /// Whether it leaves to the other what is in both.
    fn yields_to(&self, other: &Self) -> bool {
        let is_around = other.inner.holds(self.inner) && self != other;
        let crosses = other.outer != self.outer && self.inner.holds(other.inner);
        other.outer.holds(self.outer) && (is_around || crosses)
    }
}

/// The most pieces of a kind, and the most boxes that one run may be in on its way to pieces.
const MOST: usize = MAX_PIECES as usize;

/// Rules make more pieces than there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// Rules, put together by what they are about.
#[derive(Debug, Default)]
pub struct Areas<A> {
    ports: BTreeMap<Area<A>, PortSet>,
    /// How many pieces they make.
    count: usize,
    outer_lengths: Lengths,
    inner_lengths: Lengths,
}

/// Lengths of prefixes, each with how many areas have it.
type Lengths = BTreeMap<u8, usize>;

impl<A: Net> Areas<A> {
    /// All rules at once, and what they cover, in pieces.
    ///
    /// # Errors
    /// When those are too many.
    pub fn of(rules: impl Iterator<Item = Rule<A>>) -> Result<(Self, Vec<Piece<A>>), TooMany> {
        let mut areas = Self::default();
        rules.for_each(|rule| areas.add(rule));
        let mut pieces = Pieces { made: Vec::with_capacity(areas.ports.len()), most: MOST };
        for (area, ports) in &areas.ports {
            ports.runs().try_for_each(|run| areas.add_pieces(area, run, &mut pieces))?;
        }
        areas.count = pieces.made.len();
        Ok((areas, pieces.made))
    }

    /// Puts a rule in or takes out one that is there. Gives the pieces that are no more, and those that are there instead;
    /// some may be in both.
    ///
    /// # Errors
    /// When there would be too many. These areas are of no use then.
    pub fn change(&mut self, way: Way, rule: Rule<A>) -> Result<Exchange<A>, TooMany> {
        let gone = self.pieces_near(&rule, self.count)?;
        match way {
            Way::In => self.add(rule),
            Way::Out => self.remove(&rule),
        }
        let others = self.count.saturating_sub(gone.len());
        let new = self.pieces_near(&rule, MOST.saturating_sub(others))?;
        self.count = others + new.len();
        Ok((gone, new))
    }

    fn add(&mut self, Rule { area, ports }: Rule<A>) {
        let of_area = self.ports.entry(area).or_insert_with(|| {
            *self.outer_lengths.entry(area.outer.length()).or_default() += 1;
            *self.inner_lengths.entry(area.inner.length()).or_default() += 1;
            PortSet::default()
        });
        of_area.add(ports);
    }

    fn remove(&mut self, Rule { area, ports }: &Rule<A>) {
        let Some(of_area) = self.ports.get_mut(area) else { return };
        of_area.remove(*ports);
        if of_area.is_empty() {
            self.ports.remove(area);
            forget(&mut self.outer_lengths, area.outer.length());
            forget(&mut self.inner_lengths, area.inner.length());
        }
    }

    /// The pieces that may be others without a rule or with it.
    fn pieces_near(&self, Rule { area, ports }: &Rule<A>, most: usize) -> Result<Vec<Piece<A>>, TooMany> {
        let mut pieces = Pieces { made: Vec::new(), most };
        if let Some(own) = self.ports.get(area) {
            // A run that ends where the rule begins becomes one with it.
            let touched = Span::new(ports.first.saturating_sub(1), ports.last.saturating_add(1));
            own.runs_in(touched).try_for_each(|run| self.add_pieces(area, run, &mut pieces))?;
        }
        let first = Area { inner: A::default(), ..*area };
        let (outer, inner) = (A::one(area.outer.span().last), A::one(A::default().span().last));
        let last = Area { outer, inner, ..*area };
        for (other, its_ports) in self.ports.range(first..=last).filter(|(other, _)| other.yields_to(area)) {
            its_ports.runs_in(*ports).try_for_each(|run| self.add_pieces(other, run, &mut pieces))?;
        }
        Ok(pieces.made)
    }

    /// Adds the pieces of one run of an area's ports.
    fn add_pieces(&self, area: &Area<A>, run: Span, pieces: &mut Pieces<A>) -> Result<(), TooMany> {
        let mut boxes = vec![(run, area.inner.span())];
        for (around, taken) in self.overlapping(area) {
            boxes = without(boxes, taken, around.span())?;
        }
        if pieces.made.len() + boxes.len() > pieces.most {
            return Err(TooMany);
        }
        let Area { protocol, outer, .. } = *area;
        pieces.made.extend(boxes.into_iter().map(|(ports, inner)| Piece { outer, protocol, ports, inner }));
        Ok(())
    }

    /// The areas that this one leaves to them what is in both, each with its inner prefix and its ports.
    fn overlapping(&self, area: &Area<A>) -> impl Iterator<Item = (A, &PortSet)> {
        let Area { protocol, outer, inner } = *area;
        prefixes_around(&self.outer_lengths, outer).flat_map(move |other| {
            let at = move |inner| Area { protocol, outer: other, inner };
            let around = prefixes_around(&self.inner_lengths, inner)
                .filter(move |prefix| (other, *prefix) != (outer, inner))
                .filter_map(move |prefix| Some((prefix, self.ports.get(&at(prefix))?)));
            let last = A::one(inner.span().last);
            let within = (other != outer).then(|| self.ports.range(at(inner)..=at(last)));
            let within = within.into_iter().flatten().map(|(area, ports)| (area.inner, ports));
            around.chain(within.filter(move |(prefix, _)| prefix.length() > inner.length()))
        })
    }
}

/// Pieces that go, and those that come instead.
pub type Exchange<A> = (Vec<Piece<A>>, Vec<Piece<A>>);

/// Pieces that are being made, and how many there may be.
struct Pieces<A: Net> {
    made: Vec<Piece<A>>,
    most: usize,
}

fn forget(lengths: &mut Lengths, length: u8) {
    if let Some(count) = lengths.get_mut(&length) {
        *count -= 1;
        if *count == 0 {
            lengths.remove(&length);
        }
    }
}

/// The prefixes of these lengths that hold another, and itself.
fn prefixes_around<A: Net>(lengths: &Lengths, net: A) -> impl Iterator<Item = A> {
    let fit = lengths.range(..=net.length());
    fit.filter_map(move |(length, _)| A::around(net.span().first, *length))
}

/// Ports of addresses.
type PortBox<N> = (Span, Span<N>);

/// Boxes of ports and addresses, without those ports of those addresses.
fn without<N: Number>(
    boxes: Vec<PortBox<N>>,
    taken: &PortSet,
    addresses: Span<N>,
) -> Result<Vec<PortBox<N>>, TooMany> {
    let mut left = Vec::with_capacity(boxes.len());
    for (its_ports, its_addresses) in boxes {
        if left.len() > MOST {
            return Err(TooMany);
        }
        if its_addresses.and(addresses).is_none() {
            left.push((its_ports, its_addresses));
            continue;
        }
        let mut next = its_ports.first;
        for both in taken.runs_in(its_ports).filter_map(|run| run.and(its_ports)) {
            if next < both.first {
                left.push((Span::new(next, both.first - 1), its_addresses));
            }
            left.extend(its_addresses.without(addresses).map(|addresses| (both, addresses)));
            next = both.last + 1;
        }
        if next <= its_ports.last {
            left.push((Span::new(next, its_ports.last), its_addresses));
        }
    }
    if left.len() > MOST { Err(TooMany) } else { Ok(left) }
}

#[cfg(test)]
mod tests;
