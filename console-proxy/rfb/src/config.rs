//! What a client is told before it begins.

use podzol_vocab::Secret;

use crate::encoding::Encoding;

/// How to connect, and what to ask for.
#[derive(Debug, Clone)]
pub struct Config {
    /// The security types that are allowed, the preferred one first. A server that offers none of them is refused, so
    /// nobody between talks this client into a weaker one.
    pub security: Vec<Security>,
    /// The user's name, for the types that need one.
    pub username: Option<String>,
    /// The password, for the types that need one. VNC authentication looks at its first eight bytes.
    pub password: Option<Secret<String>>,
    /// What to ask for once connected, the preferred way for pixels first.
    pub encodings: Vec<Encoding>,
    /// What to take from the server.
    pub limits: Limits,
}

/// How much a server may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of the desktop.
    pub pixels: u32,
    /// Bytes of a clipboard's text. Longer ones are told as [`TooLong`](crate::Clipboard::TooLong), and passed over.
    pub clipboard: u32,
}

impl Default for Limits {
    /// A desktop of four 4K screens, and more text than anybody pastes.
    fn default() -> Self {
        Self { pixels: 4 * 3840 * 2160, clipboard: 1 << 20 }
    }
}

/// How the server knows this client, and whether the line is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Security {
    /// Nothing (RFC 6143, 7.2.1): for a socket that only the right program can reach.
    None,
    /// A password's DES key encrypts a challenge (RFC 6143, 7.2.2). Weak; better than nothing on a trusted line.
    Vnc,
    /// VeNCrypt: name and password as they are, without encryption.
    Plain,
    /// VeNCrypt: TLS without a certificate, which shows nothing about who the server is.
    TlsNone,
    /// The same, with VNC authentication.
    TlsVnc,
    /// The same, with name and password.
    TlsPlain,
    /// VeNCrypt: TLS with a certificate.
    X509None,
    /// The same, with VNC authentication.
    X509Vnc,
    /// The same, with name and password.
    X509Plain,
}

/// What TLS has to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing: the server has none, and the key exchange is anonymous.
    Anonymous,
    /// The server shows a certificate, which must be checked.
    X509,
}

/// What follows once the line is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Nothing,
    Challenge,
    NameAndPassword,
}

impl Security {
    /// The number in RFB's list of security types, or in VeNCrypt's own list. The two do not overlap.
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::None => 1,
            Self::Vnc => 2,
            Self::Plain => 256,
            Self::TlsNone => 257,
            Self::TlsVnc => 258,
            Self::TlsPlain => 259,
            Self::X509None => 260,
            Self::X509Vnc => 261,
            Self::X509Plain => 262,
        }
    }

    /// Whether it is one of VeNCrypt's.
    pub(crate) const fn is_vencrypt(self) -> bool {
        self.code() >= 256
    }

    /// What TLS has to prove, if there is to be TLS.
    pub(crate) const fn tls(self) -> Option<Certificate> {
        match self {
            Self::None | Self::Vnc | Self::Plain => None,
            Self::TlsNone | Self::TlsVnc | Self::TlsPlain => Some(Certificate::Anonymous),
            Self::X509None | Self::X509Vnc | Self::X509Plain => Some(Certificate::X509),
        }
    }

    pub(crate) const fn proof(self) -> Proof {
        match self {
            Self::None | Self::TlsNone | Self::X509None => Proof::Nothing,
            Self::Vnc | Self::TlsVnc | Self::X509Vnc => Proof::Challenge,
            Self::Plain | Self::TlsPlain | Self::X509Plain => Proof::NameAndPassword,
        }
    }
}
