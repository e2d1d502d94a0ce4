//! Tokens of EC2's IMDSv2: a token is bound to its VM and to a time, and nothing has to be remembered of it.

use std::fmt;
use std::time::Duration;

use podzol_vocab::VmId;
use ring::hmac;

/// The most that EC2 gives: six hours.
const MAX_TTL_SECS: u64 = 21_600;

const EXPIRY: usize = size_of::<u64>();

/// The key that tokens are signed with (HMAC-SHA-256, RFC 2104). A router makes one at its start; tokens of an earlier
/// start are wrong then, and clients ask for another when they get 401.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl TokenKey {
    /// The key of 32 random bytes.
    pub fn new(random: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, random))
    }

    /// A token for a VM that is valid until then: the second that it expires in and the signature, in hexadecimal.
    pub(crate) fn sign(&self, vm: VmId, now: Duration, ttl_secs: u64) -> String {
        let expiry = (now.as_secs() + ttl_secs).to_be_bytes();
        let tag = hmac::sign(&self.0, &message(vm, expiry));
        hex::encode([&expiry[..], tag.as_ref()].concat())
    }

    /// Whether it is a token of this VM that has not expired.
    pub(crate) fn is_valid(&self, token: &[u8], vm: VmId, now: Duration) -> bool {
        let Ok(bytes) = hex::decode(token) else { return false };
        let Some((expiry, tag)) = bytes.split_first_chunk::<EXPIRY>() else { return false };
        hmac::verify(&self.0, &message(vm, *expiry), tag).is_ok()
            && now.as_secs() < u64::from_be_bytes(*expiry)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How many seconds a client wants a token for; none if that is not 1 to 21600.
pub(crate) fn ttl_secs(header: &[u8]) -> Option<u64> {
    let is_number = (1..=5).contains(&header.len()) && header.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(header).ok().filter(|_| is_number)?.parse().ok()?;
    (1..=MAX_TTL_SECS).contains(&number).then_some(number)
}

fn message(vm: VmId, expiry: [u8; EXPIRY]) -> Vec<u8> {
    [&vm.as_bytes()[..], &expiry].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn a_token_is_valid_for_its_vm_until_it_expires() {
        let (key, vm) = (TokenKey::new(&[7; 32]), VmId::new());
        let token = key.sign(vm, NOW, 60);
        assert!(key.is_valid(token.as_bytes(), vm, Duration::from_secs(1059)));
        assert!(!key.is_valid(token.as_bytes(), vm, Duration::from_secs(1060)));
        assert!(!key.is_valid(token.as_bytes(), VmId::new(), NOW));
        assert!(!TokenKey::new(&[8; 32]).is_valid(token.as_bytes(), vm, NOW));
    }

    #[test]
    fn a_token_with_another_expiry_or_length_is_not_valid() {
        let (key, vm) = (TokenKey::new(&[7; 32]), VmId::new());
        let token = key.sign(vm, NOW, 60);
        let later = format!("{:016x}{}", 5000, &token[16..]);
        for wrong in [later.as_str(), &token[..78], &token[..16], "", "zz"] {
            assert!(!key.is_valid(wrong.as_bytes(), vm, NOW), "{wrong}");
        }
    }

    #[test]
    fn a_time_to_live_is_1_to_21600_seconds() {
        assert_eq!(ttl_secs(b"1"), Some(1));
        assert_eq!(ttl_secs(b"21600"), Some(21_600));
        for wrong in ["0", "21601", "", "-1", "+1", " 1", "x", "99999999999999999999999"] {
            assert_eq!(ttl_secs(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
