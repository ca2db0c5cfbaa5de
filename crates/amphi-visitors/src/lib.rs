//! The link between a main room and its visitor rooms, and promotion: rules and wire forms (`spec/signaling.md` 4).
//!
//! Sans-IO. A main room owns one [`MainLinks`], a room of a visitor node one [`Shadow`]; both take what happened and
//! `now`, and return actions in order. What is not here: the rooms themselves, routing and links, which are in
//! `amphi-room` and `amphi-signal`; the choice of a node for a visitor, which is the focus' work.

pub mod budget;
mod digest;
pub mod links;
pub mod promotion;
pub mod shadow;
pub mod wire;

pub use budget::{AudienceBudget, BudgetLimits};
pub use digest::{occupant_hash, presence_hash};
pub use links::{Action, MainAddresses, MainConfig, MainLinks, NodeAddresses, NodeState, Occupant, RoomState, Trust};
pub use promotion::{Admission, Applicant, PromotionLimits, Promotions, Refusal, RoomPolicy};
pub use shadow::{RemoteVerdict, Shadow, ShadowAction, ShadowAddresses, ShadowConfig, ShadowRole, VisitorToken};
