//! What makes a lab host this host and no other: its name, addresses and keys. All hosts share one root image; each gets
//! its seed as a second archive behind the image's initramfs, whose init copies it over the root before systemd starts.
//!
//! So nothing has to run in the host for it, and no second drive is needed: measured as the leanest way.

use std::fmt;
use std::net::IpAddr;

use crate::cpio::Archive;

/// A lab host's identity.
#[derive(Debug, Clone, Copy)]
pub struct HostSeed<'a> {
    /// Its name.
    pub hostname: &'a str,
    /// Its `/etc/machine-id`: 32 hex digits.
    pub machine_id: &'a str,
    /// Its links in the kernel's order, `eth0` first, and what each begins as.
    pub links: &'a [Link],
    /// The private SSH key of the host, in OpenSSH form (ed25519).
    pub host_key: &'a str,
    /// Who may log in as root: lines of `authorized_keys`.
    pub authorized_keys: &'a str,
    /// Its `/etc/hosts`.
    pub hosts: &'a str,
}

/// What a link of a lab host is when the host has booted. As text, the part of a line in `/etc/lab/net` behind its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It has an address, with the length of its prefix.
    Address(IpAddr, u8),
    /// It is up.
    Up,
    /// It is the port of a bridge of that name, which is made for it. The host itself has nothing to say on either.
    PortOf(&'static str),
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address, length) => write!(f, "{address}/{length}"),
            Self::Up => f.write_str("-"),
            Self::PortOf(bridge) => write!(f, "- {bridge}"),
        }
    }
}

impl HostSeed<'_> {
    /// The image's initramfs with this seed behind it.
    pub fn initrd(&self, image: &[u8]) -> Vec<u8> {
        let mut out = image.to_vec();
        // The kernel looks for a next archive at a multiple of 4 bytes.
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(self.archive().bytes(0));
        out
    }

    fn archive(&self) -> Archive {
        let mut archive = Archive::new();
        for folder in ["seed", "seed/etc", "seed/etc/lab", "seed/etc/ssh"] {
            archive.folder(folder);
        }
        archive.folder_mode("seed/root", 0o700).folder_mode("seed/root/.ssh", 0o700);
        archive
            .file("seed/etc/hostname", 0o644, format!("{}\n", self.hostname))
            .file("seed/etc/machine-id", 0o444, format!("{}\n", self.machine_id))
            .file("seed/etc/hosts", 0o644, self.hosts)
            .file("seed/etc/lab/net", 0o644, self.net())
            .file("seed/etc/ssh/ssh_host_ed25519_key", 0o600, self.host_key)
            .file("seed/root/.ssh/authorized_keys", 0o600, self.authorized_keys);
        archive
    }

    /// Lines of `LINK ADDRESS/LENGTH`, `LINK -` for a link without an address, or `LINK - BRIDGE` for a port.
    fn net(&self) -> String {
        self.links.iter().enumerate().map(|(number, link)| format!("eth{number} {link}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_follows_the_image_at_a_multiple_of_four_bytes() {
        let seed = HostSeed {
            hostname: "c1",
            machine_id: "00000000000000000000000000000001",
            links: &[Link::Address(IpAddr::from([10, 99, 0, 11]), 24), Link::Up, Link::PortOf("br0")],
            host_key: "KEY",
            authorized_keys: "ssh-ed25519 AAAA",
            hosts: "127.0.0.1 localhost\n",
        };
        let initrd = seed.initrd(b"image");
        assert_eq!(&initrd[..14], b"image\0\0\x00070701");
        let text = String::from_utf8_lossy(&initrd);
        assert!(text.contains("eth0 10.99.0.11/24\neth1 -\neth2 - br0\n"), "{text}");
        assert!(text.contains("seed/root/.ssh/authorized_keys"));
    }
}
