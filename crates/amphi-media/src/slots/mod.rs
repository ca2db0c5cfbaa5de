//! Slots of SSRCs that a receiver sees in place of the sources' own (`spec/bridge.md` 4.8).
