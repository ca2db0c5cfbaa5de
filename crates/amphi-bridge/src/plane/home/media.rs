//! RTP of publishers: the receive pipeline (`spec/bridge.md` 4.2) up to what receivers share.

use std::sync::Arc;
use std::time::Instant;

use amphi_media::codec::{Codec as Video, Frame};
use amphi_media::conference::Input;
use amphi_media::egress::{AudioPacket, Line, LineNumbers, RawPacket, StreamPacket};
use amphi_media::ids::{EndpointId, LayerIndex, MediaKind, SourceId};
use amphi_media::keyframe::{Need, Wish};
use amphi_media::packet::MediaPacket;
use amphi_media::receive::{Freshness, RTX_HEADER};
use amphi_media::rtp::{ExtensionValues, Header, Packet};
use amphi_media::source::LayerShape;
use bytes::Bytes;
use smallvec::SmallVec;

use super::{Home, MAX_LINES, Place, WANTED_AGAIN};
use crate::plane::command::Codec;
use crate::plane::shard::Item;
use crate::plane::stats::Counters;

/// Stands for padding where packets are left out and gaps closed.
const PADDING: u8 = 127;

/// A packet after RTX and padding are off.
struct Plain<'a> {
    ssrc: u32,
    payload_type: u8,
    seq: u16,
    payload: &'a [u8],
    rtx: bool,
}

impl Home {
    /// A packet that came on somebody's transport, opened. `muted`: by force, so it only counts where numbers have to go on.
    pub(in crate::plane) fn rtp(
        &mut self,
        now: Instant,
        carrier_id: EndpointId,
        header: &Header,
        data: &[u8],
        muted: bool,
        counters: &mut Counters,
    ) {
        let Some(carrier) = self.carriers.get_mut(&carrier_id) else { return };
        let Ok(packet) = Packet::parse(data) else {
            counters.malformed += 1;
            return;
        };
        let values = ExtensionValues::read(packet.extensions(), &carrier.media.extensions);
        // Arrivals are told for everything that carries a number, whatever becomes of it.
        if let Some(number) = values.transport_cc
            && carrier.arrivals.record(now, number, header.ssrc, header.marker)
        {
            self.send_arrivals(now, Some(carrier_id));
        }
        let Some(carrier) = self.carriers.get(&carrier_id) else { return };
        let Some(place) = self.ssrcs.get(&header.ssrc).copied().filter(|it| it.carrier == carrier_id) else {
            counters.unknown_ssrc += 1;
            return;
        };
        let Some(source) = self.sources.get_mut(&place.source) else { return };
        let (owner, kind) = (source.owner, source.kind);
        let Some(encoding) = source.encodings.get_mut(usize::from(place.encoding)) else { return };
        let plain = match place.rtx {
            false => {
                let seq = encoding.seq.peek(u64::from(header.seq));
                encoding.statistics.on_packet(now, seq, header.timestamp, data.len());
                Plain {
                    ssrc: header.ssrc,
                    payload_type: header.payload_type,
                    seq: header.seq,
                    payload: packet.payload(),
                    rtx: false,
                }
            }
            true => {
                let seq = encoding.rtx_seq.unwrap(u64::from(header.seq));
                encoding.rtx_statistics.on_packet(now, seq, header.timestamp, data.len());
                counters.rtx_received += 1;
                let Ok(original) = carrier.rtx.original(header.ssrc, header.payload_type, packet.payload()) else {
                    return;
                };
                Plain {
                    ssrc: original.ssrc,
                    payload_type: original.payload_type,
                    seq: original.seq,
                    payload: packet.payload().get(RTX_HEADER..).unwrap_or_default(),
                    rtx: true,
                }
            }
        };
        // A retransmission of something far away must not move the window of sequence numbers.
        let seq = match plain.rtx {
            true => encoding.seq.peek(u64::from(plain.seq)),
            false => encoding.seq.unwrap(u64::from(plain.seq)),
        };
        let by_owner = |(audio, video): &(bool, bool)| if kind == MediaKind::Audio { *audio } else { *video };
        if muted || self.muted.get(&owner).is_some_and(by_owner) {
            counters.discarded += 1;
            return;
        }
        if plain.rtx && encoding.seq.highest().is_none_or(|highest| seq > highest) {
            return;
        }
        if encoding.duplicates.check(seq) != Freshness::New {
            return;
        }
        let codec = carrier.media.payload_type(plain.payload_type).map(|it| it.codec);
        let media = MediaPacket {
            source: place.source,
            kind,
            encoding: place.encoding,
            ssrc: plain.ssrc,
            payload_type: plain.payload_type,
            marker: header.marker,
            seq,
            timestamp: header.timestamp,
            arrival: now,
            audio_level: values.audio_level,
            orientation: values.orientation,
            dependency_descriptor: values.dependency_descriptor.map(Bytes::copy_from_slice),
            frame: Frame::default(),
            payload: Bytes::new(),
        };
        match (kind, codec) {
            (MediaKind::Audio, Some(codec @ (Codec::Opus | Codec::Red | Codec::OtherAudio))) => {
                self.audio(now, place, media, plain.payload, codec == Codec::Red, counters);
            }
            (MediaKind::Video, Some(Codec::Video(codec))) => {
                self.video(now, place, codec, media, plain.payload, counters);
            }
            // A payload type of something else, or not signaled.
            _ => counters.malformed += 1,
        }
    }

    fn audio(
        &mut self,
        now: Instant,
        place: Place,
        mut media: MediaPacket,
        payload: &[u8],
        red: bool,
        counters: &mut Counters,
    ) {
        let Some(owner) = self.sources.get(&place.source).map(|it| it.owner) else { return };
        if payload.is_empty() {
            return;
        }
        let route = match media.audio_level {
            Some(level) => self.levels.level(now, owner, level).route,
            None => self.levels.passes(owner),
        };
        let exempt = self.exempt.contains(&place.source);
        let Some(source) = self.sources.get_mut(&place.source) else { return };
        let Some(encoding) = source.encodings.get_mut(usize::from(place.encoding)) else { return };
        let Some(seq) = encoding.silence.pass(media.seq, media.audio_level.map(|it| it.level)) else {
            counters.discarded += 1;
            return;
        };
        if !route && !exempt {
            counters.discarded += 1;
            return;
        }
        let ssrc = media.ssrc;
        let Some(plain) = self.line(now, ssrc, place.source, seq, media.timestamp) else { return };
        let slot = self.audio_slots.iter().position(|it| *it == Some(place.source));
        let slot = match slot.and_then(|slot| self.audio_ssrcs.get(slot)).copied() {
            Some(slot) => self.line(now, slot.ssrc, place.source, seq, media.timestamp),
            None => {
                let told = self.wanted_told.get(&place.source);
                if told.is_none_or(|at| now.saturating_duration_since(*at) >= WANTED_AGAIN) {
                    self.wanted_told.insert(place.source, now);
                    self.inputs.push(Input::AudioWanted(place.source));
                }
                None
            }
        };
        media.payload = Bytes::copy_from_slice(payload);
        let primary = if red { media.primary().map(Arc::new) } else { None };
        counters.malformed += u64::from(red && primary.is_none());
        let packet = Arc::new(media);
        if let (true, mesh) = self.relays(place.carrier) {
            let raw = RawPacket { owner, mesh, packet: packet.clone(), numbers: plain, rtx: None };
            self.items.push(Item::Raw(Arc::new(raw)));
        }
        self.items.push(Item::Audio(Arc::new(AudioPacket { owner, packet, primary, plain, slot })));
    }

    fn line(&mut self, now: Instant, ssrc: u32, source: SourceId, seq: u64, timestamp: u32) -> Option<LineNumbers> {
        if self.lines.len() >= MAX_LINES && !self.lines.contains_key(&ssrc) {
            let floor = &mut self.line_floor;
            self.lines.retain(|_, line| {
                let carries = line.carries().is_some();
                if !carries {
                    *floor = line.next().max(*floor);
                }
                carries
            });
            if self.lines.len() >= MAX_LINES {
                return None;
            }
        }
        let floor = self.line_floor;
        self.lines.entry(ssrc).or_insert_with(|| Line::beginning_at(ssrc, floor)).number(now, source, seq, timestamp)
    }

    fn video(
        &mut self,
        now: Instant,
        place: Place,
        codec: Video,
        mut media: MediaPacket,
        payload: &[u8],
        counters: &mut Counters,
    ) {
        let (relayed, mesh) = self.relays(place.carrier);
        let Some(source) = self.sources.get_mut(&place.source) else { return };
        let owner = source.owner;
        let (carrier, streams) = (source.carrier, &mut source.streams);
        let Some(encoding) = source.encodings.get_mut(usize::from(place.encoding)) else { return };
        match place.rtx {
            true => encoding.nacks.on_retransmission(now, media.seq),
            false => encoding.nacks.on_packet(now, media.seq),
        }
        if payload.is_empty() {
            // Padding: its number is left out for receivers too.
            encoding.silence.pass(media.seq, Some(PADDING));
            streams.iter_mut().for_each(|live| live.stream.skip(place.encoding, media.seq));
            return;
        }
        let descriptor = media.dependency_descriptor.as_deref();
        match encoding.parser.parse(codec, payload, descriptor, media.marker) {
            Ok(frame) => media.frame = frame,
            Err(error) => {
                counters.malformed += 1;
                streams.iter_mut().for_each(|live| live.stream.unreadable(place.encoding));
                if error.needs_keyframe() {
                    self.need(now, place.source, place.encoding);
                }
                return;
            }
        }
        encoding.measure(now, place.encoding, &media.frame, payload.len());
        if media.frame.layering_changed {
            let layers = shapes(place.encoding, encoding.parser.layering());
            self.inputs.push(Input::Layers { source: place.source, encoding: place.encoding, layers });
        }
        if media.frame.keyframe && media.frame.start {
            self.keyframes.on_keyframe(now, place.source, place.encoding);
        }
        media.payload = Bytes::copy_from_slice(payload);
        let packet = Arc::new(media);
        let mut out: SmallVec<[Arc<StreamPacket>; 3]> = SmallVec::new();
        let mut needs: SmallVec<[u8; 4]> = SmallVec::new();
        for live in streams.iter_mut() {
            let projected = live.stream.push(&packet);
            if live.receivers == 0 {
                continue;
            }
            if live.stream.needs_keyframe() && !needs.contains(&live.key.target.encoding()) {
                needs.push(live.key.target.encoding());
            }
            if let Some(projected) = projected {
                out.push(Arc::new(StreamPacket { stream: live.key, projected, packet: packet.clone() }));
            }
        }
        let (rtx, raw) = (encoding.rtx, encoding.silence.pass(packet.seq, Some(0)).filter(|_| relayed));
        if !out.is_empty() {
            self.items.push(Item::Video(out));
        }
        if let Some(seq) = raw
            && let Some(numbers) = self.line(now, packet.ssrc, place.source, seq, packet.timestamp)
        {
            self.items.push(Item::Raw(Arc::new(RawPacket { owner, mesh, packet, numbers, rtx })));
        }
        needs.into_iter().for_each(|encoding| self.need(now, place.source, encoding));
        let holes = self.sources.get(&place.source).and_then(|it| it.encodings.get(usize::from(place.encoding)));
        if holes.is_some_and(|it| it.nacks.poll_timeout().is_some_and(|at| at <= now)) {
            self.ask_for(now, carrier, place.source, place.encoding);
        }
    }

    /// A stream can not go on without a keyframe.
    fn need(&mut self, now: Instant, source: SourceId, encoding: u8) {
        let wish = Wish { source, encoding, need: Need::Downgrade, requester: None, rtt: None };
        self.keyframes.wish(now, wish);
        self.ask_keyframes(now);
    }
}

/// What media showed of an encoding, as decisions take it.
fn shapes(encoding: u8, layering: &amphi_media::codec::Layering) -> Vec<LayerShape> {
    let shape = |it: &amphi_media::codec::Layer| LayerShape {
        index: LayerIndex(u16::from(encoding) << 6 | u16::from(it.index & 63)),
        height: it.height,
        fps: (it.deci_fps != 0).then(|| f32::from(it.deci_fps) / 10.0),
        active: it.active,
    };
    layering.layers.iter().map(shape).collect()
}
