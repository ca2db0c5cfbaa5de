//! RTCP packets: parsing and writing (RFC 3550, 4585, 5104, transport-wide feedback, REMB).
