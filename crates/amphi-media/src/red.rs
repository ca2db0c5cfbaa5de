//! Opus redundancy (RED, RFC 2198): `spec/bridge.md` 4.7.
