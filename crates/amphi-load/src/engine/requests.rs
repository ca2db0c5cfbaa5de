//! Conference requests over HTTP: a small pool of kept connections, one request on each at a time, the rest waits in order.

use std::{io, sync::Arc};

use mio::Token;

use super::{Engine, HTTP_BASE, HttpConn};
use crate::{
    client::Input,
    http,
    script::Admission,
    transport::{Progress, refusal},
};

impl Engine {
    pub(super) fn http_pump(&mut self) {
        while let Some(&at) = self.http_queue.front() {
            let idle = self.http.iter().find(|(_, conn)| conn.current.is_none()).map(|(key, _)| key);
            let key = match idle {
                Some(key) => key,
                None if self.http.len() >= self.around.http_connections => return,
                None => {
                    let script = Arc::clone(&self.room(at).script);
                    let Admission::Http(url) = &script.admission else { return };
                    let token = Token(HTTP_BASE + self.http.vacant_key());
                    match self.dial(url, token) {
                        Ok(transport) => {
                            let conn = HttpConn { transport, current: None, input: Vec::new(), used: false };
                            self.http.insert(conn)
                        }
                        Err(e) => {
                            self.http_queue.pop_front();
                            self.undialed(at, &e);
                            continue;
                        }
                    }
                }
            };
            self.http_queue.pop_front();
            let request = self.http_request(at);
            self.http[key].current = Some(at);
            if let Err(e) = self.http[key].transport.write(&request) {
                self.http_lost(key, &refusal(&e));
            }
        }
    }

    pub(super) fn http_request(&self, at: usize) -> Vec<u8> {
        let script = &self.room(at).script;
        let Admission::Http(url) = &script.admission else { return Vec::new() };
        let body = self.slots[at].client.request_body(script);
        let mut head = String::from("POST ");
        head.push_str(&url.target_with(&[("room", &script.room)]));
        head.push_str(" HTTP/1.1\r\nHost: ");
        head.push_str(&url.authority());
        head.push_str("\r\nContent-Type: application/json\r\nUser-Agent: amphi-load\r\nContent-Length: ");
        head.push_str(&body.len().to_string());
        head.push_str("\r\n\r\n");
        head.push_str(&body);
        head.into_bytes()
    }

    pub(super) fn http_ready(&mut self, key: usize, writable: bool) {
        let Some(conn) = self.http.get_mut(key) else { return };
        if let Progress::Refused(why) = conn.transport.progress(writable) {
            return self.http_lost(key, &why);
        }
        if writable && let Err(e) = conn.transport.flush() {
            return self.http_lost(key, &refusal(&e));
        }
        loop {
            let conn = &mut self.http[key];
            match conn.transport.read(&mut self.buffer) {
                Ok(None) => return,
                Ok(Some((0, _))) => return self.http_lost(key, "connection closed"),
                Ok(Some((n, more))) => {
                    conn.input.extend_from_slice(&self.buffer[..n]);
                    match http::answer(&conn.input) {
                        Ok(None) if more => continue,
                        Ok(None) => return,
                        Ok(Some(answer)) => {
                            conn.input.clear();
                            conn.used = true;
                            let asked = conn.current.take();
                            if answer.close {
                                self.http.remove(key);
                            }
                            if let Some(at) = asked {
                                self.feed(at, Input::Answer { status: answer.status, body: &answer.body });
                            }
                            return self.http_pump();
                        }
                        Err(why) => return self.http_lost(key, why),
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::NotConnected => return,
                Err(e) => return self.http_lost(key, &refusal(&e)),
            }
        }
    }

    pub(super) fn http_lost(&mut self, key: usize, why: &str) {
        let conn = self.http.remove(key);
        if let Some(at) = conn.current {
            // A kept connection may be closed by the server just when it is used again: that is nobody's fault.
            if conn.used && conn.input.is_empty() {
                self.http_queue.push_front(at);
            } else {
                self.feed(at, Input::AnswerLost(why));
            }
        }
        self.http_pump();
    }
}
