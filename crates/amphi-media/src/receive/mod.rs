//! What a bridge does for what it receives: RTX, duplicates, NACK, statistics, transport-cc feedback (`spec/bridge.md` 4.2, 4.5, 4.9).
//!
//! Per publisher there is one [`RtxMap`] and one [`ArrivalRecorder`] (they belong to the transport); per received SSRC one
//! [`ReceiveStatistics`], and per media SSRC one [`DuplicateFilter`] with a [`NackGenerator`] (video) or a [`SilenceDiscarder`] (audio). They
//! work on numbers and times; bytes of RTP and RTCP are read and written by `rtp` and `rtcp`. The receive-side estimator behind REMB is not
//! here: publishers without transport-cc keep their own limits.

mod arrivals;
mod duplicates;
mod nack;
mod rtx;
mod silence;
mod statistics;

pub use arrivals::{ArrivalBatch, ArrivalConfig, ArrivalRecorder};
pub use duplicates::{DuplicateFilter, Freshness};
pub use nack::{NackConfig, NackGenerator};
pub use rtx::{Original, RTX_HEADER, RtxError, RtxMap};
pub use silence::SilenceDiscarder;
pub use statistics::{ReceiveStatistics, Reception};
