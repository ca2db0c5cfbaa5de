//! What a main room tells those who wait for it.

use std::sync::Arc;
use std::time::Instant;

use amphi_room::{ConnId, Hub, Input, LiveState, MainConfig, MucConfig, NodeConfig, Origin, Output, Role, Session};
use amphi_stanza::{BareJid, FullJid, Jid, Stanza};

const ROOM: &str = "talk@conference.meet.example";

struct World {
    hub: Hub,
    now: Instant,
}

fn session(n: u64, jid: &str) -> Arc<Session> {
    let admin = jid.starts_with("focus@");
    Arc::new(Session {
        conn: ConnId(n),
        jid: FullJid::parse(jid).unwrap(),
        room: Some("talk".into()),
        tenant: None,
        region: None,
        claims: None,
        admin,
        anonymous: !admin,
    })
}

impl World {
    fn new() -> Self {
        let role = Role::Main(MainConfig { visitors: Some("visitors.meet.example".into()), ..MainConfig::default() });
        let cfg = NodeConfig {
            role,
            host: "meet.example".into(),
            mucs: vec![MucConfig::conference("conference", "meet.example")],
            metadata: Some("metadata.meet.example".into()),
            admins: [BareJid::parse("focus@auth.meet.example").unwrap()].into(),
            ..NodeConfig::default()
        };
        Self { hub: Hub::new(Arc::new(cfg), [7; 32], 0), now: Instant::now() }
    }

    /// What is told to those who wait, after a stanza.
    fn say(&mut self, who: &Arc<Session>, to: &str, xml: &str) -> Vec<Option<LiveState>> {
        let stanza = Stanza::authored(xml.replace("TO", to).into_bytes().into());
        let to = Jid::parse(to).unwrap();
        self.feed(Input::Stanza { from: Origin::Local(who.clone()), to, stanza })
    }

    fn feed(&mut self, input: Input) -> Vec<Option<LiveState>> {
        self.hub.handle(self.now, 0, input);
        let mut told = Vec::new();
        while let Some(o) = self.hub.poll_output() {
            if let Output::Live { room, shown, state } = o {
                assert_eq!((room.as_str(), shown.as_str()), (ROOM, ROOM));
                told.push(state);
            }
        }
        told
    }

    fn join(&mut self, who: &Arc<Session>, nick: &str) -> Vec<Option<LiveState>> {
        let xml = "<presence xmlns='jabber:client' to='TO'><x xmlns='http://jabber.org/protocol/muc'/></presence>";
        self.say(who, &format!("{ROOM}/{nick}"), xml)
    }

    fn visitors(&mut self, who: &Arc<Session>, data: &str) -> Vec<Option<LiveState>> {
        let xml = format!(
            "<message xmlns='jabber:client' to='TO'><room_metadata xmlns='http://jitsi.org/jitmeet' room='{ROOM}'>{{\"key\":\"visitors\",\"data\":{data}}}</room_metadata></message>"
        );
        self.say(who, "metadata.meet.example", &xml)
    }
}

fn state(attended: bool, live: Option<bool>) -> Vec<Option<LiveState>> {
    vec![Some(LiveState { attended, live })]
}

#[test]
fn those_outside_hear_of_each_change_once_and_of_the_end() {
    let mut w = World::new();
    let focus = session(1, "focus@auth.meet.example/focus");
    let ann = session(2, "0a0a0a0a-0000-4000-8000-000000000000@meet.example/r");
    assert_eq!(w.join(&focus, "focus"), [], "the focus is nobody to wait for");
    assert_eq!(w.join(&ann, "0a0a0a0a"), state(true, None));
    assert_eq!(w.visitors(&focus, "{\"live\":false}"), state(true, Some(false)));
    assert_eq!(w.visitors(&focus, "{\"live\":false,\"autoPromote\":true}"), []);
    assert_eq!(w.visitors(&focus, "{\"live\":true}"), state(true, Some(true)));
    assert_eq!(w.visitors(&ann, "{\"live\":false}"), [], "only moderators decide");
    assert_eq!(w.feed(Input::Gone { session: ann.clone() }), state(false, Some(true)));
    assert_eq!(w.feed(Input::Gone { session: focus }), [None]);
}
