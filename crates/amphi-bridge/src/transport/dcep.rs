//! Data channel establishment (RFC 8832): the two messages that open a channel.

/// A message that is not DCEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DcepError {
    /// Not a known message type.
    #[error("unknown DCEP message type")]
    Type,
    /// Cut.
    #[error("DCEP message is cut")]
    Short,
    /// Label or protocol are not UTF-8.
    #[error("label or protocol are not UTF-8")]
    NotUtf8,
}

/// DATA_CHANNEL_OPEN of a channel (RFC 8832 section 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataChannelOpen {
    /// Whether messages may overtake each other.
    pub unordered: bool,
    /// Channel type without the bit for order: 0 reliable, 1 limited retransmissions, 2 limited lifetime.
    pub reliability: u8,
    /// Retransmissions, or milliseconds.
    pub reliability_parameter: u32,
    /// Priority.
    pub priority: u16,
    /// Label.
    pub label: String,
    /// Subprotocol.
    pub protocol: String,
}

/// A DCEP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DcepMessage {
    /// DATA_CHANNEL_OPEN.
    Open(DataChannelOpen),
    /// DATA_CHANNEL_ACK.
    Ack,
}

const ACK: u8 = 2;
const OPEN: u8 = 3;
const UNORDERED: u8 = 0x80;

impl DataChannelOpen {
    /// A reliable, ordered channel.
    pub fn reliable(label: &str, protocol: &str) -> Self {
        Self {
            unordered: false,
            reliability: 0,
            reliability_parameter: 0,
            priority: 0,
            label: label.into(),
            protocol: protocol.into(),
        }
    }
}

impl DcepMessage {
    /// Reads a message.
    pub fn parse(bytes: &[u8]) -> Result<Self, DcepError> {
        match *bytes {
            [ACK, ..] => Ok(Self::Ack),
            [OPEN, kind, p0, p1, r0, r1, r2, r3, l0, l1, s0, s1, ref rest @ ..] => {
                let label = usize::from(u16::from_be_bytes([l0, l1]));
                let protocol = usize::from(u16::from_be_bytes([s0, s1]));
                let text = |range: std::ops::Range<usize>| {
                    let bytes = rest.get(range).ok_or(DcepError::Short)?;
                    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DcepError::NotUtf8)
                };
                Ok(Self::Open(DataChannelOpen {
                    unordered: kind & UNORDERED != 0,
                    reliability: kind & !UNORDERED,
                    reliability_parameter: u32::from_be_bytes([r0, r1, r2, r3]),
                    priority: u16::from_be_bytes([p0, p1]),
                    label: text(0..label)?,
                    protocol: text(label..label + protocol)?,
                }))
            }
            [OPEN, ..] => Err(DcepError::Short),
            [] => Err(DcepError::Short),
            _ => Err(DcepError::Type),
        }
    }

    /// Writes the message. Label and protocol are cut at 65,535 bytes.
    pub fn write(&self) -> Vec<u8> {
        match self {
            Self::Ack => vec![ACK],
            Self::Open(open) => {
                let cut = |text: &str| text.as_bytes()[..text.len().min(usize::from(u16::MAX))].to_vec();
                let (label, protocol) = (cut(&open.label), cut(&open.protocol));
                let mut bytes = vec![OPEN, open.reliability | if open.unordered { UNORDERED } else { 0 }];
                bytes.extend(open.priority.to_be_bytes());
                bytes.extend(open.reliability_parameter.to_be_bytes());
                bytes.extend((label.len() as u16).to_be_bytes());
                bytes.extend((protocol.len() as u16).to_be_bytes());
                bytes.extend(label);
                bytes.extend(protocol);
                bytes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_and_ack_are_read_as_written_and_cut_ones_are_not() {
        let open = DcepMessage::Open(DataChannelOpen {
            unordered: true,
            reliability: 1,
            reliability_parameter: 70_000,
            priority: 513,
            label: "JVB data channel".into(),
            protocol: "http://jitsi.org/protocols/colibri".into(),
        });
        let bytes = open.write();
        assert_eq!(DcepMessage::parse(&bytes), Ok(open));
        for length in 0..bytes.len() {
            assert_eq!(DcepMessage::parse(&bytes[..length]), Err(DcepError::Short), "cut at {length}");
        }
        assert_eq!(DcepMessage::parse(&DcepMessage::Ack.write()), Ok(DcepMessage::Ack));
        assert_eq!(DcepMessage::parse(&[9]), Err(DcepError::Type));
        let mut not_utf8 = bytes.clone();
        not_utf8[12] = 0xff;
        assert_eq!(DcepMessage::parse(&not_utf8), Err(DcepError::NotUtf8));
    }
}
