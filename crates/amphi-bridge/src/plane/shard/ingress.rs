//! What comes to a shard's sockets, told apart and handed to whom it is for (`spec/bridge.md` 2.1, 9.5.1).

use std::net::SocketAddr;
use std::time::Instant;

use amphi_media::ids::EndpointId;
use amphi_media::rtp::is_rtcp;
use foldhash::{HashMap, HashMapExt};

use super::{RECEIVES, Shard, ShardPacket};
use crate::plane::command::Role;
use crate::plane::connect::Handshake;
use crate::transport::demux::{self, Kind};

/// Longest RTP or RTCP datagram that is taken, in bytes: what fits the path of an Ethernet. What is longer would come back as fragments, and cannot be
/// sent in segments.
const MAX_DATAGRAM: usize = 1_500;

/// Whose datagrams of a 5-tuple are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) endpoint: EndpointId,
    pub(super) shard: usize,
    pub(super) thread: usize,
}

/// By local socket and remote address.
pub(super) struct Addresses(pub(super) HashMap<(usize, SocketAddr), Route>);

impl Default for Addresses {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl Shard {
    /// Takes what waits in a socket.
    pub(super) fn receive(&mut self, now: Instant, index: usize) {
        let Some(mut inbox) = self.inbox.take() else { return };
        for _ in 0..RECEIVES {
            let Some(socket) = self.parts.sockets.get(index) else { break };
            if inbox.receive(socket).is_err() {
                // Nothing there, or an error that the next call would tell again.
                self.more[index] = false;
                break;
            }
            let full = inbox.full();
            for (datagram, remote) in inbox.datagrams() {
                self.out.counters.datagrams_received += 1;
                self.out.counters.bytes_received += datagram.len() as u64;
                self.datagram(now, index, remote, datagram);
            }
            if !full {
                // Edge-triggered: the socket must be found empty before it is waited for. The next pass does that.
                break;
            }
        }
        self.inbox = Some(inbox);
    }

    fn datagram(&mut self, now: Instant, local: usize, remote: SocketAddr, datagram: &mut [u8]) {
        match demux::classify(datagram) {
            Kind::Stun => match demux::stun_local_ufrag(datagram) {
                Some(ufrag) => match demux::thread_of(ufrag, self.parts.ufrag_prefix) {
                    Some(thread) => self.handshake(usize::from(thread), local, remote, datagram),
                    None => self.out.counters.unknown_datagrams += 1,
                },
                // An answer: the thread that asked knows it by its transaction.
                None => {
                    for thread in 0..self.parts.transports.len() {
                        self.handshake(thread, local, remote, datagram);
                    }
                }
            },
            Kind::Dtls => match self.addresses.0.get(&(local, remote)) {
                Some(route) => self.handshake(route.thread, local, remote, datagram),
                None => self.out.counters.unknown_datagrams += 1,
            },
            Kind::Rtp | Kind::Rtcp => self.media(now, local, remote, datagram, false),
            Kind::Other => self.out.counters.unknown_datagrams += 1,
        }
    }

    fn handshake(&mut self, thread: usize, local: usize, remote: SocketAddr, datagram: &[u8]) {
        let (Some((_, datagrams)), Some(address)) = (self.parts.transports.get(thread), self.parts.locals.get(local))
        else {
            self.out.counters.unknown_datagrams += 1;
            return;
        };
        let handshake = Handshake { local: address.base, remote, bytes: datagram.into() };
        // What is lost here is repeated by ICE, DTLS or SCTP.
        self.out.counters.queue_drops += u64::from(datagrams.try_send(handshake).is_err());
    }

    /// RTP or RTCP. `stray`: another shard handed it over, so it is not handed on again.
    pub(super) fn media(&mut self, now: Instant, local: usize, remote: SocketAddr, datagram: &mut [u8], stray: bool) {
        let Some(route) = self.addresses.0.get(&(local, remote)).copied() else {
            self.out.counters.unknown_datagrams += 1;
            return;
        };
        if datagram.len() > MAX_DATAGRAM {
            self.out.counters.oversized += 1;
            return;
        }
        if route.shard != self.parts.index {
            if !stray && let Some(link) = self.parts.shards.get(route.shard) {
                self.out.counters.strays += 1;
                let packet = ShardPacket::Stray { local, remote, bytes: (&*datagram).into() };
                self.out.counters.queue_drops += u64::from(!link.packet(packet));
            }
            return;
        }
        let Some(place) = self.members.place(route.endpoint) else {
            self.out.counters.unknown_datagrams += 1;
            return;
        };
        if is_rtcp(datagram) {
            self.control(now, place, datagram);
        } else {
            self.rtp(now, place, datagram);
        }
    }

    fn rtp(&mut self, now: Instant, place: usize, datagram: &mut [u8]) {
        let counters = &mut self.out.counters;
        let Some(member) = self.members.get_mut(place) else { return };
        // Nothing that a visitor sends is taken, so nothing of it needs to be opened (`spec/bridge.md` 6).
        let (Some(inbound), false) = (&mut member.inbound, member.role == Role::Visitor) else {
            counters.discarded += 1;
            return;
        };
        // Opened before anything is dropped: the rollover counter of a muted medium must go on, or it stays silent when it is allowed again.
        let opened = match inbound.open(datagram) {
            Ok(opened) => opened,
            Err(amphi_media::srtp::SrtpError::Malformed) => {
                counters.malformed += 1;
                return;
            }
            Err(_) => {
                counters.srtp_failures += 1;
                return;
            }
        };
        let muted = match member.media.kind(opened.header.payload_type) {
            Some(amphi_media::ids::MediaKind::Audio) => member.muted.0,
            Some(amphi_media::ids::MediaKind::Video) => member.muted.1,
            // Of a payload type that was not signaled.
            None => {
                counters.discarded += 1;
                return;
            }
        };
        if !muted {
            counters.rtp_received += 1;
            member.received.0 += 1;
            member.received.1 += datagram.len() as u64;
        }
        let (id, conference) = (member.id, member.conference);
        if let (Some(home), Some(data)) = (self.homes.get_mut(&conference), datagram.get(..opened.len)) {
            home.rtp(now, id, &opened.header, data, muted, counters);
        }
    }
}
