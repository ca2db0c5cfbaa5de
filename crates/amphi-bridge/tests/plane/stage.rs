//! A plane with clients around it, and the hand-made decisions of one conference.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_bridge::plane::command::{
    AddEndpoint, Codec, Command, CreateConference, Media, PayloadType, Recipients, Role,
};
use amphi_bridge::plane::stats::PlaneStats;
use amphi_bridge::plane::{Event, Plane, PlaneConfig};
use amphi_bridge::transport::{Certificate, LocalAddress, Peer, PeerConfig, PeerLimits, SctpRole};
use amphi_media::allocation::{Rung, Staircase};
use amphi_media::codec::Codec as Video;
use amphi_media::conference::{Class, Input, Output};
use amphi_media::ids::{ClassId, ConferenceId, EndpointId, LayerIndex, MediaKind, SourceId};
use amphi_media::rtp::{ExtensionKind, ExtensionMap};
use amphi_media::slots::SlotSsrc;
use amphi_media::source::{Semantics, Signaled, SourceDesc, SsrcGroup};
use amphi_media::speech::SpeechConfig;
use tokio::sync::mpsc;

use super::client::{Client, OPUS, VP8, VP8_RTX};

pub(crate) const CONFERENCE: ConferenceId = ConferenceId(1);
pub(crate) const CLASS: ClassId = ClassId(1);

pub(crate) struct Stage {
    pub(crate) plane: Plane,
    events: mpsc::Receiver<Event>,
    pub(crate) clients: Vec<Client>,
    pub(crate) said: Vec<Event>,
    certificate: Arc<Certificate>,
    version: u32,
    /// Every second input of this kind is answered as the decisions would.
    slots: Vec<Option<SourceId>>,
}

pub(crate) fn video_slots() -> Vec<(u32, u32)> {
    (0..4).map(|n| (7_000 + n, 7_100 + n)).collect()
}

pub(crate) fn audio_slots() -> Vec<u32> {
    (0..4).map(|n| 8_000 + n).collect()
}

impl Stage {
    pub(crate) fn new(shards: usize) -> Self {
        Self::with_threads(shards, 1)
    }

    /// With so many transport threads.
    pub(crate) fn with_threads(shards: usize, transport_threads: usize) -> Self {
        let base = "127.0.0.1:0".parse().unwrap();
        let config = PlaneConfig {
            shards,
            transport_threads,
            pin: false,
            addresses: vec![LocalAddress { base, public: None }],
            socket_buffer: 4 << 20,
            ..PlaneConfig::default()
        };
        let (plane, events) = Plane::start(config).unwrap();
        let speech = SpeechConfig::default();
        let conference = CreateConference { id: CONFERENCE, feedback_audio: 11, feedback_video: 12, speech };
        plane.send(Command::CreateConference(conference)).unwrap();
        let video = video_slots().iter().map(|(ssrc, rtx)| SlotSsrc { ssrc: *ssrc, rtx: *rtx }).collect();
        let audio = audio_slots().iter().map(|ssrc| SlotSsrc { ssrc: *ssrc, rtx: 0 }).collect();
        let stage = Self {
            plane,
            events,
            clients: Vec::new(),
            said: Vec::new(),
            certificate: Certificate::generate(std::time::SystemTime::now()).unwrap(),
            version: 0,
            slots: vec![None; 4],
        };
        stage.decide(Output::SlotSsrcs { video, audio });
        stage
    }

    pub(crate) fn decide(&self, output: Output) {
        self.plane.send(Command::Decision { conference: CONFERENCE, output }).unwrap();
    }

    /// A client that joins. Returns its number, which is its endpoint's too.
    pub(crate) fn join(&mut self, role: Role, ssrc_rewriting: bool) -> usize {
        self.join_with(role, media(ssrc_rewriting))
    }

    /// The same, with formats of its own.
    pub(crate) fn join_with(&mut self, role: Role, media: Media) -> usize {
        let number = self.clients.len();
        let id = EndpointId(number as u32);
        let mut client = Client::new();
        let config = PeerConfig {
            controlling: true,
            certificate: self.certificate.clone(),
            addresses: self.plane.addresses(),
            advertise_private: true,
            credentials: self.plane.credentials(),
            sctp: Some(SctpRole::Server),
            limits: Arc::new(PeerLimits::default()),
        };
        let peer = Box::new(Peer::new(Instant::now(), config));
        client.set_remote(&peer.local());
        let remote = Box::new(client.describe());
        client.expect_audio(&audio_slots());
        client.expect_video(&video_slots());
        let add = AddEndpoint { id, conference: CONFERENCE, role, media, peer };
        self.plane.send(Command::AddEndpoint(Box::new(add))).unwrap();
        self.plane.send(Command::SetRemote { endpoint: id, remote }).unwrap();
        self.clients.push(client);
        number
    }

    /// Signals what a client publishes: source 2 n is its audio, 2 n + 1 its video.
    pub(crate) fn signal(&mut self, client: usize) -> (SourceId, SourceId) {
        self.signal_as(EndpointId(client as u32), client)
    }

    /// The same for an endpoint behind a relay, which is the client.
    pub(crate) fn signal_as(&mut self, owner: EndpointId, client: usize) -> (SourceId, SourceId) {
        let ids = (SourceId(2 * owner.0), SourceId(2 * owner.0 + 1));
        let script = self.clients[client].script.as_ref().unwrap();
        let mut sources = Vec::new();
        if let Some(ssrc) = script.audio {
            sources.push(source(owner, ids.0, MediaKind::Audio, &[(ssrc, None)]));
        }
        let video: Vec<_> = script.encodings.iter().map(|it| (it.ssrc, Some(it.rtx))).collect();
        if !video.is_empty() {
            sources.push(source(owner, ids.1, MediaKind::Video, &video));
        }
        self.plane.send(Command::SetSources { endpoint: owner, sources }).unwrap();
        ids
    }

    /// Everybody in the class gets this, whatever the bandwidth.
    pub(crate) fn show(&mut self, targets: &[(SourceId, LayerIndex)]) {
        self.show_of(targets, &[]);
    }

    /// The same, with layers that there would be with more bandwidth.
    pub(crate) fn show_of(&mut self, targets: &[(SourceId, LayerIndex)], more: &[(SourceId, LayerIndex)]) {
        self.version += 1;
        let rung = Rung { at: 0, targets: targets.into(), bps: 100_000, oversending: false };
        let others = more.iter().map(|it| Rung { at: u64::MAX, targets: [*it].into(), ..rung.clone() });
        let class = Class {
            id: CLASS,
            version: self.version,
            staircase: Arc::new(Staircase {
                rungs: [rung.clone()].into_iter().chain(others).collect(),
                ideal_bps: 100_000,
            }),
            slots: targets.iter().map(|(source, _)| Some(*source)).collect(),
            excluded: None,
        };
        self.decide(Output::Class(Arc::new(class)));
    }

    pub(crate) fn classify(&self, client: usize) {
        self.decide(Output::SetClass { receiver: EndpointId(client as u32), class: CLASS });
    }

    pub(crate) fn text(&self, client: usize, text: &str) {
        let to = Recipients::One(EndpointId(client as u32));
        self.plane.send(Command::SendMessage { to, text: text.into() }).unwrap();
    }

    pub(crate) fn stats(&self) -> PlaneStats {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.plane.stats())
    }

    fn step(&mut self) {
        let now = Instant::now();
        for client in &mut self.clients {
            client.poll(now);
        }
        while let Ok(event) = self.events.try_recv() {
            if let Event::Conference { input: Input::AudioWanted(source), .. } = event {
                if !self.slots.contains(&Some(source))
                    && let Some(free) = self.slots.iter_mut().find(|it| it.is_none())
                {
                    *free = Some(source);
                }
                self.decide(Output::AudioSlots(self.slots.as_slice().into()));
            }
            self.said.push(event);
        }
        std::thread::sleep(Duration::from_millis(1));
    }

    /// Lets everything run until something is so; panics if that takes too long.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            if Instant::now() > end {
                panic!("not in time: {what}; {:#?}", self.stats().total);
            }
            self.step();
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.plane.send(Command::Shutdown);
        self.plane.join();
    }
}

fn source(owner: EndpointId, id: SourceId, kind: MediaKind, encodings: &[(u32, Option<u32>)]) -> SourceDesc {
    let mut groups = Vec::new();
    if encodings.len() > 1 {
        let ssrcs = encodings.iter().map(|it| it.0).collect();
        groups.push(SsrcGroup { semantics: Semantics::Sim, ssrcs });
    }
    for (ssrc, rtx) in encodings {
        groups.extend(rtx.map(|rtx| SsrcGroup { semantics: Semantics::Fid, ssrcs: vec![*ssrc, rtx] }));
    }
    let ssrcs = encodings.iter().flat_map(|(ssrc, rtx)| [Some(*ssrc), *rtx]).flatten().collect();
    let name = format!("source-{}", id.0).into();
    let signaled = Signaled { id, name, kind, video_type: None, ssrcs, groups, synthetic: false };
    SourceDesc::new(owner, signaled)
}

pub(crate) fn payload_type(number: u8, codec: Codec, clock_rate: u32, video: bool) -> PayloadType {
    PayloadType { number, codec, clock_rate, nack: video, pli: video, fir: video, transport_cc: video }
}

pub(crate) fn media(ssrc_rewriting: bool) -> Media {
    let mut extensions = ExtensionMap::new();
    extensions.set(ExtensionKind::AudioLevel, 1).unwrap();
    extensions.set(ExtensionKind::AbsSendTime, 2).unwrap();
    extensions.set(ExtensionKind::TransportCc, 3).unwrap();
    extensions.set(ExtensionKind::VideoOrientation, 13).unwrap();
    Media {
        accepts_audio: true,
        accepts_video: true,
        ssrc_rewriting,
        payload_types: [
            payload_type(OPUS, Codec::Opus, 48_000, false),
            payload_type(VP8, Codec::Video(Video::Vp8), 90_000, true),
            payload_type(VP8_RTX, Codec::Rtx { apt: VP8 }, 90_000, false),
        ]
        .into_iter()
        .collect(),
        extensions,
    }
}
