//! VeNCrypt 0.2: a list of its own of security types, most of them within TLS (rfbproto, "VeNCrypt").

use super::{Next, broken, prove};
use crate::config::{Config, Security};
use crate::error::{Error, Message, Rule};
use crate::input::{Input, u32_at};

/// The version spoken here: the newest, and the only one that servers speak.
const VERSION: [u8; 2] = [0, 2];

/// What the server says next.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Which version it speaks.
    Version,
    /// Whether it goes on with ours.
    Agreed,
    /// The list.
    Types,
    /// Whether TLS can begin.
    TlsAgreed(Security),
}

/// Takes one step, if its bytes are there.
pub(super) fn advance(
    step: Step,
    config: &Config,
    input: &mut Input,
    output: &mut Vec<u8>,
) -> Result<Option<Next>, Error> {
    let next = match step {
        Step::Version => version(input, output)?,
        Step::Agreed => agreed(input, 0)?.map(|()| super::Step::VeNCrypt(Step::Types)),
        Step::Types => types(config, input, output)?,
        Step::TlsAgreed(security) => agreed(input, 1)?.map(|()| super::Step::Tls(security)),
    };
    Ok(next.map(Next::Step))
}

fn version(input: &mut Input, output: &mut Vec<u8>) -> Result<Option<super::Step>, Error> {
    let Some(offered) = input.array::<2>() else { return Ok(None) };
    if offered < VERSION {
        return Err(broken(Message::VeNCrypt, Rule::TooOldVeNCrypt(offered[0], offered[1])));
    }
    output.extend(VERSION);
    Ok(Some(super::Step::VeNCrypt(Step::Agreed)))
}

fn agreed(input: &mut Input, yes: u8) -> Result<Option<()>, Error> {
    match input.u8() {
        Some(answer) if answer == yes => Ok(Some(())),
        Some(answer) => Err(broken(Message::VeNCrypt, Rule::NotAgreed(answer))),
        None => Ok(None),
    }
}

/// Takes the type that the caller likes best. RFB's own types may be in this list too.
fn types(config: &Config, input: &mut Input, output: &mut Vec<u8>) -> Result<Option<super::Step>, Error> {
    let Some([count]) = input.peek() else { return Ok(None) };
    let Some(types) = input.take(1 + 4 * usize::from(count)) else { return Ok(None) };
    let offered: Vec<u32> = types[1..].chunks_exact(4).map(|code| u32_at(code, 0)).collect();
    let Some(chosen) = config.security.iter().find(|security| offered.contains(&security.code())) else {
        return Err(Error::NoSecurity { offered });
    };
    output.extend(chosen.code().to_be_bytes());
    match chosen.tls() {
        Some(_) => Ok(Some(super::Step::VeNCrypt(Step::TlsAgreed(*chosen)))),
        None => prove(*chosen, config, output).map(Some),
    }
}
