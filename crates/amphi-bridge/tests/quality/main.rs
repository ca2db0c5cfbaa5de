//! The quality of what receivers get, through a whole bridge (colibri2, bridge channels, decisions, media) over links with loss, delay and limits.
//! Everything runs in real time, so times are judged with room for a busy machine.

mod browser;
mod camera;
mod codecs;
mod hostile;
mod loss;
mod nonces;
mod screen;
mod simulcast;
mod wishes;
mod world;
