//! What receivers get of sources whose packets are made here, byte by byte.

mod dependency;
mod properties;
mod receiver;
mod vp8;
mod vp9;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::codec::{Codec, Parser};
use crate::packet::MediaPacket;

/// A frame to be sent.
#[derive(Clone, Copy, Debug)]
struct Picture {
    key: bool,
    spatial: u8,
    temporal: u8,
    /// VP8: Y; VP9: U.
    sync: bool,
    packets: usize,
    /// VP9: depends on the layer below; is a reference for the layer above.
    inter_layer: bool,
    upper_reference: bool,
    /// VP9: number of spatial layers in a structure.
    structure: Option<u8>,
}

const KEY: Picture = Picture {
    key: true,
    spatial: 0,
    temporal: 0,
    sync: false,
    packets: 1,
    inter_layer: false,
    upper_reference: true,
    structure: None,
};

fn delta(temporal: u8) -> Picture {
    Picture { key: false, temporal, ..KEY }
}

fn sync(temporal: u8) -> Picture {
    Picture { sync: true, ..delta(temporal) }
}

/// One encoding of a source.
struct Encoding {
    source: SourceId,
    index: u8,
    codec: Codec,
    parser: Parser,
    start: Instant,
    /// Milliseconds since the start.
    at: u64,
    ssrc: u32,
    seq: u64,
    picture: u16,
    tl0: u8,
    /// What is added to make RTP timestamps.
    clock: u32,
}

impl Encoding {
    fn new(start: Instant, codec: Codec, source: u32, index: u8) -> Self {
        Self {
            source: SourceId(source),
            index,
            codec,
            parser: Parser::new(),
            start,
            at: 0,
            ssrc: 1000 * (source + 1) + u32::from(index),
            seq: 70_000 + u64::from(index) * 1000 + u64::from(source) * 30_000,
            picture: 100 * (u16::from(index) + 1),
            tl0: 10 * (index + 1),
            clock: 1_000_000 * (u32::from(index) + 1) + source * 77_000_000,
        }
    }

    fn packet(&mut self, payload: Vec<u8>, dd: Option<Vec<u8>>, marker: bool) -> MediaPacket {
        let frame = self.parser.parse(self.codec, &payload, dd.as_deref(), marker).expect("well-formed");
        let seq = self.seq;
        self.seq += 1;
        MediaPacket {
            source: self.source,
            kind: MediaKind::Video,
            encoding: self.index,
            ssrc: self.ssrc,
            payload_type: 96,
            marker,
            seq,
            timestamp: (self.at as u32).wrapping_mul(90).wrapping_add(self.clock),
            arrival: self.start + Duration::from_millis(self.at),
            audio_level: None,
            orientation: None,
            dependency_descriptor: dd.map(Bytes::from),
            frame,
            payload: Bytes::from(payload),
        }
    }

    /// The packets of a frame of a new picture, 33 ms after the one before.
    fn frame(&mut self, picture: Picture) -> Vec<MediaPacket> {
        self.at += 33;
        self.picture = self.picture.wrapping_add(1) & 0x7fff;
        if picture.temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        self.layer(picture, true)
    }

    /// The packets of a frame of the present picture.
    fn layer(&mut self, p: Picture, last: bool) -> Vec<MediaPacket> {
        let mut packets = Vec::new();
        for n in 0..p.packets {
            let (start, end) = (n == 0, n + 1 == p.packets);
            let [high, low] = (self.picture | 0x8000).to_be_bytes();
            let payload = match self.codec {
                Codec::Vp8 => {
                    let first = if start { 0x90 } else { 0x80 };
                    let layer = p.temporal << 6 | u8::from(p.sync) << 5;
                    vec![first, 0xe0, high, low, self.tl0, layer, u8::from(!p.key), n as u8]
                }
                _ => {
                    let bits = u8::from(!p.key) << 6
                        | u8::from(start) << 3
                        | u8::from(end) << 2
                        | u8::from(start && p.structure.is_some()) << 1
                        | u8::from(!p.upper_reference);
                    let layer = p.temporal << 5 | u8::from(p.sync) << 4 | p.spatial << 1 | u8::from(p.inter_layer);
                    let mut payload = vec![0xa0 | bits, high, low, layer, self.tl0];
                    if let Some(count) = p.structure.filter(|_| start) {
                        payload.push((count - 1) << 5);
                    }
                    payload.push(n as u8);
                    payload
                }
            };
            packets.push(self.packet(payload, None, last && end));
        }
        packets
    }
}

fn stream(target: LayerIndex) -> Stream {
    Stream::new(target, StreamConfig::default())
}

fn push_all<'a>(stream: &mut Stream, packets: impl IntoIterator<Item = &'a MediaPacket>) -> Vec<Option<Projected>> {
    packets.into_iter().map(|p| stream.push(p)).collect()
}

/// Numbers of what is forwarded; `None` for what is not.
fn seqs(projected: &[Option<Projected>]) -> Vec<Option<u64>> {
    projected.iter().map(|p| p.as_ref().map(|p| p.seq)).collect()
}
