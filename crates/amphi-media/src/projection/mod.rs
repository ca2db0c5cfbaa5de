//! Selection of layers and rewriting of numbers, once per stream; receivers join and switch by offsets (`spec/bridge.md` 4.6, 9.5.2).
//!
//! A [`Stream`] is a source at one target [`LayerIndex`]: it takes every packet of the source, decides which are forwarded and gives those numbers
//! without holes where something was left out. A [`Subscription`] is one receiver's slot: it follows a stream, moves to another where that can be
//! decoded, and adds offsets so that its own numbers go on. [`Runs`] remembers which numbers came from where, for retransmission.
//!
//! For each packet the caller pushes it into all streams of the source, then offers the results: first to the receivers that wait for a stream
//! ([`Subscription::join`]), then to those that follow one ([`Subscription::accept`]). The order matters: who joins a stream at a packet must not get
//! that packet from the stream before.

mod encoding;
mod filter;
mod frames;
mod packets;
mod runs;
mod stream;
mod subscription;
pub mod template;

use std::time::Instant;

use crate::codec::dependency;
use crate::ids::{LayerIndex, MediaKind, SourceId};

pub use runs::{Origin, Runs};
pub use stream::{Stream, StreamConfig};
pub use subscription::{Numbers, Offsets, Subscription};

/// A stream, as receivers refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// The source.
    pub source: SourceId,
    /// The quality.
    pub target: LayerIndex,
    /// Tells a stream from an earlier one of the same source and target, whose numbers were others. The caller counts it up for each
    /// [`Stream`] that it makes.
    pub generation: u16,
}

/// A packet that a stream forwards, in the stream's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projected {
    /// Sequence number, unwrapped. A number is never given to two packets; what was lost on the way to us leaves its number free.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker.
    pub marker: bool,
    /// First packet of a frame.
    pub start: bool,
    /// Last packet of what is forwarded of a picture: one may switch after it without leaving it unfinished.
    pub end: bool,
    /// Part of a keyframe.
    pub keyframe: bool,
    /// A receiver of anything else may begin here: a keyframe starts.
    pub switch_in: bool,
    /// Layers (low six bits of a `LayerIndex`) from which a receiver of the same source and encoding may change to this stream here, without a
    /// keyframe.
    pub joinable: u64,
    /// Encoding that it came from: the target's, or a lower one while that has no keyframe.
    pub encoding: u8,
    /// VP8, VP9: picture id of 15 bits.
    pub picture_id: u16,
    /// VP8, VP9: TL0PICIDX.
    pub tl0: u8,
    /// Dependency descriptor: frame number.
    pub frame_number: u16,
    /// Dependency descriptor: how far template ids are from the source's.
    pub template_shift: u8,
    /// Dependency descriptor: first id and number of the templates in the structure that this packet brings, in the stream's numbers.
    pub structure: Option<(u8, u8)>,
    /// The dependency descriptor as it is to be sent, with the stream's frame number and template ids ([`template::patch_descriptor`] sets others).
    pub descriptor: Option<dependency::Written>,
}

/// The timestamp after a switch to what has no timestamps in common: what has passed since, and at least one frame.
fn next_timestamp(last: u32, at: Instant, now: Instant, kind: MediaKind) -> u32 {
    let (per_millisecond, frame) = match kind {
        MediaKind::Video => (90, 3000),
        MediaKind::Audio => (48, 960),
    };
    let elapsed = (now.saturating_duration_since(at).as_millis() as u32).wrapping_mul(per_millisecond);
    // More than half of the range would look like a step back.
    last.wrapping_add(elapsed.clamp(frame, u32::MAX / 4))
}

/// Where a receiver may stay while it waits for a keyframe of a lower quality: the lowest temporal layer of what it gets (`spec/bridge.md` 4.6.6).
/// `structure` is the encoding's dependency structure, if it has one. `None` if there is nothing lower, or the receiver is not waiting downwards.
pub fn stopover(
    current: LayerIndex,
    wanted: LayerIndex,
    structure: Option<&dependency::Structure>,
) -> Option<LayerIndex> {
    let lowest = match structure {
        Some(structure) => LayerIndex::av1(current.encoding(), structure.lowest_temporal(current.decode_target())?),
        None => LayerIndex::new(current.encoding(), current.spatial(), 0),
    };
    (wanted < lowest && lowest < current).then_some(lowest)
}

#[cfg(test)]
mod tests;
