//! Transports: ICE, DTLS and SCTP of one endpoint or relay, without IO.
