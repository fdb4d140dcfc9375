//! The simulated network: links that delay, hold and cut, and connections over them. A connection delivers
//! in order or not at all, as a WebSocket does; faults are options with units.

use std::collections::VecDeque;

use client_sdk::engine::ConnectionId;

/// Names a connection in the whole simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wire(pub u64);

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the device to the server.
    Up,
    /// From the server to the device.
    Down,
}

/// What a connection carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// A binary message.
    Frame(Vec<u8>),
    /// A text message, which the protocol does not have.
    Text,
    /// A ping, or the answer to one.
    Ping,
    /// The end of the connection.
    Close,
}

impl Packet {
    pub(super) fn byte_len(&self) -> usize {
        match self {
            Self::Frame(bytes) => bytes.len(),
            Self::Text | Self::Ping | Self::Close => 2,
        }
    }
}

/// Which ways of a link are blocked. What is sent meanwhile waits, as TCP lets it wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Blocked {
    /// None: the network is there.
    #[default]
    Nothing,
    /// The server hears nothing.
    Up,
    /// The device hears nothing.
    Down,
    /// No network.
    Both,
}

impl Blocked {
    /// Whether a way is blocked.
    #[must_use]
    pub fn blocks(self, way: Way) -> bool {
        match self {
            Self::Nothing => false,
            Self::Up => way == Way::Up,
            Self::Down => way == Way::Down,
            Self::Both => true,
        }
    }
}

/// A device's link to the server.
#[derive(Debug, Clone)]
pub struct Link {
    /// The least a message takes, milliseconds.
    pub latency_ms_min: u64,
    /// The most a message takes, milliseconds.
    pub latency_ms_max: u64,
    /// What is blocked at present.
    pub blocked: Blocked,
    /// Cuts the present or the next connection once so many more bytes went one way: the frame that
    /// exceeds them is lost in its middle.
    pub cut: Option<(Way, usize)>,
    /// The next frame of this way arrives twice.
    pub duplicate: Option<Way>,
    /// How much the device reads in a second, bytes, when it is slow.
    pub reads_per_second: Option<u64>,
    /// The build at the other end, as far as it can be told from frames.
    pub dialect: Dialect,
}

/// How the frames of a device, or those to it, differ from this build's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Both sides are of this build.
    #[default]
    Own,
    /// The device is older: its hello lacks what can be left out.
    OlderDevice,
    /// The device is newer: it speaks of more versions, and its messages have fields that nobody here knows.
    NewerDevice,
    /// The server is newer: its messages have fields that nobody here knows.
    NewerServer,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency_ms_min: 5,
            latency_ms_max: 60,
            blocked: Blocked::Nothing,
            cut: None,
            duplicate: None,
            reads_per_second: None,
            dialect: Dialect::Own,
        }
    }
}

impl Link {
    /// Takes a packet's bytes off the budget of a cut; whether the cut strikes now.
    pub(super) fn cuts(&mut self, way: Way, packet: &Packet) -> bool {
        match &mut self.cut {
            Some((cut_way, budget)) if *cut_way == way => {
                let size = packet.byte_len();
                if size > *budget {
                    self.cut = None;
                    return true;
                }
                *budget -= size;
                false
            }
            _ => false,
        }
    }

    /// How often a packet is delivered.
    pub(super) fn copies(&mut self, way: Way, packet: &Packet) -> usize {
        let is_frame = matches!(packet, Packet::Frame(_));
        if is_frame && self.duplicate.take_if(|duplicated| *duplicated == way).is_some() {
            2
        } else {
            1
        }
    }

    /// How long it takes to read a packet, milliseconds.
    pub(super) fn reading_ms(&self, way: Way, packet: &Packet) -> u64 {
        match self.reads_per_second {
            Some(bytes) if way == Way::Down => packet.byte_len() as u64 * 1_000 / bytes.max(1),
            _ => 0,
        }
    }
}

/// A connection of a device.
#[derive(Debug)]
pub struct Connection {
    /// The device's place in the world.
    pub device: usize,
    /// What the device's engine calls it.
    pub id: ConnectionId,
    up: Pipe,
    down: Pipe,
}

/// One way of a connection.
#[derive(Debug, Default)]
struct Pipe {
    last_arrival: u64,
    held: VecDeque<Packet>,
}

impl Connection {
    pub(super) fn new(device: usize, id: ConnectionId) -> Self {
        Self { device, id, up: Pipe::default(), down: Pipe::default() }
    }

    /// When a packet that takes `latency_ms`, and `reading_ms` to be read, has arrived: never before one that
    /// was sent earlier.
    pub(super) fn arrival(&mut self, way: Way, now: u64, latency_ms: u64, reading_ms: u64) -> u64 {
        let pipe = self.pipe(way);
        pipe.last_arrival = pipe.last_arrival.max(now + latency_ms) + reading_ms;
        pipe.last_arrival
    }

    /// Keeps a packet until its way is free again.
    pub(super) fn hold(&mut self, way: Way, packet: Packet) {
        self.pipe(way).held.push_back(packet);
    }

    /// Whether something waits in front.
    pub(super) fn holds(&mut self, way: Way) -> bool {
        !self.pipe(way).held.is_empty()
    }

    /// What was kept, in order.
    pub(super) fn release(&mut self, way: Way) -> VecDeque<Packet> {
        std::mem::take(&mut self.pipe(way).held)
    }

    fn pipe(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}
