//! A tiny server to try the load generator against: one room, every line to everybody, nothing kept.
//!
//! `cargo run -p amphi-load --example tiny_server -- 5280`

#[allow(dead_code)]
#[path = "../tests/tiny_server/mod.rs"]
mod tiny_server;

fn main() {
    let port = std::env::args().nth(1).and_then(|p| p.parse().ok()).unwrap_or(0);
    println!("{}", tiny_server::listen(port, tiny_server::Fault::None));
    loop {
        std::thread::park();
    }
}
