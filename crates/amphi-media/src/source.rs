//! Sources, encodings and layers (`spec/bridge.md` 4.1).
