//! VNC authentication: DES with the password as its key (RFC 6143, 7.2.2).

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};

/// Encrypts a challenge. The bits of each byte of the key are the password's in reverse: the RFC's text
/// does not say so, but every implementation does it.
pub(super) fn answer(password: &str, mut challenge: [u8; 16]) -> [u8; 16] {
    let mut key = [0; 8];
    key.iter_mut().zip(password.bytes()).for_each(|(key, byte)| *key = byte.reverse_bits());
    let cipher = Des::new(&key.into());
    for block in challenge.chunks_exact_mut(8) {
        let mut encrypted = [0; 8];
        encrypted.copy_from_slice(block);
        let mut encrypted = encrypted.into();
        cipher.encrypt_block(&mut encrypted);
        block.copy_from_slice(&encrypted);
    }
    challenge
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `openssl enc -des-ecb -nopad -K` with the bits of each byte of the key in reverse.
    #[test]
    fn the_answer_is_what_openssl_makes_of_the_challenge() {
        let challenge = std::array::from_fn(|index| index as u8);
        let made = |password: &str| u128::from_be_bytes(answer(password, challenge));
        assert_eq!(made("password"), 0xb866_9241_25c8_eebb_9deb_c1db_61c5_38e2);
        assert_eq!(made("password that is longer"), made("password"), "eight bytes of it count");
        assert_eq!(made("pw"), 0x8586_00d9_af14_3c9e_6541_d3dd_92a8_35d0);
        assert_eq!(made(""), 0x491e_890d_e9ac_e932_838a_4979_2f22_13f3);
    }
}
