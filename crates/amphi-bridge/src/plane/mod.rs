//! Media plane: sockets, shards, ingress of publishers and fan-out to receivers.
