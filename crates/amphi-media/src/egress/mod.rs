//! One receiver's way out: numbers, feedback, sealing (`spec/bridge.md` 4.3, 9.5).
