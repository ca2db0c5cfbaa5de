//! The visitor queue of a running server with token login: who may wait, who may count, and how many fit.

mod ports;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use amphi_app::config::{Config, Layers};
use amphi_app::wire::App;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

const ROOM: &str = "talk@conference.meet.example";

/// A server and the address of its front.
async fn server(more: &str) -> (App, u16) {
    let port = ports::free().port();
    let data = std::env::temp_dir().join(format!("amphi-queue-{}-{port}", std::process::id()));
    let admin = if more.starts_with("admin") { "" } else { "admin = \"off\"\n" };
    let text = format!(
        r#"domain = "meet.example"
data_dir = {data:?}
[listen]
front = "127.0.0.1:{port}"
c2s = "off"
{admin}{more}
[bridge]
enabled = false
"#
    );
    let layers = Layers { file: Some(("amphi.toml".to_owned(), text)), ..Layers::default() };
    let config = Config::check(&layers.join().unwrap()).unwrap();
    (App::start(config).await.unwrap(), port)
}

const TOKENS: &str = r#"
[[hosts]]
name = "meet.example"
auth = "token"
app_id = "app"
app_secret = "a secret that is long enough"
"#;

fn token(room: &str, context: Value) -> String {
    let claims = json!({"iss": "app", "aud": "app", "sub": "meet.example", "room": room, "context": context});
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(b"a secret that is long enough"))
        .unwrap()
}

struct Client(TcpStream);

impl Client {
    fn open(port: u16, path: &str) -> Result<Self, String> {
        let mut s = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(s, "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: v12.stomp, v11.stomp\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut b = [0];
            s.read_exact(&mut b).unwrap();
            head.push(b[0]);
        }
        let head = String::from_utf8(head).unwrap();
        if head.starts_with("HTTP/1.1 101 ") {
            assert!(head.contains("sec-websocket-protocol: v12.stomp\r\n"), "{head}");
            Ok(Self(s))
        } else {
            Err(head)
        }
    }

    /// Sends a frame in a binary message, as the meeting page does.
    fn say(&mut self, text: &str) {
        let mut out = vec![0x82, 0x80 | 126];
        out.extend_from_slice(&(text.len() as u16).to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(text.as_bytes());
        self.0.write_all(&out).unwrap();
    }

    /// The next frame that is no heart-beat.
    fn hear(&mut self) -> String {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).unwrap();
            let mut len = usize::from(head[1]);
            if len == 126 {
                let mut long = [0; 2];
                self.0.read_exact(&mut long).unwrap();
                len = usize::from(u16::from_be_bytes(long));
            }
            let mut text = vec![0; len];
            self.0.read_exact(&mut text).unwrap();
            if head[0] == 0x81 && text != b"\n" {
                return String::from_utf8(text).unwrap();
            }
        }
    }
}

/// Connects and subscribes; the answer's first line, or the words of a refusal.
fn subscribe(port: u16, path: &str, token: Option<&str>, destination: &str) -> String {
    let mut c = Client::open(port, path).unwrap();
    let header = token.map(|t| format!("Authorization:Bearer {t}\n")).unwrap_or_default();
    c.say(&format!("CONNECT\naccept-version:1.2\n{header}\n\0"));
    let answer = c.hear();
    if !answer.starts_with("CONNECTED\n") {
        return answer;
    }
    c.say(&format!("SUBSCRIBE\nid:1\nreceipt:r\ndestination:{destination}\n\n\0"));
    c.hear()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_decides_who_waits_counts_and_lists() {
    let (app, port) = server(TOKENS).await;
    let done = tokio::task::spawn_blocking(move || {
        let live = format!("/secured/conference/visitor/topic.{ROOM}");
        let state = format!("/secured/conference/state/topic.{ROOM}");
        let list = "/secured/conference/visitors-list/topic/m-1";
        let visitor = token("talk", json!({"user": {"role": "visitor"}}));
        let other = token("other", json!({}));
        let moderator = token("talk", json!({"user": {"moderator": true}}));
        let lister = token("talk", json!({"features": {"list-visitors": true}}));
        let on = |path, token: Option<&String>, destination: &str| {
            subscribe(port, path, token.map(String::as_str), destination)
        };
        let (queue, lists) = ("/visitor/websocket", "/visitors-list/websocket");
        let granted = |answer: String| assert!(answer.starts_with("RECEIPT\n"), "{answer}");
        let refused = |answer: String, words: &str| {
            assert!(answer.starts_with("ERROR\n") && answer.contains(words), "{words}: {answer}");
        };
        granted(on(queue, Some(&visitor), &live));
        granted(on(queue, Some(&moderator), &state));
        refused(on(queue, None, &live), "A token is needed");
        refused(on(queue, Some(&"x.y.z".to_owned()), &live), "not authorized");
        refused(on(queue, Some(&other), &live), "mismatched");
        refused(on(queue, Some(&visitor), &state), "Only moderators");
        refused(on(lists, Some(&moderator), list), "list-visitors");
        refused(on(lists, Some(&lister), list), "no such meeting");
        refused(on(queue, Some(&visitor), list), "no such destination");
        refused(
            on(queue, Some(&visitor), "/secured/conference/visitor/topic.a@elsewhere.example"),
            "no such destination",
        );
    });
    done.await.unwrap();
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_finds_the_queue_full_is_told_to_come_back_and_rubbish_ends_only_its_own_connection() {
    let (app, port) = server("[queue]\nclients = 2\n").await;
    let done = tokio::task::spawn_blocking(move || {
        let mut a = Client::open(port, "/visitor/websocket").unwrap();
        let mut b = Client::open(port, "/acme/visitor/websocket").unwrap();
        let refusal = Client::open(port, "/visitor/websocket").err().unwrap();
        assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.contains("retry-after: 30"), "{refusal}");
        a.say("GET / HTTP/1.1\n\n\0");
        let answer = a.hear();
        assert!(answer.starts_with("ERROR\n") && answer.contains("the command is unknown"), "{answer}");
        b.say("CONNECT\naccept-version:1.2\n\n\0");
        assert!(b.hear().starts_with("CONNECTED\n"));
    });
    done.await.unwrap();
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_nobody_looks_at_any_more_is_forgotten() {
    let admin = ports::free();
    let (app, port) = server(&format!("admin = \"{admin}\"\n")).await;
    let done = tokio::task::spawn_blocking(move || {
        let known = || {
            let mut s = TcpStream::connect(admin).unwrap();
            write!(s, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            s.read_to_string(&mut text).unwrap();
            text.lines().find_map(|l| l.strip_prefix("amphi_queue_rooms ")).unwrap().parse::<u32>().unwrap()
        };
        let mut c = Client::open(port, "/visitor/websocket").unwrap();
        c.say("CONNECT\naccept-version:1.2\n\n\0");
        assert!(c.hear().starts_with("CONNECTED\n"));
        let watch = |c: &mut Client, room: &str| {
            let to = format!("/secured/conference/state/topic.{room}@conference.meet.example");
            c.say(&format!("SUBSCRIBE\nid:1\nreceipt:r\ndestination:{to}\n\n\0"));
            while !c.hear().starts_with("RECEIPT\n") {}
        };
        for n in 0..20 {
            watch(&mut c, &format!("room{n}"));
            c.say("UNSUBSCRIBE\nid:1\nreceipt:u\n\n\0");
            while !c.hear().starts_with("RECEIPT\nreceipt-id:u") {}
        }
        watch(&mut c, "last");
        assert_eq!(known(), 1);
        drop(c);
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while known() > 0 {
            assert!(std::time::Instant::now() < end, "a room is kept");
            std::thread::yield_now();
        }
    });
    done.await.unwrap();
    app.drain().await;
}
