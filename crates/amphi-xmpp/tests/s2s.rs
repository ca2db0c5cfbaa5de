//! Streams between servers, seen from both ends.

mod link;

use std::time::Duration;

use amphi_stanza::ns;
use amphi_xmpp::s2s::{
    DialbackOutcome, FailReason, IncomingConfig, OutgoingConfig, Pair, Purpose, QueueLimits, RESTRICTED, SendError,
    Tls, VerifyRequest,
};
use amphi_xmpp::{StreamCondition, StreamError};
use link::{Check, MAIN, MUC, NODE, World, message, pair};

fn world() -> World {
    World::new(OutgoingConfig::new(pair()), IncomingConfig::default())
}

fn world_with(f: impl FnOnce(&mut OutgoingConfig, &mut IncomingConfig)) -> World {
    let (mut o, mut i) = (OutgoingConfig::new(pair()), IncomingConfig::default());
    f(&mut o, &mut i);
    World::new(o, i)
}

#[test]
fn tls_and_certificate_authenticate_whatever_the_chunks() {
    for chunk in [1, 2, 3, 7, 64, 100_000] {
        let mut w = world();
        w.chunk = chunk;
        (0..5).for_each(|n| w.send(n));
        w.run();
        assert_eq!(w.received, [0, 1, 2, 3, 4], "{}", w.log);
        assert_eq!(w.authenticated, [pair()]);
        assert_eq!(w.ready, [false]);
        assert!(w.log.contains("mechanism='EXTERNAL'>bWVldC5leGFtcGxl</auth>"), "{}", w.log);
        assert!(!w.log.contains("db:result"), "{}", w.log);
        assert!(w.log.contains("<message from='meet.example' to="), "no namespace on the wire: {}", w.log);
    }
}

#[test]
fn without_tls_a_link_that_needs_it_fails_and_returns_its_stanzas() {
    let mut w = world_with(|_, i| i.tls = Tls::Off);
    w.send(7);
    w.run();
    assert_eq!(w.failed, [(FailReason::Tls("not offered by the peer"), vec![7])]);
    assert!(w.received.is_empty());
}

#[test]
fn an_acceptor_that_needs_tls_takes_nothing_before_it() {
    let mut w = world_with(|o, _| o.tls = Tls::Off);
    w.send(7);
    w.run();
    assert_eq!(w.failed.len(), 1);
    assert_eq!(w.closed, [Some("policy-violation".to_owned())]);
    assert!(w.authenticated.is_empty());
}

#[test]
fn a_wrong_server_certificate_ends_the_attempt() {
    let mut w = world();
    w.certificate_ok = false;
    w.send(1);
    w.run();
    assert!(matches!(&w.failed[..], [(FailReason::Tls(_), u)] if *u == [1]), "{:?}", w.failed);
    let mut w = world_with(|o, _| o.require_certificate = false);
    w.certificate_ok = false;
    w.send(1);
    w.run();
    assert_eq!(w.received, [1]);
}

#[test]
fn dialback_authenticates_where_the_certificate_does_not() {
    let mut w = world();
    w.check.certificates.clear();
    (0..3).for_each(|n| w.send(n));
    w.run();
    assert_eq!(w.received, [0, 1, 2], "{}", w.log);
    assert!(!w.log.contains("EXTERNAL"), "{}", w.log);
    assert!(w.log.contains("type='valid'"), "{}", w.log);
    // Stream management works on such a stream, too.
    w.cut(true);
    w.tick_out();
    w.send(3);
    w.run();
    assert_eq!((w.ready.as_slice(), w.received.as_slice()), (&[false, true][..], &[0, 1, 2, 3][..]));
}

#[test]
fn a_refused_dialback_key_gives_the_stanzas_back() {
    for (outcome, text) in
        [(DialbackOutcome::Invalid, "dialback: invalid"), (DialbackOutcome::Error, "dialback: remote-server-not-found")]
    {
        let mut w = world();
        w.check.certificates.clear();
        w.dialback = outcome;
        w.send(1);
        w.run();
        assert_eq!(w.failed, [(FailReason::Auth(text.to_owned()), vec![1])]);
        assert!(w.authenticated.is_empty());
    }
}

#[test]
fn without_tls_dialback_works_between_those_that_agree() {
    let mut w = world_with(|o, i| (o.tls, i.tls) = (Tls::IfOffered, Tls::Off));
    w.send(1);
    w.run();
    assert_eq!(w.received, [1], "{}", w.log);
    assert!(w.log.contains("db:result"), "{}", w.log);
}

#[test]
fn the_authoritative_server_knows_its_keys() {
    // v1 asks meet.example's server; here the link's acceptor plays that server.
    let ask = |key: String| {
        let mut w = world_with(|o, _| o.purpose = Purpose::Verify);
        w.certificate_ok = true;
        let shown = Pair::new(NODE, MAIN).unwrap();
        let key = if key.is_empty() { w.secret.key(&shown, "stream-1") } else { key };
        w.out.verify(w.now, VerifyRequest { pair: shown, stream_id: "stream-1".into(), key });
        w.run();
        assert!(!w.log.contains("<auth"), "a stream for questions does not authenticate: {}", w.log);
        w.verified
    };
    assert_eq!(ask(String::new()), [DialbackOutcome::Valid]);
    assert_eq!(ask("0".repeat(64)), [DialbackOutcome::Invalid]);
}

#[test]
fn questions_without_an_answer_end_in_an_error() {
    let mut w = world_with(|o, _| o.purpose = Purpose::Verify);
    let q = VerifyRequest { pair: Pair::new(NODE, MAIN).unwrap(), stream_id: "s".into(), key: "k".into() };
    w.out.verify(w.now, q);
    w.cuts.push_back((300, true));
    w.run();
    assert_eq!(w.verified, [DialbackOutcome::Error]);
}

#[test]
fn a_bidirectional_stream_carries_answers() {
    let mut w = world();
    w.send(1);
    w.run();
    assert!(w.bidi && w.out.is_bidi());
    w.back.push_back(message(NODE, MAIN, 100));
    w.run();
    assert_eq!(w.received_back, [100]);
    // Only for the pair that was authenticated.
    let a = w.inc.as_mut().unwrap();
    assert!(a.stream.send_back(w.now, message("v1.meet.jitsi", MAIN, 101)).is_err());
    assert!(a.stream.send_back(w.now, message(NODE, MUC, 102)).is_err());
}

#[test]
fn nothing_goes_back_before_the_peer_has_decided_about_its_session() {
    let mut w = world_with(|o, _| o.stream_management = false);
    w.back.push_back(message(NODE, MAIN, 100));
    w.out.connect(w.now);
    w.run();
    assert_eq!((w.ready.as_slice(), w.received_back.len()), (&[false][..], 0));
    let before = w.now;
    w.tick_inc();
    assert_eq!((w.received_back.as_slice(), w.now - before), (&[100][..], Duration::from_secs(2)));
    // A stanza says as much: the peer does not resume.
    let mut w = world_with(|o, _| o.stream_management = false);
    w.back.push_back(message(NODE, MAIN, 100));
    w.send(1);
    w.run();
    assert_eq!(w.received_back, [100]);
}

#[test]
fn without_bidi_nothing_comes_back() {
    let mut w = world_with(|o, _| o.bidi = false);
    w.send(1);
    w.run();
    let now = w.now;
    assert!(!w.bidi);
    assert!(w.inc.as_mut().unwrap().stream.send_back(now, message(NODE, MAIN, 100)).is_err());
}

#[test]
fn domains_not_on_the_list_are_refused_at_the_features_step() {
    let mut w = world();
    w.check.allowed.clear();
    w.send(9);
    w.run();
    let error = StreamError::new(StreamCondition::PolicyViolation).text(RESTRICTED);
    let reason = FailReason::StreamError(error);
    assert_eq!(w.failed, [(reason, vec![9])]);
    assert!(!w.log.contains("stream:features"), "{}", w.log);
}

#[test]
fn resumption_continues_where_it_stopped() {
    let mut w = world();
    (0..3).for_each(|n| w.send(n));
    w.run();
    w.cut(true);
    (3..6).for_each(|n| w.send(n));
    w.run();
    assert_eq!(w.received, [0, 1, 2], "nothing flows before the pause is over");
    w.tick_out();
    assert_eq!(w.received, [0, 1, 2, 3, 4, 5]);
    assert_eq!(w.ready, [false, true]);
    assert!(w.fresh.is_empty() && w.failed.is_empty());
}

#[test]
fn a_peer_that_lost_the_session_says_so_and_the_stanzas_come_back() {
    let mut w = world();
    w.send(0);
    w.run();
    w.out.set_congested(w.now, false);
    w.tick_out(); // acknowledges 0
    w.cuts.push_back((1, false));
    w.send(1);
    w.run();
    w.send(2);
    w.zombies.clear();
    w.sessions.clear();
    w.tick_out();
    assert_eq!(w.fresh, [(vec![1], vec![2])]);
    assert_eq!(w.ready, [false, false]);
    w.send(3);
    w.run();
    assert_eq!(w.received, [0, 3]);
}

#[test]
fn resumption_is_given_up_after_the_time_the_peer_keeps_it() {
    let mut w = world_with(|_, i| i.resume_timeout = Duration::from_secs(60));
    w.send(0);
    w.run();
    let start = w.now;
    w.cut(true);
    w.send(1);
    while w.failed.is_empty() {
        // Every attempt fails.
        if let Some(t) = w.out.poll_timeout() {
            w.now = w.now.max(t);
            w.out.handle(w.now, amphi_xmpp::s2s::Input::Tick);
            while let Some(o) = w.out.poll_output() {
                match o {
                    amphi_xmpp::s2s::OutgoingOutput::Connect => w.out.handle(w.now, amphi_xmpp::s2s::Input::Closed),
                    amphi_xmpp::s2s::OutgoingOutput::Failed { reason, unsent } => {
                        w.failed.push((reason, link::ids(&unsent)));
                    }
                    _ => {}
                }
            }
        }
    }
    assert_eq!(w.failed, [(FailReason::Timeout("resumption"), vec![0, 1])]);
    assert_eq!(w.now - start, Duration::from_secs(60));
    assert_eq!(w.out.poll_timeout(), None);
}

#[test]
fn without_stream_management_a_cut_returns_what_was_not_sent() {
    let mut w = world();
    w.check.management = false;
    w.send(0);
    w.run();
    assert_eq!(w.received, [0]);
    w.out.set_congested(w.now, true);
    w.send(1);
    w.cut(true);
    w.run();
    assert_eq!(w.failed, [(FailReason::Unreachable, vec![1])]);
    // The next stanza starts anew.
    w.send(2);
    w.run();
    assert_eq!((w.connects, w.received.as_slice()), (2, &[0, 2][..]));
}

#[test]
fn acknowledgements_empty_the_queue() {
    let mut w = world();
    (0..16).for_each(|n| w.send(n));
    w.run();
    assert_eq!(w.out.queued(), 0, "asked after 16");
    w.send(16);
    w.run();
    assert_eq!(w.out.queued(), 1);
    let before = w.now;
    w.tick_out();
    assert_eq!((w.out.queued(), w.now - before), (0, Duration::from_secs(1)), "asked when the oldest is a second old");
}

#[test]
fn the_queue_is_bounded() {
    let mut w = world_with(|o, _| o.queue = QueueLimits { stanzas: 2, bytes: 100_000 });
    w.send(0);
    w.send(1);
    assert!(matches!(w.out.send(w.now, message(MAIN, NODE, 2)), Err(SendError::Full(s)) if link::id(&s) == 2));
    assert!(matches!(w.out.send(w.now, message(MUC, NODE, 3)), Err(SendError::OtherPair(_))));
}

#[test]
fn silence_is_filled_and_a_dead_peer_is_noticed() {
    let mut w = world();
    w.send(0);
    w.run();
    w.tick_out(); // acknowledgement
    let asked = w.log.matches("<r xmlns").count();
    let before = w.now;
    w.tick_out();
    assert_eq!(w.now - before, Duration::from_secs(30));
    assert_eq!(w.log.matches("<r xmlns").count(), asked + 1);
    // The acceptor is gone without a trace.
    let a = w.inc.take().unwrap();
    w.zombies.push(a);
    let before = w.now;
    while w.ready.len() < 2 && w.now - before < Duration::from_secs(300) {
        w.tick_out();
    }
    assert_eq!(w.ready, [false, true], "{}", w.log);
    let waited = w.now - before;
    assert!(waited >= Duration::from_secs(60) && waited <= Duration::from_secs(91), "{waited:?}");
}

#[test]
fn without_stream_management_spaces_keep_the_connection_alive() {
    let mut w = world();
    w.check.management = false;
    w.send(0);
    w.run();
    w.tick_out();
    assert!(w.log.ends_with(">  \n"), "{}", w.log);
    w.tick_inc();
    assert!(w.log.ends_with("<  \n"), "{}", w.log);
}

#[test]
fn negotiation_has_a_deadline_on_both_sides() {
    let mut w = world();
    w.send(0);
    w.run();
    let mut w = world();
    w.check.certificates.clear();
    w.incoming_config.max_pending_dialback = 16;
    let start = w.now;
    // Nothing reaches the acceptor.
    w.send(5);
    w.chunk = 0;
    w.run();
    w.tick_out();
    assert_eq!(w.failed, [(FailReason::Timeout("negotiation"), vec![5])]);
    assert_eq!(w.now - start, Duration::from_secs(30));
}

#[test]
fn attempts_that_fail_in_a_row_are_made_at_growing_intervals() {
    let mut w = world_with(|_, i| i.tls = Tls::Off);
    w.send(0);
    w.run();
    assert_eq!((w.connects, w.failed.len()), (1, 1));
    let start = w.now;
    for (n, pause) in [(2, 200), (3, 400), (4, 800)] {
        w.send(0);
        w.run();
        assert_eq!(w.connects, n - 1, "not at once");
        let before = w.now;
        w.tick_out();
        assert_eq!((w.connects, w.now - before), (n, Duration::from_millis(pause)));
    }
    assert_eq!(w.failed.len(), 4);
    assert_eq!(w.now - start, Duration::from_millis(1400));
    assert_eq!(w.out.poll_timeout(), None);
}

// ---- several pairs ----------------------------------------------------------------------------------------------

#[test]
fn pairs_share_a_stream_in_order() {
    let muc = Pair::new(MUC, NODE).unwrap();
    let mut w = world_with(|o, _| o.more_pairs = vec![muc.clone()]);
    for n in 0..6 {
        let from = if n % 2 == 0 { MAIN } else { MUC };
        w.out.send(w.now, message(from, NODE, n)).unwrap();
    }
    w.run();
    assert_eq!(w.received, [0, 1, 2, 3, 4, 5]);
    assert_eq!(w.authenticated, [pair(), muc]);
    assert_eq!(w.connects, 1);
    // A pair that is added later holds up nothing that was sent before.
    w.check.served.insert("polls.v1.meet.jitsi");
    let later = Pair::new(MAIN, "polls.v1.meet.jitsi").unwrap();
    w.out.add_pair(w.now, later);
    w.out.send(w.now, message(MAIN, "polls.v1.meet.jitsi", 6)).unwrap();
    w.send(7);
    w.run();
    assert_eq!(w.received, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_pair_that_is_not_allowed_is_given_back_and_the_others_flow() {
    for (from, to) in [("evil.example", NODE), (MUC, "other.example")] {
        let bad = Pair::new(from, to).unwrap();
        let mut w = world_with(|o, _| o.more_pairs = vec![bad.clone()]);
        w.send(0);
        w.out.send(w.now, message(from, to, 1)).unwrap();
        w.send(2);
        w.run();
        assert_eq!(w.received, [0, 2], "{}", w.log);
        assert_eq!(w.refused, [(bad, vec![1])]);
        assert!(matches!(w.out.send(w.now, message(from, to, 3)), Err(SendError::OtherPair(_))));
    }
}

#[test]
fn stock_peers_get_a_stream_per_pair() {
    let muc = Pair::new(MUC, NODE).unwrap();
    let mut w = world_with(|o, i| {
        o.more_pairs = vec![muc.clone()];
        i.pairs = false;
    });
    w.send(0);
    w.out.send(w.now, message(MUC, NODE, 1)).unwrap();
    w.run();
    assert_eq!((w.received.as_slice(), w.refused.as_slice()), (&[0][..], &[(muc, vec![1])][..]));
}

// ---- what peers must not do -------------------------------------------------------------------------------------

const OPEN: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
                    xmlns:stream='http://etherx.jabber.org/streams' from='meet.example' \
                    to='conference.v1.meet.jitsi' version='1.0'>";
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>bWVldC5leGFtcGxl</auth>";

fn direct() -> IncomingConfig {
    IncomingConfig { tls: Tls::Direct, ..IncomingConfig::default() }
}

fn error_of(lines: &[&str]) -> String {
    let (wire, events) = World::talk(direct(), &Check::default(), lines);
    let last = events.last().cloned().unwrap_or_default();
    assert!(last.starts_with("Close"), "{wire} {events:?}");
    let error = wire.split("<stream:error").nth(1).unwrap_or_else(|| panic!("{wire} {events:?}"));
    error.split('<').nth(1).and_then(|c| c.split(' ').next()).unwrap_or_default().to_owned()
}

#[test]
fn forged_and_missing_addresses_end_the_stream() {
    let with = |stanza: &str| error_of(&[OPEN, AUTH, OPEN, stanza]);
    assert_eq!(with("<message from='a@evil.example' to='r@conference.v1.meet.jitsi'/>"), "invalid-from");
    assert_eq!(with("<message from='a@conference.meet.example' to='r@conference.v1.meet.jitsi'/>"), "invalid-from");
    assert_eq!(with("<message from='a@meet.example' to='r@other.example'/>"), "improper-addressing");
    assert_eq!(with("<message from='a@meet.example'/>"), "improper-addressing");
    assert_eq!(with("<message to='r@conference.v1.meet.jitsi'/>"), "improper-addressing");
    assert_eq!(with("<odd xmlns='x'/>"), "unsupported-stanza-type");
}

#[test]
fn one_bad_address_of_a_user_is_answered_and_costs_no_stream() {
    let (wire, events) = World::talk(
        direct(),
        &Check::default(),
        &[
            OPEN,
            AUTH,
            OPEN,
            "<iq type='get' id='1' from='a@meet.example/x' to='@@conference.v1.meet.jitsi'><q xmlns='x'/></iq>",
            "<message id='2' from='a@meet.example/x' to='r@conference.v1.meet.jitsi'/>",
        ],
    );
    assert!(!wire.contains("stream:error"), "{wire}");
    assert!(events[1].starts_with("Answer") && events[1].contains("jid-malformed"), "{events:?}");
    assert!(events[1].contains("to='a@meet.example/x'"), "{events:?}");
    assert!(events[2].starts_with("Stanza"), "{events:?}");
}

#[test]
fn stanzas_need_authentication() {
    let stanza = "<message from='a@meet.example' to='r@conference.v1.meet.jitsi'/>";
    assert_eq!(error_of(&[OPEN, stanza]), "not-authorized");
    assert_eq!(error_of(&[OPEN, "<pairs xmlns='urn:amphi:s2s:0'/>"]), "not-authorized");
    let (wire, _) = World::talk(direct(), &Check::default(), &[OPEN, "<enable xmlns='urn:xmpp:sm:3'/>"]);
    assert!(wire.contains("<failed xmlns='urn:xmpp:sm:3'><unexpected-request"), "{wire}");
}

#[test]
fn headers_are_checked() {
    assert_eq!(error_of(&[&OPEN.replace("jabber:server'", "jabber:client'")]), "invalid-namespace");
    assert_eq!(error_of(&[&OPEN.replace("version='1.0'>", ">")]), "unsupported-version");
    assert_eq!(error_of(&[&OPEN.replace("conference.v1", "nobody")]), "host-unknown");
    assert_eq!(error_of(&[&OPEN.replace("from='meet.example'", "from='a@b@c'")]), "invalid-from");
    assert_eq!(error_of(&["<x>"]), "invalid-namespace");
    assert_eq!(error_of(&[OPEN, "<a></b>"]), "not-well-formed");
    assert_eq!(error_of(&[OPEN, "<!-- -->"]), "restricted-xml");
    // Another name after EXTERNAL.
    let other = OPEN.replace("from='meet.example'", "from='conference.meet.example'");
    assert_eq!(error_of(&[OPEN, AUTH, &other]), "invalid-from");
}

#[test]
fn external_for_another_domain_is_refused_and_attempts_are_counted() {
    let other = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>Y29uZmVyZW5jZS5tZWV0LmV4YW1wbGU=\
                 </auth>";
    let (wire, events) = World::talk(direct(), &Check::default(), &[OPEN, other]);
    assert!(wire.contains("<invalid-authzid/>") && events.is_empty(), "{wire} {events:?}");
    let (wire, _) = World::talk(direct(), &Check::default(), &[OPEN, &AUTH.replace("EXTERNAL", "PLAIN")]);
    assert!(wire.contains("<invalid-mechanism/>"), "{wire}");
    let eight: Vec<&str> = std::iter::once(OPEN).chain(std::iter::repeat_n(other, 8)).collect();
    assert_eq!(error_of(&eight), "policy-violation");
    // An empty authorization id is that of the header.
    let (wire, _) = World::talk(direct(), &Check::default(), &[OPEN, &AUTH.replace("bWVldC5leGFtcGxl", "=")]);
    assert!(wire.contains("<success"), "{wire}");
}

#[test]
fn what_was_said_before_tls_does_not_count() {
    let start = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    let smuggled = [start, OPEN, AUTH].concat();
    let (wire, events) = World::talk(IncomingConfig::default(), &Check::default(), &[OPEN, &smuggled]);
    assert!(wire.ends_with("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), "{wire}");
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn further_pairs_come_by_dialback_on_the_same_stream() {
    let mut check = Check::default();
    check.certificates.remove(MUC);
    let key = "<db:result from='conference.meet.example' to='conference.v1.meet.jitsi'>k</db:result>";
    let (wire, events) = World::talk(direct(), &check, &[OPEN, AUTH, OPEN, key, key]);
    assert_eq!(events.len(), 2, "asked once: {events:?}");
    assert!(events[1].starts_with("VerifyDialback"), "{events:?}");
    assert!(!wire.contains("type='valid'"), "{wire}");
    // With a certificate for it nobody needs to be asked.
    let (wire, events) = World::talk(direct(), &Check::default(), &[OPEN, AUTH, OPEN, key]);
    assert!(wire.contains("type='valid'") && events[1].starts_with("Authenticated"), "{wire} {events:?}");
    for (bad, condition) in [("evil.example", "policy-violation"), (MUC, "item-not-found")] {
        let key = key.replace(MUC, bad);
        let key = if bad == MUC { key.replace(NODE, "nobody.example") } else { key };
        let (wire, _) = World::talk(direct(), &check, &[OPEN, AUTH, OPEN, &key]);
        assert!(wire.contains("type='error'") && wire.contains(condition), "{wire}");
    }
}

#[test]
fn an_acknowledgement_of_the_unsent_ends_the_stream() {
    let e = error_of(&[OPEN, AUTH, OPEN, "<enable xmlns='urn:xmpp:sm:3'/>", "<a xmlns='urn:xmpp:sm:3' h='3'/>"]);
    assert_eq!(e, "undefined-condition");
    assert_eq!(ns::SM, "urn:xmpp:sm:3");
}
