//! From the server's first byte to the desktop's size and name (RFC 6143, 7.1 to 7.3).
//!
//! ```text
//!  Version ─▶ Types ─┬─ None ───────────────────────────────────▶ Result ─▶ Init ─▶ connected
//!               │    ├─ VNC authentication ─▶ Challenge ──────────▲
//!               │    └─ VeNCrypt ─▶ … ─▶ Tls ─┬─ nothing ─────────┤
//!               │                             ├─ Challenge ───────┤
//!               │                             └─ name, password ──┘
//!               └─ none at all ─▶ Reason ─▶ refused                Result: failed ─▶ Reason ─▶ refused
//! ```
//!
//! # Design notes
//! Versions before 3.8 are refused: no server of the last fifteen years needs them, and their rules differ at each step.

mod challenge;
mod vencrypt;

use crate::config::{Certificate, Config, Proof, Security};
use crate::error::{Error, Message, Rule};
use crate::frame::Size;
use crate::input::{Input, u16_at, u32_at};

/// RFB's number of VeNCrypt.
const VENCRYPT: u8 = 19;

/// What a server may say about why it refuses, and how it may call its desktop.
const WORDS: u32 = 4096;

/// Where the handshake is.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    step: Step,
}

#[derive(Debug, Clone, Copy, Default)]
enum Step {
    #[default]
    Version,
    Types,
    VeNCrypt(vencrypt::Step),
    /// Waits until the caller has made TLS.
    Tls(Security),
    Challenge(Security),
    Result,
    Reason(Message),
    Init,
}

/// What a handshake has come to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// More bytes are needed.
    Wait,
    /// TLS is needed.
    StartTls(Certificate),
    /// It is over.
    Connected { size: Size, name: String },
}

/// What one step leads to.
enum Next {
    Step(Step),
    Outcome(Outcome),
}

impl Handshake {
    /// Goes as far as what has come allows.
    ///
    /// # Errors
    /// When a rule is broken, or the server refuses.
    pub(crate) fn advance(
        &mut self,
        config: &Config,
        input: &mut Input,
        output: &mut Vec<u8>,
    ) -> Result<Outcome, Error> {
        loop {
            let next = match self.step {
                Step::Version => version(input, output),
                Step::Types => types(config, input, output),
                Step::VeNCrypt(step) => vencrypt::advance(step, config, input, output),
                Step::Tls(_) if input.rest().is_empty() => return Ok(Outcome::Wait),
                Step::Tls(_) => return Err(broken(Message::VeNCrypt, Rule::BeforeTls)),
                Step::Challenge(security) => answer(security, config, input, output),
                Step::Result => result(input, output),
                Step::Reason(message) => reason(message, input),
                Step::Init => init(config, input),
            };
            match next? {
                Some(Next::Step(step)) => self.step = step,
                Some(Next::Outcome(outcome)) => return Ok(outcome),
                None => return Ok(Outcome::Wait),
            }
            if let Step::Tls(security) = self.step {
                return start_tls(security, input);
            }
        }
    }

    /// TLS is there: the handshake goes on within it. False if it was not waited for.
    pub(crate) fn tls_started(&mut self, config: &Config, output: &mut Vec<u8>) -> Result<bool, Error> {
        let Step::Tls(security) = self.step else { return Ok(false) };
        self.step = prove(security, config, output)?;
        Ok(true)
    }
}

fn broken(message: Message, rule: Rule) -> Error {
    Error::Broken { message, rule }
}

/// What came before TLS must be used up: whoever is between could have put there what seems to come from within.
fn start_tls(security: Security, input: &Input) -> Result<Outcome, Error> {
    if !input.rest().is_empty() {
        return Err(broken(Message::VeNCrypt, Rule::BeforeTls));
    }
    Ok(Outcome::StartTls(security.tls().unwrap_or(Certificate::X509)))
}

/// RFC 6143, 7.1.1. Numbers above 3.8 are vendors' own (3.889, 4.1) and mean at least that.
fn version(input: &mut Input, output: &mut Vec<u8>) -> Result<Option<Next>, Error> {
    let begins_well = input.rest().iter().zip(b"RFB ").all(|(byte, expected)| byte == expected);
    if !begins_well {
        return Err(broken(Message::ProtocolVersion, Rule::NotRfb));
    }
    let Some(line) = input.array::<12>() else { return Ok(None) };
    let number = |digits: &[u8]| {
        let digit = |byte: &u8| char::from(*byte).to_digit(10).map(|digit| digit as u16);
        digits.iter().try_fold(0, |number, byte| Some(number * 10 + digit(byte)?))
    };
    let numbers = (number(&line[4..7]), number(&line[8..11]), line[7], line[11]);
    let (Some(major), Some(minor), b'.', b'\n') = numbers else {
        return Err(broken(Message::ProtocolVersion, Rule::NotRfb));
    };
    if (major, minor) < (3, 8) {
        return Err(broken(Message::ProtocolVersion, Rule::TooOld(minor)));
    }
    output.extend(b"RFB 003.008\n");
    Ok(Some(Next::Step(Step::Types)))
}

/// RFC 6143, 7.1.2: takes the type that the caller likes best.
fn types(config: &Config, input: &mut Input, output: &mut Vec<u8>) -> Result<Option<Next>, Error> {
    let Some([count]) = input.peek() else { return Ok(None) };
    let Some(types) = input.take(1 + usize::from(count)) else { return Ok(None) };
    let types = &types[1..];
    if types.is_empty() {
        return Ok(Some(Next::Step(Step::Reason(Message::SecurityTypes))));
    }
    let code = |security: Security| if security.is_vencrypt() { VENCRYPT.into() } else { security.code() };
    let chosen = config
        .security
        .iter()
        .find(|security| types.iter().any(|offered| u32::from(*offered) == code(**security)));
    let Some(chosen) = chosen else {
        return Err(Error::NoSecurity { offered: types.iter().copied().map(u32::from).collect() });
    };
    output.push(code(*chosen) as u8);
    let next = if chosen.is_vencrypt() {
        Step::VeNCrypt(vencrypt::Step::Version)
    } else {
        prove(*chosen, config, output)?
    };
    Ok(Some(Next::Step(next)))
}

/// Shows who this client is, or waits for what it needs to do so.
fn prove(security: Security, config: &Config, output: &mut Vec<u8>) -> Result<Step, Error> {
    match security.proof() {
        Proof::Nothing => Ok(Step::Result),
        Proof::Challenge => Ok(Step::Challenge(security)),
        Proof::NameAndPassword => {
            let (Some(name), Some(password)) = (&config.username, &config.password) else {
                return Err(Error::NoCredentials { security });
            };
            let parts = [name.as_bytes(), password.expose().as_bytes()];
            parts.iter().for_each(|part| output.extend((part.len() as u32).to_be_bytes()));
            parts.iter().for_each(|part| output.extend(*part));
            Ok(Step::Result)
        }
    }
}

/// RFC 6143, 7.2.2.
fn answer(
    security: Security,
    config: &Config,
    input: &mut Input,
    output: &mut Vec<u8>,
) -> Result<Option<Next>, Error> {
    let Some(question) = input.array() else { return Ok(None) };
    let password = config.password.as_ref().ok_or(Error::NoCredentials { security })?;
    output.extend(challenge::answer(password.expose(), question));
    Ok(Some(Next::Step(Step::Result)))
}

/// RFC 6143, 7.1.3, and ClientInit (7.3.1), which asks to leave others connected.
fn result(input: &mut Input, output: &mut Vec<u8>) -> Result<Option<Next>, Error> {
    let next = match input.u32() {
        None => return Ok(None),
        Some(0) => {
            output.push(1);
            Step::Init
        }
        // The second one, "too many attempts", is rfbproto's.
        Some(1 | 2) => Step::Reason(Message::SecurityResult),
        Some(other) => return Err(broken(Message::SecurityResult, Rule::UnknownResult(other))),
    };
    Ok(Some(Next::Step(next)))
}

fn reason(message: Message, input: &mut Input) -> Result<Option<Next>, Error> {
    let Some(head) = input.peek() else { return Ok(None) };
    let length = within_words(message, u32::from_be_bytes(head))?;
    let Some(words) = input.take(4 + length) else { return Ok(None) };
    Err(Error::Refused { reason: words_of(&words[4..]) })
}

/// RFC 6143, 7.3.2. The server's own format of pixels does not matter, as this client always sets another.
fn init(config: &Config, input: &mut Input) -> Result<Option<Next>, Error> {
    let Some(head) = input.peek::<24>() else { return Ok(None) };
    let size = Size::new(u16_at(&head, 0), u16_at(&head, 2));
    let limit = config.limits.pixels;
    if size.pixels() > limit {
        return Err(broken(Message::ServerInit, Rule::TooLarge { size, limit }));
    }
    let length = within_words(Message::ServerInit, u32_at(&head, 20))?;
    let Some(bytes) = input.take(head.len() + length) else { return Ok(None) };
    let name = words_of(&bytes[head.len()..]);
    Ok(Some(Next::Outcome(Outcome::Connected { size, name })))
}

/// The length of a server's words, if it is one that is taken.
pub(crate) fn within_words(message: Message, length: u32) -> Result<usize, Error> {
    if length > WORDS {
        return Err(broken(message, Rule::TooLong { length: length.into(), limit: WORDS.into() }));
    }
    Ok(length as usize)
}

/// A server's words, fit to be shown on one line.
pub(crate) fn words_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect::<String>()
        .trim()
        .to_owned()
}
