//! Counting, noticing what somebody changed, and repairing it.

use podzol_appliance_nft::{LIST, Ruleset, counters, first_load, observed, skeleton};

use crate::router::{CLIENT, Namespace, Router, commit};
use crate::sample::{FAR, OWN, PUBLIC, STATIC, WEB, bare, ruleset, small, tcp};
use crate::{ALL, with_forward, with_ingress, with_static};

#[test]
fn counters_count_what_was_let_through_and_outlive_changes_and_repairs() {
    let document = with_static(with_ingress(bare(), tcp("22"), ALL));
    let mut router = Router::with(&document);
    router.serve(&router.lan, &[OWN], 22);
    router.serve(&router.far, &[FAR], 80);
    assert!(router.outside.hears_nothing(CLIENT, (STATIC, 23)));
    assert_eq!(router.counted().public[&STATIC].received_packets, 0);
    assert!(router.outside.ask(CLIENT, (STATIC, 22)).unwrap().lives());
    assert!(router.lan.ask(WEB, (FAR, 80)).unwrap().lives());
    // Connections that have ended say so, one side after the other.
    let mut own = router.nic(OWN);
    let counted = loop {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let (before, counted) = (own, router.counted());
        own = counted.nics[&OWN];
        if own == before {
            break counted;
        }
    };
    let public = counted.public[&STATIC];
    // A handshake, a line there, two lines back.
    assert!(own.received_packets >= 3 && own.sent_packets >= 3, "{own:?}");
    assert!(own.received_bytes >= 4 + 40 * own.received_packets, "{own:?}");
    assert_eq!((public.sent_packets, public.received_packets), (own.sent_packets, own.received_packets));
    assert!(counted.nics[&WEB].sent_packets >= 3 && counted.nics[&FAR].received_packets >= 3);
    assert!(router.lan.ask(WEB, (STATIC, 22)).unwrap().lives());
    assert_eq!(router.nic(OWN), own, "what stays on one link is not counted");
    assert_eq!(counted.public[&PUBLIC], Default::default());
    router.put(&ruleset(&with_static(bare())));
    router.router.nft(&ruleset(&with_static(bare())).whole()).unwrap();
    assert!(router.nic(OWN).received_packets >= own.received_packets);
    router.assert_in_force();
}

#[test]
fn what_is_counted_is_read_as_nft_lists_it_of_thousands_of_elements_too() {
    let router = Router::with(&with_static(bare()));
    router.serve(&router.far, &[FAR], 80);
    assert!(router.lan.ask(WEB, (FAR, 80)).unwrap().lives());
    let many = (0..9000).map(|number| format!("10.9.{}.{}", number / 250, number % 250));
    let many = many.collect::<Vec<_>>().join(", ");
    router.router.nft(&format!("add element inet podzol_count nic_sent {{ {many} }}")).unwrap();
    let counted = router.counted();
    let listed = counters(router.router.run("nft", &LIST).unwrap().as_bytes()).unwrap();
    assert!(counted.nics.len() > 9000 && counted.nics.keys().eq(listed.nics.keys()));
    assert!(counted.public.keys().eq(listed.public.keys()));
    // The connection may not have ended when the first was read.
    assert!((1..=listed.nics[&WEB].sent_bytes).contains(&counted.nics[&WEB].sent_bytes));
}

#[test]
fn whatever_somebody_changed_is_noticed_and_repaired() {
    let router = Router::with(&small());
    for change in [
        "add element ip podzol ingress_port { 203.0.113.5 . tcp . 22 }",
        "delete element ip podzol forward_port { 203.0.113.5 . tcp . 80 }",
        "flush chain ip podzol lb-00000000-0000-0000-0000-000000000001",
        "add rule ip podzol lb-00000000-0000-0000-0000-000000000001 accept",
        "add chain ip podzol lb-00000000-0000-0000-0000-000000000002",
        "insert rule ip podzol input accept",
        "flush chain ip podzol forward",
        "add chain ip podzol input { policy accept; }",
        "add set ip podzol stray { type ipv4_addr; }",
        "add chain inet podzol_count stray { type filter hook forward priority 0; policy drop; }",
        "add element inet podzol_count nic_sent { 10.9.9.9 }",
        "delete element inet podzol_count nic_sent { 10.1.1.5 }",
        "add element inet podzol_count same_link { eth0 . eth3 }",
        "add element ip6 podzol ingress_port { 2001:db8:64:10::5 . tcp . 22 }",
        "delete element ip6 podzol ingress_link { eth3 . tcp . 22 }",
        "add element ip6 podzol sources { eth0 . 2001:db8:64:10::99 }",
        "delete element ip6 podzol egress_policy { 2001:db8:64:10::/64 }",
        "insert rule ip6 podzol forward accept",
        "flush chain ip podzol limited",
        "flush chain ip6 podzol limited\nadd rule ip6 podzol limited add @connections { ip6 saddr ct count over 5 } drop",
        "add rule ip podzol limited add @connections { ip saddr ct count over 5 } drop",
        "add element inet podzol_count nic_sent6 { 2001:db8::9 }",
        "delete element inet podzol_count nic_received6 { 2001:db8:64:10:0:5eff:fe10:5 }",
        "delete table inet podzol_count",
        "delete table ip6 podzol",
        "delete table ip podzol",
        "add table inet filter\nadd chain inet filter input { type filter hook input priority 0; policy drop; }",
    ] {
        router.router.nft(change).unwrap_or_else(|error| panic!("{change}: {error}"));
        let found = router.observed();
        let wanted = ruleset(&small());
        assert!(found.ruleset != wanted || found.shape != router.good, "not noticed: {change}");
        router.router.nft(&wanted.repair(&found, &router.good)).unwrap();
        router.assert_in_force();
    }
}

#[test]
fn a_repair_opens_nothing_and_cuts_nothing() {
    let document = with_ingress(with_forward(bare()), tcp("80"), ALL);
    let router = Router::with(&document);
    router.serve(&router.lan, &[WEB], 8080);
    let mut answer = router.outside.ask(CLIENT, (PUBLIC, 80)).unwrap();
    let whole = ruleset(&document).whole();
    // The router's own DNS is for guests; the packets come as fast as they can while the rules are made anew.
    let heard = router.router.hears_flood((PUBLIC, 53), &router.outside, || {
        (0..30).for_each(|_| router.router.nft(&whole).unwrap());
    });
    assert_eq!(heard, 0);
    assert!(answer.lives());
    router.assert_in_force();
}

#[test]
fn all_scripts_pass_nft_s_own_check() {
    let router = Router::empty();
    router.router.nft_with(&["-c", "-f", "-"], podzol_appliance_nft::skeleton()).unwrap();
    router.router.nft_with(&["-c", "-f", "-"], &ruleset(&small()).whole()).unwrap();
    let change = ruleset(&small()).script_from(&Ruleset::default()).unwrap();
    router.router.nft_with(&["-c", "-f", "-"], &change).unwrap();
}

#[test]
fn a_first_load_makes_what_the_text_makes_whatever_was_there() {
    let [by_text, by_batch] = [Namespace::new(), Namespace::new()];
    by_text.nft(skeleton()).unwrap();
    by_batch
        .nft("table inet stray { chain input { type filter hook input priority 0; policy drop; }; }")
        .unwrap();
    for _ in 0..2 {
        by_batch.inside(|| commit(&first_load())).unwrap();
        let list = |namespace: &Namespace| namespace.run("nft", &LIST).unwrap();
        let [text, batch] = [&by_text, &by_batch].map(|one| observed(list(one).as_bytes()).unwrap());
        let differences = batch.shape.differences(&text.shape);
        assert_eq!(differences, Vec::<String>::new(), "podzol.batch is made anew by batch.sh");
        assert_eq!(batch, text);
        by_batch.nft("add element inet podzol_count nic_sent { 10.1.1.5 }").unwrap();
    }
}
