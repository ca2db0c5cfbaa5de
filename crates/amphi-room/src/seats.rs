//! Seats on stage: how the focus and a room agree on who may still come in, so that nobody gets on stage without one.
//!
//! The room is the only judge: the focus asks, the room counts. A room enforces nothing until the focus has spoken this
//! protocol to it, so a stock focus never notices. The sender must be an administrator who is an occupant of the room;
//! anybody else gets `auth/forbidden`. The state dies with the room.
//!
//! # Wire form
//!
//! One IQ to the bare room address (virtual form for a local focus). `limit` is the number of seats, without the focus and
//! other administrators; it is remembered, and an IQ without it leaves it as it is. `limit='none'` switches enforcement
//! off and forgets all reservations. Any number of `reserve` and `cancel` children, at most 64 each.
//!
//! ```xml
//! <iq type='set' to='demo@conference.meet.example' id='s1'>
//!   <seats xmlns='urn:amphi:seats:0' limit='50'>
//!     <reserve id='q17' machine='9d77ac5a'/>          <!-- HTTP request: machine uid, if the request had one -->
//!     <reserve id='q18' jid='9f3c1a7e-...@meet.example/Zk1'/>   <!-- IQ request: the requester's address -->
//!     <cancel id='q9'/>
//!   </seats>
//! </iq>
//! <iq type='result' from='demo@conference.meet.example' id='s1'>
//!   <seats xmlns='urn:amphi:seats:0' limit='50' occupied='48' reserved='2'>
//!     <granted id='q17' ttl='60'/>
//!     <refused id='q18'/>
//!   </seats>
//! </iq>
//! ```
//!
//! `get` with an empty `seats` element answers the counters alone. `occupied` counts people on stage (administrators,
//! recorders and other ignored addresses are not counted); `reserved` counts live reservations of both kinds below.
//!
//! # Rules
//!
//! 1. `reserve` is granted when `occupied + reserved < limit`, or when the requester (`jid`, compared bare, or `machine`)
//!    has a *kept* seat, which then becomes this reservation. `id` is chosen by the focus; a repeated `id` renews the
//!    reservation. It lives [`SeatLimits::reservation`] (60 s), or until it is taken or cancelled.
//! 2. A reservation with `jid` can be taken by that bare address alone. One without is counted, not bound, because a request
//!    over HTTP has no address yet: the next joiner who has nothing better takes it.
//! 3. A join to the stage takes, in this order: a reservation with its address; its own kept seat; the oldest unbound
//!    reservation; a free seat (`occupied + reserved < limit`). With none of these it is answered
//!    `cancel/service-unavailable`, upon which a client comes back as a visitor (`spec/client.md` 10.3).
//! 4. Administrators, addresses in the ignore lists, and visitors whom a moderator (or the automatic rule) has promoted
//!    come in without asking. Promoted ones are counted.
//! 5. Who leaves the stage keeps the seat for [`SeatLimits::kept`] (60 s), recognised by bare address or by the `billingid` of
//!    its join presence, so that a page reload does not end in the audience. Being kicked keeps nothing.
