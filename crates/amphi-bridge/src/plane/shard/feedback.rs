//! RTCP of members, and what follows from it: retransmissions, keyframe requests, other rungs, padding (`spec/bridge.md` 4.4, 4.9, 4.10).

use std::time::Instant;

use amphi_media::bwe::Padding;
use amphi_media::egress::{Asked, Head, Receiver};
use amphi_media::keyframe::{Need, Wish};
use amphi_media::projection::Origin;
use amphi_media::send::Verdict;

use super::out::Load;
use super::{Shard, ShardOrder};
use crate::plane::command::Role;

/// Members whose estimate is looked after in one pass.
const TIMERS: usize = 4_096;

impl Shard {
    /// An SRTCP packet of a member.
    pub(super) fn control(&mut self, now: Instant, place: usize, datagram: &mut [u8]) {
        let Some(member) = self.members.get_mut(place) else { return };
        let Some(inbound) = &mut member.inbound else {
            self.out.counters.discarded += 1;
            return;
        };
        let data = match inbound.open_control(datagram) {
            Ok(opened) => &datagram[..opened.len.min(datagram.len())],
            Err(_) => {
                self.out.counters.srtp_failures += 1;
                return;
            }
        };
        self.out.counters.rtcp_received += 1;
        let (id, conference, visitor) = (member.id, member.conference, member.role == Role::Visitor);
        let mut asked = Vec::new();
        if let Some(receiver) = &mut member.receiver {
            self.out.counters.rtcp_limited += receiver.on_control(now, data, &mut asked);
        }
        if !visitor && let Some(home) = self.homes.get_mut(&conference) {
            home.control(now, id, data);
            if let Some(rtt) = member.receiver.as_ref().and_then(Receiver::rtt) {
                home.rtt(id, rtt);
            }
        }
        for it in asked {
            match it {
                Asked::Packet { slot, origin } => {
                    self.out.counters.nacks_received += 1;
                    self.retransmit(now, place, slot, &origin, false);
                }
                Asked::Keyframe { slot } => {
                    self.out.counters.keyframes_asked += 1;
                    self.repair(now, place, slot);
                }
                Asked::Line { ssrc, seq } => {
                    self.out.counters.nacks_received += 1;
                    self.retransmit_raw(now, place, ssrc, seq);
                }
                Asked::LineKeyframe { ssrc } => {
                    self.out.counters.keyframes_asked += 1;
                    if let Some(home) = self.homes.get_mut(&conference).filter(|_| !visitor) {
                        home.relay_wish(now, id, ssrc);
                    }
                }
                Asked::Unknown => {
                    self.out.counters.nacks_received += 1;
                    self.out.counters.nacks_missed += 1;
                }
            }
        }
        self.flush(place);
        self.estimate(now, place);
    }

    fn flush(&mut self, place: usize) {
        if let Some(path) = self.members.get(place).and_then(|it| it.path) {
            self.out.flush(path, Load::Video);
        }
    }

    /// Looks whether the estimate says another rung.
    fn estimate(&mut self, now: Instant, place: usize) {
        let Some(member) = self.members.get_mut(place) else { return };
        let (id, conference) = (member.id, member.conference);
        let Some(room) = self.rooms.get_mut(&conference) else { return };
        if let Some(receiver) = &mut member.receiver
            && let Some(estimate) = receiver.bwe.take_change()
        {
            room.bandwidths.push((id, estimate));
        }
        room.place(now, &mut self.members, place, false);
        self.members.arm(place);
    }

    /// Puts a retransmission into the run. Returns its size.
    fn retransmit(&mut self, now: Instant, place: usize, slot: usize, origin: &Origin, padding: bool) -> usize {
        let Some(member) = self.members.get_mut(place) else { return 0 };
        let (layout, conference) = (member.layout, member.conference);
        let (Some(path), Some(receiver)) = (member.path, &mut member.receiver) else { return 0 };
        let local = self.rooms.get(&conference).and_then(|room| room.streams.get(&origin.stream));
        let Some((kept, packet)) = local.and_then(|local| local.store.get(now, origin.seq)) else {
            self.out.counters.nacks_missed += u64::from(!padding);
            return 0;
        };
        let bytes = packet.packet.payload.len();
        if !padding && receiver.judge(now, slot, origin, kept, bytes) != Verdict::Send {
            return 0;
        }
        let Some(map) = self.layouts.get(layout) else { return 0 };
        let Ok(head) = Head::video(map, &packet.packet, &packet.projected) else { return 0 };
        if !self.out.run.takes(head.sealed_rtx_len(&receiver.outbound)) {
            self.out.flush(path, Load::Video);
        }
        let size = receiver.retransmission(now, slot, packet, origin, &head, self.out.send_time, &mut self.out.run);
        if size != 0 {
            match padding {
                true => self.out.counters.padding_sent += size as u64,
                false => self.out.counters.rtx_sent += 1,
            }
            member.sent.0 += 1;
            member.sent.1 += size as u64;
        }
        size
    }

    /// Puts a retransmission for a relay into the run.
    fn retransmit_raw(&mut self, now: Instant, place: usize, ssrc: u32, seq: u64) {
        let Some(member) = self.members.get_mut(place) else { return };
        let (layout, conference) = (member.layout, member.conference);
        let (Some(path), Some(receiver)) = (member.path, &mut member.receiver) else { return };
        let Some((kept, packet)) = self.rooms.get(&conference).and_then(|room| room.kept(now, ssrc, seq)) else {
            self.out.counters.nacks_missed += 1;
            return;
        };
        let Some(map) = self.layouts.get(layout) else { return };
        let Ok(head) = Head::raw(map, &packet.packet) else { return };
        if !self.out.run.takes(head.sealed_rtx_len(&receiver.outbound)) {
            self.out.flush(path, Load::Video);
        }
        let size = receiver.raw_retransmission(now, packet, kept, &head, self.out.send_time, &mut self.out.run);
        self.out.counters.rtx_sent += u64::from(size != 0);
    }

    /// A receiver's decoder needs a keyframe of what is in a slot.
    fn repair(&mut self, now: Instant, place: usize, slot: usize) {
        let Some(member) = self.members.get(place) else { return };
        let (id, conference) = (member.id, member.conference);
        let Some(receiver) = &member.receiver else { return };
        let Some(current) = receiver.slots.get(slot).and_then(|it| it.subscription.current()) else { return };
        let wish = Wish {
            source: current.source,
            encoding: current.target.encoding(),
            need: Need::Repair,
            requester: Some(id),
            rtt: receiver.rtt(),
        };
        match self.homes.get_mut(&conference) {
            Some(home) => home.wish(now, wish),
            None => {
                let home = self.rooms.get(&conference).map(|room| room.home);
                if let Some(link) = home.and_then(|home| self.parts.shards.get(home)) {
                    link.order(ShardOrder::Wish { conference, wish });
                }
            }
        }
    }

    /// Lets the estimates do what time brings: probes and padding.
    pub(super) fn member_timers(&mut self, now: Instant) {
        for _ in 0..TIMERS {
            let Some(place) = self.members.due(now) else { return };
            let Some(receiver) = self.members.get_mut(place).and_then(|it| it.receiver.as_mut()) else { continue };
            let last = receiver.last_paced();
            if let Some(padding) = receiver.bwe.poll(now, last) {
                self.pad(now, place, padding);
            }
            self.estimate(now, place);
        }
    }

    /// Sends the newest packets once more (`spec/bridge.md` 4.10).
    fn pad(&mut self, now: Instant, place: usize, padding: Padding) {
        let Some(receiver) = self.members.get(place).and_then(|it| it.receiver.as_ref()) else { return };
        let active = receiver.slots.iter().position(|it| it.rtx.is_some() && it.subscription.current().is_some());
        let Some(slot) = active else { return };
        let origins: Vec<Origin> = receiver.newest(slot).collect();
        let (mut bytes, mut packets) = (0, 0);
        for origin in origins.iter().cycle().take(256) {
            if bytes >= padding.bytes as usize && packets >= usize::from(padding.packets) {
                break;
            }
            let size = self.retransmit(now, place, slot, origin, true);
            if size == 0 && packets == 0 {
                break;
            }
            bytes += size;
            packets += 1;
        }
        self.flush(place);
    }
}
