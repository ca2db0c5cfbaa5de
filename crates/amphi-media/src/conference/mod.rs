//! The decisions of one conference: who gets what, and what is said on the bridge channel (`spec/bridge.md` 3, 4.7, 4.8, 4.11).
