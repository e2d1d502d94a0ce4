//! Names of domains, and of hosts in them (RFC 1035, 2.3; RFC 1123, 2.1). All are written in lower case and without the
//! last dot.

use std::fmt;
use std::str::FromStr;

use crate::{Invalid, Name, string_form};

/// The longest domain in bytes: a label of 63 and a dot before it make the longest name, which is 253 (RFC 1035, 2.3.4).
const MAX_DOMAIN: usize = 189;

/// The longest name in bytes, written with dots.
const MAX_HOST: usize = 253;

/// A domain: names (DNS labels) with dots between, at most 189 bytes, so that the name of any VM fits before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

impl DomainName {
    /// As text, without the last dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it is in packets (RFC 1035, 3.1): each name with its length before it, and a zero at the end.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() + 2);
        for name in self.0.split('.') {
            // A name has at most 63 bytes.
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.push(0);
        bytes
    }

    /// The name of a host in this domain.
    pub fn host(&self, label: &Name) -> HostName {
        HostName(format!("{label}.{self}"))
    }
}

impl FromStr for DomainName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_DOMAIN || !is_of_names(text) {
            return Err(Invalid::new(
                "must be a domain such as net-1.example.internal, in lower case and at most 189 bytes long",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_form!(DomainName, "net-1.example.internal");

/// The name of a host: names (DNS labels) with dots between, at most 253 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// As text, without the last dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first name, if it is in this domain and directly below it.
    pub fn label_in(&self, domain: &DomainName) -> Option<&str> {
        let label = self.0.strip_suffix(domain.as_str())?.strip_suffix('.')?;
        (!label.contains('.')).then_some(label)
    }

    /// Whether it is a domain's own name, or in it at any depth.
    pub fn is_in(&self, domain: &DomainName) -> bool {
        let before = self.0.strip_suffix(domain.as_str());
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    }
}

impl FromStr for HostName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_HOST || !is_of_names(text) {
            return Err(Invalid::new(
                "must be a host name such as web-1.example.internal, in lower case and at most 253 bytes long",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_form!(HostName, "web-1.example.internal");

/// Whether a text is names with dots between. A last one of digits alone would make it an address to many a program
/// (RFC 1123, 2.1).
fn is_of_names(text: &str) -> bool {
    let mut labels = text.split('.');
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    labels.clone().all(|label| label.parse::<Name>().is_ok()) && !labels.next_back().is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_in_a_packet_is_its_names_with_their_lengths() {
        assert_eq!(
            "net.a7.internal".parse::<DomainName>().unwrap().to_wire(),
            b"\x03net\x02a7\x08internal\0"
        );
    }

    #[test]
    fn a_domain_is_names_in_lower_case_and_no_address() {
        for bad in ["", ".", "a.", ".a", "A.b", "a..b", "a_b.c", "10.0.0.1", "a.7", &"x.".repeat(94), "ü.b"]
        {
            assert!(bad.parse::<DomainName>().is_err(), "{bad}");
        }
        let longest = format!("{}x", "x.".repeat(94));
        for good in ["internal", "console.example.org", "a.7b", &longest] {
            assert!(good.parse::<DomainName>().is_ok(), "{good}");
        }
        assert!(format!("x{longest}").parse::<DomainName>().is_err());
    }

    #[test]
    fn any_name_fits_before_the_longest_domain() {
        let domain: DomainName = format!("{}x", "x.".repeat(94)).parse().unwrap();
        let host = domain.host(&"y".repeat(63).parse().unwrap());
        assert_eq!(host.as_str().parse::<HostName>().unwrap(), host);
        assert_eq!(host.as_str().len(), MAX_HOST);
    }

    #[test]
    fn a_host_knows_the_domain_that_it_is_in() {
        let domain: DomainName = "example.org".parse().unwrap();
        let host = |text: &str| text.parse::<HostName>().unwrap();
        assert_eq!(host("a.example.org").label_in(&domain), Some("a"));
        for (other, is_in) in
            [("a.b.example.org", true), ("example.org", true), ("aexample.org", false), ("org", false)]
        {
            assert_eq!(host(other).label_in(&domain), None, "{other}");
            assert_eq!(host(other).is_in(&domain), is_in, "{other}");
        }
    }
}
