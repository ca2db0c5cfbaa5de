//! How much of everything one element may carry.

/// How much of everything one element may carry. Exceeding a limit is an error of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Contents of one Jingle element; peers send three. Default 8.
    pub contents: usize,
    /// Payload types of one description; peers send some twenty. Default 128.
    pub payload_types: usize,
    /// Parameters or feedback kinds of one payload type. Default 32.
    pub parameters: usize,
    /// Header extensions of one description; there are 15 short ids. Default 64.
    pub extensions: usize,
    /// Candidates of one transport. Default 64.
    pub candidates: usize,
    /// Fingerprints of one transport. Default 8.
    pub fingerprints: usize,
    /// WebSocket addresses of one transport. Default 8.
    pub web_sockets: usize,
    /// Sources of one endpoint in one element, over all media; the focus has a lower limit per user. Default 256.
    pub sources: usize,
    /// Groups of one endpoint in one element; and SSRCs of one group. Default 256.
    pub groups: usize,
    /// Owners in one source map. Default 10,000.
    pub owners: usize,
    /// Endpoints in one request to a bridge, or behind one relay in it. Default 10,000.
    pub endpoints: usize,
    /// Relays in one request to a bridge. Default 256.
    pub relays: usize,
    /// Exporters in one request to a bridge, and names, headers of one. Default 256.
    pub connects: usize,
    /// Bytes of one value: a name, a stream id, a URL. Default 1024.
    pub value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            contents: 8,
            payload_types: 128,
            parameters: 32,
            extensions: 64,
            candidates: 64,
            fingerprints: 8,
            web_sockets: 8,
            sources: 256,
            groups: 256,
            owners: 10_000,
            endpoints: 10_000,
            relays: 256,
            connects: 256,
            value_bytes: 1024,
        }
    }
}
