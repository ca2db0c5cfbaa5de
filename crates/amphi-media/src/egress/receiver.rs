pub struct Receiver; pub struct ReceiverConfig; pub struct VideoSlot;
