//! Bodies of the fuzz targets: what must hold whatever bytes arrive. A body panics when it does not.
//!
//! `fuzz/` has a target of each name that calls the body here; `tests/replay.rs` runs the committed corpora through them
//! with the stable compiler. A new target is a module here, a line in [`TARGETS`], a file in `fuzz/fuzz_targets` and a
//! folder in `fuzz/corpus`; see `fuzz/README.md`.

mod c2s;
mod colibri;
mod dependency;
mod h264;
mod jingle;
mod link;
mod projection;
mod room;
mod rtcp;
mod rtp;
mod s2s;
mod sctp;
mod srtp;
mod stream_reader;
mod stun;
mod vp8;
mod vp9;
mod xml;

pub use c2s::c2s;
pub use colibri::{channel, colibri};
pub use dependency::dependency;
pub use h264::h264;
pub use jingle::jingle;
pub use link::link;
pub use room::room;
pub use rtcp::rtcp;
pub use rtp::rtp;
pub use s2s::s2s;
pub use sctp::sctp;
pub use srtp::srtp;
pub use stream_reader::stream_reader;
pub use stun::stun;
pub use vp8::vp8;
pub use vp9::vp9;
pub use xml::xml;

/// The body of a target.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("xml", xml),
    ("stream_reader", stream_reader),
    ("c2s", c2s),
    ("s2s", s2s),
    ("room", room),
    ("link", link),
    ("jingle", jingle),
    ("rtp", rtp),
    ("rtcp", rtcp),
    ("srtp", srtp),
    ("vp8", vp8),
    ("vp9", vp9),
    ("dependency", dependency),
    ("h264", h264),
    ("stun", stun),
    ("sctp", sctp),
    ("colibri", colibri),
    ("channel", channel),
];
