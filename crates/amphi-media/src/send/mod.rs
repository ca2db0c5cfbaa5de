//! What a bridge keeps for what it sends: packet store, retransmission, transport-cc history, sender reports (`spec/bridge.md` 4.4, 4.9).
//!
//! A [`Store`] belongs to a stream and is shared by all its receivers; everything else belongs to one receiver and is small: one
//! [`Retransmitter`], one [`SendHistory`], [`SentCounters`] per SSRC, one [`SentReports`]. Which stream a NACKed number came from
//! is told by [`crate::projection::Runs`]. Callers are `egress` and the media plane.

mod history;
mod reports;
mod retransmit;
mod store;

pub use history::{Acked, HistoryConfig, SendHistory};
pub use reports::{SentCounters, SentReports, rtt_by_clock};
pub use retransmit::{RetransmitConfig, Retransmitter, Verdict};
pub use store::{Store, StoreConfig};
