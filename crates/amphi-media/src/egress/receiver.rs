//! What a shard keeps for one endpoint that receives: keys, slots, what was sent, the estimate of its bandwidth. A few kilobytes; packets are
//! not kept here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::audio::LinesSent;
use super::roles::{Role, Roles};
use super::{Head, LineNumbers, RawPacket, Run, StreamPacket};
use crate::allocation::Hysteresis;
use crate::bwe::{Bwe, BweConfig};
use crate::ids::{LayerIndex, SourceId};
use crate::projection::{Numbers, Origin, Runs, StreamKey, Subscription};
use crate::rtcp::{Nack, Packet, SenderInfo, Writer, compound};
use crate::send::{HistoryConfig, RetransmitConfig, Retransmitter, SendHistory, SentCounters, SentReports, Verdict};
use crate::srtp::Outbound;

/// What all receivers have in common.
#[derive(Clone, Debug, Default)]
pub struct ReceiverConfig {
    /// Of the estimate.
    pub bwe: Arc<BweConfig>,
    /// Of the history of transport-wide numbers.
    pub history: HistoryConfig,
    /// Of retransmissions.
    pub retransmit: RetransmitConfig,
}

/// SSRCs of video that one receiver may have been sent, in the course of time. With SSRC rewriting there are 50; without, as many as there were
/// sources. What comes after is not sent.
const MAX_SLOTS: usize = 256;
/// Sequence numbers in the NACKs of one datagram that are looked at: a kilobyte of NACK names 4,000.
const MAX_NACKS: usize = 1_024;
/// Packets that the transport-wide feedback of one datagram may be about: 28 bytes can claim the loss of 32,768, of which at most a thousand are
/// remembered.
const MAX_STATUSES: usize = 4_096;
/// SSRCs of which one datagram may ask for a keyframe.
const MAX_KEYFRAMES: usize = 64;

/// What one datagram of RTCP may still cost.
struct Budget {
    statuses: usize,
    numbers: usize,
    keyframes: SmallVec<[u32; 8]>,
    /// Packets of which not everything was done.
    limited: u64,
}

impl Budget {
    fn new() -> Self {
        Self { statuses: MAX_STATUSES, numbers: MAX_NACKS, keyframes: SmallVec::new(), limited: 0 }
    }

    /// Whether a keyframe is asked for on an SSRC: once each.
    fn keyframe(&mut self, ssrc: u32) -> bool {
        let new = !self.keyframes.contains(&ssrc) && self.keyframes.len() < MAX_KEYFRAMES;
        match new {
            true => self.keyframes.push(ssrc),
            false => self.limited += 1,
        }
        new
    }
}

/// An SSRC that video is sent on.
#[derive(Debug)]
pub struct VideoSlot {
    /// The SSRC.
    pub ssrc: u32,
    /// Of retransmissions.
    pub rtx: Option<u32>,
    /// What is to be seen; none: nothing.
    pub wanted: Option<(SourceId, LayerIndex)>,
    /// What is to be seen until then: the lowest temporal layer of what it shows, while it waits for less (`spec/bridge.md` 4.6.6).
    pub via: Option<LayerIndex>,
    /// What is seen and waited for, with its numbers.
    pub subscription: Subscription,
    runs: Runs,
    counters: SentCounters,
    /// For the shard: proves that an entry of a list of followers is of this slot and not of an earlier state of it.
    pub stamp: u32,
    /// For the shard: the stream in whose list it is.
    pub listed: Option<StreamKey>,
    /// For the shard: it is among those that wait for a switch.
    pub switching: bool,
    /// For the shard: since when it waits, and when a keyframe was asked for last.
    pub waits: Option<(Instant, Option<Instant>)>,
}

impl VideoSlot {
    fn new(ssrc: u32, rtx: Option<u32>) -> Self {
        Self {
            ssrc,
            rtx,
            wanted: None,
            via: None,
            subscription: Subscription::new(),
            runs: Runs::new(),
            counters: SentCounters::default(),
            stamp: 0,
            listed: None,
            switching: false,
            waits: None,
        }
    }

    /// Sends nothing more of a better encoding than that which is wanted: there is no room for it.
    pub fn choke(&mut self, source: SourceId, layer: LayerIndex) {
        let better = |it: StreamKey| it.source == source && it.target.encoding() > layer.encoding();
        if self.subscription.current().is_some_and(better) {
            self.subscription.switch_to(None);
            // So that the switch is begun anew.
            self.wanted = None;
        }
    }

    /// Whether a packet is of what the slot shows: nobody needs one again that a keyframe of something else came after.
    pub fn shows(&self, origin: &Origin) -> bool {
        let of = |it: StreamKey| (it.source, it.target.encoding());
        self.subscription.current().is_some_and(|it| of(it) == of(origin.stream))
    }

    /// Whether something was ever sent.
    pub fn used(&self) -> bool {
        self.subscription.last_seq().is_some()
    }
}

/// Something that a receiver's RTCP asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A packet again.
    Packet {
        /// Which slot.
        slot: usize,
        /// Where it comes from.
        origin: Origin,
    },
    /// A keyframe of what is in a slot.
    Keyframe {
        /// Which slot.
        slot: usize,
    },
    /// A packet of a line again.
    Line {
        /// SSRC of the line.
        ssrc: u32,
        /// Number in the line.
        seq: u64,
    },
    /// A keyframe on an SSRC that is no slot: relays name the source's own.
    LineKeyframe {
        /// The SSRC.
        ssrc: u32,
    },
    /// A packet that was never sent or is too long ago.
    Unknown,
}

/// An endpoint that receives.
#[derive(Debug)]
pub struct Receiver {
    /// Our keys.
    pub outbound: Outbound,
    /// SSRCs of video.
    pub slots: SmallVec<[VideoSlot; 2]>,
    lines: LinesSent,
    roles: Roles,
    history: SendHistory,
    /// Whether it gets transport-wide numbers.
    transport_cc: bool,
    last_paced: Option<Instant>,
    /// Media payload type, retransmission payload type.
    rtx_types: SmallVec<[(u8, u8); 4]>,
    retransmitter: Retransmitter,
    reports: SentReports,
    /// The estimate of its bandwidth.
    pub bwe: Bwe,
    /// What the rung is looked up with.
    pub hysteresis: Hysteresis,
    rtt: Option<Duration>,
    /// Of the last REMB, if there are no transport-wide numbers.
    remb: Option<u64>,
    config: ReceiverConfig,
}

impl Receiver {
    /// Nothing sent yet. `rtx_types`: payload types of media with those of their retransmissions.
    pub fn new(
        now: Instant,
        outbound: Outbound,
        transport_cc: bool,
        rtx_types: impl IntoIterator<Item = (u8, u8)>,
        config: ReceiverConfig,
    ) -> Self {
        let bwe = Bwe::new(now, config.bwe.clone());
        Self {
            outbound,
            slots: SmallVec::new(),
            lines: LinesSent::default(),
            roles: Roles::default(),
            history: SendHistory::new(now, config.history),
            transport_cc,
            last_paced: None,
            rtx_types: rtx_types.into_iter().collect(),
            retransmitter: Retransmitter::new(now),
            reports: SentReports::new(now),
            hysteresis: Hysteresis::new(bwe.estimate()),
            bwe,
            rtt: None,
            remb: None,
            config,
        }
    }

    /// Signaling changed: whether it gets transport-wide numbers, and its payload types.
    pub fn set_media(&mut self, transport_cc: bool, rtx_types: impl IntoIterator<Item = (u8, u8)>) {
        self.transport_cc = transport_cc;
        self.rtx_types = rtx_types.into_iter().collect();
    }

    /// The slot of an SSRC, made if there is none. `None` if there are too many, or the SSRC was used for something else.
    pub fn slot(&mut self, ssrc: u32, rtx: Option<u32>) -> Option<usize> {
        match self.slots.iter().position(|slot| slot.ssrc == ssrc) {
            Some(at) => {
                self.slots[at].rtx = rtx;
                Some(at)
            }
            None if self.slots.len() < MAX_SLOTS && self.roles.take(ssrc, Role::Slot) => {
                self.slots.push(VideoSlot::new(ssrc, rtx));
                Some(self.slots.len() - 1)
            }
            None => None,
        }
    }

    /// Bits per second that it can take as far as is known; none: not estimated, everything fits (`spec/bridge.md` 4.10).
    pub fn bandwidth(&self) -> Option<u64> {
        match self.transport_cc {
            true if !self.rtx_types.is_empty() => Some(self.bwe.estimate()),
            _ => self.remb,
        }
    }

    /// Round trip, if known.
    pub fn rtt(&self) -> Option<Duration> {
        self.bwe.rtt().or(self.rtt)
    }

    /// When the last packet with a transport-wide number left.
    pub fn last_paced(&self) -> Option<Instant> {
        self.last_paced
    }

    /// Seals a video packet into `run`, which takes it. Returns its size; 0 if that did not work.
    #[inline]
    pub fn video(
        &mut self,
        now: Instant,
        slot: usize,
        numbers: &Numbers,
        head: &Head,
        send_time: u32,
        run: &mut Run,
    ) -> usize {
        let size = head.sealed_len(&self.outbound);
        let paced = self.pace(now, head, size, send_time);
        let Some(slot) = self.slots.get_mut(slot) else { return 0 };
        if numbers.joined {
            slot.runs.begin(&slot.subscription);
        }
        let Ok(sealed) = head.seal(&self.outbound, run.space(), slot.ssrc, numbers, paced) else { return 0 };
        slot.counters.on_sent(head.payload_len());
        run.commit(sealed);
        sealed
    }

    #[cfg(test)]
    pub(super) fn number(&mut self, numbers: &LineNumbers) -> Option<Numbers> {
        self.lines.number(&mut self.roles, numbers, 10)
    }

    /// The next number on an SSRC of retransmissions.
    pub(super) fn rtx_seq(&mut self, ssrc: u32) -> Option<u64> {
        self.roles.take(ssrc, Role::Retransmissions).then(|| self.retransmitter.next_seq(ssrc))
    }

    #[inline]
    fn pace(&mut self, now: Instant, head: &Head, size: usize, send_time: u32) -> u32 {
        if !head.has_transport_cc() {
            return send_time;
        }
        self.last_paced = Some(now);
        self.bwe.on_sent(now, size);
        u32::from(self.history.record(now, size))
    }

    /// Seals a packet of a line into `run`, which takes it. Returns its size; 0 if this receiver must not get it.
    #[inline]
    pub fn line(&mut self, numbers: &LineNumbers, head: &Head, send_time: u32, run: &mut Run) -> usize {
        let Some(own) = self.lines.number(&mut self.roles, numbers, head.payload_len()) else { return 0 };
        let Ok(sealed) = head.seal(&self.outbound, run.space(), numbers.ssrc, &own, send_time) else { return 0 };
        run.commit(sealed);
        sealed
    }

    /// Seals a packet that was sent before, as retransmission, into `run`. Returns its size; 0 if it has no SSRC or payload type for that: a
    /// plain repetition under GCM would give the authentication key away (`spec/bridge.md` 9.6).
    #[expect(clippy::too_many_arguments, reason = "one packet's numbers and where it goes")]
    pub fn retransmission(
        &mut self,
        now: Instant,
        slot: usize,
        packet: &StreamPacket,
        origin: &Origin,
        head: &Head,
        send_time: u32,
        run: &mut Run,
    ) -> usize {
        let numbers = origin.offsets.apply(&packet.projected);
        let media = packet.packet.payload_type;
        let Some((_, rtx_type)) = self.rtx_types.iter().copied().find(|(of, _)| *of == media) else { return 0 };
        let Some(rtx) = self.slots.get(slot).and_then(|slot| slot.rtx) else { return 0 };
        let Some(rtx_seq) = self.rtx_seq(rtx) else { return 0 };
        let paced = self.pace(now, head, head.sealed_rtx_len(&self.outbound), send_time);
        match head.seal_rtx(&self.outbound, run.space(), rtx, rtx_type, rtx_seq, &numbers, paced) {
            Ok(sealed) => {
                run.commit(sealed);
                sealed
            }
            Err(_) => 0,
        }
    }

    /// Seals a packet that a relay asks for again, as retransmission, into `run`. Returns its size; 0 if it is not to be sent.
    pub fn raw_retransmission(
        &mut self,
        now: Instant,
        packet: &RawPacket,
        kept: Instant,
        head: &Head,
        send_time: u32,
        run: &mut Run,
    ) -> usize {
        let (Some(numbers), Some(rtx)) = (self.lines.again(&self.roles, &packet.numbers), packet.rtx) else { return 0 };
        let media = packet.packet.payload_type;
        let Some((_, rtx_type)) = self.rtx_types.iter().copied().find(|(of, _)| *of == media) else { return 0 };
        let (rtt, config, bytes) = (self.rtt(), self.config.retransmit, packet.packet.payload.len());
        // Lines share the small numbers that tell SSRCs apart in the memory of what was sent again.
        let slot = packet.numbers.ssrc as u16;
        let seq = numbers.seq as u16;
        let rate = self.config.bwe.max;
        if self.retransmitter.judge(&config, now, slot, seq, kept, bytes, rtt, rate) != Verdict::Send {
            return 0;
        }
        let Some(rtx_seq) = self.rtx_seq(rtx) else { return 0 };
        match head.seal_rtx(&self.outbound, run.space(), rtx, rtx_type, rtx_seq, &numbers, send_time) {
            Ok(sealed) => {
                run.commit(sealed);
                sealed
            }
            Err(_) => 0,
        }
    }

    /// Whether a packet that is asked for is to be sent again now.
    pub fn judge(&mut self, now: Instant, slot: usize, origin: &Origin, kept: Instant, bytes: usize) -> Verdict {
        if !self.slots.get(slot).is_some_and(|slot| slot.shows(origin)) {
            return Verdict::Outdated;
        }
        let (rtt, rate) = (self.rtt(), self.bandwidth().unwrap_or(self.config.bwe.max));
        let config = self.config.retransmit;
        self.retransmitter.judge(&config, now, slot as u16, origin.out as u16, kept, bytes, rtt, rate)
    }

    /// The origins of the newest packets of a slot, newest first: material for padding.
    pub fn newest(&self, slot: usize) -> impl Iterator<Item = Origin> + '_ {
        self.slots.get(slot).into_iter().flat_map(|slot| {
            let last = slot.subscription.last_seq();
            let numbers = last.into_iter().flat_map(|last| (0..last.min(32)).map(move |back| (last - back) as u16));
            numbers.filter_map(|seq| slot.runs.origin(&slot.subscription, seq))
        })
    }

    /// A sender report that came on an SSRC of video: as this receiver is to see it, sealed into `out`. `false` if it is not for it.
    pub fn video_report(
        &mut self,
        now: Instant,
        slot: usize,
        received: u32,
        info: &SenderInfo,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(slot) = self.slots.get(slot) else { return false };
        let Some((sent, offset)) = slot.subscription.timestamp_offset() else { return false };
        if sent != received || slot.subscription.current().is_none() {
            return false;
        }
        let Some(mapped) = slot.counters.map(*info, offset) else { return false };
        let ssrc = slot.ssrc;
        self.report(now, ssrc, mapped, out)
    }

    /// The same on a line; `offset` is what is added to timestamps there.
    pub fn line_report(&mut self, now: Instant, ssrc: u32, offset: u32, info: &SenderInfo, out: &mut Vec<u8>) -> bool {
        let Some(mapped) = self.lines.counters(&self.roles, ssrc).and_then(|counters| counters.map(*info, offset))
        else {
            return false;
        };
        self.report(now, ssrc, mapped, out)
    }

    fn report(&mut self, now: Instant, ssrc: u32, info: SenderInfo, out: &mut Vec<u8>) -> bool {
        out.clear();
        if Writer::new(out).sender_report(ssrc, &info, &[]).is_err() || self.outbound.seal_control_vec(out).is_err() {
            return false;
        }
        self.reports.on_sent(now, info.ntp);
        true
    }

    /// Takes RTCP of this receiver, opened. What it asks for is appended to `asked`. Whatever is malformed ends here. Returns how many packets
    /// asked for more than one datagram may.
    pub fn on_control(&mut self, now: Instant, data: &[u8], asked: &mut Vec<Asked>) -> u64 {
        let mut budget = Budget::new();
        for packet in compound(data).flatten() {
            match packet {
                Packet::ReceiverReport(report) => report.blocks().for_each(|block| self.on_block(now, &block)),
                Packet::SenderReport(report) => report.blocks().for_each(|block| self.on_block(now, &block)),
                Packet::TransportCc(feedback) if self.transport_cc => {
                    let Some(left) = budget.statuses.checked_sub(feedback.count.into()) else {
                        budget.limited += 1;
                        continue;
                    };
                    budget.statuses = left;
                    let statuses =
                        feedback.statuses().map(|it| (it.seq, it.arrival.map(|at| at.wrapping_add(SHIFT) as u64)));
                    self.bwe.on_feedback(now, self.history.resolve(now, statuses));
                }
                Packet::Nack(nack) => self.on_nack(&nack, &mut budget, asked),
                Packet::Pli { media_ssrc, .. } => self.ask_keyframe(media_ssrc, &mut budget, asked),
                Packet::Fir(fir) => {
                    fir.entries().for_each(|entry| self.ask_keyframe(entry.media_ssrc, &mut budget, asked));
                }
                Packet::Remb(remb) if !self.transport_cc => {
                    // Nobody is believed to take more than an estimate would ever say.
                    self.remb = Some(remb.bitrate.min(self.config.bwe.max));
                }
                _ => {}
            }
        }
        budget.limited
    }

    fn on_nack(&self, nack: &Nack<'_>, budget: &mut Budget, asked: &mut Vec<Asked>) {
        let ssrc = nack.media_ssrc;
        let slot = self.slots.iter().position(|slot| slot.ssrc == ssrc);
        for seq in nack.lost() {
            let Some(left) = budget.numbers.checked_sub(1) else {
                budget.limited += 1;
                break;
            };
            budget.numbers = left;
            let it = match slot {
                Some(slot) => {
                    let it = &self.slots[slot];
                    it.runs.origin(&it.subscription, seq).map(|origin| Asked::Packet { slot, origin })
                }
                None => self.lines.find(&self.roles, ssrc, seq).map(|seq| Asked::Line { ssrc, seq }),
            };
            asked.push(it.unwrap_or(Asked::Unknown));
        }
    }

    fn ask_keyframe(&self, ssrc: u32, budget: &mut Budget, asked: &mut Vec<Asked>) {
        if budget.keyframe(ssrc) {
            asked.push(match self.slots.iter().position(|slot| slot.ssrc == ssrc) {
                Some(slot) => Asked::Keyframe { slot },
                None => Asked::LineKeyframe { ssrc },
            });
        }
    }

    fn on_block(&mut self, now: Instant, block: &crate::rtcp::ReportBlock) {
        if let Some(rtt) = self.reports.rtt(now, block.last_sr, block.delay_since_last_sr) {
            self.rtt = Some(rtt);
            self.bwe.on_rtt(now, rtt);
        }
        if self.slots.iter().any(|slot| slot.ssrc == block.ssrc) {
            self.bwe.on_loss(now, block.fraction_lost);
        }
    }
}

/// Arrival times are told relative to a point that may lie after them; only differences count.
const SHIFT: i64 = 1 << 40;
