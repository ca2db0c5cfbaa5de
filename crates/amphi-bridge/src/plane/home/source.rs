//! A source at its home: what is known of its encodings, and the streams that are made of it.

use std::time::Instant;

use amphi_media::codec::{Codec, Frame, Headers, Parser};
use amphi_media::ids::{EndpointId, LayerIndex, MediaKind, SourceId};
use amphi_media::projection::{Stream, StreamConfig, StreamKey};
use amphi_media::receive::{DuplicateFilter, NackConfig, NackGenerator, ReceiveStatistics, SilenceDiscarder};
use amphi_media::seq::Unwrap;
use amphi_media::source::{LayerMeter, Nesting, SourceDesc};
use smallvec::SmallVec;

/// Packets of silence that are forwarded before the rest is dropped (`spec/bridge.md` 4.2).
const SILENT_PACKETS: u32 = 3;

/// A source.
pub(super) struct Source {
    pub(super) owner: EndpointId,
    pub(super) carrier: EndpointId,
    pub(super) kind: MediaKind,
    pub(super) encodings: SmallVec<[Encoding; 3]>,
    pub(super) streams: Vec<Live>,
}

/// One SSRC of a source.
pub(super) struct Encoding {
    pub(super) ssrc: u32,
    pub(super) rtx: Option<u32>,
    pub(super) seq: Unwrap<16>,
    pub(super) duplicates: DuplicateFilter,
    pub(super) nacks: NackGenerator,
    /// Closes gaps that silence leaves; of video (for relays) those of padding.
    pub(super) silence: SilenceDiscarder,
    pub(super) statistics: ReceiveStatistics,
    /// When its last sender report was forwarded.
    pub(super) reported: Option<Instant>,
    pub(super) rtx_seq: Unwrap<16>,
    pub(super) rtx_statistics: ReceiveStatistics,
    pub(super) parser: Parser,
    meter: Option<(Codec, LayerMeter)>,
}

/// A stream that somebody wants or wanted a moment ago.
pub(super) struct Live {
    pub(super) key: StreamKey,
    pub(super) stream: Stream,
    /// Shards with receivers, one bit each.
    pub(super) shards: u64,
    pub(super) receivers: u32,
    pub(super) unwanted: Option<Instant>,
}

/// Streams of one source; more layers are not served.
const MAX_STREAMS: usize = 64;

impl Source {
    pub(super) fn new(_now: Instant, desc: &SourceDesc, owner: EndpointId, carrier: EndpointId) -> Self {
        let clock_rate = if desc.kind == MediaKind::Audio { 48_000 } else { 90_000 };
        let encodings = desc.encodings.iter().map(|it| Encoding {
            ssrc: it.ssrc,
            rtx: it.rtx,
            seq: Unwrap::new(),
            duplicates: DuplicateFilter::new(),
            nacks: NackGenerator::new(NackConfig::default()),
            silence: SilenceDiscarder::new(if desc.kind == MediaKind::Audio { SILENT_PACKETS } else { 0 }),
            statistics: ReceiveStatistics::new(clock_rate),
            reported: None,
            rtx_seq: Unwrap::new(),
            rtx_statistics: ReceiveStatistics::new(clock_rate),
            parser: Parser::new(),
            meter: None,
        });
        Self { owner, carrier, kind: desc.kind, encodings: encodings.collect(), streams: Vec::new() }
    }

    /// The stream of a layer, made if there is none.
    pub(super) fn stream(&mut self, id: SourceId, target: LayerIndex, generation: &mut u16) -> &mut Live {
        let at = match self.streams.iter().position(|it| it.key.target == target) {
            Some(at) => at,
            // Too many: the oldest makes room. Layers come from what media showed, so this is no normal state.
            None => {
                if self.streams.len() >= MAX_STREAMS {
                    let idle = self.streams.iter().position(|it| it.receivers == 0);
                    self.streams.remove(idle.unwrap_or(0));
                }
                *generation = generation.wrapping_add(1);
                self.streams.push(Live {
                    key: StreamKey { source: id, target, generation: *generation },
                    stream: Stream::new(target, StreamConfig::default()),
                    shards: 0,
                    receivers: 0,
                    unwanted: None,
                });
                self.streams.len() - 1
            }
        };
        &mut self.streams[at]
    }

    /// Measured rates of all layers that came.
    pub(super) fn rates(&mut self, now: Instant) -> Vec<(LayerIndex, u64)> {
        let meters = self.encodings.iter_mut().filter_map(|it| it.meter.as_mut());
        meters.flat_map(|(_, meter)| meter.rates(now)).collect()
    }
}

impl Encoding {
    /// Counts a packet for the layers that it belongs to.
    pub(super) fn measure(&mut self, now: Instant, encoding: u8, frame: &Frame, bytes: usize) {
        let exact = matches!(frame.headers, Headers::Dependency(_));
        if self.meter.as_ref().is_none_or(|(codec, _)| *codec != frame.codec) {
            let nesting = if exact { Nesting::Exact } else { Nesting::Cumulative };
            self.meter = Some((frame.codec, LayerMeter::new(now, nesting)));
        }
        let Some((_, meter)) = &mut self.meter else { return };
        match &frame.headers {
            Headers::Dependency(descriptor) => {
                let mut targets = descriptor.targets();
                while targets != 0 {
                    meter.add(now, LayerIndex::av1(encoding, targets.trailing_zeros() as u8), bytes);
                    targets &= targets - 1;
                }
            }
            _ => meter.add(now, LayerIndex::new(encoding, frame.spatial, frame.temporal), bytes),
        }
    }
}
