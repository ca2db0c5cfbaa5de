//! `load media`: publishers with generated video and audio, viewers that connect the whole way (signaling, ICE, DTLS, SRTP, channel). Some viewers
//! judge what they get as a decoder would; the others become counting sinks, so that one process stands for thousands. Reports what the bridge
//! carries and what that costs, next to a bare loop into the same sinks.

mod args;
mod bare;
mod capacity;
mod churn;
mod colibri;
mod counts;
mod description;
mod engine;
mod feedback;
mod join;
mod person;
mod publisher;
mod quality;
mod report;
mod run;
mod signaling;
mod sink;
mod stamp;
mod table;
mod video;

pub use args::MediaArgs;
pub use bare::BareTurn;
pub use report::{
    BareMedia, Churn, Connects, Cost, Creates, Joining, MediaReport, MediaSample, MediaServer, MediaTurn, Quality,
    Traffic as MediaTraffic, Viewers,
};
pub use run::run_media;
