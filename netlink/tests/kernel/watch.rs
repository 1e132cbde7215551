//! Being told of changes, and reading while they happen.

use std::time::Duration;

use bulkhead_netlink::{Error, Watch};
use tokio::time::timeout;

use crate::world::*;

async fn wakes(watch: &mut Watch) -> bool {
    timeout(Duration::from_millis(500), watch.wake()).await.map(Result::unwrap).is_ok()
}

#[test]
fn every_change_that_a_plan_looks_at_wakes_and_silence_does_not() {
    within(|| async {
        trunk();
        run("ip link add tap0 type veth peer name guest0");
        let desired = with_port(
            manifest([visible(20, &["10.0.0.1/24", "2001:db8::1/64"], &["10.0.0.254"])]),
            "tap0",
            "br20",
            mac(0, 1),
        );
        let mut world = World::open();
        world.converge(&desired).await;
        run("ip link set tap0 master br20 up");
        world.converge(&desired).await;
        pause(3000).await;
        let mut watch = Watch::open().unwrap();
        assert!(!wakes(&mut watch).await, "nothing has changed");
        for line in [
            "ip address delete 10.0.0.1/24 dev br20",
            "ip address delete 2001:db8::1/64 dev br20",
            "ip link set vlan20 nomaster",
            "ip link set br20 type bridge mcast_snooping 1",
            "bridge fdb delete 52:54:00:42:00:01 dev tap0 master static",
            "bridge link set dev tap0 locked off",
            "ip link set br20 down",
            "ip link set eth0 down",
            "ip link delete vlan20",
        ] {
            run(line);
            assert!(wakes(&mut watch).await, "{line}");
            pause(100).await;
            while wakes(&mut watch).await {}
            world.converge(&desired).await;
            while wakes(&mut watch).await {}
        }
        run("ip route delete default via 10.0.0.254");
        assert!(wakes(&mut watch).await, "route");
        sysctl("ipv6/conf/br20/disable_ipv6", "1");
        assert!(wakes(&mut watch).await, "disable_ipv6");
    });
}

#[test]
fn neighbours_that_come_and_go_wake_nobody() {
    within(|| async {
        trunk();
        World::open().converge(&manifest([visible(20, &["10.0.0.1/24"], &[])])).await;
        pause(1000).await;
        let mut watch = Watch::open().unwrap();
        run("ip neighbour add 10.0.0.9 lladdr 52:54:00:00:00:09 dev br20");
        run("bridge fdb add 52:54:00:00:00:09 dev vlan20 master dynamic");
        run("ip route add 10.3.0.0/16 via 10.0.0.9");
        assert!(!wakes(&mut watch).await);
    });
}

/// Events of about 2.3 KB of buffer each: too many for a process without privilege (8 MiB at the most that is usual), and not
/// for one with it (16 MiB).
fn burst(file: &str) {
    let lines: String = (0..5000).map(|round| format!("link set eth0 alias round{round}\n")).collect();
    std::fs::write(file, lines).unwrap();
    run(&format!("ip -batch {file}"));
    std::fs::remove_file(file).unwrap();
}

/// Datagrams of rtnetlink that the kernel did not deliver in this namespace, because a buffer was full.
fn dropped() -> u32 {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let column = |line: &str, at: usize| line.split_whitespace().nth(at).unwrap().parse::<u32>().unwrap();
    sockets.lines().skip(1).filter(|line| column(line, 1) == 0).map(|line| column(line, 8)).sum()
}

#[test]
fn a_burst_that_overflows_the_buffer_is_one_wake_and_the_next_change_wakes_again() {
    within(|| async {
        trunk();
        let (go, wait) = std::sync::mpsc::channel::<&str>();
        let (done, finished) = std::sync::mpsc::channel();
        // A thread that has the privilege, in this namespace.
        let other = std::thread::spawn(move || {
            for line in wait {
                if line == "burst" {
                    burst("/tmp/overflow.batch")
                } else {
                    _ = run(line)
                }
                done.send(()).unwrap();
            }
        });
        drop_net_admin();
        let mut watch = Watch::open().unwrap();
        let act = |what| {
            go.send(what).unwrap();
            finished.recv().unwrap();
        };
        act("burst");
        assert!(dropped() > 0, "the burst is no burst");
        assert!(wakes(&mut watch).await);
        while wakes(&mut watch).await {}
        act("ip link set eth0 alias again");
        assert!(wakes(&mut watch).await);
        drop(go);
        other.join().unwrap();
    });
}

#[test]
fn with_the_privilege_the_buffer_holds_a_burst_past_the_limit_of_others() {
    within(|| async {
        trunk();
        let mut watch = Watch::open().unwrap();
        burst("/tmp/held.batch");
        assert_eq!(dropped(), 0);
        assert!(wakes(&mut watch).await);
    });
}

#[test]
fn a_list_that_changes_while_it_is_read_is_read_again_or_refused_but_never_torn() {
    within(|| async {
        trunk();
        let desired = manifest((20..60).map(hidden));
        let mut world = World::open();
        world.converge(&desired).await;
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let churn = std::thread::spawn(move || {
            while stopped.try_recv().is_err() {
                run("ip link add churn type veth peer name churned");
                run("ip link delete churn");
            }
        });
        let (mut whole, mut interrupted) = (0, 0);
        for _ in 0..20 {
            match world.kernel.observe(&desired).await {
                Ok(observed) => {
                    assert_eq!(observed.links.values().filter(|link| link.own().is_some()).count(), 80);
                    whole += 1;
                }
                Err(Error::Interrupted { .. }) => interrupted += 1,
                Err(other) => panic!("{other}"),
            }
        }
        stop.send(()).unwrap();
        churn.join().unwrap();
        println!("{whole} whole lists, {interrupted} refused");
        assert!(whole > 0);
        world.converge(&desired).await;
    });
}
