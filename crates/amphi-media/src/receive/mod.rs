//! What a bridge does for what it receives: RTX, duplicates, NACK, statistics, transport-cc feedback (`spec/bridge.md` 4.2, 4.5, 4.9).
