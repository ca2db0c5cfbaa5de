//! Wire forms of the visitors protocol: every IQ of `spec/signaling.md` 4.4, the moderators' JSON messages, and the
//! extension our own nodes use among themselves. Reading and writing only; no rule is here.

mod extension;
mod iq;
pub(crate) mod json;
mod promotion;
mod update;

pub use extension::{AMPHI, Checkpoint, Line, Places, Support, Sync, is_own_line, line_of, support_of, without_line};
pub use iq::{Payload, VisitorsIq, WireError, link_id, result, result_with, room_of, room_of_link_id, set};
pub use json::{ModeratorJson, demote_request, moderator_json, place_notice, promotion_notice};
pub use promotion::{PromotionRequest, PromotionResponse, TranscriptionLanguages};
pub use update::{Settings, SharedFile, Update};
