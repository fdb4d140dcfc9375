//! Other builds, as far as they can be told from their frames: messages that lack what this build sends, or have
//! fields that it does not know.

use crdt_core::protocol::{Message, decode_frame, encode_frame};

use super::super::network::{Dialect, Packet, Way};

/// What goes over the wire when one end is of another build.
pub(super) fn spoken(dialect: Dialect, way: Way, packet: Packet) -> Packet {
    match (dialect, way, packet) {
        (Dialect::OlderDevice, Way::Up, Packet::Frame(frame)) => Packet::Frame(older(frame)),
        (Dialect::NewerDevice, Way::Up, Packet::Frame(frame)) => Packet::Frame(newer(frame)),
        (Dialect::NewerServer, Way::Down, Packet::Frame(frame)) => Packet::Frame(extended(frame)),
        (_, _, packet) => packet,
    }
}

/// A hello of a build that knew neither policies nor names of devices.
fn older(frame: Vec<u8>) -> Vec<u8> {
    let Ok(Message::Hello(mut hello)) = decode_frame(&frame) else { return frame };
    hello.policy_version = 0;
    hello.device_name = String::new();
    hello.client = String::new();
    encode_frame(&Message::Hello(hello))
}

/// A hello of a build that speaks versions to come; and whatever else with fields to come.
fn newer(frame: Vec<u8>) -> Vec<u8> {
    let Ok(Message::Hello(mut hello)) = decode_frame(&frame) else { return extended(frame) };
    hello.versions.extend([2, 99]);
    extended(encode_frame(&Message::Hello(hello)))
}

/// The same message with fields that nobody knows: a number, bytes and a message, in the message and around it.
/// Compressed frames stay as they are.
fn extended(frame: Vec<u8>) -> Vec<u8> {
    let Some((&PLAIN, rest)) = frame.split_first() else { return frame };
    // An envelope is one message: its tag, its length, its bytes.
    let Some((tag, after_tag)) = varint(rest) else { return frame };
    let Some((length, body)) = varint(after_tag) else { return frame };
    if tag & 7 != LENGTH_DELIMITED || usize::try_from(length) != Ok(body.len()) {
        return frame;
    }
    let mut extended = vec![PLAIN];
    put_varint(&mut extended, tag);
    put_varint(&mut extended, (body.len() + UNKNOWN.len()) as u64);
    extended.extend_from_slice(body);
    extended.extend_from_slice(&UNKNOWN);
    extended.extend_from_slice(&UNKNOWN);
    extended
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (own, rest) = bytes.split_at(length);
    let places = own.iter().enumerate();
    let value = places.fold(0, |value, (at, byte)| value | u64::from(byte & 0x7f) << (7 * at));
    Some((value, rest))
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Frames that begin with this byte are not compressed.
const PLAIN: u8 = 0;
const LENGTH_DELIMITED: u64 = 2;
/// Field 1,000 as the number 7, field 1,001 as two bytes, field 1,002 as a message with a field 1.
const UNKNOWN: [u8; 14] =
    [0xc0, 0x3e, 0x07, 0xca, 0x3e, 0x02, 0xff, 0x00, 0xd2, 0x3e, 0x03, 0x08, 0x80, 0x01];
