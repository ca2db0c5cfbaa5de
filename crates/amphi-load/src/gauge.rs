//! Reads one gauge of a server's metrics page (the text format of OpenMetrics), with a small blocking request.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{http, url::Url};

const PATIENCE: Duration = Duration::from_secs(3);

/// The sum of a gauge over all its labels; `None` when the page does not have it.
pub(crate) fn read(url: &Url, name: &str) -> anyhow::Result<Option<f64>> {
    let to = (url.host.as_str(), url.port).to_socket_addrs()?.next().context("metrics: host has no address")?;
    let mut socket = TcpStream::connect_timeout(&to, PATIENCE).context("metrics")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let head = ["GET ", &url.target, " HTTP/1.1\r\nHost: ", &url.authority(), "\r\nConnection: close\r\n\r\n"];
    socket.write_all(head.concat().as_bytes())?;
    let (mut data, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        match http::answer(&data) {
            Ok(None) => {}
            Ok(Some(answer)) if answer.status == 200 => {
                return Ok(sum(&String::from_utf8_lossy(&answer.body), name));
            }
            Ok(Some(answer)) => bail!("metrics: HTTP {}", answer.status),
            Err(why) => bail!("metrics: {why}"),
        }
        match socket.read(&mut buffer)? {
            0 => bail!("metrics: answer ends early"),
            n => data.extend_from_slice(&buffer[..n]),
        }
    }
}

fn sum(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_summed_over_its_labels_and_others_are_not_taken_for_it() {
        let text = "# TYPE x_rooms gauge\nx_rooms{node=\"main\"} 3\nx_rooms{node=\"v}1\"} 2\nx_rooms_total 9\n";
        assert_eq!(sum(text, "x_rooms"), Some(5.0));
        assert_eq!(sum("x_rooms 0\n", "x_rooms"), Some(0.0));
        assert_eq!(sum(text, "rooms"), None);
    }
}
