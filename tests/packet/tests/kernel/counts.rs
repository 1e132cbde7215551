//! Frames arrive as they were sent, and each is counted once.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bulkhead_packet::{
    Capture, Direction, Ether, Flood, Frame, Marker, Namespace, Sender, Tag, Tally, run, send_counted, transport,
};

use crate::world::{FAR, WEB, add_forward_chain, guest, within};

const HERE: Ipv4Addr = Ipv4Addr::new(10, 13, 37, 40);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 13, 37, 1);
const PATIENCE: Duration = Duration::from_millis(300);

fn datagram(marker: &Marker) -> Frame {
    transport::udp((HERE, THERE), 4000, 4000, marker.bytes()).frame(WEB, FAR)
}

#[test]
fn tags_are_seen_as_they_were_sent_however_many_there_are() {
    within("tags", || {
        let (sender, capture) = (Sender::open("trunk0").unwrap(), Capture::open("far0", Direction::Arriving).unwrap());
        let plain = datagram(&Marker::unique());
        let one = plain.clone().tagged(Tag { control: 0x6014, ..Tag::dot1q(20) });
        let two = plain.clone().tagged(Tag::dot1q(30)).tagged(Tag::dot1q(20));
        let service = plain.clone().tagged(Tag::dot1q(30)).tagged(Tag::dot1ad(20));
        for frame in [plain, one, two.clone(), service, two.tagged(Tag::dot1q(0))] {
            sender.send(&frame).unwrap();
            let seen = capture.next(Instant::now() + Duration::from_secs(2)).unwrap().unwrap();
            assert_eq!(seen.frame, frame);
            assert!(!seen.outgoing);
        }
    });
}

#[test]
fn a_guests_frame_is_tagged_on_the_far_side_and_seen_leaving_where_asked() {
    within("leaving", || {
        let web = guest("web-leaving", WEB);
        let far = Capture::open("far0", Direction::Arriving).unwrap();
        let (both, arriving) =
            (web.capture("eth0", Direction::Both).unwrap(), web.capture("eth0", Direction::Arriving).unwrap());
        let frame = datagram(&Marker::unique());
        web.sender("eth0").unwrap().send(&frame).unwrap();
        let wanted = |seen: &Frame| seen.source == WEB;
        let deadline = Instant::now() + Duration::from_secs(2);
        assert_eq!(far.first(deadline, wanted).unwrap().unwrap().frame, frame.clone().tagged(Tag::dot1q(20)));
        let seen = both.first(deadline, wanted).unwrap().unwrap();
        assert_eq!((seen.frame, seen.outgoing), (frame, true));
        assert_eq!(arriving.first(Instant::now() + PATIENCE, wanted).unwrap(), None);
    });
}

#[test]
fn a_thousand_frames_are_counted_as_a_thousand_and_others_are_not() {
    within("1000", || {
        let web = guest("web-1000", WEB);
        let (marker, other) = (Marker::unique(), Marker::unique());
        let tally = Tally::start(Capture::open("far0", Direction::Arriving).unwrap(), marker);
        let sender = web.sender("eth0").unwrap();
        for _ in 0..10 {
            send_counted(&sender, &datagram(&marker), 100).unwrap();
            send_counted(&sender, &datagram(&other), 100).unwrap();
        }
        let seen = tally.finish(PATIENCE).unwrap();
        assert_eq!((seen.frames, seen.lost), (1000, 0));
    });
}

#[test]
fn what_a_rule_drops_is_counted_by_the_rule_and_never_arrives() {
    within("dropped", || {
        let web = guest("web-dropped", WEB);
        add_forward_chain("accept");
        run("nft add rule bridge lab forward ip daddr 10.13.37.1 counter drop").unwrap();
        let marker = Marker::unique();
        let tally = Tally::start(Capture::open("far0", Direction::Arriving).unwrap(), marker);
        send_counted(&web.sender("eth0").unwrap(), &datagram(&marker), 1000).unwrap();
        assert_eq!(tally.finish(PATIENCE).unwrap().frames, 0);
        let rules = run("nft list table bridge lab").unwrap();
        assert!(rules.contains("counter packets 1000 "), "{rules}");
    });
}

#[test]
fn a_flood_goes_until_it_is_told_to_stop_and_one_open_moment_is_seen() {
    within("flood", || {
        let web = guest("web-flood", WEB);
        add_forward_chain("drop");
        for leak in [false, true] {
            let marker = Marker::unique();
            let tally = Tally::start(Capture::open("far0", Direction::Arriving).unwrap(), marker);
            let senders = (0..2).map(|_| (web.sender("eth0").unwrap(), vec![datagram(&marker)])).collect();
            let flood = Flood::start(senders);
            std::thread::sleep(Duration::from_millis(300));
            if leak {
                run("nft delete table bridge lab").unwrap();
                add_forward_chain("drop");
            }
            std::thread::sleep(Duration::from_millis(300));
            let sent = flood.finish().unwrap();
            let seen = tally.finish(PATIENCE).unwrap();
            println!("leak {leak}: {sent} sent, {seen:?}");
            // Two senders give two frames a millisecond each; an emulated machine is slower.
            assert!(sent > 250, "{sent}");
            assert_eq!(seen.frames > 0, leak, "{seen:?}");
        }
    });
}

#[test]
fn a_namespace_goes_with_its_value_although_a_socket_stays_open_in_it() {
    within("gone", || {
        let web = guest("web-gone", WEB);
        let sender = web.sender("eth0").unwrap();
        drop(web);
        assert!(run("ip link show tap-web-gone").is_err());
        assert!(!run("ip netns list").unwrap().contains("web-gone"));
        assert!(sender.send(&Frame::new(WEB, Ether::BROADCAST, 0x88b5, vec![])).is_err());
        drop(Namespace::new("web-gone").unwrap());
    });
}
