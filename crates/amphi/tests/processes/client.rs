//! A client over WebSocket that remembers what it was shown: who is on stage, who moderates, what was said.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amphi_stanza::{Limits, Stanza, StanzaKind, XmlWriter, ns};
use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::DOMAIN;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a client was shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Role and affiliation of each occupant, by nickname.
    pub(crate) roster: BTreeMap<String, (String, String)>,
    /// Bodies of the room's messages in the order of their arrival.
    pub(crate) chat: Vec<String>,
    /// Errors that came instead of what was asked for.
    pub(crate) errors: Vec<String>,
    /// Whether its own presence has come.
    pub(crate) joined: bool,
    /// Whether the server ended the stream.
    pub(crate) closed: bool,
}

/// A client in a room.
pub(crate) struct Client {
    pub(crate) room: String,
    pub(crate) nick: String,
    seen: Arc<Mutex<Seen>>,
    out: mpsc::UnboundedSender<String>,
}

/// Where somebody wants to go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Wherever there is a seat.
    Any,
    /// Not on stage.
    Audience,
}

/// Asks the focus for a seat, as the browser of a machine: `None` is the stage, else the name of a visitor node.
pub(crate) async fn request(
    front: SocketAddr,
    room: &str,
    machine: &str,
    wish: Wish,
) -> anyhow::Result<Option<String>> {
    let body = serde_json::json!({
        "room": format!("{room}@conference.{DOMAIN}"),
        "machineUid": machine,
        "properties": { "visitors-version": 1, "visitor": wish == Wish::Audience },
    })
    .to_string();
    let mut socket = TcpStream::connect(front).await?;
    let head = format!(
        "POST /conference-request/v1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let json: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).context("an answer without a body")?)
        .with_context(|| answer.clone())?;
    if json["ready"] != true {
        bail!("not ready: {answer}");
    }
    Ok(json["vnode"].as_str().map(str::to_owned))
}

impl Client {
    /// Asks for a seat and takes it.
    pub(crate) async fn come(
        front: SocketAddr,
        room: &str,
        machine: &str,
        wish: Wish,
    ) -> anyhow::Result<(Self, Option<String>)> {
        let vnode = request(front, room, machine, wish).await?;
        Ok((Self::join(front, room, vnode.as_deref()).await?, vnode))
    }

    /// Joins on the main node or on a visitor node.
    pub(crate) async fn join(front: SocketAddr, room: &str, vnode: Option<&str>) -> anyhow::Result<Self> {
        let domain = vnode.map_or_else(|| DOMAIN.to_owned(), |v| format!("{v}.meet.jitsi"));
        let query = vnode.map(|v| format!("&vnode={v}")).unwrap_or_default();
        let mut ask = format!("ws://{front}/xmpp-websocket?room={room}{query}").into_client_request()?;
        ask.headers_mut().insert("sec-websocket-protocol", "xmpp".parse()?);
        let (mut ws, _) = tokio_tungstenite::connect_async(ask).await?;
        let open = xml("open", ns::FRAMING, |w| {
            w.attr("to", &domain).attr("version", "1.0");
        });
        exchange(&mut ws, &open, "features").await?;
        let auth = xml("auth", ns::SASL, |w| {
            w.attr("mechanism", "ANONYMOUS");
        });
        exchange(&mut ws, &auth, "<success").await?;
        exchange(&mut ws, &open, "features").await?;
        let bind = xml("iq", ns::CLIENT, |w| {
            w.attr("type", "set").attr("id", "bind").empty("bind", ns::BIND);
        });
        let bound = exchange(&mut ws, &bind, "<jid>").await?;
        let nick = bound.split("<jid>").nth(1).context("no address")?[..8].to_owned();
        let room = format!("{room}@conference.{domain}");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (out, rx) = mpsc::unbounded_channel();
        tokio::spawn(run(ws, rx, out.clone(), format!("{room}/{nick}"), seen.clone()));
        let client = Self { room, nick, seen, out };
        client.presence("");
        client.until("its own presence", |s| s.joined).await?;
        Ok(client)
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Sends its presence, with a status.
    pub(crate) fn presence(&self, status: &str) {
        self.send(xml("presence", ns::CLIENT, |w| {
            w.attr("to", format!("{}/{}", self.room, self.nick)).empty("x", ns::MUC).text_element("status", status);
        }));
    }

    /// Says something to everybody.
    pub(crate) fn say(&self, text: &str) {
        self.send(xml("message", ns::CLIENT, |w| {
            w.attr("to", &self.room).attr("type", "groupchat").attr("id", text).text_element("body", text);
        }));
    }

    /// Gives somebody an affiliation, as moderators do.
    pub(crate) fn affiliate(&self, nick: &str, affiliation: &str) {
        self.send(xml("iq", ns::CLIENT, |w| {
            w.attr("to", &self.room).attr("type", "set").attr("id", nick).open_ns("query", ns::MUC_ADMIN);
            w.open("item").attr("nick", nick).attr("affiliation", affiliation).close().close();
        }));
    }

    /// Leaves the room and closes the stream.
    pub(crate) async fn leave(self) -> anyhow::Result<()> {
        self.send(xml("presence", ns::CLIENT, |w| {
            w.attr("to", format!("{}/{}", self.room, self.nick)).attr("type", "unavailable");
        }));
        self.until("the end of its own presence", |s| !s.joined).await
    }

    /// Waits until what it was shown is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> anyhow::Result<()> {
        for _ in 0..1000 {
            if wanted(&self.seen.lock().unwrap()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} never got {what}; it has {:?}", self.nick, self.seen())
    }

    fn send(&self, frame: String) {
        let _ = self.out.send(frame);
    }
}

fn xml(name: &'static str, ns: &str, fill: impl FnOnce(&mut XmlWriter)) -> String {
    let mut w = XmlWriter::new();
    w.open_ns(name, ns);
    fill(&mut w);
    w.close();
    w.finish_string()
}

async fn exchange(ws: &mut Socket, frame: &str, answer: &str) -> anyhow::Result<String> {
    ws.send(Message::text(frame)).await?;
    let wait = async {
        loop {
            let Some(message) = ws.next().await else { bail!("the server closed before {answer}") };
            if let Message::Text(text) = message?
                && text.contains(answer)
            {
                return Ok(text.to_string());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.with_context(|| format!("no {answer}"))?
}

async fn run(
    mut ws: Socket,
    mut rx: mpsc::UnboundedReceiver<String>,
    out: mpsc::UnboundedSender<String>,
    me: String,
    seen: Arc<Mutex<Seen>>,
) {
    loop {
        tokio::select! {
            frame = rx.recv() => match frame {
                Some(frame) => {
                    if ws.send(Message::text(frame)).await.is_err() {
                        break;
                    }
                }
                None => break,
            },
            message = ws.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let Ok(stanza) = Stanza::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()) else {
                        seen.lock().unwrap().errors.push(format!("not well-formed: {text}"));
                        continue;
                    };
                    if let Some(answer) = seen.lock().unwrap().take(&stanza, &me) {
                        let _ = out.send(answer);
                    }
                }
                Some(Ok(_)) => {}
                _ => break,
            },
        }
    }
    seen.lock().unwrap().closed = true;
}

impl Seen {
    /// Remembers a stanza; returns what is to be answered.
    fn take(&mut self, stanza: &Stanza, me: &str) -> Option<String> {
        let from = stanza.attr("from").unwrap_or_default().into_owned();
        let ty = stanza.ty().unwrap_or_default();
        if ty == "error" {
            self.errors.push(stanza.to_string());
            return None;
        }
        match stanza.kind() {
            StanzaKind::Presence => {
                let nick = from.split_once('/')?.1.to_owned();
                if from == me {
                    self.joined = ty != "unavailable";
                }
                if ty == "unavailable" {
                    self.roster.remove(&nick);
                } else {
                    let item = stanza.child("x", ns::MUC_USER)?.child_named("item")?;
                    let of = |name| item.attr(name).unwrap_or_default().into_owned();
                    self.roster.insert(nick, (of("role"), of("affiliation")));
                }
            }
            StanzaKind::Message => {
                let body = stanza.root().child_named("body")?;
                if ty == "groupchat" && stanza.child("delay", ns::DELAY).is_none() {
                    self.chat.push(body.text().into_owned());
                }
            }
            StanzaKind::Iq if matches!(&*ty, "get" | "set") => {
                return Some(xml("iq", ns::CLIENT, |w| {
                    w.attr("type", "result").attr("to", &from).attr_opt("id", stanza.id());
                }));
            }
            _ => {}
        }
        None
    }
}
