//! From a packet to the answer, without I/O: a pure function, and so where a fuzzer should begin.
//!
//! ```text
//!  no header, or an answer itself ─────────▶ silence
//!  NOTIFY, UPDATE ─▶ REFUSED   other opcodes ─▶ NOTIMP   not one question, or none that can be read ─▶ FORMERR
//!  EDNS of another version ─▶ BADVERS      (RFC 6891, 6.1.3)
//!  another class than IN, a transfer of the zone, a name outside the domain ─▶ REFUSED
//!  below the domain ─▶ records, or NOERROR or NXDOMAIN with the SOA record      (RFC 2308, 2)
//! ```
//!
//! No answer is larger than the client takes, nor than 1232 bytes over UDP: such packets pass everywhere in one piece. Nor is it much longer
//! than its question there, as anybody can ask in another's name. What does not fit loses first the addresses of name servers and then
//! all records, and says that it is cut off (TC). For the same reason there is nothing of type ANY: an answer that says so is one of
//! those of RFC 8482 but for the record in it, and asks nobody to come again by TCP.

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::counters::{Outcome, Transport};
use crate::zone::{Found, Zone};

/// The longest query in bytes: a name, an OPT record with options, and more than enough for whatever comes next.
pub(crate) const MAX_QUERY: usize = 4096;

/// The longest answer over UDP in bytes: what the DNS flag day of 2020 agreed on.
const MAX_UDP: u16 = 1232;

/// How much longer than its question an answer over UDP may be, in bytes: room for two name servers with their addresses.
const MAX_MORE: usize = 160;

/// The types of records that are questions about the server rather than about a name: TKEY, TSIG, MAILB, MAILA
/// (RFC 6895, 3.1). IXFR, AXFR and ANY have names.
const META: [u16; 4] = [249, 250, 253, 254];

/// An answer.
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// The answer to a packet, or nothing if it deserves none.
pub(crate) fn answer(zone: &Zone, packet: &[u8], transport: Transport) -> Option<Reply> {
    let (response, outcome, limit) = match read(packet) {
        Read::Silence => return None,
        Read::Odd(response, outcome) => (response, outcome, usize::MAX),
        Read::Query(query) => {
            let (response, outcome) = response_to(zone, &query);
            (response, outcome, room(&query, packet.len(), transport))
        }
    };
    Some(Reply { bytes: encoded(response, limit)?, outcome })
}

/// How long an answer to a query of a length may be, in bytes.
fn room(query: &Message, length: usize, transport: Transport) -> usize {
    match transport {
        Transport::Tcp => u16::MAX.into(),
        Transport::Udp => {
            let takes = query.edns.as_ref().map_or(512, |edns| edns.max_payload().clamp(512, MAX_UDP));
            usize::from(takes).min(length + MAX_MORE)
        }
    }
}

/// The answer to a client that asks too much: that it shall come by TCP, which nobody can do in another's name. It is no
/// longer than the question.
pub(crate) fn come_by_tcp(packet: &[u8]) -> Option<Vec<u8>> {
    match read(packet) {
        Read::Silence | Read::Odd(..) => None,
        Read::Query(query) => {
            let mut response = echo(&query);
            response.metadata.truncation = true;
            response.to_vec().ok()
        }
    }
}

/// What a packet is.
enum Read {
    /// Nothing to answer.
    Silence,
    /// Something that is answered by a code.
    Odd(Message, Outcome),
    /// A query with one question.
    Query(Message),
}

fn read(packet: &[u8]) -> Read {
    let Ok(Header { metadata, counts }) = Header::read(&mut BinDecoder::new(packet)) else {
        return Read::Silence;
    };
    // An answer to an answer could go on for ever.
    if metadata.message_type == MessageType::Response {
        return Read::Silence;
    }
    match metadata.op_code {
        OpCode::Query => {}
        OpCode::Notify | OpCode::Update => return odd(&metadata, ResponseCode::Refused, Outcome::Refused),
        _ => return odd(&metadata, ResponseCode::NotImp, Outcome::NotImplemented),
    }
    // A question about a change of the zone has a SOA record (RFC 1995, 3); OPT, TSIG and SIG(0) records are additional.
    let is_query =
        counts.queries == 1 && counts.answers == 0 && counts.authorities <= 1 && counts.additionals <= 3;
    let query = is_query.then(|| Message::from_vec(packet).ok()).flatten();
    match query {
        Some(query) if query.queries.len() == 1 => Read::Query(query),
        _ => odd(&metadata, ResponseCode::FormErr, Outcome::Malformed),
    }
}

/// An answer of a header alone.
fn odd(asked: &Metadata, code: ResponseCode, outcome: Outcome) -> Read {
    let mut response = Message::response(asked.id, asked.op_code);
    response.metadata = Metadata::response_from_request(asked);
    response.metadata.response_code = code;
    Read::Odd(response, outcome)
}

/// An answer that says nothing yet. The question's letters stay as they are, for clients that hide random bits there
/// ("0x20").
fn echo(query: &Message) -> Message {
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata = Metadata::response_from_request(&query.metadata);
    // The zone is not signed (RFC 4035, 3.1.6).
    response.metadata.checking_disabled = false;
    response.queries.clone_from(&query.queries);
    response.edns = query.edns.as_ref().map(|asked| {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP);
        // It comes back as it was (RFC 3225, 3).
        edns.flags_mut().dnssec_ok = asked.flags().dnssec_ok;
        edns
    });
    response
}

fn response_to(zone: &Zone, query: &Message) -> (Message, Outcome) {
    let mut response = echo(query);
    let version = query.edns.as_ref().map_or(0, Edns::version);
    let Some(question) = query.queries.first() else { return (response, Outcome::Malformed) };
    if version != 0 {
        response.metadata.response_code = ResponseCode::BADVERS;
        return (response, Outcome::Malformed);
    }
    let outcome = match question.query_type {
        RecordType::OPT | RecordType::ZERO => {
            response.metadata.response_code = ResponseCode::FormErr;
            Outcome::Malformed
        }
        _ => fill(zone, question, &mut response),
    };
    (response, outcome)
}

/// Puts what the zone has for a question into its answer.
fn fill(zone: &Zone, question: &Query, response: &mut Message) -> Outcome {
    let kind = question.query_type;
    let is_of_names =
        !matches!(kind, RecordType::AXFR | RecordType::IXFR) && !META.contains(&u16::from(kind));
    let is_ours = question.query_class == DNSClass::IN && is_of_names;
    let Some(found) = is_ours.then(|| zone.find(&question.name, kind)).flatten() else {
        response.metadata.response_code = ResponseCode::Refused;
        return Outcome::Refused;
    };
    response.metadata.authoritative = true;
    match found {
        Found::Records(answers, additionals) => {
            (response.answers, response.additionals) = (answers, additionals);
            Outcome::Answered
        }
        Found::NoData => {
            response.authorities = vec![zone.soa(&question.name)];
            Outcome::NoData
        }
        Found::NoName => {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.authorities = vec![zone.soa(&question.name)];
            Outcome::NoName
        }
    }
}

/// An answer's bytes, with as much of it as fits.
fn encoded(mut response: Message, limit: usize) -> Option<Vec<u8>> {
    let fits = |response: &Message| response.to_vec().ok().filter(|bytes| bytes.len() <= limit);
    if let Some(bytes) = fits(&response) {
        return Some(bytes);
    }
    response.additionals.clear();
    if let Some(bytes) = fits(&response) {
        return Some(bytes);
    }
    response.answers.clear();
    response.authorities.clear();
    response.metadata.truncation = true;
    fits(&response)
}

#[cfg(test)]
mod tests;
