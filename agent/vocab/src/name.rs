//! Names that people give to things.

use std::fmt;
use std::str::FromStr;

use crate::{Invalid, string_form};

/// The name of an object: a DNS label (RFC 1123, 2.1), so that a VM's name can be its host name. 1 to 63 lower-case
/// letters, digits and hyphens, beginning and ending with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let ok = (1..=63).contains(&text.len())
            && text.chars().all(inside)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !ok {
            return Err(Invalid::new(
                "must be 1 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

string_form!(Name, "web-1");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        for good in ["a", "web-1", &"x".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
    }
}
