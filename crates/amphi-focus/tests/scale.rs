//! Large audiences: where they are placed, what a visitor costs.
//!
//! The numbers are printed; the bounds are those of a build without optimisation, many times slower than what is shipped.
//! `cargo test --release -p amphi-focus --test scale -- --nocapture --ignored` measures what is.

mod world;

use std::collections::BTreeMap;
use std::time::Instant;

use amphi_focus::{Focus, FocusConfig, Input, NodeId, Output};
use amphi_jingle::colibri2::ConferenceModify;
use amphi_stanza::{Limits, Stanza};
use world::media::{BREWERY, media_config};
use world::{USER_NS, World, s};

fn heap() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split_whitespace().nth(1).and_then(|p| p.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Answers without a world around: what is measured is the focus.
struct Quick {
    focus: Focus,
    now: Instant,
    spent: std::time::Duration,
    offers: u32,
    /// Links: bridge, relay id, mesh.
    links: BTreeMap<(String, String), String>,
    /// Endpoints by bridge.
    placed: BTreeMap<String, u32>,
}

impl Quick {
    fn feed(&mut self, input: Input) {
        let mut inbox = vec![input];
        while let Some(input) = inbox.pop() {
            let at = Instant::now();
            self.focus.handle(self.now, input);
            let mut out = Vec::new();
            while let Some(o) = self.focus.poll_output() {
                out.push(o);
            }
            let _ = self.focus.poll_timeout();
            self.spent += at.elapsed();
            for o in out {
                if let Output::Send { node, stanza } = o {
                    self.answer(node, stanza, &mut inbox);
                }
            }
        }
    }

    fn answer(&mut self, node: NodeId, stanza: bytes::Bytes, inbox: &mut Vec<Input>) {
        let st = Stanza::authored(stanza);
        if st.root().name() != "iq" || !matches!(st.ty().as_deref(), Some("get" | "set")) {
            return;
        }
        let (id, to) = (st.id().unwrap().into_owned(), st.attr("to").unwrap().into_owned());
        let child = st.children().next().unwrap();
        let mut push = |content: &str| {
            let text = format!("<iq type='result' id='{id}' from='{to}'>{content}</iq>");
            let stanza = Stanza::parse(text.into(), &Limits::default()).unwrap();
            inbox.insert(0, Input::Stanza { node: node.clone(), stanza });
        };
        match child.name() {
            "conference-modify" => {
                let m = ConferenceModify::parse(child, &amphi_jingle::Limits::default()).unwrap();
                let bridge = to.split_once('/').unwrap().1.to_owned();
                let t = |more: &str| {
                    format!(
                        "<transport><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='9uon8' pwd='6bsbqw8d8a6s5d4f'>\
                     <rtcp-mux/><fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='actpass'>AB:CD:EF</fingerprint>\
                     <candidate component='1' foundation='1' generation='0' id='c1' ip='203.0.113.7' network='0' port='10000' priority='2130706431' protocol='udp' type='host'/>\
                     <candidate component='1' foundation='2' generation='0' id='c2' ip='2001:db8::7' network='0' port='10000' priority='2130706431' protocol='udp' type='host'/>\
                     </transport>{more}</transport>"
                    )
                };
                let mut content = String::from("<conference-modified xmlns='jitsi:colibri2'>");
                for e in &m.endpoints {
                    if e.create {
                        *self.placed.entry(bridge.clone()).or_default() += 1;
                        content +=
                            &format!("<endpoint id='{}'>{}</endpoint>", e.id, t("<sctp port='5000' role='server'/>"));
                    }
                }
                for r in &m.relays {
                    if r.create {
                        self.links.insert((bridge.clone(), r.id.clone()), r.mesh_id.clone().unwrap());
                        content += &format!("<relay id='{}'>{}</relay>", r.id, t(""));
                    } else if r.expire {
                        self.links.remove(&(bridge.clone(), r.id.clone()));
                    }
                }
                push(&(content + "</conference-modified>"));
            }
            "jingle" if child.attr("action").as_deref() == Some("session-initiate") => {
                push("");
                self.offers += 1;
                let sid = child.attr("sid").unwrap();
                let (room, _) = to.split_once('/').unwrap();
                let content = |name: &str| {
                    format!(
                        "<content creator='responder' name='{name}' senders='responder'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='{name}'>\
                     <payload-type id='111' name='opus' clockrate='48000' channels='2'/></description>\
                     <transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='cl' pwd='cp'>\
                     <fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='active'>AA:BB</fingerprint></transport></content>"
                    )
                };
                let text = format!(
                    "<iq type='set' id='a' from='{to}' to='{room}/focus'><jingle xmlns='urn:xmpp:jingle:1' action='session-accept' sid='{sid}'>{}{}</jingle></iq>",
                    content("audio"),
                    content("video"),
                );
                let stanza = Stanza::parse(text.into(), &Limits::default()).unwrap();
                inbox.insert(0, Input::Stanza { node: node.clone(), stanza });
            }
            "query" if to.contains('/') => {
                let f: String = world::media::MODERN.iter().map(|f| format!("<feature var='{f}'/>")).collect();
                push(&format!("<query xmlns='http://jabber.org/protocol/disco#info'>{f}</query>"));
            }
            _ => push(""),
        }
    }
}

/// A conference with a stage and so many visitors on so many bridges. Returns time and memory per visitor.
fn audience(config: FocusConfig, bridges: u32, visitors: u32, stress: &str) -> (Quick, f64, f64) {
    let mut w = World::with_stage(config, 2);
    let ver = {
        let mut f: Vec<_> = world::media::MODERN.to_vec();
        f.sort_unstable();
        let text: String = f.iter().map(|f| format!("{f}<")).collect();
        use base64::Engine;
        use sha1::Digest;
        base64::engine::general_purpose::STANDARD.encode(sha1::Sha1::digest(text.as_bytes()))
    };
    for i in 2..=bridges {
        w.add_bridge(&format!("b{i}"), "eu");
        w.set_stat(&format!("b{i}"), "average_participant_stress", stress);
    }
    let id = w.ask_visitor("mv");
    assert_eq!(w.place(id), "v1");
    let first = w.bridge("b1").conferences.len();
    assert_eq!(first, 1);
    let now = w.now;
    let mut q = Quick {
        focus: w.focus,
        now,
        spent: std::time::Duration::ZERO,
        offers: 0,
        links: BTreeMap::new(),
        placed: BTreeMap::new(),
    };
    let before = heap();
    for i in 0..visitors {
        // A thousand join per second.
        if i % 100 == 0 {
            q.now += s(1) / 10;
            q.feed(Input::Tick);
        }
        let text = format!(
            "<presence from='{}/{i:08x}'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://jitsi.org/jitsi-meet' ver='{ver}'/>\
             <stats-id>Visitor-{i}</stats-id><jitsi_participant_region>eu</jitsi_participant_region>\
             <jitsi_participant_codecList>vp9,vp8,h264</jitsi_participant_codecList>\
             <x xmlns='{USER_NS}'><item affiliation='none' role='visitor' jid='{i:08x}-1111-2222-3333-444444444444@v1.meet.jitsi/aaaa'/></x></presence>",
            World::vroom(1)
        );
        let stanza = Stanza::parse(text.into(), &Limits::default()).unwrap();
        q.feed(Input::Stanza { node: NodeId::vnode("v1"), stanza });
        // Bridges report what they have.
        if i % 5000 == 4999 {
            for b in 2..=bridges {
                let n = f64::from(q.placed.get(&format!("b{b}")).copied().unwrap_or(0));
                let load = n * stress.parse::<f64>().unwrap();
                let text = format!(
                    "<presence from='{BREWERY}/b{b}'><stats xmlns='http://jitsi.org/protocol/colibri'><stat name='stress_level' value='{load}'/></stats></presence>"
                );
                let stanza = Stanza::parse(text.into(), &Limits::default()).unwrap();
                q.now += s(1) / 100;
                q.feed(Input::Stanza { node: NodeId::Main, stanza });
            }
        }
    }
    for _ in 0..40 {
        q.now += s(1) / 2;
        q.feed(Input::Tick);
    }
    let bytes = (heap().saturating_sub(before)) as f64 / f64::from(visitors);
    let us = q.spent.as_secs_f64() * 1e6 / f64::from(visitors);
    println!(
        "{visitors} visitors on {} of {bridges} bridges: {us:.0} us and {bytes:.0} bytes each, {} offers",
        q.placed.len(),
        q.offers
    );
    assert_eq!(q.offers, visitors);
    (q, us, bytes)
}

fn config() -> FocusConfig {
    let mut c = media_config(1);
    c.max_visitors_per_node = 1_000_000;
    c.media.invites_per_second = 5_000;
    c
}

/// Links from both sides, as a tree of hops from the stage's bridge.
fn depth(q: &Quick) -> u32 {
    let mut hops: BTreeMap<&str, u32> = BTreeMap::from([("b1", 0)]);
    let mut queue = vec!["b1"];
    while let Some(b) = queue.pop() {
        for (on, to) in q.links.keys() {
            if on == b && !hops.contains_key(to.as_str()) {
                hops.insert(to, hops[b] + 1);
                queue.insert(0, to);
            }
        }
    }
    let on: std::collections::BTreeSet<&str> = q.links.keys().map(|(on, _)| on.as_str()).collect();
    assert_eq!(hops.len(), on.len(), "every bridge sees the stage");
    for ((on, to), mesh) in &q.links {
        assert_eq!(q.links.get(&(to.clone(), on.clone())), Some(mesh), "both sides have the link");
        assert_ne!(mesh, "0");
    }
    assert_eq!(q.links.len(), 2 * (on.len() - 1), "a tree");
    hops.values().copied().max().unwrap()
}

#[test]
fn an_audience_is_spread_as_a_tree_and_costs_little() {
    let (q, us, bytes) = audience(config(), 30, 2_000, "0.01");
    assert!(us < 50_000.0, "{us}");
    assert!(bytes < 4096.0, "{bytes}");
    assert!(q.placed.len() >= 20, "{:?}", q.placed);
    assert!(q.placed.values().all(|n| *n <= 120), "nobody is overrun: {:?}", q.placed);
    assert_eq!(depth(&q), 2, "sixteen below each");
}

#[test]
#[ignore = "measures an optimised build"]
fn ten_thousand_and_a_hundred_thousand_visitors_cost_little() {
    for (n, stress) in [(10_000, "0.003"), (100_000, "0.0003")] {
        let (q, us, bytes) = audience(config(), 50, n, stress);
        assert!(us < 500.0, "{us}");
        assert!(bytes < 4096.0, "{bytes}");
        assert!(q.placed.len() >= 30, "{:?}", q.placed);
        assert!(q.placed.values().all(|of| *of <= n / 25), "nobody is overrun: {:?}", q.placed);
        assert_eq!(depth(&q), 2);
    }
}
