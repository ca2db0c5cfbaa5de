//! Audio levels: loudest speakers, dominant speaker (`spec/bridge.md` 4.7).
