//! One SCTP association with one data channel (`spec/bridge.md` 2.6): crate `sctp-proto`.
//!
//! Carries text both ways. A second channel is refused, binary is ignored; everything that waits is bounded.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier as Ppid, ReliabilityType, ServerConfig, StreamEvent, TransportConfig,
};

use super::dcep::{DataChannelOpen, DcepMessage};
use super::{DtlsRole, PeerLimits, SctpRole, SendError};

/// There is one other side; the library wants an address.
const REMOTE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);
/// With SCTP and DTLS around it a datagram stays below 1200 bytes.
const MAX_PAYLOAD: u32 = 1100;
/// Sooner than RFC 9260 section 16 has it, since ICE measured the path; the least is above the delay of acknowledgements.
const RTO_INITIAL_MS: u64 = 500;
const RTO_MIN_MS: u64 = 400;
const RTO_MAX_MS: u64 = 10_000;
/// Label of the channel that we open on relays.
const RELAY_LABEL: &str = "default";
const RELAY_PROTOCOL: &str = "http://jitsi.org/protocols/colibri";

/// What the association has to say.
#[derive(Debug)]
pub(super) enum Said {
    /// Send this over DTLS.
    Packet(Bytes),
    /// The channel is open.
    Open { label: String, protocol: String },
    /// A text message.
    Message(String),
    /// The channel is gone.
    Closed,
}

#[derive(Debug)]
struct Channel {
    stream: u16,
    /// What we opened it with and has not been acknowledged.
    opening: Option<DataChannelOpen>,
}

/// One SCTP association.
pub(super) struct Sctp {
    endpoint: Endpoint,
    config: Arc<EndpointConfig>,
    server: Arc<ServerConfig>,
    association: Option<(AssociationHandle, Association)>,
    role: SctpRole,
    dtls_role: DtlsRole,
    channel: Option<Channel>,
    message: usize,
    received_message: usize,
    send_queue: usize,
    /// Channels refused because there was one.
    pub(super) rejected: u64,
    /// Messages that are not text.
    pub(super) ignored: u64,
}

impl std::fmt::Debug for Sctp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sctp").field("role", &self.role).field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Sctp {
    pub(super) fn new(role: SctpRole, dtls_role: DtlsRole, limits: &PeerLimits) -> Self {
        let message = u32::try_from(limits.message).unwrap_or(u32::MAX);
        let receive = u32::try_from(limits.receive_queue).unwrap_or(u32::MAX).max(message);
        // Retransmissions end with ICE, which knows whether the other side is there.
        let transport = Arc::new(
            TransportConfig::default()
                .with_max_init_retransmits(None)
                .with_max_data_retransmits(None)
                .with_rto_initial_ms(RTO_INITIAL_MS)
                .with_rto_min_ms(RTO_MIN_MS)
                .with_rto_max_ms(RTO_MAX_MS)
                .with_max_receive_message_size(message)
                .with_max_send_message_size(message)
                .with_max_receive_buffer_size(receive)
                .with_max_num_inbound_streams(limits.streams)
                .with_max_num_outbound_streams(limits.streams),
        );
        let mut config = EndpointConfig::default();
        config.max_payload_size(MAX_PAYLOAD);
        let mut server = ServerConfig::default();
        server.transport = transport.clone();
        // A client gets the server's configuration too: the library needs it to refuse an association.
        let (config, server) = (Arc::new(config), Arc::new(server));
        let mut endpoint = Endpoint::new(config.clone(), Some(server.clone()));
        let mut association = None;
        if role == SctpRole::Client {
            let mut client = ClientConfig::default();
            client.transport = transport;
            association = endpoint.connect(client, REMOTE).ok();
            endpoint.reject_new_associations();
        }
        Self {
            endpoint,
            config,
            server,
            association,
            role,
            dtls_role,
            channel: None,
            message: limits.message,
            received_message: limits.received_message,
            send_queue: limits.send_queue,
            rejected: 0,
            ignored: 0,
        }
    }

    pub(super) fn handle(&mut self, now: Instant, packet: Vec<u8>, said: &mut Vec<Said>) {
        match self.endpoint.handle(now, REMOTE, None, None, packet.into()) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, association));
                // One is enough; the library would keep as many as are wished for.
                self.endpoint.reject_new_associations();
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((own, association)) = &mut self.association
                    && *own == handle
                {
                    association.handle_event(event);
                }
            }
            None => {}
        }
        self.drive(now, said);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, said: &mut Vec<Said>) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.drive(now, said);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.association.as_ref().and_then(|(_, association)| association.poll_timeout())
    }

    pub(super) fn send(&mut self, now: Instant, text: &str, said: &mut Vec<Said>) -> Result<(), SendError> {
        let Some(Channel { stream, opening: None }) = self.channel else { return Err(SendError::NotOpen) };
        let Some((_, association)) = &mut self.association else { return Err(SendError::NotOpen) };
        if text.len() > self.message {
            return Err(SendError::TooLong);
        }
        let mut stream = association.stream(stream).map_err(|_| SendError::NotOpen)?;
        if stream.buffered_amount().unwrap_or(0).saturating_add(text.len()) > self.send_queue {
            return Err(SendError::Full);
        }
        // An empty message is one byte that is not read (RFC 8831 section 6.6).
        let (bytes, ppid) =
            if text.is_empty() { (&[0][..], Ppid::StringEmpty) } else { (text.as_bytes(), Ppid::String) };
        stream.write_with_ppi(bytes, ppid).map_err(|_| SendError::NotOpen)?;
        self.drive(now, said);
        Ok(())
    }

    /// Moves what moves until nothing does.
    pub(super) fn drive(&mut self, now: Instant, said: &mut Vec<Said>) {
        loop {
            let mut moved = false;
            while let Some(transmit) = self.endpoint.poll_transmit() {
                push_packets(transmit.payload, said);
            }
            let Some((handle, association)) = &mut self.association else { return };
            while let Some(event) = association.poll_endpoint_event() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    association.handle_event(event);
                }
                moved = true;
            }
            while let Some(transmit) = association.poll_transmit(now) {
                push_packets(transmit.payload, said);
            }
            while let Some((_, association)) = &mut self.association
                && let Some(event) = association.poll()
            {
                self.handle_event(event, said);
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    fn handle_event(&mut self, event: Event, said: &mut Vec<Said>) {
        match event {
            Event::Connected if self.role == SctpRole::Client => self.open(),
            Event::Stream(StreamEvent::Readable { id }) => self.read(id, said),
            Event::Stream(StreamEvent::Finished { id } | StreamEvent::Stopped { id, .. })
                if self.channel.as_ref().is_some_and(|channel| channel.stream == id) =>
            {
                self.close_channel(said);
            }
            Event::HandshakeFailed { reason } | Event::AssociationLost { reason } => {
                tracing::debug!(%reason, "SCTP association lost");
                self.close_channel(said);
                self.association = None;
                if self.role == SctpRole::Server {
                    // Another association may be wished for; the former endpoint refuses it.
                    self.endpoint = Endpoint::new(self.config.clone(), Some(self.server.clone()));
                }
            }
            _ => {}
        }
    }

    fn close_channel(&mut self, said: &mut Vec<Said>) {
        if let Some(channel) = self.channel.take() {
            if channel.opening.is_none() {
                said.push(Said::Closed);
            }
            self.reset(channel.stream);
        }
    }

    /// Ends a stream both ways.
    fn reset(&mut self, stream: u16) {
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(stream)
        {
            let _ = stream.close();
        }
    }

    /// Opens our channel (RFC 8832 section 6: the DTLS client has the even streams).
    fn open(&mut self) {
        let Some((_, association)) = &mut self.association else { return };
        let id = u16::from(self.dtls_role == DtlsRole::Server);
        let open = DataChannelOpen::reliable(RELAY_LABEL, RELAY_PROTOCOL);
        let Ok(mut stream) = association.open_stream(id, Ppid::Dcep) else { return };
        let bytes = DcepMessage::Open(open.clone()).write();
        if stream.write_with_ppi(&bytes, Ppid::Dcep).is_ok() {
            self.channel = Some(Channel { stream: id, opening: Some(open) });
        }
    }

    fn read(&mut self, id: u16, said: &mut Vec<Said>) {
        loop {
            let Some((_, association)) = &mut self.association else { return };
            let Ok(mut stream) = association.stream(id) else { return };
            let chunks = match stream.read() {
                Ok(Some(chunks)) => chunks,
                Ok(None) | Err(_) => return,
            };
            if chunks.len() > self.received_message {
                self.ignored += 1;
                continue;
            }
            let mut bytes = vec![0; chunks.len()];
            if chunks.read(&mut bytes).is_err() {
                self.ignored += 1;
                continue;
            }
            match chunks.ppi {
                Ppid::Dcep => self.handle_dcep(id, &bytes, said),
                Ppid::String => self.handle_text(id, bytes, said),
                Ppid::StringEmpty => self.handle_text(id, Vec::new(), said),
                _ => self.ignored += 1,
            }
        }
    }

    fn handle_dcep(&mut self, id: u16, bytes: &[u8], said: &mut Vec<Said>) {
        match (DcepMessage::parse(bytes), &mut self.channel) {
            (Ok(DcepMessage::Open(open)), None) => {
                let Some((_, association)) = &mut self.association else { return };
                let Ok(mut stream) = association.stream(id) else { return };
                let reliability = ReliabilityType::from(open.reliability);
                let configured = stream.set_reliability_params(open.unordered, reliability, open.reliability_parameter);
                if configured.is_ok() && stream.write_with_ppi(&DcepMessage::Ack.write(), Ppid::Dcep).is_ok() {
                    self.channel = Some(Channel { stream: id, opening: None });
                    said.push(Said::Open { label: open.label, protocol: open.protocol });
                }
            }
            (Ok(DcepMessage::Open(_)), Some(channel)) if channel.stream == id => self.ignored += 1,
            (Ok(DcepMessage::Open(_)), Some(_)) => {
                self.rejected += 1;
                self.reset(id);
            }
            (Ok(DcepMessage::Ack), Some(channel)) if channel.stream == id => confirm(channel, said),
            (Ok(DcepMessage::Ack), _) => self.ignored += 1,
            (Err(error), _) => {
                tracing::debug!(%error, "bad DCEP message");
                self.ignored += 1;
                self.reset(id);
            }
        }
    }

    fn handle_text(&mut self, id: u16, bytes: Vec<u8>, said: &mut Vec<Said>) {
        let Some(channel) = self.channel.as_mut().filter(|channel| channel.stream == id) else {
            self.ignored += 1;
            return;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            self.ignored += 1;
            return;
        };
        confirm(channel, said);
        said.push(Said::Message(text));
    }
}

/// The other side knows the channel.
fn confirm(channel: &mut Channel, said: &mut Vec<Said>) {
    if let Some(open) = channel.opening.take() {
        said.push(Said::Open { label: open.label, protocol: open.protocol });
    }
}

fn push_packets(payload: Payload, said: &mut Vec<Said>) {
    if let Payload::RawEncode(packets) = payload {
        said.extend(packets.into_iter().map(Said::Packet));
    }
}
