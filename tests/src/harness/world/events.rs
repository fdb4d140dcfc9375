//! What happens in a world: every event, and what follows from it.

use client_sdk::SyncErrorKind;
use client_sdk::engine::{ConnectFailure, ConnectionId, Input, Outward};
use crdt_core::protocol::{Message, PageParts, Staged, decode_frame, encode_frame};
use rand::Rng as _;

use super::super::files::Files;
use super::super::network::{Blocked, Connection, Packet, Way, Wire};
use super::super::server::{Act, Moment};
use super::super::tally::Fault;
use super::{Device, World, dialects};

/// What is going to happen.
#[derive(Debug)]
pub(super) enum Event {
    /// The app has its token.
    Token { device: usize, life: u64 },
    /// A device's connection attempt reaches the server.
    Attempt { device: usize, life: u64, id: ConnectionId },
    /// The attempt's outcome reaches the device.
    Attempted { device: usize, life: u64, id: ConnectionId, failed: bool },
    /// A packet arrives.
    Arrival { wire: Wire, way: Way, packet: Packet },
    /// A device notices that its connection is gone.
    Lost { device: usize, life: u64, id: ConnectionId },
    /// A device wanted to be woken.
    Wake { device: usize, life: u64 },
    /// The server commits what has been handed in.
    Commit { life: u64 },
    /// The server finds scopes again.
    Rescope { life: u64 },
    /// The server builds a page.
    Build { life: u64, wire: Wire },
    /// Time passes for a session of the server's.
    ServerTick { life: u64, wire: Wire },
    /// The server comes back.
    ServerStart,
}

impl Event {
    /// Whether it belongs to the passing of time alone.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Wake { .. } | Self::ServerTick { .. })
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Token { device, .. } => format!("token for {device}"),
            Self::Attempt { device, .. } => format!("attempt of {device}"),
            Self::Attempted { device, failed, .. } => format!("attempted {device} failed={failed}"),
            Self::Arrival { wire, way, .. } => format!("arrival {} {way:?}", wire.0),
            Self::Lost { device, .. } => format!("lost by {device}"),
            Self::Wake { device, .. } => format!("wake {device}"),
            Self::Commit { .. } => "commit".to_owned(),
            Self::Rescope { .. } => "rescope".to_owned(),
            Self::Build { wire, .. } => format!("build {}", wire.0),
            Self::ServerTick { wire, .. } => format!("tick {}", wire.0),
            Self::ServerStart => "server starts".to_owned(),
        }
    }
}

/// How long a device waits for a connection that nobody answers.
const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// How long a device may take to read one message, as the server's defaults have it.
const WRITE_TIMEOUT_MS: u64 = 30_000;
/// How often time passes for a session of the server's.
const SERVER_TICK_MS: u64 = 1_000;

impl World {
    pub(super) fn schedule(&mut self, after: u64, event: Event) {
        self.schedule_at(self.time.now() + after, event);
    }

    pub(super) fn schedule_at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { now: self.time.now(), wall: self.time.true_wall() }
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Token { device, life } => {
                let token = self.devices[device].token(self.time.now());
                self.give_life(device, life, Input::TokenReady(Ok(token)));
            }
            Event::Attempt { device, life, id } => self.attempt(device, life, id),
            Event::Attempted { device, life, id, failed: false } => {
                self.give_life(device, life, Input::Connected(id));
            }
            Event::Attempted { device, life, id, failed: true } => {
                let failure = ConnectFailure {
                    kind: SyncErrorKind::Network,
                    text: "nobody answers".to_owned(),
                    retry_after_ms: None,
                };
                self.give_life(device, life, Input::ConnectFailed(id, failure));
            }
            Event::Arrival { wire, way: Way::Up, packet } => self.arrive_up(wire, packet),
            Event::Arrival { wire, way: Way::Down, packet } => self.arrive_down(wire, packet),
            Event::Lost { device, life, id } => {
                let input = Input::Disconnected(id, "the connection broke".to_owned());
                self.give_life(device, life, input);
            }
            Event::Wake { device, life } => self.give_life(device, life, Input::Tick),
            Event::Commit { life } if life == self.server.life() => {
                let acts = self.server.commit(self.moment());
                self.act(acts);
            }
            Event::Rescope { life } if life == self.server.life() => {
                let acts = self.server.rescope(self.moment());
                self.act(acts);
            }
            Event::Build { life, wire } if life == self.server.life() => {
                let acts = self.server.build(self.moment(), wire);
                self.act(acts);
            }
            Event::ServerTick { life, wire } if life == self.server.life() => {
                if let Some(acts) = self.server.tick(self.moment(), wire) {
                    self.schedule(SERVER_TICK_MS, Event::ServerTick { life, wire });
                    self.act(acts);
                }
            }
            // They were meant for a server that has died since.
            Event::Commit { .. }
            | Event::Rescope { .. }
            | Event::Build { .. }
            | Event::ServerTick { .. } => {}
            Event::ServerStart => self.start_server(),
        }
    }

    fn attempt(&mut self, device: usize, life: u64, id: ConnectionId) {
        if self.attempts.get(&device) != Some(&id) {
            // The device has given it up.
            return;
        }
        let blocked = self.devices[device].link.blocked != Blocked::Nothing;
        if blocked {
            let failed = Event::Attempted { device, life, id, failed: true };
            return self.schedule(CONNECT_TIMEOUT_MS, failed);
        }
        let after = self.latency(device);
        let failed = !self.server.is_running();
        self.schedule(after, Event::Attempted { device, life, id, failed });
        if failed || life != self.devices[device].life() {
            return;
        }
        self.wires += 1;
        let wire = Wire(self.wires);
        self.connections.insert(wire, Connection::new(device, id));
        self.current.insert(device, wire);
        self.server.accept(wire, self.time.now());
        let tick = Event::ServerTick { life: self.server.life(), wire };
        self.schedule(SERVER_TICK_MS, tick);
    }

    fn arrive_up(&mut self, wire: Wire, packet: Packet) {
        let closes = packet == Packet::Close;
        let pings = packet == Packet::Ping;
        if !self.server.serves(wire) {
            return;
        }
        let acts = self.server.take(self.moment(), wire, packet);
        if closes {
            self.connections.remove(&wire);
        }
        if pings {
            self.send(wire, Way::Down, Packet::Ping);
        }
        self.act(acts);
    }

    fn arrive_down(&mut self, wire: Wire, packet: Packet) {
        let Some(connection) = self.connections.get(&wire) else { return };
        let (device, id) = (connection.device, connection.id);
        if self.current.get(&device) != Some(&wire) {
            return;
        }
        let input = match packet {
            Packet::Frame(frame) => Input::FrameReceived(id, self.tampered(Device(device), frame)),
            Packet::Ping | Packet::Text => Input::Heard(id),
            Packet::Close => {
                self.connections.remove(&wire);
                self.current.remove(&device);
                Input::Disconnected(id, "the server closed the connection".to_owned())
            }
        };
        let page = matches!(&input, Input::FrameReceived(_, frame) if is_page(frame));
        let doomed = page && self.doomed.remove(&device);
        let files = doomed.then(|| Files::copy(self.devices[device].path()));
        self.give(Device(device), input);
        if let Some(files) = files {
            self.tally.count(Fault::PowerCut);
            return self.cut_power(Device(device), &files);
        }
        self.check_account(Device(device));
    }

    fn tampered(&mut self, device: Device, frame: Vec<u8>) -> Vec<u8> {
        let Some(tamper) = &mut self.tamper else { return frame };
        let Ok(Message::Page(part)) = decode_frame(&frame) else { return frame };
        match Staged::default().take(part) {
            Ok(Some((number, mut page))) => {
                tamper(device, &mut page);
                let mut parts = PageParts::new(&page).parts(number).collect::<Vec<_>>();
                assert_eq!(parts.len(), 1, "a tampered page still fits one frame");
                encode_frame(&Message::Page(parts.remove(0)))
            }
            Ok(None) | Err(_) => frame,
        }
    }

    fn give_life(&mut self, device: usize, life: u64, input: Input) {
        if life == self.devices[device].life() {
            self.give(Device(device), input);
        }
    }

    /// Gives an input to a device's sync loop, and does what it asks for.
    pub(in crate::harness) fn give(&mut self, device: Device, input: Input) {
        let outward = self.devices[device.0].handle(input);
        for outward in outward {
            self.carry_out(device.0, outward);
        }
    }

    fn carry_out(&mut self, device: usize, outward: Outward) {
        let life = self.devices[device].life();
        match outward {
            Outward::FetchToken => self.schedule(1, Event::Token { device, life }),
            Outward::Connect(id) => {
                self.attempts.insert(device, id);
                let after = self.latency(device);
                self.schedule(after, Event::Attempt { device, life, id });
            }
            Outward::Send(frame) => self.send_up(device, Packet::Frame(frame)),
            Outward::Ping => self.send_up(device, Packet::Ping),
            Outward::Disconnect { goodbye } => {
                self.attempts.remove(&device);
                if let Some(goodbye) = goodbye {
                    let frame = encode_frame(&Message::Goodbye(goodbye));
                    self.send_up(device, Packet::Frame(frame));
                }
                self.send_up(device, Packet::Close);
                self.current.remove(&device);
            }
            Outward::ErasureAnswered { request, answer } => self.note_erasure(request, answer),
            Outward::WakeAt(at) => {
                let at = self.devices[device].clock.world_at(at).max(self.time.now());
                self.schedule_at(at, Event::Wake { device, life });
            }
        }
    }

    pub(super) fn send_up(&mut self, device: usize, packet: Packet) {
        if let Some(wire) = self.current.get(&device).copied() {
            self.send(wire, Way::Up, packet);
        }
    }

    pub(super) fn send(&mut self, wire: Wire, way: Way, packet: Packet) {
        let Some(connection) = self.connections.get_mut(&wire) else { return };
        let link = &mut self.devices[connection.device].link;
        if link.blocked.blocks(way) || connection.holds(way) {
            return connection.hold(way, packet);
        }
        if link.cuts(way, &packet) {
            return self.break_connection(wire);
        }
        let now = self.time.now();
        let packet = dialects::spoken(link.dialect, way, packet);
        let copies = link.copies(way, &packet);
        let latency = self.rng.random_range(link.latency_ms_min..=link.latency_ms_max);
        let at = connection.arrival(way, now, latency, link.reading_ms(way, &packet));
        if link.reads_per_second.is_some() && at > now + WRITE_TIMEOUT_MS {
            return self.give_up_reader(wire);
        }
        if copies > 1 {
            self.tally.count(Fault::Duplicate);
        }
        for _ in 0..copies {
            self.carried += packet.byte_len() as u64;
            self.frames += u64::from(matches!(packet, Packet::Frame(_)));
            let packet = packet.clone();
            self.schedule_at(at, Event::Arrival { wire, way, packet });
        }
    }

    /// The server ends a connection whose device does not take what it is sent.
    fn give_up_reader(&mut self, wire: Wire) {
        self.tally.count(Fault::SlowReader);
        let acts = self.server.take(self.moment(), wire, Packet::Close);
        self.act(acts);
        if let Some(connection) = self.connections.remove(&wire) {
            self.lose(&connection, wire);
        }
    }

    fn latency(&mut self, device: usize) -> u64 {
        let link = &self.devices[device].link;
        self.rng.random_range(link.latency_ms_min..=link.latency_ms_max)
    }

    pub(super) fn act(&mut self, acts: Vec<Act>) {
        let life = self.server.life();
        for act in acts {
            match act {
                Act::Send(wire, frame) => {
                    let device = self.connections.get(&wire).map(|connection| connection.device);
                    if let (Some(wiretap), Some(device)) = (&mut self.wiretap, device) {
                        wiretap.hear(device, &frame);
                    }
                    self.inspect(wire, &frame);
                    self.send(wire, Way::Down, Packet::Frame(frame));
                }
                Act::Close(wire) => self.send(wire, Way::Down, Packet::Close),
                Act::CommitSoon => {
                    let after = self.rng.random_range(0..8);
                    self.schedule(after, Event::Commit { life });
                }
                Act::RescopeSoon => {
                    let after = self.rng.random_range(0..40);
                    self.schedule(after, Event::Rescope { life });
                }
                Act::BuildSoon(wire) => {
                    let after = self.rng.random_range(0..5);
                    self.schedule(after, Event::Build { life, wire });
                }
                Act::Died(wires) => {
                    self.tally.count(Fault::ServerCrash);
                    self.server_died(&wires);
                    let after = self.rng.random_range(10..3_000);
                    self.schedule(after, Event::ServerStart);
                }
            }
        }
    }
}

fn is_page(frame: &[u8]) -> bool {
    matches!(decode_frame(frame), Ok(Message::Page(_)))
}
