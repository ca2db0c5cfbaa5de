//! A bridge without XMPP: control and media plane as they are, on real sockets, and browsers around it. The test is the focus.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use amphi_bridge::control::settings::BridgeSettings;
use amphi_bridge::control::{Colibri, Input, Output, Peers, Shared};
use amphi_bridge::plane::command::Command;
use amphi_bridge::plane::event::Event;
use amphi_bridge::plane::stats::{Counters, EndpointStats};
use amphi_bridge::plane::{Plane, PlaneConfig};
use amphi_bridge::transport::{Certificate, LocalAddress, PeerLimits};
use amphi_jingle::Limits;
use amphi_jingle::colibri2::{ConferenceModified, ConferenceModify};
use amphi_media::conference::ConferenceConfig;
use amphi_media::ids::EndpointId;
use amphi_stanza::{Limits as XmlLimits, Stanza};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

use super::browser::{Browser, DEPENDENCY, Microphone};
use super::camera::Camera;

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Participant,
    Visitor,
    /// A participant who sees the SSRCs of the sources.
    Plain,
}

/// One world at a time: their browsers would delay each other, and delay is what is measured.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) struct World {
    plane: Plane,
    events: mpsc::Receiver<Event>,
    colibri: Colibri,
    pub(crate) people: Vec<Browser>,
    created: bool,
    requests: u64,
    answers: Vec<(u64, Result<ConferenceModified, String>)>,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    pub(crate) fn new(shards: usize) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let base = "127.0.0.1:0".parse().unwrap();
        let config = PlaneConfig {
            shards,
            pin: false,
            addresses: vec![LocalAddress { base, public: None }],
            socket_buffer: 4 << 20,
            ..PlaneConfig::default()
        };
        let (plane, events) = Plane::start(config).unwrap();
        let credentials = plane.clone();
        let peers = Peers {
            certificate: Certificate::generate(SystemTime::now()).unwrap(),
            addresses: plane.addresses(),
            credentials: Box::new(move || credentials.credentials()),
            limits: Arc::new(PeerLimits::default()),
        };
        let shared = Shared::new(Arc::new(BridgeSettings::default()), ConferenceConfig::default(), peers, [7; 32]);
        Self {
            plane,
            events,
            colibri: Colibri::new(shared),
            people: Vec::new(),
            created: false,
            requests: 0,
            answers: Vec::new(),
            _alone: alone,
        }
    }

    fn pump(&mut self) {
        let now = Instant::now();
        while let Ok(event) = self.events.try_recv() {
            self.colibri.handle(now, Input::Plane(event));
        }
        if self.colibri.poll_timeout().is_some_and(|at| at <= now) {
            self.colibri.handle(now, Input::Tick);
        }
        while let Some(output) = self.colibri.poll_output() {
            match output {
                Output::Plane(command) => self.plane.send(command).unwrap(),
                Output::Answer { id, result } => {
                    self.answers.push((id, result.map(|it| *it).map_err(|it| format!("{it:?}"))));
                }
                other => panic!("no WebSockets here: {other:?}"),
            }
        }
    }

    /// Asks the bridge, as a focus does.
    #[track_caller]
    pub(crate) fn modify(&mut self, content: &str) -> ConferenceModified {
        let create = if std::mem::replace(&mut self.created, true) { "" } else { "create='true'" };
        let xml = format!(
            "<conference-modify xmlns='jitsi:colibri2' meeting-id='m1' name='talk@conference.x' {create}>{content}</conference-modify>"
        );
        let iq = Stanza::parse(
            Bytes::from(format!("<iq xmlns='jabber:client' type='get' id='q' from='f@x/f' to='b@x/b'>{xml}</iq>")),
            &XmlLimits::default(),
        )
        .unwrap();
        let request = ConferenceModify::parse(iq.children().next().unwrap(), &Limits::default()).unwrap();
        self.requests += 1;
        let id = self.requests;
        self.colibri.handle(Instant::now(), Input::Request { id, request: Box::new(request) });
        self.pump();
        let (got, answer) = self.answers.pop().expect("answered at once");
        assert_eq!(got, id);
        answer.unwrap_or_else(|error| panic!("{error}: {xml}"))
    }

    /// Somebody joins. Returns his number.
    pub(crate) fn join(&mut self, name: &str, kind: Kind) -> usize {
        let number = self.people.len();
        let role = if kind == Kind::Visitor { "muc-role='visitor'" } else { "" };
        let rewriting = if kind == Kind::Plain { "" } else { "<capability name='ssrc-rewriting'/>" };
        let rtp = "xmlns='urn:xmpp:jingle:apps:rtp:1'";
        let fb = "<rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0'";
        let extension = |id: u8, uri: &str| {
            format!("<rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='{id}' uri='{uri}'/>")
        };
        let mut video = String::new();
        for (number, rtx, codec) in [(96, 97, "VP8"), (98, 99, "VP9"), (45, 46, "AV1")] {
            video += &format!(
                "<payload-type {rtp} id='{number}' name='{codec}' clockrate='90000'>{fb} type='ccm' subtype='fir'/>{fb} type='nack'/>\
                 {fb} type='nack' subtype='pli'/>{fb} type='transport-cc'/></payload-type>\
                 <payload-type {rtp} id='{rtx}' name='rtx' clockrate='90000'><parameter name='apt' value='{number}'/></payload-type>"
            );
        }
        let twcc = extension(3, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01");
        let xml = format!(
            "<endpoint id='{name}' create='true' {role}><media type='audio'>\
             <payload-type {rtp} id='111' name='opus' clockrate='48000' channels='2'/>{}</media>\
             <media type='video'>{video}{twcc}{}<extmap-allow-mixed xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0'/></media>\
             <transport ice-controlling='true'><sctp/></transport><sources/><capability name='source-names'/>{rewriting}</endpoint>",
            extension(1, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
            extension(11, DEPENDENCY),
        );
        let answer = self.modify(&xml);
        let ice = answer.endpoints[0].transport.as_ref().unwrap().ice.clone().unwrap();
        let address = self.plane.addresses()[0].base;
        let fingerprint = format!("{} {}", ice.fingerprints[0].hash, ice.fingerprints[0].value);
        let mut browser = Browser::new(name, 100 * number as u64 + 7);
        let transport = browser.connect(address, &ice.ufrag.unwrap(), &ice.pwd.unwrap(), &fingerprint);
        self.people.push(browser);
        self.modify(&format!("<endpoint id='{name}'>{transport}</endpoint>"));
        number
    }

    /// Somebody sends what his cameras and his microphone have, and nothing else any more.
    pub(crate) fn publish(&mut self, who: usize, cameras: Vec<Camera>, microphone: Option<Microphone>) {
        let it = &mut self.people[who];
        (it.cameras, it.microphone) = (cameras, microphone);
        self.signal(who);
    }

    /// Signals what somebody sends now.
    pub(crate) fn signal(&mut self, who: usize) {
        let it = &mut self.people[who];
        it.declare();
        let sources: String =
            it.cameras.iter().map(Camera::signaled).chain(it.microphone.iter().map(Microphone::signaled)).collect();
        let xml = format!("<endpoint id='{}'><sources>{sources}</sources></endpoint>", it.name);
        self.modify(&xml);
    }

    /// Somebody wants sources on stage, at most so high.
    pub(crate) fn stage(&mut self, who: usize, sources: &[&str], height: i64) {
        let constraints: serde_json::Map<_, _> =
            sources.iter().map(|it| ((*it).to_owned(), json!({ "maxHeight": height }))).collect();
        self.people[who].want(json!({
            "lastN": -1, "onStageSources": sources, "selectedSources": [],
            "defaultConstraints": { "maxHeight": 0 }, "constraints": constraints,
        }));
    }

    pub(crate) fn counters(&self) -> Counters {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.plane.stats()).total
    }

    /// How the bridge sees somebody.
    pub(crate) fn endpoint(&self, who: usize) -> EndpointStats {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (reply, answer) = tokio::sync::oneshot::channel();
        // Numbers count from 1, in the order of joining.
        let endpoint = EndpointId(who as u32 + 1);
        self.plane.send(Command::QueryEndpoint { endpoint, reply }).unwrap();
        runtime.block_on(answer).expect("an endpoint of the bridge")
    }

    pub(crate) fn bridge(&self) -> std::net::SocketAddr {
        self.plane.addresses()[0].base
    }

    pub(crate) fn step(&mut self) {
        self.pump();
        let now = Instant::now();
        self.people.iter_mut().for_each(|it| it.poll(now));
        std::thread::sleep(Duration::from_millis(1));
    }

    /// Lets everything run until something is so; panics if that takes too long. Returns how long it took.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, seconds: u64, mut done: impl FnMut(&mut Self) -> bool) -> Duration {
        let begin = Instant::now();
        while !done(self) {
            if begin.elapsed() > Duration::from_secs(seconds) {
                let last: Vec<_> =
                    self.people.iter().map(|it| it.messages.iter().rev().take(6).collect::<Vec<_>>()).collect();
                panic!("not in time: {what}; {:#?}; {last:#?}", self.counters());
            }
            self.step();
        }
        begin.elapsed()
    }

    /// Lets everything run, and says every 200 ms what somebody gets.
    pub(crate) fn watch(&mut self, who: usize, time: Duration) {
        let (end, mut next, begin) = (Instant::now() + time, Instant::now(), Instant::now());
        let step = Duration::from_millis(200);
        while Instant::now() < end {
            self.step();
            if Instant::now() >= next {
                next += step;
                let (it, c, now) = (self.endpoint(who), self.counters(), Instant::now());
                let p = &self.people[who];
                let s = p.screens.values().max_by_key(|it| it.packets.len());
                println!(
                    "{:>6} ms bw {:?} rtt {:?} rung {:?} height {:?} rate {:?} frames {:?} rtx {} nack {} missed {} pad {} link {:?} key {}",
                    begin.elapsed().as_millis(),
                    it.bandwidth_bps,
                    it.rtt,
                    it.rung,
                    s.map(|it| it.height()),
                    s.map(|it| it.rate(now - step, now)),
                    s.map(|it| it.since(now - step).count()),
                    c.rtx_sent,
                    c.nacks_received,
                    c.nacks_missed,
                    c.padding_sent,
                    p.down.counts(),
                    c.keyframes_requested,
                );
            }
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step();
        }
    }

    /// Until all channels are open.
    #[track_caller]
    pub(crate) fn open(&mut self) {
        self.until("channels are open", 15, |it| it.people.iter().all(|it| it.connected && it.open));
        self.people.iter_mut().for_each(|it| it.say(&json!({ "colibriClass": "ClientHello" })));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.plane.send(Command::Shutdown);
        self.plane.join();
    }
}
