//! A bridge beside the main node, and one of its own that logs in over TCP: brewery, colibri2 over XMPP, bridge channels, and media between two
//! browsers that were connected this way.

#[path = "../../../amphi-bridge/tests/plane/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../ports/mod.rs"]
mod ports;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use amphi_app::config::{Config, Layers};
use amphi_app::wire::App;
use amphi_bridge::transport::{CandidateType, Fingerprint, LocalCandidate, LocalTransport, RemoteTransport};
use amphi_jingle::Limits;
use amphi_jingle::colibri2::{ColibriError, ConferenceModified};
use amphi_signal::{Retry, ServiceLink};
use amphi_stanza::{Limits as XmlLimits, Stanza};
use amphi_xmpp::client::{ClientConfig, ClientEvent, Credentials};
use bytes::Bytes;
use client::Client;

const PATIENCE: Duration = Duration::from_secs(30);
const ROOM: &str = "jvbbrewery@internal.auth.localhost";

fn free() -> u16 {
    ports::free().port()
}

async fn run(text: &str) -> App {
    let layers = Layers { file: Some(("amphi.toml".to_owned(), text.to_owned())), ..Layers::default() };
    let config = Config::check(&layers.join().unwrap()).unwrap_or_else(|e| panic!("{e}"));
    App::start(config).await.unwrap()
}

/// A node with everything but what `bridge` says otherwise. Returns the ports of client streams and of the front.
async fn node(bridge: &str) -> (App, u16, u16) {
    let (front, c2s) = (free(), free());
    let data = std::env::temp_dir().join(format!("amphi-bridge-{}-{front}", std::process::id()));
    let text = format!(
        r#"data_dir = {data:?}
roles = ["main", "front", "bridge"]
visitors.enabled = false
[listen]
front = "127.0.0.1:{front}"
c2s = "127.0.0.1:{c2s}"
admin = "off"
[bridge]
port = 0
password = "of all bridges"
{bridge}"#
    );
    (run(&text).await, c2s, front)
}

/// Somebody in the brewery who asks as a focus does.
struct Focus {
    link: ServiceLink,
    bridge: String,
    ids: u32,
}

impl Focus {
    /// Logs in, joins the brewery and waits for a bridge.
    async fn join(c2s: u16) -> (Self, Stanza) {
        let credentials = Credentials::Password { user: "jvb".into(), password: "of all bridges".into() };
        let mut config = ClientConfig::new("auth.localhost", credentials);
        config.resource = Some("tester".into());
        config.require_certificate = false;
        config.plain_without_tls = true;
        let retry = Retry { first: Duration::from_millis(100), later: Duration::from_millis(100) };
        let link = ServiceLink::tcp(format!("127.0.0.1:{c2s}"), config, retry);
        let mut me = Self { link, bridge: String::new(), ids: 0 };
        let presence = tokio::time::timeout(PATIENCE, me.find()).await.expect("a bridge is there");
        (me, presence)
    }

    async fn find(&mut self) -> Stanza {
        loop {
            match self.link.events.recv().await.expect("connected") {
                ClientEvent::Up { .. } => {
                    self.say(&format!("<presence xmlns='jabber:client' to='{ROOM}/tester'><x xmlns='http://jabber.org/protocol/muc'/></presence>"));
                }
                ClientEvent::Stanza(s) => {
                    if s.child("stats", "http://jitsi.org/protocol/colibri").is_some() {
                        self.bridge = s.attr("from").unwrap().into_owned();
                        return s;
                    }
                }
                ClientEvent::Down => panic!("the stream broke"),
            }
        }
    }

    fn say(&self, xml: &str) {
        let s = Stanza::parse(Bytes::copy_from_slice(xml.as_bytes()), &XmlLimits::default()).unwrap();
        self.link.out.send(s).unwrap();
    }

    /// The answer to a request.
    async fn ask(&mut self, ty: &str, content: &str) -> Stanza {
        self.ids += 1;
        let id = format!("q{}", self.ids);
        self.say(&format!("<iq xmlns='jabber:client' type='{ty}' id='{id}' to='{}'>{content}</iq>", self.bridge));
        let answer = async {
            loop {
                match self.link.events.recv().await.expect("connected") {
                    ClientEvent::Stanza(s) if s.id().as_deref() == Some(&id) => return s,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer")
    }

    async fn modify(&mut self, attrs: &str, content: &str) -> Result<ConferenceModified, ColibriError> {
        let xml =
            format!("<conference-modify xmlns='jitsi:colibri2' meeting-id='m1' {attrs}>{content}</conference-modify>");
        let answer = self.ask("get", &xml).await;
        if answer.ty().as_deref() == Some("error") {
            return Err(ColibriError::parse(&answer));
        }
        let done = answer.child("conference-modified", "jitsi:colibri2").expect("an answer of the bridge");
        Ok(ConferenceModified::parse(done, &Limits::default()).unwrap())
    }

    /// The next presence of the bridge.
    async fn presence(&mut self) -> Stanza {
        let next = async {
            loop {
                if let Some(ClientEvent::Stanza(s)) = self.link.events.recv().await
                    && s.root().name() == "presence"
                    && s.attr("from").as_deref() == Some(&self.bridge)
                {
                    return s;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a presence")
    }
}

fn stat(presence: &Stanza, name: &str) -> Option<String> {
    let stats = presence.child("stats", "http://jitsi.org/protocol/colibri")?;
    stats.children().find(|s| s.attr("name").as_deref() == Some(name))?.attr("value").map(|v| v.into_owned())
}

async fn get(port: u16, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut s = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    s.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let _ = tokio::time::timeout(PATIENCE, s.read_to_string(&mut text)).await;
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_in_memory_announces_itself_and_answers_its_brewery() {
    let rest = free();
    let (app, c2s, _) =
        node(&format!("listen = \"127.0.0.1:{rest}\"\nrelay_id = \"edge-1\"\nregion = \"eu\"\nshutdown = true\n"))
            .await;
    let (mut focus, presence) = Focus::join(c2s).await;
    for (name, value) in [
        ("drain", "false"),
        ("healthy", "true"),
        ("relay_id", "edge-1"),
        ("region", "eu"),
        ("graceful_shutdown", "false"),
    ] {
        assert_eq!(stat(&presence, name).as_deref(), Some(value), "{name}");
    }
    let stress: f64 = stat(&presence, "stress_level").unwrap().parse().unwrap();
    assert!((0.0..2.0).contains(&stress));
    let health = focus.ask("get", "<healthcheck xmlns='http://jitsi.org/protocol/healthcheck'/>").await;
    assert_eq!(health.ty().as_deref(), Some("result"));
    let version = focus.ask("get", "<query xmlns='jabber:iq:version'/>").await;
    assert!(version.to_string().contains("<name>amphi</name>"), "{version}");
    let e = focus.modify("", "").await.unwrap_err();
    assert_eq!((e.condition.as_str(), e.reason.map(|r| r.as_str())), ("item-not-found", Some("conference_not_found")));
    // What an operator switches is told at once.
    let one = |method: &str, path: &str, body: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    assert!(get(rest, &one("GET", "/about/health", "")).await.starts_with("HTTP/1.1 200"));
    assert!(get(rest, &one("GET", "/metrics", "")).await.contains("jitsi_jvb_healthy 1"));
    assert!(get(rest, &one("GET", "/colibri/stats", "")).await.contains("\"mucs_joined\":1"));
    assert!(get(rest, &one("POST", "/colibri/drain/enable", "")).await.starts_with("HTTP/1.1 200"));
    while stat(&focus.presence().await, "drain").as_deref() != Some("true") {}
    assert!(get(rest, &one("GET", "/colibri/drain", "")).await.contains("{\"drain\":true}"));
    assert!(get(rest, &one("POST", "/colibri/shutdown", "{}")).await.starts_with("HTTP/1.1 400"));
    focus.modify("create='true'", "").await.unwrap();
    assert!(
        get(rest, &one("POST", "/colibri/shutdown", "{\"graceful-shutdown\":true}")).await.starts_with("HTTP/1.1 200")
    );
    while stat(&focus.presence().await, "graceful_shutdown").as_deref() != Some("true") {}
    let other = focus.ask("set", "<conference-modify xmlns='jitsi:colibri2' meeting-id='m2' create='true'/>").await;
    let e = ColibriError::parse(&other);
    assert_eq!(
        (e.condition.as_str(), e.reason.map(|r| r.as_str())),
        ("service-unavailable", Some("graceful_shutdown"))
    );
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_account_of_bridges_is_not_held_to_the_bounds_of_people() {
    let (app, c2s, _) = node("listen = \"off\"\n").await;
    let (mut focus, _) = Focus::join(c2s).await;
    // Twice the size that a person's stanza may have; sizes and rates are lifted together.
    let text = "x".repeat(512 * 1024);
    let limits = XmlLimits { bytes: 1 << 20, ..XmlLimits::default() };
    let large = format!("<message xmlns='jabber:client' to='nobody@localhost'><body>{text}</body></message>");
    focus.link.out.send(Stanza::parse(large.into(), &limits).unwrap()).unwrap();
    let health = focus.ask("get", "<healthcheck xmlns='http://jitsi.org/protocol/healthcheck'/>").await;
    assert_eq!(health.ty().as_deref(), Some("result"), "the stream is still there");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_of_its_own_logs_in_over_tcp() {
    let (main, c2s, _) = node("enabled = false\nlisten = \"off\"\nnick = \"here\"\n").await;
    let data = std::env::temp_dir().join(format!("amphi-bridge-alone-{}-{c2s}", std::process::id()));
    let text = format!(
        "data_dir = {data:?}\nroles = [\"bridge\"]\nvisitors.enabled = false\n[listen]\nadmin = \"off\"\n[bridge]\nport = 0\nlisten = \"off\"\nnick = \"there\"\npassword = \"of all bridges\"\nmain_c2s = \"127.0.0.1:{c2s}\"\n"
    );
    let there = run(&text).await;
    let (mut focus, presence) = Focus::join(c2s).await;
    let mut seen = presence.attr("from").unwrap().into_owned();
    while !seen.ends_with("/there") {
        let next = async {
            loop {
                if let Some(ClientEvent::Stanza(s)) = focus.link.events.recv().await
                    && s.child("stats", "http://jitsi.org/protocol/colibri").is_some()
                {
                    return s.attr("from").unwrap().into_owned();
                }
            }
        };
        seen = tokio::time::timeout(PATIENCE, next).await.expect("the other bridge");
    }
    focus.bridge = seen;
    let a = focus.modify("create='true'", &endpoint("a")).await.unwrap();
    assert!(a.endpoints[0].transport.is_some());
    there.drain().await;
    while focus.presence().await.ty().as_deref() != Some("unavailable") {}
    main.drain().await;
}

// ---- browsers ----------------------------------------------------------------------------------------------------------

fn endpoint(id: &str) -> String {
    let fb = "<rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0'";
    format!(
        "<endpoint id='{id}' create='true'>\
         <media type='audio'><payload-type xmlns='urn:xmpp:jingle:apps:rtp:1' id='111' name='opus' clockrate='48000' channels='2'/>\
         <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='1' uri='urn:ietf:params:rtp-hdrext:ssrc-audio-level'/></media>\
         <media type='video'><payload-type xmlns='urn:xmpp:jingle:apps:rtp:1' id='96' name='VP8' clockrate='90000'>\
         {fb} type='ccm' subtype='fir'/>{fb} type='nack'/>{fb} type='nack' subtype='pli'/>{fb} type='transport-cc'/></payload-type>\
         <payload-type xmlns='urn:xmpp:jingle:apps:rtp:1' id='97' name='rtx' clockrate='90000'><parameter name='apt' value='96'/></payload-type>\
         <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='3' uri='http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01'/></media>\
         <transport ice-controlling='true'><sctp/></transport><sources/><capability name='source-names'/><capability name='ssrc-rewriting'/></endpoint>"
    )
}

/// What the bridge said, as the browser's side of a transport wants it.
fn offered(a: &ConferenceModified) -> LocalTransport {
    let ice = a.endpoints[0].transport.as_ref().unwrap().ice.as_ref().unwrap();
    let f = &ice.fingerprints[0];
    LocalTransport {
        ufrag: ice.ufrag.clone().unwrap(),
        password: ice.pwd.clone().unwrap(),
        generation: None,
        candidates: ice
            .candidates
            .iter()
            .filter(|c| c.ip.starts_with("127."))
            .map(|c| LocalCandidate {
                id: c.id.clone(),
                foundation: c.foundation.clone(),
                priority: c.priority,
                generation: 0,
                kind: CandidateType::Host,
                address: format!("{}:{}", c.ip, c.port).parse().unwrap(),
                related: None,
            })
            .collect(),
        fingerprint: Fingerprint { hash: f.hash.clone(), value: f.value.clone(), setup: None },
    }
}

fn accepted(id: &str, t: &RemoteTransport, sources: &str) -> String {
    let f = &t.fingerprints[0];
    format!(
        "<endpoint id='{id}'><transport><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='{}' pwd='{}'>\
         <fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='{}' setup='active'>{}</fingerprint></transport></transport>\
         <sources>{sources}</sources></endpoint>",
        t.ufrag.as_ref().unwrap(),
        t.password.as_ref().unwrap(),
        f.hash,
        f.value
    )
}

/// Lets browsers run until something is so.
async fn until(what: &str, clients: &mut [&mut Client], mut done: impl FnMut(&mut [&mut Client]) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(clients) {
        assert!(
            Instant::now() < end,
            "never: {what}; messages: {:?}",
            clients.iter().map(|c| &c.messages).collect::<Vec<_>>()
        );
        for c in clients.iter_mut() {
            c.poll(Instant::now());
        }
        tokio::task::yield_now().await;
    }
}

/// The SSRC that a map of sources gives to a source.
fn mapped(messages: &[String], class: &str, source: &str) -> Option<(u32, u32)> {
    messages.iter().rev().find_map(|m| {
        let v: serde_json::Value = serde_json::from_str(m).ok()?;
        if v["colibriClass"] != class {
            return None;
        }
        let entry = v["mappedSources"].as_array()?.iter().find(|s| s["source"] == source)?.clone();
        Some((entry["ssrc"].as_u64()? as u32, entry["rtx"].as_u64().unwrap_or(0) as u32))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_browsers_meet_through_colibri2() {
    let (app, c2s, _) = node("listen = \"off\"\naddresses = [\"127.0.0.1\"]\n").await;
    let (mut focus, _) = Focus::join(c2s).await;
    let (mut sender, mut viewer) = (Client::new(), Client::new());
    let a = focus.modify("create='true' name='talk@conference.localhost'", &endpoint("aaaa")).await.unwrap();
    sender.set_remote(&offered(&a));
    let b = focus.modify("", &endpoint("bbbb")).await.unwrap();
    viewer.set_remote(&offered(&b));
    let ns = "xmlns='urn:xmpp:jingle:apps:rtp:ssma:0'";
    let sources = format!(
        "<media-source type='audio' id='aaaa-a0'><source {ns} ssrc='21' name='aaaa-a0'/></media-source>\
         <media-source type='video' id='aaaa-v0'><source {ns} ssrc='31' name='aaaa-v0'/><source {ns} ssrc='41' name='aaaa-v0'/>\
         <ssrc-group {ns} semantics='FID'><source ssrc='31'/><source ssrc='41'/></ssrc-group></media-source>"
    );
    focus.modify("", &accepted("aaaa", &sender.describe(), &sources)).await.unwrap();
    focus.modify("", &accepted("bbbb", &viewer.describe(), "")).await.unwrap();
    until("channels", &mut [&mut sender, &mut viewer], |c| c.iter().all(|c| c.connected && c.opened)).await;
    sender.send_text(r#"{"colibriClass":"ClientHello"}"#);
    viewer.send_text(r#"{"colibriClass":"ClientHello"}"#);
    viewer
        .send_text(r#"{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"defaultConstraints":{"maxHeight":720}}"#);
    let hello = |c: &Client| c.messages.iter().any(|m| m.contains("ServerHello"));
    until("hello", &mut [&mut sender, &mut viewer], |c| c.iter().all(|c| hello(c))).await;
    until("maps of sources", &mut [&mut sender, &mut viewer], |c| {
        mapped(&c[1].messages, "VideoSourcesMap", "aaaa-v0").is_some()
            && mapped(&c[1].messages, "AudioSourcesMap", "aaaa-a0").is_some()
    })
    .await;
    let video = mapped(&viewer.messages, "VideoSourcesMap", "aaaa-v0").unwrap();
    let audio = mapped(&viewer.messages, "AudioSourcesMap", "aaaa-a0").unwrap();
    viewer.expect_audio(&[audio.0]);
    viewer.expect_video(&[video]);
    sender.publish(Some(21), &[(31, 41, 2)]);
    until("media", &mut [&mut sender, &mut viewer], |c| {
        let got = |ssrc| c[1].got.get(&ssrc).map_or(0, Vec::len);
        got(video.0) > 30 && got(audio.0) > 20
    })
    .await;
    assert!(
        viewer.messages.iter().any(|m| m.contains("ForwardedSources") && m.contains("aaaa-v0")),
        "{:?}",
        viewer.messages
    );
    assert!(
        sender.messages.iter().any(|m| m.contains("SenderSourceConstraints") && m.contains("720")),
        "{:?}",
        sender.messages
    );
    // Endpoint messages pass, and end with the endpoint.
    viewer.send_text(r#"{"colibriClass":"EndpointMessage","to":"aaaa","msgPayload":{"hand":1}}"#);
    until("a message", &mut [&mut sender, &mut viewer], |c| c[0].messages.iter().any(|m| m.contains("\"hand\""))).await;
    focus.modify("expire='true'", "").await.unwrap();
    assert_eq!(focus.modify("", "").await.unwrap_err().condition, "item-not-found");
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_front_serves_bridge_channels() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    let (app, c2s, front) =
        node("listen = \"off\"\nweb_socket_url = \"ws://meet.example.com\"\nserver_id = \"s1\"\n").await;
    let (mut focus, _) = Focus::join(c2s).await;
    let a = focus.modify("create='true'", &endpoint("aaaa")).await.unwrap();
    let ice = a.endpoints[0].transport.as_ref().unwrap().ice.clone().unwrap();
    let url = ice.web_sockets[0].url.clone().unwrap().replace("meet.example.com", &format!("127.0.0.1:{front}"));
    let (mut ws, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    let next = |m: Option<Result<Message, _>>| m.unwrap().unwrap().into_text().unwrap().to_string();
    assert_eq!(next(ws.next().await), r#"{"colibriClass":"ServerHello"}"#);
    ws.send(Message::Text(r#"{"colibriClass":"ClientHello"}"#.into())).await.unwrap();
    assert!(next(ws.next().await).contains("colibriClass"));
    // Wrong password, endpoint, server: refused before the upgrade.
    let status = |e: tokio_tungstenite::tungstenite::Error| match e {
        tokio_tungstenite::tungstenite::Error::Http(r) => r.status().as_u16(),
        e => panic!("{e}"),
    };
    for (wrong, code) in
        [(url.replace("pwd=", "pwd=x"), 403), (url.replace("/aaaa", "/bbbb"), 403), (url.replace("/s1/", "/s2/"), 404)]
    {
        assert_eq!(status(tokio_tungstenite::connect_async(&wrong).await.unwrap_err()), code, "{wrong}");
    }
    focus.modify("", "<endpoint id='aaaa' expire='true'/>").await.unwrap();
    let closed = async {
        loop {
            match ws.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|f| f.reason.to_string()),
                Some(Ok(_)) => {}
                _ => return None,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, closed).await.unwrap().as_deref(), Some("endpoint closed"));
    app.drain().await;
}
