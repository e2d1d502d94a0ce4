//! Names of network interfaces.

use std::fmt;
use std::str::FromStr;

use crate::{Invalid, string_form};

/// The name of a network interface: 1 to 15 bytes, as the kernel takes it (`dev_valid_name` in net/core/dev.c),
/// and without characters that would need quoting anywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InterfaceName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 15 || !text.chars().all(allowed) || text == "." || text == ".." {
            return Err(Invalid::new("must be an interface name: 1 to 15 letters, digits, '-', '_' or '.'"));
        }
        Ok(Self(text.to_owned()))
    }
}

string_form!(InterfaceName, "eth1");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_or_a_path_could_not_take_are_refused() {
        for bad in ["", "..", "a/b", "a b", "sixteen-letters-", "é"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad}");
        }
        assert!("enp0s31f6.4094".parse::<InterfaceName>().is_ok());
    }
}
