//! The public front as proxies and scanners use it: several requests on one connection, and what is not for everybody.

mod running;

use std::io::{Read as _, Write as _};

use running::{Amphi, connect, http};

/// Reads up to the end of a head and, by its length, of a body.
fn answer(socket: &mut std::net::TcpStream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    let mut end = None;
    while end.is_none_or(|end| text.len() < end) {
        assert_eq!(socket.read(&mut byte).expect("an answer"), 1, "{}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
        if end.is_none() && text.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&text).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|l| l.split('\r').next()?.parse().ok());
            end = Some(text.len() + length.unwrap_or(0));
        }
    }
    String::from_utf8(text).expect("text")
}

const UPGRADE: &str = "GET /xmpp-websocket?room=demo HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: xmpp\r\n\r\n";

#[test]
fn a_websocket_comes_on_a_connection_that_a_proxy_has_used_for_requests() {
    let a = Amphi::start(&[]);
    let mut socket = connect(a.front);
    let body = r#"{"room":"demo@conference.localhost","machineUid":"me"}"#;
    let request = format!(
        "POST /conference-request/v1 HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..2 {
        socket.write_all(request.as_bytes()).expect("written");
        assert!(answer(&mut socket).starts_with("HTTP/1.1 200 "));
    }
    socket.write_all(UPGRADE.as_bytes()).expect("written");
    let head = answer(&mut socket);
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
}

#[test]
fn a_proxy_is_told_to_use_no_connection_again_that_could_not_take_a_websocket() {
    let a = Amphi::start(&[]);
    for header in ["", "x-forwarded-for: 192.0.2.1\r\n"] {
        let mut socket = connect(a.front);
        let request = format!("GET /about/version HTTP/1.1\r\nhost: x\r\n{header}\r\n");
        socket.write_all(request.as_bytes()).expect("written");
        let head = answer(&mut socket).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 ") && head.contains("connection: close"), "{head}");
    }
    // Where nobody is a proxy, connections are kept.
    let a = Amphi::start(&["listen.trusted_proxies=192.0.2.9"]);
    let mut socket = connect(a.front);
    for _ in 0..2 {
        socket.write_all(b"GET /about/version HTTP/1.1\r\nhost: x\r\n\r\n").expect("written");
        assert!(!answer(&mut socket).to_ascii_lowercase().contains("connection: close"));
    }
}

#[test]
fn figures_are_for_operators_unless_somebody_wants_it_otherwise() {
    let get = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let a = Amphi::start(&[]);
    assert!(http(a.front, get).starts_with("HTTP/1.1 404 "));
    assert!(http(a.admin, get).contains("# TYPE amphi_"));
    let a = Amphi::start(&["metrics.on_front=true"]);
    assert!(http(a.front, get).contains("# TYPE amphi_"));
}
