//! What a bridge keeps for what it sends: packet store, retransmission, transport-cc history, sender reports (`spec/bridge.md` 4.4, 4.9).
