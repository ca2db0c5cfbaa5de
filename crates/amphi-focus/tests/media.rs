//! Sessions: offers, answers, sources, restarts, moderation, as bridges and clients see them.

mod world;

use amphi_focus::{NodeId, RestartLimits};
use amphi_jingle::{Action, Content, IceTransport, Jingle, MediaSources, Setup, Source, SourceSet};
use amphi_stanza::Condition;
use world::media::{JSON, OLD, media_config, transport};
use world::{ROOM, World, s};

#[test]
fn the_second_member_brings_sessions_for_both() {
    let mut w = World::with_media(media_config(0));
    assert_eq!(w.go("m0"), "main");
    w.join("n0");
    assert_eq!(w.offers("n0").len(), 0, "nobody talks to himself");
    w.join("n1");
    assert_eq!(w.on("b1"), ["n0", "n1"]);
    for n in ["n0", "n1"] {
        let o = w.offers(n)[0];
        let names: Vec<_> = o.contents.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["audio", "video", "data"]);
        assert_eq!(o.initiator.as_deref(), Some("focus@auth.meet.example/focus"));
        assert_eq!(o.bridge_session.as_ref().unwrap().region.as_deref(), Some("eu"));
        // With rewriting the bridge's own sources are all that is told.
        assert_eq!(o.json_sources.as_ref().unwrap().keys().collect::<Vec<_>>(), ["jvb"]);
        assert!(w.client(n).results.len() == 1 && w.client(n).errors.is_empty());
        let held = &w.bridge("b1").conferences.values().next().unwrap().endpoints[n];
        assert!(held.connected && held.rewriting && held.sctp);
        assert_eq!(held.sources.len(), 2);
    }
    assert_eq!(w.media.discos, 2);
    assert_eq!(w.focus.metrics().sessions_accepted, 2);
    let m = &w.bridge("b1").requests;
    assert!(m[0].create && m[1..].iter().all(|m| !m.create));
}

#[test]
fn the_answer_to_accept_comes_after_the_bridge_was_told() {
    let mut w = World::with_stage(media_config(0), 2);
    let update =
        w.sent.iter().position(|(_, x)| x.contains("<conference-modify") && x.contains("initial-last-n")).unwrap();
    let result = w.sent.iter().position(|(_, x)| x.contains("type='result' id='a1'")).unwrap();
    assert!(update < result);
    w.clear();
}

#[test]
fn the_last_but_one_leaves_and_the_session_of_the_rest_ends_a_while_later() {
    let mut w = World::with_stage(media_config(0), 3);
    w.leave("n1");
    assert_eq!(w.on("b1"), ["n0", "n2"]);
    assert!(!w.actions("n0").contains(&"source-remove"), "clients drop sources by themselves");
    w.leave("n2");
    w.pass(s(19));
    assert!(w.active("n0"));
    w.pass(s(2));
    let last = w.client("n0").received.last().unwrap().clone();
    assert_eq!((last.action, last.reason.unwrap().condition), (Action::SessionTerminate, "expired".into()));
    assert!(w.bridge("b1").conferences.is_empty());
    w.join("n3");
    assert!(w.active("n0") && w.active("n3"));
    w.leave("n0");
    w.leave("n3");
    assert!(w.bridge("b1").conferences.is_empty());
    w.pass(s(30));
    assert!(!w.has_conference());
}

#[test]
fn visitors_get_sessions_over_their_node_and_send_nothing() {
    let mut w = World::with_stage(media_config(1), 2);
    for (uid, nick) in [("m7", "x7"), ("m8", "x8")] {
        let id = w.ask_visitor(uid);
        assert_eq!(w.place(id), "v1");
        w.join_visitor(1, nick);
        assert_eq!(w.client(nick).node, Some(NodeId::vnode("v1")));
        let o = w.offers(nick)[0];
        assert_eq!(o.initiator.as_deref(), Some("focus@auth.meet.jitsi/focus"));
        assert!(w.active(nick) && w.client(nick).errors.is_empty());
    }
    let held = &w.bridge("b1").conferences.values().next().unwrap().endpoints;
    assert!(held["x7"].visitor && held["x7"].connected && !held["n0"].visitor);
    let add = sources(900, "x7");
    let text = w.sources_text("x7", Action::SourceAdd, &add);
    assert_eq!(w.request("x7", &text), "bad-request");
    // A visitor that answers with sources loses its session.
    w.media.accept = false;
    let id = w.ask_visitor("m9");
    assert_eq!(w.place(id), "v1");
    w.join_visitor(1, "x9");
    let text = w.sources_text("x9", Action::SessionAccept, &add);
    assert_eq!(w.request("x9", &text), "bad-request");
    assert!(!w.on("b1").contains(&"x9"));
    w.leave_visitor(1, "x7");
    assert!(!w.on("b1").contains(&"x7"));
}

fn sources(ssrc: u32, nick: &str) -> SourceSet {
    let s = Source {
        ssrc,
        name: Some(format!("{nick}-v1")),
        msid: Some(format!("{nick}-video-{ssrc} y")),
        ..Source::default()
    };
    SourceSet { video: MediaSources { sources: vec![s], groups: vec![] }, audio: MediaSources::default() }
}

#[test]
fn receivers_without_rewriting_are_told_of_sources() {
    let mut w = World::with_media(media_config(0));
    w.media.features.insert("n0".into(), JSON);
    w.media.features.insert("n1".into(), OLD);
    w.go("m0");
    w.join("n0");
    w.join("n1");
    // Whoever is offered second sees the first in the offer, the first hears of the second later.
    let told = |w: &World, nick: &str, other: &str| -> usize {
        w.media.clients[nick]
            .received
            .iter()
            .filter(|j| matches!(j.action, Action::SessionInitiate | Action::SourceAdd))
            .map(|j| {
                let json = j.json_sources.as_ref().and_then(|m| m.get(other)).map_or(0, SourceSet::count);
                let of = |s: &&Source| s.owner.as_deref() == Some(other);
                json + j.contents.iter().map(|c| c.sources.sources.iter().filter(of).count()).sum::<usize>()
            })
            .sum()
    };
    // Sound, and one encoding with its retransmissions.
    assert_eq!(told(&w, "n0", "n1"), 3);
    assert_eq!(told(&w, "n1", "n0"), 3);
    assert_eq!(w.offers("n1")[0].contents.len(), 2);
    let text = w.sources_text("n0", Action::SourceAdd, &sources(900, "n0"));
    assert_eq!(w.request("n0", &text), "ok");
    assert_eq!(told(&w, "n1", "n0"), 4);
    assert_eq!(told(&w, "n0", "n0"), 0, "nobody is told of itself");
    let text = w.sources_text("n0", Action::SourceRemove, &sources(900, "n0"));
    assert_eq!(w.request("n0", &text), "ok");
    assert_eq!(w.actions("n1").last(), Some(&"source-remove"));
    let id = w.bridge_session("n0");
    w.client("n1").received.clear();
    assert_eq!(w.about_session("n0", Action::SessionTerminate, &id, true, false), "ok");
    let actions = w.actions("n1");
    assert_eq!(actions, ["source-remove", "source-add"], "gone with the session, there again with the new one");
}

#[test]
fn changes_are_held_back_on_large_stages() {
    let mut c = media_config(0);
    c.media.signaling_delays = vec![(2, s(1))];
    let mut w = World::with_media(c);
    w.media.default_features = JSON;
    w.go("m0");
    w.join("n0");
    w.join("n1");
    w.pass(s(2));
    w.client("n1").received.clear();
    for ssrc in [901, 902] {
        let text = w.sources_text("n0", Action::SourceAdd, &sources(ssrc, "n0"));
        assert_eq!(w.request("n0", &text), "ok");
    }
    let text = w.sources_text("n0", Action::SourceRemove, &sources(901, "n0"));
    w.request("n0", &text);
    assert_eq!(w.actions("n1").len(), 0);
    w.pass(s(2));
    assert_eq!(w.actions("n1"), ["source-add"]);
    assert_eq!(w.client("n1").received[0].json_sources.as_ref().unwrap()["n0"].count(), 1, "the net difference");
}

#[test]
fn nothing_is_told_before_the_answer() {
    let mut w = World::with_media(media_config(0));
    w.media.default_features = JSON;
    w.media.accept = false;
    w.go("m0");
    w.join("n0");
    w.join("n1");
    assert_eq!(w.accept("n0"), "ok");
    assert_eq!(w.actions("n1"), ["session-initiate"]);
    assert_eq!(w.accept("n1"), "ok");
    assert_eq!(w.actions("n1"), ["session-initiate", "source-add"]);
    assert_eq!(w.actions("n0"), ["session-initiate", "source-add"]);
}

#[test]
fn bad_sources_are_refused_and_change_nothing() {
    let mut w = World::with_stage(media_config(0), 2);
    let taken = w.bridge("b1").conferences.values().next().unwrap().endpoints["n1"].sources[0].media.sources[0].ssrc;
    let before = w.bridge("b1").requests.len();
    for set in [sources(taken, "n0"), sources(900, "n1-x").clone()].iter_mut().take(1) {
        let text = w.sources_text("n0", Action::SourceAdd, set);
        assert_eq!(w.request("n0", &text), "bad-request");
    }
    let text = w.sources_text("n0", Action::SourceRemove, &sources(999, "n0"));
    assert_eq!(w.request("n0", &text), "bad-request");
    assert_eq!(w.bridge("b1").requests.len(), before);
    for i in 0..13 {
        let text = w.sources_text("n0", Action::SourceAdd, &sources(1000 + i, "n0"));
        assert_eq!(w.request("n0", &text), "ok", "{i}");
    }
    let text = w.sources_text("n0", Action::SourceAdd, &sources(1100, "n0"));
    assert_eq!(w.request("n0", &text), "bad-request", "20 are enough");
}

#[test]
fn half_of_the_credentials_of_a_transport_are_refused() {
    let mut w = World::with_stage(media_config(0), 2);
    let before = w.bridge("b1").requests.len();
    let sid = w.client("n0").sid.clone().unwrap();
    let mut j = Jingle::new(Action::TransportInfo, sid);
    let ice = IceTransport { pwd: None, ..transport("half", Setup::Active) };
    j.contents.push(Content { name: "audio".into(), transport: Some(ice), ..Content::default() });
    let text = w.iq_text("n0", &j);
    assert_eq!(w.request("n0", &text), "bad-request");
    assert_eq!(w.bridge("b1").requests.len(), before);
    assert!(w.active("n0") && w.active("n1"));
}

#[test]
fn what_a_bridge_does_not_take_of_one_member_costs_that_member_alone() {
    let mut w = World::with_stage(media_config(0), 3);
    w.bridge("b1").fail.push_back((Condition::BadRequest, None));
    let text = w.sources_text("n0", Action::SourceAdd, &sources(900, "n0"));
    w.request("n0", &text);
    let last = w.client("n0").received.last().unwrap().clone();
    assert_eq!((last.action, last.reason.unwrap().condition), (Action::SessionTerminate, "failed-application".into()));
    assert_eq!(w.on("b1"), ["n1", "n2"]);
    for n in ["n1", "n2"] {
        assert!(w.active(n) && w.offers(n).len() == 1, "{n} has noticed nothing");
    }
    assert_eq!(w.focus.metrics().endpoints_refused, 1);
    w.pass(s(60));
    assert!(w.active("n0"), "it is tried again");
}

#[test]
fn requests_of_one_session_are_bounded() {
    let mut w = World::with_stage(media_config(0), 2);
    let sid = w.client("n0").sid.clone().unwrap();
    let j = Jingle::new(Action::SessionInfo, sid);
    let text = w.iq_text("n0", &j);
    let answers: Vec<_> = (0..60).map(|_| w.request("n0", &text)).collect();
    assert!(answers.iter().filter(|a| *a == "ok").count() < 50);
    assert_eq!(answers.last().unwrap(), "resource-constraint");
    w.pass(s(11));
    assert_eq!(w.request("n0", &text), "ok");
}

#[test]
fn requests_for_other_sessions_are_told_apart() {
    let mut w = World::with_stage(media_config(0), 2);
    let old = w.client("n0").sid.clone().unwrap();
    let text = w.iq_text("n0", &Jingle::new(Action::SourceAdd, "nonsense"));
    assert_eq!(w.request("n0", &text), "bad-request");
    let id = w.bridge_session("n0");
    assert_eq!(w.about_session("n0", Action::SessionTerminate, &id, true, false), "ok");
    let text = w.iq_text("n0", &Jingle::new(Action::SourceAdd, old.clone()));
    assert_eq!(w.request("n0", &text), "item-not-found");
    let text = w.iq_text("n0", &Jingle::new(Action::SessionAccept, old));
    assert_eq!(w.request("n0", &text), "gone");
    let sid = w.client("n0").sid.clone().unwrap();
    let text = w.iq_text("n0", &Jingle::new(Action::ContentAdd, sid));
    assert_eq!(w.request("n0", &text), "feature-not-implemented");
    let text = w.iq_text("zz", &Jingle::new(Action::SourceAdd, "x"));
    assert_eq!(w.request("zz", &text), "item-not-found");
    let text = w.iq_text("n0", &Jingle::new(Action::SourceAdd, "x")).replace("action='source-add'", "");
    assert_eq!(w.request("n0", &text), "bad-request");
    let text = w.iq_text("n0", &Jingle::new(Action::SourceAdd, "x")).replace(ROOM, "other@conference.meet.example");
    assert_eq!(w.request("n0", &text), "item-not-found");
}

#[test]
fn a_restart_gives_a_new_session_on_a_new_endpoint() {
    let mut w = World::with_stage(media_config(0), 2);
    let id = w.bridge_session("n0");
    assert_eq!(w.about_session("n0", Action::SessionTerminate, "other", true, false), "item-not-found");
    w.client("n0").sid = Some(w.offers("n0")[0].sid.clone());
    w.clear();
    assert_eq!(w.about_session("n0", Action::SessionTerminate, &id, true, false), "ok");
    assert_eq!(w.offers("n0").len(), 2);
    assert!(w.active("n0"));
    let at = |part: &str| w.sent.iter().position(|(_, x)| x.contains(part)).unwrap();
    assert!(at("expire='true'") < at("create='true'"), "the old endpoint goes before the new one comes");
    assert!(at("type='result' id='c1'") < at("session-initiate"));
    assert_eq!(w.focus.metrics().participants_restart_requested, 2);
    // Too soon.
    assert_eq!(w.about_session("n0", Action::SessionTerminate, &id, true, false), "resource-constraint");
    assert!(!w.active("n0") && !w.on("b1").contains(&"n0"));
    w.pass(s(120));
    assert!(!w.active("n0"), "it gets none until it comes again");
}

#[test]
fn restarts_are_bounded_over_time() {
    let mut c = media_config(0);
    c.media.restart_limits = RestartLimits { min_interval: s(1), max_requests: 2, interval: s(60) };
    let mut w = World::with_stage(c, 2);
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        let id = w.bridge_session("n0");
        outcomes.push(w.about_session("n0", Action::SessionTerminate, &id, true, false));
        w.pass(s(2));
    }
    assert_eq!(outcomes, ["ok", "ok", "resource-constraint"]);
}

#[test]
fn the_transport_is_restarted_in_place() {
    let mut w = World::with_stage(media_config(0), 2);
    w.bridge("b1").ice_generation = Some(1);
    let id = w.bridge_session("n0");
    assert_eq!(w.about_session("n0", Action::SessionInfo, &id, false, true), "ok");
    let info = w.client("n0").received.last().unwrap().clone();
    assert_eq!((info.action, info.contents[0].name.as_str()), (Action::TransportInfo, "audio"));
    assert_eq!(info.transport().unwrap().ice_generation(), Some(1));
    // The answer goes to the bridge as it is.
    let text = w.iq_text("n0", &info);
    assert_eq!(w.request("n0", &text), "ok");
    let last = w.bridge("b1").requests.last().unwrap().endpoints[0].transport.clone().unwrap();
    assert_eq!(last.ice.unwrap().ice_generation(), Some(1));
    assert_eq!(w.about_session("n0", Action::SessionInfo, &id, false, true), "resource-constraint");
    assert_eq!(w.about_session("n0", Action::SessionInfo, "stale", false, true), "item-not-found");
    w.pass(s(6));
    // The bridge keeps what it has.
    w.bridge("b1").ice_generation = Some(0);
    let n = w.client("n0").received.len();
    assert_eq!(w.about_session("n0", Action::SessionInfo, &id, false, true), "ok");
    assert_eq!(w.client("n0").received.len(), n);
    w.pass(s(6));
    // The bridge refuses: another session, on another endpoint.
    w.bridge("b1").ice_generation = None;
    assert_eq!(w.about_session("n0", Action::SessionInfo, &id, false, true), "ok");
    assert_eq!(w.offers("n0").len(), 2);
    assert!(w.active("n0") && w.on("b1").contains(&"n0"));
}

#[test]
fn a_report_of_failure_by_an_old_client_brings_a_new_session() {
    let mut w = World::with_stage(media_config(0), 2);
    let id = w.bridge_session("n0");
    let mut j = Jingle::new(Action::SessionInfo, w.client("n0").sid.clone().unwrap());
    j.ice_state = Some("failed".into());
    j.bridge_session = Some(amphi_jingle::BridgeSession { id: Some("stale".into()), ..Default::default() });
    let text = w.iq_text("n0", &j);
    assert_eq!(w.request("n0", &text), "ok");
    assert_eq!(w.offers("n0").len(), 1);
    j.bridge_session.as_mut().unwrap().id = Some(id);
    let text = w.iq_text("n0", &j);
    assert_eq!(w.request("n0", &text), "ok");
    assert_eq!(w.offers("n0").len(), 2);
    assert!(w.active("n0") && w.client("n0").errors.is_empty());
}

#[test]
fn a_client_that_refuses_the_offer_is_tried_again_later() {
    let mut w = World::with_media(media_config(0));
    w.media.refuse = true;
    w.go("m0");
    w.join("n0");
    w.join("n1");
    assert_eq!(w.on("b1").len(), 0);
    assert_eq!(w.focus.metrics().offers_refused, 2);
    w.media.refuse = false;
    w.pass(s(6));
    assert!(w.active("n0") && w.active("n1"));
}

#[test]
fn whoever_does_not_say_what_it_can_is_assumed_to_can_the_usual() {
    let mut w = World::with_media(media_config(0));
    w.media.mute_disco = true;
    w.go("m0");
    w.join("n0");
    w.join("n1");
    assert_eq!(w.offers("n0").len(), 0);
    w.pass(s(16));
    assert!(w.active("n0") && w.active("n1"));
    assert!(!w.bridge("b1").conferences.values().next().unwrap().endpoints["n0"].rewriting);
}

#[test]
fn capabilities_are_asked_for_once_and_not_believed_blindly() {
    let mut w = World::with_media(media_config(0));
    // The hash of what these clients answer.
    let text: String = {
        let mut f: Vec<_> = world::media::MODERN.to_vec();
        f.sort_unstable();
        f.iter().map(|f| format!("{f}<")).collect()
    };
    use base64::Engine;
    use sha1::Digest;
    let ver = base64::engine::general_purpose::STANDARD.encode(sha1::Sha1::digest(text.as_bytes()));
    for i in 0..6 {
        let ver = if i < 4 { ver.as_str() } else { "lie" };
        let c = format!("<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='{ver}'/>");
        w.media.more.insert(format!("n{i}"), c);
    }
    w.go("m0");
    for i in 0..6 {
        w.join(&format!("n{i}"));
    }
    assert_eq!(w.media.discos, 3, "one for four, and each liar for itself");
    assert!((0..6).all(|i| w.active(&format!("n{i}"))));
}

#[test]
fn members_begin_muted_when_the_room_says_so_or_is_large() {
    let mut w = World::with_media(media_config(0));
    let id = w.ask_with("m0", None, r#""visitors-version":1,"startAudioMuted":2"#);
    assert_eq!(w.place(id), "main");
    w.metadata(r#"{"startMuted":{"video":true}}"#);
    for n in ["n0", "n1", "n2"] {
        w.join(n);
    }
    let muted = |w: &World, n: &str| w.offers(n).last().unwrap().start_muted.map(|m| (m.audio, m.video));
    assert_eq!(muted(&w, "n1"), Some((false, true)));
    assert_eq!(muted(&w, "n2"), Some((true, true)));
    // A new session later is no arrival.
    let id = w.bridge_session("n0");
    w.leave("n2");
    w.about_session("n0", Action::SessionTerminate, &id, true, false);
    assert_eq!(muted(&w, "n0"), None);
}

fn moderation(w: &mut World, json: &str) {
    let text = format!(
        "<message from='avmoderation.meet.example'><json-message xmlns='http://jitsi.org/jitmeet'>{{\"type\":\"av_moderation\",\"room\":\"{ROOM}\",{json}}}</json-message></message>"
    );
    w.deliver(&NodeId::Main, &text);
}

fn mute(w: &mut World, from: &str, target: &str, value: &str) -> String {
    let text = format!(
        "<iq type='set' id='m1' to='{ROOM}/focus' from='{ROOM}/{from}'><mute xmlns='http://jitsi.org/jitmeet/audio' jid='{ROOM}/{target}'>{value}</mute></iq>"
    );
    w.request(from, &text)
}

fn muted(w: &mut World, nick: &str) -> (bool, bool) {
    w.bridge("b1").conferences.values().next().unwrap().endpoints[nick].muted
}

#[test]
fn moderation_mutes_at_the_bridge_until_it_is_allowed() {
    let mut w = World::with_media(media_config(0));
    w.go("m0");
    w.join_room(NodeId::Main, ROOM, "n0", "moderator");
    w.join("n1");
    w.join("n2");
    moderation(&mut w, &format!(r#""enabled":true,"mediaType":"audio","actor":"{ROOM}/n0""#));
    assert_eq!((muted(&mut w, "n0"), muted(&mut w, "n1")), ((false, false), (true, false)));
    assert!(w.client("n1").mutes[0].contains(&format!("actor='{ROOM}/n0'")));
    assert_eq!(w.client("n0").mutes.len(), 0);
    assert_eq!(mute(&mut w, "n1", "n1", "false"), "not-allowed");
    moderation(&mut w, &format!(r#""whitelists":{{"audio":["{ROOM}/n1"]}}"#));
    assert_eq!(mute(&mut w, "n1", "n1", "false"), "ok");
    assert_eq!((muted(&mut w, "n1"), muted(&mut w, "n2")), ((false, false), (true, false)));
    // Who comes later is muted from the beginning.
    w.join("n3");
    assert_eq!(muted(&mut w, "n3"), (true, false));
    assert!(w.offers("n3")[0].start_muted.unwrap().audio);
    // Video is dropped only when neither camera nor screen are allowed.
    moderation(&mut w, r#""enabled":true,"mediaType":"video""#);
    assert_eq!(muted(&mut w, "n2"), (true, false));
    moderation(&mut w, r#""enabled":true,"mediaType":"desktop""#);
    assert_eq!(muted(&mut w, "n2"), (true, true));
    // Others cannot pretend to be the component.
    let text = format!(
        r#"<message from='evil.example'><json-message xmlns='http://jitsi.org/jitmeet'>{{"type":"av_moderation","room":"{ROOM}","whitelists":{{"audio":["{ROOM}/n2"]}}}}</json-message></message>"#
    );
    w.deliver(&NodeId::Main, &text);
    assert_eq!(mute(&mut w, "n2", "n2", "false"), "not-allowed");
}

#[test]
fn mute_requests_follow_the_rules() {
    let mut w = World::with_media(media_config(1));
    w.go("m0");
    w.join_room(NodeId::Main, ROOM, "n0", "moderator");
    w.join("n1");
    assert_eq!(mute(&mut w, "n0", "n1", "true"), "ok");
    assert!(w.client("n1").mutes[0].contains("true"));
    assert_eq!(muted(&mut w, "n1"), (false, false), "a plain mute asks the client alone");
    assert_eq!(mute(&mut w, "n0", "n1", "false"), "not-allowed");
    assert_eq!(mute(&mut w, "n1", "n0", "true"), "not-allowed");
    assert_eq!(mute(&mut w, "n1", "n1", "true"), "ok");
    assert_eq!(mute(&mut w, "n0", "zz", "true"), "internal-server-error");
    assert_eq!(mute(&mut w, "n0", "n1", ""), "bad-request");
}

#[test]
fn sender_limits_are_published_and_kept() {
    let mut c = media_config(0);
    c.media.max_video_senders = 1;
    let mut w = World::with_media(c);
    w.media.more.insert("n0".into(), r#"<SourceInfo>{"n0-v0":{"muted":false}}</SourceInfo>"#.into());
    w.go("m0");
    w.join("n0");
    w.join("n1");
    w.pass(s(3));
    let last = |w: &World| {
        w.sent_to(&NodeId::Main).into_iter().rfind(|x| x.contains("conference-properties")).unwrap().to_owned()
    };
    assert!(last(&w).contains("key='video-limit-reached' value='true'"), "{}", last(&w));
    assert!(last(&w).contains("key='bridge-count' value='1'"));
    let text = w.sources_text("n1", Action::SourceAdd, &sources(900, "n1"));
    assert_eq!(w.request("n1", &text), "resource-constraint");
    w.leave("n0");
    w.pass(s(3));
    assert!(last(&w).contains("key='video-limit-reached' value='false'"));
}

#[test]
fn codecs_of_visitors_are_published() {
    let mut w = World::with_stage(media_config(1), 2);
    for (nick, list) in [("x1", "av1,vp9,vp8"), ("x2", "vp9,vp8")] {
        let text = format!("<jitsi_participant_codecList>{list}</jitsi_participant_codecList>");
        w.media.more.insert(nick.into(), text);
        let id = w.ask_visitor(nick);
        assert_eq!(w.place(id), "v1");
        w.join_visitor(1, nick);
    }
    w.pass(s(3));
    let last = w.sent_to(&NodeId::Main).into_iter().rfind(|x| x.contains("conference-properties")).unwrap().to_owned();
    assert!(last.contains("key='visitor-codecs' value='vp9,vp8'"), "{last}");
}

#[test]
fn an_answer_that_is_not_valid_ends_the_session() {
    let mut w = World::with_media(media_config(0));
    w.media.accept = false;
    w.go("m0");
    w.join("n0");
    w.join("n1");
    let text = w.sources_text("n0", Action::SessionAccept, &sources(900, "n0")).replace("ssrc='900'", "ssrc='0'");
    assert_eq!(w.request("n0", &text), "bad-request");
    assert_eq!(w.on("b1"), ["n1"]);
    let text = w.sources_text("n1", Action::SessionAccept, &sources(900, "n1"));
    assert_eq!(w.request("n1", &text), "ok");
    assert_eq!(w.request("n1", &text), "bad-request", "once is enough");
    assert_eq!(w.on("b1"), ["n1"]);
}

#[test]
fn a_member_that_comes_back_under_its_name_from_elsewhere_replaces_itself() {
    let mut w = World::with_stage(media_config(1), 2);
    let id = w.ask_visitor("m7");
    assert_eq!(w.place(id), "v1");
    w.join_visitor(1, "x7");
    // Promoted: it is on stage before it has left the audience.
    w.client("x7").sid = None;
    w.join("x7");
    assert_eq!(w.client("x7").node, Some(NodeId::Main));
    assert!(!w.bridge("b1").conferences.values().next().unwrap().endpoints["x7"].visitor);
    w.leave_visitor(1, "x7");
    assert!(w.on("b1").contains(&"x7"));
}

#[test]
fn a_node_that_comes_back_costs_nobody_a_session() {
    let mut w = World::with_stage(media_config(1), 2);
    let id = w.ask_visitor("m7");
    assert_eq!(w.place(id), "v1");
    w.join_visitor(1, "x7");
    w.join_visitor(1, "x8");
    w.handle(amphi_focus::Input::Disconnected { node: NodeId::vnode("v1") });
    w.rooms.get_mut(&(NodeId::vnode("v1"), World::vroom(1))).unwrap().members.remove("x8");
    w.connect(NodeId::vnode("v1"), false);
    assert_eq!(w.offers("x7").len(), 1);
    assert!(w.on("b1").contains(&"x7") && !w.on("b1").contains(&"x8"));
    // Gone for good.
    w.crash(NodeId::vnode("v1"));
    w.pass(s(20));
    assert!(!w.on("b1").contains(&"x7"));
}

#[test]
fn an_offer_that_may_have_been_lost_with_a_node_is_made_again() {
    let mut w = World::with_stage(media_config(1), 2);
    w.media.accept = false;
    let id = w.ask_visitor("m7");
    assert_eq!(w.place(id), "v1");
    w.join_visitor(1, "x7");
    assert_eq!(w.offers("x7").len(), 1);
    w.handle(amphi_focus::Input::Disconnected { node: NodeId::vnode("v1") });
    w.connect(NodeId::vnode("v1"), false);
    assert_eq!(w.actions("x7"), ["session-initiate", "session-terminate", "session-initiate"]);
    assert_eq!(w.accept("x7"), "ok");
    assert_eq!(w.on("b1"), ["n0", "n1", "x7"]);
}

#[test]
fn an_answer_for_somebody_who_left_is_nobodys_concern() {
    let mut w = World::with_stage(media_config(0), 2);
    w.bridge("b1").silent = true;
    w.join("n2");
    let asked = w.sent_to(&NodeId::Main).into_iter().rfind(|x| x.contains("<conference-modify")).unwrap().to_owned();
    let asked = world::stanza(&asked);
    w.bridge("b1").silent = false;
    w.leave("n2");
    let (id, to) = (asked.id().unwrap(), asked.attr("to").unwrap());
    let text = format!(
        "<iq type='error' id='{id}' from='{to}'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    );
    w.deliver(&NodeId::Main, &text);
    assert_eq!((w.offers("n0").len(), w.focus.metrics().bridges_removed), (1, 0));
    // A second answer to the same question is none.
    w.deliver(&NodeId::Main, &text);
    assert!(w.active("n0") && w.active("n1"));
}

#[test]
fn a_bridge_without_a_transport_in_its_answer_is_tried_again() {
    let mut w = World::with_media(media_config(0));
    w.bridge("b1").no_transport = true;
    w.go("m0");
    w.join("n0");
    w.join("n1");
    assert_eq!(w.on("b1").len(), 0, "endpoints that cannot be used are freed");
    w.bridge("b1").no_transport = false;
    w.pass(s(6));
    assert!(w.active("n0") && w.active("n1"));
    w.bridge("b1").fail.push_back((Condition::BadRequest, None));
    w.join("n2");
    assert!(!w.active("n2"));
    w.pass(s(6));
    assert!(w.active("n2"));
}
