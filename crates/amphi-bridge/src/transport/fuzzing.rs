//! What fuzz targets need and nobody else: an SCTP association without DTLS around it.

use std::time::{Duration, Instant};

use super::sctp::{Said, Sctp};
use super::{DtlsRole, PeerLimits, SctpRole};

/// A server's association, with the client that made it.
#[derive(Debug)]
pub struct Channel {
    now: Instant,
    server: Sctp,
    client: Sctp,
    tag: [u8; 4],
    tsn: u32,
    /// Messages that came.
    pub messages: usize,
    /// Packets that the server sent for the last input.
    pub packets: usize,
    /// The longest message that came.
    pub longest: usize,
}

impl Channel {
    /// Associated, with an open channel on stream 0.
    pub fn open() -> Self {
        let limits = PeerLimits { message: 4096, receive_queue: 16_384, ..PeerLimits::default() };
        let server = Sctp::new(SctpRole::Server, DtlsRole::Server, &limits);
        let client = Sctp::new(SctpRole::Client, DtlsRole::Client, &limits);
        let mut channel =
            Self { now: Instant::now(), server, client, tag: [0; 4], tsn: 0, messages: 0, packets: 0, longest: 0 };
        channel.exchange();
        channel
    }

    fn exchange(&mut self) {
        let mut from_client = Vec::new();
        self.client.drive(self.now, &mut from_client);
        for _ in 0..20 {
            self.now += Duration::from_millis(10);
            let mut from_server = Vec::new();
            for said in from_client.drain(..) {
                if let Said::Packet(packet) = said {
                    if let [.., t0, t1, t2, t3] = packet.get(..32).filter(|p| p[12] == 1).unwrap_or_default() {
                        // The first one after that was the channel's.
                        self.tsn = u32::from_be_bytes([*t0, *t1, *t2, *t3]);
                    }
                    self.tag = packet.get(4..8).and_then(|tag| tag.try_into().ok()).unwrap_or_default();
                    self.server.handle(self.now, packet.to_vec(), &mut from_server);
                }
            }
            for said in from_server {
                if let Said::Packet(packet) = said {
                    self.client.handle(self.now, packet.to_vec(), &mut from_client);
                }
            }
        }
    }

    /// The verification tag that the server wants.
    pub fn tag(&self) -> [u8; 4] {
        self.tag
    }

    /// The next TSN (RFC 9260 section 3.3.1) that the server waits for.
    pub fn next_tsn(&mut self) -> u32 {
        self.tsn = self.tsn.wrapping_add(1);
        self.tsn
    }

    /// A packet for the server.
    pub fn input(&mut self, packet: Vec<u8>) {
        let mut said = Vec::new();
        self.now += Duration::from_millis(10);
        self.server.handle(self.now, packet, &mut said);
        self.count(&said);
    }

    /// Time passes.
    pub fn wait(&mut self, duration: Duration) {
        let mut said = Vec::new();
        self.now += duration;
        self.server.handle_timeout(self.now, &mut said);
        self.count(&said);
    }

    fn count(&mut self, said: &[Said]) {
        self.packets = said.iter().filter(|said| matches!(said, Said::Packet(_))).count();
        for said in said {
            if let Said::Message(text) = said {
                self.messages += 1;
                self.longest = self.longest.max(text.len());
            }
        }
    }
}
