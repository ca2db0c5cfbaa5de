//! A tiny server: it upgrades, opens, authenticates, binds and enables, and it is a room that echoes presences and sends
//! every line to everybody. It can also lose, repeat or spoil things on purpose.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use base64::Engine as _;
use sha1::Digest;

/// What the server does wrong.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    /// The third member misses one line.
    LosesALine,
    /// The third member gets one line twice.
    RepeatsALine,
    /// The third member gets a line whose XML is broken.
    SpoilsXml,
    /// The third connection is refused by its HTTP status for ever.
    RefusesOne,
    /// The second line reaches other rooms too.
    CrossesRooms,
    /// The first conference requests are answered with `ready=false`.
    NotReadyAtFirst,
}

struct Room {
    members: Mutex<Vec<(u32, String, Arc<TcpStream>)>>,
    connections: AtomicU32,
    requests: AtomicU32,
    lines: AtomicU32,
    fault: Fault,
}

/// Starts a server; returns its port.
pub(crate) fn server(fault: Fault) -> u16 {
    listen(0, fault)
}

/// Starts a server on a port; returns the port.
pub(crate) fn listen(port: u16, fault: Fault) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let room = Arc::new(Room {
        members: Mutex::default(),
        connections: AtomicU32::new(0),
        requests: AtomicU32::new(0),
        lines: AtomicU32::new(0),
        fault,
    });
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let room = Arc::clone(&room);
            // Whatever breaks here shows in the report of the generator.
            let Ok(socket) = socket else { continue };
            let small = std::thread::Builder::new().stack_size(64 << 10);
            small.spawn(move || serve(&room, &Arc::new(socket))).unwrap();
        }
    });
    port
}

fn serve(room: &Room, socket: &Arc<TcpStream>) -> Option<()> {
    let mut reader = BufReader::with_capacity(2 << 10, &**socket);
    loop {
        let (mut first, mut key, mut length) = (String::new(), String::new(), 0);
        reader.read_line(&mut first).ok().filter(|&n| n > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().split_once(": ") {
                Some(("Sec-WebSocket-Key", value)) => key = value.to_owned(),
                Some(("Content-Length", value)) => length = value.parse().ok()?,
                Some(_) => {}
                None => break,
            }
        }
        if first.starts_with("POST /conference-request/v1?room=") {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let asked = room.requests.fetch_add(1, Ordering::SeqCst);
            let ready = room.fault != Fault::NotReadyAtFirst || asked >= 2;
            let vnode =
                if String::from_utf8(body).ok()?.contains("\"visitor\":true") { ",\"vnode\":\"v1\"" } else { "" };
            let json = format!("{{\"ready\":{ready},\"focusJid\":\"focus@auth\",\"properties\":{{}}{vnode}}}");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", json.len());
            (&**socket).write_all((head + &json).as_bytes()).ok()?;
            continue;
        }
        if first.starts_with("GET /metrics") {
            let rooms: HashSet<String> = room.members.lock().unwrap().iter().map(|m| m.1.clone()).collect();
            let body = format!("# TYPE tiny_rooms gauge\ntiny_rooms{{node=\"main\"}} {}\n# EOF\n", rooms.len());
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            (&**socket).write_all((head + &body).as_bytes()).ok()?;
            continue;
        }
        let number = room.connections.fetch_add(1, Ordering::SeqCst);
        if room.fault == Fault::RefusesOne && number >= 2 {
            (&**socket).write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").ok()?;
            return None;
        }
        let mut sha = sha1::Sha1::new();
        sha.update(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let accept = base64::engine::general_purpose::STANDARD.encode(sha.finalize());
        let head = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        (&**socket).write_all(head.as_bytes()).ok()?;
        let visitor = first.contains("vnode=v1");
        return talk(room, number, visitor, socket, &mut reader);
    }
}

fn talk(room: &Room, number: u32, visitor: bool, socket: &Arc<TcpStream>, reader: &mut impl Read) -> Option<()> {
    let mut authenticated = false;
    let domain = if visitor { "v1.meet.jitsi" } else { "localhost" };
    let mut address = String::new();
    let nick = format!("{number:08x}");
    loop {
        let text = frame(reader)?;
        let name: String = text[1..].chars().take_while(char::is_ascii_alphabetic).collect();
        match name.as_str() {
            "open" => {
                assert!(text.contains(&format!("to=\"{domain}\"")), "{text}");
                send(socket, "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>");
                let offer = if authenticated {
                    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/>"
                } else {
                    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms>"
                };
                send(
                    socket,
                    &format!(
                        "<stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>{offer}</stream:features>"
                    ),
                );
            }
            "auth" => {
                authenticated = true;
                send(socket, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
            }
            "enable" => send(socket, "<enabled xmlns='urn:xmpp:sm:3' id='1' resume='true'/>"),
            "iq" if text.contains("xmpp-bind") => {
                let jid = format!("{nick}-0000@{domain}/r");
                send(
                    socket,
                    &format!(
                        "<iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>"
                    ),
                );
            }
            "presence" if text.contains("unavailable") => room.members.lock().unwrap().retain(|m| m.0 != number),
            "presence" => {
                let to = text.split("to=\"").nth(1)?.split('"').next()?;
                assert!(to.ends_with(&format!("@conference.{domain}/{nick}")), "{text}");
                address = to.split('/').next()?.to_owned();
                let mark = text
                    .find("<jitsi_participant_load>")
                    .map_or("", |at| &text[at..text.rfind("</presence>").unwrap()]);
                let mut members = room.members.lock().unwrap();
                if mark.is_empty() {
                    members.push((number, address.clone(), Arc::clone(socket)));
                    send(socket, &presence(&address, &nick, "<status code='110'/>", ""));
                } else {
                    let here = members.iter().filter(|m| meeting(&m.1) == meeting(&address));
                    here.for_each(|(_, room, peer)| send(peer, &presence(room, &nick, "", mark)));
                }
            }
            "message" => {
                let body = &text[text.find("<body>")?..text.rfind("</message>")?];
                let line = room.lines.fetch_add(1, Ordering::SeqCst);
                let own = address.clone();
                for (member, address, peer) in &*room.members.lock().unwrap() {
                    let crosses = room.fault == Fault::CrossesRooms && line == 1;
                    if meeting(address) != meeting(&own) && !crosses {
                        continue;
                    }
                    let victim = *member == 2 && line == 1;
                    let message = format!(
                        "<message xmlns='jabber:client' type='groupchat' from='{address}/{nick}'>{body}</message>"
                    );
                    match room.fault {
                        Fault::LosesALine if victim => {}
                        Fault::RepeatsALine if victim => (0..2).for_each(|_| send(peer, &message)),
                        Fault::SpoilsXml if victim => send(peer, &message.replace("</body>", "</b>")),
                        _ => send(peer, &message),
                    }
                }
            }
            "iq" => {
                let id = text.split("id=\"").nth(1)?.split('"').next()?;
                send(socket, &format!("<iq xmlns='jabber:client' type='result' id='{id}'/>"));
            }
            _ => {}
        }
    }
}

/// The name before the domain, which a room and its visitors' room share.
fn meeting(address: &str) -> &str {
    address.split('@').next().unwrap_or_default()
}

fn presence(room: &str, nick: &str, status: &str, more: &str) -> String {
    format!(
        "<presence xmlns='jabber:client' from='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/>{status}</x>{more}</presence>"
    )
}

fn send(mut socket: &TcpStream, xml: &str) {
    let mut out = vec![0x81];
    if xml.len() < 126 {
        out.push(xml.len() as u8);
    } else {
        out.push(126);
        out.extend_from_slice(&(xml.len() as u16).to_be_bytes());
    }
    out.extend_from_slice(xml.as_bytes());
    // A client that is gone is not this server's problem.
    let _ = socket.write_all(&out);
}

fn frame(reader: &mut impl Read) -> Option<String> {
    let mut head = [0; 2];
    reader.read_exact(&mut head).ok()?;
    assert_eq!(head[1] & 0x80, 0x80, "client frames are masked");
    let mut len = usize::from(head[1] & 0x7f);
    if len == 126 {
        let mut more = [0; 2];
        reader.read_exact(&mut more).ok()?;
        len = usize::from(u16::from_be_bytes(more));
    }
    let mut mask = [0; 4];
    reader.read_exact(&mut mask).ok()?;
    let mut payload = vec![0; len];
    reader.read_exact(&mut payload).ok()?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(b, m)| *b ^= m);
    (head[0] & 0x0f == 1).then(|| String::from_utf8(payload).unwrap())
}
