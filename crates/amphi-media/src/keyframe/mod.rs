//! Keyframe requests: merged, throttled, paced (`spec/bridge.md` 4.9).
