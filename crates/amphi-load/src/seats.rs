//! Who is in which room, and which thread drives whom: rooms with their scripts and boards, and the clients of each thread.

use std::sync::Arc;

use crate::{
    args::SignalingArgs,
    client::{Client, Role, Scene},
    script::Script,
    stats::Board,
};

/// One room of the run.
#[derive(Debug)]
pub(crate) struct RoomScene {
    /// Common to its clients.
    pub(crate) script: Arc<Script>,
    /// What was sent in it.
    pub(crate) board: Arc<Board>,
}

impl RoomScene {
    /// What its clients may look at.
    pub(crate) fn scene(&self) -> Scene<'_> {
        Scene { script: &self.script, board: &self.board }
    }
}

/// A client and its part in the run.
pub(crate) struct Seat {
    /// The client.
    pub(crate) client: Client,
    /// Number of its room.
    pub(crate) room: usize,
    /// Is it the first to join its room?
    pub(crate) opener: bool,
    /// Does it chat from the audience?
    pub(crate) speaks: bool,
}

/// The audience's speakers of a run.
pub(crate) fn speakers(args: &SignalingArgs) -> u32 {
    if args.audience_chat > 0.0 { args.audience_speakers.min(args.audience) } else { 0 }
}

/// The clients of each thread. One room's audience is shared by all threads; of several rooms each is on one thread.
pub(crate) fn shares(args: &SignalingArgs, rooms: &[RoomScene], threads: usize) -> Vec<Vec<Seat>> {
    let mut shares: Vec<Vec<Seat>> = (0..threads).map(|_| Vec::new()).collect();
    match rooms {
        [room] if args.rooms.is_none() => one_room(args, room, &mut shares),
        rooms => many_rooms(args, rooms, &mut shares),
    }
    shares
}

fn one_room(args: &SignalingArgs, room: &RoomScene, shares: &mut [Vec<Seat>]) {
    let seat = |index, role, sender, speaks| Seat {
        client: Client::new(&room.script, index, role, sender, rand::random()),
        room: 0,
        opener: index == 0,
        speaks,
    };
    for n in 0..args.stage {
        // The whole stage is on one thread: its lines follow one schedule.
        shares[0].push(seat(n, Role::Stage, Some(n), false));
    }
    let speakers = speakers(args);
    let every = (args.audience / speakers.max(1)).max(1);
    for n in 0..args.audience {
        let sender = (speakers > 0 && n.is_multiple_of(every) && n / every < speakers).then(|| args.stage + n / every);
        let at = n as usize % shares.len();
        shares[at].push(seat(args.stage + n, Role::Audience, sender, sender.is_some()));
    }
}

/// Members of different rooms take turns, so that no room fills or talks alone.
fn many_rooms(args: &SignalingArgs, rooms: &[RoomScene], shares: &mut [Vec<Seat>]) {
    let threads = shares.len();
    let mut index = 0;
    for member in 0..args.stage + args.audience {
        let (role, sender) = if member < args.stage { (Role::Stage, Some(member)) } else { (Role::Audience, None) };
        for (number, room) in rooms.iter().enumerate() {
            let client = Client::new(&room.script, index, role, sender, rand::random());
            shares[number % threads].push(Seat { client, room: number, opener: member == 0, speaks: false });
            index += 1;
        }
    }
}
