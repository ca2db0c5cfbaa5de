//! The link between a main room and its visitor rooms, and promotion: rules and wire forms (`spec/signaling.md` 4).
//!
//! Sans-IO. A main room owns one [`MainLinks`], a room of a visitor node one [`Shadow`]; both take what happened and
//! `now`, and return actions in order. What is not here: the rooms themselves, routing and links, which are in
//! `amphi-room` and `amphi-signal`; the choice of a node for a visitor, which is the focus' work.
//!
//! # What the room has to do
//!
//! - Give [`MainLinks`] every change of its occupants, settings, files and polls and every line of chat, and do its actions
//!   in order. Route an IQ to the visitors component by [`wire::room_of`] to [`MainLinks::handle_iq`] (an unknown room is
//!   answered `item-not-found`), and an answer whose id [`wire::room_of_link_id`] knows to [`MainLinks::handle_answer`].
//! - Give [`Shadow`] every presence, message and IQ of the main node on arrival, also while the room is locked, and what
//!   visitors do. A visitors IQ for a room that does not exist is answered `item-not-found`: that tells the main room to
//!   wait until the focus connects the node again. Mirrored occupants are never refused.
//! - Tell both of the link: down before up after a loss. What is sent for a room to a node is one ordered stream.
//! - Call `tick` when `poll_timeout` is due.
//!
//! # The extension
//!
//! A node of ours puts `<support xmlns='urn:amphi:visitors:0'/>` with the last chat line it has into its answers to update,
//! connect and checkpoint. Without it a peer counts as stock from its first answer on and gets nothing but the common
//! protocol; before, it may see children that it does not look at. Towards nodes of ours, `sync` in update and connect
//! frames a synchronisation (whoever was not told again in between is gone), `checkpoint` lets a node compare digests and
//! ask for a `resync`, `line` numbers chat so that it can be sent again after a loss, and `partial` marks an update that
//! leaves out files and polls because they have not changed.

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
