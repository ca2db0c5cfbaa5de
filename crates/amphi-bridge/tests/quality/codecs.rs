//! Other codecs, and receivers who see the SSRCs of the sources.

use std::time::{Duration, Instant};

use amphi_netem::Conditions;

use super::browser::Microphone;
use super::camera::{Camera, Codec};
use super::simulcast::{call, until_height};
use super::world::{Kind, World};

const S: Duration = Duration::from_secs(1);
const SOURCE: &str = "aaaa-v0";

#[test]
fn vp9_with_spatial_layers_follows_what_is_wanted_and_what_passes() {
    let mut w = call(1, 2, Camera::new(SOURCE, Codec::Vp9, 31, &[(720, 1_500_000)]));
    for viewer in [1, 2] {
        until_height(&mut w, viewer, 20, 720);
    }
    for height in [180, 720, 360, 720] {
        w.stage(1, &[SOURCE], height);
        until_height(&mut w, 1, 15, height as u16);
    }
    w.people[1].down.set(&Conditions::rate(400_000).delayed(Duration::from_millis(20)));
    w.until("less", 15, |it| (1..720).contains(&it.people[1].screen(SOURCE).height()));
    w.people[1].down.set(&Conditions::default());
    until_height(&mut w, 1, 25, 720);
    for viewer in [1, 2] {
        assert!(w.people[viewer].screen(SOURCE).broken.is_empty(), "{:?}", w.people[viewer].screen(SOURCE).broken);
        w.people[viewer].nonces.check();
    }
    assert!(w.people[2].screen(SOURCE).since(Instant::now() - 5 * S).all(|it| it.height == 720));
}

#[test]
fn av1_simulcast_follows_what_is_wanted() {
    let encodings = [(180, 100_000), (360, 300_000), (720, 1_000_000)];
    let mut w = call(1, 2, Camera::new(SOURCE, Codec::Av1, 31, &encodings));
    for viewer in [1, 2] {
        until_height(&mut w, viewer, 20, 720);
    }
    for height in [180, 360, 720] {
        w.stage(1, &[SOURCE], height);
        until_height(&mut w, 1, 15, height as u16);
    }
    w.run(S);
    for viewer in [1, 2] {
        assert!(w.people[viewer].screen(SOURCE).broken.is_empty(), "{:?}", w.people[viewer].screen(SOURCE).broken);
        w.people[viewer].nonces.check();
    }
}

#[test]
fn who_does_not_rewrite_sees_the_sources_own_ssrcs() {
    let mut w = World::new(1);
    let sender = w.join("aaaa", Kind::Participant);
    w.publish(sender, vec![Camera::simulcast(SOURCE, 31)], Some(Microphone::new("aaaa-a0", 21, 30)));
    let viewer = w.join("bbbb", Kind::Plain);
    w.open();
    w.people[viewer].expect(str0m::media::MediaKind::Video, 31, Some(32));
    w.people[viewer].expect(str0m::media::MediaKind::Audio, 21, None);
    w.people[viewer].sources.insert(SOURCE.to_owned(), (31, Some(32), None));
    w.people[viewer].down.set(&Conditions::loss(0.03));
    for height in [720, 180, 720] {
        w.stage(viewer, &[SOURCE], height);
        until_height(&mut w, viewer, 15, height as u16);
    }
    w.run(2 * S);
    let it = &w.people[viewer];
    assert!(it.screen(SOURCE).broken.is_empty(), "{:?}", it.screen(SOURCE).broken);
    assert!(it.heard[&21].len() > 100);
    assert!(it.nonces.ssrcs.iter().all(|ssrc| [31, 32, 21].contains(ssrc)), "{:?}", it.nonces.ssrcs);
    it.nonces.check();
}
