//! What a media run found: one structure with stable keys for machines; `table` writes it for people.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bare::BareTurn;
use crate::histogram::Latency;

/// The whole report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MediaReport {
    /// Everybody connected and was served, and nothing was wrong with what full viewers saw.
    pub ok: bool,
    /// What was wrong, in words.
    pub problems: Vec<String>,
    /// Room, or conference of the bridge.
    pub place: String,
    /// Number of the run.
    pub run: String,
    /// Who was there.
    pub viewers: Viewers,
    /// Connecting.
    pub joining: Joining,
    /// What full viewers saw.
    pub quality: Quality,
    /// What went through the bridge, in the measured turns.
    pub traffic: Traffic,
    /// What the server used.
    pub server: MediaServer,
    /// Next to the bare loop.
    pub bare: Option<BareMedia>,
    /// Endpoints without media.
    pub creates: Option<Creates>,
    /// Connects without media.
    pub connects: Option<Connects>,
    /// Coming and going.
    pub churn: Option<Churn>,
    /// CPU time of the generator over the whole run.
    pub generator_cpu_seconds: Option<f64>,
    /// Length of the run.
    pub seconds: f64,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// Samples over time.
    pub samples: Vec<MediaSample>,
}

/// Who was there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Viewers {
    /// Publishers asked for.
    pub publishers: u64,
    /// Full viewers asked for.
    pub full: u64,
    /// Counting sinks asked for.
    pub sinks: u64,
    /// Connected clients at the end of the turns, publishers not counted.
    pub held: u64,
    /// Clients that got media, publishers not counted.
    pub served: u64,
    /// Clients whose connection failed or broke.
    pub failed: u64,
    /// Clients that signaling did not let in, or threw out.
    pub not_admitted: u64,
}

/// Connecting.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Joining {
    /// From the first sink's start to the last one's connection.
    pub seconds: f64,
    /// Sinks connected (ICE and DTLS done) per second.
    pub connects_per_second: f64,
    /// From the start of a join to the end of the DTLS handshake.
    pub connect: Latency,
    /// From the offer to the end of the DTLS handshake.
    pub handshake: Latency,
    /// From the start of a join to the open channel.
    pub channel: Latency,
    /// From the start of a join to the first packet: sinks.
    pub first_packet: Latency,
    /// From the start of a join to the first decodable frame: full viewers.
    pub first_frame: Latency,
    /// From the end of the DTLS handshake to the first decodable frame.
    pub keyframe_wait: Latency,
    /// Channels that opened.
    pub channels: u64,
}

/// What full viewers saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Quality {
    /// Full viewers that connected.
    pub judged: u64,
    /// Of those, without any picture.
    pub blank: u64,
    /// Frames that could be decoded.
    pub frames: u64,
    /// Of those, keyframes.
    pub keyframes: u64,
    /// Frames with packets missing.
    pub incomplete: u64,
    /// Whole frames whose references were missing.
    pub undecodable: u64,
    /// Frames that the bridge left unfinished: a keyframe followed, or another encoding.
    pub cut: u64,
    /// Changes of the encoding.
    pub switches: u64,
    /// Pictures that stood for more than a second.
    pub freezes: u64,
    /// Packets of video.
    pub packets: u64,
    /// Packets of video that never came.
    pub lost: u64,
    /// Packets of video that came after a later one.
    pub late: u64,
    /// Packets of audio.
    pub audio_packets: u64,
    /// Packets of audio that never came.
    pub audio_lost: u64,
    /// From publisher to viewer: video.
    pub delay: Latency,
    /// From publisher to viewer: audio.
    pub audio_delay: Latency,
    /// Keyframe requests of full viewers.
    pub asked: u64,
    /// Keyframe requests that publishers got.
    pub requests: u64,
    /// Keyframes that publishers sent.
    pub published_keyframes: u64,
}

/// What went through the bridge.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Traffic {
    /// RTP packets per second, to all viewers.
    pub packets_per_second: f64,
    /// Bits per second, to all viewers, SRTP included and UDP not.
    pub bits_per_second: f64,
    /// Packets per second of one viewer.
    pub packets_per_viewer_second: f64,
    /// Packets that sinks got, over the whole run.
    pub sink_packets: u64,
    /// Packets that sinks should have got and did not.
    pub sink_lost: u64,
    /// Share of those, per cent.
    pub sink_loss_percent: f64,
    /// Packets that sinks opened.
    pub sampled: u64,
    /// Of those, not authentic.
    pub forged: u64,
    /// Feedback packets of sinks.
    pub feedbacks: u64,
    /// Datagrams that this machine dropped because a receiver was slow, bridge and generator together.
    pub receive_buffer_errors: Option<u64>,
    /// Packets and bytes that publishers sent.
    pub published_packets: u64,
    /// Bytes of payload.
    pub published_bytes: u64,
}

/// What the server used.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MediaServer {
    /// Processes.
    pub pids: Vec<u32>,
    /// Cores in use in the measured turns.
    pub cores: Option<f64>,
    /// Viewers for each core in use.
    pub viewers_per_core: Option<f64>,
    /// CPU per viewer, microseconds per second.
    pub us_per_viewer_second: Option<f64>,
    /// CPU per delivered packet.
    pub us_per_packet: Option<f64>,
    /// CPU per connection of a sink, the cost of those already served included.
    pub ms_per_connect: Option<f64>,
    /// Viewers and memory before sinks.
    pub viewers_before: u64,
    /// Resident memory before sinks.
    pub rss_before: Option<u64>,
    /// Resident memory with all viewers.
    pub rss_held: Option<u64>,
    /// Growth per sink.
    pub rss_bytes_per_viewer: Option<f64>,
}

/// Bridge and bare loop in turns.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BareMedia {
    /// Sinks of the bare loop.
    pub sinks: u64,
    /// Turns.
    pub turns: Vec<MediaTurn>,
    /// Median of the ratios, per cent: CPU per packet of the bare loop to that of the bridge. 100: as cheap as the bare loop.
    pub percent: Option<f64>,
}

/// One turn of each.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MediaTurn {
    /// CPU per packet of the bridge.
    pub bridge_us_per_packet: Option<f64>,
    /// The bare loop.
    pub bare: BareTurn,
    /// The second by the first, per cent.
    pub percent: Option<f64>,
}

/// Endpoints created without media.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Creates {
    /// Answers.
    pub count: u64,
    /// Of those, errors.
    pub refused: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Creates per second.
    pub per_second: f64,
    /// From request to answer.
    pub latency: Latency,
    /// What one cost.
    pub cost: Cost,
}

/// Sinks that connected where nobody published.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Connects {
    /// Sinks that connected.
    pub count: u64,
    /// Sinks that did not.
    pub failed: u64,
    /// From the first one's start to the last one's connection.
    pub seconds: f64,
    /// Connects (endpoint created, ICE and DTLS done) per second.
    pub per_second: f64,
    /// From the start of a join to the end of the DTLS handshake.
    pub latency: Latency,
    /// What one cost, the opening of its channel included.
    pub cost: Cost,
}

/// CPU time of one create or connect.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    /// Of the server, milliseconds.
    pub server_ms: Option<f64>,
    /// How many a second keep one core of the server busy.
    pub per_server_core: Option<f64>,
    /// Of the generator, milliseconds.
    pub generator_ms: Option<f64>,
}

/// Coming and going.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Churn {
    /// Leaves and joins per second that were asked for.
    pub rate: f64,
    /// Length.
    pub minutes: f64,
    /// Who left.
    pub left: u64,
    /// Who came and connected.
    pub connected: u64,
    /// Who came and did not connect.
    pub failed: u64,
    /// Resident memory at the beginning, after a tenth of the time.
    pub rss_begin: Option<u64>,
    /// Resident memory at the end.
    pub rss_end: Option<u64>,
    /// Slope of the memory over the last nine tenths, KiB per minute.
    pub kib_per_minute: Option<f64>,
    /// The same per 1,000 joins, in bytes.
    pub bytes_per_1000_joins: Option<f64>,
}

/// What was used at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct MediaSample {
    /// Seconds since the run began.
    pub t: f64,
    /// What went on.
    pub phase: &'static str,
    /// Connected clients.
    pub connected: u64,
    /// Packets that viewers got so far.
    pub packets: u64,
    /// Bytes that viewers got so far.
    pub bytes: u64,
    /// CPU time of the server so far.
    pub server_cpu: Option<f64>,
    /// Resident memory of the server.
    pub server_rss: Option<u64>,
    /// CPU time of the generator so far.
    pub generator_cpu: Option<f64>,
}
