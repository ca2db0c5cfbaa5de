//! The admin API of the running binary: who may come in, every operation of its document, what operators do to people, the stream,
//! webhooks, and `amphi ctl`.

mod running;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Instant;

use running::{Amphi, PATIENCE, Person, connect, http};
use serde_json::{Value, json};

const TOKEN: &str = "a token that nobody guesses";

struct Admin(SocketAddr);

impl Admin {
    fn raw(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, Value, String) {
        let token = token.map_or(String::new(), |t| format!("authorization: Bearer {t}\r\n"));
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{token}");
        let head = format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let answer = http(self.0, &head);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        // Bodies of unknown length come in chunks.
        let json = serde_json::from_str(body).or_else(|_| {
            let (from, to) = (body.find(['{', '[']).unwrap_or(0), body.rfind(['}', ']']).map_or(0, |i| i + 1));
            serde_json::from_str(body.get(from..to).unwrap_or_default())
        });
        (status, json.unwrap_or_default(), head.to_owned())
    }

    fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, value, _) = self.raw(method, &format!("/admin/v1{path}"), Some(TOKEN), &body);
        (status, value)
    }

    fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, Value::Null);
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    /// Asks until the answer is as wanted: the focus tells its state twice a second.
    fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let value = self.get(path);
            if wanted(&value) {
                return value;
            }
            assert!(Instant::now() < end, "{path} stays {value}");
            std::thread::yield_now();
        }
    }
}

fn start(more: &[&str]) -> (Amphi, Admin) {
    let token = format!("admin.token={TOKEN}");
    let settings: Vec<&str> = [token.as_str(), "stage=2"].into_iter().chain(more.iter().copied()).collect();
    let a = Amphi::start(&settings);
    let admin = Admin(a.admin);
    (a, admin)
}

fn visitor(a: &Amphi, name: &str) -> Person {
    let answer = a.ask("demo", name);
    let vnode = answer["vnode"].as_str().unwrap_or_else(|| panic!("not redirected: {answer}")).to_owned();
    let mut v =
        Person::login_at(a, name, &format!("{vnode}.meet.jitsi"), &format!("/xmpp-websocket?room=demo&vnode={vnode}"));
    v.send(&format!(
        "<presence xmlns='jabber:client' to='demo@conference.{vnode}.meet.jitsi/{}'><x xmlns='http://jabber.org/protocol/muc'>\
         <billingid>{name}</billingid></x></presence>",
        v.nick()
    ));
    let nick = v.nick().to_owned();
    v.wait(|s| s.root().name() == "presence" && s.from().ok().flatten().is_some_and(|f| f.resource() == Some(&nick)));
    v
}

/// Every operation of the document with made-up names: what the path names does not exist.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, ops)| {
        let path = path
            .replace("{room}", "nowhere")
            .replace("{id}", "nobody")
            .replace("{node}", "v99")
            .replace("{bridge}", "none");
        let ops = ops.as_object().expect("operations");
        ops.iter().map(move |(method, o)| (method.to_uppercase(), path.clone(), o.clone())).collect::<Vec<_>>()
    });
    all.collect()
}

#[test]
fn nothing_is_answered_without_the_token_and_every_operation_of_the_document_is() {
    let (_a, admin) = start(&[]);
    let document = admin.get("/openapi.json");
    let all = operations(&document);
    assert!(all.len() > 25, "{}", all.len());
    for (method, path, o) in &all {
        let is_open = o["security"].as_array().is_some_and(Vec::is_empty);
        assert!(!is_open || !path.starts_with("/admin/v1/"), "{method} {path} needs no token");
        if is_open || !path.starts_with("/admin/v1/") {
            // Control paths of stock servers have answers of their own: see below, and the check of the contract.
            if !is_open {
                assert_eq!(admin.raw(method, path, None, "").0, 401, "{method} {path}");
            }
            continue;
        }
        for token in [None, Some(""), Some("a token that nobody guesse"), Some("a token that nobody guesses!")] {
            let (status, value, head) = admin.raw(method, path, token, "");
            assert_eq!(status, 401, "{method} {path} {token:?}");
            assert!(value["error"].is_string() && head.contains("www-authenticate: Bearer"), "{method} {path}: {head}");
        }
        if o["operationId"] == "streamEvents" {
            continue;
        }
        let (status, value, _) = admin.raw(method, path, Some(TOKEN), "");
        assert!(
            o["responses"][status.to_string()].is_object(),
            "{method} {path} answers {status}, which is not told: {value}"
        );
        let missing = path.contains("nowhere") || path.contains("v99") || path.contains("none");
        let body_wanted = o["requestBody"]["required"] == true;
        match status {
            200 => {
                assert!(!missing, "{method} {path}");
                let name = o["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].as_str();
                if let Some(schema) = name.and_then(|n| document.pointer(n.trim_start_matches('#'))) {
                    for member in schema["required"].as_array().into_iter().flatten() {
                        assert!(value.get(member.as_str().unwrap()).is_some(), "{path} has no {member}: {value}");
                    }
                }
            }
            400 => assert!(body_wanted, "{method} {path}: {value}"),
            404 => assert!(missing && value["error"].is_string(), "{method} {path}: {value}"),
            _ => panic!("{method} {path} answers {status}: {value}"),
        }
    }
    assert_eq!(admin.ask("GET", "/no-such-thing", Value::Null).0, 404);
    assert_eq!(admin.ask("POST", "/rooms", Value::Null).0, 405);
}

#[test]
fn operators_see_people_and_why_they_are_where_they_are() {
    let (a, admin) = start(&[]);
    let mut ann = Person::login(&a, "ann", "demo");
    ann.join(&a, "demo");
    let mut bob = Person::login(&a, "bob", "demo");
    bob.join(&a, "demo");
    let eve = visitor(&a, "eve");
    let room = admin
        .until("/rooms", |v| v["rooms"][0]["audience"] == 1 && v["rooms"][0]["nodes"][0]["state"] == "linked")["rooms"]
        [0]
    .clone();
    assert_eq!((&room["room"], &room["stage"]), (&json!("demo@conference.localhost"), &json!(2)));
    assert_eq!(room["nodes"].as_array().unwrap().iter().filter(|n| n["visitors"] == 1).count(), 1);
    assert_eq!(admin.get("/rooms/demo@conference.localhost")["meeting_id"], room["meeting_id"]);

    let people = admin.get("/rooms/demo/occupants");
    assert_eq!((&people["total"], people["occupants"].as_array().unwrap().len()), (&json!(3), 3));
    let of = |place: &str| admin.get(&format!("/rooms/demo/occupants?place={place}"))["total"].clone();
    assert_eq!((of("stage"), of("audience")), (json!(2), json!(1)));
    let second = admin.get("/rooms/demo/occupants?limit=1&offset=2");
    assert_eq!(second["occupants"][0]["id"], eve.nick());

    let why = |id: &str| admin.get(&format!("/rooms/demo/occupants/{id}/why"))["text"].as_str().unwrap().to_owned();
    assert_eq!(why(ann.nick()), "On stage because a seat on stage was free.");
    assert!(why(eve.nick()).ends_with("because the stage is full."), "{}", why(eve.nick()));
    let decisions = admin.get("/decisions?room=demo&machine=eve");
    assert_eq!(
        (&decisions["decisions"][0]["place"], &decisions["decisions"][0]["why"]),
        (&json!("audience"), &json!("the stage is full"))
    );

    let size =
        http(a.admin, "GET /room-size?room=demo&domain=localhost HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(size.ends_with(r#"{"participants":2}"#), "{size}");
    let (status, list, _) = admin.raw("GET", "/room?room=demo", Some(TOKEN), "");
    assert_eq!((status, list.as_array().unwrap().len()), (200, 2));
    for path in ["/room?room=demo", "/room-info?room=demo"] {
        assert_eq!(admin.raw("GET", path, None, "").0, 401);
    }
    assert_eq!(
        admin.raw("PUT", "/room-info?room=demo", Some(TOKEN), r#"{"passcode":"x"}"#).1,
        json!({ "valid": true })
    );
}

#[test]
fn a_visitor_is_promoted_a_speaker_demoted_and_both_can_be_thrown_out() {
    let (a, admin) = start(&[]);
    let mut ann = Person::login(&a, "ann", "demo");
    ann.join(&a, "demo");
    let mut bob = Person::login(&a, "bob", "demo");
    bob.join(&a, "demo");
    let mut eve = visitor(&a, "eve");
    let mut kim = visitor(&a, "kim");
    let post = |id: &str, what: &str| admin.ask("POST", &format!("/rooms/demo/occupants/{id}/{what}"), Value::Null);

    assert_eq!(post(eve.nick(), "promote"), (200, json!({ "done": true })));
    let answer = eve
        .wait(|s| s.child("visitors", "jitsi:visitors").is_some_and(|v| v.child_named("promotion-response").is_some()));
    let text = answer.to_string();
    assert!(text.contains("allow=\"true\"") || text.contains("allow='true'"), "{text}");
    assert_eq!(post(ann.nick(), "promote").0, 409);
    assert_eq!(post(eve.nick(), "demote").0, 409);
    assert_eq!(post(eve.nick(), "moderator").0, 409);
    assert_eq!(post("nobody", "kick").0, 404);
    assert_eq!(post("focus", "kick").0, 409);

    assert_eq!(post(bob.nick(), "demote").0, 200);
    let asked = bob.wait(|s| s.to_string().contains("demote-request"));
    assert!(asked.to_string().contains(bob.nick()), "{asked}");

    assert_eq!(post(bob.nick(), "moderator").0, 200);
    assert_eq!(admin.get(&format!("/rooms/demo/occupants/{}", bob.nick()))["role"], "moderator");

    for who in [&mut kim, &mut bob] {
        let id = who.nick().to_owned();
        let path = format!("/rooms/demo/occupants/{id}/kick");
        assert_eq!(admin.ask("POST", &path, json!({ "reason": "enough" })).0, 200);
        let gone = who.wait(|s| s.root().name() == "presence" && s.to_string().contains("307"));
        assert!(gone.to_string().contains("enough"), "{gone}");
        assert_eq!(admin.ask("GET", &format!("/rooms/demo/occupants/{id}"), Value::Null).0, 404);
    }

    let say = json!({ "message": "The building closes at six.", "display_name": "House" });
    assert_eq!(admin.ask("POST", "/rooms/demo/message", say).0, 200);
    ann.wait(|s| s.to_string().contains("system_chat_message") && s.to_string().contains("closes at six"));

    assert_eq!(admin.ask("DELETE", "/rooms/demo?reason=Over", Value::Null).0, 200);
    ann.wait(|s| s.to_string().contains("destroy") && s.to_string().contains("Over"));
    admin.until("/rooms", |v| v["total"] == 0);
    let kinds: Vec<String> = admin.get("/events")["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["kind"].as_str().unwrap().to_owned())
        .collect();
    for kind in ["room-created", "joined", "promoted", "operator", "room-ended"] {
        assert!(kinds.iter().any(|k| k == kind), "no {kind} in {kinds:?}");
    }
    assert!(!kinds.iter().any(|k| k == "visitor-joined"), "the audience does not fill the log");
}

#[test]
fn a_drained_node_gets_nobody_and_the_self_check_says_so() {
    let (a, admin) = start(&[]);
    for node in ["v1", "v2"] {
        assert_eq!(
            admin.ask("POST", &format!("/nodes/{node}/drain"), Value::Null),
            (200, json!({ "node": node, "draining": true }))
        );
    }
    admin.until("/nodes", |v| v["nodes"].as_array().unwrap().iter().filter(|n| n["state"] == "draining").count() == 2);
    let check = admin.get("/check");
    let found =
        |about: &str| check["findings"].as_array().unwrap().iter().any(|f| f["about"] == about && f["fix"].is_string());
    assert!(found("all-draining") && check["ok"] == false, "{check}");
    assert!(found("no-media"), "bridges are switched off here: {check}");
    assert_eq!(admin.ask("POST", "/nodes/v1/undrain", Value::Null).0, 200);
    admin.until("/nodes/v1", |v| v["state"] == "up");
    assert_eq!(admin.ask("POST", "/nodes/main/drain", Value::Null).0, 409);
    let mut people: Vec<Person> = Vec::new();
    for name in ["ann", "bob"] {
        let mut p = Person::login(&a, name, "demo");
        p.join(&a, "demo");
        people.push(p);
    }
    assert_eq!(a.ask("demo", "eve")["vnode"], "v1");
}

#[test]
fn what_is_drained_stays_drained_when_the_focus_restarts() {
    let (a, admin) = start(&[]);
    assert_eq!(admin.ask("POST", "/nodes/v1/drain", Value::Null).0, 200);
    let kept = a.folder().join("drained.json");
    let end = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&kept).unwrap_or_default().contains("\"v1\"") {
        assert!(Instant::now() < end, "not kept");
        std::thread::yield_now();
    }
    let token = format!("admin.token={TOKEN}");
    let a = a.again(&[&token, "stage=2"]);
    let admin = Admin(a.admin);
    admin.until("/nodes/v1", |v| v["state"] == "draining");
    assert_eq!(admin.get("/nodes/v2")["state"], "up");
    assert_eq!(admin.ask("POST", "/nodes/v1/undrain", Value::Null).0, 200);
    admin.until("/nodes/v1", |v| v["state"] == "up");
    let end = Instant::now() + PATIENCE;
    while std::fs::read_to_string(&kept).unwrap_or_default().contains("\"v1\"") {
        assert!(Instant::now() < end, "kept for ever");
        std::thread::yield_now();
    }
}

#[test]
fn nonsense_is_refused_in_words() {
    let (mut a, admin) = start(&[]);
    for (method, path, body, wanted) in [
        ("GET", "/rooms?limit=-1", "", 400),
        ("GET", "/rooms?limit=99999999999999999999999", "", 400),
        ("GET", "/rooms/%00", "", 404),
        ("GET", "/rooms/a%2Fb@@c", "", 404),
        ("GET", "/rooms/demo/occupants?place=roof", "", 400),
        ("GET", "/events?kind=nonsense", "", 400),
        ("GET", "/decisions?place=moon", "", 400),
        ("DELETE", "/rooms/demo?silent=maybe", "", 400),
        ("POST", "/rooms/demo/message", "{", 400),
        ("POST", "/rooms/demo/message", "[]", 400),
        ("POST", "/rooms/demo/message", r#"{"message":7}"#, 400),
        ("POST", "/rooms/demo/message", "{}", 400),
        ("POST", "/nodes/..%2f..%2fetc/drain", "", 404),
        ("GET", "/rooms/%F0%9F%8E%89", "", 404),
    ] {
        let (status, value, _) = admin.raw(method, &format!("/admin/v1{path}"), Some(TOKEN), body);
        assert_eq!(status, wanted, "{method} {path}: {value}");
        assert!(value["error"].is_string(), "{method} {path}: {value}");
    }
    let huge = format!(r#"{{"message":"{}"}}"#, "x".repeat(3_000_000));
    let (status, _, _) = admin.raw("POST", "/admin/v1/rooms/demo/message", Some(TOKEN), &huge);
    assert_eq!(status, 413);
    let text =
        "POST /admin/v1/rooms/demo/message HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\n";
    let text = format!("{text}authorization: Bearer {TOKEN}\r\ncontent-length: 2\r\n\r\n{{}}");
    assert!(http(a.admin, &text).starts_with("HTTP/1.1 415"));
    assert!(a.is_alive());
}

#[test]
fn the_stream_tells_events_and_samples_and_what_was_missed() {
    let (a, admin) = start(&[]);
    let mut ann = Person::login(&a, "ann", "demo");
    ann.join(&a, "demo");
    admin.until("/events?kind=joined", |v| v["events"][0]["endpoint"] == ann.nick());
    let mut s = connect(a.admin);
    let head = format!(
        "GET /admin/v1/events/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\nlast-event-id: 0\r\n\r\n"
    );
    s.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(s).lines().map(|l| l.expect("a line"));
    let mut next = |wanted: &str| loop {
        let line = lines.next().expect("the stream goes on");
        if line == format!("event: {wanted}") {
            break;
        }
    };
    next("room-created");
    next("joined");
    next("sample");
    let mut bob = Person::login(&a, "bob", "demo");
    bob.join(&a, "demo");
    next("joined");
    let _eve = visitor(&a, "eve");
    next("visitor-joined");
}

#[test]
fn webhooks_are_signed_and_tried_again() {
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("admin.webhooks.0.url=http://{}/hook?a=b", receiver.local_addr().unwrap());
    let (a, admin) = start(&[
        &url,
        "admin.webhooks.0.secret=key",
        "admin.webhooks.0.events.0=room-created",
        "admin.webhook_backoff=10ms",
    ]);
    let mut ann = Person::login(&a, "ann", "demo");
    ann.join(&a, "demo");
    let mut bodies = Vec::new();
    for answer in ["500 Oops", "204 Fine"] {
        let (s, _) = receiver.accept().unwrap();
        s.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut r = BufReader::new(s);
        let (mut signature, mut length, mut line) = (String::new(), 0, String::new());
        let mut first = String::new();
        loop {
            line.clear();
            r.read_line(&mut line).unwrap();
            let l = line.trim_end();
            if l.is_empty() {
                break;
            }
            if first.is_empty() {
                first = l.to_owned();
            }
            match l.split_once(": ") {
                Some(("amphi-signature", v)) => signature = v.to_owned(),
                Some(("content-length", v)) => length = v.parse().unwrap(),
                _ => {}
            }
        }
        assert_eq!(first, "POST /hook?a=b HTTP/1.1");
        let mut body = vec![0; length];
        r.read_exact(&mut body).unwrap();
        write!(r.get_mut(), "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").unwrap();
        let (at, tag) = signature.strip_prefix("t=").and_then(|s| s.split_once(",v1=")).expect("a signature");
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"key");
        let signed = [at.as_bytes(), b".", &body].concat();
        let own: String = aws_lc_rs::hmac::sign(&key, &signed).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(own, tag);
        bodies.push(serde_json::from_slice::<Value>(&body).unwrap());
    }
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(
        (&bodies[0]["event"], &bodies[0]["room"]),
        (&json!("room-created"), &json!("demo@conference.localhost"))
    );
    let hooks = admin.until("/webhooks", |v| v["webhooks"][0]["delivered"] == 1);
    assert_eq!((&hooks["webhooks"][0]["failed"], &hooks["webhooks"][0]["trouble"]), (&json!(0), &Value::Null));
}

#[test]
fn the_command_line_speaks_tables_json_and_plain_errors() {
    let (a, admin) = start(&[]);
    let mut ann = Person::login(&a, "ann", "demo");
    ann.join(&a, "demo");
    admin.until("/overview", |v| v["stage"] == 1 && v["healthy"] == true);
    let ctl = |args: &[&str], token: &str| {
        let url = format!("http://{}", a.admin);
        let out = Command::new(env!("CARGO_BIN_EXE_amphi"))
            .args(["ctl", "--url", &url])
            .args(args)
            .env("AMPHI_ADMIN_TOKEN", token)
            .output()
            .expect("ctl runs");
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
    };
    let ok = |args: &[&str]| {
        let (code, out, err) = ctl(args, TOKEN);
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        out
    };
    let rooms = ok(&["rooms"]);
    assert!(rooms.starts_with("ROOM") && rooms.contains("demo@conference.localhost  1"), "{rooms}");
    assert!(ok(&["status"]).contains("on stage  1"));
    assert!(ok(&["room", "demo"]).contains("meeting"));
    assert!(ok(&["who", "demo"]).contains(ann.nick()));
    assert_eq!(ok(&["why", "demo", ann.nick()]).lines().next(), Some("On stage because a seat on stage was free."));
    assert!(ok(&["nodes"]).contains("v1"));
    let json: Value = serde_json::from_str(&ok(&["nodes", "--json"])).unwrap();
    assert_eq!(json["nodes"][0]["name"], "main");
    assert_eq!(ok(&["drain", "v1"]), "v1 is drained: nobody new gets there.\n");
    assert_eq!(ok(&["undrain", "v1"]), "v1 is in service.\n");
    assert!(ok(&["events", "--kind", "operator"]).contains("Drained"));
    assert_eq!(ok(&["kick", "demo", ann.nick()]), "Done.\n");
    for (args, token, wanted) in [
        (&["room", "nowhere"][..], TOKEN, "amphi ctl: there is no such room\n"),
        (&["drain", "v99"], TOKEN, "amphi ctl: there is neither a node nor a bridge v99\n"),
        (&["rooms"], "wrong", "amphi ctl: the server does not accept this token\n"),
    ] {
        let (code, out, err) = ctl(args, token);
        assert_eq!((code, out.as_str(), err.as_str()), (1, "", wanted));
    }
    let (code, out, _) = ctl(&["check"], TOKEN);
    assert_eq!(code, 1, "warnings make it fail: {out}");
    assert!(out.contains("WARNING: The focus has no brewery") && out.contains("  fix: "), "{out}");
}
