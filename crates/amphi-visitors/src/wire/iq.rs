//! The envelope: an IQ with one `<visitors xmlns='jitsi:visitors' room='…'/>` child.

use amphi_stanza::{BareJid, Condition, Element, ErrorType, Stanza, StanzaError, StanzaKind, XmlWriter, ns};

use super::{
    AMPHI, Checkpoint, Places, PromotionRequest, PromotionResponse, Settings, Support, Sync, TranscriptionLanguages,
    Update,
};

/// Why an IQ is not one of this protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// There is no `<visitors/>` child, or the stanza is not an IQ request.
    #[error("not a visitors request")]
    NotVisitors,
    /// The `room` attribute is absent or not a bare address.
    #[error("the room attribute is missing or not a room address")]
    Room,
    /// The payload is none that is known for this type of IQ.
    #[error("unknown visitors request")]
    Unknown,
    /// A value is missing or not what it must be.
    #[error("bad or missing value: {0}")]
    Value(&'static str),
}

impl WireError {
    /// What the sender is told.
    pub fn stanza_error(&self) -> StanzaError {
        let condition = match self {
            Self::Unknown => Condition::FeatureNotImplemented,
            _ => Condition::BadRequest,
        };
        let ty = if matches!(self, Self::Unknown) { ErrorType::Cancel } else { ErrorType::Modify };
        StanzaError::new(ty, condition).text(self.to_string())
    }
}

/// What a visitors IQ asks for. The numbers are those of `spec/signaling.md` 4.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// #1, from the focus: node names to connect and to disconnect, in order; `true` is connect.
    Vnodes(Vec<(String, bool)>),
    /// #2, main to node.
    Update(Box<Update>),
    /// #3, main to node.
    Connect(Settings, Option<Sync>),
    /// #4, main to node.
    Disconnect,
    /// #5, node to main.
    PromotionRequest(PromotionRequest),
    /// #6, node to main.
    Transcription(TranscriptionLanguages),
    /// #7 main to node, #8 node to visitor.
    PromotionResponse(PromotionResponse),
    /// Our extension, main to node: what the node should have by now.
    Checkpoint(Checkpoint),
    /// Our extension, main to node: where raised hands are in line.
    Places(Places),
    /// Our extension, node to main: tell me everything again.
    Resync,
}

/// A visitors IQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitorsIq {
    /// The `room` attribute: virtual main room in #1, otherwise in real form.
    pub room: BareJid,
    /// `focusjid`, in #7 and #8.
    pub focus: Option<String>,
    /// What is asked for.
    pub payload: Payload,
}

/// Reads only the `room` attribute, so that a host can find the room that an IQ is for.
///
/// # Errors
/// If it is no visitors request, or the room is not an address.
pub fn room_of(iq: &Stanza) -> Result<BareJid, WireError> {
    let v = visitors(iq)?;
    v.attr("room").and_then(|r| BareJid::parse(&r).ok()).ok_or(WireError::Room)
}

fn visitors(iq: &Stanza) -> Result<Element<'_>, WireError> {
    if iq.kind() != StanzaKind::Iq || !matches!(iq.ty().as_deref(), Some("get" | "set")) {
        return Err(WireError::NotVisitors);
    }
    iq.child("visitors", ns::VISITORS).ok_or(WireError::NotVisitors)
}

impl VisitorsIq {
    /// Reads a request.
    ///
    /// # Errors
    /// See [`WireError`]; [`WireError::NotVisitors`] means that somebody else has to answer.
    pub fn parse(iq: &Stanza) -> Result<Self, WireError> {
        let v = visitors(iq)?;
        let room = room_of(iq)?;
        let focus = v.attr("focusjid").map(|f| f.into_owned());
        let payload = if iq.ty().as_deref() == Some("get") { get(v)? } else { set_payload(v)? };
        Ok(Self { room, focus, payload })
    }
}

fn get(v: Element<'_>) -> Result<Payload, WireError> {
    let mut list = Vec::new();
    for c in v.children().filter(|c| c.ns() == ns::VISITORS) {
        let connect = match c.name() {
            "connect-vnode" => true,
            "disconnect-vnode" => false,
            _ => continue,
        };
        list.push((c.attr("vnode").ok_or(WireError::Value("vnode"))?.into_owned(), connect));
    }
    if list.is_empty() { Err(WireError::Unknown) } else { Ok(Payload::Vnodes(list)) }
}

fn set_payload(v: Element<'_>) -> Result<Payload, WireError> {
    for c in v.children() {
        let found = match (c.ns(), c.name()) {
            (ns::VISITORS, "update") => Payload::Update(Box::new(Update::read(c)?)),
            (ns::VISITORS, "connect") => Payload::Connect(Settings::read(c), Sync::read(c)?),
            (ns::VISITORS, "disconnect") => Payload::Disconnect,
            (ns::VISITORS, "promotion-request") => Payload::PromotionRequest(PromotionRequest::read(v, c)?),
            (ns::VISITORS, "promotion-response") => Payload::PromotionResponse(PromotionResponse::read(c)?),
            (ns::VISITORS, "transcription-languages") => Payload::Transcription(TranscriptionLanguages::read(c)?),
            (AMPHI, "checkpoint") => Payload::Checkpoint(Checkpoint::read(c)?),
            (AMPHI, "places") => Payload::Places(Places::read(c)?),
            (AMPHI, "resync") => Payload::Resync,
            _ => continue,
        };
        return Ok(found);
    }
    Err(WireError::Unknown)
}

/// Writes an IQ with a visitors payload: a `get` for #1, a `set` for all others.
pub fn set(from: &str, to: &str, id: &str, iq: &VisitorsIq) -> Stanza {
    let mut w = XmlWriter::new();
    let ty = if matches!(iq.payload, Payload::Vnodes(_)) { "get" } else { "set" };
    w.open_ns("iq", ns::CLIENT).attr("type", ty).attr("from", from).attr("to", to).attr("id", id);
    w.open_ns("visitors", ns::VISITORS).attr("room", &iq.room).attr_opt("focusjid", iq.focus.as_ref());
    match &iq.payload {
        Payload::Vnodes(list) => {
            for (name, connect) in list {
                w.open(if *connect { "connect-vnode" } else { "disconnect-vnode" }).attr("vnode", name).close();
            }
        }
        Payload::Update(u) => u.write(&mut w),
        Payload::Connect(s, sync) => {
            w.open("connect");
            s.write_attrs(&mut w);
            if let Some(sync) = sync {
                sync.write(&mut w);
            }
            w.close();
        }
        Payload::Disconnect => {
            // The reference writes the password attribute, always empty.
            w.open("disconnect").attr("password", "").close();
        }
        Payload::PromotionRequest(r) => r.write(&mut w),
        Payload::Transcription(t) => t.write(&mut w),
        Payload::PromotionResponse(r) => r.write(&mut w),
        Payload::Checkpoint(c) => c.write(&mut w),
        Payload::Places(p) => p.write(&mut w),
        Payload::Resync => {
            w.empty("resync", AMPHI);
        }
    }
    w.stanza()
}

impl VisitorsIq {
    /// An IQ of this protocol to `room`.
    pub fn new(room: BareJid, payload: Payload) -> Self {
        Self { room, focus: None, payload }
    }
}

/// The empty result of an IQ.
pub fn result(iq: &Stanza) -> Stanza {
    write_result(iq, None)
}

/// The result of a node of ours: says that it knows the extension, and what it has. A stock peer ignores the child.
pub fn result_with(iq: &Stanza, support: &Support) -> Stanza {
    write_result(iq, Some(support))
}

fn write_result(iq: &Stanza, support: Option<&Support>) -> Stanza {
    let mut w = XmlWriter::new();
    w.open_ns("iq", ns::CLIENT).attr("type", "result");
    w.attr_opt("from", iq.attr("to")).attr_opt("to", iq.attr("from")).attr_opt("id", iq.id());
    if let Some(s) = support {
        s.write(&mut w);
    }
    w.stanza()
}

/// The id of an IQ on a link. It names the room, so that the answer, which does not, finds its way without a table.
pub fn link_id(n: u64, room: &BareJid) -> String {
    format!("vl{n}/{}", room.node())
}

/// The local part of the room whose link an answer with this id belongs to; `None` if it is no such id.
pub fn room_of_link_id(id: &str) -> Option<&str> {
    let (n, room) = id.strip_prefix("vl")?.split_once('/')?;
    (!n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())).then_some(room)
}
