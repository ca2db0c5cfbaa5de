//! What is known of a source's encodings before anything is decided: the context of their packets, the order of their frames.

use std::time::Instant;

use crate::codec::{Codec, Headers};
use crate::ids::MediaKind;
use crate::packet::MediaPacket;
use crate::seq::Unwrap;

/// How many frames a keyframe of another encoding can be late (`spec/bridge.md` 4.6.2: demotion).
const OVERTAKEN: u64 = 64;

/// The context that a packet is projected in; another one begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Vp8 {
        long: bool,
    },
    Vp9 {
        long: bool,
    },
    Dependency,
    /// Codecs of which keyframes are recognised, and nothing else.
    Keyframes {
        payload_type: u8,
    },
    Anything,
}

impl Kind {
    pub(super) fn of(packet: &MediaPacket) -> Self {
        match &packet.frame.headers {
            Headers::Vp8(d) => Self::Vp8 { long: d.long_picture_id },
            Headers::Vp9(d) => Self::Vp9 { long: d.long_picture_id },
            Headers::Dependency(_) => Self::Dependency,
            Headers::None if packet.kind == MediaKind::Audio || packet.frame.codec == Codec::Other => Self::Anything,
            Headers::None => Self::Keyframes { payload_type: packet.payload_type },
        }
    }
}

/// Whether keys of frames tell which is later.
pub(super) fn is_ordered(kind: Kind) -> bool {
    !matches!(kind, Kind::Keyframes { .. } | Kind::Anything)
}

/// What is known of each encoding, forwarded or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Encoding {
    short: Unwrap<7>,
    long: Unwrap<15>,
    number: Unwrap<16>,
    pub(super) highest_seq: Option<u64>,
    pub(super) last_at: Option<Instant>,
    /// Latest frame of the base layer that was left out while another encoding was forwarded.
    pub(super) left_out: Option<u64>,
    /// The latest keyframe about which there is a decision.
    pub(super) decided: Option<u64>,
}

impl Encoding {
    pub(super) fn unwrap(&mut self, packet: &MediaPacket) -> u64 {
        match &packet.frame.headers {
            Headers::Vp8(d) if d.long_picture_id => self.long.unwrap(d.picture_id.into()),
            Headers::Vp8(d) => self.short.unwrap(d.picture_id.into()),
            Headers::Vp9(d) if d.long_picture_id => {
                self.long.unwrap(d.picture_id.into()) << 3 | u64::from(d.spatial & 7)
            }
            Headers::Vp9(d) => self.short.unwrap(d.picture_id.into()) << 3 | u64::from(d.spatial & 7),
            Headers::Dependency(d) => self.number.unwrap(d.frame_number.into()),
            Headers::None => packet.timestamp.into(),
        }
    }

    /// Whether frames that may build upon this one were left out before it came.
    pub(super) fn overtook(&self, key: u64, kind: Kind) -> bool {
        let reach = if matches!(kind, Kind::Vp9 { .. }) { OVERTAKEN << 3 } else { OVERTAKEN };
        self.left_out.is_some_and(|later| later > key && later - key < reach)
    }

    pub(super) fn restart_ids(&mut self) {
        (self.short, self.long, self.number) = (Unwrap::new(), Unwrap::new(), Unwrap::new());
        (self.left_out, self.decided) = (None, None);
    }
}

/// Numbers of a packet as received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    pub(super) picture_id: u16,
    pub(super) frame_number: u16,
    pub(super) tl0: u8,
}

impl Source {
    #[inline]
    pub(super) fn of(packet: &MediaPacket) -> Self {
        match &packet.frame.headers {
            Headers::Vp8(d) => Self { picture_id: d.picture_id, tl0: d.tl0.unwrap_or(0), frame_number: 0 },
            Headers::Vp9(d) => Self { picture_id: d.picture_id, tl0: d.tl0.unwrap_or(0), frame_number: 0 },
            Headers::Dependency(d) => Self { frame_number: d.frame_number, ..Self::default() },
            Headers::None => Self::default(),
        }
    }
}
