//! RTP packets and header extensions (RFC 3550, 8285).
