//! Slots of SSRCs that a receiver sees in place of the sources' own (`spec/bridge.md` 4.8, 9.5.2).
//!
//! The SSRCs of slot k are equal for all receivers of a conference ([`SlotSsrcs`]). Which source is in slot k is decided per class of
//! receivers for video and once per conference for audio ([`SlotTable`]). Numbers of packets are not rewritten here.

use std::sync::Arc;

use crate::ids::{MediaKind, SourceId};

mod ssrcs;
mod table;

pub use ssrcs::{SlotSsrc, SlotSsrcs};
pub use table::{SlotTable, believed, difference};

/// Which source is in which slot, as shared with the media plane and compared with what a receiver was told.
pub type SlotMap = Arc<[Option<SourceId>]>;

/// Prefix of the media ids of slots.
pub fn mid_prefix(kind: MediaKind) -> char {
    match kind {
        MediaKind::Audio => 'a',
        MediaKind::Video => 'v',
    }
}
