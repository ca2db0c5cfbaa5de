//! Plays the dialogues in `transcripts/` against hubs in virtual time.
//!
//! A line is one step; a line that begins with white space continues the one before; `#` begins a comment.
//!
//! ```text
//! node main                       a main node; `node v1` is a visitor node. Links between them are up
//! set main joins_per_second 3     an option of a node, before its first stanza
//! client Ana meet.example         a connection. Options: jid=, room=, tenant=, region=, claims=<JSON without spaces>,
//!                                 admin, anonymous
//! peer M meet.example ...         another server that the transcript plays, with its domains
//! Ana enters demo@conference.meet.example/ana       joins; then everything received so far is put aside
//! Ana > <xml/>                    sends
//! Ana < <xml/>                    the next stanza has at least this: attributes, children, text. `*` is any value,
//!                                 `$name` the same value everywhere; x-no-child, x-no-attr, x-children, x-contains
//! Ana <~ <xml/>                   the same for some later stanza; what comes before it is skipped
//! Ana < nothing for 1s            and nothing is waiting
//! Ana gone                        the connection has ended
//! drain                           puts aside everything received so far
//! after 15s                       time passes
//! link main v1 down|up|fresh      the link between two nodes
//! ```

mod world;

use std::path::Path;
use std::time::Duration;

use amphi_room::{Input, MucConfig, PeerState, Role};
use amphi_stanza::{Limits, Stanza};
use bytes::Bytes;
use world::World;

#[path = "world/matching.rs"]
mod matching;
use matching::{Names, mismatch};

fn duration(s: &str) -> Duration {
    let (n, unit) = s.split_at(s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len()));
    let n: u64 = n.parse().unwrap_or_else(|_| panic!("not a time: {s}"));
    match unit {
        "ms" => Duration::from_millis(n),
        "s" | "" => Duration::from_secs(n),
        _ => panic!("not a time: {s}"),
    }
}

/// Replaces `$name` by what it stands for.
fn filled(text: &str, names: &Names) -> String {
    let mut out = text.to_owned();
    let mut known: Vec<_> = names.iter().collect();
    known.sort_by_key(|(k, _)| std::cmp::Reverse(k.len()));
    for (k, v) in known {
        out = out.replace(&["$", k].concat(), v);
    }
    out
}

fn set(w: &mut World, node: &str, key: &str, value: &str) {
    let cfg = &mut w.node(node).cfg;
    let number = || value.parse::<u32>().unwrap_or_else(|_| panic!("not a number: {value}"));
    let on = value == "on";
    let list = || value.split(',').collect();
    let (conference, internal) = cfg.mucs.split_at_mut(1);
    let muc: &mut MucConfig = &mut conference[0];
    match key {
        "max_occupants" => muc.max_occupants = Some(number()),
        "max_occupants_exempt" => muc.max_occupants_exempt = list(),
        "joins_per_second" => muc.joins_per_second = Some(number()),
        "leaves_per_second" => muc.leaves_per_second = Some(number()),
        "restrict_creation" => muc.restrict_creation = on,
        "anonymous_strict" => muc.anonymous_strict = on,
        "password_exempt" => muc.password_exempt = list(),
        "hidden" => muc.hidden = on,
        "public_jids" => muc.public_jids = on,
        "tokens" => {
            muc.tokens = Some(amphi_room::TokenPolicy {
                allow_empty: value.contains("allow_empty"),
                verify_domain: value.contains("verify_domain"),
                require_for_moderation: value.contains("moderation"),
                ..Default::default()
            });
        }
        "internal_access" => internal[0].access = Some(list()),
        "internal_creators" => internal[0].creators = list(),
        "services" => cfg.services = vec![world::turn()],
        "lock_queue" => cfg.limits.lock_queue = number() as usize,
        "rate_queue" => cfg.limits.rate_queue = number() as usize,
        "presence" => cfg.limits.presence = number() as usize,
        "history" => cfg.limits.history = number() as usize,
        "person_burst" => cfg.limits.audience_chat.person_burst = number(),
        "audience_message" => cfg.limits.audience_chat.message = number() as usize,
        "room_burst" => cfg.limits.audience_chat.room_burst = number(),
        "lobby_size" => cfg.limits.lobby = number() as usize,
        "auto_allow" | "always_visitors" | "ignore" | "lobby" | "lobby_exempt" => {
            let Role::Main(m) = &mut cfg.role else { panic!("not a main node") };
            match key {
                "auto_allow" => m.auto_allow_visitor_promotion = on,
                "always_visitors" => m.always_visitors_enabled = on,
                "lobby" => m.lobby = m.lobby.take().filter(|_| on),
                "lobby_exempt" => m.lobby.as_mut().expect("a lobby").exempt = value.split(',').collect(),
                _ => m.visitors_ignore_list = value.split(',').map(String::from).collect(),
            }
        }
        _ => panic!("no option {key}"),
    }
}

fn client(w: &mut World, name: &str, host: &str, options: &[&str]) {
    let local = name.to_lowercase();
    let mut jid = format!("{local}@{host}/{local}");
    for o in options {
        if let Some(v) = o.strip_prefix("jid=") {
            jid = v.to_owned();
        }
    }
    let mut s = world::session(&jid);
    for o in options {
        match o.split_once('=') {
            Some(("jid", _)) => {}
            Some(("room", v)) => s.room = Some(v.to_owned()).filter(|v| !v.is_empty()),
            Some(("tenant", v)) => s.tenant = Some(v.to_owned()),
            Some(("region", v)) => s.region = Some(v.to_owned()),
            Some(("claims", v)) => s.claims = Some(std::sync::Arc::new(world::claims(v))),
            None if *o == "admin" => s.admin = true,
            None if *o == "anonymous" => s.anonymous = true,
            _ => panic!("no option {o}"),
        }
    }
    w.add_client(name, s);
}

fn expect(w: &mut World, names: &mut Names, who: &str, xml: &str, skip: bool) {
    let filled_xml = filled(xml, names);
    let want = Stanza::parse(Bytes::from(filled_xml.clone()), &Limits::default())
        .unwrap_or_else(|e| panic!("{e}: {filled_xml}"));
    let mut seen = String::new();
    loop {
        let Some(got) = w.inbox(who).pop_front() else {
            panic!("{who} received nothing more; wanted {filled_xml}\nseen:\n{seen}");
        };
        match mismatch(want.root(), got.root(), &mut names.clone()) {
            None => {
                mismatch(want.root(), got.root(), names);
                return;
            }
            Some(why) if !skip => panic!("{who}: {why}\nwanted {filled_xml}\n   got {got}"),
            Some(why) => seen.push_str(&format!("  {got}\n    {why}\n")),
        }
    }
}

fn step(w: &mut World, names: &mut Names, line: &str) {
    let filled_line = filled(line, names);
    let line = if line.starts_with("client ") { &filled_line } else { line };
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["node", "main"] => w.add_node("main", world::main_config()),
        ["node", name] => w.add_node(name, world::node_config(name)),
        ["set", node, key, value] => set(w, node, key, value),
        ["client", name, host, ref options @ ..] => client(w, name, host, options),
        ["peer", name, ref domains @ ..] => {
            let domains = domains.iter().map(|d| (*d).to_owned()).collect();
            w.peers.insert(name.to_owned(), world::Peer { domains, inbox: Default::default() });
        }
        ["drain"] => w.drain(),
        ["after", time] => w.advance(duration(time)),
        ["link", a, b, state] => {
            let state = match state {
                "down" => PeerState::Down,
                "up" => PeerState::Up { fresh: false },
                "fresh" => PeerState::Up { fresh: true },
                _ => panic!("no state {state}"),
            };
            w.link(a, b, state);
        }
        ["destroy", node, room] => {
            let i = w.nodes.iter().position(|n| n.name == node).expect("a node");
            let room = room.parse().expect("a room");
            w.input(i, Input::Destroy { room, venue: None, reason: Some("The meeting has been terminated".into()) });
        }
        [who, "gone"] => w.gone(who),
        [who, "enters", room] => {
            w.send(who, &format!("<presence to='{room}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"));
            let entered = w.inbox(who).iter().any(|s| {
                s.ty().is_none() && s.child("x", amphi_stanza::ns::MUC_USER).is_some_and(|x| x.inner().contains("110"))
            });
            assert!(entered, "{who} did not enter: {:?}", w.inbox(who));
            w.drain();
        }
        [who, "<", "nothing"] => assert!(w.inbox(who).is_empty(), "{who} received {:?}", w.inbox(who)),
        [who, "<", "nothing", "for", time] => {
            w.advance(duration(time));
            assert!(w.inbox(who).is_empty(), "{who} received {:?}", w.inbox(who));
        }
        [who, ">", ..] => {
            let xml = filled(line.split_once('>').unwrap().1.trim(), names);
            w.send(who, &xml);
        }
        [who, "<", ..] => expect(w, names, who, line.split_once('<').unwrap().1.trim(), false),
        [who, "<~", ..] => expect(w, names, who, line.split_once("<~").unwrap().1.trim(), true),
        _ => panic!("not a step: {line}"),
    }
}

fn play(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut steps: Vec<(usize, String)> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        match steps.last_mut() {
            Some((_, last)) if line.starts_with(char::is_whitespace) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => steps.push((i + 1, line.trim_end().to_owned())),
        }
    }
    let mut w = World::default();
    let mut names = Names::new();
    for (n, line) in steps {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| step(&mut w, &mut names, &line)));
        if let Err(e) = done {
            let why = e.downcast_ref::<String>().cloned().or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            panic!("{}:{n}: {line}\n{}", path.display(), why.unwrap_or_default());
        }
    }
}

#[test]
fn every_transcript_plays() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let only = std::env::var("TRANSCRIPT").ok();
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "xt"));
    files.retain(|f| only.as_ref().is_none_or(|o| f.to_string_lossy().contains(o.as_str())));
    files.sort();
    assert!(!files.is_empty());
    std::panic::set_hook(Box::new(|_| {}));
    let failed: Vec<String> = files
        .iter()
        .filter_map(|f| {
            let e = std::panic::catch_unwind(|| play(f)).err()?;
            Some(e.downcast_ref::<String>().cloned().unwrap_or_else(|| f.display().to_string()))
        })
        .collect();
    let _ = std::panic::take_hook();
    assert!(failed.is_empty(), "{} of {} transcripts failed\n\n{}", failed.len(), files.len(), failed.join("\n\n"));
}
